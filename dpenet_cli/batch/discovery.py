"""The files that an argument or a folder stands for. Nothing is opened, and what cannot be reached is told."""

import glob
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from dpenet_cli.errors import InputError


def named_by(text: str) -> list[Path]:
    """The paths that one argument stands for, sorted: itself, where there is such a file or folder, else a pattern's.

    Raises:
        InputError: there are none.
    """
    path = Path(text)
    if os.path.lexists(path):
        return [path]
    if not glob.has_magic(text):
        raise InputError(text, _missing(path), "Check the name, and the permissions of its folders.")
    found = [Path(match) for match in sorted(glob.glob(text, recursive=True))]  # noqa: PTH207 - takes absolute ones
    if not found:
        raise InputError(text, "no file matches this pattern", "Check the pattern, or name the folder.")
    return found


def _missing(path: Path) -> str:
    try:
        path.lstat()
    except PermissionError as error:
        return f"it cannot be reached ({error.strerror})"
    except (OSError, ValueError):  # a name that no file system can hold is a value error
        return "there is no such file or folder"
    return "it has only just appeared"


def files_below(folder: Path, skip: Path, unreadable: list[InputError]) -> Iterator[Path]:
    """Files below a folder, sorted; hidden ones left out, link loops entered once.

    Args:
        folder: where to look.
        skip: a folder that is not entered, which need not exist.
        unreadable: gets an error for each folder that cannot be read.
    """

    def tell(error: OSError) -> None:
        why = f"this folder cannot be read ({error.strerror or error})"
        unreadable.append(InputError(str(error.filename), why, "Check its permissions."))

    skipped = os.path.realpath(skip)  # which, unlike Path.resolve, stands links in a circle
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


def not_a_file(path: Path) -> InputError | None:
    """Why a path cannot be read as a file, by its kind alone; None if it is one."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return InputError(str(path), "this link leads nowhere", "Mend the link, or name the file itself.")
    except OSError as error:
        return InputError(str(path), f"it cannot be reached ({error.strerror or error})", "Check its permissions.")
    if not stat.S_ISREG(mode):
        return InputError(str(path), "this is a pipe or a device, not a file", "Use - to read from a pipe.")
    return None
