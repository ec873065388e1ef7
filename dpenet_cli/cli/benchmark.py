"""``dpenet benchmark``: scores on test sets, under a named protocol, with the protocol beside every number."""

import dataclasses
import json
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dpenet_cli.cli.console import Exit, one_line, print_error
from dpenet_cli.cli.derain import interrupt
from dpenet_cli.cli.speeds import run_speed
from dpenet_cli.errors import ImageWriteError, OptionError
from dpenet_cli.jobs import write_error
from dpenet_cli.metrics import PROTOCOL, Protocol
from dpenet_cli.options import DEFAULT_WEIGHTS, EngineOptions, Precision
from dpenet_cli.storage import write_whole

if TYPE_CHECKING:
    from dpenet_cli.benchmark import Example, Network, Result, TestSet
    from dpenet_cli.datasets import Picture
    from dpenet_cli.derainer import Derainer

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
        Protocol,
        typer.Option(
            help="y-uint8: rounded BT.601 luma, as Restormer's and MPRNet's scripts. y-float: not rounded. "
            "rgb: all three channels.",
            rich_help_panel=_HOW,
        ),
    ] = PROTOCOL,
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
        int, typer.Option(min=1, metavar="N", help="Timed runs of each way, with --speed.", rich_help_panel=_HOW)
    ] = 5,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Keep the restored pictures there, as DIR/SET/METHOD/*.png.", rich_help_panel=_OUT
        ),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write every picture's scores.", rich_help_panel=_OUT)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Everything as JSON on stdout, instead of tables.", rich_help_panel=_OUT)
    ] = False,
) -> None:
    """Score weights, or the results of other methods, on test sets.

    The field's sets are found by name and paired by name; what others published on them is printed beneath.

    Exit code: 0 done, 1 a file could not be written, 2 wrong usage or an incomplete set, 130 interrupted.
    """
    signal.signal(signal.SIGTERM, interrupt)
    if speed:
        _check_speed([dataset, rainy, target, results, save, csv], weights)
        engine = EngineOptions(device, threads=threads)
        names = weights or [DEFAULT_WEIGHTS]
        return run_speed(names[0], size or ["512x512"], engine, repeat, as_json=as_json)
    _check_sources(dataset, rainy, target, results, weights)
    chosen = Chosen(tuple(weights or [DEFAULT_WEIGHTS]), protocol, EngineOptions(device, precision, threads=threads))
    console = Console(stderr=True, highlight=False)
    try:
        sets = _open_sets(dataset or [], data_root, rainy or results, target, partial=allow_partial)
        keepers = [Saver(save)] if save else []
        if results is not None:
            scored, how = [_score_results(sets[0], results, protocol, console)], "pictures as given"
        else:
            scored, how = _score_weights(sets, chosen, keepers, console)
        _show(scored, how, chosen.engine.precision, as_json=as_json, csv=csv)
    except ImageWriteError as error:
        print_error(error, console)
        raise typer.Exit(Exit.SOME_FAILED) from None
    except KeyboardInterrupt:
        console.print("interrupted: nothing is reported", style="bold")
        raise typer.Exit(Exit.INTERRUPTED) from None
    return None


@dataclass(frozen=True)
class Chosen:
    """How the sets are scored."""

    weights: tuple[str, ...]
    protocol: Protocol
    engine: EngineOptions


class Saver:
    """Keeps the restored pictures, losslessly, as FOLDER/SET/METHOD/NAME.png."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, dataset: str, method: str, example: "Example") -> None:
        """Store one.

        Raises:
            ImageWriteError: it cannot be stored.
        """
        from PIL import Image  # noqa: PLC0415

        parts = [part.replace("/", "-").replace("\\", "-") for part in (dataset, method)]
        path = self._folder.joinpath(*parts, f"{example.scored.name}.png")
        data = BytesIO()
        Image.fromarray(example.restored).save(data, "PNG")
        _write(path, data.getvalue())


def _check_speed(others: Sequence[object], weights: Sequence[str] | None) -> None:
    if any(others) or len(weights or []) > 1:
        step = "Leave out --dataset, --input, --target, --results, --save, --csv and further --weights."
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
    if (target is None) != bool(dataset):
        why = "a named set brings its own" if dataset else f"{given[0]} needs ground truths"
        raise OptionError("--target", why, "Leave it out." if dataset else "Give --target DIR.")
    if results and weights:
        raise OptionError("--weights", "--results are pictures that are there already", "Leave one of them out.")


def _open_sets(
    names: Sequence[str], data_root: Path | None, rainy: Path | None, target: Path | None, *, partial: bool
) -> "list[TestSet]":
    from dpenet_cli.benchmark import folder_set, known_set  # noqa: PLC0415 - torch: not for --help

    if rainy and target:
        return [folder_set(rainy, target, partial=partial)]
    sets = [known_set(name, data_root, partial=partial) for name in names]
    return list({each.name: each for each in sets}.values())


def _score_results(test_set: "TestSet", folder: Path, protocol: Protocol, console: Console) -> "Result":
    from dpenet_cli.benchmark import Result, score_set  # noqa: PLC0415

    examples = _shown(score_set(test_set, None, protocol), "scoring", len(test_set.items), console)
    return Result(test_set, str(folder), protocol, tuple(example.scored for example in examples))


def _score_weights(
    sets: "Sequence[TestSet]", chosen: Chosen, keepers: Sequence[Saver], console: Console
) -> "tuple[list[Result], str]":
    """Score every set with all weights; also tells device and precision."""
    from dpenet_cli.benchmark import Result, score_set  # noqa: PLC0415

    contenders = _load(chosen)
    results = []
    for test_set in sets:
        for method, (derainer, network) in contenders.items():

            def clean(rainy: "Picture", derainer: "Derainer" = derainer) -> "Picture":
                return np.asarray(derainer(rainy), np.uint8)

            scored = []
            examples = score_set(test_set, clean, chosen.protocol)
            for example in _shown(examples, f"{method} on {test_set.name}", len(test_set.items), console):
                scored.append(example.scored)
                for keep in keepers:
                    keep(test_set.name, method, example)
            results.append(Result(test_set, method, chosen.protocol, tuple(scored), network))
    return results, next(derainer.description for derainer, _ in contenders.values())


def _load(chosen: Chosen) -> "dict[str, tuple[Derainer, Network]]":
    """The engines by the names they are shown under: names as given, files by their stem where that is unique."""
    from dpenet_cli.benchmark import network_of  # noqa: PLC0415
    from dpenet_cli.checkpoints import load_model  # noqa: PLC0415
    from dpenet_cli.derainer import Derainer  # noqa: PLC0415

    weights = dict.fromkeys(chosen.weights)
    stems = [Path(name).stem for name in weights]
    contenders = {}
    for name, stem in zip(weights, stems, strict=True):
        label = stem if stems.count(stem) == 1 else name
        contenders[label] = (Derainer.load(name, chosen.engine), network_of(load_model(name)))
    return contenders


def _shown(examples: "Iterator[Example]", title: str, total: int, console: Console) -> "Iterator[Example]":
    """Pass examples through, with a bar on a terminal and a line elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        if not console.is_terminal:
            console.print(f"{one_line(title)}: {total} pictures", soft_wrap=True)
        task = bar.add_task(one_line(title), total=total)
        for example in examples:
            yield example
            bar.advance(task)


def _show(results: "Sequence[Result]", how: str, precision: Precision, *, as_json: bool, csv: Path | None) -> None:
    from dpenet_cli.cli.scores import print_results, to_csv  # noqa: PLC0415
    from dpenet_cli.literature import published_on  # noqa: PLC0415

    if as_json:
        names = dict.fromkeys(result.dataset.name for result in results)
        literature = [dataclasses.asdict(row) for name in names for row in published_on(name)]
        fields = {"how": how, "precision": precision.value, "results": [result.to_json() for result in results]}
        typer.echo(json.dumps(fields | {"literature": literature}, allow_nan=False))
    else:
        print_results(results, how)
    if csv:
        _write(csv, to_csv(results, precision.value))


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
    except OSError as error:
        raise write_error(path, error) from error
