"""Which frames of a video may be asked about each other: those of one scene, near in time, that are no repeats."""

from fractions import Fraction
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dpenet_cli.arrays import Pixels
from dpenet_cli.temporal.motion import MIN_SIDE, FlowEstimator, luma_8_bits, read_at

COMPARED = 3
"""Frames before and after each one that it is compared with: three of a still camera, else two, and the third tells
whether a light blinks."""

STEADY = 4
"""Frames before and after each one that also tell whether it rains in it, those far away less. With 2, and all alike,
what was told of a street at night went from nothing to everything within a frame."""

REACH = COMPARED + STEADY
"""Frames before and after each one that its result depends on."""

KEYS_APART = 6
"""Frames from one that may speak for its neighbours, a key, to the next."""

KEY_REACH = KEYS_APART // 2
"""Frames from any one to the nearest key, at most."""

MAX_GAP = Fraction(1, 10)
"""Seconds between two frames beyond which they are no neighbours."""

_REPEAT_LEVELS = 2
"""Grey levels that no pixel of a repeated frame differs by; encoders repeat frames almost exactly."""

_CUT_SIDE = 96
"""Longest side of the small pictures in which a cut is looked for, in pixels."""

_CUT_LIKENESS = 0.6
"""Correlation, after alignment, below which two frames show different scenes: neighbours in the videos looked at have
0.91 and more, frames of different ones 0.15 in the middle and 0.41 at most."""

_CUT_BLOCKS = 4
"""Blocks across and down that are correlated each by itself: a screen or a flame that changes doesn't make a cut."""

_FLAT = 2.0
"""Grey levels of standard deviation in which there is nothing to align; there, the difference of brightness decides."""

_CUT_BRIGHTNESS = 24.0
"""Grey levels between two flat pictures that make a cut."""


class TimedFrame(NamedTuple):
    """A frame as it comes.

    Attributes:
        image: H×W×3 RGB, uint8 or uint16.
        seconds: when it is shown, exact.
        number: its number in the whole video, nearly: it decides which frames are keys.
    """

    image: Pixels
    seconds: Fraction
    number: int = 0


class SeenFrame(NamedTuple):
    """A frame and what is derived from it once.

    Attributes:
        image: H×W×3 RGB, uint8 or uint16.
        seconds: when it is shown.
        luma: H×W uint8, full range.
        features: what its flow is computed from, h×w uint8.
        follows: whether it may be asked about the frame before it, and that one about it.
        repeats: whether it shows the very frame before it again.
        number: as it came.
        key: whether it is a key: the first with a number in the next `KEYS_APART`.
    """

    image: Pixels
    seconds: Fraction
    luma: NDArray[np.uint8]
    features: NDArray[np.uint8]
    follows: bool
    repeats: bool
    number: int
    key: bool


def seen(frame: TimedFrame, before: SeenFrame | None, estimator: FlowEstimator) -> SeenFrame:
    """Look at a frame, and at whether it goes on from the one before it."""
    luma = luma_8_bits(frame.image)
    features = estimator.features(luma)
    follows = repeats = False
    if before is not None and _could_follow(frame, before):
        repeats = cv2.norm(luma, before.luma, cv2.NORM_INF) <= _REPEAT_LEVELS
        follows = repeats or not is_cut(before.features, features, estimator)
    key = frame.number % KEYS_APART == 0 if before is None else _slot(frame) != _slot(before)
    return SeenFrame(frame.image, frame.seconds, luma, features, follows, repeats, frame.number, key)


def _slot(frame: TimedFrame | SeenFrame) -> int:
    return frame.number // KEYS_APART


def _could_follow(frame: TimedFrame, before: SeenFrame) -> bool:
    alike = frame.image.shape == before.image.shape and frame.image.dtype == before.image.dtype
    return alike and 0 < frame.seconds - before.seconds <= MAX_GAP


def is_cut(before: NDArray[np.uint8], after: NDArray[np.uint8], estimator: FlowEstimator) -> bool:
    """Whether two pictures of one size, h×w uint8, show different scenes.

    They are aligned at the size of a stamp, where rain is gone, and then correlated block by block, without what is
    blurred further: a bright sky above a dark road is common to most scenes. The middle block decides.
    """
    height, width = before.shape
    shrink = max(width, height) / _CUT_SIDE
    size = max(round(width / shrink), MIN_SIDE), max(round(height / shrink), MIN_SIDE)
    a, b = (np.asarray(cv2.resize(each, size, interpolation=cv2.INTER_AREA), np.uint8) for each in (before, after))
    b = read_at(b, estimator(a, b))
    fine_a, fine_b = (each.astype(np.float32) - cv2.GaussianBlur(each.astype(np.float32), (0, 0), 4) for each in (a, b))
    together, power_a, power_b = (
        _block_means(x * y) for x, y in ((fine_a, fine_b), (fine_a, fine_a), (fine_b, fine_b))
    )
    textured = np.maximum(power_a, power_b) > _FLAT**2
    if not textured.any():
        return abs(float(a.mean()) - float(b.mean())) > _CUT_BRIGHTNESS
    likeness = together / np.maximum(np.sqrt(power_a * power_b), _FLAT**2 / 4)
    return bool(np.median(likeness[textured]) < _CUT_LIKENESS)


def _block_means(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    blocks = _CUT_BLOCKS, _CUT_BLOCKS
    return np.asarray(cv2.resize(plane, blocks, interpolation=cv2.INTER_AREA), np.float32)
