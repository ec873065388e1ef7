"""``dpenet benchmark``: scores on test sets, under a named protocol, with the protocol beside every number."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from dpenet_cli.cli.console import end_on_signals
from dpenet_cli.cli.shared_options import parse_scale
from dpenet_cli.errors import OptionError
from dpenet_cli.evaluation.test_sets import ALIASES, BENCHMARK_SETS, DEMO, NTU, find_test_set
from dpenet_cli.options import DEFAULT_WEIGHTS, PROTOCOL, EngineOptions, Precision, Protocol, VideoMethod

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
            help=f"{_SETS}; {NTU}, the video clips of NTURain; or {DEMO}, which needs no download. May be repeated.",
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
    dry: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Clean pictures, scored against themselves: how much is changed where nothing is to be. The network "
            "alone, in their own size.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    structure: Annotated[
        bool,
        typer.Option(
            "--structure",
            help="With --dry: draw grilles, wires, posts and the like on them first, always the same.",
            rich_help_panel=_WHAT,
        ),
    ] = False,
    frames: Annotated[
        bool,
        typer.Option(
            "--frames",
            help="--input (or --results) and --target hold the frames of one video, and flicker counts too.",
            rich_help_panel=_WHAT,
        ),
    ] = False,
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
    method: Annotated[
        list[VideoMethod] | None,
        typer.Option(
            metavar="auto|temporal|network",
            help="What cleans the frames of videos, as for `dpenet video`. Repeated, they stand side by side.",
            show_default=VideoMethod.AUTO.value,
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
    scale: Annotated[
        str,
        typer.Option(
            metavar="1|auto|1/2|0.35|...",
            help="Size in which the network sees the pictures, as for derain: papers score at 1.",
            rich_help_panel=_HOW,
        ),
    ] = "1",
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

    The field's sets are found by name and paired by name; what others published on them is printed beneath. Clips are
    cleaned as `dpenet video` cleans, and scored for flicker too.

    Exit code: 0 done, 1 a file could not be written, 2 wrong usage or an incomplete set, 130 interrupted.
    """
    end_on_signals()
    names = weights or [DEFAULT_WEIGHTS]
    seen_at = parse_scale(scale)
    if seen_at != 1.0:
        clips = frames or NTU in [name.lower() for name in dataset or ()]
        _check_scale({"--speed": speed, "--results": results, "clips": clips})
    if speed:
        _check_speed(
            [dataset, rainy, target, results, dry, structure, frames, method, save, csv, report],
            names,
            size,
            photo or film,
        )
        from dpenet_cli.cli import timing

        engine = EngineOptions(device, threads=threads, scale=1.0)
        if photo or film:
            return timing.show_end_to_end(names[0], photo, film, engine, repeat, as_json=as_json)
        return timing.show_speed(names[0], size or [_SIZE], engine, repeat, as_json=as_json)
    if photo or film or size:
        raise OptionError("--photo, --film and --size", "they are sizes to time", "Give them with --speed.")
    if dry or structure:
        _check_dry([dataset, rainy, target, results, frames, method], dry, seen_at)
    else:
        _check_sources(dataset, rainy, target, results, weights)
    _check_videos(dataset or [], results, weights, method, frames=frames)
    from dpenet_cli.cli.scoring import Scoring, score_and_show

    engine = EngineOptions(device, precision, threads=threads, scale=seen_at)
    sets, methods = tuple(dataset or ()), tuple(method or (VideoMethod.AUTO,))
    sources = (sets, data_root, rainy, target, results)
    wanted = Scoring(
        *sources,
        names,
        engine,
        protocol,
        partial=allow_partial,
        frames=frames,
        methods=methods,
        dry=dry,
        structure=structure,
    )
    raise typer.Exit(score_and_show(wanted, save=save, csv=csv, report=report, overwrite=overwrite, as_json=as_json))


def _check_speed(
    others: Sequence[object], weights: Sequence[str], sizes: Sequence[str] | None, file_size: str | None
) -> None:
    if any(others) or len(weights) > 1:
        step = (
            "Leave out --dataset, --input, --target, --results, --dry, --frames, --method, --save, --csv, --report and "
        )
        step += "further --weights."
        raise OptionError("--speed", "it times one network on drawn pictures, and scores none", step)
    if sizes and file_size:
        raise OptionError("--size", "--photo and --film have sizes of their own", "Run the command twice.")


def _check_scale(others: Mapping[str, object]) -> None:
    """Refuse another size than the pictures' own where none is taken."""
    if given := ", ".join(name for name, value in others.items() if value):
        why = f"it is for pictures that the network is scored on, and does not go with {given}"
        raise OptionError("--scale", why, "Leave it out.")


def _check_dry(others: Sequence[object], dry: Path | None, seen_at: float | None) -> None:
    if dry is None:
        raise OptionError("--structure", "it is drawn on clean pictures", "Give --dry DIR with it.")
    if any(others):
        step = "Leave out --dataset, --input, --target, --results, --frames and --method."
        raise OptionError("--dry", "its pictures are their own ground truths", step)
    if seen_at != 1.0:
        raise OptionError("--scale", "--dry scores the network alone, in the pictures' own size", "Leave it out.")


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
        step = (
            "Give --dataset NAME, --dry DIR, --input DIR --target DIR, or --results DIR --target DIR; demo is a NAME."
        )
        raise OptionError("benchmark", why, step)
    for name in dataset or []:
        if name.lower() not in {DEMO, NTU}:
            find_test_set(name)
    if (target is None) != bool(dataset):
        why = "a named set brings its own" if dataset else f"{given[0]} needs ground truths"
        raise OptionError("--target", why, "Leave it out." if dataset else "Give --target DIR.")
    if results and weights:
        raise OptionError("--weights", "--results are pictures that are there already", "Leave one of them out.")


def _check_videos(
    dataset: Sequence[str],
    results: Path | None,
    weights: Sequence[str] | None,
    method: Sequence[VideoMethod] | None,
    *,
    frames: bool,
) -> None:
    """Check what goes with videos alone."""
    clips = [name for name in dataset if name.lower() == NTU]
    if frames and dataset:
        raise OptionError("--frames", "a named set says itself what it holds", "Leave it out.")
    if clips and len(clips) < len(dataset):
        raise OptionError(f"--dataset {NTU}", "videos and pictures have tables of their own", "Run the command twice.")
    if method and not (frames or clips):
        step = f"Give --dataset {NTU}, or --frames with two folders of frames."
        raise OptionError("--method", "it says how videos are cleaned, and pictures are to be scored", step)
    if method and results:
        raise OptionError("--method", "--results are frames that are there already", "Leave one of them out.")
    if method and weights and set(method) == {VideoMethod.TEMPORAL}:
        step = "Leave one of them out, or add --method auto."
        raise OptionError("--weights", f"--method {VideoMethod.TEMPORAL} takes no network", step)
