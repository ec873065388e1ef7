"""The frame loop, without any codec: frames from a source, through the engine, into a sink, all three at once."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from types import TracebackType
from typing import Generic, NamedTuple, Protocol, Self, TypeVar

from dpenet_cli.arrays import Pixels

T = TypeVar("T")
U = TypeVar("U")

QUEUE_FRAMES = 4
"""Frames that wait before the network, and as many behind it: enough to overlap, a few megabytes each."""

_POLL = 0.1
"""Seconds after which a thread that waits looks whether it is still wanted."""


class Frame(NamedTuple):
    """One picture of a video.

    Attributes:
        image: H×W×3 RGB, uint8 or uint16, upright.
        pts: when it is shown, in seconds of the stream's own clock, exact.
        context: whether it is there for its neighbours' sake alone: none comes out for it.
        scale: width in which the network sees it, over its own.
        number: its number in the whole video by its time and the rate that the file tells: the same in a part.
    """

    image: Pixels
    pts: Fraction
    context: bool = False
    scale: float = 1.0
    number: int = 0


CleanStream = Callable[[Iterable[Pixels]], Iterator[Pixels]]
"""As many images out as in, in order; such as `Derainer.stream`."""

CleanFrames = Callable[[Iterable[Frame]], Iterator[Frame]]
"""As many frames out as in, but for those that are context, in order and at their times."""


class FrameCleaner(Protocol):
    """What cleans a video's frames.

    Attributes:
        reach: frames before and after each one that its result depends on.
    """

    @property
    def reach(self) -> int:
        """See above."""

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Clean frames, in order, all but those that are context."""


class EachFrame:
    """A `FrameCleaner` that cleans each frame by itself.

    Args:
        clean: cleans images.
    """

    reach = 0

    def __init__(self, clean: CleanStream) -> None:
        self._clean = clean

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Clean frames, in order; none of them is context."""
        times: deque[Fraction] = deque()

        def images() -> Iterator[Pixels]:
            for frame in frames:
                times.append(frame.pts)
                yield frame.image

        # Images go in without their times and come out in the same order: the oldest time is that of the next one.
        for image in self._clean(images()):
            yield Frame(image, times.popleft())


def in_order(function: Callable[[T], U], items: Iterable[T], workers: int) -> Iterator[U]:
    """A function of every item, in order, of so many at a time on threads; of one at a time on this one."""
    if workers == 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[U]] = deque()
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


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
    clean: CleanFrames,
    sink: FrameSink,
    written: Callable[[Frame], None] | None = None,
) -> int:
    """Carry every frame from the source through `clean` into the sink, and finish it.

    The source is read on one thread and the sink written on another while `clean` works on this one. At most
    `QUEUE_FRAMES` frames wait on either side, so memory does not grow with the length of the video.

    Args:
        source: frames in order.
        clean: gives the frames that are written, of those that are read.
        sink: takes the clean frames; it is not finished if anything fails.
        written: told, on the sink's thread, of each frame that the sink has taken.

    Returns:
        The number of frames that were written.

    Raises:
        Exception: whatever the source, `clean` or the sink raised first.
    """
    count = 0
    with ReadAhead(source) as frames, _WriteBehind(sink, written) as writer:
        for frame in clean(frames):
            writer.put(frame)
            count += 1
        writer.finish()
    return count


class ReadAhead(Generic[T]):
    """Reads a source on a thread, `QUEUE_FRAMES` items ahead; a context manager that gives an iterator.

    Args:
        source: what is read; what it raises is raised where its items are taken.
    """

    def __init__(self, source: Iterable[T]) -> None:
        self._source = source
        self._queue: queue.Queue[T | BaseException | None] = queue.Queue(QUEUE_FRAMES)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="read frames", daemon=True)

    def __enter__(self) -> Iterator[T]:
        self._thread.start()
        return self._items()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _items(self) -> Iterator[T]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def _run(self) -> None:
        try:
            for item in self._source:
                if not self._offer(item):
                    return
            self._offer(None)
        except BaseException as error:  # noqa: BLE001 - it is raised again where the frames are taken
            self._offer(error)

    def _offer(self, item: T | BaseException | None) -> bool:
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
