"""What a JPEG, PNG, WebP or BMP file holds that no result does, by name; TIFF, AVIF and HEIC have files of their own.

What may go without a word stands in the guide, on the page about formats.
"""

import re
import struct
from collections.abc import Sequence

from PIL.JpegImagePlugin import JpegImageFile

from dpenet_cli.images import png
from dpenet_cli.images.jpeg import JpegHeader, iptc_of
from dpenet_cli.images.picture import Metadata
from dpenet_cli.images.png_chunks import SIGNATURE, chunks, impossible
from dpenet_cli.images.webp_avif import riff_chunks

RESOURCES = "Photoshop's resources other than IPTC"
ASPECT = "the shape of its pixels"
TAIL = "bytes behind its end"

_THUMBNAIL_RESOURCES = {0x0409, 0x040C}
_IPTC_RESOURCE = 0x0404

_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_PHOTOSHOP = b"Photoshop 3.0\0"
_NAMED = 100  # more are no accident

_JPEG_KNOWN = (
    ("APP0", b"JFIF\0"),
    ("APP0", b"JFXX\0"),
    ("APP1", b"Exif\0\0"),
    ("APP1", _XMP),
    ("APP1", b"http://ns.adobe.com/xmp/extension/\0"),
    ("APP2", b"ICC_PROFILE\0"),
    ("APP2", b"MPF\0"),
    ("APP11", b"JP"),
    ("APP13", _PHOTOSHOP),
    ("APP14", b"Adobe"),
    ("COM", b""),
)
"""Segments that are read, told about elsewhere, or say only how the pixels are stored."""

_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")


def of_jpeg(image: JpegImageFile, header: JpegHeader, data: bytes) -> list[str]:
    """Names of what is left out of a JPEG file.

    Args:
        image: Pillow's reading of its header, not decoded yet.
        header: ours.
        data: the file.
    """
    names = [f"{name} segment" for name, body in image.applist if not _is_known(name, body)]
    if len({body for name, body in image.applist if name == "APP1" and body.startswith(_XMP)}) > 1:
        names.append("a second XMP packet")
    parts = [body[len(_PHOTOSHOP) :] for name, body in image.applist if name == "APP13" and body.startswith(_PHOTOSHOP)]
    if has_other_resources(b"".join(parts), header.metadata.iptc):
        names.append(RESOURCES)
    across, down = image.info.get("jfif_density", (0, 0))
    if not image.info.get("jfif_unit", 0) and across and down and across != down:
        names.append(ASPECT)
    between, end = _between_scans(data, image.fp.tell() if image.fp else 0)
    is_told = header.extras  # what follows the picture is told as that
    return names + between + ([TAIL] if data[end:].strip(b"\0\xff") and not is_told else [])


def _is_known(name: str, body: bytes) -> bool:
    return any(name == known and body.startswith(prefix) for known, prefix in _JPEG_KNOWN)


def _between_scans(data: bytes, at: int) -> tuple[list[str], int]:
    """Names of the segments behind the first scan, and where the picture ends."""
    names: list[str] = []
    while match := _MARKER.search(data, at):
        marker, at = match[1][0], match.end()
        if marker == 0xD9:
            return names, at
        if 0xE0 <= marker <= 0xEF or marker == 0xFE:
            names.append(f"{f'APP{marker - 0xE0}' if marker < 0xF0 else 'COM'} segment between scans")
        if marker != 0xD8:
            at += max(int.from_bytes(data[at : at + 2], "big"), 2)
    return names, len(data)


def has_other_resources(resources: bytes, iptc: bytes | None) -> bool:
    """Whether Photoshop's image resources hold more than an IPTC stream and thumbnails, or are damaged."""
    at = 0
    while at + 12 <= len(resources):
        code = int.from_bytes(resources[at + 4 : at + 6], "big")
        name = resources[at + 6] + 1
        body = at + 6 + name + name % 2 + 4
        size = int.from_bytes(resources[body - 4 : body], "big")
        if resources[at : at + 4] != b"8BIM" or body + size > len(resources):
            return True
        is_kept = code == _IPTC_RESOURCE and (resources[body : body + size] or None) == iptc
        if size and not is_kept and code not in _THUMBNAIL_RESOURCES:
            return True
        at = body + size + size % 2
    return bool(resources[at:].strip(b"\0"))


_PNG_SILENT = set(b"IHDR PLTE tRNS IDAT IEND iCCP eXIf pHYs tIME iDOT sBIT hIST sPLT".split())
"""Read, told about elsewhere, or of how the pixels were stored and when."""

