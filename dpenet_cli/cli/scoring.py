"""Sets scored one after the other, shown as they go, and what is kept of each picture."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dpenet_cli.batch.pictures import write_error
from dpenet_cli.cli.console import one_line
from dpenet_cli.evaluation import metrics
from dpenet_cli.options import EngineOptions
from dpenet_cli.system.atomic import write_whole

if TYPE_CHECKING:
    from dpenet_cli.arrays import Pixels8
    from dpenet_cli.evaluation.benchmark import BenchmarkResult, BestAndWorst, Network, PairSet, ScoredImages
    from dpenet_cli.inference.derainer import Derainer


@dataclass(frozen=True)
class Chosen:
    """How the sets are scored."""

    weights: tuple[str, ...]
    protocol: metrics.Protocol
    engine: EngineOptions


class Keeper(Protocol):
    """Keeps something of every scored picture."""

    def __call__(self, dataset: str, method: str, example: "ScoredImages") -> None:
        """Look at one picture of a set that a method restored."""


class Galleries:
    """The worst and best pictures of every set and method, for the report."""

    shown = 2

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], BestAndWorst] = {}

    def __call__(self, dataset: str, method: str, example: "ScoredImages") -> None:
        """Consider one."""
        from dpenet_cli.evaluation.benchmark import BestAndWorst

        self.found.setdefault((dataset, method), BestAndWorst(self.shown)).add(example)


class Saver:
    """Keeps the restored pictures, losslessly, as FOLDER/SET/METHOD/NAME.png."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, dataset: str, method: str, example: "ScoredImages") -> None:
        """Store one.

        Raises:
            ImageWriteError: it cannot be stored.
        """
        from PIL import Image

        data = BytesIO()
        Image.fromarray(example.restored).save(data, "PNG")
        write_file(self.path(dataset, method, example.scored.name), data.getvalue())

    def path(self, dataset: str, method: str, name: str) -> Path:
        """Where a picture goes."""
        parts = [
            re.sub(r"[/\\:]", "-", part) for part in (dataset, method)
        ]  # a colon is Windows' for drives and streams
        return self._folder.joinpath(*parts, f"{name}.png")


def score_results(
    test_set: "PairSet", folder: Path, protocol: metrics.Protocol, keepers: Sequence[Keeper], console: Console
) -> "BenchmarkResult":
    """Score pictures that another method made."""
    from dpenet_cli.evaluation.benchmark import BenchmarkResult, score_set, short_name

    method = short_name(folder)
    scored = []
    for example in _shown(score_set(test_set, None, protocol), "scoring", len(test_set.items), console):
        scored.append(example.scored)
        for keep in keepers:
            keep(test_set.name, method, example)
    return BenchmarkResult(test_set, method, protocol, tuple(scored))


def score_weights(
    sets: "Sequence[PairSet]", chosen: Chosen, keepers: Sequence[Keeper], console: Console
) -> "tuple[list[BenchmarkResult], str]":
    """Score every set with all weights; also tells device and precision."""
    from dpenet_cli.evaluation.benchmark import BenchmarkResult, score_set

    contenders = _load(chosen)
    results = []
    for test_set in sets:
        for method, (derainer, network) in contenders.items():

            def clean(rainy: "Pixels8", derainer: "Derainer" = derainer) -> "Pixels8":
                return np.asarray(derainer(rainy), np.uint8)

            scored = []
            examples = score_set(test_set, clean, chosen.protocol)
            for example in _shown(examples, f"{method} on {test_set.name}", len(test_set.items), console):
                scored.append(example.scored)
                for keep in keepers:
                    keep(test_set.name, method, example)
            results.append(BenchmarkResult(test_set, method, chosen.protocol, tuple(scored), network))
    return results, next(derainer.description for derainer, _ in contenders.values())


def _load(chosen: Chosen) -> "dict[str, tuple[Derainer, Network]]":
    """The engines by the names they are shown under."""
    from dpenet_cli.evaluation.benchmark import network_of
    from dpenet_cli.inference.derainer import Derainer
    from dpenet_cli.network.checkpoints import load_model

    return {
        label: (Derainer.load(name, chosen.engine), network_of(load_model(name)))
        for label, name in labels(chosen.weights).items()
    }


def labels(weights: Sequence[str]) -> dict[str, str]:
    """Weights by the names they are shown under: files by their stem where that is unique, else as given."""
    names = dict.fromkeys(weights)
    stems = [Path(name).stem for name in names]
    return {stem if stems.count(stem) == 1 else name: name for name, stem in zip(names, stems, strict=True)}


def _shown(examples: "Iterator[ScoredImages]", title: str, total: int, console: Console) -> "Iterator[ScoredImages]":
    """Pass examples through, with a bar on a terminal and a line elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        if not console.is_terminal:
            console.print(f"{one_line(title)}: {total} pictures", soft_wrap=True)
        task = bar.add_task(one_line(title), total=total)
        for example in examples:
            yield example
            bar.advance(task)


def write_file(path: Path, data: bytes) -> None:
    """Store a file, its folder too.

    Raises:
        ImageWriteError: it cannot be stored.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
    except OSError as error:
        raise write_error(path, error) from error
