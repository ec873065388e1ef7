"""The Typer app: every subcommand, and the entry point of `dpenet`."""

import os
import sys
from typing import Annotated

import typer

from dpenet_cli import __version__
from dpenet_cli.cli.benchmark import benchmark
from dpenet_cli.cli.cluster import WithRay
from dpenet_cli.cli.console import Exit, own_stderr, print_error
from dpenet_cli.cli.derain import derain
from dpenet_cli.cli.doctor import doctor
from dpenet_cli.cli.export import export
from dpenet_cli.cli.guide import guide
from dpenet_cli.cli.report import report_app
from dpenet_cli.cli.train import train
from dpenet_cli.cli.video import video
from dpenet_cli.cli.weights import weights_app
from dpenet_cli.errors import DpenetError, StorageError

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_show_locals=False,
    help="Remove rain from photographs and videos with DPENet. Inputs are never overwritten.",
    epilog="Start with: dpenet derain photos/ -o clean/",
)
app.command(cls=WithRay, epilog="More: dpenet guide formats")(derain)
app.command(cls=WithRay, epilog="More: dpenet guide videos")(video)
app.command(epilog="More: dpenet guide benchmark")(benchmark)
app.command(epilog="More: dpenet guide training")(train)
app.command(epilog="More: dpenet guide weights")(export)
app.command()(doctor)
app.add_typer(weights_app, name="weights", epilog="More: dpenet guide weights")
app.add_typer(report_app, name="report", epilog="More: dpenet guide machines")
app.command()(guide)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dpenet {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before the subcommand; the version is all there is."""


def main() -> None:
    """Run the command line; the entry point of ``dpenet``."""
    # PyTorch's threads wait for each other hundreds of times a picture. By default they spin for milliseconds, and
    # where another program wants the cores too they burn their own time: measured, 80 seconds for what takes 2. Never
    # spinning costs half the speed of a quiet machine. 10,000 turns, some microseconds, cost neither. OpenMP reads
    # this once, so it must stand before torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a name that the locale lacks must not stop the work
    own_stderr()
    try:
        app()
    except DpenetError as error:  # one picture's errors are told by its command; what gets here is about the command
        print_error(error)
        sys.exit(Exit.TRY_AGAIN if isinstance(error, StorageError) else Exit.USAGE)
