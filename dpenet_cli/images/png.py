"""What a PNG file says beside its pixels, and PNG files of 16 bits, which Pillow cannot hold in colour."""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dpenet_cli.errors import ImageReadError
from dpenet_cli.images.jpeg import iptc_of, iptc_resource
from dpenet_cli.images.picture import Chunk, Metadata

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_CHUNKS = {b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI"}
_TEXT_CHUNKS = {b"tEXt", b"zTXt", b"iTXt"}
_OURS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"iCCP", b"eXIf", b"pHYs", b"tIME", b"sBIT", b"bKGD", b"hIST"} | {
    b"acTL",
    b"fcTL",
    b"fdAT",
    b"sPLT",
}
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_RAW_PROFILE = re.compile(rb"Raw profile type (exif|APP1|iptc|8bim|xmp|icc|icm)")
_MAX_INFLATED = 64 << 20
"""Bytes that a compressed text or profile may unfold to; more is taken for a bomb and left out."""

_METRES_PER_INCH = 0.0254
_SRGB_GAMMA = 45455  # the gAMA value that stands for sRGB (PNG specification, 11.3.2.2)


@dataclass
class Contents:
    """The header of a PNG file and its metadata, not yet patched.

    Attributes:
        width, height: in pixels.
        bits: per channel (or per index): 1, 2, 4, 8 or 16.
        colour: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha.
        frames: more than 1 for an animation.
        damaged: names of metadata chunks that could not be read and are left out.
        complete: every chunk of the pixels is there and has its checksum.
        transparent: the tRNS chunk.
        metadata: as in the file.
    """

    width: int = 0
    height: int = 0
    bits: int = 8
    colour: int = 2
    frames: int = 1
    damaged: list[str] = field(default_factory=list)
    complete: bool = False
    transparent: bytes | None = None
    metadata: Metadata = field(default_factory=Metadata)


def parse(data: bytes, what: str) -> Contents:
    """Read all chunks but the pixels.

    Raises:
        ImageReadError: there is no header, or several that a decoder might go by.
    """
    contents = Contents()
    found: dict[str, bytes] = {}
    kept: list[Chunk] = []
    pixels_sound = True
    for kind, start, end, sound in _chunks(data):
        if kind == b"IHDR" and start != len(SIGNATURE) + 8:
            raise ImageReadError(what, "it has more than one header", "Save it anew with a picture editor.")
        if kind == b"IDAT":
            pixels_sound = pixels_sound and sound
        elif kind == b"IEND":
            contents.complete = pixels_sound
        elif not sound:
            contents.damaged.append(kind.decode("latin-1"))
        else:
            _sort_out(contents, found, kept, (kind, data[start:end]))
    if not contents.width or not contents.height:
        raise ImageReadError(what, "its header is damaged", "Copy it again from its source.")
    contents.metadata = _metadata(found, kept)
    return contents


def _sort_out(contents: Contents, found: dict[str, bytes], kept: list[Chunk], piece: Chunk) -> None:
    """Put a chunk where it belongs: a fact of the header, a find, or kept as it is."""
    kind, body = piece
    if kind == b"IHDR" and len(body) >= 13:
        contents.width, contents.height, contents.bits, contents.colour = struct.unpack_from(">LLBB", body)
    elif kind == b"acTL" and len(body) >= 4:
        contents.frames = int.from_bytes(body[:4], "big")
    elif kind == b"tRNS":
        contents.transparent = body
    elif kind == b"iCCP" and "icc" not in found:
        found["icc"] = _inflate(body.partition(b"\0")[2][1:]) or b""
    elif kind in (b"eXIf", b"pHYs"):
        found[kind.decode()] = body
    elif kind in _TEXT_CHUNKS and _special_text(kind, body, found):
        return
    elif kind not in _OURS and kind[0] & 0x20 and (kind in _COLOUR_CHUNKS or kind[3] & 0x20):
        kept.append(piece)  # a lower-case fourth letter means safe to copy (PNG specification, 5.4)


def _metadata(found: dict[str, bytes], kept: list[Chunk]) -> Metadata:
    # A chunk of its own kind counts for more than ImageMagick's older way of writing the same in hexadecimal text.
    exif = found.get("eXIf") or found.get("raw exif") or found.get("raw APP1")
    iptc = found.get("raw iptc") or found.get("raw 8bim")
    if iptc and iptc.startswith(b"8BIM"):
        iptc = iptc_of(iptc)
    return Metadata(
        exif=exif.removeprefix(b"Exif\0\0") if exif else None,
        icc=found.get("icc") or found.get("raw icc") or found.get("raw icm") or None,
        xmp=found.get("xmp") or found.get("raw xmp") or None,
        iptc=iptc or None,
        dpi=_dpi(found.get("pHYs", b"")),
        png=tuple(piece for piece in kept if piece[0] not in _COLOUR_CHUNKS),
        png_colour=tuple(piece for piece in kept if piece[0] in _COLOUR_CHUNKS),
    )


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int, bool]]:
    """Type, start and end of the data, and whether the checksum holds, as far as the file goes."""
    view, at = memoryview(data), len(SIGNATURE)
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        end = at + 8 + size
        if end + 4 > len(data):
            return
        sound = zlib.crc32(view[at + 4 : end]) == int.from_bytes(data[end : end + 4], "big")
        yield data[at + 4 : at + 8], at + 8, end, sound
        at = end + 4


