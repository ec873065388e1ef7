"""One pass over a file, or a part of it: packets read, frames of its video decoded, and what they said."""

import contextlib
import itertools
import math
from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream as AvVideoStream

from dpenet_cli.errors import VideoReadError
from dpenet_cli.video.containers import RAW_STREAMS
from dpenet_cli.video.discontinuities import Retimer, Timeline
from dpenet_cli.video.layers import LayerFinder
from dpenet_cli.video.safe_open import open_input
from dpenet_cli.video.scanned import OtherStream, Scan, ScannedStream, add_frame

_COUNTED_FROM_0 = {"matroska,webm", "nut", "flv"}
"""Containers, by libavformat's names, whose duration counts from time 0 and not from their first packet."""


def scan_file(path: Path, timeline: Timeline, *, strict: bool, frames_at_once: bool) -> Scan:
    """Read a file from its beginning to its end.

    Args:
        path: the file.
        timeline: how its times become those of one clock.
        strict: treat whatever the decoder could repair as an error; such frames are not counted.
        frames_at_once: decode several frames at a time, which is fast, and may lose errors with the frames behind them.

    Raises:
        VideoReadError: it cannot be opened, or holds no moving picture.
    """
    with open_input(path) as container:
        videos = video_streams(container)
        scan = _read_headers(container, videos, timeline)
        if not videos:
            why = "it holds no moving picture" + (", only sound" if container.streams.audio else "")
            raise VideoReadError(str(path), why, "Name a video.")
        for stream in videos:
            stream.thread_type = "AUTO" if frames_at_once else "SLICE"
            if strict:
                stream.codec_context.options = {"err_detect": "explode"}
        with contextlib.suppress(av.EOFError):
            _decode_all(container, scan, timeline)
    return scan


def scan_part(path: Path, timeline: Timeline, entry: Fraction | None, end: Fraction, behind: int) -> Scan | None:
    """Decode a part of a file's moving pictures: from the key frame before a time on, until behind another.

    Args:
        path: the file.
        timeline: how its times become those of one clock; without a discontinuity.
        entry: where it is entered, in seconds of its own clock; None for its beginning.
        end: when the part ends, in seconds of the one clock.
        behind: frames that are decoded from there on, for those before them.

    Returns:
        What was found, the damage of this part alone; None where the file cannot be entered there.

    Raises:
        VideoReadError: it cannot be opened.
    """
    with open_input(path) as container:
        scan = _read_headers(container, video_streams(container), timeline)
    scan.end = scan.stated_end  # whether the file is whole is not looked at
    for index, stream in scan.streams.items():
        moved = round(timeline.offset / stream.time_base)
        left = behind
        with open_input(path) as container:
            try:
                packets = from_key_frame(container, index, entry)
                for frame in packets:
                    if isinstance(frame, av.FFmpegError):
                        stream.errors.append((stream.ticks[-1] if stream.ticks else 0) * stream.time_base)
                        continue
                    frame.pts = None if frame.pts is None else frame.pts + moved
                    add_frame(stream, frame)
                    left -= stream.ticks[-1] * stream.time_base >= end
                    if not left:
                        break
            except av.FFmpegError:
                return None
        if not stream.ticks:
            return None
    return scan


def from_key_frame(container: InputContainer, index: int, seek: Fraction | None) -> Iterator[Any]:
    """Decode one stream from the last key frame before a time on.

    Pictures that are shown before it, and need others that were not read, are left out.

    Args:
        container: the file, opened and not read yet.
        index: the number of the stream.
        seek: the time, in seconds of the file's own clock; None for the beginning.

    Returns:
        Its frames, and in the place of what cannot be decoded the error.

    Raises:
        FFmpegError: the file cannot be entered there, or read any more.
    """
    (stream,) = (stream for stream in video_streams(container) if stream.index == index)
    stream.thread_type = "AUTO"
    if seek is not None:
        container.seek(math.floor(seek / Fraction(stream.time_base or 1)), stream=stream)
    packets = itertools.dropwhile(lambda packet: not packet.is_keyframe, container.demux(stream))
    begin = None
    for packet in packets:
        begin = packet.pts if begin is None else begin
        try:
            frames: Any = packet.decode()
        except av.FFmpegError as error:
            yield error
            continue
        yield from (frame for frame in frames if frame.pts is None or begin is None or frame.pts >= begin)


