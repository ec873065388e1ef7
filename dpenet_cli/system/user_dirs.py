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
from collections.abc import Callable
from pathlib import Path

import platformdirs

from dpenet_cli.errors import OptionError

_NAME = "dpenet"


def cache_folder() -> Path:
    """Where dpenet keeps what it can fetch again.

    Raises:
        OptionError: the system names no home folder.
    """
    return _folder(platformdirs.user_cache_path, on_macos="Library/Caches", on_windows="Cache")


def data_folder() -> Path:
    """Where dpenet looks for a user's data sets when told nothing else.

    Raises:
        OptionError: the system names no home folder.
    """
    return _folder(platformdirs.user_data_path, on_macos="Library/Application Support", on_windows="Data")


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


def _folder(of_the_system: Callable[..., Path], *, on_macos: str, on_windows: str) -> Path:
    """Dpenet's own folder of a kind, where version 0.1.0 had it.

    Args:
        of_the_system: platformdirs' function for the kind.
        on_macos: the folder around dpenet's own, below the home folder.
        on_windows: the name of the folder within dpenet's own.
    """
    try:
        if sys.platform == "darwin":  # where platformdirs goes by XDG_CACHE_HOME and XDG_DATA_HOME, too
            return Path.home() / on_macos / _NAME
        if sys.platform == "win32":  # where platformdirs does not go by LOCALAPPDATA, and has data around the cache
            local = Path(os.environ.get("LOCALAPPDATA", ""))
            own = local / _NAME if local.is_absolute() else platformdirs.user_data_path(_NAME, appauthor=False)
            return own / on_windows
        return of_the_system(_NAME, appauthor=False)
    except RuntimeError as error:  # neither HOME nor an entry in the user database, as in some containers
        step = "Set HOME, or XDG_CACHE_HOME and XDG_DATA_HOME, to a folder of yours."
        raise OptionError("home folder", "the system names none for this user", step) from error
