"""Work that survives a crash: finished segments beside the output, and a manifest that says what they are of.

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
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

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
from dpenet_cli.video.encoder import EncoderProcess, Encoding
from dpenet_cli.video.frames import Frame
from dpenet_cli.video.orientation import Orientation
from dpenet_cli.video.safe_open import open_input

if TYPE_CHECKING:
    from filelock import FileLock

_MANIFEST, _LOCK, _STORED = "manifest.json", "lock", "stored"

_SEGMENT = re.compile(r"\d{1,9}-\d{5,9}\.mkv")

_OWN = re.compile(
    rf"{re.escape(_MANIFEST)}|{_LOCK}|{_STORED}|{_SEGMENT.pattern}|result\.\w+"
    rf"|{re.escape(TEMPORARY_PREFIX)}\w+{re.escape(TEMPORARY_SUFFIX)}"
)
"""Names of the files that are made, and removed, in the folder of unfinished work."""

_LARGEST_MANIFEST = 2**24
"""Bytes; a day of video needs a fifth of it."""

_BEGINNING = 24
"""Letters of a long name that its folder for unfinished work begins with; each may take four bytes."""

_MAKE_ROOM = "Move it away, or name another output with -o."


class WorkFolder:
    """The folder ``OUT.part`` of one output; a context manager that keeps others out of it.

    Args:
        target: the output.
        identity: what the result depends on, as JSON: the input and every option.

    Attributes:
        folder: where it is.
        restarted: whether there was work of another input or other options, which is gone.
        resumed: whether there is work to go on from.
    """

    def __init__(self, target: Path, identity: dict[str, Any]) -> None:
        self.folder = _work_folder(target)
        self.restarted = False
        self.resumed = False
        self._identity = identity
        self._finished: dict[str, int] = {}
        self._lock: FileLock | None = None

    def __enter__(self) -> Self:
        self._enter_folder()
        self._keep_others_out()
        remove_leftovers(self.folder)
        (self.folder / _STORED).unlink(missing_ok=True)
        manifest = self._read_manifest()
        if manifest is None:
            return self
        known, finished = manifest
        if known:
            self._finished = {name: count for name, count in finished.items() if self._holds(name, count)}
            self.resumed = bool(self._finished)
        else:
            self.restarted = True
            for path in _own_files(self.folder):
                if path.name != _LOCK:
                    path.unlink()
        return self

    def _enter_folder(self) -> None:
        """Make the folder, for its owner alone; a stranger's one may lie there already, with links in it."""
        if self.folder.is_symlink():
            raise VideoWriteError(str(self.folder), "a link has the name of the folder for unfinished work", _MAKE_ROOM)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError as error:
            why = "a file has the name of the folder for unfinished work"
            raise VideoWriteError(str(self.folder), why, _MAKE_ROOM) from error
        with contextlib.suppress(OSError):  # some file systems have no mode bits to set
            self.folder.chmod(0o700)
        for path in _own_files(self.folder):
            if not stat.S_ISREG(path.lstat().st_mode):
                raise VideoWriteError(str(path), "a link, folder or pipe has the name of unfinished work", _MAKE_ROOM)

    def _read_manifest(self) -> tuple[bool, dict[str, int]] | None:
        """Whether the work that lies here is of this identity, and its segments; None if there is none.

        Whatever the file holds, only names that segments have come out of it.
        """
        try:
            with (self.folder / _MANIFEST).open("rb") as file:
                held = json.loads(file.read(_LARGEST_MANIFEST))
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
        self._let_others_in()

    def segment(self, stream: int, number: int) -> Path:
        """The file of a segment."""
        return self.folder / f"{stream}-{number:05d}.mkv"

    def finished(self, stream: int) -> int:
        """How many segments of a stream are done, from the first on without a gap."""
        number = 0
        while self.segment(stream, number).name in self._finished:
            number += 1
        return number

    def promised(self, stream: int) -> tuple[int, int]:
        """Frames of a stream that are done as the manifest says, and the bytes of their segments.

        This may be asked before the folder is entered.
        """
        known, finished = self._read_manifest() or (False, {})
        frames = size = number = 0
        while known and (path := self.segment(stream, number)).name in finished and path.is_file():
            frames += finished[path.name]
            size += path.stat().st_size
            number += 1
        return frames, size

    def left_over(self) -> int:
        """Bytes of files that lie here and are no finished segments: they are replaced, or removed."""
        known, finished = self._read_manifest() or (False, {})
        if self.folder.is_symlink() or not self.folder.is_dir():
            return 0
        kept = {*finished, _MANIFEST, _LOCK} if known else {_LOCK}
        return sum(path.lstat().st_size for path in _own_files(self.folder) if path.name not in kept)

    def record(self, path: Path, frames: int) -> None:
        """Count a segment, after looking at its file.

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
        write_whole(self.folder / _MANIFEST, text.encode())

    def store(self, result: Path, target: Path) -> None:
        """Give the result its name. The work is not needed any more.

        Raises:
            VideoWriteError: the system refused.
        """
        try:
            (self.folder / _STORED).touch()  # a run that is killed between the two next lines leaves a known state
            take_over_mode(result, target)
            result.replace(target)
        except OSError as error:
            raise VideoWriteError(str(target), f"it cannot be stored ({error.strerror})", "Name another.") from error
        _remove(self.folder, but=(_LOCK, _STORED))
        if sys.platform == "win32":
            self._let_others_in()  # what is open cannot be removed there
        _remove(self.folder)

    def _holds(self, name: str, frames: int) -> bool:
        import av

        try:
            with open_input(self.folder / name) as container:
                return sum(packet.size > 0 for packet in container.demux(video=0)) == frames
        except (OSError, IndexError, av.FFmpegError, VideoError):  # whatever is wrong with it, it does not count
            return False

    def _keep_others_out(self) -> None:
        path = self.folder / _LOCK
        path.touch()  # where this fails nothing else can be written either
        try:
            self._lock = hold(path)
        except BlockedError as error:
            why = "another run is working on this output"
            raise VideoWriteError(str(self.folder), why, "Wait for it, or name another output with -o.") from error

    def _let_others_in(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def remove_remains(target: Path) -> None:
    """Remove unfinished work whose result was stored, if a run was killed between the two."""
    folder = _work_folder(target)
    if folder.is_symlink() or not folder.is_dir():
        return
    with contextlib.suppress(OSError):  # what cannot be looked at stays
        names = {path.name for path in folder.iterdir()}
        if not names or (_STORED in names and not any(name.startswith("result.") for name in names)):
            _remove(folder)


def _work_folder(target: Path) -> Path:
    """``OUT.part`` beside an output; where that name is too long, the beginning of it and a hash of all of it."""
    folder = target.with_name(target.name + ".part")
    if not name_too_long(folder):
        return folder
    digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()
    return target.with_name(f"{target.name[:_BEGINNING]}-{digest[:16]}.part")


def _own_files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if _OWN.fullmatch(path.name)]


def _remove(folder: Path, but: tuple[str, ...] = ()) -> None:
    """Remove our files, and the folder if nothing else is in it; the lock goes late, and the marker last."""
    late = ("", _LOCK, _STORED)
    with contextlib.suppress(OSError):  # the output stands; this is only tidying up
        for path in sorted(_own_files(folder), key=lambda path: late.index(path.name) if path.name in late else 0):
            if path.name not in but:
                path.unlink()
        if not but:
            folder.rmdir()


class SegmentSink:
    """Writes frames as segments of equal length: a `FrameSink`.

    Args:
        place: where they go.
        stream: index of the stream, for their names.
        encoding: how.
        turn: frames come upright and are turned back to how they were coded.
        length: frames in a segment.
        total: frames in all.
    """

    def __init__(
        self, place: WorkFolder, stream: int, encoding: Encoding, turn: Orientation, *, length: int, total: int
    ) -> None:
        self._place = place
        self._stream = stream
        self._encoding = encoding
        self._turn = turn
        self._length = length
        self._total = total
        self._number = place.finished(stream)
        self._written = 0
        self._process: EncoderProcess | None = None

    @property
    def first_frame(self) -> int:
        """The frame that it wants first: what lies before is done."""
        return min(self._number * self._length, self._total)

    def write(self, frame: Frame) -> None:
        """Encode one frame."""
        if self._process is None:
            self._process = EncoderProcess(self._encoding, self._place.segment(self._stream, self._number))
        self._process.write(self._turn.as_coded(frame.image))
        self._written += 1
        if self._written == self._length:
            self._end_segment()

    def finish(self) -> None:
        """End the last segment."""
        if self._process is not None:
            self._end_segment()

    def abandon(self) -> None:
        """End the encoder; the segment that it was at is lost."""
        if self._process is not None:
            with contextlib.suppress(OSError):
                self._process.kill()
            self._process = None

    def _end_segment(self) -> None:
        assert self._process is not None
        process, self._process = self._process, None
        try:
            process.finish()
        except BaseException:
            process.kill()
            raise
        self._place.record(self._place.segment(self._stream, self._number), self._written)
        self._number += 1
        self._written = 0


def segment_frames(rate: Fraction, seconds: Fraction) -> int:
    """Frames in a segment of so many seconds, at least one."""
    return max(1, round(rate * seconds))
