"""What a JPEG file says beside its pixels: from the segments that Pillow read, and put into those of another file.

Pillow walks through the header, and what it says counts: it is what its decoder goes by. Of metadata it keeps every
segment, but its own reading of them loses some: all comments but the last, all XMP packets but the last and their
extensions, parts of a colour profile behind the frame's header, IPTC that goes on in a second segment. So those are
read here, from its list of segments. Nor does it look at what follows the header: further scans, and other pictures.
"""

import dataclasses
import re
import struct
from dataclasses import dataclass, field
from io import BytesIO

from PIL.JpegImagePlugin import JpegImageFile

from dpenet_cli.errors import ImageReadError, ImageRefused
from dpenet_cli.images.jpeg_parts import joined_exif, joined_profile
from dpenet_cli.images.picture import Metadata

_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_ICC = b"ICC_PROFILE\0"
_PHOTOSHOP = b"Photoshop 3.0\0"
_IPTC_RESOURCE = 0x0404  # "IPTC-NAA record" in Adobe's list of image resources
_MAX_PAYLOAD = 65533  # a segment's length has 16 bits and counts itself
_EXIF_ROOM = _MAX_PAYLOAD - len(_EXIF)
_ICC_ROOM = _MAX_PAYLOAD - len(_ICC) - 2  # less the part's number and the number of parts
_APP1, _APP2, _APP13, _COM = 0xE1, 0xE2, 0xED, 0xFE
_NO_PROFILE = "its colour profile is damaged and left out: its parts do not make one whole"
_PADDING = 64  # bytes behind the end that are no picture
_MAX_SCANS = 200  # usual are 10
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # inside a scan FF is followed by 00 or by a restart marker
_LARGEST = 65535  # pixels across and down
_ARITHMETIC = re.compile(rb"\xff[\xc9-\xcb\xcd-\xcf]")  # headers of frames that need less than a bit for a block
_OTHER_DEPTH = re.compile(r"cannot handle (\d+)-bit layers")  # as Pillow says it


@dataclass
class JpegHeader:
    """The header of a JPEG file.

    Attributes:
        factors: the (horizontal, vertical) sampling factors of each component.
        tables: the quantisation table of each component, 64 values row by row, or () where it is missing.
        progressive: coded in several passes.
        extras: other pictures or a video ride along (MPF, or bytes after the end of the picture).
        signed: it carries content credentials (C2PA), which an edit makes void.
        most_pixels: that a file of so many bytes can hold.
        losses: notices of metadata that do not hold together and are left out.
        exif_in_parts: its EXIF takes several segments.
        metadata: as in the file, not yet patched.
    """

    factors: tuple[tuple[int, int], ...]
    tables: tuple[tuple[int, ...], ...]
    progressive: bool
    extras: bool
    signed: bool
    most_pixels: int
    losses: list[str]
    exif_in_parts: bool
    metadata: Metadata = field(default_factory=Metadata)


def open_header(data: bytes, what: str) -> JpegImageFile:
    """Pillow's reading of a file up to its first scan. Nothing is decoded.

    Raises:
        ImageReadError: it cannot be read.
        ImageRefused: not 8 bits per channel.
    """
    try:
        # The class itself, not Image.open, which would turn camera JPEGs into MPO files of several frames.
        return JpegImageFile(BytesIO(data))
    except (SyntaxError, OSError) as error:
        depth = _OTHER_DEPTH.fullmatch(str(error))
        if depth is None:
            raise ImageReadError(what, "its header is damaged or cut off", "Copy it again from its source.") from error
        why = f"it is a JPEG of {depth[1]} bits per channel"
        raise ImageRefused(what, why, "Export it as a 16-bit TIFF.") from error


