"""``dpenet video``: videos in, clean videos out, with their sound and everything else."""

from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer

from dpenet_cli.cli.console import BatchReport, end_on_signals
from dpenet_cli.cli.video_batch import VideoBatch
from dpenet_cli.errors import OptionError
from dpenet_cli.inputs import OWN_SUFFIX, PREVIEW_SUFFIX, plan_videos
from dpenet_cli.options import DEFAULT_WEIGHTS, EngineOptions, Precision, VideoCodec, VideoEncoder, VideoOptions

_FILES, _PART, _RESULT, _ENGINE, _SHOWN = "Files", "Which part", "The result", "Speed and memory", "What is shown"


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
    preview: Annotated[
        str | None,
        typer.Option(
            metavar="SECONDS",
            help="Only so much from the middle, before and after side by side, as dashcam-preview.mp4.",
            show_default="the whole video",
            rich_help_panel=_PART,
        ),
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
        preview=_seconds(preview, "--preview"),
        deinterlace=deinterlace,
        allow_damaged=allow_damaged,
        checkpoint=_seconds(checkpoint, "--checkpoint") or Fraction(0),
        overwrite=overwrite,
    )
    if preview is not None and (start is not None or end is not None):
        raise OptionError(f"--preview {preview}", "it is taken from the middle", "Leave out --start and --end.")
    end_on_signals()
    batch = plan_videos(inputs, output)
    if options.preview is not None and output is None:
        batch.jobs = [job._replace(target=_preview_name(job.target)) for job in batch.jobs]
    total = len(batch.jobs) + len(batch.bad)
    with BatchReport(total, as_json=as_json, verbosity=int(verbose) - int(quiet), noun="videos") as report:
        code = VideoBatch(batch, report, options, engine, weights).run(dry=dry_run)
    raise typer.Exit(code)


def _preview_name(target: Path) -> Path:
    """``dashcam-derained.mp4`` to ``dashcam-preview.mp4``."""
    return target.with_stem(target.stem.removesuffix(OWN_SUFFIX) + PREVIEW_SUFFIX)
