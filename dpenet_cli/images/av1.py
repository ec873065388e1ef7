"""How large the pictures inside an AVIF file are by their own account, which its boxes may contradict.

A decoder makes each coded picture as large as the picture itself says and only then scales it to what the boxes say.
"""

from collections.abc import Iterator

from dpenet_cli.images.ifd import DamagedError

_SEQUENCE_HEADER = 1  # an OBU's type (AV1 specification, 6.2.2)
_MOST_UNITS = 100_000  # OBUs of a file; a picture has about ten


class _Bits:
    """Reads unsigned numbers of any count of bits, the highest first; raises IndexError behind the end."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise IndexError
        return self._value >> self._left & (1 << count) - 1


def coded_sizes(data: bytes, places: bytes, inner: bytes) -> Iterator[tuple[int, int]]:
    """Width and height from each sequence header in the items of a file.

    Args:
        data: the file.
        places: the body of its ``iloc`` box, which says where the items lie.
        inner: the body of its ``idat`` box, in which some may lie.

    Raises:
        DamagedError: its items say the same bytes many times, or are of very many parts.
    """
    # Items may overlap, and a small file may say the same bytes a million times: what is looked through is bounded, in
    # bytes and in parts.
    room, units = 2 * len(data), iter(range(_MOST_UNITS))
    for pieces in _items(places, inner, data):
        room -= sum(len(piece) + 1 for piece in pieces)
        if room < 0:
            raise DamagedError("its items say the same bytes many times")
        yield from _sequence_sizes(b"".join(pieces), units)


def _items(places: bytes, inner: bytes, data: bytes) -> Iterator[list[memoryview]]:
    """The pieces of each item (ISO/IEC 14496-12, 8.11.3); of a box that is cut off, the items before that."""
    at = 0

    # Fields are as wide as the box itself says: four sizes of 0, 4 or 8 bytes, of which 0 stands for a field that is
    # not there and counts as 0.
    def number(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(places[at - size : at], "big")

    version = number(4) >> 24
    sizes = number(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    for _ in range(number(4 if version == 2 else 2)):
        number(4 if version == 2 else 2)  # the item's number
        source = memoryview(inner if version > 0 and number(2) & 15 == 1 else data)  # construction method 1: in idat
        number(2)  # data reference: another file, which nobody uses
        base = number(base_size)
        pieces = []
        for _ in range(number(2)):
            number(index_size if version > 0 else 0)
            start, size = base + number(offset_size), number(length_size)
            pieces.append(source[start : start + size] if size else source[start:])
        if at > len(places):
            return
        yield pieces


def _sequence_sizes(item: bytes, units: Iterator[int]) -> Iterator[tuple[int, int]]:
    """The sizes in an item's sequence headers, among its OBUs (AV1 specification, 5.3)."""
    at = 0
    while at < len(item):
        if next(units, None) is None:
            raise DamagedError("its items are of very many parts")
        head = item[at]
        at += 2 if head & 4 else 1  # an extension byte follows
        size = len(item) - at
        if head & 2:  # it says its size, or else goes on to the end
            size, at = _leb128(item, at)
        if head >> 3 & 15 == _SEQUENCE_HEADER:
            try:
                yield _sequence_size(_Bits(item[at : at + min(size, 1024)]))
            except IndexError:
                return
        at += max(size, 0)


def _leb128(item: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first (AV1 specification, 4.10.5), and where it ends."""
    value = 0
    for index, byte in enumerate(item[at : at + 8]):
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, at + index + 1
    return len(item), len(item)  # no decoder goes on from here either


def _sequence_size(bits: _Bits) -> tuple[int, int]:
    """The greatest width and height that a sequence's pictures may have (AV1 specification, 5.5.1)."""
    bits.take(4)  # profile, still picture
    if bits.take(1):  # a header reduced to what a still picture needs
        bits.take(5)
    else:
        _skip_operating_points(bits)
    across, down = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(across) + 1, bits.take(down) + 1


def _skip_operating_points(bits: _Bits) -> None:
    """Take what stands before the size: timing, decoder model, operating points (AV1 specification, 5.5.1)."""
    delay = 0  # bits of a decoder model's numbers, or no model
    if bits.take(1):  # timing
        bits.take(64)  # units of time
        if bits.take(1):  # pictures of equal duration: a number in Exp-Golomb code follows (4.10.3)
            zeros = 0
            while not bits.take(1):
                zeros += 1
            bits.take(zeros)
        if bits.take(1):  # decoder model
            delay = bits.take(5) + 1
            bits.take(42)
    display_delay = bits.take(1)
    for _ in range(bits.take(5) + 1):  # operating points
        bits.take(12)
        if bits.take(5) > 7:  # level, from 4.0 on with a tier
            bits.take(1)
        if delay and bits.take(1):
            bits.take(2 * delay + 1)
        if display_delay and bits.take(1):
            bits.take(4)
