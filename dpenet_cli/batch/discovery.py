"""The files that an argument or a folder stands for. Nothing is opened, and what cannot be reached is told."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from dpenet_cli.batch.naming import Beside
from dpenet_cli.batch.sieve import Sieve
from dpenet_cli.errors import DpenetError, InputError, StorageError
from dpenet_cli.system.storage import Place, is_folder, is_there
from dpenet_cli.system.stores import StoreError, below, matching, store_error
from dpenet_cli.system.urls import StorePath


def named_by(path: Place, text: str, sieve: Sieve) -> list[Place]:
    """The places that one argument stands for, sorted: itself, where there is such a file or folder, else a pattern's.

    Args:
        path: the argument as a place.
        text: as it was given.
        sieve: keeps back what a pattern finds and is no input.

    Raises:
        InputError: there are none.
        StorageError: its store does not answer.
    """
    try:
        if is_there(path):
            return [path]
        if not glob.has_magic(text):
            raise _missing(path, text)
        found = _matches(path, text)
    except StoreError as error:
        raise store_error(path, error) from error
    if not found:
        raise InputError(text, "no file matches this pattern", "Check the pattern, or name the folder.")
    kept = list(_sifted(found, text, sieve))
    if not kept:
        why = "all that matches this pattern was left out"
        raise InputError(text, f"{why} ({'; '.join([*sieve.notices(), *sieve.excluded.notices()])})", "Name a file.")
    return kept


def _sifted(found: Sequence[Place], text: str, sieve: Sieve) -> Iterator[Place]:
    """What matches a pattern and is an input, or a folder of them."""
    said = next(at for at, part in enumerate(Path(text).parts) if glob.has_magic(part))
    beside: dict[Place, tuple[Beside, Beside]] = {}
    for path in found:
        relative = "/".join(path.parts[said:])
        if path.parent not in beside:
            beside[path.parent] = _beside(path.parent, found)
        folders, files = beside[path.parent]
        if not sieve.below(path, relative):
            continue
        if sieve.folder(path, relative, folders) if is_folder(path) else sieve.file(path, relative, files):
            yield path


def _beside(folder: Place, found: Sequence[Place]) -> tuple[Beside, Beside]:
    """The folders and the files of a folder; in a store, of those that were found."""
    if isinstance(folder, Path):
        with os.scandir(folder) as entries:
            kinds = [(entry.is_dir(), entry.name) for entry in entries]
    else:
        kinds = [(is_folder(path), path.name) for path in found if path.parent == folder]
    folders, files = ([name for is_one, name in kinds if is_one is of] for of in (True, False))
    return Beside(folders), Beside(files)


def _matches(path: Place, text: str) -> list[Place]:
    if isinstance(path, StorePath):
        return list(matching(path))
    return [Path(match) for match in sorted(glob.glob(text, recursive=True))]  # noqa: PTH207 - takes absolute ones


def _missing(path: Place, text: str) -> InputError:
    if isinstance(path, StorePath):
        return InputError(text, "there is no such object, and none below it", "Check the name.")
    why = "it has only just appeared"
    try:
        path.lstat()
    except PermissionError as error:
        why = f"it cannot be reached ({error.strerror})"
    except (OSError, ValueError):  # a name that no file system can hold is a value error
        why = "there is no such file or folder"
    return InputError(text, why, "Check the name, and the permissions of its folders.")


def files_below(folder: Place, skip: Sequence[Place], unreadable: list[DpenetError], sieve: Sieve) -> Iterator[Place]:
    """Files below a folder, sorted; hidden ones left out, link loops entered once.

    Args:
        folder: where to look.
        skip: folders that are not entered, which need not exist.
        unreadable: gets an error for each folder that cannot be read, and each object that no path can name.
        sieve: keeps back what is no input.

    Raises:
        StorageError: its store does not answer.
    """
    if isinstance(folder, Path):
        return _on_disk(folder, skip, unreadable, sieve)
    return _in_store(folder, skip, unreadable, sieve)


def _in_store(
    folder: StorePath, skip: Sequence[Place], unreadable: list[DpenetError], sieve: Sieve
) -> Iterator[StorePath]:
    depth = len(folder.parts)
    skipped = {path.parts for path in skip if isinstance(path, StorePath)}
    found: list[tuple[tuple[tuple[bool, str], ...], StorePath]] = []
    names: dict[tuple[str, ...], list[str]] = {}
    try:
        for path in below(folder):
            if isinstance(path, str):
                why = "a part of its name is empty, a dot, or none that a file can have"
                unreadable.append(InputError(path, why, "Copy it to another name."))
                continue
            parts = path.parts[depth:]
            inside = any(path.parts[:end] in skipped for end in range(depth, len(path.parts)))
            if inside or any(part.startswith(".") for part in parts) or not sieve.below(path, "/".join(parts)):
                continue
            names.setdefault(parts[:-1], []).append(parts[-1])
            found.append((tuple((at < len(parts), part) for at, part in enumerate(parts, 1)), path))
    except StoreError as error:
        if isinstance(told := store_error(folder, error), StorageError):
            raise told from error
        unreadable.append(told)
    beside = {parts: Beside(of_one) for parts, of_one in names.items()}
    for _, path in sorted(found, key=lambda pair: pair[0]):  # in the order of folders on a disk
        parts = path.parts[depth:]
        if sieve.file(path, "/".join(parts), beside[parts[:-1]]):
            yield path


def _on_disk(folder: Path, skip: Sequence[Place], unreadable: list[DpenetError], sieve: Sieve) -> Iterator[Path]:
    def tell(error: OSError) -> None:
        why = f"this folder cannot be read ({error.strerror or error})"
        unreadable.append(InputError(str(error.filename), why, "Check its permissions."))

    # Unlike Path.resolve, realpath stands links in a circle.
    skipped = {os.path.realpath(path) for path in skip if isinstance(path, Path)}
    entered: set[str] = set()
    for place, folders, files in os.walk(folder, onerror=tell, followlinks=True):
        here = Path(place)
        identity = os.path.realpath(here)
        if identity in entered:
            folders.clear()
            continue
        entered.add(identity)
        way = "".join(f"{part}/" for part in here.relative_to(folder).parts)
        beside = Beside(tuple(folders))
        folders[:] = [
            name
            for name in sorted(folders)
            if not name.startswith(".")
            and os.path.realpath(here / name) not in skipped
            and sieve.folder(here / name, way + name, beside)
        ]
        beside = Beside(files)
        for name in sorted(files):
            if not name.startswith(".") and sieve.file(here / name, way + name, beside):
                yield here / name
