"""What made each result: a hidden file at the root of an output folder, and what it says about a result that is there.

The file holds one JSON object a line. A run writes what was asked of it once, ``{"run": ..., "asked": {...}}``, then a
line for each result: ``{"output": "deep/a.jpg", "run": ..., "bytes": ..., "changed": ..., "sha256": ...}``. Lines are
appended whole, and a line that is broken says nothing. Without the file, dates alone decide.
"""

import contextlib
import hashlib
import json
import os
import re
import sqlite3
import threading
from collections.abc import Mapping
from enum import Enum, auto
from pathlib import Path
from typing import NamedTuple

from dpenet_cli.batch.shards import Shard
from dpenet_cli.system.line_file import LineFile, read_lines

_NAME = re.compile(r"\.dpenet(?:-[0-9]+-of-[0-9]+)?(?:@[\w.-]+)?\.jsonl")

_SAME_TIME = 2 * 10**9
"""Nanoseconds between dates that some file system may take for the same (FAT)."""


class Standing(Enum):
    """What the record says of a file that is where a result goes."""

    UNKNOWN = auto()
    """Nothing."""

    OURS = auto()
    """It was made as is asked now."""

    ASKED_DIFFERENTLY = auto()
    """It was made with other weights or options."""

    CHANGED = auto()
    """It is not what was made: a person changed it."""


class Written(NamedTuple):
    """A result's bytes, told apart from others'."""

    bytes: int
    changed: int
    sha256: str


def of_data(data: bytes, changed: int) -> Written:
    """What tells a result that is going to be written from others.

    Args:
        data: its bytes.
        changed: about when it will have been written, in nanoseconds.
    """
    return Written(len(data), changed, hashlib.sha256(data).hexdigest())


def of_file(path: Path) -> Written:
    """What tells a file from others.

    Raises:
        OSError: as the system reports it.
    """
    with path.open("rb") as file:
        state = os.fstat(file.fileno())
        return Written(state.st_size, state.st_mtime_ns, hashlib.file_digest(file, "sha256").hexdigest())


class Entries:
    """Adds results to the record of one output folder, and knows nothing of those that are in it, however many.

    Args:
        root: the output folder, which need not exist.
        asked: what results depend on: weights, strength and so on.
        shard: the part that this run does; each has a file of its own.
        machine: a name of this machine, where several write at once: not every network file system keeps lines whole
            that several machines append to one file, so each has its own.
    """

    def __init__(
        self, root: Path, asked: Mapping[str, object], shard: Shard | None = None, machine: str | None = None
    ) -> None:
        self._root = root
        self._asked = dict(asked)
        self.run = hashlib.sha256(json.dumps(self._asked, sort_keys=True).encode()).hexdigest()[:16]
        part = f"-{shard.number}-of-{shard.count}" if shard else ""
        place = "@" + re.sub(r"[^\w.-]", "-", machine, flags=re.ASCII) if machine else ""
        self._name = f".dpenet{part}{place}.jsonl"
        self._lock = threading.Lock()
        self._file: LineFile | None = None

    def add(self, target: Path, written: Written) -> None:
        """Enter a result, best before it takes its name: what is known then can't be taken for someone else's.

        Raises:
            OSError: as the system reports it.
        """
        with self._lock:
            if self._file is None:
                self._file = LineFile(self._root / self._name)
                self._file.add({"run": self.run, "asked": self._asked})
            self._file.add({"output": self.relative(target), "run": self.run, **written._asdict()})

    def relative(self, target: Path) -> str:
        """A result's name in the record."""
        return target.relative_to(self._root).as_posix()

    def close(self) -> None:
        """Flush the file to the disk and close it."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None


class Record:
    """The record of one output folder. Entries may come from several threads.

    Args:
        root: the output folder, which need not exist.
        asked: what results depend on: weights, strength and so on.
        shard: the part that this run does; each has a file of its own.
    """

    def __init__(self, root: Path, asked: Mapping[str, object], shard: Shard | None = None) -> None:
        self._entries = Entries(root, asked, shard)
        self._lock = threading.Lock()
        # Without a name it lies in memory while it is small, and in a file that goes with it when it grows.
        self._known = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._known.execute("CREATE TABLE made (output BLOB, run TEXT, bytes INTEGER, changed INTEGER, sha256 TEXT)")
        self._known.execute("BEGIN")
        for path in sorted(_files(root, shard)):
            self._load(path)
        self._known.execute("CREATE INDEX of_output ON made (output)")
        self._known.execute("COMMIT")

    def standing(self, target: Path) -> Standing:
        """What the record says of a result's place; a file is read where its date alone tells nothing."""
        with self._lock:
            rows = self._known.execute(
                "SELECT run, bytes, changed, sha256 FROM made WHERE output = ? ORDER BY rowid DESC",
                (self._key(target),),
            ).fetchall()
        if not rows:
            return Standing.UNKNOWN
        try:
            state = target.stat()
            made = next((row for row in rows if _is_same(row, state)), None)
            if made is None and any(row[1] == state.st_size for row in rows):
                digest = of_file(target).sha256  # copied to another disk, say, which dates files anew
                made = next((row for row in rows if row[3] == digest), None)
        except OSError:  # it is not there, or cannot be read: the run itself will say so
            return Standing.UNKNOWN
        if made is None:
            return Standing.CHANGED
        return Standing.OURS if made[0] == self._entries.run else Standing.ASKED_DIFFERENTLY

    def add(self, target: Path, written: Written) -> None:
        """Enter a result, best before it takes its name: what is known then can't be taken for someone else's.

        Raises:
            OSError: as the system reports it.
        """
        self._entries.add(target, written)
        with self._lock:
            entry = (self._key(target), self._entries.run, *written)
            self._known.execute("INSERT INTO made VALUES (?, ?, ?, ?, ?)", entry)

    def close(self) -> None:
        """Flush the file to the disk and close it."""
        with self._lock:
            self._known.close()
        self._entries.close()

    def _load(self, path: Path) -> None:
        with contextlib.suppress(OSError):  # without a record, dates decide
            for _, _, row in read_lines(path):
                with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, sqlite3.Error):  # foreign
                    if row is not None and "output" in row:
                        key = _digest(row["output"])
                        entry = (key, row["run"], int(row["bytes"]), int(row["changed"]), row["sha256"])
                        self._known.execute("INSERT INTO made VALUES (?, ?, ?, ?, ?)", entry)

    def _key(self, target: Path) -> bytes:
        return _digest(self._entries.relative(target))


def _files(root: Path, shard: Shard | None) -> list[Path]:
    """The files that may name results of this part: its own, and those of runs that were cut into other parts."""
    try:
        names = [entry.name for entry in os.scandir(root) if _NAME.fullmatch(entry.name)]
    except OSError:
        return []
    others = re.compile(rf"\.dpenet-(?!{shard.number}-)[0-9]+-of-{shard.count}(?:@[\w.-]+)?\.jsonl") if shard else None
    return [root / name for name in names if others is None or not others.fullmatch(name)]


def _digest(relative: str) -> bytes:
    return hashlib.blake2b(relative.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _is_same(row: tuple[str, int, int, str], state: os.stat_result) -> bool:
    return row[1] == state.st_size and abs(row[2] - state.st_mtime_ns) <= _SAME_TIME
