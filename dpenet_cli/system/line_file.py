"""A file of JSON lines that several processes may append to, and that a crash leaves readable."""

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_FLUSHED = 1.0
"""Seconds after which what was appended is flushed to the disk: the most that a power cut takes."""


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


def read_lines(path: Path) -> Iterator[tuple[int, bytes, dict[str, Any] | None]]:
    """The lines of a file: where each begins, in bytes, itself, and its object, or None where it is broken.

    Raises:
        OSError: as the system reports it.
    """
    place = 0
    with path.open("rb") as file:
        for line in file:
            yield place, line, _object(line)
            place += len(line)


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
