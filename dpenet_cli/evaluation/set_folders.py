"""Where the test sets lie on this machine: roots that are searched, and folders that hold pairs."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from dpenet_cli.errors import DatasetError, OptionError
from dpenet_cli.evaluation.datasets import Dataset, holds_set, open_dataset
from dpenet_cli.evaluation.test_sets import BenchmarkSet
from dpenet_cli.system.folders import is_no_users
from dpenet_cli.system.user_dirs import data_folder

ROOT_VARIABLE = "DPENET_DATA"
"""Environment variable that names the folder of data sets."""


_TEST_FOLDERS = ("", "test", "testing", "real_test_1000")
"""Where a set's test pictures lie within its folder."""


_DEPTH = 3
"""Levels below a root that are searched for a set's folder."""


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
        below = sorted(path for path in folder.iterdir() if path.is_dir() and not is_no_users(path.name))
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
