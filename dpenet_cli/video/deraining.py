"""One video from its file to its clean file: everything decided before the work starts, then the work."""

import dataclasses
import hashlib
import json
import logging
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from dpenet_cli.arrays import Pixels
from dpenet_cli.errors import OptionError, VideoReadError
from dpenet_cli.options import VideoOptions
from dpenet_cli.system.atomic import date_no_earlier
from dpenet_cli.system.outputs import Job
from dpenet_cli.video.encoder import find_ffmpeg
from dpenet_cli.video.frames import Frame, pump
from dpenet_cli.video.mux import Piece, assemble, verify
from dpenet_cli.video.muxers import plan_stream_copies
from dpenet_cli.video.probe import MediaInfo, VideoStream, probe
from dpenet_cli.video.readers import Frames
from dpenet_cli.video.safe_open import reading
from dpenet_cli.video.segments import SegmentSink, WorkFolder
from dpenet_cli.video.stream_copy import Window, first_key
from dpenet_cli.video.stream_plan import StreamPlan, plan_stream

log = logging.getLogger(__name__)

CleanStream = Callable[[Iterable[Pixels]], Iterator[Pixels]]
"""As many images out as in, in order; such as `Derainer.stream`."""


@dataclass(frozen=True)
class VideoTask:
    """Everything that is to be done for one file, and what its user should know before.

    Attributes:
        job: source and target.
        seen: size, and time of the last change in nanoseconds, of the source before it was looked at.
        movie: the source.
        strands: the streams that are cleaned.
        carried: indexes of streams that are copied.
        window: the part that is taken.
        options: as given.
        notices: sentences without a full stop.
        details: the same, for those who ask.
    """

    job: Job
    seen: tuple[int, int]
    movie: MediaInfo
    strands: tuple[StreamPlan, ...]
    carried: frozenset[int]
    window: Window
    options: VideoOptions
    notices: tuple[str, ...]
    details: tuple[str, ...]

    @property
    def frames(self) -> int:
        """Frames to clean, over all strands."""
        return sum(strand.frames for strand in self.strands)


def prepare(job: Job, options: VideoOptions) -> VideoTask:
    """Decode the source once, decide everything, and refuse what would lose something.

    Raises:
        VideoReadError: the source is no video, or none that decodes.
        VideoRefused: it could not be cleaned as asked without losing something.
        OptionError: an option does not fit this video.
    """
    seen = _seen(job.source)
    movie = probe(job.source)
    chosen = _chosen(movie, options.video_stream)
    carried, notices = plan_stream_copies(movie, job.target)
    left = {footage.index for footage in movie.footage} - {footage.index for footage in chosen}
    if left and options.preview is not None:
        left = set()  # a look at the stream that was chosen
    if options.preview is not None:
        options = _middle(movie, options, options.preview)
    window = Window(options.start, options.end)
    notices += _told_of_joints(movie) + _told_of_copies(movie, left, window)
    strands = []
    details = []
    for footage in chosen:
        strand, more = plan_stream(job, movie, footage, options)
        strands.append(strand)
        notices += more
        reader = "OpenCV" if strand.reading.through_opencv else f"PyAV, because of {strand.reading.why}"
        details.append(f"stream {footage.index}: {len(footage.ticks)} frames, read through {reader}")
    if movie.boxes:
        what = ", ".join(f"'{name}'" for name in movie.boxes)
        notices += (f"a GPS log outside the streams ({what}) is not carried; keep the original",)
    return VideoTask(job, seen, movie, tuple(strands), carried | left, window, options, notices, tuple(details))


def _seen(source: Path) -> tuple[int, int]:
    with reading(source):
        status = source.stat()
    return status.st_size, status.st_mtime_ns