def plain(data: bytes, contents: Contents, what: str) -> bytes:
    """The file, of 16 bits per channel, with its pixels alone, for a decoder that says on stderr what it dislikes.

    That is also why the deflated stream is walked through first: its rows must have known filters and all be there, and
    it must end where they end, or is deflated anew.

    Raises:
        ImageReadError: its pixels are cut off or damaged.
    """
    engine, rows = zlib.decompressobj(), _Rows(data, contents)
    pieces: list[bytes] = []
    try:
        for kind, start, end, _ in _chunks(data):
            at = start
            while kind == b"IDAT" and at < end and not engine.eof and rows.seen <= rows.total:
                piece = data[at : min(at + _PIECE, end)]
                rows.look(engine.decompress(piece, rows.total - rows.seen + 1))
                pieces.append(piece[: len(piece) - len(engine.unused_data)])
                at += len(piece)
    except zlib.error:
        rows.sound = False
    if rows.seen < rows.total or not rows.sound:
        raise ImageReadError(what, "its pixels are cut off or damaged", "Copy it again from its source.")
    stream = b"".join(pieces)
    if rows.seen > rows.total or not engine.eof:
        stream = zlib.compress(zlib.decompressobj().decompress(stream, rows.total), 1)
    header = data[len(SIGNATURE) + 8 : len(SIGNATURE) + 21]
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", stream) + chunk(b"IEND", b"")


_PIECE = 1 << 16
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Where the passes of an interlaced picture begin, across and down, and their steps (PNG specification, 8.2)."""

_FILTERS = 5


class _Rows:
    """The rows of 16-bit pixels as they are unfolded, each behind its filter's number.

    Attributes:
        total: bytes of all rows.
        seen: bytes unfolded so far.
        sound: whether all filters seen are known.
    """

    def __init__(self, data: bytes, contents: Contents) -> None:
        interlaced = data[len(SIGNATURE) + 20] == 1
        self.total = self.seen = 0
        self.sound = True
        self._passes: list[tuple[int, int, int]] = []  # from where to where, and the bytes of a row
        for left, top, across, down in _PASSES if interlaced else ((0, 0, 1, 1),):
            width, height = -(-(contents.width - left) // across), -(-(contents.height - top) // down)
            row = 1 + 2 * _CHANNELS.get(contents.colour, 1) * width
            if width > 0 and height > 0:
                self._passes.append((self.total, self.total + height * row, row))
                self.total += height * row

    def look(self, unfolded: bytes) -> None:
        """Take in what comes next."""
        here, self.seen = self.seen, self.seen + len(unfolded)
        for start, end, row in self._passes:
            first = start if start >= here else here + (start - here) % row
            filters = unfolded[first - here : max(end - here, 0) : row]
            self.sound = self.sound and max(filters, default=0) < _FILTERS


def _inflate(body: bytes) -> bytes | None:
    engine = zlib.decompressobj()
    try:
        unfolded = engine.decompress(body, _MAX_INFLATED)
    except zlib.error:
        return None
    return unfolded if engine.eof else None


def _dpi(body: bytes) -> tuple[float, float] | None:
    if len(body) != 9:
        return None
    across, down, unit = struct.unpack(">LLB", body)
    if unit != 1 or not across or not down:  # 0 is an aspect ratio only
        return None
    return across * _METRES_PER_INCH, down * _METRES_PER_INCH


def _special_text(kind: bytes, body: bytes, found: dict[str, bytes]) -> bool:
    """Take XMP and raw profiles out of the text; says whether this chunk was one."""
    keyword, _, rest = body.partition(b"\0")
    if kind == b"iTXt" and keyword == _XMP_KEYWORD and len(rest) >= 2:
        if "xmp" in found:  # the first counts: thousands of them would take long to unfold
            return True
        compressed = rest[0] == 1
        packet = rest[2:].split(b"\0", 2)[-1]
        found["xmp"] = (_inflate(packet) or b"") if compressed else packet
        return True
    match = _RAW_PROFILE.fullmatch(keyword)
    if match is None or kind == b"iTXt":
        return False
    name = "raw " + match[1].decode()
    if name in found:
        return True
    found[name] = b""
    text = rest if kind == b"tEXt" else _inflate(rest[1:])
    lines = (text or b"").strip().split(b"\n", 2)  # name, length, hexadecimal digits
    if len(lines) == 3:
        try:
            found[name] = bytes.fromhex(lines[2].decode("ascii"))
        except ValueError:
            return True
    return True


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk with its length and checksum."""
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


