"""The files that an argument or a folder stands for. Nothing is opened, and what cannot be reached is told."""

import glob
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from dpenet_cli.errors import DpenetError, InputError, StorageError
from dpenet_cli.system.storage import Place, is_there
from dpenet_cli.system.stores import StoreError, below, matching, store_error
from dpenet_cli.system.urls import StorePath


def named_by(path: Place, text: str) -> list[Place]:
    """The places that one argument stands for, sorted: itself, where there is such a file or folder, else a pattern's.

    Args:
        path: the argument as a place.
        text: as it was given.

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
    return found


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


def files_below(folder: Place, skip: Place, unreadable: list[DpenetError]) -> Iterator[Place]:
    """Files below a folder, sorted; hidden ones left out, link loops entered once.

    Args:
        folder: where to look.
        skip: a folder that is not entered, which need not exist.
        unreadable: gets an error for each folder that cannot be read, and each object that no path can name.

    Raises:
        StorageError: its store does not answer.
    """
    return _on_disk(folder, skip, unreadable) if isinstance(folder, Path) else _in_store(folder, skip, unreadable)


def _in_store(folder: StorePath, skip: Place, unreadable: list[DpenetError]) -> Iterator[StorePath]:
    depth = len(folder.parts)
    inside = skip.parts[depth:] if isinstance(skip, StorePath) and skip.is_relative_to(folder) else ()
    found: list[tuple[tuple[tuple[bool, str], ...], StorePath]] = []
    try:
        for path in below(folder):
            if isinstance(path, str):
                why = "a part of its name is empty, a dot, or none that a file can have"
                unreadable.append(InputError(path, why, "Copy it to another name."))
                continue
            parts = path.parts[depth:]
            if any(part.startswith(".") for part in parts) or (inside and parts[: len(inside)] == inside):
                continue
            found.append((tuple((at < len(parts), part) for at, part in enumerate(parts, 1)), path))
    except StoreError as error:
        if isinstance(told := store_error(folder, error), StorageError):
            raise told from error
        unreadable.append(told)
    yield from (path for _, path in sorted(found, key=lambda pair: pair[0]))  # in the order of folders on a disk


def _on_disk(folder: Path, skip: Place, unreadable: list[DpenetError]) -> Iterator[Path]:
    def tell(error: OSError) -> None:
        why = f"this folder cannot be read ({error.strerror or error})"
        unreadable.append(InputError(str(error.filename), why, "Check its permissions."))

    # Unlike Path.resolve, realpath stands links in a circle.
    skipped = os.path.realpath(skip) if isinstance(skip, Path) else None
    entered: set[str] = set()
    for here, folders, files in os.walk(folder, onerror=tell, followlinks=True):
        identity = os.path.realpath(here)
        if identity in entered:
            folders.clear()
            continue
        entered.add(identity)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and os.path.realpath(Path(here) / name) != skipped
        )
        yield from (Path(here) / name for name in sorted(files) if not name.startswith("."))


def not_a_file(path: Place) -> InputError | None:
    """Why a path cannot be read as a file, by its kind alone; None if it is one. Objects were listed as such."""
    if isinstance(path, StorePath):
        return None
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return InputError(str(path), "this link leads nowhere", "Mend the link, or name the file itself.")
    except OSError as error:
        return InputError(str(path), f"it cannot be reached ({error.strerror or error})", "Check its permissions.")
    if not stat.S_ISREG(mode):
        return InputError(str(path), "this is a pipe or a device, not a file", "Use - to read from a pipe.")
    return None
