"""What a PNG file says beside its pixels: read from its chunks, and put into them."""

import re
import struct
import zlib
from dataclasses import dataclass, field

from dpenet_cli.errors import ImageReadError
from dpenet_cli.images.jpeg import iptc_of, iptc_resource
from dpenet_cli.images.picture import Chunk, Metadata
from dpenet_cli.images.png_chunks import SIGNATURE, chunk, chunks, impossible

_COLOUR_CHUNKS = {b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI"}
TEXT_CHUNKS = {b"tEXt", b"zTXt", b"iTXt"}
_NOT_COPIED = set(b"IHDR PLTE tRNS IDAT IEND iCCP eXIf pHYs tIME sBIT bKGD hIST acTL fcTL fdAT sPLT".split())
"""Chunks that are read here, or that say something of the pixels as they were."""

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Values of a pixel of each colour type (PNG specification, 11.2.2)."""

_GREY, _RGB, _PALETTE = 0, 2, 3
"""Colour types whose transparency stands in a chunk of its own."""

_MEANING = {"iCCP": "colour profile", "tRNS": "transparency", "eXIf": "EXIF"}
"""What was in a damaged chunk, where its name may say nothing to the picture's owner."""

_XMP_KEYWORD = b"XML:com.adobe.xmp"
_RAW_PROFILE = re.compile(rb"Raw profile type (exif|APP1|iptc|8bim|xmp|icc|icm)")
_MAX_INFLATED = 64 << 20
"""Bytes that a compressed text or profile may unfold to; more is taken for a bomb and left out."""

_HARMLESS, _BOMBS_RATIO = 1 << 20, 200
"""Bytes that may unfold from anything, and times its size that a real profile or text does not unfold to beyond."""

_METRES_PER_INCH = 0.0254
_SRGB_CORNERS = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)  # cHRM's, likewise
_SRGB_GAMMA = 45455  # the gAMA value that stands for sRGB (PNG specification, 11.3.2.2)


@dataclass
class PngHeader:
    """The header of a PNG file and its metadata, not yet patched.

    Attributes:
        width, height: size in pixels.
        bits: per channel (or per index): 1, 2, 4, 8 or 16.
        colour: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha.
        frames: more than 1 for an animation.
        damaged: names of chunks that could not be read, are not needed for the pixels, and are left out.
        complete: the chunks of the pixels have their checksums.
        packed: bytes of those.
        palette: the PLTE chunk of a picture with a palette.
        transparent: the tRNS chunk of a picture without another alpha.
        metadata: as in the file.
    """

    width: int = 0
    height: int = 0
    bits: int = 8
    colour: int = 2
    frames: int = 1
    damaged: list[str] = field(default_factory=list)
    complete: bool = True
    packed: int = 0
    palette: bytes | None = None
    transparent: bytes | None = None
    metadata: Metadata = field(default_factory=Metadata)


_SAVE_ANEW = "Save it anew with a picture editor."


class _BombError(ValueError):
    """A text or profile that unfolds to far more than any real one."""


def parse(data: bytes, what: str) -> PngHeader:
    """Read all chunks but the pixels.

    Raises:
        ImageReadError: there is no header or palette, or several that a decoder might go by; or it is a bomb.
    """
    header = PngHeader()
    found: dict[str, bytes] = {}
    copied: list[Chunk] = []
    last = b""
    for kind, start, end, sound in chunks(data):
        last = kind if sound else b""
        if kind == b"IHDR" and start != len(SIGNATURE) + 8:
            raise ImageReadError(what, "it has more than one header", _SAVE_ANEW)
        if kind == b"IDAT":
            header.packed += end - start
            header.complete = header.complete and sound
        elif not sound or impossible(kind, end - start, header.colour):
            header.damaged.append(kind.decode("ascii") if kind.isalpha() else "unknown")
        else:
            try:
                _sort_out(header, found, copied, (kind, data[start:end]))
            except _BombError as error:
                why = f"its {kind.decode('ascii')} unfolds to {_BOMBS_RATIO} times its size and more, as in files"
                raise ImageReadError(what, f"{why} that are made to fill memory", _SAVE_ANEW) from error
    if not header.width or not header.height:
        raise ImageReadError(what, "its header is damaged", "Copy it again from its source.")
    if header.colour == _PALETTE and not header.palette:
        raise ImageReadError(what, "its palette is missing or damaged", "Copy it again from its source.")
    if last != b"IEND":
        header.damaged.append("IEND")
    header.metadata = _metadata(found, copied)
    return header


def damage(header: PngHeader) -> list[str]:
    """The notice of what is left out because it is damaged, if anything is."""
    names = sorted(set(header.damaged))
    parts = [f"{name}: its {_MEANING[name]}" if name in _MEANING else name for name in names]
    return [f"damaged parts of its header are left out ({', '.join(parts)})"] if parts else []


def pixels_alone(data: bytes, header: PngHeader) -> bytes:
    """The file with nothing but what decides its pixels, so that no decoder stumbles over the rest."""
    kept = [SIGNATURE + data[len(SIGNATURE) : len(SIGNATURE) + 25]]  # IHDR has 13 bytes of data and 12 around them
    if header.palette:
        kept.append(chunk(b"PLTE", header.palette))
    if header.transparent:
        kept.append(chunk(b"tRNS", header.transparent))
    kept += [data[piece.start - 8 : piece.end + 4] for piece in chunks(data) if piece.kind == b"IDAT"]
    return b"".join([*kept, chunk(b"IEND", b"")])


