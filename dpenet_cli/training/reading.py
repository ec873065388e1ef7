"""All that a run reads before its first step: pictures or a pack of them, test folders, streak layers."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dpenet_cli.arrays import Pixels8
from dpenet_cli.errors import DatasetError
from dpenet_cli.evaluation.datasets import pictures_in
from dpenet_cli.training.options import TrainOptions
from dpenet_cli.training.pack import Pack, PackedPicture, left_out_of, open_pack, sources_key, write_pack
from dpenet_cli.training.sources import (
    BadFiles,
    Source,
    TrainingPicture,
    files_of,
    find_sources,
    one_per_background,
    read_backgrounds,
    read_plain,
    read_sources,
    refuse,
)


class Reading(NamedTuple):
    """All that was read.

    Attributes:
        pictures: to learn from.
        packed: row of pixels that all of them are views of, N×3 uint8, or None if each has its own.
        layers: rendered streak layers, L×h×w uint8, or None.
        tests: backgrounds of the test folders, H×W×3 uint8; none where they were searched for when the run began.
        bad: files that are left out.
    """

    pictures: list[TrainingPicture]
    packed: Tensor | None
    layers: Tensor | None
    tests: list[Pixels8]
    bad: BadFiles


def read_all(options: TrainOptions, known: BadFiles | None, pack: Path | None) -> Reading:
    """Read every file that a run needs, and only then complain of those that will not do.

    Args:
        options: folders, and whether bad files are left out.
        known: files that were left out when the run began, whatever they are now; None for a run that begins.
        pack: file that keeps the decoded pictures; it is made if it is not there. None keeps them in memory.

    Raises:
        BadFilesError: files that cannot be read, unless the options leave them out.
        DatasetError: a folder that is not there, holds no pictures, or does not pair; a pack of other pictures.
    """
    begun, known = known is not None, known or BadFiles()
    # The folders first: a wrong one is known at once.
    layer_files = _layer_files(Path(options.layers), known) if options.layers else []
    sources = find_sources(options.data, options.clean_side, known)
    test_sources = [] if begun else find_sources(options.exclude, options.clean_side, known)

    layers, bad_layers = read_plain(layer_files)
    tests, bad_tests = read_backgrounds(test_sources)
    if pack is None or not pack.exists():
        pictures, bad = read_sources(sources)
    else:  # it knows which were bad when it was made
        pictures, bad = [], BadFiles(*left_out_of(pack)) if not begun else BadFiles()
    every = bad_layers | bad_tests | bad
    if every.files and (begun or not options.skip_bad):
        folders = (*options.data, *options.exclude, *([options.layers] if options.layers else []))
        raise refuse(every, folders, resumed=begun)

    packed = None
    if pack is not None:
        good = [s for s in sources if not any(str(file) in bad.files for file in files_of([s]))]
        pictures, packed = _packed(pack, pictures, good, bad, f"clean side {options.clean_side}")
    return Reading(pictures, packed, _stacked(layers, options.layers), tests, known | every)


def _layer_files(folder: Path, known: BadFiles) -> list[Path]:
    step = "Give the folder of rendered streak layers."
    if not folder.is_dir():
        raise DatasetError(str(folder), "there is no such folder", step)
    files = [path for path in pictures_in(folder) if str(path) not in known.files]
    if not files:
        raise DatasetError(str(folder), "it holds no pictures", step)
    return files


def _stacked(layers: Sequence[Pixels8], folder: str | None) -> Tensor | None:
    """Rendered streak layers, L×h×w uint8, grey, cut to the size that all of them have; None without a folder."""
    if folder is None:
        return None
    if not layers:
        raise DatasetError(folder, "none of its pictures can be read", "Give the folder of rendered streak layers.")
    grey = [layer.mean(axis=2).round().astype(np.uint8) for layer in layers]
    height, width = (min(layer.shape[axis] for layer in grey) for axis in (0, 1))
    return torch.from_numpy(np.stack([layer[:height, :width] for layer in grey]))


def _packed(
    path: Path, pictures: Sequence[TrainingPicture], sources: Sequence[Source], bad: BadFiles, settings: str
) -> tuple[list[TrainingPicture], Tensor]:
    """The pictures as views of a pack, which is made of them if it is not there."""
    key = sources_key(files_of(sources), settings)
    if not path.exists():
        clean = [PackedPicture(f"clean {p.background}", p.clean) for p in one_per_background(pictures)]
        rainy = [PackedPicture(f"rainy {p.name}", p.rainy) for p in pictures if p.rainy is not None]
        write_pack(path, [*clean, *rainy], key, (bad.files, bad.partners))
    pack = open_pack(path, key)
    return [_find_in_pack(source, pack) for source in sources], pack.row


def _find_in_pack(source: Source, pack: Pack) -> TrainingPicture:
    if isinstance(source, Path):
        return TrainingPicture(str(source), str(source), pack.pictures[f"clean {source}"], None)
    clean, rainy = pack.pictures[f"clean {source.background}"], pack.pictures[f"rainy {source.rainy}"]
    return TrainingPicture(str(source.rainy), source.background, clean, rainy)
