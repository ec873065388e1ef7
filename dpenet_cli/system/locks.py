"""Locks that keep a second run out of a folder."""

from pathlib import Path

from filelock import FileLock, Timeout


class BlockedError(Exception):
    """Another run holds a lock; callers turn it into an error of ours that says which work it is at."""


def hold(path: Path) -> FileLock | None:
    """Take a lock that keeps other runs out, on all systems; a run that dies, however it dies, gives it back.

    Args:
        path: the lock's own file, which is made and stays.

    Returns:
        The lock, whose `release` gives it back; None where there are no such locks (some network file systems), or its
        file cannot be made.

    Raises:
        BlockedError: another run holds it.
    """
    # No soft lock, which is a file whose mere existence counts: it would outlive a killed run.
    lock = FileLock(path, timeout=0, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise BlockedError(path) from error
    except (OSError, NotImplementedError):
        return None
    return lock
