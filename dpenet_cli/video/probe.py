"""What a video file holds, found by decoding it, or the part that is wanted, once: headers are hints, frames are facts.

The pass costs a small part of what the network will, and settles everything before that starts: how many frames there
are and when each is shown, whether size, pixel format or scanning change on the way, and what is damaged.
"""

import dataclasses
import itertools
from array import array
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from dpenet_cli.errors import VideoReadError
from dpenet_cli.video.colour import ColourTags
from dpenet_cli.video.containers import RAW_STREAMS
from dpenet_cli.video.cut_streams import ends_within_picture
from dpenet_cli.video.discontinuities import OWN_CLOCK, Timeline, find_timeline
from dpenet_cli.video.hdr import HdrMetadata
from dpenet_cli.video.mpegts import Continuity, check_continuity
from dpenet_cli.video.safe_open import open_input, reading
from dpenet_cli.video.scan import rate_is_assumed, scan_file, scan_part
from dpenet_cli.video.scanned import DisplayMatrix, OtherStream, Scan, ScannedStream
from dpenet_cli.video.unread import find_unread

_MISSING_TAIL = Fraction(1)
"""Seconds by which a file may end before its header says so, without being called cut off."""


@dataclass(frozen=True)
class VideoStream:
    """One stream of moving pictures.

    Attributes:
        index: its number in the file.
        codec: libavcodec's name.
        width, height: of the coded picture, in pixels, before any rotation.
        pixel_format: of the first frame, FFmpeg's name.
        colour: its tags.
        hdr_metadata: static HDR metadata, or None.
        side_data: what its frames and packets carry beside their pixels, by the names of the kinds.
        has_alpha_layer: whether there is transparency that its frames do not show.
        sample_aspect: width of a pixel over its height; 0 where untagged.
        display_matrix: how players turn it, or None.
        time_base: seconds a tick.
        rate: frames a second: exact where the frames are evenly spaced, else the average.
        header_rate: the same as the header has it, for the whole file or a part of it.
        ticks: when each frame is shown, rising.
        last_duration: how long the last frame is shown, in ticks.
        interlaced: whether most frames are pairs of fields.
        constant_format: whether size and pixel format never change.
        errors: times in seconds near which something could not be decoded.
        cuts: numbers of the frames at which new scenes begin, of a stream with large frames.
    """

    index: int
    codec: str
    width: int
    height: int
    pixel_format: str
    colour: ColourTags
    hdr_metadata: HdrMetadata | None
    side_data: frozenset[str]
    has_alpha_layer: bool
    sample_aspect: Fraction
    display_matrix: DisplayMatrix | None
    time_base: Fraction
    rate: Fraction
    header_rate: Fraction
    ticks: "array[int]"
    last_duration: int
    interlaced: bool
    constant_format: bool
    errors: tuple[Fraction, ...]
    cuts: tuple[int, ...] = ()

    def time(self, frame: int) -> Fraction:
        """When a frame is shown, in seconds."""
        return self.ticks[frame] * self.time_base

    def duration_ticks(self, frame: int) -> int:
        """How long a frame is shown, in ticks."""
        following = frame + 1
        return self.ticks[following] - self.ticks[frame] if following < len(self.ticks) else self.last_duration


class Part(NamedTuple):
    """The only part of a file that was decoded, in seconds.

    Attributes:
        start, end: what was wanted of it.
        seek: reading begins at the key frame before this.
        first, last: when the whole file begins and ends, by its header.
    """

    start: Fraction
    end: Fraction
    seek: Fraction
    first: Fraction
    last: Fraction

    def entry(self, offset: Fraction) -> Fraction | None:
        """Where the file is entered, on its own clock, to which `offset` was added; None at its beginning."""
        return None if self.seek == self.first else self.seek - offset


@dataclass(frozen=True)
class MediaInfo:
    """One file.

    Attributes:
        path: where it is.
        container: libavformat's name for its kind.
        streams: the streams of moving pictures, in order; cover pictures are not among them.
        others: every other stream.
        gps_boxes: names of boxes outside any stream that hold a dashcam's GPS log.
        passed_over: names of what else lies outside the streams, or beside packets that are copied, and is not read.
        cut_off: seconds that the header promises and that are not there; 0 where all is.
        gaps: how many places there are where packets of a transport stream are missing.
        timeline: how the file's own times became those that are told here.
        ends_early: whether it ends in the middle of a picture, or of another packet.
        rate_is_assumed: whether the times are of a rate that the file does not say.
        part: which part alone was decoded: frames are counted from its first on; None for the whole.
    """

    path: Path
    container: str
    streams: tuple[VideoStream, ...]
    others: tuple[OtherStream, ...]
    gps_boxes: tuple[str, ...]
    cut_off: Fraction = Fraction(0)
    gaps: int = 0
    timeline: Timeline = OWN_CLOCK
    ends_early: bool = False
    rate_is_assumed: bool = False
    part: Part | None = None
    passed_over: tuple[str, ...] = ()

    @property
    def damaged(self) -> bool:
        """Whether something could not be decoded."""
        return bool(self.cut_off or self.gaps or self.ends_early) or any(stream.errors for stream in self.streams)


