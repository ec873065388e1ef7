"""Backgrounds that two sets share, found by their local features.

Test pictures in training data flatter a result. They come in disguise: rained on, mirrored, cropped, resized, saved
again. So backgrounds are not compared as wholes but by SIFT features (Lowe, IJCV 60 (2004), with the square root of
Arandjelović & Zisserman, CVPR 2012): each feature of a picture votes for the test picture that holds its nearest
neighbour, and a picture is a match if enough of the features agree on one rotation, scale and shift.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dpenet_cli.arrays import Pixels8

_SIDE = 400
"""Longer side in pixels that pictures are compared at: small enough for thin streaks to fade."""

_FEATURES = 400
"""Strongest features of a picture that are kept."""

_MIN_VOTES = 4
"""Features that must vote for a test picture before its geometry is looked at."""

_CANDIDATES = 3
"""Test pictures with the most votes whose geometry is looked at."""

MIN_AGREEING = 10
"""Features that must agree on one similarity transform. By chance it is 3 or 4 (two of them define the transform)."""

_RATIO = 0.85
"""Lowe's ratio: a match counts if its nearest neighbour is this much closer than the second nearest."""

_TOLERANCE = 3.0
"""Pixels, at the compared size, by which features may miss the common transform."""


class Shared(NamedTuple):
    """A picture found again: the position of the test picture, features that agree, and whether it is mirrored."""

    test: int
    agreeing: int
    mirrored: bool


class _Features(NamedTuple):
    points: NDArray[np.float32]  # n×2
    descriptors: NDArray[np.float32]  # n×128, of length 1


class BackgroundIndex:
    """Test pictures, ready to be found again. Reading it is safe from several threads.

    Args:
        tests: H×W×3 uint8, RGB, any sizes.
    """

    def __init__(self, tests: Sequence[Pixels8]) -> None:
        self._features = [_describe(view) for test in tests for view in (test, test[:, ::-1])]
        counts = [len(features.points) for features in self._features]
        self._owner = np.repeat(np.arange(len(counts)), counts)
        self._all = np.concatenate([f.descriptors for f in self._features] or [np.zeros((0, 128), np.float32)])

    def find(self, picture: Pixels8) -> Shared | None:
        """Find the test picture that shares its background with `picture` (H×W×3 uint8, RGB), or None."""
        mine = _describe(picture)
        if not len(mine.points) or not len(self._all):
            return None
        nearest = self._owner[(mine.descriptors @ self._all.T).argmax(axis=1)]
        votes = np.bincount(nearest, minlength=len(self._features))
        best: Shared | None = None
        for candidate in np.argsort(-votes, kind="stable")[:_CANDIDATES]:
            if votes[candidate] < _MIN_VOTES:
                break
            agreeing = _agreeing(mine, self._features[candidate])
            if agreeing >= MIN_AGREEING and (best is None or agreeing > best.agreeing):
                best = Shared(int(candidate) // 2, agreeing, bool(candidate % 2))
        return best


def _describe(picture: Pixels8) -> _Features:
    grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
    scale = _SIDE / max(grey.shape)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    grey = cv2.medianBlur(grey, 3)
    points, descriptors = cv2.SIFT.create(_FEATURES, contrastThreshold=0.02).detectAndCompute(grey, None)
    if not points:
        return _Features(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32))
    rooted = np.sqrt(descriptors / (descriptors.sum(axis=1, keepdims=True) + 1e-7))
    return _Features(np.array([point.pt for point in points], np.float32), rooted.astype(np.float32))


def _agreeing(a: _Features, b: _Features) -> int:
    """How many features of `a` and `b` agree on one rotation, scale and shift."""
    if len(b.points) < 2:
        return 0
    likeness = a.descriptors @ b.descriptors.T
    order = np.argpartition(-likeness, 1, axis=1)[:, :2]
    rows = np.arange(len(likeness))
    distance = np.sqrt(np.maximum(2 - 2 * np.take_along_axis(likeness, order, axis=1), 0))
    distinct = distance.min(axis=1) < _RATIO * distance.max(axis=1)
    nearest = likeness.argmax(axis=1)
    mutual = likeness.argmax(axis=0)[nearest] == rows
    chosen = distinct & mutual
    if chosen.sum() < MIN_AGREEING:
        return 0
    return _inliers(a.points[chosen], b.points[nearest[chosen]])


def _inliers(a: NDArray[Any], b: NDArray[Any]) -> int:
    cv2.setRNGSeed(0)  # RANSAC draws from OpenCV's own generator
    transform, inside = cv2.estimateAffinePartial2D(a, b, method=cv2.RANSAC, ransacReprojThreshold=_TOLERANCE)
    if not inside.any():
        return 0
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    if not 0.2 < scale < 5.0:
        return 0
    # Features that crowd on one spot (a caption, a repeated ornament) say little: count distinct places.
    places = {tuple(place) for place in (a[inside.ravel() == 1] // 8).astype(int).tolist()}
    return len(places)
