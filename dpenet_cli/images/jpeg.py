"""What a JPEG file says beside its pixels: read from its segments, and put into them."""

import dataclasses
import re
import struct
from dataclasses import dataclass, field

from dpenet_cli.errors import ImageReadError, ImageRefused
from dpenet_cli.images.picture import Metadata

_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_ICC = b"ICC_PROFILE\0"
_PHOTOSHOP = b"Photoshop 3.0\0"
_IPTC_RESOURCE = 0x0404  # "IPTC-NAA record" in Adobe's list of image resources
_MAX_PAYLOAD = 65533  # a segment's length has 16 bits and counts itself
_ICC_ROOM = _MAX_PAYLOAD - len(_ICC) - 2  # less the part's number and the number of parts
_APP0, _APP1, _APP2, _APP11, _APP13, _COM = 0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xFE
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_PADDING = 64  # bytes behind the end that are no picture
_MAX_SCANS = 200  # usual are 10
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # inside a scan FF is followed by 00 or by a restart marker
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})


@dataclass
class Contents:
    """The header of a JPEG file.

    Attributes:
        width, height: in pixels.
        components: the (horizontal, vertical) sampling factors of each component.
        progressive: coded in several passes.
        extras: other pictures or a video ride along (MPF, or bytes after the end of the picture).
        signed: it carries content credentials (C2PA), which an edit makes void.
        metadata: as in the file, not yet patched.
    """

    width: int = 0
    height: int = 0
    components: tuple[tuple[int, int], ...] = ()
    progressive: bool = False
    extras: bool = False
    signed: bool = False
    metadata: Metadata = field(default_factory=Metadata)


def parse(data: bytes, what: str) -> Contents:
    """Read the segments up to the first scan.

    Raises:
        ImageReadError: the file ends before its pixels, says its size twice, or has too many scans.
        ImageRefused: more than 8 bits per channel.
    """
    contents = Contents()
    kept: dict[str, list[bytes]] = {name: [] for name in ("exif", "xmp", "more", "icc", "photoshop", "comment")}
    dpi = None
    segments, scan = _segments(data, what)
    if sum(marker in _FRAMES for marker, _ in segments) > 1:
        raise ImageReadError(what, "it has more than one header", "Save it anew with a picture editor.")
    for marker, payload in segments:
        if marker in _FRAMES and len(payload) >= 6:
            _read_frame(contents, marker, payload, what)
        elif marker == _APP0 and payload.startswith(b"JFIF\0"):
            dpi = _jfif_dpi(payload)
        elif marker == _APP2 and payload.startswith(b"MPF\0"):
            contents.extras = True
        elif marker == _APP11 and payload.startswith(b"JP"):
            contents.signed = True
        else:
            _sort_out(kept, marker, payload)
    if _scans(data, scan) > _MAX_SCANS:
        why = f"it is coded in more than {_MAX_SCANS} scans, each of which a decoder walks through as a whole"
        raise ImageReadError(what, why, "If you trust it, save it anew with a picture editor.")
    contents.extras = contents.extras or _has_tail(data, scan)
    contents.metadata = Metadata(
        exif=b"".join(kept["exif"]) or None,
        icc=_join_icc(kept["icc"]),
        xmp=kept["xmp"][0] if kept["xmp"] else None,
        xmp_extension=tuple(kept["more"]),
        iptc=iptc_of(b"".join(kept["photoshop"])),
        dpi=dpi,
        comments=tuple(kept["comment"]),
    )
    return contents


def _segments(data: bytes, what: str) -> tuple[list[tuple[int, bytes]], int]:
    """The markers and payloads before the first scan, and where that begins."""
    found: list[tuple[int, bytes]] = []
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:  # garbage between segments, which decoders skip
            at = data.find(b"\xff", at)
            if at < 0:
                break
            continue
        marker = data[at + 1]
        if marker in (0xFF, 0x00):
            at += 1
            continue
        if marker in _STANDALONE:
            at += 2
            continue
        if marker in (0xDA, 0xD9):
            return found, at
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        found.append((marker, data[at + 4 : at + 2 + length]))
        at += 2 + max(length, 2)
    raise ImageReadError(what, "the file ends before its pixels", "Copy it again from its source.")


