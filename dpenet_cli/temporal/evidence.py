"""How much it rains in a frame, and where: rain adds light, and a flow that fails adds and takes away alike.

Where a fence, a grille or leaves move faster than the flow can follow, single frames are brighter than their neighbours
in some pixels and darker in as many. Where it rains, they are brighter. The difference of the two, in the region around
each pixel, tells rain from a flow that fails: by it the fused frames of two dry dashcam clips, which were 40 and 44 dB
from their input, came to 51 and 56 dB, and those of NTURain lost less than 0.05 dB.
"""

from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

_LEVELS = 8.0
"""Grey levels of a difference that counts."""

_REGION = 1 / 3
"""Side of the region in which differences are added up, in heights of the picture."""

_FLOOR = 0.15
"""Mean grey levels in a region that are as good as nothing: fewer drops are no rain."""

_NONE, _CERTAIN = 0.16, 0.32
"""Excess of brighter over darker, as a share of both, below which it doesn't rain, and above which it does."""

_SOMEWHERE, _EVERYWHERE = 0.45, 0.8
"""Share of the picture that changes in which it rains, up to which it rains somewhere, and from which on everywhere."""

_SHRINK = 4
"""How many times smaller than the picture the sums are made."""


class Changes(NamedTuple):
    """Light that a frame has more, and less, than its neighbours say: grey levels, h×w float32 each, of a smaller grid.

    Attributes:
        brighter: where it has more.
        darker: where it has less.
    """

    brighter: NDArray[np.float32]
    darker: NDArray[np.float32]


class Evidence(NamedTuple):
    """How certain it is that it rains.

    Attributes:
        around: around each pixel, H×W float32, 0..1, without a step.
        everywhere: whether it rains in nearly all of the picture where anything changes, 0..1. A row of posts that
            pass faster than the flow can follow looks like rain, in its own part of the picture.
    """

    around: NDArray[np.float32]
    everywhere: float


def changes(difference: NDArray[np.float32], counted: NDArray[np.bool_]) -> Changes:
    """Sum up what a frame has more and less than its neighbours say.

    Args:
        difference: grey levels that it is brighter, or (negative) darker, H×W.
        counted: which pixels count, H×W.
    """
    height, width = difference.shape
    size = max(width // _SHRINK, 1), max(height // _SHRINK, 1)
    difference = np.where(counted, difference, np.float32(0))
    return Changes(_strong(difference, size), _strong(-difference, size))


def rain_evidence(around: Mapping[int, Changes], shape: tuple[int, ...]) -> Evidence:
    """How certain it is that it rains, around each pixel and everywhere.

    Args:
        around: changes in the frame, and in those before and after it, by how many frames they lie behind it: rain
            doesn't come and go with single frames. The nearest count most, so that none comes or goes at once.
        shape: of the frame, rows first.
    """
    height, width = shape
    farthest = max(map(abs, around))
    weights = [farthest + 1 - abs(lag) for lag in around]
    brighter = np.average([each.brighter for each in around.values()], axis=0, weights=weights).astype(np.float32)
    darker = np.average([each.darker for each in around.values()], axis=0, weights=weights).astype(np.float32)
    side = max(round(brighter.shape[0] * _REGION), 3)
    brighter, darker = _blurred(brighter, side), _blurred(darker, side)
    evidence = ramp((brighter - darker) / (brighter + darker + np.float32(_FLOOR)), _NONE, _CERTAIN)
    changing = brighter + darker > _FLOOR
    share = float(evidence[changing].mean()) if changing.any() else 0.0
    everywhere = min(max((share - _SOMEWHERE) / (_EVERYWHERE - _SOMEWHERE), 0.0), 1.0)
    return Evidence(np.asarray(cv2.resize(evidence, (width, height), interpolation=cv2.INTER_LINEAR)), everywhere)


def _strong(difference: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    strong = cv2.threshold(difference, _LEVELS, 0, cv2.THRESH_TOZERO)[1]
    return np.asarray(cv2.resize(strong, size, interpolation=cv2.INTER_AREA), np.float32)


def _blurred(sums: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Means over the square around each point."""
    return np.asarray(cv2.blur(sums, (side, side), borderType=cv2.BORDER_REFLECT), np.float32)


def ramp(values: NDArray[np.float32], none: float, all_: float) -> NDArray[np.float32]:
    """0 up to `none`, 1 from `all_` on, and straight between them; `all_` may be the smaller of the two."""
    return np.asarray(np.clip((values - np.float32(none)) / np.float32(all_ - none), 0, 1), np.float32)
