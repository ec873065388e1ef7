"""``dpenet video``: videos in, clean videos out, with their sound and everything else."""

import os
import shutil
import signal
import time
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpenet_cli.cli.console import BatchReport, Exit, interrupt
from dpenet_cli.errors import DpenetError, OptionError
from dpenet_cli.inputs import Batch, Job, plan_videos
from dpenet_cli.jobs import Outcome, Status, is_done, write_error
from dpenet_cli.options import DEFAULT_WEIGHTS, EngineOptions, Precision, VideoCodec, VideoEncoder, VideoOptions

if TYPE_CHECKING:
    from dpenet_cli.derainer import Derainer
    from dpenet_cli.video import Work

_FILES, _PART, _RESULT, _ENGINE, _SHOWN = "Files", "Which part", "The result", "Speed and memory", "What is shown"

_TRIAL_FRAMES = 3
"""Frames after which the time of the rest is told."""


def _seconds(text: str | None, option: str) -> Fraction | None:
    """``90``, ``1:30`` or ``0:01:30.5`` as exact seconds."""
    if text is None:
        return None
    try:
        total = Fraction(0)
        for part in text.split(":"):
            total = total * 60 + Fraction(part)
    except (ValueError, ZeroDivisionError):
        raise OptionError(f"{option} {text!r}", "it is no time", "Give 90, 1:30 or 0:01:30.5, say.") from None
    return total


def video(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUTS",
            help="Videos, folders (searched below, hidden files left out) or patterns.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Folder, or file name for a single video.",
            show_default="dashcam-derained.mp4 for dashcam.mp4; .mkv for AVI, TS, MPG and WMV",
            rich_help_panel=_FILES,
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Redo outputs that exist. Otherwise only those older than their input are redone.",
            rich_help_panel=_FILES,
        ),
    ] = False,
    allow_damaged: Annotated[
        bool,
        typer.Option(
            "--allow-damaged",
            help="A video that can only be read in part counts as done. It is cleaned either way.",
            rich_help_panel=_FILES,
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.", rich_help_panel=_FILES)
    ] = False,
    start: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Begin here: 90 or 1:30.", show_default="beginning", rich_help_panel=_PART),
    ] = None,
    end: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop here.", show_default="end", rich_help_panel=_PART)
    ] = None,
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
    weights: Annotated[
        str,
        typer.Option(
            metavar="NAME|PATH",
            help="Weights that ship with dpenet, or a .safetensors or .pth file.",
            rich_help_panel=_RESULT,
        ),
    ] = DEFAULT_WEIGHTS,
    strength: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="0 leaves the picture as it is.", rich_help_panel=_RESULT)
    ] = 1.0,
    codec: Annotated[
        VideoCodec | None,
        typer.Option(
            help="Of the result. ffv1 is lossless and needs .mkv.",
            show_default="h264; hevc for 10 bits; av1 in WebM",
            rich_help_panel=_RESULT,
        ),
    ] = None,
    crf: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=63,
            metavar="N",
            help="Quality, lower is better.",
            show_default="18; 24 for av1",
            rich_help_panel=_RESULT,
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The encoder's own name for speed against size, such as slow.",
            show_default="the encoder's",
            rich_help_panel=_RESULT,
        ),
    ] = None,
    encoder: Annotated[
        VideoEncoder,
        typer.Option(
            help="auto and software: the processor. nvenc is tried, and left again where it fails.",
            rich_help_panel=_RESULT,
        ),
    ] = VideoEncoder.AUTO,
    deinterlace: Annotated[
        bool,
        typer.Option(
            "--deinterlace",
            help="Make whole frames of interlaced fields; refused otherwise.",
            rich_help_panel=_RESULT,
        ),
    ] = False,
    device: Annotated[
        str, typer.Option(metavar="auto|cpu|cuda[:N]|mps", help="Where to compute.", rich_help_panel=_ENGINE)
    ] = EngineOptions.device,
    precision: Annotated[
        Precision,
        typer.Option(
            help="auto: fp16 on CUDA, bf16 on processors that have it, else fp32; fp32 for 10-bit videos.",
            rich_help_panel=_ENGINE,
        ),
    ] = EngineOptions.precision,
    tile: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Widest piece worked on at a time, in pixels; the result is the same.",
            show_default="auto",
            rich_help_panel=_ENGINE,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="CPU threads.", show_default="all cores", rich_help_panel=_ENGINE),
    ] = None,
    checkpoint: Annotated[
        str,
        typer.Option(
            metavar="SECONDS",
            help="Length of a finished segment: the most of the video that a crash can cost.",
            rich_help_panel=_ENGINE,
        ),
    ] = str(VideoOptions.checkpoint),
    as_json: Annotated[
        bool,
        typer.Option("--json", help="One JSON line for each input on stdout, then a summary.", rich_help_panel=_SHOWN),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors alone.", rich_help_panel=_SHOWN)] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Every stream and every decision.", rich_help_panel=_SHOWN)
    ] = False,
) -> None:
    """Remove rain from videos: falling rain, not drops on the windscreen.

    Sound, subtitles, chapters and metadata are copied. Every frame keeps its time.

    An interrupted run goes on where it was: give the same command again.

    Exit code: 0 all done, 1 some failed or damaged, 2 wrong usage, 130 interrupted.
    """
    engine = EngineOptions(device, precision, tile, threads, strength)
    options = VideoOptions(
        codec=codec,
        crf=crf,
        preset=preset,
        encoder=encoder,
        video_stream=video_stream,
        start=_seconds(start, "--start"),
        end=_seconds(end, "--end"),
        deinterlace=deinterlace,
        allow_damaged=allow_damaged,
        checkpoint=_seconds(checkpoint, "--checkpoint") or Fraction(0),
        overwrite=overwrite,
    )
    signal.signal(signal.SIGTERM, interrupt)
    batch = plan_videos(inputs, Path(output) if output is not None else None)
    total = len(batch.jobs) + len(batch.bad)
    with BatchReport(total, as_json=as_json, verbosity=int(verbose) - int(quiet), noun="videos") as report:
        code = _Run(batch, report, options, engine, weights).go(dry=dry_run)
    raise typer.Exit(code)


