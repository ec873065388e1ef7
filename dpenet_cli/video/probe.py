"""What a video file holds, found by decoding it once: headers are hints, frames are facts.

The pass costs a small part of what the network will, and settles everything before that starts: how many frames there
are and when each is shown, whether size, pixel format or scanning change on the way, and what is damaged.
"""

import itertools
from array import array
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from dpenet_cli.errors import VideoReadError
from dpenet_cli.video.discontinuities import AS_IT_IS, Timeline, find_timeline
from dpenet_cli.video.hdr import Mastering
from dpenet_cli.video.mp4_gps import loose_boxes
from dpenet_cli.video.mpegts import Counters, count_packets
from dpenet_cli.video.safe_open import reading
from dpenet_cli.video.scan import Matrix, Scan, scan_file
from dpenet_cli.video.yuv import ColourTags

_MISSING_TAIL = Fraction(1)
"""Seconds by which a file may end before its header says so, without being called cut off."""


@dataclass(frozen=True)
class VideoStream:
    """One real video stream.

    Attributes:
        index: of the stream in its file.
        codec: libavcodec's name.
        width, height: of the coded picture, in pixels, before any rotation.
        pixel_format: of the first frame, FFmpeg's name.
        colour: its tags.
        mastering: static HDR metadata, or None.
        beside: what its frames carry beside their pixels, by PyAV's names for the kinds.
        sample_aspect: width of a pixel over its height; 0 where untagged.
        matrix: the display matrix, or None.
        time_base: seconds a tick.
        rate: frames a second: exact where the frames are evenly spaced, else the average.
        ticks: when each frame is shown, rising.
        last_duration: of the last frame, in ticks.
        interlaced: whether most frames are pairs of fields.
        steady: whether size and pixel format never change.
        damage: times in seconds near which something could not be decoded.
    """

    index: int
    codec: str
    width: int
    height: int
    pixel_format: str
    colour: ColourTags
    mastering: Mastering | None
    beside: frozenset[str]
    sample_aspect: Fraction
    matrix: Matrix | None
    time_base: Fraction
    rate: Fraction
    ticks: "array[int]"
    last_duration: int
    interlaced: bool
    steady: bool
    damage: tuple[Fraction, ...]

    def time(self, frame: int) -> Fraction:
        """When a frame is shown, in seconds."""
        return self.ticks[frame] * self.time_base

    def duration_ticks(self, frame: int) -> int:
        """How long a frame is shown, in ticks."""
        following = frame + 1
        return self.ticks[following] - self.ticks[frame] if following < len(self.ticks) else self.last_duration


@dataclass(frozen=True)
class MediaInfo:
    """One file.

    Attributes:
        path: where it is.
        container: libavformat's name for its kind.
        footage: the real video streams, in order; cover pictures are not among them.
        others: (index, type, codec) of every other stream.
        boxes: names of boxes outside any stream, such as dashcams' GPS logs.
        cut_off: seconds that the header promises and that are not there; 0 where all is.
        gaps: places where packets of a transport stream are missing.
        timeline: how the file's own times became those that are told here.
    """

    path: Path
    container: str
    footage: tuple[VideoStream, ...]
    others: tuple[tuple[int, str, str], ...]
    boxes: tuple[str, ...]
    cut_off: Fraction = Fraction(0)
    gaps: int = 0
    timeline: Timeline = AS_IT_IS

    @property
    def damaged(self) -> bool:
        """Whether something could not be decoded."""
        return bool(self.cut_off or self.gaps) or any(footage.damage for footage in self.footage)


def probe(path: Path) -> MediaInfo:
    """Decode a file's video streams once, and describe it.

    Raises:
        VideoReadError: it is empty, no video, holds no moving picture, or none that decodes.
    """
    with reading(path):
        counters = count_packets(path) if path.is_file() else Counters()
    timeline = find_timeline(path, counters)
    scan = scan_file(path, timeline, strict=True)
    if scan.broken:
        # A strict decoder also drops frames that the real one repairs: see what really comes out.
        lenient = scan_file(path, timeline, strict=False)
        for index, times in scan.broken.items():
            lenient.broken[index] = sorted({*lenient.broken.get(index, ()), *times})
        scan = lenient
    joints = timeline.joints
    gaps = sum(not any(joint.lies_between(item.before, item.at) for joint in joints) for item in counters.breaks)
    return _movie(path, scan, gaps, timeline)


def _movie(path: Path, scan: Scan, gaps: int, timeline: Timeline) -> MediaInfo:
    footage = []
    for index, track in scan.tracks.items():
        if track.first is None:
            continue
        stream = scan.streams[index]
        width, height, pixel_format = track.first
        footage.append(
            VideoStream(
                index=index,
                codec=stream["codec"],
                width=width,
                height=height,
                pixel_format=pixel_format,
                colour=track.colour,
                mastering=track.mastering,
                beside=frozenset(track.beside),
                sample_aspect=stream["aspect"],
                matrix=track.matrix,
                time_base=stream["time_base"],
                rate=_rate(track.ticks, stream["time_base"], stream["rate"]),
                ticks=track.ticks,
                last_duration=max(track.last_duration, 1),
                interlaced=track.interlaced * 2 > len(track.ticks),
                steady=track.steady,
                damage=tuple(scan.broken.get(index, ())),
            )
        )
    if not footage:
        why = "none of its pictures can be decoded"
        raise VideoReadError(str(path), why, "Copy it again from where it came; it is damaged, or only begun.")
    short = scan.promised - scan.reached
    cut_off = short if short > max(_MISSING_TAIL, scan.promised / 50) else Fraction(0)
    others = [item for item in scan.others if item[0] not in scan.tracks]
    with reading(path):
        boxes = loose_boxes(path)
    cut_off = Fraction(0) if timeline.joints else cut_off  # the header knows of the first recording alone
    return MediaInfo(path, scan.container, tuple(footage), tuple(others), boxes, cut_off, gaps, timeline)


def _rate(ticks: "array[int]", time_base: Fraction, stated: Fraction) -> Fraction:
    """Exact where frames are evenly spaced, to the tick; else what the file states."""
    steps = {later - earlier for earlier, later in itertools.pairwise(ticks)}
    if len(steps) == 1:
        return 1 / (steps.pop() * time_base)
    return Fraction(stated)
