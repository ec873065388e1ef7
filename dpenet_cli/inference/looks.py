"""Small looks at a picture in several sizes: windows of it through the network, and what each says about the rain.

A window is a part of the picture, shrunk with antialiasing. Windows lie at the same places in every size, one inside
the other, so that what the network removes there in one size can be compared with what it removes in half of it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from dpenet_cli.arrays import Pixels, to_8_bits
from dpenet_cli.inference.resizing import shrunk

SCALES = (1.0, 0.5, 0.25, 0.125)
"""The sizes that are compared, as shares of the picture's own width."""

SMALL = 1_000_000
"""Pixels below which a picture is looked at in its own size and in half of it alone."""

LARGE = 8_000_000
"""Pixels from which on the looks may take no more than `SHARE_LARGE`."""

SHARE_SMALL, SHARE_LARGE = 0.19, 0.048
"""Pixels of all looks over those of the picture, at most: a fifth and a twentieth of the work, and a little less."""

_PLACES = 3
"""Windows across and down: one in the middle of each ninth, so that rain in any ninth of a picture is seen."""

_MIN_WINDOW, _MAX_WINDOW, _WINDOW_STEP = 48, 256, 16
"""Sides of a window, in pixels of its own size. They don't grow beyond what tells: 9 × 256² pixels."""

_ALIGN = 8
"""Windows begin and end at multiples of this, in pixels of the picture: whole pixels in every size."""


class Network(Protocol):
    """What is asked of the network."""

    def __call__(self, rainy: Pixels, *, strength: float | None = None) -> Pixels:
        """Clean a picture, H×W×3, at another strength than usual."""


class Window(NamedTuple):
    """A part of a picture in one size: its rows and columns in the picture, in pixels."""

    top: int
    left: int
    bottom: int
    right: int

    def contains(self, other: "Window") -> bool:
        """Whether another lies in it."""
        rows = self.top <= other.top and other.bottom <= self.bottom
        return rows and self.left <= other.left and other.right <= self.right


class Look(NamedTuple):
    """What the network does to one window.

    Attributes:
        window: where.
        residual: h×w×3 float32, what it adds, in grey levels: rain is negative.
    """

    window: Window
    residual: NDArray[np.float32]


Looks = dict[float, list[Look]]
"""The looks at one picture, by size."""


def look(network: Network, picture: Pixels, windows: Mapping[float, Sequence[Window]]) -> Looks:
    """Look at a picture's windows in several sizes.

    Args:
        network: cleans pictures.
        picture: H×W×3, uint8 or uint16; what is looked at are its upper 8 bits.
        windows: where, from `plan_windows`.

    Returns:
        The looks in each size, in the order of the windows.
    """
    return {scale: [_look_at(network, picture, scale, window) for window in some] for scale, some in windows.items()}


def _look_at(network: Network, picture: Pixels, scale: float, window: Window) -> Look:
    part = picture[window.top : window.bottom, window.left : window.right]
    before = np.ascontiguousarray(shrunk(to_8_bits(part), scale))
    after = network(before, strength=1.0)
    return Look(window, np.asarray(cv2.subtract(after, before, dtype=cv2.CV_32F), np.float32))


def plan_windows(
    height: int, width: int, scales: Sequence[float] = SCALES, side: int | None = None
) -> dict[float, list[Window]]:
    """Where to look at a picture of this size.

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        scales: sizes, a power of 1/2 each.
        side: of a window in pixels of its own size, or None for one that takes no more than its share of the work.

    Returns:
        The windows in each size, from the top left to the bottom right.
    """
    area = height * width
    if side is None:
        share = SHARE_LARGE if area >= LARGE else SHARE_SMALL
        wanted = math.sqrt(area * share / (len(scales) * _PLACES**2))
        side = min(max(int(wanted) // _WINDOW_STEP * _WINDOW_STEP, _MIN_WINDOW), _MAX_WINDOW)
    windows = {}
    for scale in scales:
        pixel = round(1 / scale)  # of this size, in pixels of the picture
        whole = Window(0, 0, height // pixel * pixel, width // pixel * pixel)
        if min(whole.bottom, whole.right) < _MIN_WINDOW * pixel // 2 and scale < 1:
            continue
        if _PLACES**2 * side**2 >= area * scale**2:
            windows[scale] = [whole]
            continue
        rows, columns = _parts(height, side, pixel), _parts(width, side, pixel)
        windows[scale] = [Window(top, left, bottom, right) for top, bottom in rows for left, right in columns]
    return windows


def _parts(length: int, side: int, pixel: int) -> list[tuple[int, int]]:
    """Beginning and end of the windows along one axis, in pixels of the picture."""
    reach = min(side * pixel, length // _ALIGN * _ALIGN)  # what is left over is in no window of a coarser size
    parts = []
    for place in range(_PLACES):
        middle = (2 * place + 1) * length // (2 * _PLACES)
        begin = min(max(middle - reach // 2, 0), length - reach) // _ALIGN * _ALIGN
        parts.append((begin, begin + reach))
    return parts
