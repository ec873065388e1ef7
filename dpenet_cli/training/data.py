"""Which pictures there are to learn from, and which to validate on: read, and told apart by background."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from dpenet_cli.arrays import Pixels8
from dpenet_cli.errors import DatasetError
from dpenet_cli.evaluation.datasets import split_backgrounds
from dpenet_cli.evaluation.leakage import BackgroundIndex
from dpenet_cli.synthesis.parameters import Rain, draw_parameters
from dpenet_cli.synthesis.rain import draw_rain
from dpenet_cli.synthesis.structures import structured_picture
from dpenet_cli.training.options import PAIRS, TrainOptions
from dpenet_cli.training.reading import read_all
from dpenet_cli.training.sources import BadFiles, TrainingPicture, in_threads, one_per_background

_VALIDATION_SIDE = 384
"""Longest side in pixels of a validation picture; larger ones are cut to their centre."""


_DRY = 8
"""Validation pictures that are scored dry, and with structure: these scores vary less, and each picture takes time."""


class ValidationPair(NamedTuple):
    """A validation pair: H×W×3 uint8, RGB."""

    name: str
    rainy: Pixels8
    clean: Pixels8


@dataclass(frozen=True)
class DataSelection:
    """Names of what was left out, and why; stored with the run so that resuming finds the same data.

    Attributes:
        excluded: pictures that share a background with a test folder.
        twins: pictures that share a background with a validation picture.
        too_small: pictures that are smaller than a crop.
        bad: files that will not do, and why.
        partners: what goes with one of them, and with which.
    """

    excluded: list[str] = field(default_factory=list)
    twins: list[str] = field(default_factory=list)
    too_small: list[str] = field(default_factory=list)
    bad: dict[str, str] = field(default_factory=dict)
    partners: dict[str, str] = field(default_factory=dict)


class ValidationSet(NamedTuple):
    """What weights are scored on.

    Attributes:
        rainy: rainy pictures and their ground truths.
        dry: some of their ground truths, each with itself.
        structured: the same with structures drawn on them, each with itself.
    """

    rainy: list[ValidationPair]
    dry: list[ValidationPair]
    structured: list[ValidationPair]


class TrainingData(NamedTuple):
    """All that a run sees.

    Attributes:
        pictures: to learn from.
        validation: what weights are scored on.
        selection: what was left out.
        packed: row of pixels that all pictures are views of, N×3 uint8, or None if each has its own.
        layers: rendered streak layers, L×h×w uint8, or None.
    """

    pictures: list[TrainingPicture]
    validation: ValidationSet
    selection: DataSelection
    packed: Tensor | None = None
    layers: Tensor | None = None


def load_data(
    options: TrainOptions,
    earlier: DataSelection | None = None,
    report: Callable[[str], None] = lambda _: None,
    pack: Path | None = None,
) -> TrainingData:
    """Read the folders, leave out what must be, and set validation pictures aside.

    Args:
        options: folders, crop, number of validation backgrounds, seed.
        earlier: what an earlier call for the same options left out, to save the search.
        report: called with what is about to be done.
        pack: file that keeps the decoded pictures; it is made if it is not there. None takes the options' own.

    Raises:
        BadFilesError: files that cannot be read, unless the options leave them out.
        DatasetError: a folder that does not pair, or nothing left to learn from.
    """
    report("reading pictures")
    pack = pack or (Path(options.pack) if options.pack is not None else None)
    known = BadFiles(earlier.bad, earlier.partners) if earlier is not None else None
    pictures, packed, layers, tests, bad = read_all(options, known, pack)
    smallest = min(stage.side for stage in options.stages)
    too_small = [p.name for p in pictures if min(p.clean.shape[:2]) < smallest]
    pictures = _without(pictures, too_small)

    # Nothing that a test set shows is learnt from, or validated on.
    excluded = earlier.excluded if earlier is not None else []
    if earlier is None and options.exclude:
        report("searching for backgrounds of the test sets")
        excluded = _sharing_background(pictures, tests)
    pictures = _without(pictures, excluded)

    # Validation takes whole backgrounds. The same one can also lie there under another name, so it is searched for.
    set_aside = _validation_backgrounds(pictures, options)
    validation = [p for p in pictures if p.background in set_aside]
    pictures = [p for p in pictures if p.background not in set_aside]
    twins = earlier.twins if earlier is not None else []
    if earlier is None and validation:
        report("searching for backgrounds of the validation pictures")
        twins = _sharing_background(pictures, [other.clean for other in one_per_background(validation)])
    pictures = _without(pictures, twins)

    if not pictures:
        why = f"nothing is left: {len(too_small)} too small for a crop, {len(excluded)} excluded"
        why += f", {len(bad.files)} that cannot be learnt from" if bad.files else ""
        raise DatasetError(", ".join(options.data), why, "Add data, or choose a smaller --crop or --validation.")
    selection = DataSelection(excluded, twins, too_small, dict(bad.files), dict(bad.partners))
    return TrainingData(pictures, _validation_set(validation, options), selection, packed, layers)


def fingerprint(pictures: Sequence[TrainingPicture], layers: Tensor | None = None) -> str:
    """Names and sizes of all pictures, and what the streak layers show, hashed (SHA-256, hexadecimal).

    Args:
        pictures: to learn from.
        layers: L×h×w uint8, or None.
    """
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(f"{picture.name} {picture.clean.shape} {picture.rainy is None}\n".encode())
    if layers is not None:
        digest.update(f"layers {tuple(layers.shape)}\n".encode())
        digest.update(layers.contiguous().numpy().data)
    return digest.hexdigest()


def _without(pictures: list[TrainingPicture], names: Sequence[str]) -> list[TrainingPicture]:
    left_out = set(names)
    return [picture for picture in pictures if picture.name not in left_out]


def _sharing_background(pictures: list[TrainingPicture], others: Sequence[Pixels8]) -> list[str]:
    """Names of the pictures whose background is one of the others', H×W×3 each."""
    index = BackgroundIndex(list(others))
    backgrounds = one_per_background(pictures)
    found = in_threads(lambda picture: index.find(picture.clean), backgrounds)
    shared = {picture.background for picture, match in zip(backgrounds, found, strict=True) if match}
    return [picture.name for picture in pictures if picture.background in shared]


