"""``dpenet benchmark``: scores on test sets, under a named protocol, with the protocol beside every number."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dpenet_cli.cli.console import Exit, end_on_signals, one_line, print_error
from dpenet_cli.errors import ImageWriteError, OptionError
from dpenet_cli.evaluation import metrics
from dpenet_cli.evaluation.benchmark import BenchmarkResult, Method, OnScored, ScoredImages, score_sets
from dpenet_cli.evaluation.html_report import ShownImages, build_page
from dpenet_cli.evaluation.pair_sets import PairSet, folder_set, named_set, short_name
from dpenet_cli.evaluation.reported_scores import reported_on
from dpenet_cli.evaluation.result_files import RestoredPictures, to_csv, write_file
from dpenet_cli.evaluation.test_sets import ALIASES, BENCHMARK_SETS, DEMO, find_test_set
from dpenet_cli.options import DEFAULT_WEIGHTS, EngineOptions, Precision
from dpenet_cli.system.outputs import Output, check_outputs

_WHAT, _HOW, _OUT = "What is scored", "How", "What comes out"
"""The panels of the help."""

_SIZE = "512x512"
"""The picture that --speed times unless another is named."""

_ALIAS_OF = {name: alias for alias, name in ALIASES.items()}
_SETS = ", ".join(f"{name} ({_ALIAS_OF[name]})" if name in _ALIAS_OF else name for name in BENCHMARK_SETS)


def benchmark(
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help=f"{_SETS}, or {DEMO}, which needs no download. May be repeated.",
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
            show_default=_SIZE,
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
        typer.Option(
            min=1, metavar="N", help="Timed runs of each method, or files, with --speed.", rich_help_panel=_HOW
        ),
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
    names = weights or [DEFAULT_WEIGHTS]
    if speed:
        _check_speed([dataset, rainy, target, results, save, csv, report], names, size, photo or film)
        from dpenet_cli.cli import timing

        engine = EngineOptions(device, threads=threads)
        if photo or film:
            return timing.show_end_to_end(names[0], photo, film, engine, repeat, as_json=as_json)
        return timing.show_speed(names[0], size or [_SIZE], engine, repeat, as_json=as_json)
    if photo or film or size:
        raise OptionError("--photo, --film and --size", "they are sizes to time", "Give them with --speed.")
    _check_sources(dataset, rainy, target, results, weights)
    console = Console(stderr=True, highlight=False)
    try:
        sets = _open_sets(dataset or [], data_root, rainy or results, target, partial=allow_partial)
        restored = RestoredPictures(save) if save else None
        outputs = [Output(path, name) for path, name in ((csv, "--csv"), (report, "--report")) if path]
        _check_outputs(outputs, restored, sets, results, names, overwrite=overwrite)
        if results is not None:
            methods = [Method(short_name(results))]
        else:
            from dpenet_cli.evaluation.methods import load_methods

            methods = load_methods(names, EngineOptions(device, precision, threads=threads))
        shown = ShownImages() if report else None
        callbacks = [callback for callback in (restored, shown) if callback is not None]
        found = _score(sets, methods, protocol, callbacks, console)
        description = methods[0].description
        _show(found, description, precision, as_json=as_json)
        if csv:
            write_file(csv, to_csv(found, precision.value))
        if report and shown:
            write_file(report, build_page(found, shown.by_set_and_method, description).encode())
    except ImageWriteError as error:
        print_error(error, console)
        raise typer.Exit(Exit.SOME_FAILED) from None
    except KeyboardInterrupt:
        console.print("interrupted: nothing is reported", style="bold")
        raise typer.Exit(Exit.INTERRUPTED) from None
    return None


def _check_speed(
    others: Sequence[object], weights: Sequence[str], sizes: Sequence[str] | None, file_size: str | None
) -> None:
    if any(others) or len(weights) > 1:
        step = "Leave out --dataset, --input, --target, --results, --save, --csv, --report and further --weights."
        raise OptionError("--speed", "it times one network on drawn pictures, and scores none", step)
    if sizes and file_size:
        raise OptionError("--size", "--photo and --film have sizes of their own", "Run the command twice.")


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
        if name.lower() != DEMO:
            find_test_set(name)
    if (target is None) != bool(dataset):
        why = "a named set brings its own" if dataset else f"{given[0]} needs ground truths"
        raise OptionError("--target", why, "Leave it out." if dataset else "Give --target DIR.")
    if results and weights:
        raise OptionError("--weights", "--results are pictures that are there already", "Leave one of them out.")


def _open_sets(
    names: Sequence[str], data_root: Path | None, rainy: Path | None, target: Path | None, *, partial: bool
) -> list[PairSet]:
    if rainy and target:
        return [folder_set(rainy, target, partial=partial)]
    sets = [named_set(name, data_root, partial=partial) for name in names]
    return list({each.name: each for each in sets}.values())  # test100 and rain800 are one


def _check_outputs(
    outputs: Sequence[Output],
    restored: RestoredPictures | None,
    sets: Sequence[PairSet],
    results: Path | None,
    weights: Sequence[str],
    *,
    overwrite: bool,
) -> None:
    """Look at all that will be written before the first picture is scored."""
    inputs = [path for each in sets for path in each.files]
    if results is not None:
        methods = [short_name(results)]
    else:
        from dpenet_cli.evaluation.methods import method_names
        from dpenet_cli.network.checkpoints import find_weights

        methods = list(method_names(weights))
        inputs += [find_weights(name) for name in weights]
    pictures = [
        Output(restored.path(each.name, method, pair.name), f"{pair.name} of {each.name} by {method}")
        for each in sets
        for method in methods
        for pair in each.pairs
        if restored is not None
    ]
    check_outputs([*outputs, *pictures], inputs, overwrite=overwrite)


def _score(
    sets: Sequence[PairSet],
    methods: Sequence[Method],
    protocol: metrics.Protocol,
    on_scored: Sequence[OnScored],
    console: Console,
) -> list[BenchmarkResult]:
    with _ScoringProgress(console) as progress:
        on_scored = [*on_scored, progress.advance]
        return score_sets(sets, methods, protocol, on_start=progress.start, on_scored=on_scored)


class _ScoringProgress:
    """For each set that a method is scored on, a bar on a terminal and a line elsewhere."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._console = console
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", visible=False)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def start(self, test_set: PairSet, method: Method) -> None:
        title = "scoring" if method.clean is None else one_line(f"{method.name} on {test_set.name}")
        if not self._console.is_terminal:
            self._console.print(f"{title}: {len(test_set.pairs)} pictures", soft_wrap=True)
        self._bar.reset(self._task, description=title, total=len(test_set.pairs), visible=True)

    def advance(self, test_set: PairSet, method: Method, images: ScoredImages) -> None:  # noqa: ARG002 - a callback
        self._bar.advance(self._task)


def _show(results: Sequence[BenchmarkResult], description: str, precision: Precision, *, as_json: bool) -> None:
    if as_json:
        names = dict.fromkeys(result.test_set.name for result in results)
        reported = [dataclasses.asdict(score) for name in names for score in reported_on(name)]
        fields = {"how": description, "precision": precision.value, "results": [each.to_json() for each in results]}
        typer.echo(json.dumps(fields | {"literature": reported}, allow_nan=False))
    else:
        from dpenet_cli.cli.tables import print_scores

        print_scores(results, description)
