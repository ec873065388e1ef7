"""``dpenet derain --preview`` and ``dpenet video --frame``: one picture to look at before a run is begun."""

import os
import time
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from dpenet_cli.batch.naming import Medium
from dpenet_cli.cli.console import Exit, duration, one_line, print_error, waiting
from dpenet_cli.cli.shared_options import RESULT
from dpenet_cli.errors import DpenetError, InputError, OptionError, StorageError
from dpenet_cli.inference.region import Region
from dpenet_cli.options import EngineOptions, VideoMethod, VideoOptions
from dpenet_cli.system.storage import Place, is_folder, is_there, on_this_machine

if TYPE_CHECKING:
    from dpenet_cli.batch.previews import Shown

RegionText = Annotated[
    str | None,
    typer.Option(
        "--region",
        metavar="X,Y,W,H|all",
        help="The part that a preview shows, in pixels (1200,800,640,640) or percent (40%,40%,20%,20%).",
        show_default="the whole of a small picture; of others, 640 pixels where most is removed",
        rich_help_panel=RESULT,
    ),
]


def refuse_without_preview(option: str, region: str | None, strengths: Sequence[float]) -> None:
    """Refuse what only a preview can show.

    Raises:
        OptionError: a region was given, or several strengths.
    """
    if region is not None:
        raise OptionError("--region", "it is the part that a preview shows", f"Give it with {option}.")
    if len(strengths) > 1:
        why = "a result has one, and several stand side by side in a preview"
        raise OptionError("--strength", why, f"Give one, or look at them with {option}.")


def one_input(inputs: Sequence[str] | None, medium: Medium, option: str, others: Mapping[str, bool]) -> Place:
    """The file that a preview is made of.

    Args:
        inputs: what was named.
        medium: pictures or videos.
        option: the option that asks for the preview.
        others: options that do not go with it, and whether they were given.

    Raises:
        OptionError: another option was given too.
        InputError: it is none, or several.
    """
    if given := ", ".join(name for name, is_given in others.items() if is_given):
        raise OptionError(f"{option} {given}", "a preview is one picture to look at", f"Leave out {given}.")
    noun = medium.noun.removesuffix("s")
    if inputs is None or len(inputs) != 1:
        raise InputError(option, f"a preview is of one {noun}", f"Name one {noun}.")
    source = medium.place(inputs[0])
    if is_folder(source):
        raise InputError(str(source), f"it is a folder, and a preview is of one {noun}", f"Name one {noun} in it.")
    if not is_there(source):
        raise InputError(str(source), "there is no such file", f"Name one {noun}.")
    if error := medium.refusal(source):
        raise error
    return source


def preview_of_picture(
    source: Place,
    output: str | None,
    weights: str,
    engine: EngineOptions,
    strengths: Sequence[float],
    region: str | None,
    max_pixels: int,
    *,
    overwrite: bool,
    quiet: bool,
) -> Exit:
    """Show a part of one picture before and after.

    Args:
        source: the picture.
        output: file or folder, or None for a file beside it.
        weights: their name or path.
        engine: how the network is run, at full strength.
        strengths: to be shown side by side.
        region: the part, as it was given.
        max_pixels: larger pictures are refused.
        overwrite: replace a file that is no preview.
        quiet: tell errors alone.

    Raises:
        DpenetError: an option or a name is wrong, or the engine cannot be loaded.
    """
    part = None if region is None else Region.parse(region)
    started = time.perf_counter()
    with waiting(f"loading the network ({weights})", quiet=quiet) as say:
        from dpenet_cli.batch.previews import View, check_preview, preview_path, preview_picture

        target = preview_path(source, _folder_or_file(output), is_folder=_names_folder(output))
        check_preview(target, source, overwrite=overwrite)
        from dpenet_cli.inference.scales import load

        derainer = load(weights, engine)
        say(f"looking at {one_line(source)}")
        try:
            shown = preview_picture(source, target, derainer, View(strengths, part), max_pixels)
        except OptionError:  # the region
            raise
        except DpenetError as error:
            return _failed(error)
    _tell(target, shown, started, quiet=quiet)
    return Exit.OK


def preview_of_frame(
    source: Path,
    output: str | None,
    when: Fraction,
    weights: str,
    engine: EngineOptions,
    options: VideoOptions,
    strengths: Sequence[float],
    region: str | None,
    *,
    quiet: bool,
) -> Exit:
    """Show one frame of a video, or a part of it, before and after. Arguments as `preview_of_picture` has them.

    Args:
        source: the video.
        output: file or folder, or None.
        when: the frame's time, in seconds.
        weights: their name or path.
        engine: how the network is run, at full strength.
        options: how the video is cleaned.
        strengths: to be shown side by side.
        region: the part, as it was given.
        quiet: tell errors alone.

    Raises:
        DpenetError: an option or a name is wrong, or the engine cannot be loaded.
    """
    part = None if region is None else Region.parse(region)
    started = time.perf_counter()
    with waiting(f"reading {one_line(source)}", quiet=quiet) as say:
        from dpenet_cli.batch.previews import View, check_preview, preview_path, preview_still
        from dpenet_cli.video.restoration import restoration
        from dpenet_cli.video.stills import read_still

        target = preview_path(source, _folder_or_file(output), is_folder=_names_folder(output), time=when)
        check_preview(target, source, overwrite=options.overwrite)
        try:
            still = read_still(source, when, options)
            network, scale = None, 1.0
            if options.method is not VideoMethod.TEMPORAL:
                say(f"loading the network ({weights})")
                from dpenet_cli.inference.scales import load

                derainer = load(weights, engine)
                network, scale = derainer.engine, derainer.choose([still.before]).scale
            say("cleaning one frame")
            clean = restoration(options.method, network, fast=options.fast, levels=still.reference_white)
            shown = preview_still(still, target, clean, scale, View(strengths, part))
        except OptionError:  # the time or the region
            raise
        except DpenetError as error:
            return _failed(error)
    _tell(target, shown, started, quiet=quiet)
    return Exit.OK


def _folder_or_file(output: str | None) -> Path | None:
    return None if output is None else on_this_machine(output, "previews are written")


def _names_folder(output: str | None) -> bool:
    return output is not None and output.endswith((os.sep, "/"))


def _failed(error: DpenetError) -> Exit:
    print_error(error)
    return Exit.TRY_AGAIN if isinstance(error, StorageError) else Exit.SOME_FAILED


def _tell(target: Path, shown: "Shown", started: float, *, quiet: bool) -> None:
    """Say what the picture shows, and how to see another part."""
    if quiet:
        return
    box, seconds = shown.box, duration(time.perf_counter() - started)
    size = f"{box.width}×{box.height}"
    if box[2:] == (shown.width, shown.height):
        what = f"all {size} pixels"
    else:
        why = ", where most is removed" if shown.found else ""
        what = f"{size} of {shown.width}×{shown.height} pixels, --region {box}{why}"
    seen = "" if shown.scale == 1 else f", seen by the network at {shown.scale:.3g} of the size"
    Console(stderr=True, highlight=False).print(
        Text.assemble((one_line(target), "bold"), f": {what}{seen} ({seconds})"), soft_wrap=True
    )
