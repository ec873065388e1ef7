"""``dpenet benchmark``: scores on test sets, under a named protocol, with the protocol beside every number."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from dpenet_cli.cli.console import Exit, end_on_signals, print_error
from dpenet_cli.cli.scoring import Chosen, Galleries, Saver, labels, score_results, score_weights, write_file
from dpenet_cli.cli.speed_tables import run_end_to_end, run_speed
from dpenet_cli.errors import ImageWriteError, OptionError
from dpenet_cli.evaluation import metrics
from dpenet_cli.evaluation.test_sets import find_test_set
from dpenet_cli.options import DEFAULT_WEIGHTS, EngineOptions, Precision
from dpenet_cli.system.outputs import Output, check_outputs

if TYPE_CHECKING:
    from dpenet_cli.evaluation.benchmark import BenchmarkResult, PairSet

_WHAT, _HOW, _OUT = "What is scored", "How", "What comes out"


def benchmark(
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="rain100l, rain100h, rain800 (test100), rain1400, rain12, rain200l, rain200h, test1200, test2800, "
            "spa-data, or demo, which needs no download. May be repeated.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    data_root: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where the sets lie; searched before DPENET_DATA and your data folder.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    rainy: Annotated[
        Path | None,
        typer.Option("--input", metavar="DIR", help="Rainy pictures of your own.", rich_help_panel=_WHAT),
    ] = None,
    target: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The ground truths of --input or --results.", rich_help_panel=_WHAT),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Pictures that another method made, to be scored.", rich_help_panel=_WHAT),
    ] = None,
    speed: Annotated[
        bool,
        typer.Option(
            "--speed",
            help="Time this machine instead, in every precision it has, against the published way of running.",
            rich_help_panel=_WHAT,
        ),
    ] = False,
    size: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WxH",
            help="Picture to time, in pixels. May be repeated.",
            show_default="512x512",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    photo: Annotated[
        str | None,
        typer.Option(
            metavar="WxH",
            help="With --speed: time JPEGs of this size from file to file, and show where the time goes.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    film: Annotated[
        str | None,
        typer.Option(
            metavar="WxH",
            help="With --speed: the same for a video, whose frames --repeat counts.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    allow_partial: Annotated[
        bool,
        typer.Option(
            "--allow-partial",
            help="Go on when pairs are missing, and say how many of how many were scored.",
            rich_help_panel=_WHAT,
        ),
    ] = False,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|PATH",
            help="Weights as for derain. Repeated, they stand side by side.",
            show_default=DEFAULT_WEIGHTS,
            rich_help_panel=_HOW,
        ),
    ] = None,
    protocol: Annotated[
        metrics.Protocol,
        typer.Option(
            help="y-uint8: rounded BT.601 luma, as Restormer's and MPRNet's scripts. y-float: not rounded. "
            "rgb: all three channels.",
            rich_help_panel=_HOW,
        ),
    ] = metrics.PROTOCOL,
    device: Annotated[
        str, typer.Option(metavar="auto|cpu|cuda[:N]|mps", help="Where to compute.", rich_help_panel=_HOW)
    ] = EngineOptions.device,
    precision: Annotated[
        Precision, typer.Option(help="Of the network; printed with the scores.", rich_help_panel=_HOW)
    ] = Precision.FP32,
    threads: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="CPU threads.", show_default="all cores", rich_help_panel=_HOW),
    ] = None,
    repeat: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Timed runs of each way, or files, with --speed.", rich_help_panel=_HOW),
    ] = 5,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Keep the restored pictures there, as DIR/SET/METHOD/*.png.", rich_help_panel=_OUT
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="Write one page that opens offline: scores, their distribution, the worst and best before and after.",
            rich_help_panel=_OUT,
        ),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write every picture's scores.", rich_help_panel=_OUT)
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that exist.", rich_help_panel=_OUT)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Everything as JSON on stdout, instead of tables.", rich_help_panel=_OUT)
    ] = False,
) -> None:
    """Score weights, or the results of other methods, on test sets.

    The field's sets are found by name and paired by name; what others published on them is printed beneath.

    Exit code: 0 done, 1 a file could not be written, 2 wrong usage or an incomplete set, 130 interrupted.
    """
    end_on_signals()
    if speed:
        _check_speed([dataset, rainy, target, results, save, csv, report], weights)
        engine = EngineOptions(device, threads=threads)
        names = weights or [DEFAULT_WEIGHTS]
        if photo or film:
            if size:
                raise OptionError("--size", "--photo and --film have sizes of their own", "Run the command twice.")
            return run_end_to_end(names[0], photo, film, engine, repeat, as_json=as_json)
        return run_speed(names[0], size or ["512x512"], engine, repeat, as_json=as_json)
    if photo or film or size:
        raise OptionError("--photo, --film and --size", "they are sizes to time", "Give them with --speed.")
    _check_sources(dataset, rainy, target, results, weights)
    chosen = Chosen(tuple(weights or [DEFAULT_WEIGHTS]), protocol, EngineOptions(device, precision, threads=threads))
    console = Console(stderr=True, highlight=False)
    try:
        sets = _open_sets(dataset or [], data_root, rainy or results, target, partial=allow_partial)
        saver = Saver(save) if save else None
        outputs = [Output(path, name) for path, name in ((csv, "--csv"), (report, "--report")) if path]
        _check_outputs(outputs, saver, sets, results, chosen.weights, overwrite=overwrite)
        galleries = Galleries() if report else None
        keepers = [keep for keep in (saver, galleries) if keep is not None]
        if results is not None:
            scored, how = [score_results(sets[0], results, protocol, keepers, console)], "pictures as given"
        else:
            scored, how = score_weights(sets, chosen, keepers, console)
        _show(scored, how, chosen.engine.precision, as_json=as_json)
        _write_files(scored, how, chosen.engine.precision, csv, report, galleries)
    except ImageWriteError as error:
        print_error(error, console)
        raise typer.Exit(Exit.SOME_FAILED) from None
    except KeyboardInterrupt:
        console.print("interrupted: nothing is reported", style="bold")
        raise typer.Exit(Exit.INTERRUPTED) from None
    return None


def _check_speed(others: Sequence[object], weights: Sequence[str] | None) -> None:
    if any(others) or len(weights or []) > 1:
        step = "Leave out --dataset, --input, --target, --results, --save, --csv, --report and further --weights."
        raise OptionError("--speed", "it times one network on drawn pictures, and scores none", step)


def _check_sources(
    dataset: Sequence[str] | None,
    rainy: Path | None,
    target: Path | None,
    results: Path | None,
    weights: Sequence[str] | None,
) -> None:
    given = [name for name, value in (("--dataset", dataset), ("--input", rainy), ("--results", results)) if value]
    if len(given) != 1:
        why = f"{' and '.join(given)} exclude each other" if given else "there is nothing to score"
        step = "Give --dataset NAME, or --input DIR --target DIR, or --results DIR --target DIR; demo is a NAME."
        raise OptionError("benchmark", why, step)
    for name in dataset or []:
        if name.lower() != "demo":
            find_test_set(name)
    if (target is None) != bool(dataset):
        why = "a named set brings its own" if dataset else f"{given[0]} needs ground truths"
        raise OptionError("--target", why, "Leave it out." if dataset else "Give --target DIR.")
    if results and weights:
        raise OptionError("--weights", "--results are pictures that are there already", "Leave one of them out.")


def _open_sets(
    names: Sequence[str], data_root: Path | None, rainy: Path | None, target: Path | None, *, partial: bool
) -> "list[PairSet]":
    from dpenet_cli.evaluation.benchmark import folder_set, known_set

    if rainy and target:
        return [folder_set(rainy, target, partial=partial)]
    sets = [known_set(name, data_root, partial=partial) for name in names]
    return list({each.name: each for each in sets}.values())


def _check_outputs(
    outputs: Sequence[Output],
    saver: Saver | None,
    sets: "Sequence[PairSet]",
    results: Path | None,
    weights: Sequence[str],
    *,
    overwrite: bool,
) -> None:
    """Look at all that will be written before the first picture is scored."""
    from dpenet_cli.evaluation.benchmark import short_name
    from dpenet_cli.network.checkpoints import find_weights

    methods = [short_name(results)] if results is not None else list(labels(weights))
    kept = [
        Output(saver.path(each.name, method, item.name), f"{item.name} of {each.name} by {method}")
        for each in sets
        for method in methods
        for item in each.items
        if saver is not None
    ]
    inputs = [path for each in sets for path in each.files]
    if results is None:
        inputs += [find_weights(name) for name in weights]
    check_outputs([*outputs, *kept], inputs, overwrite=overwrite)


def _show(results: "Sequence[BenchmarkResult]", how: str, precision: Precision, *, as_json: bool) -> None:
    from dpenet_cli.cli.tables import print_results
    from dpenet_cli.evaluation.reported_scores import reported_on

    if as_json:
        names = dict.fromkeys(result.dataset.name for result in results)
        literature = [dataclasses.asdict(row) for name in names for row in reported_on(name)]
        fields = {"how": how, "precision": precision.value, "results": [result.to_json() for result in results]}
        typer.echo(json.dumps(fields | {"literature": literature}, allow_nan=False))
    else:
        print_results(results, how)


def _write_files(
    results: "Sequence[BenchmarkResult]",
    how: str,
    precision: Precision,
    csv: Path | None,
    report: Path | None,
    galleries: Galleries | None,
) -> None:
    if csv:
        from dpenet_cli.cli.tables import to_csv

        write_file(csv, to_csv(results, precision.value))
    if report:
        from dpenet_cli.evaluation.html_report import build_page

        write_file(report, build_page(results, galleries.found if galleries else {}, how).encode())