def _validation_backgrounds(pictures: Sequence[TrainingPicture], options: TrainOptions) -> frozenset[str]:
    """Half from the pairs and half from the clean pictures, where both exist; never more than a quarter of either."""
    pairs = {p.background for p in pictures if p.rainy is not None}
    clean = {p.background for p in pictures} - pairs
    from_pairs = min(options.validation // (2 if clean else 1), len(pairs) // 4)
    from_clean = min(options.validation - from_pairs, len(clean) // 4)
    return split_backgrounds(pairs, from_pairs, options.seed) | split_backgrounds(clean, from_clean, options.seed)


def _validation_set(pictures: Sequence[TrainingPicture], options: TrainOptions) -> ValidationSet:
    rainy = _validation_pairs(pictures, options)
    if not options.dry_weight:
        return ValidationSet(rainy, [], [])
    dry = [ValidationPair(name, clean, clean) for name, _, clean in rainy[:: max(len(rainy) // _DRY, 1)][:_DRY]]
    drawn = [structured_picture(pair.clean, options.seed + number) for number, pair in enumerate(dry)]
    structured = [ValidationPair(pair.name, picture, picture) for pair, picture in zip(dry, drawn, strict=True)]
    return ValidationSet(rainy, dry, structured)


def _validation_pairs(pictures: Sequence[TrainingPicture], options: TrainOptions) -> list[ValidationPair]:
    """One pair a background; rain is drawn where there is none, each wanted kind in turn, the same in every run."""
    kinds = [Rain(name) for name, weight in options.mix.items() if weight > 0 and name not in (PAIRS, Rain.DRY)]
    pairs = []
    for number, picture in enumerate(one_per_background(pictures)):
        clean = _centre(picture.clean)
        if picture.rainy is not None:
            rainy = _centre(picture.rainy)
        else:
            rainy = _with_rain(clean, kinds[number % len(kinds)] if kinds else Rain.THIN, options.seed + number)
        pairs.append(ValidationPair(picture.name, rainy, clean))
    return pairs


def _centre(picture: Pixels8) -> Pixels8:
    height, width = picture.shape[:2]
    top, left = max(height - _VALIDATION_SIDE, 0) // 2, max(width - _VALIDATION_SIDE, 0) // 2
    return picture[top : top + _VALIDATION_SIDE, left : left + _VALIDATION_SIDE]


def _with_rain(clean: Pixels8, kind: Rain, seed: int) -> Pixels8:
    generator = torch.Generator().manual_seed(seed)
    picture = torch.from_numpy(clean.copy()).permute(2, 0, 1)[None].float() / 255.0  # 1×3×H×W
    rainy = draw_rain(picture, draw_parameters([kind], generator), generator)
    return (rainy[0].permute(1, 2, 0) * 255.0).round().to(torch.uint8).numpy()
