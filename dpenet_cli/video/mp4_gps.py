"""MP4 boxes outside any stream: where dashcams hide their GPS logs, and where a remux would lose them silently."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

_CONTAINERS = {b"moov", b"udta"}
_GPS_NAMES = {b"gps ", b"GPS ", b"gps0", b"gsen"}
_SPACE = {b"free", b"skip"}
_SEARCHED = 4096
"""Bytes at the head of free space in which the letters GPS give it away."""

_MAX_BOXES = 10_000
"""Boxes that are looked at: a hostile file does not get more of our time."""


class _Box(NamedTuple):
    name: bytes
    body: int
    end: int


def find_gps_boxes(path: Path) -> tuple[str, ...]:
    """Names of boxes that hold a GPS log, such as ``gps ``; empty for files that are not MP4 or MOV."""
    found = []
    with path.open("rb") as file:
        size = file.seek(0, 2)
        for box in _boxes(file, 0, size):
            if box.name in _GPS_NAMES:
                found.append(box.name.decode("ascii"))
            elif box.name in _SPACE:
                file.seek(box.body)
                if b"GPS" in file.read(min(_SEARCHED, box.end - box.body)):
                    found.append(f"{box.name.decode('ascii')} (GPS)")
    return tuple(dict.fromkeys(found))


def _boxes(file: BinaryIO, start: int, end: int, budget: int = _MAX_BOXES) -> Iterator[_Box]:
    """Boxes in a range of the file, those inside ``moov`` and ``udta`` too; stops where it is no MP4."""
    position = start
    while position + 8 <= end and budget > 0:
        budget -= 1
        file.seek(position)
        size, name = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:  # the size is in 64 bits behind the name
            size, head = struct.unpack(">Q", file.read(8).ljust(8, b"\0"))[0], 16
        elif size == 0:  # the box ends where the file does
            size = end - position
        if size < head or position + size > end:
            return
        yield _Box(name, position + head, position + size)
        if name in _CONTAINERS:
            yield from _boxes(file, position + head, position + size, budget)
        position += size
