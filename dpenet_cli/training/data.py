"""Which pictures there are to learn from, and which to validate on: read, checked, and kept apart by background."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dpenet_cli.arrays import Pixels8
from dpenet_cli.errors import DatasetError
from dpenet_cli.evaluation.datasets import Layout, Pair, Side, open_dataset, read_picture, split_backgrounds
from dpenet_cli.evaluation.leakage import BackgroundIndex
from dpenet_cli.synthesis.rain import Rain, draw_parameters, draw_rain
from dpenet_cli.training.options import PAIRS, TrainOptions

_VALIDATION_SIDE = 384
"""Longest side in pixels of a validation picture; larger ones are cut to their centre."""


class TrainingPicture(NamedTuple):
    """One picture to learn from; `rainy` is None where rain is to be drawn."""

    name: str
    background: str
    clean: Pixels8
    rainy: Pixels8 | None


class ValidationPair(NamedTuple):
    """A validation pair: H×W×3 uint8, RGB."""

    name: str
    rainy: Pixels8
    clean: Pixels8


@dataclass(frozen=True)
class DataSelection:
    """Names of what was left out, and why; stored with the run so that resuming finds the same data."""

    excluded: list[str] = field(default_factory=list)
    twins: list[str] = field(default_factory=list)
    too_small: list[str] = field(default_factory=list)


class TrainingData(NamedTuple):
    """All that a run sees."""

    examples: list[TrainingPicture]
    checks: list[ValidationPair]
    choice: DataSelection


def load_pictures(
    options: TrainOptions, earlier: DataSelection | None = None, tell: Callable[[str], None] = lambda _: None
) -> TrainingData:
    """Read the folders, leave out what must be, and set validation pictures aside.

    Args:
        options: folders, crop, number of validation backgrounds, seed.
        earlier: what an earlier call for the same options left out, to save the search.
        tell: called with what is about to be done.

    Raises:
        DatasetError: a folder that does not pair, a file that cannot be read, or nothing left to learn from.
    """
    tell("reading pictures")
    examples = _read(options.data, options.clean_side)
    too_small = [e.name for e in examples if min(e.clean.shape[:2]) < options.crop]
    examples = _without(examples, too_small)
    excluded = earlier.excluded if earlier is not None else []
    if earlier is None and options.exclude:
        tell("searching for backgrounds of the test sets")
        excluded = _sharing(examples, _read(options.exclude, options.clean_side))
    examples = _without(examples, excluded)
    aside = _validation_backgrounds(examples, options)
    kept_aside = [e for e in examples if e.background in aside]
    examples = [e for e in examples if e.background not in aside]
    twins = earlier.twins if earlier is not None else []
    if earlier is None and kept_aside:
        tell("searching for backgrounds of the validation pictures")
        twins = _sharing(examples, kept_aside)
    examples = _without(examples, twins)
    if not examples:
        why = f"nothing is left: {len(too_small)} too small for a crop, {len(excluded)} excluded"
        raise DatasetError(", ".join(options.data), why, "Add data, or choose a smaller --crop or --validation.")
    return TrainingData(examples, _checks(kept_aside, options), DataSelection(excluded, twins, too_small))


def _read(folders: Sequence[str], clean_side: str | None) -> list[TrainingPicture]:
    sources: list[Pair | Path] = []
    for folder in folders:
        dataset = open_dataset(Path(folder))
        if clean_side and dataset.layout is Layout.SIDE_BY_SIDE:
            dataset = open_dataset(Path(folder), Side(clean_side))
        sources += [*dataset.pairs, *dataset.clean]
    return _in_threads(_example, sources)


def _example(source: Pair | Path) -> TrainingPicture:
    if isinstance(source, Pair):
        rainy, clean = source.load()
        return TrainingPicture(str(source.rainy), source.background, clean, rainy)
    return TrainingPicture(str(source), str(source), read_picture(source), None)


def _without(examples: list[TrainingPicture], names: Sequence[str]) -> list[TrainingPicture]:
    gone = set(names)
    return [example for example in examples if example.name not in gone]


def _sharing(examples: list[TrainingPicture], others: Sequence[TrainingPicture]) -> list[str]:
    """Names of the examples whose background is one of the others'."""
    index = BackgroundIndex([other.clean for other in _one_each(others)])
    backgrounds = _one_each(examples)
    found = _in_threads(lambda example: index.find(example.clean), backgrounds)
    shared = {example.background for example, match in zip(backgrounds, found, strict=True) if match}
    return [example.name for example in examples if example.background in shared]


def _one_each(examples: Sequence[TrainingPicture]) -> list[TrainingPicture]:
    return list({example.background: example for example in examples}.values())


def _validation_backgrounds(examples: Sequence[TrainingPicture], options: TrainOptions) -> frozenset[str]:
    """Half from the pairs and half from the clean pictures, where both exist; never more than a quarter of either."""
    pairs = {e.background for e in examples if e.rainy is not None}
    clean = {e.background for e in examples} - pairs
    from_pairs = min(options.validation // (2 if clean else 1), len(pairs) // 4)
    from_clean = min(options.validation - from_pairs, len(clean) // 4)
    return split_backgrounds(pairs, from_pairs, options.seed) | split_backgrounds(clean, from_clean, options.seed)


def _checks(kept_aside: Sequence[TrainingPicture], options: TrainOptions) -> list[ValidationPair]:
    """One pair a background; rain is drawn where there is none, each wanted kind in turn, the same in every run."""
    kinds = [Rain(name) for name, weight in options.mix.items() if weight > 0 and name not in (PAIRS, Rain.DRY)]
    checks = []
    for number, example in enumerate(_one_each(kept_aside)):
        clean = _centre(example.clean)
        rainy = _centre(example.rainy) if example.rainy is not None else None
        if rainy is None:
            rainy = _rained_on(clean, kinds[number % len(kinds)] if kinds else Rain.THIN, options.seed + number)
        checks.append(ValidationPair(example.name, rainy, clean))
    return checks


def _centre(picture: Pixels8) -> Pixels8:
    height, width = picture.shape[:2]
    top, left = max(height - _VALIDATION_SIDE, 0) // 2, max(width - _VALIDATION_SIDE, 0) // 2
    return picture[top : top + _VALIDATION_SIDE, left : left + _VALIDATION_SIDE]


def _rained_on(clean: Pixels8, kind: Rain, seed: int) -> Pixels8:
    generator = torch.Generator().manual_seed(seed)
    picture = torch.from_numpy(clean.copy()).permute(2, 0, 1)[None].float() / 255.0
    rainy = draw_rain(picture, draw_parameters([kind], generator), generator)
    return (rainy[0].permute(1, 2, 0) * 255.0).round().to(torch.uint8).numpy()


def _in_threads(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Decoding and feature search release Python's lock, so threads are enough."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(function, items))
