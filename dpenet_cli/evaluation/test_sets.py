"""The test sets of the field by name: how many pairs, where they are to be had, how they lie, and their traps.

Nothing is downloaded. Sources: the README files and issues of csdwren/PReNet, csdwren/RecDerain, swz30/MPRNet,
swz30/Restormer, kuijiang94/MSPFN, stevewongv/SPANet and cuiyixin555/AIDNet, and the papers that introduced the sets.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dpenet_cli.errors import DatasetError, OptionError
from dpenet_cli.evaluation.datasets import Dataset, holds_set, open_dataset
from dpenet_cli.system.user_dirs import data_folder

ROOT_VARIABLE = "DPENET_DATA"
"""Environment variable that names the folder of data sets."""

_RESTORMER = "the download of github.com/swz30/Restormer (Deraining), as input/ and target/"

_TEST_FOLDERS = ("", "test", "testing", "real_test_1000")
"""Where a set's test pictures lie within its folder."""

_DEPTH = 3
"""Levels below a root that are searched for a set's folder."""


@dataclass(frozen=True)
class BenchmarkSet:
    """One test set.

    Attributes:
        name: name of the set in dpenet.
        title: name among its users, with the paper that introduced it.
        pairs: number of pairs in the usual test set.
        folders: names that its folder goes by, in lower case without punctuation.
        source: place where it is to be had.
        layouts: layouts that it lies in, in circulation.
        traps: what makes numbers on it incomparable.
    """

    name: str
    title: str
    pairs: int
    folders: tuple[str, ...]
    source: str
    layouts: str
    traps: tuple[str, ...] = ()


_FOLDERS_OR_NORAIN = "input/1.png + target/1.png, or rainy/rain-001.png + norain-001.png"
_YANG = "Yang et al., CVPR 2017"

BENCHMARK_SETS = {
    each.name: each
    for each in (
        BenchmarkSet(
            "rain100l",
            f"Rain100L ({_YANG})",
            100,
            ("rain100l", "rain100ltest", "testrain100l"),
            _RESTORMER,
            _FOLDERS_OR_NORAIN,
            (
                "its authors replaced it later: the new version has 200 test pairs (Rain200L) and more training pairs",
                "pictures of its first training set were 200, of the new one 1800; results differ accordingly",
            ),
        ),
        BenchmarkSet(
            "rain100h",
            f"Rain100H ({_YANG})",
            100,
            ("rain100h", "rain100htest", "testrain100h"),
            _RESTORMER,
            _FOLDERS_OR_NORAIN,
            (
                "it exists with 100 and with 200 pictures; the latter is Rain200H",
                "546 of its 1800 training pictures share their backgrounds with its test set",
            ),
        ),
        BenchmarkSet(
            "rain800",
            "Rain800, also Test100 (Zhang, Sindagi, Patel, TCSVT 2020)",
            100,
            ("rain800", "test100", "rain800test", "testsyn"),
            f"github.com/hezhangsprinter/ID-CGAN, or {_RESTORMER}",
            "1.jpg with the clean half on the left, or input/1.png + target/1.png",
            (
                "Test100 as distributed for MPRNet and Restormer has 98 pairs, following MSPFN",
                "its pictures are JPEGs: blocks and noise are part of the ground truth",
            ),
        ),
        BenchmarkSet(
            "rain1400",
            "Rain1400, the test part of DDN-Data (Fu et al., CVPR 2017)",
            1400,
            ("rain1400", "ddn", "ddndata", "rain1400test", "rainyimagedataset"),
            "the page of Fu et al., 'Removing Rain from Single Images via a Deep Detail Network'",
            "rainy_image/901_1.jpg + ground_truth/901.jpg: 14 rains on each of 100 backgrounds",
            ("Test2800 is another choice of pictures from the same 14,000",),
        ),
        BenchmarkSet(
            "rain12",
            "Rain12 (Li et al., CVPR 2016)",
            12,
            ("rain12", "test12", "rain12test"),
            "the page of Li et al., 'Rain Streak Removal Using Layer Priors'",
            _FOLDERS_OR_NORAIN,
            ("it has no training set; most use weights trained on Rain100L",),
        ),
        BenchmarkSet(
            "rain200l",
            "Rain200L (Yang et al., the later version of Rain100L)",
            200,
            ("rain200l", "rainlight", "rain200ltest"),
            "the project page of Yang et al., 'Joint Rain Detection and Removal'",
            _FOLDERS_OR_NORAIN,
            ("not comparable with Rain100L",),
        ),
        BenchmarkSet(
            "rain200h",
            "Rain200H (Yang et al., the later version of Rain100H)",
            200,
            ("rain200h", "rainheavy", "rain200htest"),
            "the project page of Yang et al., 'Joint Rain Detection and Removal'",
            _FOLDERS_OR_NORAIN,
            ("not comparable with Rain100H",),
        ),
        BenchmarkSet(
            "test1200",
            "Test1200, the test part of DID-Data (Zhang, Patel, CVPR 2018)",
            1200,
            ("test1200", "rain1200", "did", "diddata"),
            f"github.com/hezhangsprinter/DID-MDN, or {_RESTORMER}",
            "1.jpg with both halves, or input/1.png + target/1.png",
        ),
        BenchmarkSet(
            "test2800",
            "Test2800 (from the 14,000 pictures of Fu et al., CVPR 2017)",
            2800,
            ("test2800", "rain2800"),
            _RESTORMER,
            "input/901_1.jpg + target/901_1.jpg",
            ("one distribution held a duplicate, 926_10(1).jpg, and so 2801 pictures",),
        ),
        BenchmarkSet(
            "spa-data",
            "SPA-Data, the test part (Wang et al., CVPR 2019): real rain",
            1000,
            ("spadata", "spa", "realtest1000"),
            "github.com/stevewongv/SPANet",
            "rain/000.png + gt/000gt.png",
            ("its ground truth is computed from video; networks trained on drawn rain barely improve on its input",),
        ),
    )
}
"""The sets that ``--dataset`` knows, by name."""

