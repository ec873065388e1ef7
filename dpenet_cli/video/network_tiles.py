"""Which tiles of a frame the network looks at, and its answers: pieces with a halo, or the whole where that is less."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dpenet_cli.arrays import Pixels
from dpenet_cli.inference.resizing import PictureEngine, clean_at

TILE = 64
"""Side of the tiles that the network is asked about or not, in pixels, about."""

HALO = 64
"""Context of a tile, in pixels: with it the network's answer is within 0.1 grey levels of the whole frame's."""

_ASKED = 0.2
"""Mean need of a tile from which on the network looks at it."""

_WHOLE = 0.6
"""Share of the frame, halos included, from which on the network looks at all of it at once."""

_STEP = 64
"""Pieces are so many pixels wide and high, or a multiple: few sizes, for which runtimes prepare themselves once."""


class Box(NamedTuple):
    """A part of a frame: its rows and columns."""

    rows: slice
    columns: slice

    @property
    def area(self) -> int:
        """Pixels in it."""
        return int((self.rows.stop - self.rows.start) * (self.columns.stop - self.columns.start))

    def within(self, other: "Box") -> "Box":
        """The same part, counted from the first row and column of another that it lies in."""
        return Box(*(slice(a.start - b.start, a.stop - b.start) for a, b in zip(self, other, strict=True)))


class Piece(NamedTuple):
    """What the network is given: the part that it answers for, and that with its halo."""

    inner: Box
    outer: Box


class Answers(NamedTuple):
    """What the network makes of parts of a frame.

    Attributes:
        image: H×W×3: its answers, and the frame itself where it was not asked.
        weight: H×W float32: 1 where it was asked, 0 where it wasn't, and without a step between.
        asked: tiles that it looked at.
        tiles: tiles of the frame.
    """

    image: Pixels
    weight: NDArray[np.float32]
    asked: int
    tiles: int


def ask_network(engine: PictureEngine, image: Pixels, need: NDArray[np.float32], scale: float = 1.0) -> Answers:
    """Let the network look at the tiles of a frame where it is needed.

    Args:
        engine: the network.
        image: the frame, H×W×3.
        need: how much it is needed, H×W, 0..1.
        scale: width in which the network sees the frame, over its own; tiles and their halos are larger by as much.
    """
    height, width = need.shape
    grid = max(round(width * scale / TILE), 1), max(round(height * scale / TILE), 1)
    asked = cv2.resize(need, grid, interpolation=cv2.INTER_AREA) >= _ASKED
    if not asked.any():
        return Answers(image, np.zeros_like(need), 0, asked.size)
    # Soft borders: from 1 in the middle of a tile to 0 at the middle of one that is not asked, and half way between,
    # at the border, 0.5; twice that less 1 is 0 there.
    soft = cv2.resize(asked.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    answers, answered = image.copy(), np.zeros((height, width, 1), np.bool_)
    for inner, outer in _pieces(asked, height, width, round(1 / scale)):
        answer = clean_at(engine, np.ascontiguousarray(image[outer]), scale)
        # Boxes of two groups may overlap: there the first answer holds.
        answers[inner] = np.where(answered[inner], answers[inner], answer[inner.within(outer)])
        answered[inner] = True
    return Answers(answers, np.maximum(2 * soft - 1, 0), int(asked.sum()), asked.size)


def _pieces(asked: NDArray[np.bool_], height: int, width: int, pixel: int) -> list[Piece]:
    """What the network is given of a frame: one piece for each group of tiles, or the whole where that is less work.

    Args:
        asked: rows×columns of tiles, whether the network looks at them.
        height: of the frame.
        width: of the frame.
        pixel: side of what the network sees as one pixel.
    """
    rows, columns = asked.shape
    count, labels = cv2.connectedComponents(asked.astype(np.uint8), connectivity=8)
    pieces = []
    for label in range(1, count):
        y, x = np.nonzero(labels == label)
        inner = Box(_part(y, height, rows), _part(x, width, columns))
        pieces.append(Piece(inner, Box(_with_halo(inner.rows, height, pixel), _with_halo(inner.columns, width, pixel))))
    if sum(piece.outer.area for piece in pieces) > _WHOLE * height * width:
        whole = Box(slice(0, height), slice(0, width))
        return [Piece(whole, whole)]
    return pieces


def _part(tiles: NDArray[np.int_], size: int, count: int) -> slice:
    """From the first of these tiles to the last, in pixels."""
    start, stop = float(tiles.min()) * size / count, float(tiles.max() + 1) * size / count
    return slice(max(int(np.floor(start)), 0), min(int(np.ceil(stop)), size))


def _with_halo(part: slice, size: int, pixel: int) -> slice:
    """The part and its halo, or more, so that its length is a multiple of `_STEP`, as far as the frame goes."""
    halo, step = HALO * pixel, _STEP * pixel
    # It begins on a whole pixel of what the network sees, so that two frames are cut alike.
    start, stop = max(part.start - halo, 0) // pixel * pixel, min(part.stop + halo, size)
    wanted = min(-(-(stop - start) // step) * step, size)
    start = min(start, size - wanted)
    return slice(start, start + wanted)


def at_strength(before: Pixels, after: Pixels, strength: float) -> Pixels:
    """So much of a change: ``before + strength · (after − before)``, in the same dtype."""
    if strength == 1.0:
        return after
    return mixed(before, after, np.full(before.shape[:2], strength, np.float32))


def mixed(first: Pixels, second: Pixels, weight: NDArray[np.float32]) -> Pixels:
    """``first + weight · (second − first)``, rounded: H×W×3, and H×W of weights, 0..1."""
    change = cv2.subtract(second, first, dtype=cv2.CV_32F) * weight[..., None]
    result: Pixels = np.rint(first + change).astype(first.dtype)
    return result
