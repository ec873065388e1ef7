"""What is bright for one frame and is no rain: headlights, lamps, a white car, a figure, a ball, a dash of the road.

Its neighbours agree that a pixel is darker, and they do so for a drop and for a headlight. The two differ in shape: a
streak is thin, and a drop that is near and out of focus is wide and faint; a thing is wide and bright. And in time: a
lamp that blinks is as bright when it comes again, which drops are not. And in colour: rain is grey.

Of a thing that moves and is nearly followed, only an edge is brighter than what is followed: thin as a streak, but the
edge of something wide, and in another frame as bright.
"""

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from dpenet_cli.temporal.order_statistics import order_statistic

_SCALE_HEIGHT = 480
"""Rows of the picture for which widths are given here; taller pictures have wider streaks."""

_CORES = ((7, 48.0), (9, 28.0), (11, 14.0), (21, 6.0))
"""Side of a square, in pixels, and grey levels: where a square of this side is brighter by more than that everywhere,
it lies in a thing. On NTURain's moving clip this costs 0.2 dB, on the other nothing."""

_EDGE = 6.0
"""Grey levels of brightening that still belong to a thing, where it touches a core."""

_REACH = 3
"""How far a thing reaches from its cores, in sides of the smallest square."""

_COLOURED, _COLOURED_LEVELS = 0.6, 24.0
"""Share of the largest channel's brightening that is missing in the smallest, and grey levels of the largest, beyond
which the light is coloured: indicators, tail lights, signs."""

_ALIKE, _ALIKE_LEVELS = 0.25, 3.0
"""Share of a brightening, and grey levels, by which it may differ when a lamp shines again."""

_WIDE, _WIDE_LEVELS = 9, 12.0
"""Diameter of what is wide in a frame, in pixels, and grey levels that its edge must be brightened by. In less it does
no harm that it goes. On NTURain's clips this costs 0.1 dB: drops before the edge of a wall."""

_REPEATING = ((-1, 1), (-2, 2), (-3, 3), (1, 2), (-1, -2))
"""Pairs of neighbours in which what is bright again is no drop: lit on and on, or every 2nd or 3rd frame."""


def compact(rise: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which pixels belong to something wide and bright.

    Args:
        rise: grey levels that a frame is brighter than its neighbours say, H×W float32, 0 where it isn't.

    Returns:
        H×W: cores of things, and what of the same brightening is near them.
    """
    height, width = rise.shape
    cores = np.zeros((height, width), np.bool_)
    for side, levels in _CORES:
        square = _square(side, height)
        if min(height, width) > square.shape[0] and float(rise.max()) > levels:
            cores |= cv2.morphologyEx(rise, cv2.MORPH_OPEN, square) > levels
    if not cores.any():
        return cores
    bright = (rise > _EDGE).astype(np.uint8)
    _, labels = cv2.connectedComponents(bright)
    things = np.isin(labels, np.unique(labels[cores])) & (labels > 0)
    near = cv2.dilate(cores.astype(np.uint8), _square(2 * _REACH * _CORES[0][0], height)) > 0
    return np.asarray(cores | (things & near))


def coloured(rise: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which pixels are brightened by coloured light.

    Args:
        rise: grey levels of each channel, H×W×3 float32, at least 0.

    Returns:
        H×W.
    """
    red, green, blue = cv2.split(rise)
    most, least = cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue)
    # A thing, not a speckle of the codec's chroma.
    strong = (most > _COLOURED_LEVELS) & (most - least > _COLOURED * most)
    return _patches(strong.astype(np.uint8)) & (most > _EDGE)


def repeating(
    luma: NDArray[np.uint8], neighbours: Mapping[int, NDArray[np.uint8]], rise: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Which pixels are as bright in other frames, or brighter, in a pattern that lamps have.

    Args:
        luma: of the frame, H×W.
        neighbours: luma of others, warped onto it, by how many frames they lie behind (or, negative, before) it.
        rise: grey levels that the frame is brighter than its neighbours say, H×W, 0 where it isn't.

    Returns:
        H×W.
    """
    tolerance = _ALIKE * rise + np.float32(_ALIKE_LEVELS)
    alike = {lag: cv2.subtract(luma, other) <= tolerance for lag, other in neighbours.items()}
    found = np.zeros(luma.shape, np.bool_)
    for first, second in _REPEATING:
        if first in alike and second in alike:
            found |= alike[first] & alike[second]
        elif first == -second and abs(first) > 1 and (first in alike) != (second in alike):
            # At the beginning and the end of a scene only one of the two is there.
            found |= alike[first] if first in alike else alike[second]
    found &= rise > _EDGE
    # Drops that fall in the same place are as bright in a few pixels at most; a lamp is, but for a drop in front of it.
    whole = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((1, 3), np.uint8))
    return _patches(np.asarray(whole, np.uint8)) & (rise > _EDGE)


def edges(
    luma: NDArray[np.uint8],
    neighbours: Mapping[int, NDArray[np.uint8]],
    rise: NDArray[np.float32],
    *,
    loose: bool,
) -> NDArray[np.bool_]:
    """Which pixels are edges of a thing that is wide and bright in the frame itself, and seen in another.

    Args:
        luma: of the frame, H×W.
        neighbours: luma of others, warped onto it.
        rise: grey levels that the frame is brighter than its neighbours say, H×W, 0 where it isn't.
        loose: also what others show a pixel beside it.

    Returns:
        H×W.
    """
    side = _square(_WIDE, len(luma)).shape
    wide = cv2.morphologyEx(luma, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, side))
    brightest = order_statistic(list(neighbours.values()), len(neighbours) - 1)
    if loose:
        brightest = cv2.dilate(brightest, np.ones((3, 3), np.uint8))
    both = cv2.min(wide, brightest)
    return np.asarray((cv2.subtract(luma, both) <= np.float32(_ALIKE) * rise) & (rise > _WIDE_LEVELS))


def _patches(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where these pixels are squares of three, and a pixel around."""
    square = np.ones((3, 3), np.uint8)
    return np.asarray(cv2.dilate(cv2.morphologyEx(pixels, cv2.MORPH_OPEN, square), square) > 0)


def _square(side: int, height: int) -> NDArray[np.uint8]:
    """A square of so many pixels, and more in tall pictures: an odd number, for an even one would be off centre."""
    scaled = max(round(side * height / _SCALE_HEIGHT), 5) | 1
    return np.ones((scaled, scaled), np.uint8)
