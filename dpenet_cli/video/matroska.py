"""What Matroska and WebM files hold that libavformat passes over, by name (RFC 9559)."""

from collections import defaultdict
from pathlib import Path
from typing import BinaryIO, NamedTuple

MAX_ELEMENTS = 1_000_000
"""Elements of a file that are looked at, some hours of video: a hostile file does not get more of our time."""

_MAX_NAMES = 100
_LONGEST = 64
"""Bytes of a number or a name that are read."""

_UNKNOWN = -1
"""A size that the file does not say: until the next element of the same level."""

_SEGMENT, _CLUSTER, _GROUP, _MORE = 0x18538067, 0x1F43B675, 0xA0, 0xA6
_TRACK, _TAG, _EDITION, _ATOM, _SIMPLE_TAG, _VIDEO = 0xAE, 0x7373, 0x45B9, 0xB6, 0x67C8, 0xE0
_BLOCK, _NUMBER, _TAG_NAME, _TAG_BINARY, _DISPLAY = 0xA1, 0xEE, 0x45A3, 0x4485, 0x80

_TOP = {0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367, _CLUSTER}
"""Children of a segment: the index of places, information, tracks, cues, attachments, chapters, tags, clusters."""

_LONG = {_CLUSTER, _GROUP, _BLOCK, 0xA3}
"""What holds packets; the last of them is a block without a group."""

_ANYWHERE = {0xEC, 0xBF}
"""Void, and checksums."""

_INSIDE = {
    _SEGMENT: {0x1549A966, 0x1654AE6B, 0x1043A770, 0x1254C367, _CLUSTER},
    _CLUSTER: {_GROUP},
    _GROUP: {0x75A1},
    0x75A1: {_MORE},
    0x1654AE6B: {_TRACK},
    _TRACK: {_VIDEO},
    0x1043A770: {_EDITION},
    _EDITION: {_ATOM},
    _ATOM: {_DISPLAY},
    0x1254C367: {_TAG},
    _TAG: {_SIMPLE_TAG},
    _SIMPLE_TAG: {_SIMPLE_TAG},
}
"""Elements that are entered, by the one that they lie in."""

_DEEPEST = 12

_FOUR_BYTES = 1 << 28
"""Kinds from here on take four bytes."""

_NAMED = {
    (0x1549A966, 0x3CB923): "the link to the file before it",
    (0x1549A966, 0x3EB923): "the link to the file behind it",
    (_TRACK, 0xE2): "the combination of tracks (TrackOperation)",
    (_EDITION, 0x45DD): "the order of its chapters",
    (_ATOM, _ATOM): "chapters inside chapters",
    (_ATOM, 0x6944): "commands of its chapters",
    (_ATOM, 0x98): "marks of hidden chapters",
    (_VIDEO, 0x54AA): "its crop",
    (_VIDEO, 0x54BB): "its crop",
    (_VIDEO, 0x54CC): "its crop",
    (_VIDEO, 0x54DD): "its crop",
}
"""What is lost, by the element that it lies in; those that are numbers, where they are not 0."""

_NUMBERS = {0x45DD, 0x98, 0x54AA, 0x54BB, 0x54CC, 0x54DD}


class PassedOver(NamedTuple):
    """What was found.

    Attributes:
        names: of what no reader here carries.
        blocks: numbers of the additional blocks beside the packets of each track, by the track's place in the file.
        cut: whether the file ends inside a cluster, which says how long it is, or inside a packet.
    """

    names: tuple[str, ...] = ()
    blocks: dict[int, frozenset[int]] = {}  # noqa: RUF012 - a named tuple's default, never changed
    cut: bool = False


def passed_over(path: Path, limit: int = MAX_ELEMENTS) -> PassedOver:
    """Look through a file; a damaged one as far as its elements hold together.

    Args:
        path: a Matroska or WebM file; any other gives nothing.
        limit: elements that are looked at.
    """
    with path.open("rb", buffering=0) as file:
        finder = _Finder(file, file.seek(0, 2))
        finder.look(limit)
    tracks = finder.tracks
    blocks = {tracks.index(number): frozenset(found) for number, found in finder.blocks.items() if number in tracks}
    return PassedOver(tuple(dict.fromkeys(finder.names)), blocks, finder.cut)


