"""Packets that are copied and not re-encoded: which belong to the wanted part, and when they are shown in it."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from dpenet_cli.errors import VideoReadError
from dpenet_cli.video.discontinuities import Clock
from dpenet_cli.video.probe import MediaInfo
from dpenet_cli.video.safe_open import open_input, reason

Timed = tuple[Fraction, int, Any]
"""When a packet is to be written, the index of its stream in the output, and the packet."""

_NO_TIME = Fraction(-1)


@dataclass(frozen=True)
class Window:
    """The part of the source that is taken, in its own seconds; None is no bound.

    What has a start begins at 0 in the result.
    """

    start: Fraction | None = None
    end: Fraction | None = None

    def holds(self, time: Fraction) -> bool:
        """Whether something at this time belongs to it."""
        return (self.start is None or time >= self.start) and (self.end is None or time < self.end)

    @property
    def shift(self) -> Fraction:
        """What is subtracted from every time."""
        return self.start or Fraction(0)


def is_cover(stream: Any) -> bool:
    """Whether a stream is a still picture that stands for the file."""
    return stream.type == "video" and bool(stream.disposition & stream.disposition.attached_pic)


def first_key(movie: MediaInfo, index: int, window: Window) -> Fraction | None:
    """When a moving picture that is copied can begin: its first key frame in the window, in the source's seconds."""
    with open_input(movie.path) as source:
        clock = Clock(movie.timeline)
        for packet in source.demux(source.streams[index]):
            clock.set(packet)
            if packet.is_keyframe and packet.pts is not None and window.holds(packet.pts * packet.time_base):
                return Fraction(packet.pts * packet.time_base)
    return None


def copied_packets(source: Any, movie: MediaInfo, outputs: dict[int, Any], window: Window) -> Iterator[Timed]:
    """The source's own packets, in its own order, with the times that they have in the result.

    Args:
        source: the opened file.
        movie: the same.
        outputs: the stream of the output for each index of a stream that is copied.
        window: what is wanted.

    Raises:
        VideoReadError: the source cannot be read any more.
    """
    if not outputs:
        return
    clock = Clock(movie.timeline)
    moving = {footage.index for footage in movie.footage} & outputs.keys()
    begins = {index: first_key(movie, index, window) for index in moving if window.start is not None}
    latest = _NO_TIME
    for packet in _read(source, [source.streams[index] for index in outputs], movie):
        if packet.size == 0:  # the end of a stream
            continue
        clock.set(packet)
        index = packet.stream.index
        ticks = packet.dts if packet.dts is not None else packet.pts
        if ticks is not None:
            when = ticks * packet.time_base
            still = is_cover(packet.stream)  # which belongs to every part
            if index in begins:
                # Pictures before the key frame need others to be decoded, which are not there.
                begin = begins[index]
                shown = packet.pts * packet.time_base if packet.pts is not None else when
                wanted = begin is not None and shown >= begin and (window.end is None or when < window.end)
            else:
                wanted = still or window.holds(when)
            if not wanted:
                continue
            latest = max(latest, when - window.shift)
            moved = 0 if still else round(window.shift / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts - moved
            packet.dts = None if packet.dts is None else packet.dts - moved
        packet.stream = outputs[index]
        yield latest, packet.stream.index, packet


def _read(source: Any, streams: list[Any], movie: MediaInfo) -> Iterator[Any]:
    """The packets of some streams; an error is the source's, whoever asks for them."""
    import av

    try:
        yield from source.demux(streams)
    except av.FFmpegError as error:
        step = "Check the disk that it is on; the cleaned frames are kept, and the same command goes on from here."
        raise VideoReadError(str(movie.path), f"it cannot be read to its end ({reason(error)})", step) from error