def _read_frame(contents: Contents, marker: int, payload: bytes, what: str) -> None:
    precision, contents.height, contents.width, components = struct.unpack_from(">BHHB", payload)
    if precision != 8:
        raise ImageRefused(what, f"it is a JPEG of {precision} bits per channel", "Export it as a 16-bit TIFF.")
    factors = payload[7 : 6 + 3 * components : 3]
    contents.components = tuple((factor >> 4, factor & 15) for factor in factors)
    contents.progressive = marker in _PROGRESSIVE


def _sort_out(kept: dict[str, list[bytes]], marker: int, payload: bytes) -> None:
    for wanted, prefix, name in (
        (_APP1, _EXIF, "exif"),
        (_APP1, _XMP, "xmp"),
        (_APP2, _ICC, "icc"),
        (_APP13, _PHOTOSHOP, "photoshop"),
        (_COM, b"", "comment"),
    ):
        if marker == wanted and payload.startswith(prefix):
            kept[name].append(payload[len(prefix) :])
            return
    if marker == _APP1 and payload.startswith(_XMP_EXTENSION):
        kept["more"].append(payload)


def _jfif_dpi(payload: bytes) -> tuple[float, float] | None:
    if len(payload) < 12:
        return None
    unit, across, down = struct.unpack_from(">BHH", payload, 7)
    per_inch = {1: 1.0, 2: 2.54}.get(unit)  # 0 is an aspect ratio only
    return (across * per_inch, down * per_inch) if per_inch and across and down else None


def _join_icc(parts: list[bytes]) -> bytes | None:
    """The profile from its numbered parts, which may stand in any order; None where one is missing."""
    numbered = sorted(part for part in parts if len(part) > 2)
    if not numbered or [part[0] for part in numbered] != list(range(1, numbered[0][1] + 1)):
        return None
    return b"".join(part[2:] for part in numbered)


def _scans(data: bytes, start: int) -> int:
    """How many scans the picture has, from the first one on; counting stops beyond the limit."""
    count, at = 0, start
    while (marker := _MARKER.search(data, at)) and marker[0] != b"\xff\xd9" and count <= _MAX_SCANS:
        count += marker[0] == b"\xff\xda"
        at = marker.end() + max(int.from_bytes(data[marker.end() : marker.end() + 2], "big"), 2)
    return count


def _has_tail(data: bytes, start: int) -> bool:
    """Whether something follows the picture (a gain map, a motion photo's video), beyond padding.

    Inside a scan FF is always followed by 00 or by a restart marker, so the first FFD9 behind the header is the end.
    """
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


def fitting(metadata: Metadata) -> tuple[Metadata, list[str]]:
    """What of the metadata fits into JPEG segments, and the names of what does not and was taken out."""
    long = {
        "EXIF": len(_EXIF) + len(metadata.exif or b"") > _MAX_PAYLOAD,
        "XMP": len(_XMP) + len(metadata.xmp or b"") > _MAX_PAYLOAD,
        "IPTC": len(_PHOTOSHOP) + len(iptc_resource(metadata.iptc or b"")) > _MAX_PAYLOAD,
        "colour profile": len(metadata.icc or b"") > 255 * _ICC_ROOM,
        "comment": any(len(comment) > _MAX_PAYLOAD for comment in metadata.comments),
    }
    kept = dataclasses.replace(
        metadata,
        exif=None if long["EXIF"] else metadata.exif,
        xmp=None if long["XMP"] else metadata.xmp,
        iptc=None if long["IPTC"] else metadata.iptc,
        icc=None if long["colour profile"] else metadata.icc,
        comments=tuple(comment for comment in metadata.comments if len(comment) <= _MAX_PAYLOAD),
    )
    return kept, [name for name, is_long in long.items() if is_long]


def with_metadata(encoded: bytes, metadata: Metadata) -> bytes:
    """Put metadata that fit behind the JFIF segment of an encoded picture."""
    payloads: list[tuple[int, bytes]] = []
    if metadata.exif:
        payloads.append((_APP1, _EXIF + metadata.exif))
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
