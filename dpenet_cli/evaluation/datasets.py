"""Paired sets in the layouts in circulation, and folders of clean pictures. Pairing is by name, never by position.

two folders      input/a.png + target/a.png        Restormer and others; also rainy/clean, rain/norain, lq/gt …
                 rainy_image/901_1.jpg + ground_truth/901.jpg     Rain1400: several rains on one background
norain           rainy/rain-001.png + norain-001.png, or both in one folder                 PReNet, JORDER
side by side     1.jpg holds both, each one half                                            Rain800
clean            pictures without a partner, for rain to be drawn on
"""

import hashlib
import os
import re
import stat
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from dpenet_cli.arrays import Pixels8
from dpenet_cli.errors import DatasetError
from dpenet_cli.evaluation.set_pictures import read_picture
from dpenet_cli.evaluation.side_by_side import Side, find_clean_side, halves
from dpenet_cli.images.formats import PICTURE_SUFFIXES

SUFFIXES = PICTURE_SUFFIXES | {".ppm"}
"""Files that count as pictures, in lower case."""

RAINY_FOLDERS = ("input", "rainy", "rain", "rainy_image", "lq", "rainy_images")
CLEAN_FOLDERS = ("target", "clean", "norain", "ground_truth", "gt", "groundtruth", "ground_truths")
"""Names, in lower case, of the two folders of a set, the likeliest first: for training and for benchmarks alike."""

_NAMED = 5
"""Number of files that an error names before it says how many more there are."""


class Layout(StrEnum):
    """How a set lies in its folder."""

    FOLDERS = "two folders"
    NORAIN = "norain"
    SIDE_BY_SIDE = "side by side"
    CLEAN = "clean"


class Pair(NamedTuple):
    """The files of a rainy picture and its ground truth.

    Attributes:
        name: name of the rainy file, without its suffix.
        rainy: file of the rainy picture.
        clean: file of the ground truth; the same file where both lie side by side.
        clean_side: clean half of a side-by-side picture, None for two files.
    """

    name: str
    rainy: Path
    clean: Path
    clean_side: Side | None = None

    @property
    def background(self) -> str:
        """What pairs that show the same background in one set have in common."""
        return str(self.clean)

    def load(self) -> tuple[Pixels8, Pixels8]:
        """Read the rainy picture and the clean one, both H×W×3 uint8 RGB.

        Raises:
            DatasetError: one cannot be read, or the sizes differ.
        """
        if self.clean_side is None:
            rainy, clean = read_picture(self.rainy), read_picture(self.clean)
        else:
            left, right = halves(read_picture(self.clean))
            rainy, clean = (right, left) if self.clean_side is Side.LEFT else (left, right)
        if rainy.shape != clean.shape:
            sizes = f"{rainy.shape[1]}×{rainy.shape[0]} against {clean.shape[1]}×{clean.shape[0]}"
            raise DatasetError(f"{self.rainy} and {self.clean}", f"they differ in size, {sizes}", "Check the pairing.")
        return rainy, clean


@dataclass(frozen=True)
class Dataset:
    """The content of one folder, sorted by name: pairs, or clean pictures.

    Attributes:
        folder: the set's folder, or the nearest one above its two.
        layout: how the set lies in it.
        pairs: rainy pictures with their ground truths.
        clean: pictures of a folder that holds no pairs.
        unpaired: pictures without a partner, where such are allowed.
    """

    folder: Path
    layout: Layout
    pairs: tuple[Pair, ...] = ()
    clean: tuple[Path, ...] = ()
    unpaired: tuple[Path, ...] = ()


def open_dataset(
    folder: Path,
    clean_side: Side | None = None,
    *,
    partial: bool = False,
    leave_out: Container[str] = (),
    lenient: bool = False,
) -> Dataset:
    """Find out how a set lies in its folder, and pair it.

    Args:
        folder: the set's folder.
        clean_side: clean half of side-by-side pictures. Given, the folder is taken to hold such pictures; None has
            both found out from the pictures.
        partial: whether pictures without a partner are left out and listed, instead of being an error.
        leave_out: paths of files that are passed over, as if they were not there.
        lenient: whether a folder of which no picture can be read is one of clean pictures, for whoever reads them to
            find out, instead of being an error.

    Raises:
        DatasetError: no folder, no pictures, pictures without a partner, or names that pair in two ways.
    """
    if not folder.is_dir():
        raise DatasetError(str(folder), "there is no such folder", "Give the folder of a set.")

    def wanted(place: Path) -> list[Path]:
        return [path for path in pictures_in(place) if str(path) not in leave_out]

    rainy, clean = two_folders(folder)
    pictures = wanted(folder)
    # Two folders decide, whatever else lies beside them.
    if rainy and clean:
        return _pair_by_name(folder, Layout.FOLDERS, wanted(rainy), wanted(clean), partial=partial)
    # Rain100L as PReNet has it: ground truths named norain-… in the set's folder, their partners there or in rainy/.
    norain = [path for path in pictures if path.stem.lower().startswith("norain")]
    if norain:
        rain = wanted(rainy) if rainy else [path for path in pictures if path not in set(norain)]
        return _pair_by_name(folder, Layout.NORAIN, rain, norain, partial=partial)
    if not pictures:
        some = ", ".join(path.name for path in list(_subfolders(folder).values())[:_NAMED]) or "nothing"
        why = f"no pictures lie in it, nor two folders such as input and target; it holds {some}"
        raise DatasetError(str(folder), why, "Give each set's own folder.")
    # Names tell no more: whether each picture holds a pair is seen in its pixels. What is left out keeps its place
    # among those that are looked at: the answer is the same once it is mended.
    side = clean_side or find_clean_side(pictures_in(folder), leave_out, lenient=lenient)
    if side is None:
        return Dataset(folder, Layout.CLEAN, clean=tuple(pictures))
    return Dataset(folder, Layout.SIDE_BY_SIDE, tuple(Pair(path.stem, path, path, side) for path in pictures))


