"""Files that appear whole or not at all."""

import contextlib
import os
import secrets
import time
from pathlib import Path

TEMPORARY_PREFIX = ".dpenet-"
TEMPORARY_SUFFIX = ".part"

_LEFTOVER_SECONDS = 3600
"""Age at which a temporary file belongs to nobody: writing one takes seconds."""


def write_whole(path: Path, data: bytes) -> None:
    """Store `data` as `path`: written beside it under a short hidden name, flushed to the disk, then renamed.

    An existing file is replaced in the same instant. Whatever goes wrong, an interrupt included, the temporary file is
    removed and `path` is what it was before. While being written the file is readable by its owner alone.

    Raises:
        OSError: as the system reports it (no space, no permission, folder gone).
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}{TEMPORARY_SUFFIX}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(OSError):  # some network and FUSE file systems have no mode bits to set
            temporary.chmod(0o666 & ~_UMASK)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to report
            temporary.unlink()
        raise


def _read_umask() -> int:
    # The umask can only be read by setting it, which is not safe once threads create files: so once, at import.
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


_UMASK = _read_umask()


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files that a killed run left in a folder; those of a run that may still be going on stay."""
    long_ago = time.time() - _LEFTOVER_SECONDS
    with contextlib.suppress(OSError):  # a tidy folder is welcome, not required
        for path in folder.glob(f"{TEMPORARY_PREFIX}*{TEMPORARY_SUFFIX}"):
            if path.stat().st_mtime < long_ago:
                path.unlink()
