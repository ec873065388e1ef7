"""``dpenet derain``: pictures in, clean pictures out."""

import dataclasses
from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from dpenet_cli.batch.decisions import Decisions, asked_of_pictures, tag_of
from dpenet_cli.batch.naming import pictures
from dpenet_cli.batch.outcomes import Outcome, Status
from dpenet_cli.batch.planning import plan_pictures
from dpenet_cli.batch.plans import BadInput, Plan, Work
from dpenet_cli.cli.batch_report import BatchReport
from dpenet_cli.cli.batch_run import BatchRun, Cleaning
from dpenet_cli.cli.cluster import RayAddress, chosen_cluster, on_cluster
from dpenet_cli.cli.console import end_on_signals
from dpenet_cli.cli.pipe import PIPE, derain_pipe
from dpenet_cli.cli.preview import RegionText, one_input, preview_of_picture, refuse_without_preview
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
    parse_strengths,
    parse_tile,
)
from dpenet_cli.cli.sources import (
    Exclude,
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
from dpenet_cli.images.writers import check_writer
from dpenet_cli.options import MAX_PIXELS, EngineOptions, ImageFormat, PictureOptions, SaveOptions
from dpenet_cli.system.storage import on_this_machine

if TYPE_CHECKING:
    from dpenet_cli.batch.gallery import Gallery

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
    exclude: Exclude = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    max_pixels: Annotated[
        int,
        typer.Option(min=1, help="Refuse larger pictures, in pixels.", metavar="N", rich_help_panel=FILES),
    ] = MAX_PIXELS,
    weights: Weights = None,
    strength: Strength = "1",
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
    tag: Annotated[
        bool,
        typer.Option(
            "--tag",
            help="Add dpenet, its version and the weights to EXIF's Software, behind what stands there. Not in BMP, "
            "nor where --skip-dry leaves a picture alone.",
            rich_help_panel=RESULT,
        ),
    ] = False,
    preview: Annotated[
        bool,
        typer.Option(
            "--preview",
            help="Only look: one picture, or a part of it, before and after, as a-preview.png, within seconds.",
            rich_help_panel=RESULT,
        ),
    ] = False,
    region: RegionText = None,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Also write before/after pictures: into clean-compare/ for clean/, beside the result of one picture.",
            rich_help_panel=RESULT,
        ),
    ] = False,
    gallery: Annotated[
        str | None,
        typer.Option(
            "--gallery",
            metavar="FILE.html",
            help="Also write a page that opens offline, with a slider between before and after of each picture.",
            show_default=False,
            rich_help_panel=RESULT,
        ),
    ] = None,
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
    strengths = parse_strengths(strength)
    whole = EngineOptions(device, precision, parse_tile(tile), threads, 1.0, backend, parse_scale(scale))
    engine = dataclasses.replace(whole, strength=strengths[0])
    save = SaveOptions(quality, strip_metadata, tag_of(chosen) if tag else None)
    options = PictureOptions(save, image_format, max_pixels, overwrite, skip_dry=skip_dry)
    if ray is None:  # whose own machines write
        check_writer(image_format)
    end_on_signals()
    if preview:
        given = {"--compare": compare, "--json": as_json, "--dry-run": dry_run, "--format": image_format is not None}
        given |= {"--gallery": gallery is not None}
        given |= {"--files-from": files_from is not None, "--retry-failed": retry_failed is not None}
        given |= {"--shard": shard is not None, "--report": report_to is not None, "--ray": ray is not None}
        source = one_input(inputs, pictures(None), "--preview", given)
        what = source, output, chosen, whole, strengths, region, max_pixels
        raise typer.Exit(preview_of_picture(*what, overwrite=overwrite, quiet=quiet))
    refuse_without_preview("--preview", region, strengths)
    if inputs and (PIPE in inputs or output == PIPE):
        files = [files_from, retry_failed, shard, report_to, ray, exclude, gallery]
        if as_json or compare or dry_run or any(item is not None for item in files):
            why = "a pipe goes with neither --json nor --compare nor --dry-run, nor with what is for many files"
            raise OptionError(PIPE, why, "Leave them out.")
        if len(inputs) != 1:
            raise InputError(PIPE, "a pipe carries one picture", "Give - as the only input.")
        raise typer.Exit(derain_pipe(inputs[0], output, chosen, engine, options, quiet=quiet))
    sources = chosen_sources(inputs, output, files_from, root, retry_failed, shard, exclude)
    asked = asked_of_pictures(chosen, engine, options)
    cluster = None if ray is None else chosen_cluster(ray)

    def plan() -> Plan:
        return plan_pictures(
            sources.inputs, output, image_format, compare=compare, shard=sources.shard, exclude=sources.exclude
        )

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
        gallery=None if gallery is None or dry_run else _gallery(gallery, overwrite=overwrite, max_pixels=max_pixels),
    )
    raise typer.Exit(run())


def _gallery(text: str, *, overwrite: bool, max_pixels: int) -> "Gallery":
    """The page that is asked for.

    Raises:
        DpenetError: it cannot be written.
    """
    from dpenet_cli.batch.gallery import Gallery

    return Gallery(on_this_machine(text, "galleries are written"), overwrite=overwrite, max_pixels=max_pixels)


def _here(
    work: Work, report: BatchReport, weights: str, engine: EngineOptions, options: PictureOptions, decisions: Decisions
) -> Cleaning:
    """Pictures through one engine in this process."""
    report.stage("loading")
    from dpenet_cli.batch.pictures import Clean, clean_pictures, suited_to

    description = ""

    def load_network() -> tuple[Clean, PictureOptions]:
        nonlocal description
        report.stage(f"loading the network ({weights})")
        from dpenet_cli.inference.scales import load
        from dpenet_cli.inference.select import hint

        derainer = load(weights, engine)
        description = derainer.description
        report.detail(f"{weights} on {description}")
        report.advice(hint(engine))
        report.stage("cleaning")
        progress = report.share if derainer.at_once == 1 else None  # the bar has room for one picture's share
        return partial(derainer.clean, progress=progress), suited_to(derainer, options)

    return clean_pictures(work.jobs, load_network, options, decisions), lambda: description


def _planned(work: Work, decisions: Decisions) -> Generator[Outcome]:
    """What would be done."""
    for job in work.jobs:
        if isinstance(job, BadInput):
            yield Outcome(job.source, None, Status.FAILED, job.error)
            continue
        todo = decisions.todo(job)
        status = Status.PLANNED if todo.outputs else Status.SKIPPED
        yield Outcome(str(job.source), str(job.target), status, None, todo.notices)
