"""``dpenet video``: videos in, clean videos out, with their sound and everything else."""

import dataclasses
import re
from fractions import Fraction
from typing import Annotated

import typer

from dpenet_cli.batch.decisions import Decisions, asked_of_videos
from dpenet_cli.batch.naming import VIDEOS
from dpenet_cli.batch.planning import plan_videos
from dpenet_cli.batch.plans import Plan, Work
from dpenet_cli.cli.batch_report import BatchReport
from dpenet_cli.cli.batch_run import BatchRun, Cleaning
from dpenet_cli.cli.cluster import RayAddress, chosen_cluster, on_cluster
from dpenet_cli.cli.console import end_on_signals
from dpenet_cli.cli.json_lines import made_with
from dpenet_cli.cli.preview import RegionText, one_input, preview_of_frame, refuse_without_preview
from dpenet_cli.cli.shared_options import (
    ENGINE,
    FILES,
    RESULT,
    SHOWN,
    AsJson,
    Backend,
    Device,
    DryRun,
    EnginePrecision,
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
from dpenet_cli.cli.video_pipe import VideoPipe, check_pipe, is_piped
from dpenet_cli.errors import OptionError
from dpenet_cli.options import FAST_WEIGHTS, EngineOptions, VideoCodec, VideoEncoder, VideoMethod, VideoOptions
from dpenet_cli.system.storage import local
from dpenet_cli.video.codecs import CODECS

_PART = "Which part"

_TIME = re.compile(r"(?:[0-9]{1,9}:(?:[0-5]?[0-9]:)?[0-5]?[0-9]|[0-9]{1,9}|(?=\.))(?:\.[0-9]{1,18})?")
"""No sign, no fraction such as 1/2, no exponent: all of which Python's numbers would take."""


_CRF = f"{CODECS[VideoCodec.H264].default_crf}; {CODECS[VideoCodec.AV1].default_crf} for av1"


def _seconds(text: str | None, option: str) -> Fraction | None:
    """``90``, ``1:30`` or ``0:01:30.5`` as exact seconds."""
    if text is None:
        return None
    if not _TIME.fullmatch(text):
        why = "it is no time: seconds, minutes:seconds or hours:minutes:seconds, each but the first below 60"
        raise OptionError(f"{option} {text!r}", why, "Give 90, 1:30 or 0:01:30.5, say.")
    total = Fraction(0)
    for part in text.split(":"):
        total = total * 60 + Fraction(part)
    return total


def video(
    context: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[INPUTS]",
            help="Videos, folders (searched below, hidden files left out), patterns, or - for YUV4MPEG2 in a pipe.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Folder, or file name for a single video, or - for a pipe.",
            show_default="dashcam-derained.mp4 for dashcam.mp4; .mkv for AVI, TS, MPG and WMV",
            rich_help_panel=FILES,
        ),
    ] = None,
    exclude: Exclude = None,
    overwrite: Overwrite = False,
    allow_damaged: Annotated[
        bool,
        typer.Option(
            "--allow-damaged",
            help="A video that can only be read in part counts as done. It is cleaned either way.",
            rich_help_panel=FILES,
        ),
    ] = False,
    dry_run: DryRun = False,
    start: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Begin here: 90 or 1:30.", show_default="beginning", rich_help_panel=_PART),
    ] = None,
    end: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop here.", show_default="end", rich_help_panel=_PART)
    ] = None,
    preview: Annotated[
        str | None,
        typer.Option(
            metavar="SECONDS",
            help="Only so much from the middle, before and after side by side, as dashcam-preview.mp4.",
            show_default="the whole video",
            rich_help_panel=_PART,
        ),
    ] = None,
    frame: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Only look: the frame that is shown then, before and after, as dashcam-preview-1m23s.png, within "
            "seconds.",
            show_default="the whole video",
            rich_help_panel=_PART,
        ),
    ] = None,
    region: RegionText = None,
    video_stream: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Clean only this video stream, from 0, and copy the others.",
            show_default="all",
            rich_help_panel=_PART,
        ),
    ] = None,
    method: Annotated[
        VideoMethod,
        typer.Option(
            help="temporal: what neighbouring frames show behind the rain, without the network: by far the fastest. "
            "network: each frame by itself. auto: neighbours, and the network where those don't agree. With time, what "
            "is bright for a single frame may vanish too: sparks, confetti, specks of light on water, blinking lights "
            "that are small, and snow (a bonus).",
            rich_help_panel=RESULT,
        ),
    ] = VideoOptions.method,
    weights: Weights = None,
    strength: Strength = "1",
    scale: Scale = "auto",
    codec: Annotated[
        VideoCodec | None,
        typer.Option(
            help="Of the result. ffv1 is lossless and needs .mkv.",
            show_default="h264; hevc for 10 bits; av1 in WebM",
            rich_help_panel=RESULT,
        ),
    ] = None,
    crf: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=63,
            metavar="N",
            help="Quality, lower is better.",
            show_default=_CRF,
            rich_help_panel=RESULT,
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The encoder's own name for speed against size, such as slow.",
            show_default="the encoder's",
            rich_help_panel=RESULT,
        ),
    ] = None,
    encoder: Annotated[
        VideoEncoder,
        typer.Option(
            help="Each is tried first. auto: the processor, or else NVENC. nvenc: the card, or else the processor.",
            rich_help_panel=RESULT,
        ),
    ] = VideoEncoder.AUTO,
    hdr: Annotated[
        bool,
        typer.Option(
            "--hdr",
            help="Clean HDR (PQ, HLG) as it is coded and keep it HDR, with its bit depth, tags and mastering metadata; "
            "refused otherwise, for the network learnt from standard pictures. Look at a --preview first.",
            rich_help_panel=RESULT,
        ),
    ] = False,
    deinterlace: Annotated[
        bool,
        typer.Option(
            "--deinterlace",
            help="Make whole frames of interlaced fields; refused otherwise.",
            rich_help_panel=RESULT,
        ),
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
    fast: Annotated[
        bool,
        typer.Option(
            "--fast",
            help=f"Motion is found at half the size, and the weights are `{FAST_WEIGHTS}`: faster, not as good.",
            rich_help_panel=ENGINE,
        ),
    ] = VideoOptions.fast,
    device: Device = EngineOptions.device,
    backend: Backend = EngineOptions.backend,
    precision: EnginePrecision = EngineOptions.precision,
    tile: Tile = "auto",
    threads: Threads = None,
    checkpoint: Annotated[
        str,
        typer.Option(
            metavar="SECONDS",
            help="Length of a finished segment: the most of the video that a crash can cost.",
            rich_help_panel=ENGINE,
        ),
    ] = str(VideoOptions.checkpoint),
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Every stream and every decision.", rich_help_panel=SHOWN)
    ] = False,
) -> None:
    """Remove rain from videos: falling rain, not drops on the windscreen.

    Sound, subtitles, chapters and metadata are copied. Every frame keeps its time. As evidence, only the original
    counts: keep it.

    An interrupted run goes on where it was: give the same command again.

    Exit code: 0 all done, 1 some failed or damaged, 2 wrong usage, 75 a disk is full or gone (try again),
    130 interrupted.
    """
    chosen = choose_weights(weights, fast=fast)
    if method is VideoMethod.TEMPORAL:
        by_default = EngineOptions()
        given = {"--device": device != by_default.device, "--backend": backend is not by_default.backend}
        given |= {"--precision": precision is not by_default.precision, "--tile": tile != "auto"}
        given["--scale"] = scale != "auto"
        _check_temporal({"--weights": weights is not None, "--fast": fast} | given)
    strengths = parse_strengths(strength)
    whole = EngineOptions(device, precision, parse_tile(tile), threads, 1.0, backend, parse_scale(scale))
    engine = dataclasses.replace(whole, strength=strengths[0])
    options = VideoOptions(
        method=method,
        fast=fast,
        codec=codec,
        crf=crf,
        preset=preset,
        encoder=encoder,
        video_stream=video_stream,
        start=_seconds(start, "--start"),
        end=_seconds(end, "--end"),
        preview=_seconds(preview, "--preview"),
        hdr=hdr,
        deinterlace=deinterlace,
        allow_damaged=allow_damaged,
        checkpoint=_seconds(checkpoint, "--checkpoint") or Fraction(0),
        overwrite=overwrite,
    )
    if preview is not None and (start is not None or end is not None):
        raise OptionError(f"--preview {preview}", "it is taken from the middle", "Leave out --start and --end.")
    if is_piped(inputs, output):
        check_pipe(context, inputs or [], output)
        weights_told = made_with(chosen, asked_of_videos(chosen, engine, options))
        pipe = VideoPipe(chosen, engine, options, weights_told, as_json=as_json, verbosity=int(verbose) - int(quiet))
        raise typer.Exit(pipe())
    end_on_signals()
    if (when := _seconds(frame, "--frame")) is not None:
        given = {"--start": start is not None, "--end": end is not None, "--preview": preview is not None}
        given |= {"--json": as_json, "--dry-run": dry_run, "--files-from": files_from is not None}
        given |= {"--retry-failed": retry_failed is not None, "--shard": shard is not None}
        given |= {"--report": report_to is not None, "--ray": ray is not None}
        source = local(one_input(inputs, VIDEOS, "--frame", given))
        what = source, output, when, chosen, whole, options, strengths, region
        raise typer.Exit(preview_of_frame(*what, quiet=quiet))
    refuse_without_preview("--frame", region, strengths)
    sources = chosen_sources(inputs, output, files_from, root, retry_failed, shard, exclude)
    if preview is not None and not inputs:
        raise OptionError("--preview", "it is for videos that are named", "Name them.")
    asked = asked_of_videos(chosen, engine, options)
    cluster = None if ray is None else chosen_cluster(ray)

    def plan() -> Plan:
        looked_at, part = options.preview is not None, sources.shard
        return plan_videos(
            sources.inputs, output, preview=looked_at, overwrite=overwrite, shard=part, exclude=sources.exclude
        )

    def begin(work: Work, report: BatchReport, decisions: Decisions) -> Cleaning:
        if cluster is not None and not dry_run:
            how = engine, options, asked, sources.shard
            return on_cluster(work, report, cluster, chosen, how, decisions, verbose=verbose)
        return _here(work, report, options, engine, chosen, decisions, dry=dry_run)

    run = BatchRun(
        sources,
        VIDEOS,
        chosen,
        plan,
        begin,
        asked,
        compare=False,
        overwrite=overwrite,
        redo_changed=redo_changed,
        dry=dry_run,
        report_to=None if report_to is None else report_path(report_to),
        as_json=as_json,
        verbosity=int(verbose) - int(quiet),
        max_failures=failures_allowed(max_failures, fail_fast=fail_fast),
    )
    raise typer.Exit(run())


def _check_temporal(given: dict[str, bool]) -> None:
    """Refuse options that say how the network is run, where none is."""
    options = ", ".join(option for option, is_given in given.items() if is_given)
    if options:
        raise OptionError(f"--method temporal {options}", "it runs no network", f"Leave out {options}, or take auto.")


def _here(
    work: Work,
    report: BatchReport,
    options: VideoOptions,
    engine: EngineOptions,
    weights: str,
    decisions: Decisions,
    *,
    dry: bool,
) -> Cleaning:
    """One video after the other in this process."""
    report.stage("loading")
    import cv2

    from dpenet_cli.batch.videos import VideoBatch
    from dpenet_cli.system.cores import usable_cores

    cv2.setNumThreads(engine.threads or usable_cores())  # for optical flow and fusion

    videos = VideoBatch(options, engine, weights, report, decisions)
    return videos.run(work.jobs, dry=dry), lambda: videos.description