DEMO = "demo"
"""The name that stands for no set of the field but for pairs made on the spot (`dpenet_cli.evaluation.demo`)."""

ALIASES = {"test100": "rain800"}
"""Other names of the same sets."""


def find_test_set(name: str) -> BenchmarkSet:
    """Look a set up by name.

    Raises:
        DatasetError: no set has that name.
    """
    key = name.lower()
    try:
        return BENCHMARK_SETS[ALIASES.get(key, key)]
    except KeyError:
        names = ", ".join([*BENCHMARK_SETS, *ALIASES, DEMO])
        step = f"Use one of {names}; or give any pairs with --input and --target."
        raise DatasetError(f"dataset {name!r}", "no set has that name", step) from None


def data_roots(data_root: Path | None = None) -> list[Path]:
    """The folders that sets are looked for in, in order: the one given, DPENET_DATA, the user's data folder."""
    named = os.environ.get(ROOT_VARIABLE)
    roots = [*([data_root] if data_root else []), *([Path(named)] if named else [])]
    try:
        return [*roots, data_folder()]
    except OptionError:  # no home folder
        if not roots:
            raise
        return roots


def open_test_set(test_set: BenchmarkSet, data_root: Path | None = None, *, partial: bool = False) -> Dataset:
    """Find a set on this machine and pair it.

    Args:
        test_set: set to find.
        data_root: folder that is searched first, see `data_roots`.
        partial: whether pairs may be missing and pictures lack a partner, instead of both being errors.

    Raises:
        DatasetError: the set is not there (the error tells where it was looked for, where to get it and how to lay it
            out), it is there twice, or it is not complete.
    """
    roots = data_roots(data_root)
    for root in roots:
        found = list(dict.fromkeys(_folders(root, test_set)))
        if len(found) > 1:
            some = " and ".join(map(str, found[:2]))
            why = f"two folders could be it, {some}"
            raise DatasetError(test_set.name, why, "Name the folder above the one that you mean with --data-root.")
        if found:
            return _complete(test_set, open_dataset(found[0], partial=partial), partial=partial)
    looked = ", ".join(str(root) for root in roots)
    why = f"it is not on this machine; looked for a folder named {test_set.folders[0]} or so under {looked}"
    step = f"Get it from {test_set.source}; lay it out as {test_set.layouts}; "
    step += "and name the folder above with --data-root."
    raise DatasetError(test_set.title, why, step)


def _complete(test_set: BenchmarkSet, dataset: Dataset, *, partial: bool) -> Dataset:
    if not dataset.pairs:
        raise DatasetError(str(dataset.folder), "its pictures have no partners", f"Lay it out as {test_set.layouts}.")
    if len(dataset.pairs) != test_set.pairs and not partial:
        traps = "".join(f" ({trap})" for trap in test_set.traps)
        why = f"it holds {len(dataset.pairs)} pairs where {test_set.title} has {test_set.pairs}{traps}"
        raise DatasetError(str(dataset.folder), why, "Complete it, or add --allow-partial: the numbers then say so.")
    return dataset


def _folders(root: Path, test_set: BenchmarkSet) -> Iterator[Path]:
    """Folders below `root` that go by one of the set's names, or what holds the test pictures within them."""
    for folder in _walk(root, _DEPTH):
        if re.sub(r"[^a-z0-9]", "", folder.name.lower()) in test_set.folders:
            inside = [folder / name for name in _TEST_FOLDERS if (folder / name).is_dir()]
            yield inside[-1] if not _holds_pairs(folder) and len(inside) > 1 else folder


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    try:
        below = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:  # not there, or not ours to read: looked at, and empty
        return
    for path in below:
        yield path
        if depth > 1 and not _holds_pairs(path):
            yield from _walk(path, depth - 1)


def _holds_pairs(folder: Path) -> bool:
    try:
        return holds_set(folder)
    except OSError:
        return False