def with_metadata(encoded: bytes, metadata: Metadata) -> bytes:
    """Put metadata behind the header of an encoded picture."""
    chunks = []
    for kind, body in metadata.png_colour:
        if kind != b"sRGB" or not metadata.icc:  # not both (PNG specification, 11.3.2.3)
            chunks.append(chunk(kind, body))
    if metadata.icc:
        chunks.append(chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(metadata.icc)))
    if metadata.dpi:
        across, down = (round(value / _METRES_PER_INCH) for value in metadata.dpi)
        chunks.append(chunk(b"pHYs", struct.pack(">LLB", across, down, 1)))
    if metadata.exif:
        chunks.append(chunk(b"eXIf", metadata.exif))
    if metadata.xmp:
        chunks.append(chunk(b"iTXt", _XMP_KEYWORD + bytes(5) + metadata.xmp))
    if metadata.iptc:
        chunks.append(chunk(b"zTXt", _raw_profile(b"iptc", iptc_resource(metadata.iptc))))
    chunks += [chunk(b"iTXt", b"Comment" + bytes(5) + _as_utf8(comment)) for comment in metadata.comments]
    chunks += [chunk(kind, body) for kind, body in metadata.png]
    at = len(SIGNATURE) + 25  # behind IHDR: 13 bytes of data and 12 around them
    return b"".join([encoded[:at], *chunks, encoded[at:]])


def _raw_profile(name: bytes, profile: bytes) -> bytes:
    """ImageMagick's way of storing a profile, which exiftool and others read: PNG has no chunk for IPTC."""
    digits = profile.hex().encode()
    lines = b"\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    text = b"\n%s\n%8d\n%s\n" % (name, len(profile), lines)
    return b"Raw profile type " + name + b"\0\0" + zlib.compress(text)


def _as_utf8(comment: bytes) -> bytes:
    try:
        comment.decode("utf-8")
    except UnicodeDecodeError:
        return comment.decode("latin-1").encode("utf-8")
    return comment


def colour_matters(metadata: Metadata) -> bool:
    """Whether the colour chunks say something else than sRGB, which then only a PNG file can hold."""
    chunks = dict(metadata.png_colour)
    if metadata.icc or b"sRGB" in chunks:
        return False
    cicp, gamma = chunks.get(b"cICP"), chunks.get(b"gAMA")
    if cicp:
        return cicp[:2] != b"\x01\x0d"  # primaries of BT.709 and sRGB's transfer (H.273)
    return bool(gamma) and abs(int.from_bytes(gamma or b"", "big") - _SRGB_GAMMA) > 500


_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_CHANNELS = {colour: channels for channels, colour in _COLOUR_TYPES.items()}
_ROWS = 64


def encode_deep(samples: NDArray[np.uint16]) -> bytes:
    """A PNG file of 16 bits per channel.

    Args:
        samples: H×W×C; C is 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.
    """
    height, width, channels = samples.shape
    header = struct.pack(">LLBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)
    engine = zlib.compressobj(6)
    packed = []
    above = np.zeros((1, width * channels * 2), np.uint8)
    for top in range(0, height, _ROWS):
        rows = samples[top : top + _ROWS].astype(">u2").reshape(-1, width * channels).view(np.uint8)
        packed.append(engine.compress(_filtered(rows, np.concatenate([above, rows[:-1]]), channels * 2).tobytes()))
        above = rows[-1:]
    packed.append(engine.flush())
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", b"".join(packed)) + chunk(b"IEND", b"")


def _filtered(rows: NDArray[np.uint8], above: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Rows with their filter type in front, by the usual choice: the least sum of absolute differences.

    Args:
        rows: R×B bytes.
        above: R×B bytes, each row's predecessor.
        step: bytes per pixel.
    """
    left, above_left = np.zeros_like(rows), np.zeros_like(rows)
    left[:, step:], above_left[:, step:] = rows[:, :-step], above[:, :-step]
    towards_left = above.astype(np.int16) - above_left
    towards_above = left.astype(np.int16) - above_left
    a, b, c = np.abs(towards_left), np.abs(towards_above), np.abs(towards_left + towards_above)
    paeth = np.where((a <= b) & (a <= c), left, np.where(b <= c, above, above_left))
    choices = np.stack([rows - left, rows - above, rows - paeth])
    cost = np.abs(choices.view(np.int8).astype(np.int16)).sum(axis=2)  # 3×R
    best = cost.argmin(axis=0)
    chosen = choices[best, np.arange(len(rows))]
    types = np.array([1, 2, 4], np.uint8)[best]
    return np.concatenate([types[:, None], chosen], axis=1)
