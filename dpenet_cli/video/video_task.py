"""One video, before the work: everything that is decided about it, and what its result depends on."""

import dataclasses
import hashlib
import itertools
import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from dpenet_cli.arrays import Pixels
from dpenet_cli.errors import OptionError, VideoReadError
from dpenet_cli.inference.looks import SMALL
from dpenet_cli.options import VideoOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.system.storage import local
from dpenet_cli.video.encoder import find_ffmpeg
from dpenet_cli.video.frames import Frame
from dpenet_cli.video.over_time import WIDEST_REACH
from dpenet_cli.video.probe import MediaInfo, VideoStream, probe, probe_part
from dpenet_cli.video.readers import VideoReader
from dpenet_cli.video.result_header import named, not_kept
from dpenet_cli.video.safe_open import reading
from dpenet_cli.video.scenes import Scenes, looked_at, scenes_of
from dpenet_cli.video.stream_copy import Window, first_keyframe, plan_stream_copies
from dpenet_cli.video.stream_plan import StreamPlan, plan_stream


@dataclass(frozen=True)
class VideoTask:
    """Everything that is to be done for one file, and what its user should know before.

    Attributes:
        source: where it is.
        target: where the result goes.
        source_state: size, and time of the last change in nanoseconds, of the source before it was looked at.
        media: what the source holds.
        plans: for each stream that is cleaned.
        copied: indexes of streams that are copied.
        window: the part that is taken.
        options: as given, with the part that a preview shows.
        notices: what the user should know, as sentences without a full stop.
        details: the same, for those who ask.
        scenes: in which size the network sees the scenes of each stream, by its number; its own where it is missing.
    """

    source: Path
    target: Path
    source_state: tuple[int, int]
    media: MediaInfo
    plans: tuple[StreamPlan, ...]
    copied: frozenset[int]
    window: Window
    options: VideoOptions
    notices: tuple[str, ...]
    details: tuple[str, ...]
    scenes: Mapping[int, Scenes] = field(default_factory=dict)

    @property
    def frames(self) -> int:
        """Frames to clean, over all streams."""
        return sum(plan.frames for plan in self.plans)

    def frames_of(self, plan: StreamPlan, wanted: range, reach: int) -> Iterator[Frame]:
        """The frames of one of its streams, by their numbers, and so many around them as context."""
        scenes = self.scenes.get(plan.stream.index)
        for frame in self.reader(plan, wanted, reach):
            yield frame._replace(scale=scenes.scale_at(frame.pts)) if scenes else frame

    def reader(self, plan: StreamPlan, wanted: range, reach: int = 0) -> VideoReader:
        """What reads the frames of one of its streams."""
        return VideoReader(
            self.media,
            plan.stream,
            plan.reading,
            plan.orientation,
            wanted,
            reach=reach,
            deinterlace=self.options.deinterlace,
        )


def prepare(job: Job, options: VideoOptions) -> VideoTask:
    """Decode the source once, or a preview's part of it, decide everything, and refuse what would lose something.

    Raises:
        VideoReadError: the source is no video, or none that decodes.
        VideoRefused: it could not be cleaned as asked without losing something.
        OptionError: an option does not fit this video.
    """
    source, target = local(job.source), local(job.target)
    source_state = state_of(source)
    media = _probed(source, options)
    streams = streams_wanted(media, options.video_stream)
    left = {stream.index for stream in media.streams} - {stream.index for stream in streams}
    if options.preview is not None:
        options = _middle(media, options, options.preview)
        left = set()  # a preview is a look at the stream that was chosen
    copied, notices = plan_stream_copies(media, target, left)
    window = Window(options.start, options.end)
    if media.rate_is_assumed:
        notices += (f"{float(streams[0].rate):g} frames a second were assumed (the stream does not say)",)
    notices += _join_notices(media) + _copy_notices(media, left, window)
    plans = []
    details = []
    for stream in streams:
        plan, more = plan_stream(target, media, stream, options)
        plans.append(plan)
        notices += more
        reader = "OpenCV" if plan.reading.through_opencv else f"PyAV, because of {plan.reading.why}"
        details.append(f"stream {stream.index}: {len(stream.ticks)} frames, read through {reader}")
    notices += _unread_notices(media)
    cleaned = [stream.index for stream in streams]
    notices += not_kept(media, target, cleaned, copied, window)
    decided = (tuple(plans), copied, window, options, notices, tuple(details))
    return VideoTask(source, target, source_state, media, *decided)


