"""EXIF for a picture that has been turned upright: patched in place, so that all else keeps its bytes and place.

Maker notes hold offsets that count from the start of the block. A block that is written anew breaks them; one whose
length and order stay does not.
"""

import re
import struct

from dpenet_cli.images.ifd import (
    EXIF_POINTER,
    GPS_POINTER,
    INTEROP_POINTER,
    LONG,
    POINTER,
    SHORT,
    DamagedError,
    Directory,
    Header,
    Value,
    blank,
    carried,
    numbers,
    read_directory,
    read_header,
    set_first,
    table,
)

ORIENTATION = 0x0112
_WIDTH_TAGS, _HEIGHT_TAGS = {0x0100, 0xA002}, {0x0101, 0xA003}  # ImageWidth and PixelXDimension, and the heights
_RESOLUTION_TAGS = {0x011A, 0x011B, 0x0128}
_THUMBNAIL = (0x0201, 0x0202)  # JPEGInterchangeFormat and its length
_THUMBNAIL_STRIPS = (0x0111, 0x0117)
_MAX_THUMBNAIL_DIRECTORIES = 4

STRUCTURAL_TAGS = frozenset(
    {*range(0x00FE, 0x010B), 0x0111, 0x0112, *range(0x0115, 0x011A), 0x011C, *range(0x0120, 0x0126)}
    | {0x013D, *range(0x0140, 0x0160), *range(0x0200, 0x020A), *range(0x0211, 0x0215)}
    | {0x02BC, 0x83BB, 0x8649, 0x8773, 0x935C, EXIF_POINTER, GPS_POINTER, INTEROP_POINTER}
)
"""Tags of a TIFF's first directory that say how its samples are stored, or that are carried elsewhere (XMP, IPTC, ICC,
Photoshop's resources and layers)."""


def first_directory(exif: bytes | bytearray) -> tuple[Header, Directory]:
    """The header and the first directory of a block.

    Raises:
        DamagedError: they cannot be read, or the block has 64-bit offsets, which EXIF does not know.
    """
    header = read_header(exif)
    if header.big:
        raise DamagedError("64-bit offsets")
    return header, read_directory(exif, header, header.first)


def is_sound(exif: bytes) -> bool:
    """Whether a block can be carried into a file: the first directory can be read."""
    try:
        first_directory(exif)
    except DamagedError:
        return False
    return True


def orientation(exif: bytes) -> int | None:
    """1..8 as the block says, 1 where it says nonsense, None where it says nothing or cannot be read."""
    try:
        header, directory = first_directory(exif)
    except DamagedError:
        return None
    if directory.get(ORIENTATION) is None:
        return None
    value = directory.number(ORIENTATION, header.order, 1)
    return value if value in range(1, 9) else 1


def upright(exif: bytes, width: int, height: int) -> bytes:
    r"""The block for a picture of this size that is upright, without its thumbnail.

    Args:
        exif: a TIFF structure, without ``Exif\0\0``.
        width: columns of the upright picture.
        height: rows of the upright picture.

    Returns:
        As many bytes, or fewer where the thumbnail stood at the end.

    Raises:
        DamagedError: the first directory cannot be read. A damaged one further in is left as it is.
    """
    data = bytearray(exif)
    header, first = first_directory(data)
    directories = [first, *_inner_directories(data, header, first)]
    for directory in directories:
        _patch(data, header.order, directory, width, height)
    if first.next:
        _drop_thumbnail(data, header, first, directories)
        # Values that say the same bytes over and over are told by being longer than their block, which is shorter now.
        first_directory(data)
    return bytes(data)


def _inner_directories(data: bytes | bytearray, header: Header, first: Directory) -> list[Directory]:
    """The Exif, GPS and interoperability directories, as far as they can be read."""
    found = []
    pointers = [first.number(EXIF_POINTER, header.order), first.number(GPS_POINTER, header.order)]
    for offset in pointers:
        directory = _try_directory(data, header, offset)
        if directory:
            found.append(directory)
            interop = _try_directory(data, header, directory.number(INTEROP_POINTER, header.order))
            found.extend([interop] if interop else [])
    return found


def _try_directory(data: bytes | bytearray, header: Header, offset: int | None) -> Directory | None:
    if not offset:
        return None
    try:
        return read_directory(data, header, offset)
    except DamagedError:
        return None


def _patch(data: bytearray, order: str, directory: Directory, width: int, height: int) -> None:
    """Write the entries of orientation and size anew, each in its place: both fit into the entry's own four bytes."""
    for entry in directory.entries:
        if entry.tag == ORIENTATION:
            struct.pack_into(f"{order}HHLHH", data, entry.position, ORIENTATION, SHORT, 1, 1, 0)
        elif entry.tag in _WIDTH_TAGS | _HEIGHT_TAGS and entry.kind in (SHORT, LONG) and entry.count == 1:
            value = width if entry.tag in _WIDTH_TAGS else height
            field = struct.pack(f"{order}HH", value, 0) if value < 2**16 else struct.pack(f"{order}L", value)
            kind = SHORT if value < 2**16 else LONG
            struct.pack_into(f"{order}HHL4s", data, entry.position, entry.tag, kind, 1, field)


