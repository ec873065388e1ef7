"""One video from its file to its clean file: the segments that are missing, and the result that is made of all."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from dpenet_cli.errors import VideoReadError
from dpenet_cli.system.atomic import date_no_earlier
from dpenet_cli.video.frames import Frame, FrameCleaner, pump
from dpenet_cli.video.mux import EncodedStream, assemble, verify
from dpenet_cli.video.segments import SegmentSink
from dpenet_cli.video.stream_plan import StreamPlan
from dpenet_cli.video.video_task import VideoTask, identity, state_of
from dpenet_cli.video.work_folder import WorkFolder

log = logging.getLogger(__name__)


def clean_video(
    task: VideoTask,
    clean: FrameCleaner,
    engine: str,
    written: Callable[[int], None] | None = None,
    made: Callable[[Path], None] | None = None,
) -> tuple[str, ...]:
    """Do the work: the missing segments, then the file, looked at before it gets its name.

    Args:
        task: from `prepare`.
        clean: cleans the frames.
        engine: what of it the result depends on; other words start the work over.
        written: told the number of frames that are done, over all streams.
        made: told the file that is going to be the result, whole and verified, before it gets its name.

    Returns:
        What happened that the user should know.

    Raises:
        DpenetError: reading, cleaning, encoding or muxing failed; finished segments stay.
    """
    target = task.target
    target.parent.mkdir(parents=True, exist_ok=True)
    if task.options.preview is not None:
        clean = _BeforeAndAfter(clean)
    notices: tuple[str, ...] = ()
    with WorkFolder(target, identity(task, engine)) as folder:
        if folder.restarted:
            notices += ("unfinished work of another input or other options was there: started over",)
        done = 0
        for plan in task.plans:
            _clean_stream(task, plan, folder, clean, written=written or _ignore, done=done)
            done += plan.frames
        encoded = tuple(_encoded_stream(plan, folder) for plan in task.plans)
        result = folder.path / f"result{target.suffix}"
        assemble(task.media, encoded, task.copied, task.window, result)
        verify(task.media, encoded, task.copied, task.window, result)
        # The scan, the frames and the copied streams were read one after the other: of one file, or it is no result.
        if state_of(task.source) != task.source_state:
            why = "it was replaced or changed while it was being cleaned"
            raise VideoReadError(str(task.source), why, "Run the command again when nothing writes to it any more.")
        date_no_earlier(result, task.source_state[1])
        if made is not None:
            made(result)
        folder.store(result, target)
    return notices


def _clean_stream(
    task: VideoTask,
    plan: StreamPlan,
    folder: WorkFolder,
    clean: FrameCleaner,
    *,
    written: Callable[[int], None],
    done: int,
) -> None:
    """Clean the frames of one stream that no finished segment holds.

    Args:
        task: what is to be done for the file.
        plan: what is to be done with the stream.
        folder: where its segments are.
        clean: cleans the frames.
        written: told the number of frames that are done, over all streams.
        done: frames of the streams before this one.
    """
    index = plan.stream.index
    sink = SegmentSink(folder, index, plan.encoding, plan.output_orientation, length=plan.length, total=plan.frames)
    position = done + sink.first_frame
    if sink.first_frame:
        log.info("stream %d goes on at frame %d", index, sink.first_frame)
    written(position)
    if sink.first_frame == plan.frames:
        return

    def count(_: Frame) -> None:
        nonlocal position
        position += 1
        written(position)

    frames = task.frames_of(plan, range(plan.first + sink.first_frame, plan.stop), clean.reach)
    try:
        pump(frames, clean, sink, count)
    finally:
        sink.abandon()  # of what failed or was interrupted; a sink that is finished has no encoder any more


def _encoded_stream(plan: StreamPlan, folder: WorkFolder) -> EncodedStream:
    return EncodedStream(
        source=plan.stream,
        segments=tuple(folder.segment(plan.stream.index, number) for number in range(plan.segments)),
        first=plan.first,
        stop=plan.stop,
        codec=plan.encoding.codec,
        colour=plan.reading.colour,
        sample_aspect=plan.encoding.sample_aspect,
        display_matrix=plan.display_matrix,
    )


class _BeforeAndAfter:
    """A cleaner whose images show what came in on the left and what comes out on the right: H×2W×3 of H×W×3."""

    def __init__(self, clean: FrameCleaner) -> None:
        self._clean = clean
        self.reach = clean.reach

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        before: deque[Frame] = deque()  # what went in and has not come out yet

        def kept() -> Iterator[Frame]:
            for frame in frames:
                if not frame.context:
                    before.append(frame)
                yield frame

        for after in self._clean(kept()):
            yield Frame(np.hstack([before.popleft().image, after.image]), after.pts)


def _ignore(_: int) -> None:
    pass
