"""Where the work of a batch is done, if not here: the option ``--ray``, whose address may be left out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from dpenet_cli.batch.decisions import Decisions
from dpenet_cli.batch.plans import Work
from dpenet_cli.batch.shards import Shard
from dpenet_cli.cli.batch_report import BatchReport
from dpenet_cli.cli.batch_run import Cleaning
from dpenet_cli.cli.sources import MANY
from dpenet_cli.options import EngineOptions, PictureOptions, VideoOptions

_OPTION, _HERE = "--ray", "local"

RayAddress = Annotated[
    str | None,
    typer.Option(
        _OPTION,
        metavar="[ADDRESS]",
        help="Work on the machines of a Ray cluster: host:port, or auto for the one that this machine belongs to. "
        "Without an address, which must then be the last or stand before another option, Ray is started here. Inputs "
        "and OUT are on storage that all machines share. --threads is for each worker.",
        show_default=False,
        rich_help_panel=MANY,
    ),
]


class WithRay(TyperCommand):
    """A command whose ``--ray`` may stand without its value, which Typer does not know: it is added here."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments of the command line."""
        end = args.index("--") if "--" in args else len(args)  # what comes after it are names
        given: list[str] = []
        for place, text in enumerate(args):
            given.append(text)
            following = args[place + 1] if place + 1 < len(args) else "-"
            if text == _OPTION and place < end and following.startswith("-"):
                given.append(_HERE)
        return super().parse_args(ctx, given)


def chosen_cluster(text: str) -> str:
    """The value of ``--ray``.

    Raises:
        OptionError: it is none.
    """
    from dpenet_cli.batch.ray_connection import check_address

    return check_address(text)


def on_cluster(
    work: Work,
    report: BatchReport,
    cluster: str,
    weights: str,
    how: tuple[EngineOptions, PictureOptions | VideoOptions, Mapping[str, object], Shard | None],
    decisions: Decisions,
    *,
    verbose: bool,
) -> Cleaning:
    """The outcomes of a run on a cluster, and what tells what computes them.

    Args:
        work: what is to be done.
        report: told what goes on.
        cluster: its address.
        weights: their name or path.
        how: how the network is run, how inputs are cleaned, what results depend on, which part it is.
        decisions: which outputs are to be written.
        verbose: the workers tell every decision.
    """
    from dpenet_cli.batch.ray_cluster import RayRun
    from dpenet_cli.batch.ray_rows import Task

    if Path(weights).is_file():  # a path, which another machine may only find if it is whole
        weights = str(Path(weights).absolute())
    run = RayRun(cluster, Task(weights, *how, verbose), decisions, report)
    return run.outcomes(work.jobs), lambda: run.description