def with_scales(task: VideoTask, choose: Callable[[Sequence[Pixels]], float], given: float | None = None) -> VideoTask:
    """Decide in which size the network sees each scene of each stream.

    Args:
        task: from `prepare`.
        choose: tells the size by some frames of a scene, as `ScaledDerainer.choose` does.
        given: the size of all, if it is not to be decided.

    Raises:
        DpenetError: reading failed, or the network did.
    """
    scenes = {}
    for plan in task.plans:
        stream = plan.stream
        if given is not None:
            scenes[stream.index] = Scenes((stream.time(0),), (given,))
            continue
        if stream.width * stream.height < SMALL:  # such frames are seen in their own size
            continue
        parts = scenes_of(len(stream.ticks), stream.cuts)
        numbers = [looked_at(part, stream.rate) for part in parts]
        images = task.reader(plan, range(0)).some([number for some in numbers for number in some])
        scales = tuple(choose(list(itertools.islice(images, len(some)))) for some in numbers)
        scenes[stream.index] = Scenes(tuple(stream.time(part.start) for part in parts), scales)
    return dataclasses.replace(task, scenes=scenes)


def state_of(source: Path) -> tuple[int, int]:
    """Size in bytes, and time of the last change in nanoseconds.

    Raises:
        VideoReadError: it cannot be reached.
    """
    with reading(source):
        status = source.stat()
    return status.st_size, status.st_mtime_ns


def streams_wanted(media: MediaInfo, wanted: int | None) -> tuple[VideoStream, ...]:
    """The streams that are cleaned: all, or the one that is asked for.

    Raises:
        OptionError: there is no such stream.
    """
    if wanted is None:
        return media.streams
    if not 0 <= wanted < len(media.streams):
        why = f"the video has {len(media.streams)} video stream(s), counted from 0"
        raise OptionError(f"{media.path}, --video-stream {wanted}", why, "Give another number.")
    return (media.streams[wanted],)


def _unread_notices(media: MediaInfo) -> tuple[str, ...]:
    """What lies in the file and is read by nobody here."""
    notices = []
    if media.gps_boxes:
        what = ", ".join(f"'{name}'" for name in media.gps_boxes)
        notices.append(f"a GPS log outside the streams ({what}) is not carried; keep the original")
    if media.passed_over:
        notices.append(f"not carried: {named(media.passed_over)}; keep the original")
    return tuple(notices)


def _join_notices(media: MediaInfo) -> tuple[str, ...]:
    """Where other recordings begin, in seconds from the first picture."""
    if not media.timeline.discontinuities:
        return ()
    first = media.streams[0].time(0)
    times = [f"{float(recording.time - first):.1f} s" for recording in media.timeline.discontinuities]
    at = ", ".join(times[:5]) + (" and more" if len(times) > 5 else "")
    return (f"recordings were joined at {at}: each begins where the one before it ends",)


def _copy_notices(media: MediaInfo, left: set[int], window: Window) -> tuple[str, ...]:
    """Where copied video streams begin: at a key frame, since nothing of them is decoded.

    Raises:
        OptionError: there is none in the part that is wanted.
    """
    notices = []
    for index in sorted(left) if window.start is not None else ():
        begin = first_keyframe(media, index, window)
        if begin is None:
            why = f"stream {index} is to be copied, and has no key frame in the part that is wanted"
            raise OptionError(f"{media.path}, --video-stream", why, "Clean all streams, or take a longer part.")
        if begin > window.shift:
            notices.append(f"stream {index} is copied from its first key frame on, at {float(begin):.2f} s")
    return tuple(notices)


