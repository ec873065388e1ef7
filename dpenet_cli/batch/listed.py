"""A list of inputs, turned into jobs as it is read: never held, so that it may have any number of rows."""

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dpenet_cli.batch.key_table import KeyTable
from dpenet_cli.batch.manifests import Row, Rows
from dpenet_cli.batch.naming import COMPARE_SUFFIX, Medium, beside, compare_place
from dpenet_cli.batch.plans import BadInput
from dpenet_cli.batch.shards import Shard
from dpenet_cli.errors import DpenetError, InputError
from dpenet_cli.system.outputs import Job, file_key
from dpenet_cli.system.storage import Place, name_too_long, unwritable, whole_name
from dpenet_cli.system.urls import StorePath, is_url, masked

_SOURCE, _TARGET, _COMPARE = range(3)
"""What a path is to its row; the row's number and this make a tag."""


class Where(NamedTuple):
    """Where the results of a list go.

    Attributes:
        output: the output folder, or None for names beside the inputs.
        base: the folder whose structure is mirrored in it.
        compare: also plan before/after pictures.
    """

    output: Place | None
    base: Place
    compare: bool = False


class ListedJobs:
    """The jobs of a list, which is gone through anew each time.

    Args:
        rows: the list.
        medium: pictures or videos.
        where: where their results go.
        shard: the part that is to be done, or None for all.

    Raises:
        InputError: two inputs would write one output, or an output would replace an input (all rows are looked at for
            that, whatever the part); or the output folder cannot be written to.
    """

    def __init__(self, rows: Rows, medium: Medium, where: Where, shard: Shard | None = None) -> None:
        self._rows = rows
        self._medium = medium
        self._where = where
        base = whole_name(str(where.base))
        self._base = base.rstrip("/" if is_url(base) else os.sep) + ("/" if is_url(base) else os.sep)
        self._shard = shard
        self._repeats: set[int] = set()
        self._count = self.whole = 0
        if where.output is not None and (why := unwritable(where.output)):
            error = f"results cannot be written there ({why})"
            raise InputError(str(where.output), error, "Choose another folder with -o.")
        self._check()

    def __len__(self) -> int:
        """Rows of this part, those that cannot be done among them."""
        return self._count

    def __iter__(self) -> Iterator[Job | BadInput]:
        """What is to be done, and what cannot be, in the order of the list."""
        for number, planned in self._planned():
            if number not in self._repeats and self._is_ours(planned):
                yield planned

    def _planned(self) -> Iterator[tuple[int, Job | BadInput]]:
        for row in self._rows:
            try:
                yield row.number, self._job(row)
            except DpenetError as error:
                yield row.number, BadInput(masked(row.source), error, row.output or row.source)

    def _is_ours(self, planned: Job | BadInput) -> bool:
        return self._shard is None or self._shard.holds(planned.relative)

    def _job(self, row: Row) -> Job:
        """One row's job.

        Raises:
            DpenetError: why there is none.
        """
        if row.error is not None:
            raise row.error
        source = self._medium.place(row.source)
        if refusal := self._medium.refusal_by_name(source):
            raise refusal
        target, root = self._target(row, source)
        # Whether another row has the same name in another format is not known yet: both names are in it.
        compare = compare_place(target, root, target.name + COMPARE_SUFFIX) if self._where.compare else None
        if long := next((path for path in (target, compare) if path is not None and name_too_long(path)), None):
            why = f"a name on the way to its output would be too long ({long})"
            raise InputError(row.source, why, 'Give a shorter "output".')
        relative = target.relative_to(root).as_posix() if root else row.source
        return Job(source, target, compare, root, relative)

    def _target(self, row: Row, source: Place) -> tuple[Place, Place | None]:
        """Where the result goes, and the output folder that it is in."""
        if row.output is not None and row.root is not None:
            return self._medium.place(row.output), self._medium.place(row.root) if row.root else None
        folder = self._where.output
        if row.output is None:
            name = self._medium.rename(source)
            if folder is None:
                return beside(source, name), None
            whole = whole_name(str(source))
            if not whole.startswith(self._base):
                why = f"it does not lie below {self._where.base}, whose structure is mirrored"
                raise InputError(row.source, why, 'Give another --root, or an "output" in its row.')
            return folder / os.path.dirname(whole[len(self._base) :]) / name, folder  # noqa: PTH120
        if folder is None:
            raise InputError(row.source, 'its row has an "output", and there is no folder for it', "Name one with -o.")
        place = Path(os.path.normpath(row.output))
        leads_out = place.is_absolute() or place.drive or place.parts[:1] in {("..",), ()} or is_url(row.output)
        if leads_out or row.output.endswith(("/", os.sep)):
            why = f'its "output" is no name of a file below the output folder ({row.output})'
            raise InputError(row.source, why, "Give one such as deep/a.jpg.")
        return folder / place, folder

    def _check(self) -> None:
        """Count the rows, and find two that write one file, or one that writes over another's input."""
        with KeyTable() as table:
            for number, planned in self._planned():
                self.whole += 1
                self._count += self._is_ours(planned)
                if isinstance(planned, Job):
                    for role, path in _paths(planned):
                        table.add(_key(path), number * 4 + role)
            suspects = {tag // 4 for tags in table.groups() if any(tag % 4 != _SOURCE for tag in tags) for tag in tags}
        if suspects:
            self._judge(suspects)

    def _judge(self, suspects: set[int]) -> None:
        """Look at rows of which some share a hash; the same input for the same output, named again, is one job."""
        readers: dict[str, str] = {}
        writers: dict[str, Job] = {}
        repeats: list[Job] = []
        for number, job in self._planned():
            if number not in suspects or isinstance(job, BadInput):
                continue
            known = writers.get(_key(job.target))
            if known is not None and _key(known.source) == _key(job.source):
                self._repeats.add(number)
                repeats.append(job)
                continue
            for path in (path for role, path in _paths(job) if role != _SOURCE):
                if other := writers.get(_key(path)):
                    why = f"both {other.source} and {job.source} would be written to it"
                    raise InputError(str(path), why, 'Give them different "output"s, or clean them in two runs.')
                writers[_key(path)] = job
            readers[_key(job.source)] = str(job.source)
        for key in writers.keys() & readers.keys():
            why = f"it is an input, and the output of {writers[key].source} would replace it"
            raise InputError(readers[key], why, "Name another output folder with -o.")
        self.whole -= len(repeats)
        self._count -= sum(map(self._is_ours, repeats))


def _paths(job: Job) -> Iterator[tuple[int, Place]]:
    yield _SOURCE, job.source
    yield _TARGET, job.target
    if job.compare is not None:
        yield _COMPARE, job.compare


def _key(path: Place) -> str:
    """A path as the file system compares it, links of its folders followed: of each folder once."""
    if isinstance(path, StorePath):
        return file_key(path, followed=True)
    folder, name = os.path.split(whole_name(str(path)))
    return file_key(os.path.join(_real(folder), name), followed=True)  # noqa: PTH118 - millions of them


@functools.lru_cache(4096)
def _real(folder: str) -> str:
    return os.path.realpath(folder)
