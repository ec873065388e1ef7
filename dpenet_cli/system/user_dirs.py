"""The folders that a user's system sets aside for a program: one for what can be fetched again, one for data.

             cache                          data
    Linux    $XDG_CACHE_HOME or ~/.cache    $XDG_DATA_HOME or ~/.local/share      freedesktop.org, Base Directory 0.8
    macOS    ~/Library/Caches               ~/Library/Application Support         Apple, File System Programming Guide
    Windows  %LOCALAPPDATA%                 %LOCALAPPDATA%                        Microsoft, Known Folders

Nothing is created here.
"""

import contextlib
import os
import sys
from pathlib import Path

from dpenet_cli.errors import OptionError


def cache_folder() -> Path:
    """Where dpenet keeps what it can fetch again.

    Raises:
        OptionError: the system names no home folder.
    """
    if sys.platform == "win32":
        return _windows() / "dpenet" / "Cache"
    if sys.platform == "darwin":
        return _home() / "Library" / "Caches" / "dpenet"
    return (_absolute("XDG_CACHE_HOME") or _home() / ".cache") / "dpenet"


def data_folder() -> Path:
    """Where dpenet looks for a user's data sets when told nothing else.

    Raises:
        OptionError: the system names no home folder.
    """
    if sys.platform == "win32":
        return _windows() / "dpenet" / "Data"
    if sys.platform == "darwin":
        return _home() / "Library" / "Application Support" / "dpenet"
    return (_absolute("XDG_DATA_HOME") or _home() / ".local" / "share") / "dpenet"


def keep_compilers_tidy() -> None:
    """Let PyTorch's compilers store things in the cache folder, and not in the system's folder for temporary files.

    It has to be called before they are imported. A user who chose otherwise, by the compilers' own variables, keeps
    that; without a home the folders stay what they are.
    """
    # 150 megabytes that would go to the folder for temporary files, whatever folder is named
    os.environ.setdefault("TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS", "0")
    with contextlib.suppress(OptionError):
        folder = cache_folder() / "compiled"
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder / "inductor"))
        os.environ.setdefault("TRITON_CACHE_DIR", str(folder / "triton"))


def _absolute(variable: str) -> Path | None:
    """A folder named by the environment; one that is relative is to be ignored, says the specification."""
    value = os.environ.get(variable, "")
    return Path(value) if value and Path(value).is_absolute() else None


def _windows() -> Path:
    return _absolute("LOCALAPPDATA") or _home() / "AppData" / "Local"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:  # neither HOME nor an entry in the user database, as in some containers
        step = "Set HOME, or XDG_CACHE_HOME and XDG_DATA_HOME, to a folder of yours."
        raise OptionError("home folder", "the system names none for this user", step) from error
