"""Flicker: how much a video changes from frame to frame beyond what its scene does.

    flicker = mean over t ≥ 1 and all pixels of |Y(frame t) − Y(frame t−1 warped onto t)|

Y is the luma of the protocol y-uint8, 16..235. The warp follows the optical flow of the *true* frames, from frame t to
frame t−1, whatever video is measured: OpenCV's DIS, medium preset, on OpenCV's grey of them. Frames are warped as 8-bit
RGB, bicubic, the outermost pixels repeated beyond the border. So measured, the clip a1 of NTURain (its first 48
frames) has 3.80 in its true frames and 6.58 in its rainy ones.

The true frames' own flicker is not zero: motion is found only nearly, and things come into view. It is the mark to
hit: **less flicker than the truth is blur**. `still` counts only those pixels where the true frames, warped, differ by
less than 2 levels: there, whatever changes is rain, or was put there by what was to remove it.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dpenet_cli.arrays import Pixels8
from dpenet_cli.evaluation.metrics import limited_range_luma

STILL = 2.0
"""Levels of luma: where the true frames, warped, differ by less, the scene is taken to stand still."""

_MIN_FLOW_SIDE = 32
"""Shortest side that optical flow is computed on, in pixels: OpenCV's crashes the process below 16."""

Matches: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Columns and rows in another frame of each pixel of a frame, H×W each."""


class Flicker(NamedTuple):
    """The flicker of a video as sums, so that videos can be pooled; all zero for a single frame.

    Attributes:
        difference: sum of the absolute differences of luma, in levels of 0..255.
        pixels: number of pixels that it was summed over.
        still_difference: the same sum over the pixels where the true frames stand still.
        still_pixels: number of those.
    """

    difference: float = 0.0
    pixels: int = 0
    still_difference: float = 0.0
    still_pixels: int = 0

    @property
    def mean(self) -> float:
        """Flicker in levels of luma; NaN for a single frame."""
        return self.difference / self.pixels if self.pixels else math.nan

    @property
    def still(self) -> float:
        """Flicker where the scene stands still, in levels of luma; NaN where it nowhere does."""
        return self.still_difference / self.still_pixels if self.still_pixels else math.nan


def pooled(flickers: Iterable[Flicker]) -> Flicker:
    """The flicker over the pixels of several videos together."""
    return Flicker(*map(sum, zip(*flickers, strict=True)))


class FlickerMeter:
    """Measures the flicker of videos that show one scene, a frame of each at a time; it keeps the last one of each.

    >>> truth = np.full((32, 32, 3), 100, np.uint8)
    >>> meter = FlickerMeter()
    >>> for level in (100, 120, 100):  # 20 levels of grey are 17 of limited-range luma
    ...     meter.add(truth, np.full_like(truth, level))
    >>> [each.mean for each in meter.flickers()]
    [0.0, 17.0]
    """

    def __init__(self) -> None:
        self._flow = _FlowFinder()
        self._previous: tuple[Pixels8, ...] = ()
        self._sums: list[Flicker] = []

    def add(self, truth: Pixels8, *videos: Pixels8) -> None:
        """Take the next frame of each.

        Args:
            truth: ground truth, H×W×3 uint8, RGB.
            videos: frames of the videos to measure, of the same shape and dtype; as many each time, in one order.

        Raises:
            ValueError: another dtype, or a shape other than that of the frame before.
        """
        frames = (truth, *videos)
        previous = self._previous or frames
        if any(a.dtype != np.uint8 or a.shape != truth.shape for a in (*frames, *previous)):
            raise ValueError(f"expected uint8 frames of {previous[0].shape}, got {[a.shape for a in frames]}")
        if self._previous:
            matches = self._flow.matches(truth, previous[0])
            pairs = zip(previous, frames, strict=True)
            differences = [_difference(before, now, matches) for before, now in pairs]  # H×W each, the truth's first
            still = differences[0] < STILL
            self._sums = [
                pooled((total, _summed(each, still))) for total, each in zip(self._sums, differences, strict=True)
            ]
        else:
            self._sums = [Flicker()] * len(frames)
        self._previous = frames

    def flickers(self) -> tuple[Flicker, ...]:
        """The flicker up to now: the truth's, then each video's; nothing before the first frame."""
        return tuple(self._sums)


class _FlowFinder:
    """Where each pixel of a frame lies in another, by the optical flow between them."""

    def __init__(self) -> None:
        import cv2

        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def matches(self, frame: Pixels8, other: Pixels8) -> Matches:
        """Find in `other` the pixels of `frame`."""
        height, width = frame.shape[:2]
        start: Any = None  # no flow to begin with; OpenCV's own types do not know that there may be none
        flow = np.asarray(self._dis.calc(_grey(frame), _grey(other), start))[:height, :width]  # H×W×2: x, y
        columns, rows = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
        return np.asarray(flow[..., 0] + columns), np.asarray(flow[..., 1] + rows[:, None])


def _grey(frame: Pixels8) -> NDArray[Any]:
    """OpenCV's grey, with its outermost rows and columns repeated where flow needs more of them."""
    import cv2

    height, width = frame.shape[:2]
    below, right = max(_MIN_FLOW_SIDE - height, 0), max(_MIN_FLOW_SIDE - width, 0)
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.copyMakeBorder(grey, 0, below, 0, right, cv2.BORDER_REPLICATE))


def _difference(before: Pixels8, now: Pixels8, matches: Matches) -> NDArray[np.float64]:
    """Absolute difference of luma between a frame and the one before it, warped onto it: H×W."""
    import cv2

    warped = cv2.remap(before, *matches, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.abs(limited_range_luma(now) - limited_range_luma(np.asarray(warped, np.uint8)))


def _summed(difference: NDArray[np.float64], still: NDArray[np.bool_]) -> Flicker:
    # Differences of whole numbers: their sums are exact.
    return Flicker(float(difference.sum()), difference.size, float(difference[still].sum()), int(still.sum()))
