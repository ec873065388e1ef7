"""``dpenet weights fit-scales``: the rule that tells in which size weights should look at a picture, fitted anew."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from dpenet_cli.cli.console import print_note, table_console
from dpenet_cli.cli.shared_options import Backend, Device, EnginePrecision, Threads
from dpenet_cli.errors import InputError
from dpenet_cli.options import DEFAULT_WEIGHTS, EngineOptions


def fit_scales(
    data: Annotated[Path, typer.Option(help="Folder of large photographs without rain.", metavar="DIR")],
    weights: Annotated[str, typer.Argument(help="A name from the list, or the path of a file.")] = DEFAULT_WEIGHTS,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where the rule goes.", show_default="beside the weights"),
    ] = None,
    device: Device = EngineOptions.device,
    backend: Backend = EngineOptions.backend,
    precision: EnginePrecision = EngineOptions.precision,
    threads: Threads = None,
) -> None:
    """Fit the rule that tells in which size the network should look at a picture, and whether it shows rain.

    Rain is drawn in five sizes on the photographs. The rule lies beside the weights, and goes with them.

    Example: dpenet weights fit-scales runs/1/best.safetensors --data photographs
    """
    from dpenet_cli.evaluation.scale_fit import cases, fit, measure, photographs
    from dpenet_cli.inference.multi_gpu import load_engine
    from dpenet_cli.inference.scale_rule import rule_path

    if not data.is_dir():
        raise InputError(str(data), "it is no folder", "Name a folder of large photographs without rain.")
    engine = load_engine(weights, EngineOptions(device, precision, None, threads, 1.0, backend))
    paths = photographs(data)
    todo = cases(len(paths))
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}")
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task("drawing, looking, scoring", total=len(todo))
        samples = []
        for sample in measure(engine, paths, todo):
            samples.append(sample)
            progress.update(task, advance=1)
    fitted = fit(samples)
    path = output or rule_path(weights)
    fitted.rule.save(path)
    table = Table("rain", "cases", "rainy", "own size", "rule", "best size", "worst", "right")
    for row in fitted.rows:
        numbers = (f"{number:.2f}" for number in (row.before, row.own_size, row.rule, row.best))
        name = f"{row.times}×" if row.times else "faint"
        table.add_row(name, str(row.cases), *numbers, f"{row.worst:+.2f}", f"{row.right:.0%}")
    table_console().print(table)
    missed = f"faint rain all over called dry: {fitted.faint_missed:.1%}, in a ninth: {fitted.ninth_missed:.1%}"
    typer.echo(f"dry regions called dry: {fitted.dry_found:.0%}; {missed}")
    print_note(f"{len(paths)} photographs, each judged by a rule fitted on the others; written to {path}")
