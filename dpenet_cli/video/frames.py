"""The frame loop, without any codec: frames from a source, through the engine, into a sink, all three at once."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from dpenet_cli.arrays import Pixels

QUEUE_FRAMES = 4
"""Frames that wait before the network, and as many behind it: enough to overlap, a few megabytes each."""

_POLL = 0.1
"""Seconds after which a thread that waits looks whether it is still wanted."""


class Frame(NamedTuple):
    """One picture of a video.

    Attributes:
        image: H×W×3 RGB, uint8 or uint16, upright.
        pts: when it is shown, in seconds of the stream's own clock, exact.
    """

    image: Pixels
    pts: Fraction


CleanStream = Callable[[Iterable[Pixels]], Iterator[Pixels]]
"""As many images out as in, in order; such as `Derainer.stream`."""

CleanFrames = Callable[[Iterable[Frame]], Iterator[Frame]]
"""As many frames out as in, in order, each at its own time."""


class FrameSource(Protocol):
    """Where frames come from, in the order in which they are shown."""

    def __iter__(self) -> Iterator[Frame]:
        """Read from the first frame that is wanted to the last."""


class FrameSink(Protocol):
    """Where clean frames go, in order."""

    def write(self, frame: Frame) -> None:
        """Take one frame."""

    def finish(self) -> None:
        """Complete what was written; called once, after the last frame."""


def pump(
    source: FrameSource | Iterable[Frame],
    clean: CleanStream,
    sink: FrameSink,
    written: Callable[[Frame], None] | None = None,
) -> int:
    """Carry every frame from the source through `clean` into the sink, and finish it.

    The source is read on one thread and the sink written on another while `clean` works on this one. Each frame keeps
    its time. At most `QUEUE_FRAMES` frames wait on either side, so memory does not grow with the length of the video.

    Args:
        source: frames in order.
        clean: the network.
        sink: takes the clean frames; it is not finished if anything fails.
        written: told, on the sink's thread, of each frame that the sink has taken.

    Returns:
        The number of frames.

    Raises:
        Exception: whatever the source, `clean` or the sink raised first.
    """
    count = 0
    times: deque[Fraction] = deque()
    with _ReadAhead(source) as frames, _WriteBehind(sink, written) as writer:

        def images() -> Iterator[Pixels]:
            for frame in frames:
                times.append(frame.pts)
                yield frame.image

        # Images go in without their times and come out in the same order: the oldest time is that of the next one.
        for image in clean(images()):
            writer.put(Frame(image, times.popleft()))
            count += 1
        writer.finish()
    return count


class _ReadAhead:
    """Reads a source on a thread, `QUEUE_FRAMES` frames ahead."""

    def __init__(self, source: FrameSource | Iterable[Frame]) -> None:
        self._source = source
        self._queue: queue.Queue[Frame | BaseException | None] = queue.Queue(QUEUE_FRAMES)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="read frames", daemon=True)

    def __enter__(self) -> Iterator[Frame]:
        self._thread.start()
        return self._frames()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _frames(self) -> Iterator[Frame]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def _run(self) -> None:
        try:
            for frame in self._source:
                if not self._offer(frame):
                    return
            self._offer(None)
        except BaseException as error:  # noqa: BLE001 - it is raised again where the frames are taken
            self._offer(error)

    def _offer(self, item: Frame | BaseException | None) -> bool:
        """Queue an item once there is room; False if nobody wants it any more."""
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=_POLL)
            except queue.Full:
                continue
            return True
        return False


class _WriteBehind:
    """Writes a sink on a thread, at most `QUEUE_FRAMES` frames behind."""

    def __init__(self, sink: FrameSink, written: Callable[[Frame], None] | None) -> None:
        self._sink = sink
        self._written = written
        self._queue: queue.Queue[Frame | None] = queue.Queue(QUEUE_FRAMES)
        self._error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="write frames", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def put(self, frame: Frame | None) -> None:
        """Hand over a frame; raises what the sink raised."""
        while True:
            if self._error is not None:
                raise self._error
            try:
                self._queue.put(frame, timeout=_POLL)
            except queue.Full:
                continue
            return

    def finish(self) -> None:
        """Wait until everything is written and the sink is finished; raises what it raised."""
        self.put(None)
        while self._thread.is_alive():
            self._thread.join(_POLL)  # in short turns: an interrupt is noticed
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    frame = self._queue.get(timeout=_POLL)
                except queue.Empty:
                    continue
                if frame is None:
                    self._sink.finish()
                    return
                self._sink.write(frame)
                if self._written is not None:
                    self._written(frame)
        except BaseException as error:  # noqa: BLE001 - it is raised again where frames are handed over
            self._error = error
