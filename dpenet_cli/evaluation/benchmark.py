"""Scores of weights, or of pictures that another method made, on pairs.

A picture is cleaned as a user would clean it, and scored on the 8-bit pixels before they are encoded. The set's score
is the mean over its pictures (`dpenet_cli.evaluation.metrics`).
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from dpenet_cli.arrays import Pixels8
from dpenet_cli.errors import DatasetError
from dpenet_cli.evaluation.datasets import Dataset, Pair, below, pair_folders, read_pair, read_picture
from dpenet_cli.evaluation.demo import demo_names, demo_pair
from dpenet_cli.evaluation.metrics import Mean, Protocol, Score, mean, score
from dpenet_cli.evaluation.test_sets import find_test_set, open_test_set
from dpenet_cli.network.model import DPENet

MIN_SIDE = 11
"""Shortest side of a picture that can be scored, in pixels: SSIM's window."""

Clean = Callable[[Pixels8], Pixels8]
"""H×W×3 uint8 RGB in, the same out."""


class Item(NamedTuple):
    """One pair; `read` gives the rainy picture and the clean one, H×W×3 uint8."""

    name: str
    read: Callable[[], tuple[Pixels8, Pixels8]]


@dataclass(frozen=True)
class PairSet:
    """Pairs to score on.

    Attributes:
        name: of the set, or the folders that it was made from.
        items: its pairs, sorted by name.
        usual: how many pairs the set has where it is complete, or None where nobody knows.
        left_out: files without a partner, or that could not be scored, and why.
        files: the pictures that it is read from.
    """

    name: str
    items: tuple[Item, ...]
    usual: int | None = None
    left_out: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    @property
    def coverage(self) -> str:
        """Such as ``100 pairs`` or ``20 of 100 pairs``."""
        if self.usual is None or self.usual == len(self.items):
            return f"{len(self.items)} pairs"
        return f"{len(self.items)} of {self.usual} pairs"


class Scored(NamedTuple):
    """One picture: its scores before and after, and the seconds that cleaning it took (0 for results given)."""

    name: str
    width: int
    height: int
    before: Score | None
    after: Score
    seconds: float


class ScoredImages(NamedTuple):
    """The pixels of one scored picture, H×W×3 uint8 each; for results given, `rainy` is the result."""

    scored: Scored
    rainy: Pixels8
    restored: Pixels8
    clean: Pixels8


class Network(NamedTuple):
    """What a network costs: parameters, and multiply-adds for one pixel."""

    parameters: int
    macs_per_pixel: int


@dataclass(frozen=True)
class BenchmarkResult:
    """One method on one set.

    Attributes:
        dataset: the set.
        method: the weights' name, or the folder of results.
        protocol: what was compared.
        pictures: sorted by name.
        network: what it costs, or None for results given.
    """

    dataset: PairSet
    method: str
    protocol: Protocol
    pictures: tuple[Scored, ...]
    network: Network | None = None

    @property
    def before(self) -> Mean | None:
        """The rainy pictures' own score; None for results given."""
        scores = [each.before for each in self.pictures if each.before is not None]
        return mean(scores) if scores else None

    @property
    def after(self) -> Mean:
        """The restored pictures' score."""
        return mean([each.after for each in self.pictures])

    def to_json(self) -> dict[str, Any]:
        """The result as strict JSON: an infinite PSNR is null, and ``identical`` counts them."""
        return {
            "dataset": self.dataset.name,
            "pairs": len(self.dataset.items),
            "usual_pairs": self.dataset.usual,
            "left_out": list(self.dataset.left_out),
            "method": self.method,
            "protocol": self.protocol.value,
            "network": self.network and self.network._asdict(),
            "input": self.before and finite(self.before._asdict()),
            "restored": finite(self.after._asdict()),
            "pictures": [_picture_json(each) for each in self.pictures],
        }


def known_set(name: str, data_root: Path | None = None, *, partial: bool = False) -> PairSet:
    """A set by name; ``demo`` is made on the spot.

    Raises:
        DatasetError: as `known_sets.open_known`, and for pairs that cannot be scored unless `partial`.
    """
    if name.lower() == "demo":
        return demo_set()
    known = find_test_set(name)
    return _of_pairs(known.name, open_test_set(known, data_root, partial=partial), partial=partial, usual=known.pairs)


def folder_set(rainy: Path, clean: Path, *, partial: bool = False) -> PairSet:
    """Two folders, paired by name.

    Raises:
        DatasetError: as `datasets.pair_folders`, and for pairs that cannot be scored unless `partial`.
    """
    return _of_pairs(
        f"{short_name(rainy)} against {short_name(clean)}", pair_folders(rainy, clean, partial=partial), partial=partial
    )


def short_name(folder: Path) -> str:
    """The last two parts of a path, which tell folders named input from each other."""
    return "/".join(folder.absolute().parts[-2:])


