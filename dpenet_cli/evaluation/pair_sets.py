"""Pairs to score on: a set by its name, two folders, or the demo, looked through before any work starts."""

import functools
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from dpenet_cli.arrays import Pixels8
from dpenet_cli.errors import DatasetError
from dpenet_cli.evaluation.datasets import Dataset, Layout, Pair, below, pair_folders, pictures_in
from dpenet_cli.evaluation.demo import demo_names, demo_pair
from dpenet_cli.evaluation.metrics import MIN_SIDE
from dpenet_cli.evaluation.set_folders import open_test_set
from dpenet_cli.evaluation.set_pictures import read_picture
from dpenet_cli.evaluation.test_sets import DEMO, find_test_set
from dpenet_cli.synthesis.structures import structured_picture

_NAMED = 5
"""Number of pairs that an error names of those that cannot be scored."""


class BenchmarkPair(NamedTuple):
    """One pair, from files or made on the spot.

    Attributes:
        name: name of the picture, unique in its set.
        load: gives the rainy picture and its ground truth, H×W×3 uint8 RGB each.
    """

    name: str
    load: Callable[[], tuple[Pixels8, Pixels8]]


@dataclass(frozen=True)
class PairSet:
    """Pairs to score on.

    Attributes:
        name: name of the set, or of the folders that it was made from.
        pairs: the pairs, sorted by name.
        usual_pairs: number of pairs of the complete set, None where nobody knows.
        left_out: files without a partner, or that could not be scored, and why.
        files: files that the pairs are read from.
        dry: the pictures are clean, and each is its own ground truth.
    """

    name: str
    pairs: tuple[BenchmarkPair, ...]
    usual_pairs: int | None = None
    left_out: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    dry: bool = False

    @property
    def coverage(self) -> str:
        """Such as ``100 pairs`` or ``20 of 100 pairs``, or ``12 pictures, each against itself``."""
        if self.dry:
            return f"{len(self.pairs)} pictures, each against itself"
        if self.usual_pairs is None or self.usual_pairs == len(self.pairs):
            return f"{len(self.pairs)} pairs"
        return f"{len(self.pairs)} of {self.usual_pairs} pairs"


def named_set(name: str, data_root: Path | None = None, *, partial: bool = False) -> PairSet:
    """A set by name; ``demo`` is made on the spot.

    Args:
        name: name as `test_sets.find_test_set` knows it, or ``demo``.
        data_root: folder that is searched first, see `test_sets.data_roots`.
        partial: whether pairs may be missing or be left out, instead of that being an error.

    Raises:
        DatasetError: as `test_sets.open_test_set`, and for pairs that cannot be scored unless `partial`.
    """
    if name.lower() == DEMO:
        return demo_set()
    test_set = find_test_set(name)
    dataset = open_test_set(test_set, data_root, partial=partial)
    return scorable(test_set.name, dataset, partial=partial, usual_pairs=test_set.pairs)


def folder_set(rainy: Path, clean: Path, *, partial: bool = False) -> PairSet:
    """Two folders, paired by name.

    Args:
        rainy: folder of rainy pictures, or of a method's results.
        clean: folder of ground truths.
        partial: whether files without a partner or that cannot be scored are left out, instead of being an error.

    Raises:
        DatasetError: as `datasets.pair_folders`, and for pairs that cannot be scored unless `partial`.
    """
    name = f"{short_name(rainy)} against {short_name(clean)}"
    return scorable(name, pair_folders(rainy, clean, partial=partial), partial=partial)


def dry_set(folder: Path, *, structure: bool = False, partial: bool = False) -> PairSet:
    """Clean pictures, each against itself: what a method changes where nothing is to be changed.

    Args:
        folder: of clean pictures.
        structure: draw structure on each picture first, the same every time: its seed follows from the picture's name.
        partial: whether pictures that cannot be scored are left out, instead of being an error.

    Raises:
        DatasetError: there is no such folder, it holds no pictures, or some cannot be scored unless `partial`.
    """
    if not folder.is_dir():
        raise DatasetError(str(folder), "there is no such folder", "Give a folder of clean pictures.")
    pictures = pictures_in(folder)
    if not pictures:
        raise DatasetError(str(folder), "no pictures lie in it", "Give a folder of clean pictures.")
    pairs = tuple(Pair(path.stem, path, path) for path in pictures)
    found = scorable(short_name(folder), Dataset(folder, Layout.CLEAN, pairs), partial=partial)
    own = tuple(pair._replace(load=functools.partial(_load_dry, pair, structure=structure)) for pair in found.pairs)
    name = f"{found.name} with structure" if structure else found.name
    return replace(found, name=name, pairs=own, dry=True)


