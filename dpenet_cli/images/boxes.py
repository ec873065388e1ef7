"""The boxes of AVIF and HEIC files (ISO/IEC 14496-12 and 23008-12): what they hold that no result does, by name."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from dpenet_cli.images.picture import Metadata

_SILENT_BOXES = {b"ftyp", b"meta", b"mdat", b"free", b"skip", b"wide"}
_SILENT_META = {b"hdlr", b"dinf", b"pitm", b"iloc", b"iinf", b"iref", b"iprp", b"idat", b"grpl", b"free"}
_STORED = {b"ispe", b"hvcC", b"av1C", b"pixi", b"colr", b"irot", b"imir", b"auxC", b"lsel", b"a1op", b"a1lx"}
"""Properties that are applied, or say only how the picture is stored."""

C2PA = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_RDF = b"application/rdf+xml"
_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")
_PICTURES = {b"hvc1", b"av01", b"grid", b"iovl", b"iden", b"tmap", b"jpeg", b"avc1", b"unci", b"j2k1", b"hvt1", b"mski"}
_LABELS = {
    b"clap": "its crop",
    b"clli": "its light levels",
    b"mdcv": "its mastering display",
    b"udes": "its description",
}
_MAX_ITEMS = 10_000

_BLOCK = 64
"""Side of the largest blocks that pictures are coded in, in pixels."""

OTHERS = "other pictures"
"""The name of what the decoders have a notice of their own for."""


@dataclass
class _Items:
    """The items of a file.

    Attributes:
        primary: number of the main picture.
        kinds: type, and of a ``mime`` item its content type, by number.
        links: kind, from and to of each reference.
        properties: type and body, in the file's order.
        assigned: places of properties, by item.
    """

    primary: int = 0
    kinds: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    links: list[tuple[bytes, int, int]] = field(default_factory=list)
    properties: list[tuple[bytes, bytes]] = field(default_factory=list)
    assigned: dict[int, list[int]] = field(default_factory=dict)


def of_boxes(data: bytes, metadata: Metadata, *, cropped: bool) -> list[str]:
    """Names of what is left out of an AVIF or HEIC file; `OTHERS` among them where it holds several pictures.

    Args:
        data: the file.
        metadata: what was read of it, not yet patched.
        cropped: the decoder has applied its crop.
    """
    names, items = [], _Items()
    for kind, body in _boxes(data):
        if kind == b"meta":
            names += [_text(inner) for inner, _ in _boxes(body[4:]) if inner not in _SILENT_META]
            _read_meta(body[4:], items)
        elif kind == b"uuid" and body[:16] == C2PA:
            names.append("content credentials (C2PA)")
        elif kind not in _SILENT_BOXES:
            names.append(_text(kind))
    return names + _of_items(items, metadata) + _of_properties(items, cropped=cropped)


def main_size(head: bytes) -> tuple[int, int, int] | None:
    """Width and height of the main picture before it is turned, and by how many quarters that is.

    Args:
        head: the file, or its beginning with the box ``meta``.
    """
    items = _Items()
    for kind, body in _boxes(head):
        if kind == b"meta":
            _read_meta(body[4:], items)
    properties = dict(reversed(_assigned(items, items.primary)))  # of several of a kind the first counts
    size = properties.get(b"ispe", b"")
    if len(size) < 12:
        return None
    width, height = struct.unpack_from(">II", size, 4)
    crop = properties.get(b"clap", b"")
    if len(crop) >= 16:  # what a coder filled up to whole blocks is cut off
        wide, across, high, down = struct.unpack_from(">4I", crop)
        if across and down and 0 <= width - wide // across < _BLOCK and 0 <= height - high // down < _BLOCK:
            width, height = wide // across, high // down
    return width, height, properties.get(b"irot", b"\0")[0] & 3


def _text(kind: bytes) -> str:
    return f"{kind.decode('latin-1').strip()} box"


def _of_items(items: _Items, metadata: Metadata) -> list[str]:
    """Names of the items that are no part of the main picture and do not come with it."""
    parts = _with_tiles(items, {items.primary})
    parts |= {source for kind, source, to in items.links if kind == b"thmb" and to in parts}
    alphas = {source for kind, source, to in items.links if kind == b"auxl" and to in parts}
    parts |= _with_tiles(items, {number for number in alphas if _is_alpha(items, number)})
    parts |= {source for kind, source, to in items.links if kind == b"thmb" and to in parts}  # the transparency's own
    describes: dict[int, set[int]] = {}
    for kind, source, to in items.links:
        if kind == b"cdsc":
            describes.setdefault(source, set()).add(to)
    names, read = [], {"EXIF": 0, "XMP": 0}
    for number, (kind, content) in items.kinds.items():
        if number in parts:
            continue
        label = "EXIF" if kind == b"Exif" else "XMP" if kind == b"mime" and content == _RDF else None
        if kind in _PICTURES or (number in describes and items.primary not in describes[number]):
            names.append(OTHERS)
        elif label is not None:
            read[label] += 1
        else:
            names.append(f"{(content or kind).decode('latin-1').strip()} item")
    for label, kept in ("EXIF", metadata.exif), ("XMP", metadata.xmp):
        if read[label] and not kept:
            names.append(f"{label} that is damaged")
        elif read[label] > 1:
            names.append(f"a second {label}")
    return names


def _with_tiles(items: _Items, numbers: set[int]) -> set[int]:
    """Items with those that they are put together from."""
    below: dict[int, list[int]] = {}
    for kind, source, to in items.links:
        if kind == b"dimg":
            below.setdefault(source, []).append(to)
    found, waiting = set(numbers), list(numbers)
    while waiting:
        more = set(below.get(waiting.pop(), ())) - found
        found |= more
        waiting += more
    return found


def _is_alpha(items: _Items, number: int) -> bool:
    return any(kind == b"auxC" and body[4:].startswith(_ALPHA) for kind, body in _assigned(items, number))


def _assigned(items: _Items, number: int) -> list[tuple[bytes, bytes]]:
    return [items.properties[at] for at in items.assigned.get(number, ()) if 0 <= at < len(items.properties)]


def _of_properties(items: _Items, *, cropped: bool) -> list[str]:
    """Names of what the main picture's properties say and no result does."""
    names = []
    for kind, body in _assigned(items, items.primary):
        if kind == b"pasp":
            names += [] if body[:4] == body[4:8] else ["the shape of its pixels"]
        elif kind not in _STORED and not (kind == b"clap" and cropped):
            names.append(_LABELS.get(kind, f"{kind.decode('latin-1').strip()} property"))
    return names


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and body of each box, as far as they hold together."""
    at = 0
    while at + 8 <= len(data):
        size, head = int.from_bytes(data[at : at + 4], "big"), 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        size = size or len(data) - at
        if size < head:
            return
        yield data[at + 4 : at + 8], data[at + head : at + size]
        at += size


def _read_meta(meta: bytes, items: _Items) -> None:
    for kind, body in _boxes(meta):
        if kind == b"pitm":
            items.primary = int.from_bytes(body[4:6] if body[:1] == b"\0" else body[4:8], "big")
        elif kind == b"iinf":
            for inner, entry in _boxes(body[6:] if body[:1] == b"\0" else body[8:]):
                if inner == b"infe" and len(items.kinds) < _MAX_ITEMS:
                    _read_item(entry, items)
        elif kind == b"iref":
            _read_links(body, items)
        elif kind == b"iprp":
            for inner, properties in _boxes(body):
                if inner == b"ipco":
                    items.properties = list(_boxes(properties))
                elif inner == b"ipma":
                    _read_assigned(properties, items)


def _read_item(entry: bytes, items: _Items) -> None:
    wide = 4 if entry[:1] == b"\3" else 2  # bytes of its number
    number, kind = int.from_bytes(entry[4 : 4 + wide], "big"), entry[6 + wide : 10 + wide]
    texts = entry[10 + wide :].split(b"\0")  # its name, and of a mime item the content's type
    items.kinds[number] = kind, texts[1] if kind == b"mime" and len(texts) > 1 else b""


def _read_links(body: bytes, items: _Items) -> None:
    wide = 2 if body[:1] == b"\0" else 4
    for kind, link in _boxes(body[4:]):
        source, count = int.from_bytes(link[:wide], "big"), int.from_bytes(link[wide : wide + 2], "big")
        for at in range(wide + 2, min(wide + 2 + count * wide, len(link)), wide):
            if len(items.links) < _MAX_ITEMS:
                items.links.append((kind, source, int.from_bytes(link[at : at + wide], "big")))


def _read_assigned(body: bytes, items: _Items) -> None:
    wide, each = 2 if body[:1] == b"\0" else 4, 2 if body[3:4] and body[3] & 1 else 1
    at, count = 8, int.from_bytes(body[4:8], "big")
    for _ in range(min(count, _MAX_ITEMS)):
        if at >= len(body):
            break
        number = int.from_bytes(body[at : at + wide], "big")
        places = int.from_bytes(body[at + wide : at + wide + 1], "big")
        at += wide + 1
        values = [int.from_bytes(body[at + n * each : at + (n + 1) * each], "big") for n in range(places)]
        items.assigned.setdefault(number, []).extend((value & (0x7FFF if each == 2 else 0x7F)) - 1 for value in values)
        at += places * each
