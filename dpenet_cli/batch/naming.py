"""What is looked for, pictures or videos, and how results are named."""

import os
import re
import shlex
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import NamedTuple

from dpenet_cli.errors import DpenetError, InputError
from dpenet_cli.images.formats import PICTURE_SUFFIXES, RAW_SUFFIXES, format_for, raw_refusal
from dpenet_cli.options import ImageFormat
from dpenet_cli.system.storage import Place, not_a_file, on_this_machine, place
from dpenet_cli.system.urls import StorePath
from dpenet_cli.video.containers import FALLBACK_SUFFIX, MUXERS, VIDEO_SUFFIXES

OWN_SUFFIX = "-derained"
"""Added to a name whose output stands beside its input."""

PREVIEW_SUFFIX = "-preview"
"""Takes the place of `OWN_SUFFIX` in the name of a video's preview."""

COMPARE_SUFFIX = "-compare.jpg"
"""Added to the stem of an output for its before/after picture."""

COMPARE_FOLDER = "-compare"
"""Added to the name of an output folder for that of its before/after pictures."""

_PRODUCT = re.compile(
    rf"(.+)(?:{OWN_SUFFIX}\.[^.]+|{re.escape(COMPARE_SUFFIX)}|{PREVIEW_SUFFIX}(?:-[0-9hms.]+)?\.[^.]+)", re.DOTALL
)
"""Names that are given to results, before/after pictures and previews which stand beside what they were made of."""

_FORMAT_SUFFIX = {ImageFormat.JPEG: ".jpg", ImageFormat.TIFF: ".tif"}


FEW = 3
"""So many names at most stand in a line that is about any number of files."""

SIDECAR_SUFFIXES = frozenset(
    {".aae", ".xmp", ".thm", ".dop", ".pp3", ".srt", ".gpx", ".nmea", ".wav", ".json", ".csv", ".xml", ".txt", ".md"}
    | {".log", ".html", ".pdf", ".ini", ".db", ".zip"}
)
"""What cameras, editors and people put beside photographs and videos."""


def few(names: Sequence[str]) -> str:
    """Some names, or the first of many."""
    more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return ", ".join(names[:FEW]) + more


class Others(NamedTuple):
    """Files that another command takes.

    Attributes:
        noun: their name in the plural.
        suffixes: what they end with.
        command: the one that cleans them.
    """

    noun: str
    suffixes: frozenset[str]
    command: str

    def counted(self, count: int) -> str:
        """So many of them, in words."""
        return f"{count} {self.noun if count != 1 else self.noun.removesuffix('s')}"

    def cleaned_by(self, *paths: PurePath) -> str:
        """The command line that cleans them, or a folder of them; many by their patterns."""
        words = [shlex.quote(str(path)) for path in paths]
        if len(words) > FEW:  # as their names are written: a shell tells .MP4 from .mp4
            folders = [(shlex.quote(str(path.parent)) + os.sep, path.suffix) for path in paths]
            words = list(dict.fromkeys(f"{folder.removeprefix('.' + os.sep)}*{suffix}" for folder, suffix in folders))
        return " ".join([self.command, *words])


@dataclass(frozen=True)
class Medium:
    """What is looked for.

    Attributes:
        noun: its name in the plural.
        suffixes: what its files end with.
        formats: how to say that to a person.
        others: what a person may take for it.
        rename: the name of the result for the path of an input.
        raw: endings of files that are told about when a folder is searched.
        in_stores: they may lie in object stores.
    """

    noun: str
    suffixes: frozenset[str]
    formats: str
    others: Others
    rename: Callable[[PurePath], str]
    raw: frozenset[str] = frozenset()
    in_stores: bool = False

    def place(self, text: str) -> Place:
        """Where such a file, or a folder of them, lies, by its name.

        Raises:
            OptionError: it is a URL, and such files are on this machine alone; or it is one that is not understood.
        """
        return place(text) if self.in_stores else on_this_machine(text, f"{self.noun} are cleaned from files")

    def refusal(self, path: Place) -> DpenetError | None:
        """Why a path cannot be such a file, by its name and kind alone; None if it may be one."""
        return self.refusal_by_name(path) or not_a_file(path)

    def refusal_by_name(self, path: Place) -> DpenetError | None:
        """The same by its name alone."""
        suffix = path.suffix.lower()
        if suffix in self.raw:
            return raw_refusal(str(path))
        if suffix in self.others.suffixes:
            why = f"this command cleans {self.noun}, not {self.others.noun}"
            return InputError(str(path), why, f"Run: {self.others.cleaned_by(path)}")
        return None


