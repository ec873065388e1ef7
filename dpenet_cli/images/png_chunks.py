"""The chunks of PNG files, damaged ones too: walked through, and made."""

import re
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_FRAME = 12  # bytes around a chunk's data: its length, its type and its checksum
_KNOWN = re.compile(
    b"IHDR|PLTE|IDAT|IEND|tRNS|iCCP|gAMA|cHRM|sRGB|sBIT|cICP|mDCV|cLLI|eXIf|pHYs|tIME|tEXt|zTXt|iTXt|bKGD|hIST|sPLT"
    b"|acTL|fcTL|fdAT"
)
_LETTERS = re.compile(rb"[A-Za-z]{4}")
_SEARCHED = 16
"""Times the file's length that may be gone through in search of sound chunks; hostile files would ask for more."""

_SIZES = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9, b"tIME": 7, b"cICP": 4, b"mDCV": 24, b"cLLI": 8}
_SIZES |= {b"acTL": 8, b"fcTL": 26}
_SIZES_BY_COLOUR = {
    b"sBIT": {0: 1, 2: 3, 3: 3, 4: 2, 6: 4},
    b"bKGD": {0: 2, 2: 6, 3: 1, 4: 2, 6: 6},
    b"tRNS": {0: 2, 2: 6},
}
"""Bytes of the chunks that have one size, by the picture's colour type (PNG specification, 11.3)."""


class Piece(NamedTuple):
    """One chunk: its type, where its data begin and end in the file, and whether its checksum holds."""

    kind: bytes
    start: int
    end: int
    sound: bool


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk with its length and checksum."""
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


def chunks(data: bytes) -> Iterator[Piece]:
    """Each chunk up to the end of the picture, or as far as the file goes.

    A chunk whose length was damaged hides what follows: it is looked for, and the damaged one ends where it begins.
    """
    walk, at = _Walk(data), len(SIGNATURE)
    while at + _FRAME <= len(data):
        piece = walk.piece(at)
        following = piece.end + 4
        if not piece.sound:
            following = walk.following(at, following)
            piece = piece._replace(end=min(piece.end, max(following - 4, piece.start)))
        yield piece
        if piece.kind == b"IEND":
            return
        at = following


def impossible(kind: bytes, size: int, colour: int) -> bool:
    """Whether a chunk of this type has another size than it can have, in a picture of this colour type."""
    exact = _SIZES.get(kind) or _SIZES_BY_COLOUR.get(kind, {}).get(colour)
    if exact is not None:
        return size != exact
    return (kind == b"tRNS" and not 0 < size <= 256) or (kind == b"eXIf" and size < 8)


class _Walk:
    """What is known of a file's chunks while it is walked through."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._view = memoryview(data)
        self._budget = _SEARCHED * len(data)
        self._next_sound = -1

    def piece(self, at: int) -> Piece:
        """The chunk that begins here by its own account."""
        end = at + 8 + int.from_bytes(self._view[at : at + 4], "big")
        inside = end + 4 <= len(self._data)
        sound = inside and zlib.crc32(self._view[at + 4 : end]) == int.from_bytes(self._view[end : end + 4], "big")
        return Piece(self._data[at + 4 : at + 8], at + 8, end, sound)

    def following(self, at: int, end: int) -> int:
        """Where the chunk behind a damaged one begins.

        Args:
            at: where the damaged one begins.
            end: where it ends, if its length is right.
        """
        # A wrong length leads to a place where no chunk begins. One that leads to a sound chunk or to the file's end is
        # right, unless by chance: then sound ones lie in between, one behind the other, up to there. And one is right
        # that leads to where a damaged chunk begins, unless a sound one lies in between.
        fits = end + _FRAME <= len(self._data)
        found = self._search(at + 8)
        if end == len(self._data) or (fits and self.piece(end).sound):
            return found if self._lead(found, end) else end
        if fits and end <= found and _LETTERS.fullmatch(self._data, end + 4, end + 8):
            near = _KNOWN.search(self._data, end + 1, end + 11)  # a type a few bytes off: these letters are parts of it
            if near is None or near.start() == end + 4:
                return end
        return found

    def _lead(self, at: int, end: int) -> bool:
        """Whether sound chunks that begin here lead to an end behind them."""
        while at < end and self._budget >= 0 and at + _FRAME <= len(self._data):
            piece = self.piece(at)
            self._budget -= piece.end - at if piece.end < len(self._data) else len(self._data)
            if not piece.sound:
                return False
            at = piece.end + 4
            if at == end:
                return True
        return False

    def _search(self, start: int) -> int:
        """Where the first sound chunk of a known type begins from here on; the file's end if there is none."""
        if self._next_sound >= start:
            return self._next_sound
        self._next_sound = len(self._data)
        for match in _KNOWN.finditer(self._data, start + 4):
            at = match.start() - 4
            self._budget -= min(int.from_bytes(self._view[at : at + 4], "big"), len(self._data))
            if self._budget < 0:
                break
            if at + _FRAME <= len(self._data) and self.piece(at).sound:
                self._next_sound = at
                break
        return self._next_sound