def probe(path: Path) -> MediaInfo:
    """Decode a file's video streams once, and describe it.

    Raises:
        VideoReadError: it is empty, no video, holds no moving picture, or none that decodes.
    """
    with reading(path):
        continuity = check_continuity(path) if path.is_file() else Continuity()
    timeline = find_timeline(path, continuity)
    scan = scan_file(path, timeline, strict=True, frames_at_once=True)
    if any(stream.errors or len(stream.ticks) != stream.packets for stream in scan.streams.values()):
        # Most packets are one frame each. Where they are not, a frame may be lost: see which, one after the other.
        scan = scan_file(path, timeline, strict=True, frames_at_once=False)
    if any(stream.errors for stream in scan.streams.values()):
        # A strict decoder also drops frames that the real one repairs: see what really comes out.
        strict, scan = scan, scan_file(path, timeline, strict=False, frames_at_once=False)
        for index, stream in strict.streams.items():
            if stream.errors:
                scan.streams[index].errors = sorted({*scan.streams[index].errors, *stream.errors})
    # Where recordings were joined the counters break too, and nothing is missing.
    gaps = sum(
        not any(item.lies_between(gap.before, gap.at) for item in timeline.discontinuities) for gap in continuity.breaks
    )
    return _media_info(path, scan, gaps, timeline, whole=True)


def probe_part(
    path: Path, wanted: Callable[[Fraction, Fraction], tuple[Fraction, Fraction]], reach: int
) -> MediaInfo | None:
    """Decode a part of a file's video streams, and describe it as if it were all.

    Of transport and program streams, whose clock may start anew on the way, every packet is read first, and none
    decoded.

    Args:
        path: the file.
        wanted: tells the part, from when the file begins and ends by its header, all in seconds.
        reach: frames before and after the part that are decoded too, where there are any.

    Returns:
        What the part holds; None where the file must be decoded from its beginning, because it does not tell its
        length, is made of several recordings, or cannot be entered in the middle.

    Raises:
        VideoReadError: it cannot be opened.
    """
    with reading(path):
        continuity = check_continuity(path) if path.is_file() else Continuity()
    timeline = find_timeline(path, continuity)
    with open_input(path) as container:
        if timeline.discontinuities or not container.duration or not container.streams.video:
            return None
        first = Fraction(container.start_time or 0, 1_000_000) + timeline.offset
        last = first + Fraction(container.duration, 1_000_000)
        rate = Fraction(container.streams.video[0].average_rate or 25)
    start, end = wanted(first, last)
    lead = max(Fraction(1), reach / rate)
    for tried in (lead, 8 * lead, 32 * lead):  # frames may lie far apart, and key frames
        part = Part(start, end, max(start - tried, first), first, last)
        entry = part.entry(timeline.offset)
        scan = scan_part(path, timeline, entry, end, reach + 1)
        if scan is None:
            continue
        if entry is None or all(_before(stream, start) >= reach for stream in scan.streams.values()):
            return dataclasses.replace(_media_info(path, scan, 0, timeline, whole=False), part=part)
    return None


def _before(stream: ScannedStream, start: Fraction) -> int:
    """Frames before a time."""
    return bisect_left(stream.ticks, start / stream.time_base)


def _media_info(path: Path, scan: Scan, gaps: int, timeline: Timeline, *, whole: bool) -> MediaInfo:
    unread = find_unread(path, scan, whole=whole)
    streams = tuple(
        _video_stream(index, stream, unread.blocks.get(index, frozenset()))
        for index, stream in scan.streams.items()
        if stream.first_format
    )
    if not streams:
        why = "none of its pictures can be decoded"
        raise VideoReadError(str(path), why, "Copy it again from where it came; it is damaged, or only begun.")
    short = scan.stated_end - scan.end
    allowed = max(_MISSING_TAIL, (scan.stated_end - scan.stated_begin) / 50)
    cut_off = short if short > allowed else Fraction(0)
    if timeline.discontinuities:
        cut_off = Fraction(0)  # the header knows of the first recording alone
    return MediaInfo(
        path,
        scan.container,
        streams,
        tuple(scan.others),
        unread.gps,
        cut_off,
        gaps,
        timeline,
        unread.cut or scan.cut_in_packet or ends_within_picture(path, scan.container),
        scan.container in RAW_STREAMS and rate_is_assumed(path),
        passed_over=unread.others,
    )


def _video_stream(index: int, scanned: ScannedStream, beside: frozenset[int]) -> VideoStream:
    assert scanned.first_format is not None
    width, height, pixel_format = scanned.first_format
    return VideoStream(
        index=index,
        codec=scanned.codec,
        width=width,
        height=height,
        pixel_format=pixel_format,
        colour=scanned.colour,
        hdr_metadata=scanned.hdr_metadata,
        side_data=frozenset(scanned.side_data | scanned.layers.kinds | {f"BLOCK_{number}" for number in beside}),
        has_alpha_layer=scanned.layers.has_transparency,
        sample_aspect=scanned.sample_aspect,
        display_matrix=scanned.display_matrix,
        time_base=scanned.time_base,
        rate=_rate(scanned.ticks, scanned.time_base, scanned.rate),
        header_rate=scanned.rate,
        ticks=scanned.ticks,
        last_duration=max(scanned.last_duration, 1),
        interlaced=scanned.interlaced * 2 > len(scanned.ticks),
        constant_format=scanned.constant_format,
        errors=tuple(scanned.errors),
        cuts=tuple(scanned.scenes.cuts),
    )


def _rate(ticks: "array[int]", time_base: Fraction, stated: Fraction) -> Fraction:
    """Exact where frames are evenly spaced, to the tick; else what the file states."""
    steps = {later - earlier for earlier, later in itertools.pairwise(ticks)}
    if len(steps) == 1:
        return 1 / (steps.pop() * time_base)
    return stated
