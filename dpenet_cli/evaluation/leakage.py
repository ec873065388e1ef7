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
"""Number of features of a picture that are kept, the strongest."""

_MIN_VOTES = 4
"""Number of features that must vote for a test picture before its geometry is looked at."""

_CANDIDATES = 3
"""Number of test pictures, those with the most votes, whose geometry is looked at."""

MIN_AGREEING = 10
"""Number of features that must agree on one similarity transform. By chance it is 3 or 4: two of them define it."""

_RATIO = 0.85
"""Lowe's ratio: a match counts if its nearest neighbour is this much closer than the second nearest."""

_TOLERANCE = 3.0
"""Pixels, at the compared size, by which features may miss the common transform."""


_CELL = 8
"""Side in pixels, at the compared size, of the cells within which features count once."""


class SharedBackground(NamedTuple):
    """A background found again.

    Attributes:
        test: position of the test picture.
        agreeing: number of places whose features agree.
        mirrored: whether one of the two pictures is mirrored.
    """

    test: int
    agreeing: int
    mirrored: bool


class _Features(NamedTuple):
    """Where a picture has features, at the compared size, and what they look like."""

    points: NDArray[np.float32]  # n×2
    descriptors: NDArray[np.float32]  # n×128, of length 1


class BackgroundIndex:
    """Test pictures, ready to be found again. Reading it is safe from several threads.

    Args:
        tests: test pictures, H×W×3 uint8 RGB, of any sizes.
    """

    def __init__(self, tests: Sequence[Pixels8]) -> None:
        # SIFT knows rotation and scale but not reflection: each test picture is held twice, 2i as it is, 2i+1 mirrored.
        self._features = [_describe(view) for test in tests for view in (test, test[:, ::-1])]
        counts = [len(features.points) for features in self._features]
        # All descriptors in one matrix, N×128, and for each the view that it belongs to, N.
        self._view_of = np.repeat(np.arange(len(counts)), counts)
        self._descriptors = np.concatenate([f.descriptors for f in self._features] or [np.zeros((0, 128), np.float32)])

    def find(self, picture: Pixels8) -> SharedBackground | None:
        """Find the test picture that shares its background with `picture` (H×W×3 uint8, RGB), or None."""
        features = _describe(picture)
        if not len(features.points) or not len(self._descriptors):
            return None
        # 1. Votes: each feature is for the view with its nearest neighbour. The descriptors have length 1, so that the
        # nearest is the one with the largest product; one product with all of them is cheap, geometry is not.
        nearest = self._view_of[(features.descriptors @ self._descriptors.T).argmax(axis=1)]  # n
        votes = np.bincount(nearest, minlength=len(self._features))
        # 2. Geometry, for the few views with the most votes. The first view that passes need not be the best: a picture
        # that is symmetric passes against both of its views.
        best: SharedBackground | None = None
        for view in np.argsort(-votes, kind="stable")[:_CANDIDATES]:
            if votes[view] < _MIN_VOTES:
                break  # nor do the others have more
            agreeing = _agreeing(features, self._features[view])
            if agreeing >= MIN_AGREEING and (best is None or agreeing > best.agreeing):
                best = SharedBackground(int(view) // 2, agreeing, bool(view % 2))
        return best


def _describe(picture: Pixels8) -> _Features:
    grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
    scale = _SIDE / max(grey.shape)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    grey = cv2.medianBlur(grey, 3)  # what is left of thin streaks; edges stay where they are
    points, descriptors = cv2.SIFT.create(_FEATURES, contrastThreshold=0.02).detectAndCompute(grey, None)
    if not points:
        return _Features(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32))
    # The square root of L1-normalised descriptors ("RootSIFT"): their products then compare histograms by Hellinger's
    # kernel, in which a few strong gradients, such as a streak's, do not drown the rest. Their L2 length is 1.
    rooted = np.sqrt(descriptors / (descriptors.sum(axis=1, keepdims=True) + 1e-7))  # n×128
    return _Features(np.array([point.pt for point in points], np.float32), rooted.astype(np.float32))


def _agreeing(a: _Features, b: _Features) -> int:
    """Number of places where features of `a` and `b` agree on one rotation, scale and shift."""
    if len(b.points) < 2:
        return 0  # Lowe's ratio needs a second nearest
    similarity = a.descriptors @ b.descriptors.T  # n_a×n_b
    # Lowe's ratio: a feature that is nearly as close to a second one (leaves, bricks, sky) says nothing of where it is.
    two_nearest = np.argpartition(-similarity, 1, axis=1)[:, :2]  # n_a×2, in either order
    distance = np.sqrt(np.maximum(2 - 2 * np.take_along_axis(similarity, two_nearest, axis=1), 0))  # n_a×2
    distinct = distance.min(axis=1) < _RATIO * distance.max(axis=1)  # n_a
    # Mutual: each is the other's nearest, so that no feature of `b` is used twice.
    nearest = similarity.argmax(axis=1)  # n_a
    mutual = similarity.argmax(axis=0)[nearest] == np.arange(len(similarity))  # n_a
    chosen = distinct & mutual
    if chosen.sum() < MIN_AGREEING:
        return 0
    return _inlying_places(a.points[chosen], b.points[nearest[chosen]])


def _inlying_places(a: NDArray[Any], b: NDArray[Any]) -> int:
    """Number of distinct places among matched points, n×2 each, that one similarity transform takes to each other."""
    cv2.setRNGSeed(0)  # RANSAC draws from OpenCV's own generator: the same pictures, the same answer
    transform, inside = cv2.estimateAffinePartial2D(a, b, method=cv2.RANSAC, ransacReprojThreshold=_TOLERANCE)
    if not inside.any():
        return 0
    # A transform that shrinks everything onto a spot takes any points to each other.
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    if not 0.2 < scale < 5.0:
        return 0
    # Features that crowd on one spot (a caption, a repeated ornament) say little: count distinct places.
    places = {tuple(place) for place in (a[inside.ravel() == 1] // _CELL).astype(int).tolist()}
    return len(places)
