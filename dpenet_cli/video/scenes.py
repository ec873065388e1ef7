"""A video's scenes, and in which size the network sees each: decided once for a scene, so that nothing flickers.

Where a scene ends is seen while every frame is decoded before the work (`dpenet_cli.video.scan`), at the size of a
stamp. A few frames of each scene are then looked at (`dpenet_cli.inference.scales`). All of that depends on the file
alone: a part of a video, a preview or a run that goes on after a crash has the same sizes.
"""

import itertools
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from dpenet_cli.inference.looks import SMALL
from dpenet_cli.temporal.motion import MIN_SIDE, FlowEstimator
from dpenet_cli.temporal.window import is_cut

_STAMP = 96
"""Longest side of the small frames in which cuts are looked for, in pixels."""

_LOOKED_AT = (1, 3, 5)
"""Frames of a scene that are looked at, in sixths of its length."""

_LOOKED_SECONDS = 60
"""Seconds of a scene in which these lie: looking at the whole of a long one would mean to decode it again."""


class CutFinder:
    """Tells which frames of one stream begin a new scene."""

    def __init__(self) -> None:
        self._before: NDArray[np.uint8] | None = None
        self._estimator = FlowEstimator()
        self._number = 0
        self.cuts: array[int] = array("q")

    def see(self, frame: Any) -> None:
        """Take the next frame, as PyAV has it; small ones are passed over."""
        before, after = self._before, _stamp(frame) if frame.width * frame.height >= SMALL else None
        if before is None or after is None or before.shape != after.shape:
            cut = False  # small frames, the first one, another size
        else:
            cut = is_cut(before, after, self._estimator)
        if cut:
            self.cuts.append(self._number)
        self._before = after
        self._number += 1


def _stamp(frame: Any) -> NDArray[np.uint8] | None:
    """A frame in grey at the size of a stamp; None where nothing converts its pixel format, as the reader will say."""
    shrink = _STAMP / max(frame.width, frame.height)
    size = max(round(frame.width * shrink), MIN_SIDE), max(round(frame.height * shrink), MIN_SIDE)
    try:
        return np.asarray(frame.reformat(*size, "gray").to_ndarray(), np.uint8)
    except av.FFmpegError:
        return None


class Scenes(NamedTuple):
    """The scenes of a stream.

    Attributes:
        starts: when each begins, in seconds; the first at its first frame, or before it.
        scales: width in which the network sees each, over its own.
    """

    starts: tuple[Fraction, ...]
    scales: tuple[float, ...]

    def scale_at(self, seconds: Fraction) -> float:
        """The size of a frame that is shown then."""
        return self.scales[max(bisect_right(self.starts, seconds) - 1, 0)]


def scenes_of(frames: int, cuts: Sequence[int]) -> list[range]:
    """The numbers of each scene's frames."""
    borders = [0, *cuts, frames]
    return [range(a, b) for a, b in itertools.pairwise(borders) if b > a]


def looked_at(scene: range, rate: Fraction) -> list[int]:
    """Numbers of the frames of a scene that tell its size: three, or as many as it has."""
    length = min(len(scene), max(int(_LOOKED_SECONDS * rate), 1))
    return sorted({scene[length * sixth // 6] for sixth in _LOOKED_AT})