def demo_set() -> PairSet:
    """The pairs of `dpenet_cli.evaluation.demo`."""
    names = demo_names()
    return PairSet("demo", tuple(Item(name, partial(demo_pair, name)) for name in names), len(names))


def network_of(model: DPENet) -> Network:
    """Count parameters, and multiply-adds a pixel: every convolution has stride 1 and keeps the size."""
    parameters = dict(model.named_parameters())
    macs = sum(parameter.numel() for parameter in parameters.values() if parameter.ndim == 4)
    return Network(sum(parameter.numel() for parameter in parameters.values()), macs)


def score_set(test_set: PairSet, clean: Clean | None, protocol: Protocol) -> Iterator[ScoredImages]:
    """Clean and score picture by picture, in order.

    Args:
        test_set: the pairs.
        clean: cleans a picture; None if the set's first pictures are results already.
        protocol: what to compare.

    Raises:
        DatasetError: a picture cannot be read.
    """
    for item in test_set.items:
        rainy, target = item.read()
        started = time.perf_counter()
        restored = rainy if clean is None else clean(rainy)
        seconds = 0.0 if clean is None else time.perf_counter() - started
        before = None if clean is None else score(rainy, target, protocol)
        height, width = target.shape[:2]
        scored = Scored(item.name, width, height, before, score(restored, target, protocol), seconds)
        yield ScoredImages(scored, rainy, restored, target)


class BestAndWorst:
    """The `count` worst and best pictures of a set, kept while it is scored; memory holds no others."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.worst: list[ScoredImages] = []
        self.best: list[ScoredImages] = []

    def add(self, example: ScoredImages) -> None:
        """Consider one picture."""
        self.worst = sorted([*self.worst, example], key=_rank)[: self._count]
        self.best = sorted([*self.best, example], key=_rank, reverse=True)[: self._count]


def finite(fields: dict[str, Any]) -> dict[str, Any]:
    """Numbers that JSON cannot hold become None."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in fields.items()}


def _rank(example: ScoredImages) -> tuple[float, float]:
    return example.scored.after


def _picture_json(scored: Scored) -> dict[str, Any]:
    return {
        "name": scored.name,
        "width": scored.width,
        "height": scored.height,
        "input": scored.before and finite(scored.before._asdict()),
        "restored": finite(scored.after._asdict()),
        "seconds": round(scored.seconds, 4),
    }


def _of_pairs(name: str, dataset: Dataset, *, partial: bool, usual: int | None = None) -> PairSet:
    """Read every pair before any work starts, so that an hour's run does not end at its last picture."""
    with ThreadPoolExecutor() as pool:  # decoding releases Python's lock
        told = list(pool.map(_problem, dataset.pairs))
    problems = {pair: problem for pair, problem in zip(dataset.pairs, told, strict=True) if problem}
    usable = [pair for pair in dataset.pairs if pair not in problems]
    if problems and (not partial or not usable):
        some = "; ".join(list(problems.values())[:5])
        why = f"{len(problems)} of {len(dataset.pairs)} pairs cannot be scored: {some}"
        raise DatasetError(str(dataset.folder), why, "Mend them, or leave them out with --allow-partial.")
    alone = [f"{below(path, dataset.folder)}: no partner" for path in dataset.alone]
    if usual is None and (alone or problems):
        usual = len(dataset.pairs) + len(dataset.alone)
    files = {path: None for pair in dataset.pairs for path in (pair.rainy, pair.clean)} | dict.fromkeys(dataset.alone)
    return PairSet(name, _items(usable), usual, (*alone, *problems.values()), tuple(files))


def _items(pairs: Sequence[Pair]) -> tuple[Item, ...]:
    names = [pair.name for pair in pairs]
    unique = len(set(names)) == len(names)
    ordered = sorted(pairs, key=lambda pair: (pair.name, pair.rainy))
    return tuple(Item(pair.name if unique else pair.rainy.name, _reader(pair)) for pair in ordered)


def _reader(pair: Pair) -> Callable[[], tuple[Pixels8, Pixels8]]:
    return lambda: read_pair(pair)


def _problem(pair: Pair) -> str:
    """Why a pair cannot be scored; nothing if it can."""
    try:
        shapes = [read_picture(path).shape for path in dict.fromkeys((pair.rainy, pair.clean))]
    except DatasetError as error:
        return f"{Path(error.what).name} {error.why.removeprefix('it ')}"
    if len(set(shapes)) > 1:
        return f"{pair.rainy.name} and {pair.clean.name} differ in size"
    height, width, _ = shapes[0]
    width //= 1 if pair.clean_side is None else 2
    if min(width, height) < MIN_SIDE:
        return f"{pair.rainy.name} is {width}×{height}, smaller than SSIM's window of {MIN_SIDE}×{MIN_SIDE}"
    return ""
