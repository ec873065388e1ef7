"""A plan, and what makes it safe: names are settled and checked over all of it before anything is written."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from dpenet_cli.batch.naming import COMPARE_SUFFIX, Medium, compare_place
from dpenet_cli.batch.shards import Shard
from dpenet_cli.errors import DpenetError, InputError
from dpenet_cli.system.outputs import Job, Output, check_outputs, file_key
from dpenet_cli.system.storage import Place, name_too_long, unwritable


class BadInput(NamedTuple):
    """An input that names nothing to work on.

    Attributes:
        source: the input.
        error: why not.
        relative: its path below the folder that was named, as in `Job`; empty for what was named itself.
        nothing: nothing was found there.
        others: it is a folder of files that another command takes.
    """

    source: str
    error: DpenetError
    relative: str = ""
    nothing: bool = False
    others: bool = False


class Jobs(Protocol):
    """What is to be done, and what turns out not to be possible: a list, or what goes through one."""

    def __len__(self) -> int:
        """How many there are."""

    def __iter__(self) -> Iterator[Job | BadInput]:
        """From the first on, any number of times."""


class Work(Protocol):
    """Everything that one command is to do: a `Plan`, or one that is read as it is done."""

    @property
    def jobs(self) -> Jobs:
        """In the order of the inputs."""

    @property
    def bad(self) -> Sequence[BadInput]:
        """Inputs that failed before the work started; the others go on."""

    @property
    def notices(self) -> Sequence[str]:
        """What the user should know, as sentences without a full stop."""


@dataclass
class Plan:
    """Everything that one command is to do.

    Attributes:
        jobs: in the order of the inputs, folders sorted by name.
        bad: inputs that failed before the work started; the others go on.
        notices: what the user should know, as sentences without a full stop.
    """

    jobs: list[Job] = field(default_factory=list)
    bad: list[BadInput] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def with_compare(jobs: Sequence[Job]) -> list[Job]:
    """Add the names of the before/after pictures: ``a-compare.jpg``, with the suffix kept where two would be alike."""
    plain = [file_key(job.target.with_name(job.target.stem + COMPARE_SUFFIX)) for job in jobs]
    uses = Counter(plain)
    named = []
    for job, name in zip(jobs, plain, strict=True):
        stem = job.target.stem if uses[name] == 1 else job.target.name
        named.append(job._replace(compare=compare_place(job.target, job.root, stem + COMPARE_SUFFIX)))
    return named


def drop_repeats(batch: Plan) -> None:
    """The same file named twice for the same output is one job."""
    unique = {(file_key(job.source), file_key(job.target)): job for job in reversed(batch.jobs)}
    batch.jobs = list(reversed(unique.values()))


def drop_own_products(batch: Plan) -> None:
    """Leave out inputs that other inputs have as their outputs: ``dpenet derain *.jpg``, run a second time."""
    products = {file_key(path) for job in batch.jobs for path in (job.target, job.compare) if path is not None}
    remaining = [job for job in batch.jobs if file_key(job.source) not in products]
    if dropped := len(batch.jobs) - len(remaining):
        batch.notices.append(f"{dropped} input(s) left out: they are the cleaned pictures of other inputs")
    batch.jobs = remaining


def drop_long_names(batch: Plan) -> None:
    """An output whose name no file could have is its input's failure, found before any work."""
    remaining = []
    for job in batch.jobs:
        long = next((path for path in (job.target, job.compare) if path is not None and name_too_long(path)), None)
        if long is None:
            remaining.append(job)
            continue
        why = f"a name on the way to its output would be too long ({long})"
        error = InputError(str(job.source), why, "Give a shorter one with -o.")
        batch.bad.append(BadInput(str(job.source), error, job.relative))
    batch.jobs = remaining


def drop_unwritable(batch: Plan, output: Place | None) -> None:
    """What has no place for its output is its failure, found before any work; it is the command's if -o says where."""
    reasons: dict[Place, str | None] = {}
    remaining = []
    for job in batch.jobs:
        folders = [job.root or job.target.parent, *([job.compare.parent] if job.compare is not None else [])]
        for folder in folders:
            if folder not in reasons:
                reasons[folder] = unwritable(folder)
        bad = next((folder for folder in folders if reasons[folder]), None)
        if bad is None:
            remaining.append(job)
            continue
        error = InputError(
            str(bad), f"results cannot be written there ({reasons[bad]})", "Choose another folder with -o."
        )
        if output is not None:
            raise error
        batch.bad.append(BadInput(str(job.source), error, job.relative))
    batch.jobs = remaining


def check_targets(jobs: Sequence[Job], *, redone: bool, overwrite: bool) -> None:
    """Refuse, before anything is written, what would lose a file."""
    outputs = [
        Output(path, str(job.source), redone) for job in jobs for path in (job.target, job.compare) if path is not None
    ]
    check_outputs(
        outputs,
        [job.source for job in jobs],
        overwrite=overwrite,
        elsewhere="Name another output with -o",
        apart="Clean them in two runs with two output folders.",
    )


def take_part(batch: Plan, shard: Shard, medium: Medium) -> None:
    """Leave the files of other parts out. What was named itself and is no input is every part's failure.

    Names were given and checked over all of them: a part writes what the whole would.
    """
    whole = len(batch.jobs)
    batch.jobs = [job for job in batch.jobs if shard.holds(job.relative)]
    batch.bad = [bad for bad in batch.bad if not bad.relative or shard.holds(bad.relative)]
    batch.notices.append(f"shard {shard}: {len(batch.jobs)} of {whole} {medium.noun}")
