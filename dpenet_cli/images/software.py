"""EXIF's Software: the programs that a picture went through, with a further one behind those that are named already."""

import struct

from dpenet_cli.images.exif import first_directory
from dpenet_cli.images.ifd import MAX_ENTRIES, DamagedError, blank, set_first

SOFTWARE = 0x0131

_TEXT = 2  # ASCII, TIFF 6.0, section 2
_BETWEEN = b"; "


def with_software(exif: bytes | None, name: str) -> bytes:
    r"""The block with a program added to its Software, or a new block with nothing else.

    Only the first directory's table is written anew, behind all else: every other byte keeps its place, so that maker
    notes hold. What Software said stays, before the new name; a name that stands at its end is not said twice.

    >>> from dpenet_cli.images.exif import first_directory
    >>> block = with_software(with_software(None, "Camera 1.0"), "dpenet 0.1.0")
    >>> first_directory(block)[1].get(SOFTWARE).value
    b'Camera 1.0; dpenet 0.1.0\x00'

    Args:
        exif: a TIFF structure, without ``Exif\0\0``; or None.
        name: the program.

    Raises:
        DamagedError: the first directory cannot be read, or has no room for a further entry.
    """
    added = name.encode("ascii", "backslashreplace")
    if exif is None:
        block = bytearray(blank("<"))
        entries: list[bytes] = []
        order, following, before = "<", 0, b""
    else:
        block = bytearray(exif)
        header, first = first_directory(block)
        order, following, old = header.order, first.next, first.get(SOFTWARE)
        before = (old.value or b"").rstrip(b"\0 ") if old else b""
        if before == added or before.endswith(_BETWEEN + added):
            return exif
        # The entries as they stand: values that do not fit into them lie where they lay.
        raw = {entry.position: entry.tag for entry in first.entries if entry.tag != SOFTWARE}
        entries = [bytes(block[position : position + 12]) for position in raw]
    if len(entries) >= MAX_ENTRIES:
        raise DamagedError("no room for a further entry")
    text = (before + _BETWEEN if before else b"") + added + b"\0"
    block += bytes(len(block) % 2)  # directories begin on even offsets (TIFF 6.0)
    at = len(block)
    behind = at + 2 + 12 * (len(entries) + 1) + 4
    field = text.ljust(4, b"\0") if len(text) <= 4 else struct.pack(f"{order}L", behind)
    entries.append(struct.pack(f"{order}HHL", SOFTWARE, _TEXT, len(text)) + field)
    entries.sort(key=lambda entry: struct.unpack_from(f"{order}H", entry)[0])
    block += struct.pack(f"{order}H", len(entries)) + b"".join(entries) + struct.pack(f"{order}L", following)
    block += text if len(text) > 4 else b""
    set_first(block, order, at)
    return bytes(block)
