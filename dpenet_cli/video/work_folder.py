"""Work that survives a crash: a folder beside the output with what is finished, and a manifest that says of what.

A segment counts once its encoder ended with 0, its file holds as many frames as it should, and the manifest on the disk
says so. A run that finds a manifest of the same input and options goes on behind the last such segment; segments always
begin at the same frames, so that the result is the same as if there had been one run.
"""

import contextlib
import hashlib
import json
import os
import re
import stat
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
from filelock import FileLock

from dpenet_cli.errors import VideoError, VideoWriteError
from dpenet_cli.system.atomic import (
    TEMPORARY_PREFIX,
    TEMPORARY_SUFFIX,
    name_too_long,
    remove_leftovers,
    take_over_mode,
    write_whole,
)
from dpenet_cli.system.locks import BlockedError, hold
from dpenet_cli.video.safe_open import open_input

_MANIFEST, _LOCK, _STORED = "manifest.json", "lock", "stored"
"""What is finished; the file that one run at a time holds; the mark that the result has been given its name."""

_SEGMENT = re.compile(r"\d{1,9}-\d{5,9}\.mkv")

_OWN_FILE = re.compile(
    rf"{re.escape(_MANIFEST)}|{_LOCK}|{_STORED}|{_SEGMENT.pattern}|result\.\w+"
    rf"|{re.escape(TEMPORARY_PREFIX)}\w+{re.escape(TEMPORARY_SUFFIX)}"
)
"""Names of the files that are made, and removed, in the folder of unfinished work."""

_MAX_MANIFEST = 2**24
"""Bytes; a day of video needs a fifth of it."""

_KEPT_LETTERS = 24
"""Letters of a long name that its folder for unfinished work begins with; each may take four bytes."""

_MAKE_ROOM = "Move it away, or name another output with -o."


