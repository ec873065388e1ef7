"""JSON lines that several processes may append to, and that a crash leaves readable: in a file, or in a store.

An object cannot be appended to, and of two that append by writing it anew the later would take the other's lines away.
So each writer has objects of its own there, under a name that no other has.
"""

import contextlib
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from dpenet_cli.system.storage import Place, opened, write_whole
from dpenet_cli.system.urls import StorePath

SCHEMA = 1
"""Version of the fields in JSON lines for programs: `dpenet guide json` says what makes it rise."""

_FLUSHED = 1.0
"""Seconds after which what was appended is flushed to the disk: the most that a power cut takes."""


_PUT = 60.0
"""Seconds after which lines are put into a store: the most that a killed run loses."""

_OBJECT_BYTES = 2**23
"""Size at which an object is left as it is and another begun: what is put each time stays small."""


class Lines(Protocol):
    """What lines are appended to."""

    def add(self, row: Mapping[str, object]) -> None:
        """Append one line."""

    def close(self) -> None:
        """Append nothing more."""


class LineFile:
    """Appends lines, from any thread.

    Args:
        path: the file; it and its folder are made if they are not there. What a crash left of a line is ended.

    Raises:
        OSError: as the system reports it.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._flushed = time.monotonic()
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            size = os.fstat(self._file).st_size
            os.lseek(self._file, max(size - 1, 0), os.SEEK_SET)
            if size and os.read(self._file, 1) != b"\n":
                os.write(self._file, b"\n")
        except BaseException:
            os.close(self._file)
            raise

    def add(self, row: Mapping[str, object]) -> None:
        """Append one line.

        Raises:
            OSError: as the system reports it; a disk that took a part of the line has no room for the rest.
        """
        line = json.dumps(row).encode("ascii") + b"\n"  # ASCII survives every locale, and undecodable names do
        with self._lock:
            # In one call, which the system appends in one piece: lines of several processes don't mix.
            written = os.write(self._file, line)
            while written < len(line):
                written += os.write(self._file, line[written:])
            if time.monotonic() - self._flushed > _FLUSHED:
                self._flush()

    def close(self) -> None:
        """Flush and close the file."""
        with self._lock:
            self._flush()
            os.close(self._file)

    def _flush(self) -> None:
        with contextlib.suppress(OSError):  # a pipe or a device cannot be flushed; the lines are written
            os.fsync(self._file)
        self._flushed = time.monotonic()


class LineObjects:
    """Appends lines, from any thread, to objects that are put every minute and at the end.

    Args:
        stem: what the objects' names begin with.

    Raises:
        OSError: as the store reports it.
    """

    def __init__(self, stem: StorePath) -> None:
        self._stem = stem
        self._lock = threading.Lock()
        self._begin()

    def add(self, row: Mapping[str, object]) -> None:
        """Append one line.

        Raises:
            OSError: as the store reports it; the line is kept, and put with the next.
        """
        with self._lock:
            self._lines += json.dumps(row).encode("ascii") + b"\n"
            self._is_put = False
            if len(self._lines) > _OBJECT_BYTES:
                self._put()
                self._begin()
            elif time.monotonic() - self._last > _PUT:
                self._put()

    def close(self) -> None:
        """Put what has not been put.

        Raises:
            OSError: as the store reports it.
        """
        with self._lock:
            if not self._is_put:
                self._put()

    def _begin(self) -> None:
        self._object = self._stem.with_name(f"{self._stem.name}-{secrets.token_hex(4)}.jsonl")
        self._lines = bytearray()
        self._last = time.monotonic()
        self._is_put = True

    def _put(self) -> None:
        self._last = time.monotonic()  # whether it works or not: a store in trouble is not asked for every line
        write_whole(self._object, bytes(self._lines))
        self._is_put = True


def read_lines(path: Place) -> Iterator[tuple[int, bytes, dict[str, Any] | None]]:
    """The lines of a file: where each begins, in bytes, itself, and its object, or None where it is broken.

    Raises:
        OSError: as the system reports it.
    """
    place = 0
    with opened(path) as file:
        for line in file:
            yield place, line, _object(line)
            place += len(line)


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
