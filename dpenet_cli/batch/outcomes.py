"""What became of each input, for pictures, videos and pipes alike, and how it is told."""

import copy
import errno
import logging
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from dpenet_cli.errors import DpenetError, ImageWriteError, StorageError, UnexpectedError
from dpenet_cli.system.outputs import Job
from dpenet_cli.system.packages import package_error
from dpenet_cli.system.storage import Place, is_file, state
from dpenet_cli.system.stores import StoreError

log = logging.getLogger(__name__)

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

_GONE = frozenset(
    {errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.ENXIO, errno.EHOSTDOWN, errno.ETIMEDOUT}
)
"""What a disk that was unplugged, or a share whose server is away, answers."""


class Status(StrEnum):
    """What became of one input."""

    DONE = "done"
    DRY = "dry"
    SKIPPED = "skipped"
    FAILED = "failed"
    PLANNED = "planned"


@dataclass(frozen=True)
class Outcome:
    """One input and what became of it.

    Attributes:
        source: the input.
        target: the output; None for an input that never became a job.
        status: what became of it.
        error: the reason, where it failed.
        notices: what the user should know about this picture.
        size: (width, height) in pixels, upright, once known.
        seconds: time in the network, or for a whole video.
        shares: where a video's pictures came from, as `video.over_time.Shares` tells it.
        scale: width in which the network saw the picture over its own; None where it saw none.
        looked: pixels that were looked at to decide on it, over those of the picture.
        root: the output folder that the output lies in, if there is one.
        frames: how many a video has, once known; None for pictures.
        encoder: what encoded a video.
        used: ``device``, ``backend`` and ``precision`` that the network ran with, where it ran.
    """

    source: str
    target: str | None
    status: Status
    error: DpenetError | None = None
    notices: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    seconds: float = 0.0
    shares: Mapping[str, float] | None = None
    scale: float | None = None
    looked: float = 0.0
    root: str | None = None
    frames: int | None = None
    encoder: str | None = None
    used: Mapping[str, str] | None = None


class Report(Protocol):
    """Whom a batch tells what it does meanwhile; the command line shows it to a person or a program."""

    def note(self, text: str) -> None:
        """Tell something that the user should know at once."""

    def advice(self, text: str) -> None:
        """Tell what would help a person; nothing, if it is empty."""

    def detail(self, text: str) -> None:
        """Tell something to those who asked for everything."""

    def stage(self, text: str) -> None:
        """Tell what is going on now, where nothing is counted."""

    def frames(self, source: str, done: int, total: int, speed: float) -> None:
        """Tell how far a video is: frames done, frames in all, frames a second (0 while unknown)."""


def outdated(job: Job, made_from: str = "") -> list[Place]:
    """The outputs of a job that are missing or older than its source. The others are not replaced unasked.

    Args:
        job: the job.
        made_from: what its source was when they were made, as `storage.identity` tells it; else dates decide.
    """
    missing = [] if _is_current(job.target, job.source, made_from) else [job.target]
    if job.compare is not None:
        places = [job.compare]
        if isinstance(job.target, Path):  # where earlier versions put it
            places.append(job.target.with_name(job.compare.name))
        if not any(_is_current(path, job.source, made_from) for path in places):
            missing.append(job.compare)
    return missing


def _is_current(path: Place, source: Place, made_from: str) -> bool:
    try:
        if not is_file(path):
            return False
        return state(source).tag == made_from if made_from else state(path).changed >= state(source).changed
    except OSError:  # one of them is missing or cannot be seen: the run itself will say which
        return False


def write_error(target: Place, error: OSError) -> DpenetError:
    """What the system said about a file that could not be stored, with what to do about it.

    A `StorageError` where no other file could be stored either.
    """
    why = f"it cannot be written ({error.strerror or error})"
    if isinstance(error, StoreError):
        kind = StorageError if error.is_away else ImageWriteError
        return kind(str(target), why, error.step)
    if error.errno in _FULL:
        step = "Free some space, or choose an output folder on another disk; the same command goes on."
        return StorageError(str(target), why, step)
    if error.errno in _GONE:
        return StorageError(str(target), why, "Check the disk or the share; the same command goes on when it is back.")
    steps = {
        errno.EACCES: "Choose an output folder that you may write to.",
        errno.EPERM: "Choose an output folder that you may write to.",
        errno.EROFS: "Choose an output folder that you may write to.",
        errno.ENAMETOOLONG: "Choose a shorter name.",
        errno.EISDIR: "Choose another name: a folder has this one.",
        errno.ENOTDIR: "Choose another folder: a file has this name.",
        errno.EEXIST: "Choose another folder: a file has this name.",
    }
    step = steps.get(error.errno or 0, "Check the output folder and its disk.")
    return ImageWriteError(str(target), why, step)


def unexpected(source: str, error: Exception) -> DpenetError:
    """The error of one input for an exception that nobody foresaw; where it happened is told to those who ask."""
    if (about_package := package_error(error)) is not None:
        return about_package
    log.info("%s: %s", source, "".join(traceback.format_exception(error)))
    why = f"an unexpected error ({type(error).__name__}: {error})"
    return UnexpectedError(source, why, "Please report it, with what -v says; other files are not affected.")


def input_gone(job: Job) -> StorageError | None:
    """The error of a job whose input cannot be read because the whole folder that was named is gone, or None."""
    below = Path(job.relative)
    if not isinstance(job.source, Path):  # what its store answered says it already
        return None
    if job.source.parts[-len(below.parts) :] != below.parts:
        return None  # it was listed, and which folder it was to be in is not known
    folder = job.source.parents[len(below.parts) - 1]
    try:
        if next(folder.iterdir(), None) is not None:
            return None
        why = "this folder is empty now"  # as one is from which a disk was taken
    except PermissionError:
        return None
    except OSError as error:
        why = f"this folder is gone ({error.strerror or error})"
    return StorageError(str(folder), why, "Check the disk or the share; the same command goes on when it is back.")


def error_of(job: Job, error: DpenetError) -> DpenetError:
    """The same error, naming the input: whatever failed, it is this input's failure."""
    if str(job.source) in error.what or isinstance(error, StorageError):  # which is every input's
        return error
    error = copy.copy(error)
    error.what = f"{job.source}: {error.what}"
    return error