def _decode_all(container: InputContainer, scan: Scan, timeline: Timeline) -> None:
    """Demux everything and decode the moving pictures; errors become times.

    The counters of a transport stream do not fit across a discontinuity, which is why its demuxer calls the packet
    before it corrupt: that is no damage.
    """
    packets = container.demux()
    latest: dict[int, Fraction] = defaultdict(Fraction)  # for each stream: near which time an error would be
    retimer = Retimer(timeline)
    in_tails: set[tuple[int, int | None]] = set()  # (stream, pts) of packets right before a discontinuity
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            # The container itself cannot be read any more: every stream ends here.
            for index, stream in scan.streams.items():
                stream.errors.append(latest[index])
            return
        if packet is None:
            return
        retimer.retime(packet)
        index = packet.stream.index
        _note_time(scan, packet, latest)
        if packet.size:
            scan.cut_in_packet = packet.is_corrupt
        if index not in scan.streams:
            continue
        stream = scan.streams[index]
        if packet.pos is not None and any(item.has_in_tail(packet.pos) for item in timeline.discontinuities):
            in_tails.add((index, packet.pts))
        elif packet.is_corrupt:
            stream.errors.append(latest[index])
        stream.packets += packet.size > 0
        stream.layers.see(packet)
        try:
            frames: Any = packet.decode()
        except av.FFmpegError:
            stream.errors.append(latest[index])
            continue
        for frame in frames:
            add_frame(stream, frame)
            # A frame comes out some packets after its own went in; it has inherited that one's mark of corruption.
            if frame.is_corrupt and (index, frame.pts) not in in_tails:
                stream.errors.append(latest[index])


def _note_time(scan: Scan, packet: Any, latest: dict[int, Fraction]) -> None:
    """Add a packet's time to what is known: near which an error of its stream would be, and where the file ends."""
    index, stream = packet.stream.index, scan.streams.get(packet.stream.index)
    when = packet.pts if packet.pts is not None else packet.dts
    if when is not None and packet.time_base:
        latest[index] = when * packet.time_base
        if packet.stream.type in {"video", "audio"}:  # subtitles and data may lie anywhere, and say nothing
            scan.end = max(scan.end, latest[index] + (packet.duration or 0) * packet.time_base)
    elif stream is not None and stream.ticks:  # a stream that stands alone has no times but those of its frames
        latest[index] = stream.ticks[-1] * stream.time_base


def _read_headers(container: InputContainer, videos: list[AvVideoStream], timeline: Timeline) -> Scan:
    tags = (container.metadata, *(stream.metadata for stream in container.streams))
    scan = Scan(container.format.name, texts=frozenset(text for some in tags for text in some.values()))
    for stream in container.streams:
        if stream in videos:
            continue
        name = stream.codec_context.name if stream.codec_context else getattr(stream, "name", None) or "unknown"
        scan.others.append(OtherStream(stream.index, stream.type, name))
    if container.duration:
        begin = max(Fraction(container.start_time or 0, av.time_base), Fraction(0))
        length = Fraction(container.duration, av.time_base)
        # Most are as long as from the first packet to the last. These are counted from 0, as far as they are written
        # as they should be; what would end before it begins is not.
        from_0 = scan.container in _COUNTED_FROM_0 and length >= begin
        scan.stated_begin = begin + timeline.offset
        scan.stated_end = (length if from_0 else begin + length) + timeline.offset
    for video in videos:
        # What libavformat calls the average of a raw stream is its own assumption, whatever the stream says.
        average = None if scan.container in RAW_STREAMS else video.average_rate
        scan.streams[video.index] = ScannedStream(
            codec=video.codec_context.name,
            time_base=Fraction(video.time_base or 0),
            rate=Fraction(average or video.guessed_rate or 25),
            sample_aspect=Fraction(video.sample_aspect_ratio or 0),
            layers=LayerFinder(video.codec_context.name, video.codec_context.extradata or b""),
        )
    return scan


def video_streams(container: InputContainer) -> list[AvVideoStream]:
    """The moving pictures of a file: video streams that are no cover picture, and whose codec is known."""
    still = Disposition.attached_pic | Disposition.timed_thumbnails
    known = (stream for stream in container.streams.video if stream.codec_context is not None)
    return [stream for stream in known if not stream.disposition & still]


def rate_is_assumed(path: Path) -> bool:
    """Whether a stream that stands alone does not say how many frames a second it has.

    Raises:
        VideoReadError: it cannot be opened.
    """
    rates: set[Fraction | None] = set()
    for assumed in (25, 24):  # what the stream says is the same, whatever is assumed
        with open_input(path, assumed) as container:
            if container.format.name not in RAW_STREAMS:
                return False
            rates.update(video.guessed_rate for video in video_streams(container))
    return len(rates) > 1
