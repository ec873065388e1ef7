"""The pixels of PNG files of 16 bits, which Pillow cannot hold in colour: decoded through OpenCV, encoded here."""

import struct
import zlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from dpenet_cli.errors import ImageReadError
from dpenet_cli.images.picture import Samples
from dpenet_cli.images.pixels import COPY_AGAIN, decode_16_bit
from dpenet_cli.images.png import PngHeader
from dpenet_cli.images.png_chunks import SIGNATURE, chunk, chunks

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""Colour type (PNG specification, 11.2.2) of a picture of so many channels."""

_CHANNELS = {colour: channels for channels, colour in _COLOUR_TYPES.items()}
_PIECE = 1 << 16
_ROWS = 64
_FILTERS = 5
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Where the passes of an interlaced picture begin, across and down, and their steps (PNG specification, 8.2)."""


def decode(data: bytes, header: PngHeader, what: str) -> Samples:
    """The samples of a file of 16 bits per channel.

    Args:
        data: the file.
        header: its header.
        what: the file's name, for the errors.

    Returns:
        H×W×C uint16; C is 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.

    Raises:
        ImageReadError: its pixels are cut off or damaged.
    """
    decoded = decode_16_bit(_pixels_alone(data, header, what), what)  # H×W grey, or H×W×3/4 in the order BGR(A)
    grey = header.colour in (0, 4)
    if decoded.ndim == 2:
        samples = decoded[..., None]
    elif grey:  # grey with alpha comes as BGRA
        samples = decoded[..., :1]
    else:
        samples = decoded[..., 2::-1]
    if header.colour in (4, 6):
        return np.concatenate([samples, decoded[..., 3:]], axis=2)
    if header.transparent:  # one value or colour stands for full transparency
        key = np.frombuffer(header.transparent, ">u2")
        alpha = np.where((samples == key).all(axis=2, keepdims=True), 0, 65535).astype(np.uint16)  # H×W×1
        return np.concatenate([samples, alpha], axis=2)
    return samples


def _damaged(what: str) -> ImageReadError:
    return ImageReadError(what, "its pixels are cut off or damaged", COPY_AGAIN)


def _pixels_alone(data: bytes, header: PngHeader, what: str) -> bytes:
    """The file with its pixels alone, in which libpng finds nothing to dislike.

    Raises:
        ImageReadError: its pixels are cut off or damaged.
    """
    # libpng writes what it dislikes to stderr, and makes a picture of rows that are cut off, which OpenCV passes on. So
    # the deflated stream is unfolded here first: every row must be there, with a known filter. It costs one inflate, as
    # much again as decoding (12 megapixels: 0.6 s for both). One inflate could serve both, with the rows handed on in
    # stored blocks; measured, that takes 0.5 s, and three more copies of the unfolded rows. They are not worth it.
    engine, rows = zlib.decompressobj(), _Rows(data, header)
    pieces: list[memoryview] = []
    view = memoryview(data)
    try:
        for kind, start, end, _ in chunks(data):
            at = start
            while kind == b"IDAT" and at < end and not engine.eof and rows.seen <= rows.total:
                piece = view[at : min(at + _PIECE, end)]
                # One byte more than there should be is enough to know, and never more: it may be a bomb.
                rows.feed(engine.decompress(piece, rows.total - rows.seen + 1))
                pieces.append(piece[: len(piece) - len(engine.unused_data)])
                at += len(piece)
    except zlib.error:
        rows.sound = False
    if rows.seen < rows.total or not rows.sound:
        raise _damaged(what)
    if rows.seen > rows.total or not engine.eof:  # libpng warns of more rows and of a missing checksum
        stream = b"".join(pieces)
        pieces = [memoryview(zlib.compress(zlib.decompressobj().decompress(stream, rows.total), 1))]
    fields = data[len(SIGNATURE) + 8 : len(SIGNATURE) + 21]
    return b"".join([SIGNATURE, chunk(b"IHDR", fields), *_long_chunk(b"IDAT", pieces), chunk(b"IEND", b"")])