class _Finder:
    """Goes from element to element; nothing but heads, numbers and names is read.

    Attributes:
        names: what was found, in the file's order.
        tracks: the tracks' numbers.
        blocks: numbers of additional blocks, by the track's number.
        cut: whether the file ends inside a cluster or a packet.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self.names: list[str] = []
        self.tracks: list[int] = []
        self.blocks: dict[int, set[int]] = defaultdict(set)
        self.cut = False
        self._track = 0  # of the group that is looked at
        self._beside: set[int] = set()  # numbers of the additional blocks in that group
        self._number: int | None = None  # of the last of them; where there is none it is 1
        self._tag = ""
        self._editions = 0
        self._inside: list[tuple[int, int]] = []  # (element, where it ends)

    def look(self, limit: int) -> None:
        """Look at so many elements."""
        position = 0
        for _ in range(limit):
            if position >= self._size:
                break
            head = self._head(position)
            if head is None:
                break
            element, begin, size = head
            while self._inside and (position >= self._inside[-1][1] or (element in _TOP and self._parent != _SEGMENT)):
                self._leave()
            if self._parent == _SEGMENT and element not in _TOP | _ANYWHERE and element < _FOUR_BYTES:
                break  # all that lie there have long numbers: this is no Matroska any more
            end = self._size if size == _UNKNOWN else begin + size
            enters = element == _SEGMENT or element in _INSIDE.get(self._parent, ())
            self.cut |= end > self._size and element in _LONG
            self._see(element, begin, max(min(end, self._size) - begin, 0))
            if enters and len(self._inside) < _DEEPEST:
                self._enter(element, end)
                position = begin
            elif size == _UNKNOWN:
                break
            else:
                position = end
        while self._inside:
            self._leave()

    @property
    def _parent(self) -> int:
        return self._inside[-1][0] if self._inside else 0

    def _enter(self, element: int, end: int) -> None:
        self._inside.append((element, end))
        if element == _MORE:
            self._number = None
        elif element == _GROUP:
            self._track = 0
            self._beside = set()
        elif element == _EDITION:
            if self._editions:
                self._add("another edition of its chapters")
            self._editions += 1

    def _leave(self) -> None:
        element, _ = self._inside.pop()
        if element == _MORE:
            self._beside.add(1 if self._number is None else self._number)
        elif element == _GROUP and self._beside:
            self.blocks[self._track] |= self._beside

    def _add(self, name: str) -> None:
        if len(self.names) < _MAX_NAMES:
            self.names.append(name)

    def _see(self, element: int, begin: int, size: int) -> None:
        """Take from an element what it says by itself."""
        parent = self._parent
        if parent == _SEGMENT and element not in _TOP | _ANYWHERE:
            self._add(f"an element of an unknown kind ({element:X})")
        elif (parent, element) in _NAMED:
            if element not in _NUMBERS or self._integer(begin, size):
                self._add(_NAMED[parent, element])
        elif (parent, element) == (_TRACK, 0xD7):
            if len(self.tracks) < _MAX_NAMES:
                self.tracks.append(self._integer(begin, size))
        elif (parent, element) == (_GROUP, _BLOCK):
            number = self._variable(self._read(begin, 8), keep_marker=False)
            self._track = number[0] if number else 0
        elif (parent, element) == (_MORE, _NUMBER):
            self._number = self._integer(begin, size)
        elif parent == _SIMPLE_TAG and element == _TAG_NAME:
            self._tag = self._read(begin, min(size, _LONGEST)).decode("utf-8", "replace").rstrip("\0")
        elif parent == _SIMPLE_TAG and element == _TAG_BINARY:
            self._add(f"the tag {self._tag or 'without a name'}, which is no text")

    def _head(self, position: int) -> tuple[int, int, int] | None:
        """An element's kind, where its content begins, and how long that is; None where there is none."""
        data = self._read(position, 12)
        kind = self._variable(data, keep_marker=True)
        if kind is None or kind[1] > 4:
            return None
        length = self._variable(data[kind[1] :], keep_marker=False)
        if length is None:
            return None
        unknown = length[0] == 2 ** (7 * length[1]) - 1
        return kind[0], position + kind[1] + length[1], _UNKNOWN if unknown else length[0]

    @staticmethod
    def _variable(data: bytes, *, keep_marker: bool) -> tuple[int, int] | None:
        """A number of one to eight bytes, whose first says how many; and how many there are."""
        if not data or not data[0]:
            return None
        count = 9 - data[0].bit_length()
        if len(data) < count:
            return None
        number = int.from_bytes(data[:count], "big")
        return (number if keep_marker else number ^ 1 << 7 * count), count

    def _integer(self, begin: int, size: int) -> int:
        return int.from_bytes(self._read(begin, min(size, 8)), "big")

    def _read(self, begin: int, size: int) -> bytes:
        self._file.seek(begin)
        return self._file.read(size)