def _sort_out(header: PngHeader, found: dict[str, bytes], copied: list[Chunk], piece: Chunk) -> None:
    """Put a chunk where it belongs: a fact of the header, metadata, or copied as it is."""
    kind, body = piece
    known = len(found)
    if kind == b"IHDR" and len(body) >= 13:
        header.width, header.height, header.bits, header.colour = struct.unpack_from(">LLBB", body)
    elif kind == b"acTL" and len(body) >= 4:
        header.frames = int.from_bytes(body[:4], "big")
    elif kind == b"PLTE" and header.colour == _PALETTE:
        header.palette = body if len(body) % 3 == 0 else None
    elif kind == b"tRNS" and header.colour in (_GREY, _RGB, _PALETTE):
        header.transparent = body
    elif kind == b"iCCP" and "icc" not in found:
        found["icc"] = _inflate(body.partition(b"\0")[2][1:]) or b""
        if not found["icc"]:
            header.damaged.append("iCCP")
    elif kind in (b"eXIf", b"pHYs"):
        found[kind.decode()] = body
    elif kind in TEXT_CHUNKS and special_text(kind, body, found):
        if len(found) > known and not [*found.values()][-1]:  # it could not be unfolded or decoded
            header.damaged.append(kind.decode("ascii"))
    elif is_copied(kind):
        copied.append(piece)


def is_copied(kind: bytes) -> bool:
    """Whether chunks of a kind go into a PNG result as they are."""
    # A lower-case fourth letter means safe to copy, a lower-case first one not needed (PNG specification, 5.4).
    return kind not in _NOT_COPIED and bool(kind[0] & 0x20) and (kind in _COLOUR_CHUNKS or bool(kind[3] & 0x20))


def _metadata(found: dict[str, bytes], copied: list[Chunk]) -> Metadata:
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
        png=tuple(piece for piece in copied if piece[0] not in _COLOUR_CHUNKS),
        png_colour=tuple(piece for piece in copied if piece[0] in _COLOUR_CHUNKS),
    )


def _inflate(body: bytes) -> bytes | None:
    engine = zlib.decompressobj()
    try:
        unfolded = engine.decompress(body, _MAX_INFLATED)
    except zlib.error:
        return None
    if len(unfolded) > max(_HARMLESS, _BOMBS_RATIO * len(body)):
        raise _BombError
    return unfolded if engine.eof else None


def _dpi(body: bytes) -> tuple[float, float] | None:
    if len(body) != 9:
        return None
    across, down, unit = struct.unpack(">LLB", body)
    if unit != 1 or not across or not down:  # 0 is an aspect ratio only
        return None
    return across * _METRES_PER_INCH, down * _METRES_PER_INCH


def label_of_text(kind: bytes, body: bytes) -> str | None:
    """What a text chunk holds instead of a text: ``xmp``, or what a raw profile's name says; None for a text."""
    keyword = body.partition(b"\0")[0]
    if kind == b"iTXt":
        return "xmp" if keyword == _XMP_KEYWORD else None
    match = _RAW_PROFILE.fullmatch(keyword)
    return match[1].decode() if match else None


def special_text(kind: bytes, body: bytes, found: dict[str, bytes]) -> bool:
    """Take XMP and raw profiles out of the text; says whether this chunk was one.

    Args:
        kind: tEXt, zTXt or iTXt.
        body: the chunk's data.
        found: where they are put, by name; the first of each counts, for thousands would take long to unfold.
    """
    keyword, _, rest = body.partition(b"\0")
    if kind == b"iTXt" and keyword == _XMP_KEYWORD and len(rest) >= 2:
        if "xmp" in found:
            return True
        compressed = rest[0] == 1  # then come the method, the language and the translated keyword
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


def with_metadata(encoded: bytes, metadata: Metadata) -> bytes:
    """Put metadata behind the header of an encoded picture."""
    added = []
    for kind, body in metadata.png_colour:
        if kind != b"sRGB" or not metadata.icc:  # not both (PNG specification, 11.3.2.3)
            added.append(chunk(kind, body))
    if metadata.icc:
        added.append(chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(metadata.icc)))
    if metadata.dpi:
        across, down = (round(value / _METRES_PER_INCH) for value in metadata.dpi)
        added.append(chunk(b"pHYs", struct.pack(">LLB", across, down, 1)))
    if metadata.exif:
        added.append(chunk(b"eXIf", metadata.exif))
    if metadata.xmp:
        added.append(chunk(b"iTXt", _XMP_KEYWORD + bytes(5) + metadata.xmp))
    if metadata.iptc:
        added.append(chunk(b"zTXt", _raw_profile(b"iptc", iptc_resource(metadata.iptc))))
    added += [chunk(b"iTXt", b"Comment" + bytes(5) + _as_utf8(comment)) for comment in metadata.comments]
    added += [chunk(kind, body) for kind, body in metadata.png]
    at = len(SIGNATURE) + 25  # behind IHDR: 13 bytes of data and 12 around them
    return b"".join([encoded[:at], *added, encoded[at:]])


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
    colour = dict(metadata.png_colour)
    if colour.get(b"cICP", b"\x01\x0d")[:2] != b"\x01\x0d":  # primaries of BT.709 and sRGB's transfer (H.273)
        return True
    if b"mDCV" in colour or b"cLLI" in colour:  # of the screen that it was made on, whatever the colours are
        return True
    if metadata.icc or colour.keys() & {b"sRGB", b"cICP"}:  # which count for more than the others
        return False
    gamma, corners = colour.get(b"gAMA"), colour.get(b"cHRM", b"")
    values = struct.unpack(">8L", corners) if len(corners) == 32 else _SRGB_CORNERS
    return (bool(gamma) and abs(int.from_bytes(gamma or b"", "big") - _SRGB_GAMMA) > 500) or any(
        abs(value - usual) > 500 for value, usual in zip(values, _SRGB_CORNERS, strict=True)
    )