def pictures(image_format: ImageFormat | None) -> Medium:
    """Pictures, whose results are of this format, or of the one that their names say."""
    return Medium(
        noun="pictures",
        suffixes=PICTURE_SUFFIXES,
        formats="JPEG, PNG, WebP, TIFF, BMP, AVIF or HEIC files",
        others=Others("videos", VIDEO_SUFFIXES, "dpenet video"),
        rename=lambda path: _renamed(path, image_format),
        raw=RAW_SUFFIXES,
        in_stores=True,
    )


VIDEOS = Medium(
    noun="videos",
    suffixes=VIDEO_SUFFIXES,
    formats="MP4, MOV, MKV, WebM, AVI or similar files",
    others=Others("pictures", PICTURE_SUFFIXES, "dpenet derain"),
    rename=lambda path: path.name if path.suffix.lower() in MUXERS else path.stem + FALLBACK_SUFFIX,
)


def check_name(output: PurePath, image_format: ImageFormat | None) -> None:
    """Refuse a file name that says one format when another is asked for.

    Raises:
        InputError: they differ.
    """
    meant = format_for(output)
    if meant is not None and image_format not in (None, meant):
        why = f"its name says {meant}, but the format asked for is {image_format}"
        raise InputError(str(output), why, "Leave out --format, or change the name.")


def beside(path: Place, name: str) -> Place:
    """``a-derained.jpg`` beside ``a.jpg``, with the suffix of the result's name."""
    return path.with_name(path.stem + OWN_SUFFIX + Path(name).suffix)


def sibling(folder: Place, suffix: str = OWN_SUFFIX) -> Place:
    """``photos`` to ``photos-derained`` beside it; ``.`` and ``..`` by their real names.

    Raises:
        InputError: nothing can be beside it: it is a whole disk or bucket.
    """
    if isinstance(folder, StorePath):
        if not folder.key:
            raise InputError(str(folder), "a whole bucket has no folder beside it", "Name the output with -o.")
        return folder.with_name(folder.name + suffix)
    real = folder.resolve()
    if not real.name:
        raise InputError(str(folder), "a whole disk has no folder beside it", "Name the output folder with -o.")
    plain = folder.name not in {"", ".."}
    return (folder if plain else real).with_name((folder if plain else real).name + suffix)


def compare_folder(root: Place) -> Place | None:
    """``clean`` to ``clean-compare`` beside it; None where that would lie on another disk, or cannot be.

    Args:
        root: the output folder, which need not exist.
    """
    if (isinstance(root, StorePath) and not root.key) or (isinstance(root, Path) and os.path.ismount(root)):
        return None
    return sibling(root, COMPARE_FOLDER)


def compare_place(target: Place, root: Place | None, name: str) -> Place:
    """Where a before/after picture goes: beside a single result, or mirrored in `compare_folder`.

    Args:
        target: the result.
        root: the output folder that it is in, if there is one.
        name: of the before/after picture.
    """
    folder = None if root is None else compare_folder(root)
    if root is None or folder is None:
        return target.with_name(name)
    return folder / target.relative_to(root).with_name(name)


def made_of(name: str) -> str | None:
    """The name, or the stem, of what a file was made of if its name is that of a product of dpenet."""
    product = _PRODUCT.fullmatch(name)
    return product[1] if product else None


class Beside:
    """The names of the files or folders of one folder.

    Args:
        names: all of them.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = names

    def made_of(self, name: str) -> str | None:
        """The name, or the stem, of what a file was made of if it is a product of dpenet, and that stands beside it."""
        of = made_of(name)
        return of if of is not None and of in self._stems_and_names else None

    def folder_of(self, name: str) -> str | None:
        """The same of a folder: ``photos`` for ``photos-derained``."""
        stem = next((name.removesuffix(end) for end in (OWN_SUFFIX, COMPARE_FOLDER) if name.endswith(end)), None)
        return stem if stem is not None and stem in self._names else None

    @cached_property
    def _stems_and_names(self) -> set[str]:
        media = [name for name in self._names if PurePath(name).suffix.lower() in PICTURE_SUFFIXES | VIDEO_SUFFIXES]
        return {PurePath(name).stem for name in media} | set(media)


def _renamed(path: PurePath, image_format: ImageFormat | None) -> str:
    """The name of the output: the input's, with another suffix only if another format is asked for."""
    if image_format is None:
        # A camera's .mpo is cleaned as its primary picture, which is a plain JPEG.
        return path.stem + ".jpg" if path.suffix.lower() == ".mpo" else path.name
    if format_for(path) is image_format and path.suffix.lower() != ".mpo":
        return path.name
    return path.stem + _FORMAT_SUFFIX.get(image_format, f".{image_format}")
