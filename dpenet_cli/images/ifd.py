"""TIFF directories, which carry EXIF and TIFF files alike: a bounded reader, and a writer of small ones.

Values stay the bytes that the file holds, in its byte order, so that nothing is lost in a conversion and back.
"""

import struct
from dataclasses import dataclass

EXIF_POINTER, GPS_POINTER, INTEROP_POINTER = 0x8769, 0x8825, 0xA005

SHORT, LONG, POINTER = 3, 4, 13

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of one value of each type (TIFF 6.0, section 2; 13 is IFD; 16 to 18 are BigTIFF's)."""

_BIGTIFF_KINDS = frozenset({16, 17, 18})

_NUMBERS = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l", 13: "L", 16: "Q", 18: "Q"}

MAX_ENTRIES = 1000
"""More entries than this are damage or malice: real directories have under a hundred."""


class DamagedError(ValueError):
    """The structure does not hold together; callers turn it into a notice or an ImageReadError."""


@dataclass(frozen=True)
class Header:
    """Byte order (``<`` or ``>``), 64-bit offsets or not, and where the first directory lies."""

    order: str
    big: bool
    first: int


@dataclass(frozen=True)
class Entry:
    """One tag.

    Attributes:
        tag: its number.
        kind: its type, a key of TIFF 6.0's table.
        count: how many values.
        value: their bytes in the file's byte order; None where they would lie outside the file.
        position: offset of the entry itself in the file.
        start: offset of the value in the file.
    """

    tag: int
    kind: int
    count: int
    value: bytes | None
    position: int
    start: int

    def numbers(self, order: str) -> tuple[int, ...]:
        """The values where they are integers, else ()."""
        if self.value is None or self.kind not in _NUMBERS:
            return ()
        return struct.unpack(f"{order}{self.count}{_NUMBERS[self.kind]}", self.value)

    def rational(self, order: str) -> float | None:
        """The first value where it is a fraction, else None."""
        if self.value is None or self.kind != 5 or not self.count:
            return None
        above, below = struct.unpack_from(f"{order}LL", self.value)
        return above / below if below else None


@dataclass(frozen=True)
class Directory:
    """The entries of one directory, where the next one lies (0: nowhere), and the bytes that its table takes."""

    entries: tuple[Entry, ...]
    next: int
    span: tuple[int, int]

    def get(self, tag: int) -> Entry | None:
        """The first entry of this tag."""
        return next((entry for entry in self.entries if entry.tag == tag), None)

    def number(self, tag: int, order: str, default: int | None = None) -> int | None:
        """The first integer of this tag."""
        entry = self.get(tag)
        values = entry.numbers(order) if entry else ()
        return values[0] if values else default


def read_header(data: bytes | bytearray) -> Header:
    """Raises DamagedError where this is no TIFF structure."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None or len(data) < 8:
        raise DamagedError("no TIFF header")
    version = struct.unpack_from(f"{order}H", data, 2)[0]
    if version == 43 and len(data) >= 16:
        return Header(order, True, struct.unpack_from(f"{order}Q", data, 8)[0])
    if version != 42:
        raise DamagedError("no TIFF header")
    return Header(order, False, struct.unpack_from(f"{order}L", data, 4)[0])


def read_directory(data: bytes | bytearray, header: Header, offset: int) -> Directory:
    """The directory at an offset. Never reads outside the data.

    Args:
        data: the whole structure.
        header: its header.
        offset: where the directory begins.

    Raises:
        DamagedError: its table does not lie within the data, is longer than MAX_ENTRIES, or its values together are
            longer than the data.
    """
    # BigTIFF's tables are the same with wider numbers: counts and offsets of 64 bits.
    order = header.order
    count_format, entry_format, offset_format = ("Q", "HHQ", "Q") if header.big else ("H", "HHL", "L")
    count_size, inline = struct.calcsize(f"{order}{count_format}"), 8 if header.big else 4
    entry_size = struct.calcsize(f"{order}{entry_format}") + inline
    if offset < 8 or offset + count_size > len(data):
        raise DamagedError("a directory lies outside")
    count = struct.unpack_from(f"{order}{count_format}", data, offset)[0]
    table_end = offset + count_size + count * entry_size
    if not 0 < count <= MAX_ENTRIES or table_end > len(data):
        raise DamagedError("a directory is cut off")
    entries = []
    # Values may lie anywhere, over each other too. All of them together are no longer than the file in any real one; a
    # thousand entries that each say the whole file would fill the memory.
    room = len(data)
    for position in range(offset + count_size, table_end, entry_size):
        tag, kind, values = struct.unpack_from(f"{order}{entry_format}", data, position)
        start = position + entry_size - inline  # a short value stands in the entry itself, a longer one's offset does
        size = values * _SIZES.get(kind, 0)
        if size > inline:
            start = struct.unpack_from(f"{order}{offset_format}", data, start)[0]
        inside = kind in _SIZES and start + size <= len(data)
        room -= size if inside else 0
        if room < 0:
            raise DamagedError("a directory says the same bytes many times")
        entries.append(Entry(tag, kind, values, bytes(data[start : start + size]) if inside else None, position, start))
    following = 0
    if table_end + inline <= len(data):
        following = struct.unpack_from(f"{order}{offset_format}", data, table_end)[0]
    return Directory(tuple(entries), following, (offset, min(table_end + inline, len(data))))


Value = tuple[int, int, int, bytes]
"""Tag, type, count and bytes of an entry that is to be written."""


def carried(directory: Directory, without: frozenset[int]) -> list[Value]:
    """The entries that can stand in any other directory, each tag once.

    Args:
        directory: where they come from.
        without: tags that stay behind.
    """
    values = {
        entry.tag: (entry.tag, entry.kind, entry.count, entry.value)
        for entry in reversed(directory.entries)  # the first of a tag counts
        if entry.value and entry.tag not in without and entry.kind not in _BIGTIFF_KINDS
    }
    return list(values.values())


def numbers(tag: int, kind: int, order: str, *values: int) -> Value:
    """An entry of integers."""
    return tag, kind, len(values), struct.pack(f"{order}{len(values)}{_NUMBERS[kind]}", *values)


def rational(tag: int, order: str, value: float) -> Value:
    """An entry of one positive fraction, exact to 1/1000."""
    return tag, 5, 1, struct.pack(f"{order}LL", min(round(value * 1000), 2**32 - 1), 1000)


def table(entries: list[Value], order: str, base: int) -> bytes:
    """A directory with its values behind it; no directory follows it.

    Args:
        entries: in any order.
        order: byte order, ``<`` or ``>``.
        base: the offset where it is going to be put, an even one.
    """
    body = bytearray()
    values_at = base + 2 + 12 * len(entries) + 4
    rows = [struct.pack(f"{order}H", len(entries))]
    for tag, kind, count, value in sorted(entries, key=lambda entry: entry[0]):
        field = value.ljust(4, b"\0")
        if len(value) > 4:
            field = struct.pack(f"{order}L", values_at + len(body))
            body += value + b"\0" * (len(value) % 2)  # values begin on even offsets (TIFF 6.0)
        rows.append(struct.pack(f"{order}HHL", tag, kind, count) + field)
    return b"".join(rows) + bytes(4) + bytes(body)


def blank(order: str) -> bytes:
    """A header whose first directory is still to be set."""
    return (b"II*\0" if order == "<" else b"MM\0*") + bytes(4)


def set_first(data: bytearray, order: str, offset: int) -> None:
    """Point the header at its first directory."""
    struct.pack_into(f"{order}L", data, 4, offset)
