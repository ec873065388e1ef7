"""``dpenet derain``: pictures in, clean pictures out."""

import contextlib
from collections.abc import Generator
from functools import partial
from typing import Annotated

import typer

from dpenet_cli.batch.outcomes import Outcome, Status, is_done
from dpenet_cli.batch.planning import Plan, plan_pictures
from dpenet_cli.cli.batch_report import BatchReport
from dpenet_cli.cli.console import Exit, end_on_signals
from dpenet_cli.cli.pipe import PIPE, derain_pipe
from dpenet_cli.cli.shared_options import (
    FILES,
    RESULT,
    SHOWN,
    AsJson,
    Backend,
    Device,
    DryRun,
    EnginePrecision,
    Fast,
    Overwrite,
    Quiet,
    Scale,
    Strength,
    Threads,
    Tile,
    Weights,
    choose_weights,
    parse_scale,
    parse_tile,
)
from dpenet_cli.errors import InputError, OptionError
from dpenet_cli.options import MAX_PIXELS, EngineOptions, ImageFormat, PictureOptions, SaveOptions
from dpenet_cli.system.atomic import remove_leftovers

_FORMAT_NAMES = {"jpg": ImageFormat.JPEG, "tif": ImageFormat.TIFF} | {item.value: item for item in ImageFormat}


def _parse_format(text: str) -> ImageFormat:
    try:
        return _FORMAT_NAMES[text.lower()]
    except KeyError:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(ImageFormat)}") from None


def derain(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUTS",
            help="Pictures, folders (searched below, hidden files left out), patterns, or - for a pipe.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Folder, or file name for a single picture, or - for a pipe.",
            show_default="photos-derained/ for photos/, a-derained.jpg for a.jpg",
            rich_help_panel=FILES,
        ),
    ] = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    max_pixels: Annotated[
        int,
        typer.Option(min=1, help="Refuse larger pictures, in pixels.", metavar="N", rich_help_panel=FILES),
    ] = MAX_PIXELS,
    weights: Weights = None,
    strength: Strength = EngineOptions.strength,
    scale: Scale = "auto",
    skip_dry: Annotated[
        bool,
        typer.Option(
            "--skip-dry",
            help="Leave pictures in which no rain is found as they are; they are written all the same.",
            rich_help_panel=RESULT,
        ),
    ] = False,
    image_format: Annotated[
        ImageFormat | None,
        typer.Option(
            "--format",
            parser=_parse_format,
            metavar="FORMAT",
            help=f"Of the results: {', '.join(ImageFormat)}.",
            show_default="that of the input",
            rich_help_panel=RESULT,
        ),
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100,
            metavar="N",
            help="Of JPEG, WebP, AVIF and HEIC.",
            show_default="not visibly worse than the input",
            rich_help_panel=RESULT,
        ),
    ] = None,
    strip_metadata: Annotated[
        bool,
        typer.Option(
            "--strip-metadata",
            help="Leave out EXIF (place and date too), XMP, IPTC and the colour profile.",
            rich_help_panel=RESULT,
        ),
    ] = False,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Also write a before/after picture beside each.", rich_help_panel=RESULT),
    ] = False,
    fast: Fast = False,
    device: Device = EngineOptions.device,
    backend: Backend = EngineOptions.backend,
    precision: EnginePrecision = EngineOptions.precision,
    tile: Tile = "auto",
    threads: Threads = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Every picture and every decision.", rich_help_panel=SHOWN)
    ] = False,
) -> None:
    """Remove rain from photographs.

    Results keep the input's format, bit depth and metadata.

    What is done already is skipped: an interrupted run goes on where it was.

    Exit code: 0 all done, 1 some failed, 2 wrong usage, 130 interrupted.
    """
    chosen = choose_weights(weights, fast=fast)
    engine = EngineOptions(device, precision, parse_tile(tile), threads, strength, backend, parse_scale(scale))
    options = PictureOptions(
        SaveOptions(quality, strip_metadata), image_format, max_pixels, overwrite, skip_dry=skip_dry
    )
    verbosity = int(verbose) - int(quiet)
    end_on_signals()
    if PIPE in inputs or output == PIPE:
        if as_json or compare or dry_run:
            raise OptionError(PIPE, "a pipe goes with neither --json nor --compare nor --dry-run", "Leave them out.")
        if len(inputs) != 1:
            raise InputError(PIPE, "a pipe carries one picture", "Give - as the only input.")
        raise typer.Exit(derain_pipe(inputs[0], output, chosen, engine, options, quiet=quiet))
    plan = plan_pictures(inputs, output, image_format, compare=compare)
    with BatchReport(len(plan.jobs) + len(plan.bad), as_json=as_json, verbosity=verbosity) as report:
        code = _tell_plan(plan, report, options) if dry_run else _clean(plan, report, chosen, engine, options)
    raise typer.Exit(code)


def _clean(plan: Plan, report: BatchReport, weights: str, engine: EngineOptions, options: PictureOptions) -> Exit:
    """Clean every picture; what an interrupt leaves undone is told."""
    description = ""
    outcomes: Generator[Outcome] | None = None
    try:
        report.begin(plan)
        for folder in {job.target.parent for job in plan.jobs}:
            remove_leftovers(folder)
        if any(options.overwrite or not is_done(job) for job in plan.jobs):
            from dpenet_cli.batch.pictures import run, suited_to
            from dpenet_cli.inference.scales import load
            from dpenet_cli.inference.select import hint

            derainer = load(weights, engine)
            description = derainer.description
            report.detail(f"{weights} on {description}")
            report.advice(hint(engine))
            progress = report.share if derainer.at_once == 1 else None  # the bar has room for one picture's share
            outcomes = run(plan.jobs, partial(derainer.clean, progress=progress), suited_to(derainer, options))
        else:  # nothing to clean: torch is not worth waiting for
            outcomes = (Outcome(str(job.source), str(job.target), Status.SKIPPED) for job in plan.jobs)
        for outcome in outcomes:
            report.outcome(outcome)
    except KeyboardInterrupt as interrupt:
        if outcomes is not None:
            _tell_rest(outcomes, report, interrupt)
        return report.finish(description=description, interrupted=True)
    return report.finish(description=description)


def _tell_rest(outcomes: Generator[Outcome], report: BatchReport, interrupt: KeyboardInterrupt) -> None:
    """Tell what was still being written when the interrupt came; it is there, and the summary counts it."""
    with contextlib.suppress(KeyboardInterrupt):  # the same one again at the end, or another from someone impatient
        report.outcome(outcomes.throw(interrupt))
        for outcome in outcomes:
            report.outcome(outcome)


def _tell_plan(plan: Plan, report: BatchReport, options: PictureOptions) -> Exit:
    report.begin(plan)
    for job in plan.jobs:
        status = Status.SKIPPED if is_done(job) and not options.overwrite else Status.PLANNED
        report.outcome(Outcome(str(job.source), str(job.target), status), plainly=True)
    return report.finish()