def holds_set(folder: Path) -> bool:
    """Whether pictures, or two folders that pair, lie in a folder, told by names alone.

    Raises:
        OSError: the folder is not there, or not ours to read.
    """
    return holds_pictures(folder) or None not in two_folders(folder)


def holds_pictures(folder: Path) -> bool:
    """Whether pictures lie in a folder itself, told by names alone.

    Raises:
        OSError: the folder is not there, or not ours to read.
    """
    return any(path.suffix.lower() in SUFFIXES and not path.name.startswith(".") for path in folder.iterdir())


def two_folders(folder: Path) -> tuple[Path | None, Path | None]:
    """The folders of rainy pictures and of clean ones in a set's folder, told by names alone; None for one that lacks.

    Raises:
        OSError: the folder is not there, or not ours to read.
    """
    subfolders = _subfolders(folder)
    return _first(RAINY_FOLDERS, subfolders), _first(CLEAN_FOLDERS, subfolders)


def _subfolders(folder: Path) -> dict[str, Path]:
    return {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()}


def _first(names: Sequence[str], subfolders: Mapping[str, Path]) -> Path | None:
    return next((subfolders[name] for name in names if name in subfolders), None)


def pair_folders(rainy: Path, clean: Path, *, partial: bool = False) -> Dataset:
    """Pair two folders, wherever they lie.

    Args:
        rainy: folder of rainy pictures, or of a method's results.
        clean: folder of ground truths.
        partial: whether pictures without a partner are left out and listed, instead of being an error.

    Raises:
        DatasetError: as `open_dataset`.
    """
    for folder in (rainy, clean):
        if not folder.is_dir():
            raise DatasetError(str(folder), "there is no such folder", "Give a folder of pictures.")
    rainy, clean = rainy.absolute(), clean.absolute()
    folder = _common_folder(rainy, clean)
    return _pair_by_name(folder, Layout.FOLDERS, pictures_in(rainy), pictures_in(clean), partial=partial)


def below(path: Path, folder: Path) -> str:
    """A path as seen from a folder that it lies in; from elsewhere, as it is."""
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _common_folder(first: Path, second: Path) -> Path:
    try:
        return Path(os.path.commonpath([first, second]))
    except ValueError:  # two drives on Windows
        return first


def split_backgrounds(backgrounds: Iterable[str], count: int, seed: int) -> frozenset[str]:
    """Choose `count` backgrounds for validation, or all if there are fewer.

    The choice goes by a hash of the last two parts of their paths: one more picture moves no other, nor does moving
    the data.
    """

    def rank(path: str) -> bytes:
        return hashlib.sha256("/".join((str(seed), *Path(path).parts[-2:])).encode()).digest()

    return frozenset(sorted(set(backgrounds), key=lambda path: (rank(path), path))[:count])


def pictures_in(folder: Path) -> list[Path]:
    """The pictures that lie in a folder itself, sorted by name.

    Raises:
        OSError: the folder is not there, or not ours to read.
    """
    named = (p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    return sorted(p for p in named if not _is_special(p))


def _is_special(path: Path) -> bool:
    """Whether it is a folder, pipe or device, which would keep a reader waiting; a link that leads nowhere is not."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _pair_by_name(
    folder: Path, layout: Layout, rainy: Sequence[Path], clean: Sequence[Path], *, partial: bool
) -> Dataset:
    # Two ground truths of one key (a.png and a.jpg) are an error: either choice would be a guess.
    clean_by_key: dict[str, Path] = {}
    for path in clean:
        if (other := clean_by_key.setdefault(_pairing_key(path), path)) is not path:
            why = f"{other.name} and {path.name} would both be the ground truth of one name"
            raise DatasetError(str(folder), why, "Keep one of them.")
    pairs, unpaired = [], []
    for path in rainy:
        key = _pairing_key(path)
        # The whole name first, for sets whose ground truths are numbered too (901_1 + 901_1); only then without its
        # number, as Rain1400 has it: 901_1 is the first rain on background 901.
        partner = clean_by_key.get(key) or clean_by_key.get(re.sub(r"_\d+$", "", key))
        if partner is None:
            unpaired.append(path)
        else:
            pairs.append(Pair(path.stem, path, partner))
    # A ground truth that nobody asked for is told as well: it may be the partner of a picture that was renamed.
    matched = {pair.clean for pair in pairs}
    unpaired += [path for path in clean if path not in matched]
    if not pairs or (unpaired and not partial):
        names = ", ".join(below(path, folder) for path in unpaired[:_NAMED])
        more = f" and {len(unpaired) - _NAMED} more" if len(unpaired) > _NAMED else ""
        why = f"{len(unpaired)} pictures have no partner: {names}{more}" if unpaired else "it holds no pictures"
        raise DatasetError(str(folder), why, "Partners share a name (a.png and a.jpg); remove or rename the others.")
    return Dataset(folder, layout, tuple(pairs), unpaired=tuple(unpaired))


def _pairing_key(path: Path) -> str:
    """The part of a name that both pictures of a pair share: ``norain-001`` and ``rain-001`` give ``001``.

    So do ``000gt`` and ``000``, as SPA-Data has them.
    """
    stem = re.sub(r"(?<=\d)gt$", "", path.stem.lower())
    return re.sub(r"^(no)?rainy?[-_ ]?(?=.)", "", stem)