def _load_dry(pair: BenchmarkPair, *, structure: bool) -> tuple[Pixels8, Pixels8]:
    picture, _ = pair.load()
    if structure:
        seed = int.from_bytes(hashlib.sha256(pair.name.encode("utf-8", "surrogateescape")).digest()[:4], "big")
        picture = structured_picture(picture, seed)
    return picture, picture


def demo_set() -> PairSet:
    """The pairs of `dpenet_cli.evaluation.demo`."""
    names = demo_names()
    return PairSet(DEMO, tuple(BenchmarkPair(name, functools.partial(demo_pair, name)) for name in names), len(names))


def short_name(folder: Path) -> str:
    """The last two parts of a path, which tell folders named input from each other."""
    return "/".join(folder.absolute().parts[-2:])


def scorable(
    name: str, dataset: Dataset, *, partial: bool, usual_pairs: int | None = None, one_size: bool = False
) -> PairSet:
    """The pairs of a dataset that can be scored.

    Every pair is read once before any work starts, so that an hour's run does not end at its last picture.

    Args:
        name: name of the set.
        dataset: its pairs.
        partial: whether pairs that cannot be scored are left out, instead of being an error.
        usual_pairs: number of pairs of the complete set, None where nobody knows.
        one_size: whether all pictures are to be of one size, as a video's frames are.

    Raises:
        DatasetError: pairs cannot be scored, and `partial` does not allow it, or there would be none left.
    """
    with ThreadPoolExecutor() as pool:  # decoding releases Python's lock
        looked = dict(zip(dataset.pairs, pool.map(_look, dataset.pairs), strict=True))
    problems = {pair: problem for pair, (_, problem) in looked.items() if problem}
    sizes = {pair: size for pair, (size, problem) in looked.items() if not problem}
    if one_size and len(set(sizes.values())) > 1:
        usual, _ = Counter(sizes.values()).most_common(1)[0]
        text = f"where others are {usual}"
        problems |= {pair: f"{pair.rainy.name} is {size} {text}" for pair, size in sizes.items() if size != usual}
    usable = [pair for pair in dataset.pairs if pair not in problems]
    if problems and (not partial or not usable):
        some = "; ".join(list(problems.values())[:_NAMED])
        why = f"{len(problems)} of {len(dataset.pairs)} pairs cannot be scored: {some}"
        raise DatasetError(str(dataset.folder), why, "Mend them, or leave them out with --allow-partial.")
    unpaired = [f"{below(path, dataset.folder)}: no partner" for path in dataset.unpaired]
    if usual_pairs is None and (unpaired or problems):
        usual_pairs = len(dataset.pairs) + len(dataset.unpaired)
    # All of them are inputs, the ones left out too: no output may replace one. A dict keeps order and names each once.
    files = dict.fromkeys(path for pair in dataset.pairs for path in (pair.rainy, pair.clean))
    files |= dict.fromkeys(dataset.unpaired)
    return PairSet(name, _named(usable), usual_pairs, (*unpaired, *problems.values()), tuple(files))


def _named(pairs: Sequence[Pair]) -> tuple[BenchmarkPair, ...]:
    """Pairs by the names of their rainy files, with suffixes where a.png and a.jpg are two pictures."""
    names = [pair.name for pair in pairs]
    unique = len(set(names)) == len(names)
    ordered = sorted(pairs, key=lambda pair: (pair.name, pair.rainy))
    return tuple(BenchmarkPair(pair.name if unique else pair.rainy.name, pair.load) for pair in ordered)


def _look(pair: Pair) -> tuple[str, str]:
    """The size of a pair's pictures, such as 640×480, and why it cannot be scored; nothing if it can."""
    try:
        shapes = [read_picture(path).shape for path in dict.fromkeys((pair.rainy, pair.clean))]
    except DatasetError as error:
        return "", f"{Path(error.what).name} {error.why.removeprefix('it ')}"
    if len(set(shapes)) > 1:
        return "", f"{pair.rainy.name} and {pair.clean.name} differ in size"
    height, width, _ = shapes[0]
    width //= 1 if pair.clean_side is None else 2
    size = f"{width}×{height}"
    if min(width, height) < MIN_SIDE:
        return size, f"{pair.rainy.name} is {size}, smaller than SSIM's window of {MIN_SIDE}×{MIN_SIDE}"
    return size, ""
