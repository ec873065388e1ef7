"""Where a file lies: on this machine, or in a store. What is asked of either, by one name.

Files of this machine are `Path`s and take the system's own ways. Nothing else decides by where a file lies.
"""

import io
import os
import stat
import time
from pathlib import Path

from dpenet_cli.errors import InputError, OptionError
from dpenet_cli.system import atomic
from dpenet_cli.system.stores import fetch, look, put
from dpenet_cli.system.urls import ABSENT, State, StorePath, is_url, key_too_long, store_path

Place = Path | StorePath
"""Where a file lies."""


def place(text: str) -> Place:
    """What a text names: a path, or the URL of an object.

    Raises:
        OptionError: it is a URL that is not understood, or that needs a package that is not installed.
    """
    return store_path(text) or Path(text)


def on_this_machine(text: str, what: str) -> Path:
    """A path that may be no URL.

    Args:
        text: the path.
        what: what is there, with a verb, for the error: "reports are".

    Raises:
        OptionError: it is one.
    """
    if is_url(text):
        raise OptionError(text, f"{what} on this machine", "Name a path instead of a URL.")
    return Path(text)


def local(path: Place) -> Path:
    """A place that is known to be on this machine."""
    if not isinstance(path, Path):
        raise TypeError(f"{path} is not on this machine")
    return path


def whole_name(text: str) -> str:
    """A path from the root, whose links are not followed; a URL is one already."""
    return text if is_url(text) else os.path.abspath(text)  # noqa: PTH100


def is_folder(path: Place) -> bool:
    """Whether there is a folder, or objects below a prefix; false, not an error, for impossible names.

    Raises:
        StoreError: its store does not say.
    """
    if isinstance(path, Path):
        return os.path.isdir(path)  # noqa: PTH112 - false where permission is missing
    look(path)
    return path.is_prefix


def is_there(path: Place) -> bool:
    """Whether something has this name already, if only a link that leads nowhere.

    Raises:
        StoreError: its store does not say.
    """
    if isinstance(path, Path):
        return os.path.lexists(path)
    look(path)
    return path.seen != ABSENT


def is_no_file(path: Place) -> bool:
    """Whether a folder, a pipe or a device has this name; false, not an error, for impossible names.

    Raises:
        StoreError: its store does not say.
    """
    if isinstance(path, Path):
        return os.path.exists(path) and not os.path.isfile(path)  # noqa: PTH110, PTH113
    return is_folder(path)


def state(path: Place) -> State:
    """What tells a file from what it was; of an object, what its store said of it first.

    Raises:
        OSError: it is not there, or cannot be seen.
    """
    if isinstance(path, Path):
        status = path.stat()
        return State(status.st_size, status.st_mtime_ns)
    look(path)
    if path.seen is None or path.seen == ABSENT:
        raise FileNotFoundError(2, "there is no such object", str(path))
    return path.seen


def is_file(path: Place) -> bool:
    """Whether there is a file.

    Raises:
        OSError: that cannot be seen.
    """
    if isinstance(path, Path):
        return path.is_file()
    look(path)
    return path.seen not in (None, ABSENT)


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


def identity(source: Place, target: Place, seen: State) -> str:
    """What a result was made from, where dates are of two clocks: one of them is in a store. Else nothing."""
    return "" if isinstance(source, Path) and isinstance(target, Path) else seen.tag


def opened(path: Place) -> io.BufferedIOBase:
    """A file to read from; an object is fetched whole.

    Raises:
        OSError: it cannot be read.
    """
    return path.open("rb") if isinstance(path, Path) else io.BytesIO(fetch(path))


def read_bytes(path: Place) -> bytes:
    """All of a file.

    Raises:
        OSError: it cannot be read.
    """
    return path.read_bytes() if isinstance(path, Path) else fetch(path)


def make_folder(folder: Place) -> None:
    """Make a folder and those above it, if they are not there; stores need none.

    Raises:
        OSError: as the system reports it.
    """
    if isinstance(folder, Path):
        folder.mkdir(parents=True, exist_ok=True)


def write_whole(path: Place, data: bytes) -> None:
    """Store a file that is there whole then, or what it was before.

    Raises:
        OSError: as the system or the store reports it.
    """
    if isinstance(path, Path):
        atomic.write_whole(path, data)
    else:
        put(path, data)


def date_to_be(path: Place, source_changed: int) -> int:
    """About which date a file will have that is written now, in nanoseconds; a store dates by its own clock."""
    now = time.time_ns()
    return max(now, source_changed) if isinstance(path, Path) else now


def date_no_earlier(path: Place, changed: int) -> None:
    """Date an output no earlier than its source, as `atomic.date_no_earlier` does; objects cannot be dated.

    Raises:
        OSError: as the system reports it.
    """
    if isinstance(path, Path):
        atomic.date_no_earlier(path, changed)


def date(path: Place, changed: int) -> None:
    """Date a file, in nanoseconds; objects cannot be dated.

    Raises:
        OSError: as the system reports it.
    """
    if isinstance(path, Path):
        os.utime(path, ns=(changed, changed))


def name_too_long(path: Place) -> bool:
    """Whether a name on the way to a file is longer than its disk or its store takes."""
    return atomic.name_too_long(path) if isinstance(path, Path) else key_too_long(path)


def unwritable(folder: Place) -> str | None:
    """Why no file can be written to a folder, as far as can be told without writing; of a store, nothing can."""
    return atomic.unwritable(folder) if isinstance(folder, Path) else None


def remove_leftovers(folder: Place) -> None:
    """Remove what a killed run left in a folder; an object that was not stored whole was never there."""
    if isinstance(folder, Path):
        atomic.remove_leftovers(folder)