class WorkFolder:
    """The folder ``OUT.part`` of one output; a context manager that keeps others out of it.

    Args:
        target: the output.
        identity: what the result depends on, as JSON: the input and every option.

    Attributes:
        path: where it is.
        restarted: whether there was work of another input or other options, which is gone.
        resumed: whether there is work to go on from.
    """

    def __init__(self, target: Path, identity: dict[str, Any]) -> None:
        self.path = _work_folder(target)
        self.restarted = False
        self.resumed = False
        self._identity = identity
        self._finished: dict[str, int] = {}
        self._lock: FileLock | None = None

    def __enter__(self) -> Self:
        self._make_folder()
        self._take_lock()
        # From here on nobody else writes here: what a killed run was just writing is worth nothing.
        remove_leftovers(self.path)
        (self.path / _STORED).unlink(missing_ok=True)
        manifest = self._read_manifest()
        if manifest is None:
            return self
        known, finished = manifest
        if known:
            # A manifest may outlive what it tells of; each file is looked at once.
            self._finished = {name: count for name, count in finished.items() if self._holds(name, count)}
            self.resumed = bool(self._finished)
        else:
            self.restarted = True
            for path in _own_files(self.path):
                if path.name != _LOCK:
                    path.unlink()
        return self

    def _make_folder(self) -> None:
        """Make the folder, for its owner alone; a stranger's one may lie there already, with links in it.

        Raises:
            VideoWriteError: something has its name, or the name of one of its files, that we would write through.
        """
        if self.path.is_symlink():
            raise VideoWriteError(str(self.path), "a link has the name of the folder for unfinished work", _MAKE_ROOM)
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError as error:
            why = "a file has the name of the folder for unfinished work"
            raise VideoWriteError(str(self.path), why, _MAKE_ROOM) from error
        with contextlib.suppress(OSError):  # some file systems have no mode bits to set
            self.path.chmod(0o700)
        for path in _own_files(self.path):
            if not stat.S_ISREG(path.lstat().st_mode):
                raise VideoWriteError(str(path), "a link, folder or pipe has the name of unfinished work", _MAKE_ROOM)

    def _read_manifest(self) -> tuple[bool, dict[str, int]] | None:
        """Whether the work that lies here is of this identity, and its segments; None if there is none.

        Whatever the file holds, only names that segments have come out of it.
        """
        try:
            with (self.path / _MANIFEST).open("rb") as file:
                held = json.loads(file.read(_MAX_MANIFEST))
            found = held["finished"].items()
            finished = {name: count for name, count in found if _SEGMENT.fullmatch(name) and isinstance(count, int)}
            return held["identity"] == self._identity, finished
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return False, {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release_lock()

    def segment(self, stream: int, number: int) -> Path:
        """The file of a segment."""
        return self.path / f"{stream}-{number:05d}.mkv"

    def finished_segments(self, stream: int) -> int:
        """How many segments of a stream are done, from the first on without a gap."""
        number = 0
        while self.segment(stream, number).name in self._finished:
            number += 1
        return number

    def recorded(self, stream: int) -> tuple[int, int]:
        """Frames of a stream that are done, as the manifest says, and the bytes of their segments.

        This may be asked before the folder is entered.
        """
        known, finished = self._read_manifest() or (False, {})
        frames = size = number = 0
        while known and (path := self.segment(stream, number)).name in finished and path.is_file():
            frames += finished[path.name]
            size += path.stat().st_size
            number += 1
        return frames, size

    def replaceable_bytes(self) -> int:
        """Bytes of files that lie here and are no finished segments: they are replaced, or removed."""
        known, finished = self._read_manifest() or (False, {})
        if self.path.is_symlink() or not self.path.is_dir():
            return 0
        kept = {*finished, _MANIFEST, _LOCK} if known else {_LOCK}
        return sum(path.lstat().st_size for path in _own_files(self.path) if path.name not in kept)

    def record(self, path: Path, frames: int) -> None:
        """Count a segment, after looking at its file; a write that fails leaves the manifest as it was.

        Args:
            path: the segment.
            frames: how many were given to its encoder.

        Raises:
            VideoWriteError: it does not hold that many frames.
        """
        if not path.exists():
            why = "it is gone: the folder for unfinished work was removed while it was needed"
            raise VideoWriteError(str(path), why, "Run the command again.")
        if not self._holds(path.name, frames):
            why = f"the encoder was given {frames} frames and its file does not hold as many"
            raise VideoWriteError(str(path), why, "Check the disk, and run the command again.")
        self._finished[path.name] = frames
        text = json.dumps({"identity": self._identity, "finished": self._finished}, indent=1)
        write_whole(self.path / _MANIFEST, text.encode())

    def store(self, result: Path, target: Path) -> None:
        """Give the result its name. The work is not needed any more.

        Raises:
            VideoWriteError: the system refused.
        """
        try:
            # The mark comes first: with it, and without the result, the result has its name (`remove_stored_work`).
            (self.path / _STORED).touch()
            take_over_mode(result, target)
            result.replace(target)
        except OSError as error:
            raise VideoWriteError(str(target), f"it cannot be stored ({error.strerror})", "Name another.") from error
        # The segments go while the lock is still held: no other run can come upon half of them.
        _remove(self.path, but=(_LOCK, _STORED))
        if sys.platform == "win32":
            self._release_lock()  # what is open cannot be removed there
        _remove(self.path)

    def _holds(self, name: str, frames: int) -> bool:
        """Whether a segment's file holds so many frames: packets are counted, none is decoded."""
        try:
            with open_input(self.path / name) as container:
                return sum(packet.size > 0 for packet in container.demux(video=0)) == frames
        except (OSError, IndexError, av.FFmpegError, VideoError):  # whatever is wrong with it, it does not count
            return False

    def _take_lock(self) -> None:
        path = self.path / _LOCK
        path.touch()  # where this fails nothing else can be written either
        try:
            self._lock = hold(path)
        except BlockedError as error:
            why = "another run is working on this output"
            raise VideoWriteError(str(self.path), why, "Wait for it, or name another output with -o.") from error

    def _release_lock(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def remove_stored_work(target: Path) -> None:
    """Remove unfinished work whose result was stored, if a run was killed between the two."""
    folder = _work_folder(target)
    if folder.is_symlink() or not folder.is_dir():
        return
    with contextlib.suppress(OSError):  # what cannot be looked at stays
        names = {path.name for path in folder.iterdir()}
        # With the mark and without the result, the result has been moved to its name; nothing at all is no loss either.
        if not names or (_STORED in names and not any(name.startswith("result.") for name in names)):
            _remove(folder)


def _work_folder(target: Path) -> Path:
    """``OUT.part`` beside an output; where that name is too long, the beginning of it and a hash of all of it."""
    folder = target.with_name(target.name + ".part")
    if not name_too_long(folder):
        return folder
    digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()
    return target.with_name(f"{target.name[:_KEPT_LETTERS]}-{digest[:16]}.part")


def _own_files(folder: Path) -> list[Path]:
    """What we may have put there; files of other names are their owner's, and stay."""
    return [path for path in folder.iterdir() if _OWN_FILE.fullmatch(path.name)]


def _remove(folder: Path, but: tuple[str, ...] = ()) -> None:
    """Remove our files, and the folder if nothing else is in it; the lock goes late, and the mark last.

    Args:
        folder: of unfinished work.
        but: names of files that stay, with the folder.
    """
    late = ("", _LOCK, _STORED)
    with contextlib.suppress(OSError):  # the output stands; this is only tidying up
        for path in sorted(_own_files(folder), key=lambda path: late.index(path.name) if path.name in late else 0):
            if path.name not in but:
                path.unlink()
        if not but:
            folder.rmdir()
