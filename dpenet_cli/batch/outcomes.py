"""What became of each input, for pictures, videos and pipes alike, and how it is told."""

import copy
import errno
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from dpenet_cli.errors import DpenetError, ImageWriteError
from dpenet_cli.system.outputs import Job


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
        shares: where a video's pictures came from, as `video.restoration.Shares` tells it.
        scale: width in which the network saw the picture over its own; None where it saw none.
        looked: pixels that were looked at to decide on it, over those of the picture.
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

    def frames(self, done: int, total: int, speed: float) -> None:
        """Tell how far the current video is: frames done, frames in all, frames a second (0 while unknown)."""


def is_done(job: Job) -> bool:
    """Whether all outputs of a job exist and none is older than its source."""
    return not outdated(job)


def outdated(job: Job) -> list[Path]:
    """The outputs of a job that are missing or older than its source. The others are not replaced unasked."""
    return [path for path in (job.target, job.compare) if path is not None and not _is_current(path, job.source)]


def _is_current(path: Path, source: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_mtime_ns >= source.stat().st_mtime_ns
    except OSError:  # one of them is missing or cannot be seen: the run itself will say which
        return False


def write_error(target: Path, error: OSError) -> ImageWriteError:
    """What the system said about a file that could not be stored, with what to do about it."""
    steps = {
        errno.ENOSPC: "Free some space, or choose an output folder on another disk.",
        errno.EDQUOT: "Free some space, or choose an output folder on another disk.",
        errno.EACCES: "Choose an output folder that you may write to.",
        errno.EPERM: "Choose an output folder that you may write to.",
        errno.EROFS: "Choose an output folder that you may write to.",
        errno.ENAMETOOLONG: "Choose a shorter name.",
        errno.EISDIR: "Choose another name: a folder has this one.",
        errno.ENOTDIR: "Choose another folder: a file has this name.",
        errno.EEXIST: "Choose another folder: a file has this name.",
    }
    step = steps.get(error.errno or 0, "Check the output folder and its disk.")
    return ImageWriteError(str(target), f"it cannot be written ({error.strerror or error})", step)


def error_of(job: Job, error: DpenetError) -> DpenetError:
    """The same error, naming the input: whatever failed, it is this input's failure."""
    if str(job.source) in error.what:
        return error
    error = copy.copy(error)
    error.what = f"{job.source}: {error.what}"
    return error