class _Run:
    """One command: every video in turn, through one engine that is loaded when the first needs it."""

    def __init__(
        self, batch: Batch, report: BatchReport, options: VideoOptions, engine: EngineOptions, weights: str
    ) -> None:
        self._batch = batch
        self._report = report
        self._options = options
        self._engine_options = engine
        self._weights = weights
        self._derainer: Derainer | None = None
        self._engine = ""

    def go(self, *, dry: bool) -> Exit:
        for notice in self._batch.notices:
            self._report.note(notice)
        for bad in self._batch.bad:
            self._report.outcome(Outcome(bad.source, None, Status.FAILED, bad.error))
        try:
            for job in self._batch.jobs:
                self._report.outcome(self._one(job, dry=dry), plainly=dry)
        except KeyboardInterrupt:
            return self._report.finish(description=self._description, interrupted=True)
        return self._report.finish(description=self._description)

    @property
    def _description(self) -> str:
        return self._derainer.description if self._derainer else ""

    def _one(self, job: Job, *, dry: bool) -> Outcome:
        """Clean one video; whatever is wrong with it is its own."""
        source, target = str(job.source), str(job.target)
        if not self._options.overwrite and is_done(job):
            return Outcome(source, target, Status.SKIPPED)
        from dpenet_cli.video import clean_video, damage, prepare  # noqa: PLC0415 - not for --help

        started = time.perf_counter()
        try:
            work = prepare(job, self._options)
            self._tell(work)
            if dry:
                return Outcome(source, target, Status.PLANNED, None, work.notices, _size(work))
            derainer = self._load()
            progress = _Progress(self._report, work)
            notices = clean_video(work, derainer.stream, self._engine, progress)
            error = None if self._options.allow_damaged else damage(work)
            if error is None and (harm := damage(work)):
                notices += (harm.why,)
        except DpenetError as failure:
            return Outcome(source, target, Status.FAILED, failure)
        except OSError as failure:
            return Outcome(source, target, Status.FAILED, write_error(job.target, failure))
        taken = time.perf_counter() - started
        return Outcome(source, target, Status.DONE, error, (*work.notices, *notices), _size(work), taken)

    def _tell(self, work: "Work") -> None:
        """What is decided, before the work starts."""
        if work.job.source.suffix.lower() != work.job.target.suffix.lower():
            self._report.detail(f"{work.job.source} becomes {work.job.target.suffix}")
        for detail in work.details:
            self._report.detail(f"{work.job.source}: {detail}")

    def _load(self) -> "Derainer":
        if self._derainer is None:
            import hashlib  # noqa: PLC0415 - with torch

            from dpenet_cli.checkpoints import find_weights  # noqa: PLC0415 - torch: not for --help
            from dpenet_cli.derainer import Derainer  # noqa: PLC0415 - torch: not for --help

            self._derainer = Derainer.load(self._weights, self._engine_options)
            content = hashlib.sha256(Path(find_weights(self._weights)).read_bytes()).hexdigest()
            kind = "gpu" if self._derainer.on_gpu else "cpu"
            self._engine = f"{content} {kind} {self._derainer.description} strength {self._engine_options.strength}"
            self._report.detail(f"{self._weights} on {self._derainer.description}")
        return self._derainer


class _Progress:
    """Counts frames; after the first ones, tells how long the rest will take and how much disk is free."""

    def __init__(self, report: BatchReport, work: "Work") -> None:
        self._report = report
        self._work = work
        self._begun: float | None = None
        self._before = 0
        self._told = False

    def __call__(self, done: int) -> None:
        total = self._work.frames
        now = time.perf_counter()
        if self._begun is None:
            self._begun, self._before = now, done
        cleaned = done - self._before
        speed = cleaned / (now - self._begun) if cleaned and now > self._begun else 0.0
        self._report.frames(done, total, speed)
        if cleaned >= _TRIAL_FRAMES and not self._told and speed:
            self._told = True
            self._report.detail(self._outlook(total - done, speed))

    def _outlook(self, left: int, speed: float) -> str:
        free = shutil.disk_usage(self._work.job.target.parent).free
        size = os.stat(self._work.job.source).st_size  # noqa: PTH116 - follows links, as reading does
        finish = time.strftime("%H:%M", time.localtime(time.time() + left / speed))
        return (
            f"{1 / speed:.2f} s a frame, {left} frames left, done at about {finish}; "
            f"the source has {size / 1e6:.1f} MB, {free / 1e6:.0f} MB are free"
        )


def _size(work: "Work") -> tuple[int, int]:
    strand = work.strands[0]
    width, height = strand.footage.width, strand.footage.height
    return (height, width) if strand.turn.sideways else (width, height)
