"""The headers of WebP (RIFF chunks) and AVIF (ISO boxes): size, frames, depth, colour, before anything is decoded."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from dpenet_cli.arrays import HDR_TRANSFERS
from dpenet_cli.errors import ImageReadError, ImageRefused
from dpenet_cli.images import av1


@dataclass(frozen=True)
class WebpHeader:
    """Size in pixels, several frames or one, lossless (VP8L) or not."""

    width: int
    height: int
    animated: bool
    lossless: bool


def parse_webp(data: bytes, what: str) -> WebpHeader:
    """Read the chunks of a WebP file (RFC 9649).

    Raises:
        ImageReadError: no size is found, or several that differ.
    """
    sizes: set[tuple[int, int]] = set()
    animated, lossless = False, False
    for kind, body in riff_chunks(data):
        if kind == b"VP8X" and len(body) >= 10:
            sizes.add((int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1))
            animated = animated or bool(body[0] & 0x02)
        elif kind == b"VP8L" and len(body) >= 5:
            lossless = True
            packed = int.from_bytes(body[1:5], "little")
            sizes.add(((packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1))
        elif kind == b"VP8 " and len(body) >= 10:
            width, height = struct.unpack_from("<HH", body, 6)
            sizes.add((width & 0x3FFF, height & 0x3FFF))
    if not sizes:
        raise ImageReadError(what, "the file ends before its pixels", "Copy it again from its source.")
    if len(sizes) > 1:
        raise ImageReadError(what, "it says its size twice, differently", "Save it anew with a picture editor.")
    return WebpHeader(*sizes.pop(), animated, lossless)


def riff_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Type and data of each chunk."""
    view, at = memoryview(data), 12
    while at + 8 <= len(data):
        size = int.from_bytes(view[at + 4 : at + 8], "little")
        yield data[at : at + 4], view[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


@dataclass(frozen=True)
class AvifHeader:
    """What an AVIF file says of its picture.

    Attributes:
        bits: bits per channel, 8, 10 or 12.
        grey: it has no chroma.
        chroma: chroma sampling, such as ``4:2:0``.
        primaries: colour primaries by their CICP number (ITU-T H.273); 2 is unspecified.
        transfer: transfer characteristics likewise.
        largest: width and height of the largest picture in it, by the pictures' own account; (0, 0) if none is found.
        sequence: a decoder takes its pixels from a track rather than from an item.
    """

    bits: int
    grey: bool
    chroma: str
    primaries: int
    transfer: int
    largest: tuple[int, int]
    sequence: bool


_AV1_CONFIG = re.compile(rb"av1C[\x81](.)(.)", re.DOTALL)
_NCLX = re.compile(rb"colrnclx(....)", re.DOTALL)


def parse_avif(data: bytes) -> AvifHeader:
    """Read the properties of an AVIF file's pictures (the ``av1C`` and ``colr`` boxes in its ``meta`` box).

    Raises:
        DamagedError: its items say the same bytes many times.
    """
    # The properties are looked for as patterns, not box by box: they lie four boxes deep, in a list whose assignment to
    # the pictures is a box of its own. Whatever a wrong match may say, the decoder's own size is checked besides.
    meta = _box(data, b"meta")
    bits, grey, chroma, primaries, transfer = 8, False, "4:2:0", 2, 2
    config = _AV1_CONFIG.search(meta)  # the first belongs to the main picture, the next ones to its alpha
    if config:
        flags = config[2][0]  # tier, depth above 8, 12 bits, grey, halved across, halved down, position
        bits = 8 if not flags & 0x40 else 12 if flags & 0x20 else 10
        grey = bool(flags & 0x10)
        chroma = "4:4:4" if not flags & 0x08 else "4:2:0" if flags & 0x04 else "4:2:2"
    colour = _NCLX.search(meta)
    if colour:
        primaries, transfer = struct.unpack(">HH", colour[1])
    # What the boxes say of the size is not what the AV1 decoder allocates: the streams say it once more.
    largest = max(
        av1.coded_sizes(data, _box(meta, b"iloc", 4), _box(meta, b"idat", 4)),
        key=lambda size: size[0] * size[1],
        default=(0, 0),
    )
    sequence = data[8:12] != b"avif" and bool(_box(data, b"moov"))  # as libavif decides it
    return AvifHeader(bits, grey, chroma, primaries, transfer, largest, sequence)


def _box(data: bytes, kind: bytes, at: int = 0) -> bytes:
    """The body of the first box of a kind, looked for from an offset on and in no other box."""
    while at + 8 <= len(data):
        size, head = int.from_bytes(data[at : at + 4], "big"), 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        elif size == 0:  # to the end
            size = len(data) - at
        if data[at + 4 : at + 8] == kind:
            return data[at + head : at + size]
        if size < head:
            break
        at += size
    return b""


_SRGB_PRIMARIES = (1, 2)


def colour_notices(primaries: int, transfer: int, icc: bytes | None, what: str) -> list[str]:
    """What is lost of colours that only CICP numbers describe.

    Raises:
        ImageRefused: an HDR transfer, whose values mean other brightnesses everywhere else.
    """
    if transfer in HDR_TRANSFERS:
        raise ImageRefused(
            what, "it is an HDR picture (PQ or HLG), and its brightness would come out wrong", "Export it as SDR."
        )
    if primaries not in _SRGB_PRIMARIES and not icc:
        return [f"its wide-gamut colours (CICP primaries {primaries}, without a profile) are taken as sRGB"]
    return []