def _long_chunk(kind: bytes, pieces: list[memoryview]) -> Iterable[bytes | memoryview]:
    """A chunk in pieces, none of which is copied."""
    checksum = zlib.crc32(kind)
    for piece in pieces:
        checksum = zlib.crc32(piece, checksum)
    return [struct.pack(">L", sum(map(len, pieces))), kind, *pieces, struct.pack(">L", checksum)]


class _Rows:
    """The rows of 16-bit pixels as they are unfolded, each behind its filter's number.

    Attributes:
        total: bytes of all rows.
        seen: bytes unfolded so far.
        sound: whether all filters seen are known.
    """

    def __init__(self, data: bytes, header: PngHeader) -> None:
        interlaced = data[len(SIGNATURE) + 20] == 1
        self.total = self.seen = 0
        self.sound = True
        self._passes: list[tuple[int, int, int]] = []  # from where to where, and the bytes of a row
        for left, top, across, down in _PASSES if interlaced else ((0, 0, 1, 1),):
            width, height = -(-(header.width - left) // across), -(-(header.height - top) // down)
            row = 1 + 2 * _CHANNELS.get(header.colour, 1) * width
            if width > 0 and height > 0:
                self._passes.append((self.total, self.total + height * row, row))
                self.total += height * row

    def feed(self, unfolded: bytes) -> None:
        """Take in what comes next."""
        here, self.seen = self.seen, self.seen + len(unfolded)
        for start, end, row in self._passes:
            # The first row of this pass that begins in what came, and every row's first byte from there on.
            first = start if start >= here else here + (start - here) % row
            filters = unfolded[first - here : max(end - here, 0) : row]
            self.sound = self.sound and max(filters, default=0) < _FILTERS


def encode(samples: NDArray[np.uint16]) -> bytes:
    """A PNG file of 16 bits per channel.

    Args:
        samples: H×W×C, 0..65535; C is 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.
    """
    height, width, channels = samples.shape
    fields = struct.pack(">LLBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)
    engine = zlib.compressobj(6)
    packed = []
    above = np.zeros((1, width * channels * 2), np.uint8)
    for top in range(0, height, _ROWS):
        rows = samples[top : top + _ROWS].astype(">u2").reshape(-1, width * channels).view(np.uint8)  # R×B bytes
        packed.append(engine.compress(_filtered(rows, np.concatenate([above, rows[:-1]]), channels * 2).tobytes()))
        above = rows[-1:]
    packed.append(engine.flush())
    return SIGNATURE + chunk(b"IHDR", fields) + chunk(b"IDAT", b"".join(packed)) + chunk(b"IEND", b"")


def _filtered(rows: NDArray[np.uint8], above: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Rows with their filter type in front, by the usual choice: the least sum of absolute differences.

    Args:
        rows: R×B bytes.
        above: R×B bytes, each row's predecessor.
        step: bytes per pixel.

    Returns:
        R×(1+B) bytes.
    """
    left, above_left = np.zeros_like(rows), np.zeros_like(rows)  # outside the picture a neighbour is 0
    left[:, step:], above_left[:, step:] = rows[:, :-step], above[:, :-step]
    # Paeth's filter predicts by the neighbour that comes nearest to left + above - above_left; of equal ones the left
    # counts first, then the one above (PNG specification, 9.4). The three distances, with that sum put in:
    towards_left = above.astype(np.int16) - above_left
    towards_above = left.astype(np.int16) - above_left
    a, b, c = np.abs(towards_left), np.abs(towards_above), np.abs(towards_left + towards_above)
    paeth = np.where((a <= b) & (a <= c), left, np.where(b <= c, above, above_left))
    choices = np.stack([rows - left, rows - above, rows - paeth])  # 3×R×B; differences are modulo 256
    cost = np.abs(choices.view(np.int8).astype(np.int16)).sum(axis=2)  # 3×R
    best = cost.argmin(axis=0)  # R
    chosen = choices[best, np.arange(len(rows))]
    types = np.array([1, 2, 4], np.uint8)[best]  # Sub, Up, Paeth
    return np.concatenate([types[:, None], chosen], axis=1)
