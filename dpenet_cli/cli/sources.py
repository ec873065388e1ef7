"""What a command works on: inputs that are named, that stand in a list, or that failed before; all, or a part."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from dpenet_cli.batch.manifests import Manifest, Rows
from dpenet_cli.batch.naming import Medium
from dpenet_cli.batch.plans import BadInput, Jobs, Plan, Work
from dpenet_cli.batch.shards import Shard, parse_shard, unasked
from dpenet_cli.cli.shared_options import FILES
from dpenet_cli.errors import InputError, OptionError
from dpenet_cli.system.storage import on_this_machine

MANY = "Many files, many machines"

FilesFrom = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help='A file of inputs, or - for a pipe: one path a line, or ended by NUL, or JSON rows {"source": "a.jpg", '
        '"output": "b.jpg"}, with the output below OUT and optional. It may have any number of rows.',
        show_default=False,
        rich_help_panel=MANY,
    ),
]
Root = Annotated[
    str | None,
    typer.Option(
        "--root",
        metavar="DIR",
        help="The folder whose structure is mirrored in OUT, for --files-from.",
        show_default="the current one",
        rich_help_panel=MANY,
    ),
]
ShardText = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N|auto|auto/N",
        help="Only part I of N, by a hash of each path. auto: as SLURM's array or RANK and WORLD_SIZE say; auto/N: as "
        "a Kubernetes indexed job does.",
        show_default="everything",
        rich_help_panel=MANY,
    ),
]
ReportTo = Annotated[
    str | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="Append a JSON row for each input: what became of it, with which weights and options.",
        show_default=False,
        rich_help_panel=MANY,
    ),
]
RetryFailed = Annotated[
    str | None,
    typer.Option(
        "--retry-failed",
        metavar="REPORT",
        help="The inputs that failed, by a file that --report wrote.",
        show_default=False,
        rich_help_panel=MANY,
    ),
]
RedoChanged = Annotated[
    bool,
    typer.Option(
        "--redo-changed",
        help="Also redo results that were made with other weights or options, by the record in OUT (.dpenet.jsonl).",
        rich_help_panel=MANY,
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="PATTERN",
        help="Leave out files and folders of this name, or path, of those that are found in folders and by patterns "
        "('*-old*', 2019/). It may be given several times.",
        show_default=False,
        rich_help_panel=FILES,
    ),
]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="End at the first failure.", rich_help_panel=MANY)]
MaxFailures = Annotated[
    int | None,
    typer.Option(
        "--max-failures", min=1, metavar="N", help="End at so many failures.", show_default=False, rich_help_panel=MANY
    ),
]


def failures_allowed(max_failures: int | None, *, fail_fast: bool) -> int | None:
    """At how many failures a run ends, or None.

    Raises:
        OptionError: both options say so.
    """
    if fail_fast and max_failures is not None:
        raise OptionError("--fail-fast", "it is the same as --max-failures 1", "Leave out one of them.")
    return 1 if fail_fast else max_failures


class Sources(NamedTuple):
    """What the user asked to be worked on.

    Attributes:
        inputs: paths and patterns.
        output: where results go.
        files_from: the name of a list.
        root: the folder that is mirrored for a list.
        retry_failed: the name of a report.
        shard: the part, or None for everything.
        exclude: names and patterns of what is left out of folders.
    """

    inputs: Sequence[str]
    output: str | None
    files_from: str | None
    root: str | None
    retry_failed: str | None
    shard: Shard | None
    exclude: Sequence[str] = ()


class _Listed(NamedTuple):
    """The work that a list stands for."""

    jobs: Jobs
    notices: Sequence[str]
    bad: Sequence[BadInput] = ()


def chosen_sources(
    inputs: Sequence[str] | None,
    output: str | None,
    files_from: str | None,
    root: str | None,
    retry_failed: str | None,
    shard: str | None,
    exclude: Sequence[str] | None = None,
) -> Sources:
    """What the options ask for.

    Raises:
        OptionError: nothing is named, or in two ways, or the part is none.
    """
    ways = {"INPUTS": bool(inputs), "--files-from": files_from is not None, "--retry-failed": retry_failed is not None}
    given = [way for way, is_given in ways.items() if is_given]
    if not given:
        raise OptionError("INPUTS", "nothing is named", "Name files or folders, or give a list with --files-from.")
    if len(given) > 1:
        raise OptionError(" and ".join(given), "they name inputs in different ways", "Take one of them.")
    if root is not None and files_from is None:
        raise OptionError("--root", "it is the folder that a list's paths lie in", "Give it with --files-from.")
    if exclude and not inputs:
        raise OptionError("--exclude", "it is for folders and patterns", "Leave the files out of the list.")
    part = None if shard is None else parse_shard(shard, os.environ)
    return Sources(inputs or (), output, files_from, root, retry_failed, part, exclude or ())


def report_path(text: str) -> Path:
    """Where a report is, which is appended to.

    Raises:
        OptionError: it is a URL.
    """
    return on_this_machine(text, "reports are")


@contextmanager
def planned(sources: Sources, medium: Medium, plan: Callable[[], Plan], *, compare: bool = False) -> Iterator[Work]:
    """Everything that is to be done, while the list that it stands in is open.

    Args:
        sources: from `chosen_sources`.
        medium: pictures or videos.
        plan: plans inputs that are named.
        compare: also plan before/after pictures.

    Raises:
        InputError: as `plan_pictures`; or the list cannot be read.
    """
    launched = unasked(os.environ) if sources.shard is None else None
    if sources.files_from is not None:
        with Manifest(sources.files_from) as rows:
            yield _listed(rows, sources, medium, launched, compare=compare)
    elif sources.retry_failed is not None:
        from dpenet_cli.batch.reports import FailedInputs

        yield _listed(FailedInputs(report_path(sources.retry_failed)), sources, medium, launched, compare=compare)
    else:
        work = plan()
        if launched:
            work.notices.append(launched)
        yield work


def _listed(rows: Rows, sources: Sources, medium: Medium, launched: str | None, *, compare: bool) -> Work:
    from dpenet_cli.batch.listed import ListedJobs, Where

    output = None if sources.output is None else medium.place(sources.output)
    is_folder = sources.output is not None and sources.output.endswith((os.sep, "/"))
    if output is not None and not is_folder and output.suffix.lower() in medium.suffixes:
        raise InputError(str(output), f"several {medium.noun} do not fit into one file", "Name a folder with -o.")
    where = Where(output, medium.place(sources.root or "."), compare)
    jobs = ListedJobs(rows, medium, where, sources.shard)
    notices = [launched] if launched else []
    if sources.shard is not None:
        notices.append(f"shard {sources.shard}: {len(jobs)} of {jobs.whole} {medium.noun}")
    if not jobs.whole:
        notices.append(f"{rows.name}: nothing failed" if sources.retry_failed else f"{rows.name}: the list is empty")
    return _Listed(jobs, notices)
