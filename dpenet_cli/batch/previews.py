"""One picture, or one frame of a video, before and after: a PNG to look at before a run is begun."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from dpenet_cli.arrays import Pixels
from dpenet_cli.batch.naming import PREVIEW_SUFFIX
from dpenet_cli.batch.outcomes import write_error
from dpenet_cli.errors import InputError
from dpenet_cli.images.panels import Panel, panels_png
from dpenet_cli.images.picture import Picture
from dpenet_cli.images.reading import read
from dpenet_cli.inference.parts import cleaned_part, cut, most_changed
from dpenet_cli.inference.region import Box, Region
from dpenet_cli.inference.scales import ScaledDerainer
from dpenet_cli.system.atomic import unwritable, write_whole
from dpenet_cli.system.outputs import Output, check_outputs
from dpenet_cli.system.seals import is_untouched, sealed_png
from dpenet_cli.system.storage import Place
from dpenet_cli.video.network_tiles import at_strength
from dpenet_cli.video.restoration import Restoration
from dpenet_cli.video.stills import Still


class View(NamedTuple):
    """What somebody wants to see.

    Attributes:
        strengths: a panel for each, beside the picture as it is.
        region: the part, or None for the whole of a small picture, and of others for where most is removed.
    """

    strengths: Sequence[float]
    region: Region | None = None


class Shown(NamedTuple):
    """What a preview shows.

    Attributes:
        box: the part.
        width, height: of the whole, in pixels.
        found: the part was chosen because most was removed there.
        scale: width in which the network sees it, over its own.
    """

    box: Box
    width: int
    height: int
    found: bool
    scale: float


def preview_path(source: Place, output: Path | None, *, is_folder: bool = False, time: Fraction | None = None) -> Path:
    """Where a preview goes: ``a-preview.png`` beside ``a.jpg``, ``b-preview-1m23s.png`` beside ``b.mp4``.

    Args:
        source: the picture or the video.
        output: the file or the folder that was named, or None.
        is_folder: it names a folder, there or not.
        time: the frame's, in seconds.

    Raises:
        InputError: a file that is named does not end in .png, or the input is in a store, and nothing is named.
    """
    tail = PREVIEW_SUFFIX if time is None else f"{PREVIEW_SUFFIX}-{_time_in_names(time)}"
    name = f"{source.stem}{tail}.png"
    if output is None:
        if not isinstance(source, Path):
            raise InputError(str(source), "a preview is written on this machine", f"Say where: -o {name}")
        return source.with_name(name)
    if is_folder or output.is_dir():
        return output / name
    if output.suffix.lower() != ".png":
        raise InputError(str(output), "a preview is a PNG", f"Name {output.with_suffix('.png')}, or a folder.")
    return output


def check_preview(target: Path, source: Place, *, overwrite: bool) -> None:
    """Refuse to lose a file: an earlier preview that nobody has changed is replaced, and no other.

    Raises:
        InputError: something else is there, or it cannot be written.
    """
    replaced = Output(target, str(source), redone=is_untouched(target))
    check_outputs([replaced], [source], overwrite=overwrite, elsewhere="Name another output with -o")
    if why := unwritable(target.parent):
        raise InputError(str(target.parent), f"the preview cannot be written there ({why})", "Choose another with -o.")


def preview_picture(source: Place, target: Path, derainer: ScaledDerainer, view: View, max_pixels: int) -> Shown:
    """Read a picture, clean a part of it, and write that before and after.

    Args:
        source: the picture.
        target: the PNG, from `preview_path`.
        derainer: the engine, at full strength.
        view: what is shown.
        max_pixels: larger pictures are refused.

    Raises:
        DpenetError: reading, cleaning or writing failed, or the region lies outside.
    """
    picture = read(source, max_pixels=max_pixels)
    part = cleaned_part(derainer, picture.pixels, view.region)
    _write(target, part.before, part.after, view.strengths, picture)
    height, width = picture.pixels.shape[:2]
    return Shown(part.box, width, height, part.found, part.choice.scale)


def preview_still(still: Still, target: Path, clean: Restoration, scale: float, view: View) -> Shown:
    """Clean a frame, and write it, or a part of it, before and after.

    Args:
        still: the frame and its neighbours.
        target: the PNG, from `preview_path`.
        clean: cleans frames, at full strength.
        scale: width in which the network sees them, over their own.
        view: what is shown.

    Raises:
        DpenetError: cleaning or writing failed, or the region lies outside.
    """
    before = still.before
    height, width = before.shape[:2]
    asked = None if view.region is None else view.region.of(width, height)
    after = still.cleaned(clean, scale)
    box = asked or most_changed(before, after)
    _write(target, cut(before, box), cut(after, box), view.strengths)
    found = asked is None and box[2:] != (width, height)
    return Shown(box, width, height, found, scale)


def _write(
    target: Path, before: Pixels, after: Pixels, strengths: Sequence[float], picture: Picture | None = None
) -> None:
    """Store the panels: before, and after at each strength.

    Raises:
        ImageWriteError, StorageError: it cannot be written.
    """
    names = ["after"] if list(strengths) == [1.0] else [f"strength {strength:g}" for strength in strengths]
    versions = (at_strength(before, after, strength) for strength in strengths)
    panels = [Panel("before", before), *map(Panel, names, versions)]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, sealed_png(panels_png(panels, picture)))
    except OSError as error:
        raise write_error(target, error) from error


def _time_in_names(seconds: Fraction) -> str:
    """``1h2m3s``, ``1m23s``, ``0m5.5s``."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    digits = f"{float(rest):.3f}".rstrip("0").rstrip(".")
    return f"{f'{hours}h' if hours else ''}{minutes}m{digits}s"