def parse(image: JpegImageFile, data: bytes, what: str) -> JpegHeader:
    """What the header says, and whether the picture may be decoded.

    Args:
        image: from `open_header`, not decoded yet.
        data: the whole file.
        what: the file's name, for the errors.

    Raises:
        ImageReadError: the file ends before its pixels, says its size twice, or has too many scans.
    """
    if not image.tile or image.fp is None:
        raise ImageReadError(what, "the file ends before its pixels", "Copy it again from its source.")
    # Each frame's header adds its components to the list, and the last one says how many there are. That is another
    # number if there were two headers, or if one was as long as no decoder takes it.
    if len(image.layer) != image.layers:
        raise ImageReadError(what, "it has more than one header", "Save it anew with a picture editor.")
    scan = image.fp.tell()  # Pillow stops behind the header of the first scan
    if _scans(data, scan) > _MAX_SCANS:
        why = f"it is coded in more than {_MAX_SCANS} scans, each of which a decoder walks through as a whole"
        raise ImageReadError(what, why, "If you trust it, save it anew with a picture editor.")
    blocks = joined_exif(_payloads(image, "APP1", _EXIF))
    metadata = _metadata(image, blocks)
    losses = [] if metadata.icc or not _payloads(image, "APP2", _ICC) else [_NO_PROFILE]
    if len(blocks) > 1:
        losses.append("only the first EXIF of several is kept")
    return JpegHeader(
        factors=tuple((across, down) for _, across, down, _ in image.layer),
        tables=tuple(tuple(image.quantization.get(table, ())) for *_, table in image.layer),
        progressive="progressive" in image.info,
        extras="mp" in image.info or _has_tail(data, scan),
        signed=bool(_payloads(image, "APP11", b"JP")),
        most_pixels=_most_pixels(data, scan),
        losses=losses,
        exif_in_parts=len(metadata.exif or b"") > _EXIF_ROOM,
        metadata=metadata,
    )


def _metadata(image: JpegImageFile, exif_blocks: list[bytes]) -> Metadata:
    xmp = _payloads(image, "APP1", _XMP)
    return Metadata(
        exif=exif_blocks[0] if exif_blocks else None,
        icc=joined_profile(_payloads(image, "APP2", _ICC)),
        xmp=xmp[0] if xmp else None,
        xmp_extension=tuple(_XMP_EXTENSION + part for part in _payloads(image, "APP1", _XMP_EXTENSION)),
        iptc=iptc_of(b"".join(_payloads(image, "APP13", _PHOTOSHOP))),
        dpi=_jfif_dpi(image),
        comments=tuple(_payloads(image, "COM", b"")),
    )


def _payloads(image: JpegImageFile, name: str, prefix: bytes) -> list[bytes]:
    """What the segments of a name hold behind a prefix, of those that begin with it."""
    return [body[len(prefix) :] for kind, body in image.applist if kind == name and body.startswith(prefix)]


def _jfif_dpi(image: JpegImageFile) -> tuple[float, float] | None:
    # Not Pillow's "dpi", which it takes from EXIF or makes up where there is none.
    per_inch = {1: 1.0, 2: 2.54}.get(image.info.get("jfif_unit", 0))  # 0 is an aspect ratio only
    across, down = image.info.get("jfif_density", (0, 0))
    return (across * per_inch, down * per_inch) if per_inch and across and down else None


def _most_pixels(data: bytes, scan: int) -> int:
    """How many pixels a file of so many bytes can hold: each block of 64 takes a bit at least, by Huffman's coding."""
    return _LARGEST**2 if _ARITHMETIC.search(data, 0, scan) else len(data) * 8 * 64


def _scans(data: bytes, start: int) -> int:
    """How many scans the picture has; counting stops beyond the limit.

    Args:
        data: the file.
        start: behind the header of the first scan.
    """
    count, at = 1, start
    while (marker := _MARKER.search(data, at)) and marker[0] != b"\xff\xd9" and count <= _MAX_SCANS:
        count += marker[0] == b"\xff\xda"
        at = marker.end() + max(int.from_bytes(data[marker.end() : marker.end() + 2], "big"), 2)
    return count


