"""What became of each input, in a file that outlives the run: one JSON object a line, appended, merged, gone back to.

A row has ``source``, ``output`` and ``root`` (whole paths or URLs; no output where an input never became a job),
``status``, ``reason`` and ``next_step`` where it failed, ``width``, ``height``, ``seconds``, ``scale``, ``frames`` and
``encoder`` of videos, ``notices``, ``weights`` (SHA-256) and ``weights_name``, ``device``, ``backend``, ``precision``,
``options``, ``schema`` and ``time`` (UTC). The later row of an input is the one that counts, except that a
skipped one leaves what is known of a result.
"""

import datetime as dt
import functools
import hashlib
import itertools
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from dpenet_cli.batch.manifests import Row
from dpenet_cli.batch.outcomes import Outcome, Status
from dpenet_cli.errors import InputError, StorageError
from dpenet_cli.system.atomic import write_parts
from dpenet_cli.system.line_file import SCHEMA, LineFile, read_lines
from dpenet_cli.system.storage import whole_name


class ReportFile:
    """Rows of a run, appended to a file as they come.

    Args:
        path: the file; rows of earlier runs stay.
        asked: what results depend on: ``weights`` and options.
        weights: their name or path.

    Raises:
        InputError: it cannot be written, or holds something else.
    """

    def __init__(self, path: Path, asked: Mapping[str, object], weights: str = "") -> None:
        self._path = path
        self._weights = asked.get("weights")
        self._weights_name = (weights or None) if self._weights else None
        self._options = {name: value for name, value in asked.items() if name != "weights"}
        try:
            if path.is_file() and (first := next(read_lines(path), None)) and first[2] is None:
                raise InputError(str(path), "it exists, and is no report", "Name another file with --report.")
            self._file = LineFile(path)
        except OSError as error:
            why = f"this report cannot be written ({error.strerror or error})"
            raise InputError(str(path), why, "Name another file with --report.") from error

    def add(self, outcome: Outcome) -> None:
        """Append an outcome.

        Raises:
            StorageError: it cannot be written any more.
        """
        width, height = outcome.size or (None, None)
        used = outcome.used or {}
        row: dict[str, Any] = {
            "schema": SCHEMA,
            "source": whole_name(outcome.source),
            "output": outcome.target and whole_name(outcome.target),
            "root": outcome.root and whole_name(outcome.root),
            "status": outcome.status.value,
            "reason": outcome.error and outcome.error.why,
            "next_step": outcome.error and outcome.error.next_step,
            "width": width,
            "height": height,
            "seconds": round(outcome.seconds, 3),
            "scale": outcome.scale,
            "frames": outcome.frames,
            "encoder": outcome.encoder,
            "notices": outcome.notices,
            "weights": self._weights,
            "weights_name": self._weights_name,
            **{name: used.get(name) for name in ("device", "backend", "precision")},
            "options": self._options,
            "time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        }
        try:
            self._file.add(row)
        except OSError as error:
            why = f"this report cannot be written any more ({error.strerror or error})"
            raise StorageError(str(self._path), why, "Check its disk; the same command goes on from here.") from error

    def close(self) -> None:
        """Flush and close the file."""
        self._file.close()


class Merged(NamedTuple):
    """What a merge found.

    Attributes:
        counts: inputs by their status.
        broken: lines that are no rows: a run was killed, or the file is another.
    """

    counts: Counter[str]
    broken: int


def merge(reports: Sequence[Path], merged: Path) -> Merged:
    """Write the row that counts of each input, in the order in which they stand. Memory is flat.

    Args:
        reports: files of rows; of the same input in two, the row of the later time counts.
        merged: the file to write, whole or not at all.

    Raises:
        InputError: a report cannot be read.
        OSError: as the system reports it: the merged one cannot be written.
    """
    with closing(_index(reports)) as index:
        counts = Counter(dict(index.execute("SELECT status, COUNT(*) FROM latest GROUP BY status")))
        write_parts(merged, (line for _, line in _rows(index, reports)))
        (broken,) = index.execute("SELECT COUNT(*) FROM broken").fetchone()
    return Merged(counts, broken)


class FailedInputs:
    """The inputs of a report whose last row says that they failed, as `manifests.Rows`.

    Args:
        report: the file.

    Raises:
        InputError: it cannot be read, or holds no row.
    """

    def __init__(self, report: Path) -> None:
        self.name = str(report)
        self._report = report
        self._index = _index([report])
        if not self._index.execute("SELECT 1 FROM latest LIMIT 1").fetchone():
            raise InputError(
                self.name, "this is no report: there are no rows in it", "Name a file that --report wrote."
            )

    def __iter__(self) -> Iterator[Row]:
        """From the first on."""
        for number, line in _rows(self._index, [self._report], Status.FAILED):
            row = json.loads(line)
            yield Row(number, row["source"], row.get("output"), root=row.get("root") or "")


_Line = tuple[int, bytes]
"""The number of a row, from 1, and the row."""

_Indexed = tuple[bytes, str, str, int, int, int, str]
"""A row as it is indexed: source, output, time, report, place, size, status."""


def _index(reports: Sequence[Path]) -> sqlite3.Connection:
    """Which row of each input counts: its place in the files, in a table that goes to the disk where it is large."""
    index = sqlite3.connect("", isolation_level=None)
    index.execute("CREATE TABLE broken (report INTEGER, place INTEGER)")
    columns = "source BLOB, output TEXT, time TEXT, report INTEGER, place INTEGER, size INTEGER, status TEXT"
    index.execute(f"CREATE TABLE every ({columns})")
    index.execute(f"CREATE TABLE latest ({columns})")
    index.execute("BEGIN")
    for number, report in enumerate(reports):
        try:
            for place, line, row in read_lines(report):
                if values := _values(row):
                    place_of = (number, place, len(line))
                    index.execute("INSERT INTO every VALUES (?, ?, ?, ?, ?, ?, ?)", (*values[:3], *place_of, values[3]))
                elif line.strip():
                    index.execute("INSERT INTO broken VALUES (?, ?)", (number, place))
        except OSError as error:
            why = f"this report cannot be read ({error.strerror or error})"
            raise InputError(str(report), why, "Check its name and its permissions.") from error
    rows = index.execute("SELECT * FROM every ORDER BY source, output, time, report, place")
    for _, same in itertools.groupby(rows, lambda row: row[:2]):
        counts = functools.reduce(_later, same)
        index.execute("INSERT INTO latest VALUES (?, ?, ?, ?, ?, ?, ?)", counts)
    # An input may have failed before it was known where its result goes; a later row with a result says more.
    index.execute("CREATE INDEX of_source ON latest (source)")
    index.execute(
        "DELETE FROM latest WHERE output = '' AND EXISTS (SELECT 1 FROM latest AS more WHERE "
        "more.source = latest.source AND more.output > '' AND more.time >= latest.time)"
    )
    index.execute("COMMIT")
    return index


def _values(row: dict[str, Any] | None) -> tuple[bytes, str, str, str] | None:
    """Source, output, time and status of a row, the names as hashes; None if it is none."""
    if row is None or not isinstance(source := row.get("source"), str) or row.get("status") not in tuple(Status):
        return None
    output = row.get("output") or ""
    if not isinstance(output, str) or not isinstance(row.get("root"), str | None):
        return None
    return _digest(source), output and _digest(output).hex(), str(row.get("time", "")), str(row["status"])


def _digest(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _later(known: _Indexed, row: _Indexed) -> _Indexed:
    """Of two rows of one input the one that counts: the later, unless it was skipped and a result was known."""
    is_news = row[-1] not in (Status.SKIPPED, Status.PLANNED) or known[-1] == Status.FAILED
    return row if is_news else known


def _rows(index: sqlite3.Connection, reports: Sequence[Path], status: Status | None = None) -> Iterator[_Line]:
    """The rows that count, in the order in which they stand."""
    where, values = ("WHERE status = ?", (status.value,)) if status else ("", ())
    rows = index.execute(f"SELECT report, place, size FROM latest {where} ORDER BY report, place", values)  # noqa: S608
    opened, file = -1, None
    try:
        for number, (report, place, size) in enumerate(rows, 1):
            if report != opened:
                if file is not None:
                    file.close()
                opened, file = report, reports[report].open("rb")
            assert file is not None
            file.seek(place)
            line = file.read(size)
            yield number, line if line.endswith(b"\n") else line + b"\n"
    finally:
        if file is not None:
            file.close()