def _chosen(movie: MediaInfo, wanted: int | None) -> tuple[VideoStream, ...]:
    if wanted is None:
        return movie.footage
    if not 0 <= wanted < len(movie.footage):
        why = f"the video has {len(movie.footage)} video stream(s), counted from 0"
        raise OptionError(f"{movie.path}, --video-stream {wanted}", why, "Give another number.")
    return (movie.footage[wanted],)


def _told_of_joints(movie: MediaInfo) -> tuple[str, ...]:
    """Where other recordings begin, in seconds from the first picture."""
    if not movie.timeline.joints:
        return ()
    times = [f"{float(joint.time - movie.footage[0].time(0)):.1f} s" for joint in movie.timeline.joints]
    at = ", ".join(times[:5]) + (" and more" if len(times) > 5 else "")
    return (f"recordings were joined at {at}: each begins where the one before it ends",)


def _told_of_copies(movie: MediaInfo, left: set[int], window: Window) -> tuple[str, ...]:
    """Where copied video streams begin: at a key frame, since nothing of them is decoded.

    Raises:
        OptionError: there is none in the part that is wanted.
    """
    notices = []
    for index in sorted(left) if window.start is not None else ():
        begin = first_key(movie, index, window)
        if begin is None:
            why = f"stream {index} is to be copied, and has no key frame in the part that is wanted"
            raise OptionError(f"{movie.path}, --video-stream", why, "CleanStream all streams, or take a longer part.")
        if begin > window.shift:
            notices.append(f"stream {index} is copied from its first key frame on, at {float(begin):.2f} s")
    return tuple(notices)


def _middle(movie: MediaInfo, options: VideoOptions, seconds: Fraction) -> VideoOptions:
    """Options for so many seconds from the middle of the first stream, from a frame on."""
    footage = movie.footage[0]
    middle = (footage.time(0) + footage.time(-1)) / 2
    wanted = max(middle - seconds / 2, footage.time(0))
    start = footage.time(min(bisect_left(footage.ticks, wanted / footage.time_base), len(footage.ticks) - 1))
    return dataclasses.replace(options, start=start, end=start + seconds)


def _beside(clean: CleanStream) -> CleanStream:
    """A network whose images show what came in on the left and what comes out on the right."""

    def both(frames: Iterable[Pixels]) -> Iterator[Pixels]:
        before: deque[Pixels] = deque()

        def kept() -> Iterator[Pixels]:
            for frame in frames:
                before.append(frame)
                yield frame

        for after in clean(kept()):
            yield np.hstack([before.popleft(), after])

    return both


def clean_video(
    work: VideoTask, clean: CleanStream, engine: str, written: Callable[[int], None] | None = None
) -> tuple[str, ...]:
    """Do the work: the missing segments, then the file, looked at before it gets its name.

    Args:
        work: from `prepare`.
        clean: the network.
        engine: what of the engine the result depends on; other words start the work over.
        written: told the number of frames that are done, over all strands.

    Returns:
        What happened that the user should know.

    Raises:
        DpenetError: reading, cleaning, encoding or muxing failed; finished segments stay.
    """
    target = work.job.target
    target.parent.mkdir(parents=True, exist_ok=True)
    if work.options.preview is not None:
        clean = _beside(clean)
    notices: tuple[str, ...] = ()
    with WorkFolder(target, identity(work, engine)) as place:
        if place.restarted:
            notices += ("unfinished work of another input or other options was there: started over",)
        done = 0
        pieces = []
        for strand in work.strands:
            done = _clean_strand(work, strand, place, clean, written=written or _ignore, done=done)
            pieces.append(_piece(strand, place))
        result = place.folder / f"result{target.suffix}"
        assemble(work.movie, tuple(pieces), work.carried, work.window, result)
        verify(work.movie, tuple(pieces), work.carried, work.window, result)
        if _seen(work.job.source) != work.seen:
            why = "it was replaced or changed while it was being cleaned"
            raise VideoReadError(str(work.job.source), why, "Run the command again when nothing writes to it any more.")
        date_no_earlier(result, work.seen[1])
        place.store(result, target)
    return notices


