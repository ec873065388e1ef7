"""What a pass over a file finds: of each stream, and of the whole."""

import math
from array import array
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from dpenet_cli.video.colour import ColourTags
from dpenet_cli.video.hdr import HdrMetadata, hdr_metadata_of
from dpenet_cli.video.layers import LayerFinder
from dpenet_cli.video.scenes import CutFinder
from dpenet_cli.video.side_data import side_data_of

DisplayMatrix = tuple[int, int, int, int, int, int, int, int, int]
"""A display matrix as MP4 has it: a, b, u, c, d, v, x, y, w in 16.16 and 2.30 fixed point."""

_IDENTITY = (65536, 0, 0, 0, 65536, 0)
"""The part of a display matrix that turns or mirrors, where it does neither."""

_LITTLE = Fraction(1, 1000)
"""Seconds after which a frame is shown whose own time is no later than that of the one before it."""


@dataclass
class ScannedStream:
    """What the header says of one stream, and what its frames did.

    Attributes:
        codec: libavcodec's name.
        time_base: seconds a tick.
        rate: frames a second, as the header has it.
        sample_aspect: width of a pixel over its height; 0 where untagged.
        layers: knows what packets carry beside the picture.
        ticks: when each frame is shown, rising.
        last_duration: how long the last frame is shown, in ticks; 0 while unknown.
        packets: how many packets there are.
        interlaced: how many frames are pairs of fields.
        first_format: (width, height, pixel format) of the first frame; None before it.
        constant_format: whether the others are the same.
        display_matrix, colour, hdr_metadata: of the first frame.
        side_data: names of what frames carry beside their pixels.
        errors: times in seconds near which something could not be decoded.
        scenes: knows at which frames new scenes begin.
    """

    codec: str
    time_base: Fraction
    rate: Fraction
    sample_aspect: Fraction
    layers: LayerFinder
    ticks: "array[int]" = field(default_factory=lambda: array("q"))
    last_duration: int = 0
    packets: int = 0
    interlaced: int = 0
    first_format: tuple[int, int, str] | None = None
    constant_format: bool = True
    display_matrix: DisplayMatrix | None = None
    colour: ColourTags = field(default_factory=ColourTags)
    hdr_metadata: HdrMetadata | None = None
    side_data: set[str] = field(default_factory=set)
    errors: list[Fraction] = field(default_factory=list)
    scenes: CutFinder = field(default_factory=CutFinder)


class OtherStream(NamedTuple):
    """A stream that is not decoded: sound, subtitles, data, attachments, cover pictures.

    Attributes:
        stream_index: its number in the file.
        kind: libavformat's name for its type, such as ``audio``.
        codec: libavcodec's name.
    """

    stream_index: int
    kind: str
    codec: str


@dataclass
class Scan:
    """What one pass over a file found.

    Attributes:
        container: libavformat's name for its kind.
        streams: the streams of moving pictures, by their index.
        others: the other streams.
        stated_begin, stated_end: when the file begins and ends by its header, in seconds; both 0 where it doesn't say.
        end: when its last packet ends, in seconds.
        cut_in_packet: whether its last packet is not whole.
        texts: what its tags and those of its streams say, as they are read.
    """

    container: str
    streams: dict[int, ScannedStream] = field(default_factory=dict)
    others: list[OtherStream] = field(default_factory=list)
    stated_begin: Fraction = Fraction(0)
    stated_end: Fraction = Fraction(0)
    end: Fraction = Fraction(0)
    cut_in_packet: bool = False
    texts: frozenset[str] = frozenset()


def add_frame(stream: ScannedStream, frame: Any) -> None:
    """Add one decoded frame to what is known."""
    ticks = stream.ticks
    # A frame without a time follows the one before it, by as much as that did.
    tick = frame.pts if frame.pts is not None else (ticks[-1] + (stream.last_duration or 1) if ticks else 0)
    if ticks and tick <= ticks[-1]:
        # Two frames at one time: the second is shown a little later, so that every container tells them apart.
        tick = ticks[-1] + max(min(math.ceil(_LITTLE / stream.time_base), stream.last_duration // 2), 1)
    if frame.duration:
        stream.last_duration = frame.duration
    elif ticks:
        stream.last_duration = tick - ticks[-1]
    ticks.append(tick)
    stream.scenes.see(frame)
    stream.interlaced += bool(frame.interlaced_frame)
    side_data = side_data_of(frame)
    stream.side_data.update(side_data)
    shape = (frame.width, frame.height, frame.format.name)
    if stream.first_format is None:
        stream.first_format = shape
        stream.display_matrix = display_matrix(side_data)
        stream.hdr_metadata = hdr_metadata_of(side_data)
        stream.colour = ColourTags(
            int(frame.color_range), int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc)
        )
    elif shape != stream.first_format:
        stream.constant_format = False


def display_matrix(side_data: dict[str, bytes]) -> DisplayMatrix | None:
    """The display matrix that a decoded frame carries, None where there is none or it changes nothing."""
    if "DISPLAYMATRIX" not in side_data:
        return None
    a, b, u, c, d, v, x, y, w = (int(value) for value in np.frombuffer(side_data["DISPLAYMATRIX"], np.int32)[:9])
    return None if (a, b, u, c, d, v) == _IDENTITY else (a, b, u, c, d, v, x, y, w)
