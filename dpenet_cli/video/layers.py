"""Layers that packets carry beside the picture that decoders give: transparency, and what else there may be.

WebM and Matroska keep the transparency of VP8 and VP9 as a second stream of pictures, in blocks beside each packet's
own; HEVC and H.264 have it as pictures of another layer among their NAL units. No decoder here looks at any of them.
"""

import itertools
import re
from collections.abc import Iterator
from typing import Any

_BLOCK = "matroska_block_additional"
"""PyAV's name for what Matroska keeps beside a packet: 8 bytes of a number that says what it is, and its content."""

_ALPHA_BLOCK = 1

_START_CODE = re.compile(b"\0\0\1")

_H264_AUXILIARY_SLICE = 19

_HEVC_PICTURES = 32
"""Kinds of HEVC's NAL units below it hold pictures."""

_HEVC_SEI = 39

_ALPHA_CHANNEL = 165
"""Kind of the SEI message of HEVC that says that a layer is transparency."""


class LayerFinder:
    """Looks for layers in a stream's packets.

    Args:
        codec: libavcodec's name.
        header: what stands before the first packet, as the container has it.

    Attributes:
        kinds: names of other layers that were found, and of data beside the packets, as `side_data` tells them.
    """

    def __init__(self, codec: str, header: bytes) -> None:
        self._codec = codec
        self._length = _length_size(codec, header)
        self._transparent = False  # a layer whose kind alone says that it is transparency
        self._second_layer = self._alpha_told = False  # of HEVC, where it takes both
        self.kinds: set[str] = set()
        if codec == "hevc":
            self._see_hevc(_units_of_header(header) if self._length else _units(header, 0))

    @property
    def has_transparency(self) -> bool:
        """Whether there is transparency that no decoded frame shows."""
        return self._transparent or (self._second_layer and self._alpha_told)

    def see(self, packet: Any) -> None:
        """Look at one packet."""
        if not packet.size:  # the end of a stream
            return
        if packet.has_sidedata(_BLOCK):
            number = int.from_bytes(bytes(packet.get_sidedata(_BLOCK))[:8], "big")
            if number == _ALPHA_BLOCK and self._codec in {"vp8", "vp9"}:
                self._transparent = True
            else:
                self.kinds.add(f"BLOCK_{number}")
        if self._codec == "h264":
            units = _units(memoryview(packet), self._length)
            self._transparent |= any(unit[0] & 0x1F == _H264_AUXILIARY_SLICE for unit in units)
        elif self._codec == "hevc":
            self._see_hevc(_units(memoryview(packet), self._length))

    def _see_hevc(self, units: Iterator[memoryview]) -> None:
        for unit in units:
            if len(unit) < 3:
                continue
            # Two bytes of header: a zero bit, six bits of the kind, six of the layer, three of the temporal one.
            kind, layer = unit[0] >> 1 & 0x3F, (unit[0] & 1) << 5 | unit[1] >> 3
            if kind < _HEVC_PICTURES and layer > 0:
                self._second_layer = True
                self.kinds.add("LAYER")
            elif kind == _HEVC_SEI:
                self._alpha_told |= _ALPHA_CHANNEL in _messages(bytes(unit[2:]))


def _length_size(codec: str, header: bytes) -> int:
    """Bytes of the length before each NAL unit, as MP4 and Matroska have it; 0 where start codes separate them."""
    place = {"h264": 4, "hevc": 21}.get(codec, 0)
    return (header[place] & 3) + 1 if header[:1] == b"\1" and len(header) > place > 0 else 0


def _units(data: bytes | memoryview, length_size: int) -> Iterator[memoryview]:
    """The NAL units of a packet, without the empty ones; what is damaged ends it."""
    view = memoryview(data)
    if not length_size:
        places = [found.end() for found in _START_CODE.finditer(view)]
        for begin, following in itertools.pairwise([*places, len(view) + 3]):
            if begin < following - 3:  # where the next start code begins
                yield view[begin : following - 3]
        return
    at = 0
    while at + length_size < len(view):
        begin = at + length_size
        at = begin + int.from_bytes(view[at:begin], "big")
        if begin < at:
            yield view[begin:at]


def _units_of_header(header: bytes) -> Iterator[memoryview]:
    """The NAL units in HEVC's header of MP4 and Matroska: arrays of them, each unit behind two bytes of its length."""
    view, at = memoryview(header), 23
    for _ in range(header[22] if len(header) > 22 else 0):
        count = int.from_bytes(view[at + 1 : at + 3], "big")
        at += 3
        for _ in range(count):
            begin = at + 2
            at = begin + int.from_bytes(view[at:begin], "big")
            yield view[begin:at]
            if at >= len(view):
                return


def _messages(payload: bytes) -> Iterator[int]:
    """The kinds of the messages in an SEI unit."""
    data = payload.replace(b"\0\0\3", b"\0\0")  # which keeps start codes out of it
    at = 0
    while at + 2 < len(data):  # the last byte ends the unit
        numbers = []
        for _ in range(2):  # kind and size, each of bytes of 255 and one that is less
            number = 0
            while at < len(data) and data[at] == 0xFF:
                number, at = number + 0xFF, at + 1
            if at >= len(data):
                return
            numbers.append(number + data[at])
            at += 1
        yield numbers[0]
        at += numbers[1]
