"""``dpenet derain``: pictures in, clean pictures out."""

from collections.abc import Generator
from functools import partial
from typing import Annotated

import typer

from dpenet_cli.batch.decisions import Decisions, asked_of_pictures
from dpenet_cli.batch.naming import pictures
from dpenet_cli.batch.outcomes import Outcome, Status
from dpenet_cli.batch.planning import BadInput, Plan, Work, plan_pictures
from dpenet_cli.cli.batch_report import BatchReport
from dpenet_cli.cli.batch_run import BatchRun, Cleaning
from dpenet_cli.cli.cluster import RayAddress, chosen_cluster, on_cluster
from dpenet_cli.cli.console import end_on_signals
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
from dpenet_cli.cli.sources import (
    FailFast,
    FilesFrom,
    MaxFailures,
    RedoChanged,
    ReportTo,
    RetryFailed,
    Root,
    ShardText,
    chosen_sources,
    failures_allowed,
    report_path,
)
from dpenet_cli.errors import InputError, OptionError
from dpenet_cli.options import MAX_PIXELS, EngineOptions, ImageFormat, PictureOptions, SaveOptions

_FORMAT_NAMES = {"jpg": ImageFormat.JPEG, "tif": ImageFormat.TIFF} | {item.value: item for item in ImageFormat}


def _parse_format(text: str) -> ImageFormat:
    try:
        return _FORMAT_NAMES[text.lower()]
    except KeyError:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(ImageFormat)}") from None


def derain(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[INPUTS]",
            help="Pictures, folders (searched below, hidden files left out), patterns, URLs (s3://bucket/photos/), or "
            "- for a pipe.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Folder, or file name for a single picture, or a URL of either, or - for a pipe.",
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
    files_from: FilesFrom = None,
    root: Root = None,
    shard: ShardText = None,
    report_to: ReportTo = None,
    retry_failed: RetryFailed = None,
    redo_changed: RedoChanged = False,
    fail_fast: FailFast = False,
    max_failures: MaxFailures = None,
    ray: RayAddress = None,
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

    Exit code: 0 all done, 1 some failed, 2 wrong usage, 75 a disk is full or gone (try again), 130 interrupted.
    """
    chosen = choose_weights(weights, fast=fast)
    engine = EngineOptions(device, precision, parse_tile(tile), threads, strength, backend, parse_scale(scale))
    options = PictureOptions(
        SaveOptions(quality, strip_metadata), image_format, max_pixels, overwrite, skip_dry=skip_dry
    )
    end_on_signals()
    if inputs and (PIPE in inputs or output == PIPE):
        files = [files_from, retry_failed, shard, report_to, ray]
        if as_json or compare or dry_run or any(item is not None for item in files):
            why = "a pipe goes with neither --json nor --compare nor --dry-run, nor with what is for many files"
            raise OptionError(PIPE, why, "Leave them out.")
        if len(inputs) != 1:
            raise InputError(PIPE, "a pipe carries one picture", "Give - as the only input.")
        raise typer.Exit(derain_pipe(inputs[0], output, chosen, engine, options, quiet=quiet))
    sources = chosen_sources(inputs, output, files_from, root, retry_failed, shard)
    asked = asked_of_pictures(chosen, engine, options)
    cluster = None if ray is None else chosen_cluster(ray)

    def plan() -> Plan:
        return plan_pictures(sources.inputs, output, image_format, compare=compare, shard=sources.shard)

    def begin(work: Work, report: BatchReport, decisions: Decisions) -> Cleaning:
        if dry_run:
            return _planned(work, decisions), str
        if cluster is not None:
            how = engine, options, asked, sources.shard
            return on_cluster(work, report, cluster, chosen, how, decisions, verbose=verbose)
        return _here(work, report, chosen, engine, options, decisions)

    run = BatchRun(
        sources,
        pictures(image_format),
        chosen,
        plan,
        begin,
        asked,
        compare=compare,
        overwrite=overwrite,
        redo_changed=redo_changed,
        dry=dry_run,
        report_to=None if report_to is None else report_path(report_to),
        as_json=as_json,
        verbosity=int(verbose) - int(quiet),
        max_failures=failures_allowed(max_failures, fail_fast=fail_fast),
    )
    raise typer.Exit(run())


def _here(
    work: Work, report: BatchReport, weights: str, engine: EngineOptions, options: PictureOptions, decisions: Decisions
) -> Cleaning:
    """Pictures through one engine in this process."""
    from dpenet_cli.batch.pictures import Clean, clean_pictures, suited_to

    description = ""

    def load_network() -> tuple[Clean, PictureOptions]:
        nonlocal description
        from dpenet_cli.inference.scales import load
        from dpenet_cli.inference.select import hint

        derainer = load(weights, engine)
        description = derainer.description
        report.detail(f"{weights} on {description}")
        report.advice(hint(engine))
        progress = report.share if derainer.at_once == 1 else None  # the bar has room for one picture's share
        return partial(derainer.clean, progress=progress), suited_to(derainer, options)

    return clean_pictures(work.jobs, load_network, decisions), lambda: description


def _planned(work: Work, decisions: Decisions) -> Generator[Outcome]:
    """What would be done."""
    for job in work.jobs:
        if isinstance(job, BadInput):
            yield Outcome(job.source, None, Status.FAILED, job.error)
            continue
        todo = decisions.todo(job)
        status = Status.PLANNED if todo.outputs else Status.SKIPPED
        yield Outcome(str(job.source), str(job.target), status, None, todo.notices)
