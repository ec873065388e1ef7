"""What small looks at a picture say about its rain, in sums: how much is removed in each size, and of what shape.

The network knows streaks of the width that it learnt. In a picture of many megapixels they are wider: looked at in its
own size much of the rain stays, shrunk too far it is blurred away with what is behind it. What is right shows in what
the network removes in one size and in half of it (`dpenet_cli.inference.looks`): how much each removes, how much of
that only one of them does, how fine it is, how grey, how much of one direction.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from dpenet_cli.inference.looks import Look, Looks

_QUIET = 1.0
"""Grey levels of removed light below which a pixel does not count where the shape of the removed is judged."""

_FLOOR = 0.3
"""Added to powers, in grey levels squared, before their logarithm is taken: below it there is only rounding."""

FEATURES = (
    "constant",
    "fine detail that half the size cannot give back",
    "removed in half the size alone",
    "removed in the finer size alone",
    "removed in half the size",
    "removed in the finer size",
    "likeness of both",
    "direction of what half the size alone removes",
    "colour of what half the size alone removes",
    "fineness of what half the size alone removes",
    "fineness in the finer size",
    "fineness in half the size",
    "direction in half the size",
    "colour in half the size",
    "direction in the finer size",
    "colour in the finer size",
)
"""What the rule knows of a size and half of it: powers and fineness by their logarithm, the others as they are."""

_STRONGEST = 3
"""Windows by which a picture is judged, those that show most rain: one alone may be some odd texture."""

RAIN_FEATURES = ("constant", "removed", "brightened", "colour", "direction", "fineness", "brightest")
"""What the rule knows of a window where it decides whether there is rain in it: colour and direction as they are, the
others by their logarithm."""


class Shape(NamedTuple):
    """Sums over the pixels of removed light that tell its shape; those of several windows are added.

    Attributes:
        pixels: how many.
        light: of the light, in grey levels.
        spread: of the difference between the colours that lose most and least, in grey levels.
        loud, power: of what the light exceeds `_QUIET` by, and of its square.
        across, down, both: of products of its differences to the next pixel right and below: gx², gy², gx·gy.
    """

    pixels: float = 0.0
    light: float = 0.0
    spread: float = 0.0
    loud: float = 0.0
    power: float = 0.0
    across: float = 0.0
    down: float = 0.0
    both: float = 0.0

    @classmethod
    def of(cls, removed: NDArray[np.float32]) -> Self:
        """The shape of light that is removed, h×w×3 float32, in grey levels, at least 0."""
        grey = removed.mean(axis=2)
        loud = np.maximum(grey - np.float32(_QUIET), 0)
        right, below = np.diff(loud, axis=1)[:-1], np.diff(loud, axis=0)[:, :-1]
        spread = float((removed.max(axis=2) - removed.min(axis=2)).sum())
        products = (float((a * b).sum()) for a, b in ((right, right), (below, below), (right, below)))
        return cls(grey.size, float(grey.sum()), spread, float(loud.sum()), float((loud**2).sum()), *products)

    @property
    def mean(self) -> float:
        """Light that is removed, in grey levels."""
        return self.light / max(self.pixels, 1.0)

    @property
    def fineness(self) -> float:
        """Slope over deviation: about 1 where streaks are a pixel or two wide, 0.2 where they are ten."""
        n = max(self.pixels, 1.0)
        return float(np.sqrt(((self.across + self.down) / n + 1e-3) / (self.power / n - (self.loud / n) ** 2 + 2e-3)))

    @property
    def direction(self) -> float:
        """How much all slopes have one direction (the structure tensor's coherence), 0..1."""
        slope = max(self.across + self.down, 1e-3 * self.pixels, 1e-9)
        return float(np.hypot(self.across - self.down, 2 * self.both) / slope)

    @property
    def colour(self) -> float:
        """Difference between the colours over the light: 0 for grey, at most 2."""
        return min(self.spread / max(self.light, 0.05 * self.pixels, 1e-9), 2.0)


class Comparison(NamedTuple):
    """Sums over the pixels of half a size: `a`, the grey removed in a size and shrunk, and `b`, in half of it.

    Attributes:
        pixels: how many.
        detail: of what was removed in the finer size less the same shrunk and enlarged again, squared.
        coarse_alone, fine_alone: of the squares of what only one of them removes.
        a, b, aa, bb, ab: of these products.
    """

    pixels: float = 0.0
    detail: float = 0.0
    coarse_alone: float = 0.0
    fine_alone: float = 0.0
    a: float = 0.0
    b: float = 0.0
    aa: float = 0.0
    bb: float = 0.0
    ab: float = 0.0

    @classmethod
    def of(cls, fine: NDArray[np.float32], shrunk: NDArray[np.float32], coarse: NDArray[np.float32]) -> Self:
        """Compare residuals, greys in grey levels: one of 2h×2w, the same shrunk to h×w, and that of half the size."""
        again = cv2.resize(shrunk, fine.shape[::-1], interpolation=cv2.INTER_CUBIC)
        more = shrunk - coarse  # above 0 where half the size removes more
        detail = float(((fine - again) ** 2).mean()) * shrunk.size
        alone = (float((np.maximum(each, 0) ** 2).sum()) for each in (more, -more))
        sums = (float(each.sum()) for each in (shrunk, coarse, shrunk**2, coarse**2, shrunk * coarse))
        return cls(shrunk.size, detail, *alone, *sums)

    def powers(self) -> list[float]:
        """Means of squares: detail, in half the size alone, in the finer size alone, in half the size, in the finer."""
        sums = (self.detail, self.coarse_alone, self.fine_alone, self.bb, self.aa)
        return [each / max(self.pixels, 1.0) for each in sums]

    @property
    def likeness(self) -> float:
        """Correlation of what both remove, −1..1."""
        n = max(self.pixels, 1.0)
        variances = (self.aa / n - (self.a / n) ** 2) * (self.bb / n - (self.b / n) ** 2)
        return float((self.ab / n - self.a * self.b / n**2) / np.sqrt(max(variances, 0.0) + 1e-3))


_Sums = TypeVar("_Sums", Shape, Comparison)


def _added(first: _Sums, second: _Sums) -> _Sums:
    return type(first)(*(a + b for a, b in zip(first, second, strict=True)))


@dataclass
class Evidence:
    """What looks at a picture, or at the frames of a scene, say in sum.

    Attributes:
        shapes: of the light removed in each size.
        alone: of the light that half of a size removes and the size itself does not, by the size.
        comparisons: of each size with half of it.
        windows: of each window by itself, see `RAIN_FEATURES`.
    """

    shapes: dict[float, Shape] = field(default_factory=dict)
    alone: dict[float, Shape] = field(default_factory=dict)
    comparisons: dict[float, Comparison] = field(default_factory=dict)
    windows: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, looks: Looks) -> None:
        """Take the looks at a picture in."""
        for scale, some in looks.items():
            for each in some:
                removed = np.maximum(-each.residual, 0)
                shape = Shape.of(removed)
                self.shapes[scale] = _added(self.shapes.get(scale, Shape()), shape)
                self.windows.append(_rain_features(each, shape))
            for fine, coarse in _nested(some, looks.get(scale / 2, ())):
                half = cv2.resize(fine, coarse.shape[1::-1], interpolation=cv2.INTER_AREA)
                more = Shape.of(np.maximum(half - coarse, 0))
                self.alone[scale] = _added(self.alone.get(scale, Shape()), more)
                compared = Comparison.of(*(each.mean(axis=2) for each in (fine, half, coarse)))
                self.comparisons[scale] = _added(self.comparisons.get(scale, Comparison()), compared)

    def rain(self, coefficients: Sequence[float] | NDArray[np.float64]) -> float:
        """How much the windows that show most rain show of it: above 0, there is some."""
        if not self.windows:
            return 0.0
        each = np.sort(np.array(self.windows) @ np.array(coefficients))
        return float(each[-_STRONGEST:].mean())

    def features(self, scale: float) -> NDArray[np.float64]:
        """What the rule knows of a size and half of it, see `FEATURES`."""
        fine, coarse, alone = self.shapes[scale], self.shapes[scale / 2], self.alone[scale]
        compared = self.comparisons[scale]
        return np.array(
            [
                1.0,
                *(np.log10(power + _FLOOR) for power in compared.powers()),
                compared.likeness,
                alone.direction,
                alone.colour,
                *(np.log(shape.fineness) for shape in (alone, fine, coarse)),
                coarse.direction,
                coarse.colour,
                fine.direction,
                fine.colour,
            ]
        )


def _rain_features(each: Look, shape: Shape) -> NDArray[np.float64]:
    """What the rule knows of one window, see `RAIN_FEATURES`."""
    brightened = float(np.maximum(each.residual, 0).mean())
    brightest = float(np.percentile(-each.residual.mean(axis=2), 99))
    powers = np.log10([shape.mean + 0.05, brightened + 0.05, shape.fineness, max(brightest, 0) + 1])
    return np.array([1.0, powers[0], powers[1], shape.colour, shape.direction, powers[2], powers[3]])


def _nested(fine: Iterable[Look], coarse: Iterable[Look]) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Residuals in a size, each with that of half the size at the same place; sides of the former are even."""
    pairs = []
    for small in fine:
        for large in coarse:
            if not large.window.contains(small.window):
                continue
            pixel = (large.window.right - large.window.left) // large.residual.shape[1]  # in pixels of the picture
            top, left = (small.window.top - large.window.top) // pixel, (small.window.left - large.window.left) // pixel
            height, width = (side // 2 for side in small.residual.shape[:2])
            there = large.residual[top : top + height, left : left + width]
            if there.shape[:2] == (height, width) and there.size:
                pairs.append((small.residual[: 2 * height, : 2 * width], there))
            break
    return pairs
