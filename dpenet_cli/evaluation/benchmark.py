"""Scores of methods on sets of pairs.

A picture is cleaned as a user would clean it, and scored on the 8-bit pixels before they are encoded. The set's score
is the mean over its pictures (`dpenet_cli.evaluation.metrics`).
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from dpenet_cli.arrays import Pixels8
from dpenet_cli.evaluation.metrics import MeanScore, Score, mean_score, score
from dpenet_cli.evaluation.pair_sets import PairSet
from dpenet_cli.options import Protocol
from dpenet_cli.video.frames import CleanFrames


class NetworkCost(NamedTuple):
    """What a network costs.

    Attributes:
        parameters: number of its parameters.
        macs_per_pixel: multiply-adds for one pixel.
    """

    parameters: int
    macs_per_pixel: int


class Method(NamedTuple):
    """What restores rainy pictures, or the frames of clips; neither, if a set's first pictures are results already.

    Attributes:
        name: name of the weights, or of the folder of results.
        clean: cleans a picture, H×W×3 uint8 RGB in and out; None for results, and for a method of clips.
        cost: cost of its network, None where there is none.
        description: device and precision, for a person.
        restoration: gives what cleans the frames of one clip, anew for each; None for results and for pictures.
    """

    name: str
    clean: Callable[[Pixels8], Pixels8] | None = None
    cost: NetworkCost | None = None
    description: str = "pictures as given"
    restoration: Callable[[], CleanFrames] | None = None

    @property
    def is_given(self) -> bool:
        """Whether it is results that are there already."""
        return self.clean is None and self.restoration is None


class PictureScore(NamedTuple):
    """The scores of one picture.

    Attributes:
        name: name of the picture.
        width: its width in pixels.
        height: its height in pixels.
        before: score of the rainy picture, None for results and for dry pictures.
        after: score of the restored picture.
        seconds: time that cleaning took, 0 for results.
    """

    name: str
    width: int
    height: int
    before: Score | None
    after: Score
    seconds: float


class ScoredImages(NamedTuple):
    """The pixels of one scored picture, H×W×3 uint8 RGB each; for results, `rainy` is the result."""

    score: PictureScore
    rainy: Pixels8
    restored: Pixels8
    clean: Pixels8


@dataclass(frozen=True)
class BenchmarkResult:
    """The scores of one method on one set.

    Attributes:
        test_set: the set.
        method: name of the method.
        protocol: what was compared.
        pictures: scores of every picture, sorted by name.
        cost: cost of the network, None for results.
    """

    test_set: PairSet
    method: str
    protocol: Protocol
    pictures: tuple[PictureScore, ...]
    cost: NetworkCost | None = None

    @property
    def before(self) -> MeanScore | None:
        """The rainy pictures' own score; None for results and for dry pictures."""
        scores = [each.before for each in self.pictures if each.before is not None]
        return mean_score(scores) if scores else None

    @property
    def after(self) -> MeanScore:
        """The restored pictures' score."""
        return mean_score([each.after for each in self.pictures])

    @property
    def worst(self) -> PictureScore:
        """The picture that came out worst, by PSNR and then by SSIM."""
        return min(self.pictures, key=lambda picture: picture.after[:2])

    @property
    def gain(self) -> float | None:
        """PSNR of the restored pictures above that of the rainy ones, in dB; None where there is no such number."""
        if self.before is None:
            return None
        gain = self.after.psnr - self.before.psnr
        return gain if math.isfinite(gain) else None

    def to_json(self) -> dict[str, Any]:
        """The result as strict JSON: an infinite PSNR is null, and ``identical`` counts them."""
        return {
            "dataset": self.test_set.name,
            "pairs": len(self.test_set.pairs),
            "usual_pairs": self.test_set.usual_pairs,
            "left_out": list(self.test_set.left_out),
            "method": self.method,
            "protocol": self.protocol.value,
            "network": self.cost and self.cost._asdict(),
            "input": self.before and finite(self.before._asdict()),
            "restored": finite(self.after._asdict()),
            "worst": {"name": self.worst.name, **finite(self.worst.after._asdict())},
            "pictures": [_picture_json(each) for each in self.pictures],
        }


OnStart = Callable[[PairSet, Method], None]
"""Called before a method is scored on a set."""

OnScored = Callable[[PairSet, Method, ScoredImages], None]
"""Called with each picture that a method restored, while its pixels are in memory."""


def score_sets(
    sets: Sequence[PairSet],
    methods: Sequence[Method],
    protocol: Protocol,
    *,
    on_start: OnStart | None = None,
    on_scored: Sequence[OnScored] = (),
) -> list[BenchmarkResult]:
    """Score every method on every set, one after the other; no more than one picture is in memory.

    Args:
        sets: sets to score on, in the order of the results.
        methods: methods to score, in the order of each set's results.
        protocol: what to compare.
        on_start: told of each set and method before their first picture.
        on_scored: callbacks that see every picture, in this order.

    Raises:
        DatasetError: a picture cannot be read.
        DpenetError: a picture cannot be cleaned.
    """
    results = []
    for test_set in sets:
        for method in methods:
            if on_start:
                on_start(test_set, method)
            pictures = []
            for images in score_set(test_set, method.clean, protocol):
                pictures.append(images.score)
                for callback in on_scored:
                    callback(test_set, method, images)
            results.append(BenchmarkResult(test_set, method.name, protocol, tuple(pictures), method.cost))
    return results


def score_set(
    test_set: PairSet, clean: Callable[[Pixels8], Pixels8] | None, protocol: Protocol
) -> Iterator[ScoredImages]:
    """Clean and score picture by picture, in order.

    Args:
        test_set: pairs to score on.
        clean: cleans a picture, see `Method`; None if the set's first pictures are results already.
        protocol: what to compare.

    Raises:
        DatasetError: a picture cannot be read.
    """
    for pair in test_set.pairs:
        rainy, target = pair.load()
        started = time.perf_counter()
        restored = rainy if clean is None else clean(rainy)
        seconds = 0.0 if clean is None else time.perf_counter() - started
        before = None if clean is None or test_set.dry else score(rainy, target, protocol)
        height, width = target.shape[:2]
        picture = PictureScore(pair.name, width, height, before, score(restored, target, protocol), seconds)
        yield ScoredImages(picture, rainy, restored, target)


class BestAndWorst:
    """The `count` worst and best pictures of a set, kept while it is scored; memory holds no others."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.worst: list[ScoredImages] = []
        self.best: list[ScoredImages] = []

    def add(self, images: ScoredImages) -> None:
        """Consider one picture."""
        self.worst = sorted([*self.worst, images], key=_restored_score)[: self._count]
        self.best = sorted([*self.best, images], key=_restored_score, reverse=True)[: self._count]


def _restored_score(images: ScoredImages) -> Score:
    return images.score.after


def finite(fields: dict[str, Any]) -> dict[str, Any]:
    """Numbers that JSON cannot hold become None."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in fields.items()}


def _picture_json(picture: PictureScore) -> dict[str, Any]:
    return {
        "name": picture.name,
        "width": picture.width,
        "height": picture.height,
        "input": picture.before and finite(picture.before._asdict()),
        "restored": finite(picture.after._asdict()),
        "seconds": round(picture.seconds, 4),
    }