def _drop_thumbnail(data: bytearray, header: Header, first: Directory, staying: list[Directory]) -> None:
    """Unlink the directories after the first, and blank their bytes and their pictures.

    Args:
        data: the block, changed in place.
        header: its header.
        first: its first directory, behind which the thumbnail's comes.
        staying: all directories that stay.
    """
    # 1. What must stay: the header, the tables that are kept, and the values that lie outside their tables.
    occupied = [(0, 8)] + [directory.span for directory in staying]
    occupied += [(e.start, e.start + len(e.value)) for directory in staying for e in directory.entries if e.value]
    # 2. What should go: the tables from the second on, which may form a circle, with all that they point at.
    unwanted: list[tuple[int, int]] = []
    offset = first.next
    for _ in range(_MAX_THUMBNAIL_DIRECTORIES):
        directory = _try_directory(data, header, offset)
        if directory is None:
            break
        unwanted += _thumbnail_spans(directory, header.order)
        offset = directory.next
    # 3. The first table's last four bytes say where the next one lies: nowhere.
    struct.pack_into(f"{header.order}L", data, first.span[1] - 4, 0)
    # 4. Blanked, not cut out, for whatever lies behind must stay where it is. A block in which the thumbnail shares
    # bytes with what is kept was made to harm; what is kept comes first.
    for start, end in ((start, min(end, len(data))) for start, end in unwanted):
        if start < end and not any(start < other_end and other < end for other, other_end in occupied):
            data[start:end] = bytes(end - start)
    # 5. Zeros at the end can go, as far as no value that is kept says them.
    shortest = max(min(end, len(data)) for _, end in occupied)
    del data[max(shortest, len(data.rstrip(b"\0"))) :]


def _thumbnail_spans(directory: Directory, order: str) -> list[tuple[int, int]]:
    spans = [directory.span]
    spans += [(entry.start, entry.start + len(entry.value)) for entry in directory.entries if entry.value]
    for offsets_tag, lengths_tag in (_THUMBNAIL, _THUMBNAIL_STRIPS):
        offsets, lengths = directory.get(offsets_tag), directory.get(lengths_tag)
        if offsets and lengths:
            pairs = zip(offsets.numbers(order)[:1000], lengths.numbers(order), strict=False)
            spans += [(start, start + length) for start, length in pairs]
    return spans


def without_orientation(exif: bytes) -> bytes:
    """The block with its orientation entry taken out of the table; everything else keeps its place.

    For AVIF: its container has an orientation of its own, and Pillow writes the block anew where it finds one in it.
    """
    header, directory = first_directory(exif)
    entry = directory.get(ORIENTATION)
    if entry is None or len(directory.entries) == 1:
        return exif
    data = bytearray(exif)
    _, end = directory.span
    data[entry.position : end] = data[entry.position + 12 : end] + bytes(12)
    struct.pack_into(f"{header.order}H", data, header.first, len(directory.entries) - 1)
    return bytes(data)


def pointers_in(directory: Directory) -> frozenset[int]:
    """Tags that point at further directories, which stay behind where a directory is put elsewhere."""
    return frozenset(entry.tag for entry in directory.entries if entry.kind == POINTER)


def from_tiff(data: bytes, header: Header, first: Directory) -> bytes | None:
    """An EXIF block from the directories of a TIFF file, or None where they describe nothing but its samples.

    Values keep their bytes; maker notes move, and where they hold offsets into the file those no longer hold.
    """
    block = bytearray(blank(header.order))
    pointers: list[Value] = []
    for tag in (EXIF_POINTER, GPS_POINTER):
        directory = _try_directory(data, header, first.number(tag, header.order))
        if directory is None:
            continue
        inner = carried(directory, pointers_in(directory) | {INTEROP_POINTER})
        interop = _try_directory(data, header, directory.number(INTEROP_POINTER, header.order))
        if interop:
            inner.append(numbers(INTEROP_POINTER, LONG, header.order, len(block)))
            block += table(carried(interop, frozenset()), header.order, len(block))
        if inner:
            pointers.append(numbers(tag, LONG, header.order, len(block)))
            block += table(inner, header.order, len(block))
    values = carried(first, STRUCTURAL_TAGS | pointers_in(first))
    if not pointers and not {tag for tag, *_ in values} - _RESOLUTION_TAGS:
        return None
    set_first(block, header.order, len(block))
    block += table([*values, *pointers], header.order, len(block))
    return bytes(block)


_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)[0-9]+")
_XMP_EXTRAS = re.compile(
    rb"\s(?:hdrgm:Version|GCamera:(?:MicroVideo|MotionPhoto)\w*)\s*=\s*(?:\"[^\"]*\"|'[^']*')"
    rb"|<(G?Container):Directory\b.*?</\1:Directory\s*>"
    rb"|<(GCamera:(?:MicroVideo|MotionPhoto)\w*|hdrgm:Version)>[^<]*</\2>",
    re.DOTALL,
)


def upright_xmp(xmp: bytes) -> bytes:
    """The packet, saying that the picture is upright."""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def xmp_without_extras(xmp: bytes) -> bytes:
    """The packet, no longer promising a gain map or a video behind the picture."""
    return _XMP_EXTRAS.sub(b"", xmp)
