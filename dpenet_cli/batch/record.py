"""What made each result: a hidden file at the root of an output folder, and what it says about a result that is there.

The file holds one JSON object a line. A run writes what was asked of it once, ``{"run": ..., "asked": {...}}``, then a
line for each result: ``{"output": "deep/a.jpg", "run": ..., "bytes": ..., "changed": ..., "sha256": ...}``, and
``"source"``, what the input was (its etag, if its store has such), where one of the two lies in a store. Lines are
appended whole, and a line that is broken says nothing. Without the file, dates alone decide.

In a store each run has objects of its own, ``.dpenet/<time>-<part>-<random>.jsonl``, put every minute and at the end,
and reads those of all the runs before it: two runs at once take no line from each other, and a killed one loses those
of its last minute, whose results dates decide. (An etag among the metadata of the result would never be lost, but no
listing tells it: a rerun would ask for each object.)
"""

import contextlib
import datetime as dt
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
from dpenet_cli.system.line_file import LineFile, LineObjects, Lines, read_lines
from dpenet_cli.system.storage import Place, opened, state
from dpenet_cli.system.stores import RECORDS, Listing
from dpenet_cli.system.urls import State, StorePath

_NAME = re.compile(r"\.dpenet(?:-[0-9]+-of-[0-9]+)?(?:@[\w.-]+)?\.jsonl")

_SAME_TIME = 2 * 10**9
"""Nanoseconds between dates that some file system may take for the same (FAT)."""

_SAME_TIME_IN_STORES = 15 * 60 * 10**9
"""The same where a store dates by its own clock: one that differs by more takes no request (S3)."""


class Standing(Enum):
    """What the record says of a file that is where a result goes."""

    UNKNOWN = auto()
    """Nothing."""

    OURS = auto()
    """It was made as is asked now."""

    ASKED_DIFFERENTLY = auto()
    """It was made with other weights or options."""

    FOREIGN = auto()
    """It names results of this folder, and this is none of them."""

    CHANGED = auto()
    """It is not what was made: a person changed it."""


class Written(NamedTuple):
    """A result's bytes, told apart from others', and what its source was, where dates do not tell."""

    bytes: int
    changed: int
    sha256: str
    source: str = ""


class Known(NamedTuple):
    """What the record says of a result.

    Attributes:
        standing: whether it is what is asked for.
        source: what its source was, as `storage.identity` tells it; empty where dates decide.
    """

    standing: Standing
    source: str = ""