def _clean_strand(
    work: VideoTask,
    strand: StreamPlan,
    place: WorkFolder,
    clean: CleanStream,
    *,
    written: Callable[[int], None],
    done: int,
) -> int:
    """Clean the frames of one stream that no finished segment holds; tell how many are done in all."""
    sink = SegmentSink(
        place, strand.footage.index, strand.encoding, strand.coded, length=strand.length, total=strand.frames
    )
    position = done + sink.first_frame
    if sink.first_frame:
        log.info("stream %d goes on at frame %d", strand.footage.index, sink.first_frame)
    written(position)
    if sink.first_frame < strand.frames:
        frames = source(work, strand, range(strand.first + sink.first_frame, strand.stop))

        def count(_: Frame) -> None:
            nonlocal position
            position += 1
            written(position)

        try:
            pump(frames, clean, sink, count)
        finally:
            sink.abandon()
    return done + strand.frames


def source(work: VideoTask, strand: StreamPlan, wanted: range) -> Frames:
    """Frames of a strand, by their numbers."""
    deinterlace = work.options.deinterlace
    return Frames(work.movie, strand.footage, strand.reading, strand.turn, wanted, deinterlace=deinterlace)


def _piece(strand: StreamPlan, place: WorkFolder) -> Piece:
    index = strand.footage.index
    return Piece(
        footage=strand.footage,
        segments=tuple(place.segment(index, number) for number in range(strand.segments)),
        first=strand.first,
        stop=strand.stop,
        codec=strand.encoding.codec,
        colour=strand.reading.colour,
        aspect=strand.encoding.aspect,
        matrix=strand.matrix,
    )


def damage(work: VideoTask) -> VideoReadError | None:
    """What of the source could not be decoded, as an error to report; None if nothing."""
    movie = work.movie
    if not movie.damaged:
        return None
    places = sorted({(time, _frame_at(footage, time)) for footage in movie.footage for time in footage.damage})
    near = [f"frame {frame} ({float(time):.1f} s)" for time, frame in places]
    told = [f"near {', '.join(near[:5])}{' and more' if len(near) > 5 else ''}"] if near else []
    if movie.gaps:
        told.append(f"packets are missing at {movie.gaps} places, or other files were joined there")
    if movie.cut_off:
        told.append(f"its last {float(movie.cut_off):.1f} s are missing")
    why = f"the file is damaged ({'; '.join(told)}); the rest is cleaned, as {work.job.target}"
    return VideoReadError(str(movie.path), why, "Copy it again from where it came, or accept it with --allow-damaged.")


def _frame_at(footage: VideoStream, time: Fraction) -> int:
    """Number of the frame that is shown at a time, from 0."""
    return max(bisect_right(footage.ticks, time / footage.time_base) - 1, 0)


def identity(work: VideoTask, engine: str) -> dict[str, Any]:
    """What the result depends on, as JSON values."""
    encoder = Path(find_ffmpeg())
    strands = [
        {
            "stream": strand.footage.index,
            "frames": [strand.first, strand.stop, strand.length],
            "times": hashlib.sha256(strand.footage.ticks.tobytes()).hexdigest(),
            "ffmpeg": strand.encoding.arguments(Path("x.mkv"))[:-1],
            "reading": dataclasses.asdict(strand.reading),
            "turns": [strand.turn, strand.coded],
        }
        for strand in work.strands
    ]
    known = {
        "input": [str(work.job.source.absolute()), *work.seen],
        "engine": engine,
        "encoder": [str(encoder), encoder.stat().st_size, encoder.stat().st_mtime_ns] if encoder.is_file() else [],
        "strands": strands,
    }
    plain: dict[str, Any] = json.loads(json.dumps(known))  # tuples become lists, as they will when read again
    return plain


def _ignore(_: int) -> None:
    pass
