"""Small copies of the rainy picture among its metadata, elsewhere than in EXIF's own thumbnail: found, or taken out."""

import re

from dpenet_cli.images.picture import Metadata

THUMBNAIL = "the thumbnail in its XMP, which would show the rain"
"""What `xmp_without_thumbnails` takes out."""

_START = re.compile(rb"\xd8\xff[\xc0-\xcf\xdb\xdd\xe0-\xef\xfe]")  # some cameras spoil the byte before these on purpose
_MAX_CANDIDATES = 200
_MAX_NAMES = 20
"""Names in one packet that are looked for, and thumbnails that are taken out; hostile packets would take long."""

_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_TABLES, _SCAN = 0xDB, 0xDA
_GOOGLE_IMAGE = re.compile(rb"\bGImage:Data\b")
_IMAGE_NAMESPACE = re.compile(rb"xmlns:([\w.-]+)\s*=\s*[\"']http://ns\.adobe\.com/xap/1\.0/g/img/[\"']")
_THUMBNAILS = re.compile(rb"<([\w.-]+):Thumbnails\b(?:[^<>]*/>|.*?</\1:Thumbnails\s*>)", re.DOTALL)


def still_shown(metadata: Metadata) -> list[str]:
    """What is going to be written and shows the picture as it was, as notices."""
    told = []
    if metadata.exif and holds_jpeg(metadata.exif):
        told.append("a preview in the maker notes still shows the rain")
    extension = b"".join(metadata.xmp_extension)
    if _image_names(extension) or _image_names(metadata.xmp or b""):
        told.append("a preview in its XMP still shows the rain")
    return told


def holds_jpeg(block: bytes) -> bool:
    """Whether there is a whole JPEG picture among other bytes: tables, a frame, and a scan up to its end."""
    candidates = (match.start() + 1 for _, match in zip(range(_MAX_CANDIDATES), _START.finditer(block), strict=False))
    return any(_is_jpeg(block, at) for at in candidates)


def _is_jpeg(block: bytes, at: int) -> bool:
    """Whether segments follow each other from an offset on, as those of a picture do, and its pixels after them."""
    seen = set()
    while at + 4 <= len(block) and block[at] == 0xFF:
        marker, size = block[at + 1], int.from_bytes(block[at + 2 : at + 4], "big")
        if marker < 0xC0 or size < 2:
            return False
        if marker in _FRAMES and not (block[at + 5 : at + 7].strip(b"\0") and block[at + 7 : at + 9].strip(b"\0")):
            return False
        seen.add(marker)
        at += 2 + size
        if marker == _SCAN:
            end = block.find(b"\xff\xd9", at)
            return end > at and _TABLES in seen and bool(seen & _FRAMES) and bool(block[at:end].strip(b"\0"))
    return False


def _image_names(xmp: bytes) -> bool:
    """Whether a packet has pictures in it, by the names of Adobe and Google; values in packets are Base64."""
    if _GOOGLE_IMAGE.search(xmp):
        return True
    return any(re.search(rb"[<\s]%s:image\b" % re.escape(prefix), xmp) for prefix in _prefixes(xmp))


def _prefixes(xmp: bytes) -> list[bytes]:
    """What a packet calls the names of Adobe's pictures."""
    found = (match[1] for _, match in zip(range(_MAX_NAMES), _IMAGE_NAMESPACE.finditer(xmp), strict=False))
    return list(dict.fromkeys(found))


def xmp_without_thumbnails(xmp: bytes) -> bytes:
    """The packet without its thumbnails (``xmp:Thumbnails``, and whatever else is an ``xmpGImg:image``)."""
    prefixes = _prefixes(xmp)
    if not prefixes:
        return xmp
    if xmp.count(b":Thumbnails") <= 2 * _MAX_NAMES:
        xmp = _THUMBNAILS.sub(b"", xmp)
    for prefix in map(re.escape, prefixes):
        xmp = re.sub(rb"<(%s:image)\b[^<>]*?(?:/>|>[^<]*</\1\s*>)" % prefix, b"", xmp)
        xmp = re.sub(rb"\s%s:image\s*=\s*(?:\"[^\"]*\"|'[^']*')" % prefix, b"", xmp)
    return xmp