def _probed(source: Path, options: VideoOptions) -> MediaInfo:
    """What a source holds; for a preview, what its middle does, unless the rest must be decoded with it."""
    seconds = options.preview
    if seconds is None:
        return probe(source)

    def middle(first: Fraction, last: Fraction) -> tuple[Fraction, Fraction]:
        start = max((first + last - seconds) / 2, first)
        return start, start + seconds

    return probe_part(source, middle, WIDEST_REACH) or probe(source)


def _middle(media: MediaInfo, options: VideoOptions, seconds: Fraction) -> VideoOptions:
    """Options for so many seconds from the middle of the first stream, from a frame on."""
    stream = media.streams[0]
    if media.part is None:
        wanted = max((stream.time(0) + stream.time(-1) - seconds) / 2, stream.time(0))
    else:
        wanted = media.part.start
    start = stream.time(min(bisect_left(stream.ticks, wanted / stream.time_base), len(stream.ticks) - 1))
    return dataclasses.replace(options, start=start, end=start + seconds)


def damage(task: VideoTask) -> VideoReadError | None:
    """What of the source could not be decoded, as an error to report; None if nothing."""
    media = task.media
    if not media.damaged:
        return None
    places = sorted({(time, _frame_at(stream, time)) for stream in media.streams for time in stream.errors})
    near = [f"frame {frame} ({float(time):.1f} s)" for time, frame in places]
    told = [f"near {', '.join(near[:5])}{' and more' if len(near) > 5 else ''}"] if near else []
    if media.gaps:
        told.append(f"packets are missing at {media.gaps} places, or other files were joined there")
    if media.cut_off:
        told.append(f"its last {float(media.cut_off):.1f} s are missing")
    if media.ends_early:
        told.append("it is cut off at its end")
    why = f"the file is damaged ({'; '.join(told)}); the rest is cleaned, as {task.target}"
    return VideoReadError(str(media.path), why, "Copy it again from where it came, or accept it with --allow-damaged.")


def _frame_at(stream: VideoStream, time: Fraction) -> int:
    """Number of the frame that is shown at a time, from 0."""
    return max(bisect_right(stream.ticks, time / stream.time_base) - 1, 0)


def identity(task: VideoTask, engine: str) -> dict[str, Any]:
    """What the result depends on, as JSON values.

    It is compared with what stands in the manifest of unfinished work, perhaps of an earlier version: its keys stay.

    Args:
        task: from `prepare`.
        engine: what of the engine the result depends on.
    """
    encoder = Path(find_ffmpeg())
    streams = [
        {
            "stream": plan.stream.index,
            "frames": [plan.first, plan.stop, plan.length],
            "times": hashlib.sha256(plan.stream.ticks.tobytes()).hexdigest(),
            "ffmpeg": plan.encoding.arguments(Path("x.mkv"))[:-1],
            "reading": {
                "through_opencv": plan.reading.through_opencv,
                "coefficients": plan.reading.coefficients,
                "full": plan.reading.full_range,
                "deep": plan.reading.deep,
                "colour": plan.reading.colour,
                "why": plan.reading.why,
            },
            "turns": [plan.orientation, plan.output_orientation],
        }
        for plan in task.plans
    ]
    known = {
        "input": [str(task.source.absolute()), *task.source_state],
        "engine": engine,
        "encoder": [str(encoder), encoder.stat().st_size, encoder.stat().st_mtime_ns] if encoder.is_file() else [],
        "strands": streams,
    }
    plain: dict[str, Any] = json.loads(json.dumps(known))  # tuples become lists, as they will when read again
    return plain