def _has_tail(data: bytes, start: int) -> bool:
    """Whether something follows the picture (a gain map, a motion photo's video), beyond padding."""
    # Inside a scan FF is always followed by 00 or by a restart marker, so the first FFD9 behind the header is the end.
    end = data.find(b"\xff\xd9", start)
    return end >= 0 and len(data[end + 2 :].strip(b"\0\xff")) > _PADDING


def iptc_of(resources: bytes) -> bytes | None:
    """The IPTC stream among Photoshop's image resources (``8BIM`` blocks), or None."""
    at = 0
    while resources[at : at + 4] == b"8BIM" and at + 12 <= len(resources):
        code = int.from_bytes(resources[at + 4 : at + 6], "big")
        name = resources[at + 6] + 1
        at += 6 + name + name % 2
        size = int.from_bytes(resources[at : at + 4], "big")
        if code == _IPTC_RESOURCE:
            return resources[at + 4 : at + 4 + size] or None
        at += 4 + size + size % 2
    return None


def iptc_resource(iptc: bytes) -> bytes:
    """The ``8BIM`` block that holds an IPTC stream."""
    return b"8BIM" + struct.pack(">HHL", _IPTC_RESOURCE, 0, len(iptc)) + iptc + b"\0" * (len(iptc) % 2)


def fitting(metadata: Metadata, *, long_exif: bool = False) -> tuple[Metadata, list[str]]:
    """What of the metadata fits into JPEG segments, and the names of what does not and was taken out.

    Args:
        metadata: of any format.
        long_exif: EXIF may take several segments; not every program reads that, but the source's readers did.
    """
    long = {
        "EXIF": len(_EXIF) + len(metadata.exif or b"") > _MAX_PAYLOAD and not long_exif,
        "XMP": len(_XMP) + len(metadata.xmp or b"") > _MAX_PAYLOAD,
        "IPTC": len(_PHOTOSHOP) + len(iptc_resource(metadata.iptc or b"")) > _MAX_PAYLOAD,
        "colour profile": len(metadata.icc or b"") > 255 * _ICC_ROOM,
        "comment": any(len(comment) > _MAX_PAYLOAD for comment in metadata.comments),
    }
    fit = dataclasses.replace(
        metadata,
        exif=None if long["EXIF"] else metadata.exif,
        xmp=None if long["XMP"] else metadata.xmp,
        iptc=None if long["IPTC"] else metadata.iptc,
        icc=None if long["colour profile"] else metadata.icc,
        comments=tuple(comment for comment in metadata.comments if len(comment) <= _MAX_PAYLOAD),
    )
    return fit, [name for name, is_long in long.items() if is_long]


def with_metadata(encoded: bytes, metadata: Metadata) -> bytes:
    """Put metadata that fit behind the JFIF segment of an encoded picture."""
    payloads: list[tuple[int, bytes]] = []
    block = metadata.exif or b""
    payloads += [(_APP1, _EXIF + block[at : at + _EXIF_ROOM]) for at in range(0, len(block), _EXIF_ROOM)]
    if metadata.xmp:
        payloads.append((_APP1, _XMP + metadata.xmp))
    payloads += [(_APP1, extension) for extension in metadata.xmp_extension]
    icc = metadata.icc or b""
    parts = [icc[at : at + _ICC_ROOM] for at in range(0, len(icc), _ICC_ROOM)]
    payloads += [(_APP2, _ICC + bytes([number, len(parts)]) + part) for number, part in enumerate(parts, start=1)]
    if metadata.iptc:
        payloads.append((_APP13, _PHOTOSHOP + iptc_resource(metadata.iptc)))
    payloads += [(_COM, comment) for comment in metadata.comments]
    segments = [struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload for marker, payload in payloads]
    at = 2
    if encoded[2:4] == b"\xff\xe0":  # JFIF comes first
        at += 2 + int.from_bytes(encoded[4:6], "big")
    return b"".join([encoded[:at], *segments, encoded[at:]])