_ONCE = {b"iCCP": "a second colour profile", b"eXIf": "a second EXIF block", b"pHYs": "a second resolution"}
_ONCE |= dict.fromkeys((b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI"), "")
_RAW = {"xmp": "XMP", "exif": "EXIF", "APP1": "EXIF", "iptc": "IPTC", "8bim": "IPTC"}
_RAW |= {"icc": "colour profile", "icm": "colour profile"}
_AUTHENTIC = {b"caBX": "content credentials (C2PA)"}


def of_png(data: bytes, header: png.PngHeader) -> list[str]:
    """Names of what is left out of a PNG file, but for damaged chunks."""
    names: list[str] = []
    seen: set[bytes | str] = set()
    end = len(SIGNATURE)
    for kind, start, end_of_data, sound in chunks(data):
        end = end_of_data + 4
        body = data[start:end_of_data]
        if not sound or impossible(kind, len(body), header.colour):
            continue
        if kind in _ONCE and kind in seen and _ONCE[kind]:
            names.append(_ONCE[kind])
        seen.add(kind)
        if kind == b"pHYs" and header.metadata.dpi is None:
            across, down, unit = struct.unpack(">LLB", body)
            names += [] if not unit and across == down else [ASPECT if not unit else "pHYs chunk"]
        elif kind in png.TEXT_CHUNKS:
            names += _of_text(kind, body, seen, header.metadata)
        elif kind not in _PNG_SILENT and not png.is_copied(kind):
            names.append(_AUTHENTIC.get(kind, f"{kind.decode('latin-1')} chunk"))
    return names + ([TAIL] if data[end:].strip(b"\0") else [])


def _of_text(kind: bytes, body: bytes, seen: set[bytes | str], metadata: Metadata) -> list[str]:
    """What is lost of a chunk that is no text: profiles that cannot be unfolded, and those of which another is kept."""
    label = png.label_of_text(kind, body)
    if label is None:
        return []
    if label in seen:  # not unfolded: thousands would take long
        return [f"a second {_RAW[label]}"]
    seen.add(label)
    found: dict[str, bytes] = {}
    png.special_text(kind, body, found)
    value = next(iter(found.values()), b"")
    all_kept = {"XMP": metadata.xmp, "EXIF": metadata.exif, "IPTC": metadata.iptc, "colour profile": metadata.icc}
    kept = all_kept[_RAW[label]]
    if not value:
        return [f"{_RAW[label]} that is damaged"]
    if label in ("iptc", "8bim") and value.startswith(b"8BIM"):
        names = [RESOURCES] if has_other_resources(value, metadata.iptc) else []
        stream = iptc_of(value)
        return names + (["a second IPTC"] if stream and stream != kept else [])
    return [] if value.removeprefix(b"Exif\0\0") == kept else [f"a second {_RAW[label]}"]


def of_webp(data: bytes, metadata: Metadata) -> list[str]:
    """Names of what is left out of a WebP file."""
    names = []
    kept = {b"ICCP": metadata.icc, b"XMP ": metadata.xmp, b"EXIF": metadata.exif}
    labels = {b"ICCP": "colour profile", b"XMP ": "XMP", b"EXIF": "EXIF"}
    found: set[bytes] = set()
    for kind, body in riff_chunks(data[: 8 + int.from_bytes(data[4:8], "little")]):
        if kind in kept:
            # libwebp passes over what its header does not announce.
            if bytes(body).removeprefix(b"Exif\0\0") != kept[kind]:
                names.append(f"a second {labels[kind]}" if kind in found else labels[kind])
            found.add(kind)
        elif kind not in (b"VP8X", b"VP8 ", b"VP8L", b"ALPH"):
            names.append(f"{kind.decode('latin-1').strip()} chunk")
    return names + ([TAIL] if data[8 + int.from_bytes(data[4:8], "little") :].strip(b"\0") else [])


_V4, _V5 = 108, 124
"""Bytes of the BMP headers that say something of the colours."""

_PLAIN = {0, 3, 6}
"""BMP compressions that are none."""


def of_bmp(data: bytes) -> list[str]:
    """Names of what is left out of a BMP file."""
    names, size = [], int.from_bytes(data[14:18], "little")
    begin = int.from_bytes(data[10:14], "little")
    end = len(data)
    if size >= 40:
        width, height, _, bits, coded = struct.unpack_from("<llHHL", data, 18)
        end = begin + (abs(width) * bits + 31) // 32 * 4 * abs(height) if coded in _PLAIN else end
    if size >= _V4:
        space = data[70:74][::-1]
        if space == bytes(4) and data[74:122].strip(b"\0"):
            names.append("its colours' own primaries and gamma")
        if size >= _V5 and space in (b"MBED", b"LINK"):
            names.append("colour profile")
            at, length = struct.unpack_from("<LL", data, 126)
            end = max(end, 14 + at + length)
    return names + ([TAIL] if data[end:].strip(b"\0") else [])


def as_notice(names: Sequence[str]) -> str:
    """The notice of what is left out."""
    distinct = list(dict.fromkeys(names))
    more = f", and {len(distinct) - _NAMED} more" if len(distinct) > _NAMED else ""
    return f"left out, for no result holds it: {', '.join(distinct[:_NAMED])}{more}"
