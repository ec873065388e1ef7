"""``dpenet report``: what became of the inputs of many runs, put together."""

from pathlib import Path
from typing import Annotated

import typer

from dpenet_cli.batch.outcomes import write_error
from dpenet_cli.cli.console import Exit, print_note
from dpenet_cli.cli.words import ending
from dpenet_cli.system.outputs import Output, check_outputs

report_app = typer.Typer(
    no_args_is_help=True,
    help="Put reports of several machines together.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@report_app.callback()
def _top() -> None:
    """There is one subcommand today; its name stays a part of the command."""


@report_app.command("merge", epilog=ending("report merge a.jsonl b.jsonl -o all.jsonl", page="machines"))
def merge_reports(
    reports: Annotated[list[Path], typer.Argument(help="Files that --report wrote.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The merged file.", show_default=False)],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the merged file if it exists.")] = False,
) -> None:
    """Write one row an input, the latest of all files.

    Exit code: 0 none failed, 1 some did, 2 wrong usage.
    """
    from dpenet_cli.batch.reports import merge

    check_outputs([Output(output, "the merge")], reports, overwrite=overwrite, elsewhere="Name another file with -o")
    try:
        counts, broken = merge(reports, output)
    except OSError as error:
        raise write_error(output, error) from error
    if broken:
        print_note(f"{broken} line(s) passed over: they are no rows of a report, or were cut off by a crash")
    typer.echo(", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "nothing in them")
    raise typer.Exit(Exit.SOME_FAILED if counts["failed"] else Exit.OK)
