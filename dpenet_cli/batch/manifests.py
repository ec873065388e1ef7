"""Lists of inputs, of any length: lines, names that end with NUL, or rows of JSON. They are read as a stream."""

import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Protocol, Self

from dpenet_cli.errors import InputError

STDIN = "-"
"""The name of a list that comes through a pipe."""

_CHUNK = 2**16
"""Bytes that are read at a time."""

_LONGEST = 2**20
"""Bytes of the longest row: no path is that long."""


class Row(NamedTuple):
    """One input of a list.

    Attributes:
        number: which row of the list, from 1.
        source: the input, as the list has it.
        output: where its result goes, below the output folder, or None for its own place.
        error: why it is no input.
        root: the output folder that `output`, then a whole path, lies in: empty for none, None where the command says.
    """

    number: int
    source: str
    output: str | None = None
    error: InputError | None = None
    root: str | None = None


class Rows(Protocol):
    """Inputs that can be gone through again and again."""

    @property
    def name(self) -> str:
        """What a person calls them."""

    def __iter__(self) -> Iterator[Row]:
        """From the first on."""


class Manifest:
    """A list of inputs in a file or a pipe; a context manager, `Rows` inside.

    A list that cannot be read twice is copied to a temporary file first.

    Args:
        name: its path, or `STDIN`.

    Raises:
        InputError: it cannot be read.
    """

    def __init__(self, name: str) -> None:
        self.name = "standard input" if name == STDIN else name
        try:
            self._file = _opened(name)
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from error
        head = self._file.read(_CHUNK)
        if head.startswith((b"\xff\xfe", b"\xfe\xff")):
            self._file.close()
            raise InputError(self.name, "this list is UTF-16 text", "Save it as UTF-8.")
        self._begin = 3 if head.startswith(b"\xef\xbb\xbf") else 0
        self._separator = b"\0" if b"\0" in head else b"\n"
        self._is_json = self._separator == b"\n" and isinstance(_json(head[self._begin :].split(b"\n", 1)[0]), dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Row]:
        """The rows, from the first on; empty ones are passed over.

        Raises:
            InputError: the list cannot be read any more, or is none.
        """
        for number, text in enumerate(self._texts(), 1):
            if text:
                yield self._json_row(number, text) if self._is_json else Row(number, os.fsdecode(text))

    def _texts(self) -> Iterator[bytes]:
        """What stands between the separators."""
        self._file.seek(self._begin)
        rest = b""
        while chunk := self._read():
            *whole, rest = (rest + chunk).split(self._separator)
            if len(rest) > _LONGEST:
                why = "a row of it is longer than any path: it is no list of inputs"
                raise InputError(self.name, why, "Give one path a line, or JSON rows.")
            for text in whole:
                yield self._trimmed(text)
        yield self._trimmed(rest)

    def _read(self) -> bytes:
        try:
            return self._file.read(_CHUNK)
        except OSError as error:
            raise self._unreadable(error) from error

    def _trimmed(self, text: bytes) -> bytes:
        return text.removesuffix(b"\r") if self._separator == b"\n" else text  # a list that was made on Windows

    def _json_row(self, number: int, text: bytes) -> Row:
        row = _json(text)
        source, output = (row.get("source"), row.get("output")) if isinstance(row, dict) else (None, None)
        if isinstance(source, str) and source and isinstance(output, str | None):
            return Row(number, source, output or None)
        what = f"{self.name}, row {number}"
        why = 'it is not a JSON object with a "source" and, if wanted, an "output"'
        return Row(number, what, None, InputError(what, why, 'Write {"source": "a.jpg"}.'))

    def _unreadable(self, error: Exception) -> InputError:
        why = f"this list cannot be read ({getattr(error, 'strerror', None) or error})"
        return InputError(self.name, why, "Check its name and its permissions.")


def _opened(name: str) -> IO[bytes]:
    """The list's bytes, in a file that can be gone back in."""
    source = sys.stdin.buffer if name == STDIN else Path(name).open("rb")  # noqa: SIM115 - it stays open
    if stat.S_ISREG(os.fstat(source.fileno()).st_mode) and name != STDIN:
        return source
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - it stays open
    with source:
        shutil.copyfileobj(source, copy)
    copy.seek(0)
    return copy


def _json(text: bytes) -> object:
    try:
        return json.loads(text)
    except ValueError:  # which an encoding that is not Unicode is too
        return None
    except RecursionError:
        return None
