"""What a video file holds, found by decoding it once: headers are hints, frames are facts.

The pass costs a small part of what the network will, and settles everything before that starts: how many frames there
are and when each is shown, whether size, pixel format or scanning change on the way, and what is damaged.
"""

import contextlib
import itertools
from array import array
from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dpenet_cli.errors import VideoReadError
from dpenet_cli.video.boxes import loose_boxes
from dpenet_cli.video.colour import Colour
from dpenet_cli.video.opening import open_input
from dpenet_cli.video.transport import gaps

if TYPE_CHECKING:
    import av.container
    from av.video.stream import VideoStream

Matrix = tuple[int, int, int, int, int, int, int, int, int]
"""A display matrix as MP4 has it: a, b, u, c, d, v, x, y, w in 16.16 and 2.30 fixed point."""

_IDENTITY = (65536, 0, 0, 0, 65536, 0)
"""The part of a display matrix that turns or mirrors, where it does neither."""

_MISSING_TAIL = Fraction(1)
"""Seconds by which a file may end before its header says so, without being called cut off."""


@dataclass(frozen=True)
class Footage:
    """One real video stream.

    Attributes:
        index: of the stream in its file.
        codec: libavcodec's name.
        width, height: of the coded picture, in pixels, before any rotation.
        pixel_format: of the first frame, FFmpeg's name.
        colour: its tags.
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
    colour: Colour
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
class Movie:
    """One file.

    Attributes:
        path: where it is.
        container: libavformat's name for its kind.
        footage: the real video streams, in order; cover pictures are not among them.
        others: (index, type, codec) of every other stream.
        boxes: names of boxes outside any stream, such as dashcams' GPS logs.
        cut_off: seconds that the header promises and that are not there; 0 where all is.
        gaps: places where packets of a transport stream are missing.
    """

    path: Path
    container: str
    footage: tuple[Footage, ...]
    others: tuple[tuple[int, str, str], ...]
    boxes: tuple[str, ...]
    cut_off: Fraction = Fraction(0)
    gaps: int = 0

    @property
    def damaged(self) -> bool:
        """Whether something could not be decoded."""
        return bool(self.cut_off or self.gaps) or any(footage.damage for footage in self.footage)


def probe(path: Path) -> Movie:
    """Decode a file's video streams once, and describe it.

    Raises:
        VideoReadError: it is empty, no video, holds no moving picture, or none that decodes.
    """
    scan = _scan(path, strict=True)
    if scan.broken:
        # A strict decoder also drops frames that the real one repairs: see what really comes out.
        lenient = _scan(path, strict=False)
        for index, times in scan.broken.items():
            lenient.broken[index] = sorted({*lenient.broken.get(index, ()), *times})
        scan = lenient
    return _movie(path, scan)


def real_video(container: "av.container.InputContainer") -> "list[VideoStream]":
    """The moving pictures of a file: video streams that are no cover picture."""
    from av.stream import Disposition  # noqa: PLC0415 - not for --help

    still = Disposition.attached_pic | Disposition.timed_thumbnails
    return [stream for stream in container.streams.video if not stream.disposition & still]


@dataclass
class _Track:
    """What the frames of one stream said."""

    ticks: "array[int]" = field(default_factory=lambda: array("q"))
    last_duration: int = 0
    interlaced: int = 0
    first: Any = None
    steady: bool = True
    matrix: Matrix | None = None
    colour: Colour = field(default_factory=Colour)


@dataclass
class _Scan:
    """One pass over a file."""

    container: str = ""
    tracks: dict[int, _Track] = field(default_factory=dict)
    streams: dict[int, dict[str, Any]] = field(default_factory=dict)
    others: list[tuple[int, str, str]] = field(default_factory=list)
    broken: dict[int, list[Fraction]] = field(default_factory=dict)
    promised: Fraction = Fraction(0)
    reached: Fraction = Fraction(0)


def _scan(path: Path, *, strict: bool) -> _Scan:
    import av  # noqa: PLC0415 - not for --help

    scan = _Scan()
    broken: dict[int, list[Fraction]] = defaultdict(list)
    with open_input(path) as container:
        videos = real_video(container)
        scan.container = container.format.name
        _describe(container, videos, scan)
        if not videos:
            why = "it holds no moving picture" + (", only sound" if container.streams.audio else "")
            raise VideoReadError(str(path), why, "Name a video.")
        for stream in videos:
            stream.thread_type = "AUTO"
            if strict:
                stream.codec_context.options = {"err_detect": "explode"}
        with contextlib.suppress(av.EOFError):
            _walk(container, scan, broken)
    scan.broken = dict(broken)
    return scan


def _walk(container: "av.container.InputContainer", scan: _Scan, broken: dict[int, list[Fraction]]) -> None:
    """Demux everything and decode the real video; errors become times."""
    import av  # noqa: PLC0415 - not for --help

    packets = container.demux()
    last: dict[int, Fraction] = defaultdict(Fraction)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            for index in scan.tracks:
                broken[index].append(last[index])
            return
        if packet is None:
            return
        index = packet.stream.index
        when = packet.pts if packet.pts is not None else packet.dts
        if when is not None and packet.time_base:
            last[index] = when * packet.time_base
            if packet.stream.type in {"video", "audio"}:
                scan.reached = max(scan.reached, last[index] + (packet.duration or 0) * packet.time_base)
        if index not in scan.tracks:
            continue
        if packet.is_corrupt:
            broken[index].append(last[index])
        try:
            frames: Any = packet.decode()
        except av.FFmpegError:
            broken[index].append(last[index])
            continue
        for frame in frames:
            _note(scan.tracks[index], frame)
            if frame.is_corrupt:
                broken[index].append(last[index])


def _describe(container: "av.container.InputContainer", videos: "list[VideoStream]", scan: _Scan) -> None:
    for stream in container.streams:
        if stream in videos:
            scan.tracks[stream.index] = _Track()
        else:
            name = stream.codec_context.name if stream.codec_context else getattr(stream, "name", None) or "unknown"
            scan.others.append((stream.index, stream.type, name))
    if container.duration:
        beginning = container.start_time or 0
        scan.promised = Fraction(container.duration + max(beginning, 0), 1_000_000)
    for stream in videos:
        aspect = stream.sample_aspect_ratio or Fraction(0)
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        scan.streams[stream.index] = {
            "codec": stream.codec_context.name,
            "time_base": stream.time_base,
            "rate": rate,
            "aspect": aspect,
        }


def _note(track: _Track, frame: Any) -> None:
    """Add one decoded frame to what is known."""
    step = track.last_duration or 1
    tick = frame.pts if frame.pts is not None else (track.ticks[-1] + step if track.ticks else 0)
    if track.ticks and tick <= track.ticks[-1]:
        tick = track.ticks[-1] + 1  # two frames at one time: the second is shown a tick later
    if frame.duration:
        track.last_duration = frame.duration
    elif track.ticks:
        track.last_duration = tick - track.ticks[-1]
    track.ticks.append(tick)
    track.interlaced += bool(frame.interlaced_frame)
    shape = (frame.width, frame.height, frame.format.name)
    if track.first is None:
        track.first = shape
        track.matrix = display_matrix(frame)
        track.colour = Colour(
            int(frame.color_range), int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc)
        )
    elif shape != track.first:
        track.steady = False


def display_matrix(frame: Any) -> Matrix | None:
    """The display matrix that a decoded frame carries, None where there is none or it changes nothing."""
    for data in frame.side_data.keys() if hasattr(frame.side_data, "keys") else ():
        if data.type.name == "DISPLAYMATRIX":
            a, b, u, c, d, v, x, y, w = (int(value) for value in np.frombuffer(bytes(data), np.int32)[:9])
            return None if (a, b, u, c, d, v) == _IDENTITY else (a, b, u, c, d, v, x, y, w)
    return None


def _movie(path: Path, scan: _Scan) -> Movie:
    footage = []
    for index, track in scan.tracks.items():
        if track.first is None:
            continue
        stream = scan.streams[index]
        width, height, pixel_format = track.first
        footage.append(
            Footage(
                index=index,
                codec=stream["codec"],
                width=width,
                height=height,
                pixel_format=pixel_format,
                colour=track.colour,
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
    lost = gaps(path) if scan.container == "mpegts" else 0
    return Movie(path, scan.container, tuple(footage), tuple(others), loose_boxes(path), cut_off, lost)


def _rate(ticks: "array[int]", time_base: Fraction, stated: Fraction) -> Fraction:
    """Exact where frames are evenly spaced, to the tick; else what the file states."""
    steps = {later - earlier for earlier, later in itertools.pairwise(ticks)}
    if len(steps) == 1:
        return 1 / (steps.pop() * time_base)
    return Fraction(stated)
