"""One pass over a file: every packet read, every frame of its video decoded, and what they said."""

import contextlib
from array import array
from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dpenet_cli.errors import VideoReadError
from dpenet_cli.video.discontinuities import Clock, Timeline
from dpenet_cli.video.hdr import Mastering, mastering
from dpenet_cli.video.safe_open import open_input
from dpenet_cli.video.yuv import ColourTags

if TYPE_CHECKING:
    import av.container
    from av.video.stream import VideoStream

Matrix = tuple[int, int, int, int, int, int, int, int, int]
"""A display matrix as MP4 has it: a, b, u, c, d, v, x, y, w in 16.16 and 2.30 fixed point."""

_IDENTITY = (65536, 0, 0, 0, 65536, 0)
"""The part of a display matrix that turns or mirrors, where it does neither."""

_LOOKED_AT = 50
"""Frames of a stream that are asked what they carry beside their pixels."""


@dataclass
class Track:
    """What the frames of one stream said.

    Attributes:
        ticks: when each is shown, rising.
        last_duration: of the last frame, in ticks; 0 while unknown.
        interlaced: how many are pairs of fields.
        first: (width, height, pixel format) of the first frame; None before it.
        steady: whether the others are the same.
        matrix, colour, mastering: of the first frame.
        beside: names of what the first frames carry beside their pixels.
    """

    ticks: "array[int]" = field(default_factory=lambda: array("q"))
    last_duration: int = 0
    interlaced: int = 0
    first: Any = None
    steady: bool = True
    matrix: Matrix | None = None
    colour: ColourTags = field(default_factory=ColourTags)
    mastering: Mastering | None = None
    beside: set[str] = field(default_factory=set)


@dataclass
class Scan:
    """What one pass over a file found.

    Attributes:
        container: libavformat's name for its kind.
        tracks: by the index of each real video stream.
        streams: what its header says of each of them.
        others: (index, type, codec) of the other streams.
        broken: times in seconds near which something could not be decoded.
        promised, reached: when the file ends by its header, and when its last packet does, in seconds.
    """

    container: str = ""
    tracks: dict[int, Track] = field(default_factory=dict)
    streams: dict[int, dict[str, Any]] = field(default_factory=dict)
    others: list[tuple[int, str, str]] = field(default_factory=list)
    broken: dict[int, list[Fraction]] = field(default_factory=dict)
    promised: Fraction = Fraction(0)
    reached: Fraction = Fraction(0)


def scan_file(path: Path, timeline: Timeline, *, strict: bool) -> Scan:
    """Read a file from its beginning to its end.

    Args:
        path: the file.
        timeline: how its times become those of one clock.
        strict: treat whatever the decoder could repair as an error; such frames are not counted.

    Raises:
        VideoReadError: it cannot be opened, or holds no moving picture.
    """
    import av

    scan = Scan()
    broken: dict[int, list[Fraction]] = defaultdict(list)
    with open_input(path) as container:
        videos = real_video(container)
        scan.container = container.format.name
        _describe(container, videos, scan, timeline)
        if not videos:
            why = "it holds no moving picture" + (", only sound" if container.streams.audio else "")
            raise VideoReadError(str(path), why, "Name a video.")
        for stream in videos:
            stream.thread_type = "AUTO"
            if strict:
                stream.codec_context.options = {"err_detect": "explode"}
        with contextlib.suppress(av.EOFError):
            _walk(container, scan, broken, timeline)
    scan.broken = dict(broken)
    return scan


def _walk(
    container: "av.container.InputContainer",
    scan: Scan,
    broken: dict[int, list[Fraction]],
    timeline: Timeline,
) -> None:
    """Demux everything and decode the real video; errors become times.

    The counters of a transport stream do not fit across a joint, which is why its demuxer calls the packet before it
    corrupt: that is no damage.
    """
    import av

    packets = container.demux()
    last: dict[int, Fraction] = defaultdict(Fraction)
    clock = Clock(timeline)
    whole: set[tuple[int, int | None]] = set()
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            for index in scan.tracks:
                broken[index].append(last[index])
            return
        if packet is None:
            return
        clock.set(packet)
        index = packet.stream.index
        when = packet.pts if packet.pts is not None else packet.dts
        if when is not None and packet.time_base:
            last[index] = when * packet.time_base
            if packet.stream.type in {"video", "audio"}:
                scan.reached = max(scan.reached, last[index] + (packet.duration or 0) * packet.time_base)
        if index not in scan.tracks:
            continue
        if packet.pos is not None and any(joint.is_near(packet.pos) for joint in timeline.joints):
            whole.add((index, packet.pts))
        elif packet.is_corrupt:
            broken[index].append(last[index])
        try:
            frames: Any = packet.decode()
        except av.FFmpegError:
            broken[index].append(last[index])
            continue
        for frame in frames:
            _note(scan.tracks[index], frame)
            if frame.is_corrupt and (index, frame.pts) not in whole:
                broken[index].append(last[index])


def _describe(
    container: "av.container.InputContainer", videos: "list[VideoStream]", scan: Scan, timeline: Timeline
) -> None:
    for stream in container.streams:
        if stream in videos:
            scan.tracks[stream.index] = Track()
        else:
            name = stream.codec_context.name if stream.codec_context else getattr(stream, "name", None) or "unknown"
            scan.others.append((stream.index, stream.type, name))
    if container.duration:
        beginning = container.start_time or 0
        scan.promised = Fraction(container.duration + max(beginning, 0), 1_000_000) + timeline.offset
    for stream in videos:
        aspect = stream.sample_aspect_ratio or Fraction(0)
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        scan.streams[stream.index] = {
            "codec": stream.codec_context.name,
            "time_base": stream.time_base,
            "rate": rate,
            "aspect": aspect,
        }


def _note(track: Track, frame: Any) -> None:
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
    beside = side_data(frame) if len(track.ticks) <= _LOOKED_AT else {}
    track.beside.update(beside)
    shape = (frame.width, frame.height, frame.format.name)
    if track.first is None:
        track.first = shape
        track.matrix = display_matrix(beside)
        track.mastering = mastering(beside)
        track.colour = ColourTags(
            int(frame.color_range), int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc)
        )
    elif shape != track.first:
        track.steady = False


def side_data(frame: Any) -> dict[str, bytes]:
    """What a decoded frame carries beside its pixels, by PyAV's names for the kinds."""
    return {data.type.name: bytes(data) for data in frame.side_data.keys()}  # noqa: SIM118 - its keys are the data


def display_matrix(beside: dict[str, bytes]) -> Matrix | None:
    """The display matrix that a decoded frame carries, None where there is none or it changes nothing."""
    if "DISPLAYMATRIX" not in beside:
        return None
    a, b, u, c, d, v, x, y, w = (int(value) for value in np.frombuffer(beside["DISPLAYMATRIX"], np.int32)[:9])
    return None if (a, b, u, c, d, v) == _IDENTITY else (a, b, u, c, d, v, x, y, w)


def real_video(container: "av.container.InputContainer") -> "list[VideoStream]":
    """The moving pictures of a file: video streams that are no cover picture, and whose codec is known."""
    from av.stream import Disposition

    still = Disposition.attached_pic | Disposition.timed_thumbnails
    known = (stream for stream in container.streams.video if stream.codec_context is not None)
    return [stream for stream in known if not stream.disposition & still]