def of_data(data: bytes, changed: int, source: str = "") -> Written:
    """What tells a result that is going to be written from others.

    Args:
        data: its bytes.
        changed: about when it will have been written, in nanoseconds.
        source: what its source was, from `storage.identity`.
    """
    return Written(len(data), changed, hashlib.sha256(data).hexdigest(), source)


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
        self, root: Place, asked: Mapping[str, object], shard: Shard | None = None, machine: str | None = None
    ) -> None:
        self._root = root
        self._asked = dict(asked)
        self.run = hashlib.sha256(json.dumps(self._asked, sort_keys=True).encode()).hexdigest()[:16]
        self._part = f"{shard.number}-of-{shard.count}" if shard else ""
        self._machine = "@" + re.sub(r"[^\w.-]", "-", machine, flags=re.ASCII) if machine else ""
        self._lock = threading.Lock()
        self._file: Lines | None = None

    def add(self, target: Place, written: Written) -> None:
        """Enter a result, best before it takes its name: what is known then can't be taken for someone else's.

        Raises:
            OSError: as the system reports it.
        """
        with self._lock:
            if self._file is None:
                self._file = self._open()
                self._file.add({"run": self.run, "asked": self._asked})
            told = {name: value for name, value in written._asdict().items() if value != ""}
            self._file.add({"output": self.relative(target), "run": self.run, **told})

    def _open(self) -> Lines:
        if isinstance(self._root, Path):
            part = f"-{self._part}" if self._part else ""
            return LineFile(self._root / f".dpenet{part}{self._machine}.jsonl")
        begun = f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}"
        return LineObjects(self._root / RECORDS / f"{begun}-{self._part or 'all'}")

    def relative(self, target: Place) -> str:
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
        listing: what is in the output folder, if it is in a store.
    """

    def __init__(
        self, root: Place, asked: Mapping[str, object], shard: Shard | None = None, listing: Listing | None = None
    ) -> None:
        self._entries = Entries(root, asked, shard)
        self._lock = threading.Lock()
        # Without a name it lies in memory while it is small, and in a file that goes with it when it grows.
        self._known = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        columns = "output BLOB, run TEXT, bytes INTEGER, changed INTEGER, sha256 TEXT, source TEXT"
        self._known.execute(f"CREATE TABLE made ({columns})")
        self._known.execute("BEGIN")
        for path in _files(root, shard) if listing is None else _objects(listing, shard):
            self._load(path)
        self._known.execute("CREATE INDEX of_output ON made (output)")
        self._known.execute("COMMIT")
        self._names_results = self._known.execute("SELECT 1 FROM made LIMIT 1").fetchone() is not None

    def names(self, target: Place) -> bool:
        """Whether a result of this name was made, whatever stands there now."""
        with self._lock:
            found = self._known.execute("SELECT 1 FROM made WHERE output = ? LIMIT 1", (self._key(target),))
            return found.fetchone() is not None

    def known(self, target: Place) -> Known:
        """What the record says of a result's place; a file is read where its date alone tells nothing."""
        with self._lock:
            rows = self._known.execute(
                "SELECT run, bytes, changed, sha256, source FROM made WHERE output = ? ORDER BY rowid DESC",
                (self._key(target),),
            ).fetchall()
        if not rows:
            return Known(self._unnamed(target))
        tolerance = _SAME_TIME if isinstance(target, Path) else _SAME_TIME_IN_STORES
        try:
            seen = state(target)
            made = next((row for row in rows if _is_same(row, seen, tolerance)), None)
            if made is None and any(row[1] == seen.size for row in rows):
                digest = _digest_of(target)  # copied to another disk, say, which dates files anew
                made = next((row for row in rows if row[3] == digest), None)
        except OSError:  # it is not there, or cannot be read: the run itself will say so
            return Known(Standing.UNKNOWN)
        if made is None:
            return Known(Standing.CHANGED)
        return Known(Standing.OURS if made[0] == self._entries.run else Standing.ASKED_DIFFERENTLY, made[4])

    def add(self, target: Place, written: Written) -> None:
        """Enter a result, best before it takes its name: what is known then can't be taken for someone else's.

        Raises:
            OSError: as the system reports it.
        """
        self._entries.add(target, written)
        with self._lock:
            entry = (self._key(target), self._entries.run, *written)
            self._known.execute("INSERT INTO made VALUES (?, ?, ?, ?, ?, ?)", entry)

    def close(self) -> None:
        """Flush the file to the disk and close it."""
        with self._lock:
            self._known.close()
        self._entries.close()

    def _unnamed(self, target: Place) -> Standing:
        """The standing of a place that no entry names: a file that is there was made by someone else."""
        try:
            is_there = isinstance(target, Path) and self._names_results and target.is_file()
        except OSError:
            is_there = False
        return Standing.FOREIGN if is_there else Standing.UNKNOWN

    def _load(self, path: Place) -> None:
        # Without a record, dates decide; a store that does not answer may have one.
        with contextlib.suppress(OSError) if isinstance(path, Path) else contextlib.nullcontext():
            for _, _, row in read_lines(path):
                with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, sqlite3.Error):  # foreign
                    if row is not None and "output" in row:
                        key, size, changed = _digest(row["output"]), int(row["bytes"]), int(row["changed"])
                        entry = (key, row["run"], size, changed, row["sha256"], row.get("source", ""))
                        self._known.execute("INSERT INTO made VALUES (?, ?, ?, ?, ?, ?)", entry)

    def _key(self, target: Place) -> bytes:
        return _digest(self._entries.relative(target))


def is_record(name: str) -> bool:
    """Whether a file of this name is the record of the folder that it lies in."""
    return _NAME.fullmatch(name) is not None


def _files(root: Place, shard: Shard | None) -> list[Place]:
    """The files that may name results of this part: its own, and those of runs that were cut into other parts."""
    try:
        names = [entry.name for entry in os.scandir(root) if is_record(entry.name)]
    except OSError:
        return []
    others = re.compile(rf"\.dpenet-(?!{shard.number}-)[0-9]+-of-{shard.count}(?:@[\w.-]+)?\.jsonl") if shard else None
    return [root / name for name in sorted(names) if others is None or not others.fullmatch(name)]


def _objects(listing: Listing, shard: Shard | None) -> list[StorePath]:
    """The same in a store."""
    others = re.compile(rf"\w+-(?!{shard.number}-)[0-9]+-of-{shard.count}-\w+\.jsonl") if shard else None
    return [path for path in listing.records if others is None or not others.fullmatch(path.name)]


def _digest_of(path: Place) -> str:
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(relative: str) -> bytes:
    return hashlib.blake2b(relative.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _is_same(row: tuple[str, int, int, str, str], seen: State, tolerance: int) -> bool:
    return row[1] == seen.size and abs(row[2] - seen.changed) <= tolerance
