"""Files that appear whole or not at all."""

import contextlib
import os
import secrets
import stat
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, BinaryIO

TEMPORARY_PREFIX = ".dpenet-"
TEMPORARY_SUFFIX = ".part"

_LEFTOVER_SECONDS = 3600
"""Age at which a temporary file belongs to nobody where files cannot be locked: writing one takes seconds."""


def write_whole(path: Path, data: bytes) -> None:
    """Store `data` as `path`: written beside it under a short hidden name, flushed to the disk, then renamed.

    An existing file is replaced in the same instant. Whatever goes wrong, an interrupt included, the temporary file is
    removed and `path` is what it was before. While being written the file is readable by its owner alone; then it may
    be read by whom the replaced file might be read, or by whom the umask says.

    Raises:
        OSError: as the system reports it (no space, no permission, folder gone).
    """
    write_parts(path, (data,))


def write_parts(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Store parts one after the other as `path`, as `write_whole` does: for what would be large in one piece.

    Raises:
        OSError: as the system reports it.
    """
    temporary, file = _new_temporary(path)
    try:
        with file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
            take_over_mode(temporary, path)
            if sys.platform == "win32":
                file.close()  # Windows does not rename what is open; elsewhere it stays locked until it has its name
            temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to report
            temporary.unlink()
        raise


def date_no_earlier(path: Path, changed: int) -> None:
    """Date an output no earlier than its source, which a wrong camera clock may have put into the future.

    Args:
        path: the output.
        changed: when its source was changed last, in nanoseconds.

    Raises:
        OSError: as the system reports it.
    """
    if path.stat().st_mtime_ns < changed:
        os.utime(path, ns=(changed, changed))


def take_over_mode(new: Path, path: Path) -> None:
    """Give a file that is about to become `path` the permissions of what it replaces, or those of any new file."""
    with contextlib.suppress(OSError):  # some network and FUSE file systems have no mode bits to set
        try:
            replaced = path.stat()
        except FileNotFoundError:
            new.chmod(0o666 & ~_UMASK)
            return
        mode = replaced.st_mode & 0o777
        # The file should be in the replaced one's group, or else the bits for a group would be said to other people.
        if sys.platform != "win32" and new.stat().st_gid != replaced.st_gid:
            try:
                os.chown(new, -1, replaced.st_gid)
            except OSError:  # the group is another one now, which may do no more than everybody
                mode = mode & 0o707 | (mode & 0o007) << 3
        new.chmod(mode)


def _new_temporary(path: Path) -> tuple[Path, BinaryIO]:
    """A new file beside `path`, locked, readable by its owner alone."""
    while True:
        temporary = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}{TEMPORARY_SUFFIX}")
        file = os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        if lock(file) is not False and temporary.exists():
            return temporary, file
        file.close()  # another run removed it as a leftover before it was locked


def lock(file: IO[Any] | int) -> bool | None:
    """Take the lock of an open file or folder; the system gives it back when the file is closed or the process dies.

    Returns:
        Whether it was taken; None where there are no such locks (Windows, some network file systems).
    """
    try:
        import fcntl
    except ImportError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _read_umask() -> int:
    # The umask can only be read by setting it, which is not safe once threads create files: so once, at import.
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


_UMASK = _read_umask()


def name_too_long(path: Path) -> bool:
    """Whether a file or folder on a path, neither of which need exist yet, has a longer name than its disk takes."""
    if sys.platform == "win32":
        return any(len(part.encode("utf-16-le", "surrogatepass")) // 2 > _NAME_LIMIT for part in path.parts)
    longest = max((len(os.fsencode(part)) for part in path.parts), default=0)
    if longest <= _SHORT_ANYWHERE:
        return False
    for folder in path.absolute().parents:
        with contextlib.suppress(OSError):  # not there yet, or too long itself
            return 0 <= os.pathconf(folder, "PC_NAME_MAX") < longest
    return longest > _NAME_LIMIT


def unwritable(folder: Path) -> str | None:
    """Why no file can be written to a folder that may not be there yet, as far as can be told without writing."""
    for place in (folder, *folder.absolute().parents):
        try:
            mode = place.stat().st_mode
        except FileNotFoundError:
            continue
        except OSError as error:  # no permission on the way, or a name that no disk takes
            return error.strerror or str(error)
        if not stat.S_ISDIR(mode):
            return f"{place} is no folder"
        if not os.access(place, os.W_OK | os.X_OK):
            return "Read-only file system" if _is_read_only(place) else "Permission denied"
        return None
    return None


def _is_read_only(folder: Path) -> bool:
    # Windows has no such call; its folders are writable by their permissions, which `os.access` passes over.
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY) if sys.platform != "win32" else False


_NAME_LIMIT = 255
"""The longest name that the usual disks take: bytes on Linux and macOS, UTF-16 units on Windows."""

_SHORT_ANYWHERE = 143
"""Bytes of a name that even a disk with encrypted names takes (eCryptfs)."""


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files that a killed run left in a folder; those that another run is writing stay.

    A run that writes holds its file's lock, and the system takes it away from one that dies: who gets the lock has
    found a leftover. Between a new file and its lock another run may remove it, which `_new_temporary` looks for.
    """
    long_ago = time.time() - _LEFTOVER_SECONDS
    for path in folder.glob(f"{TEMPORARY_PREFIX}*{TEMPORARY_SUFFIX}"):
        with contextlib.suppress(OSError):  # a tidy folder is welcome, not required
            if not stat.S_ISREG(path.lstat().st_mode):  # we made no pipes and no links
                continue
            with path.open("rb") as file:
                free = lock(file)
                if free:
                    path.unlink()
            if free is None and path.stat().st_mtime < long_ago:
                path.unlink()
