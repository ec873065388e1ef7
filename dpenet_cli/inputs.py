"""What the user named, turned into jobs: files, folders and patterns in, one source and one target each out.

All of this happens before any work starts, so that two inputs for one output, or an output on top of an input, are
found while nothing has been written yet.
"""

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dpenet_cli.errors import DpenetError, InputError
from dpenet_cli.images.formats import PICTURE_SUFFIXES, RAW_SUFFIXES, format_for, raw_refusal
from dpenet_cli.options import ImageFormat

OWN_SUFFIX = "-derained"
"""Added to a name whose output stands beside its input."""

PREVIEW_SUFFIX = "-preview"
"""Takes the place of `OWN_SUFFIX` in the name of a video's preview."""

COMPARE_SUFFIX = "-compare.jpg"
"""Added to the stem of an output for its before/after picture."""

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".vob", ".wmv", ".asf"}
    | {".flv", ".ogv", ".mxf", ".3gp", ".3g2", ".dv", ".ivf"}
)
"""What files in a folder are taken for videos."""

_VIDEO_KEPT = {".mp4", ".m4v", ".mov", ".mkv", ".webm"}
"""Videos whose output has the same ending; the others become Matroska, which holds whatever they held."""

_FORMAT_SUFFIX = {ImageFormat.JPEG: ".jpg", ImageFormat.TIFF: ".tif"}


class Job(NamedTuple):
    """One picture to clean: where it is, where the result goes, and the before/after picture if one is wanted."""

    source: Path
    target: Path
    compare: Path | None = None


class BadInput(NamedTuple):
    """An input that names nothing to work on."""

    source: str
    error: DpenetError


@dataclass
class Batch:
    """Everything that one command is to do.

    Attributes:
        jobs: in the order of the inputs, folders sorted by name.
        bad: inputs that failed before the work started; the others go on.
        notices: what the user should know, as sentences without a full stop.
    """

    jobs: list[Job] = field(default_factory=list)
    bad: list[BadInput] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def plan_batch(
    inputs: Sequence[str],
    output: Path | None = None,
    image_format: ImageFormat | None = None,
    *,
    compare: bool = False,
) -> Batch:
    """Find the pictures and name their outputs.

    Without `output`, ``a.jpg`` becomes ``a-derained.jpg`` beside it and ``photos/`` becomes ``photos-derained/``. With
    it, a single file goes to that name if it ends like a picture and is no folder; everything else goes into the folder
    of that name, with the structure below each input folder mirrored.

    Args:
        inputs: paths and glob patterns; what exists is a path, even if it looks like a pattern.
        output: file or folder, or None.
        image_format: the format of the outputs, or None for that of the input's name.
        compare: plan a before/after picture beside each output.

    Raises:
        InputError: two inputs would write one output, or an output would replace an input.
    """
    batch = Batch()
    named = [path for text in inputs for path in _resolve(text, batch)]
    as_file = output is not None and _is_file_name(output, named, image_format)
    for path in named:
        if path.is_dir():
            _plan_folder(path, output, image_format, compare, batch)
        elif error := _not_a_picture(path):
            batch.bad.append(BadInput(str(path), error))
        else:
            if as_file and output is not None:
                target = output
            elif output is not None:
                target = output / _renamed(path, image_format)
            else:
                target = path.with_name(Path(path.name).stem + OWN_SUFFIX + Path(_renamed(path, image_format)).suffix)
            batch.jobs.append(_job(path, target, compare))
    _drop_repeats(batch)
    if output is None:
        _drop_own_products(batch)
    _check_targets(batch.jobs)
    return batch


def plan_videos(inputs: Sequence[str], output: Path | None = None) -> Batch:
    """Find the videos and name their outputs, by the rules of `plan_batch`.

    Args:
        inputs: paths and glob patterns.
        output: file or folder, or None.

    Raises:
        InputError: two inputs would write one output, or an output would replace an input.
    """
    batch = Batch()
    named = [path for text in inputs for path in _resolve(text, batch)]
    as_file = output is not None and not output.is_dir() and output.suffix.lower() in VIDEO_SUFFIXES
    if as_file and (len(named) > 1 or any(path.is_dir() for path in named)):
        raise InputError(str(output), "several videos do not fit into one file", "Name a folder with -o.")
    for path in named:
        if path.is_dir():
            _plan_video_folder(path, output, batch)
        elif not path.is_file():
            why = "this is no file" if path.exists() else "this link leads nowhere"
            batch.bad.append(BadInput(str(path), InputError(str(path), why, "Name the video itself.")))
        elif as_file and output is not None:
            batch.jobs.append(Job(path, output))
        elif output is not None:
            batch.jobs.append(Job(path, output / _video_name(path)))
        else:
            batch.jobs.append(Job(path, path.with_name(path.stem + OWN_SUFFIX + Path(_video_name(path)).suffix)))
    _drop_repeats(batch)
    if output is None:
        _drop_own_products(batch)
    _check_targets(batch.jobs)
    return batch


def _plan_video_folder(folder: Path, output: Path | None, batch: Batch) -> None:
    root = output if output is not None else _sibling(folder)
    found = [path for path in _walk(folder, skip=root) if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()]
    for path in found:
        relative = path.relative_to(folder)
        batch.jobs.append(Job(path, root / relative.with_name(_video_name(path))))
    if not found:
        step = "Name a folder that holds MP4, MOV, MKV, WebM, AVI or similar files."
        batch.bad.append(BadInput(str(folder), InputError(str(folder), "there are no videos in this folder", step)))


def _video_name(path: Path) -> str:
    return path.name if path.suffix.lower() in _VIDEO_KEPT else path.stem + ".mkv"


def _is_file_name(output: Path, named: Sequence[Path], image_format: ImageFormat | None) -> bool:
    """Whether `output` names the one picture to write, rather than a folder."""
    meant = format_for(output)
    if meant is None or output.is_dir():
        return False
    if len(named) > 1 or any(path.is_dir() for path in named):
        raise InputError(str(output), "several pictures do not fit into one file", "Name a folder with -o.")
    if image_format not in (None, meant):
        why = f"its name says {meant}, but the format asked for is {image_format}"
        raise InputError(str(output), why, "Leave out --format, or change the name.")
    return True


def _resolve(text: str, batch: Batch) -> list[Path]:
    """The paths that one argument stands for; a failure goes to the batch, and the list is empty."""
    path = Path(text)
    if os.path.lexists(path):
        return [path]
    if glob.has_magic(text):
        found = [Path(match) for match in sorted(glob.glob(text, recursive=True))]  # noqa: PTH207 - takes absolute ones
        if found:
            return found
        why, step = "no file matches this pattern", "Check the pattern, or name the folder."
    else:
        why, step = "there is no such file or folder", "Check the name."
    batch.bad.append(BadInput(text, InputError(text, why, step)))
    return []


def _plan_folder(
    folder: Path, output: Path | None, image_format: ImageFormat | None, compare: bool, batch: Batch
) -> None:
    root = output if output is not None else _sibling(folder)
    raw = found = 0
    for path in _walk(folder, skip=root):
        suffix = path.suffix.lower()
        if suffix in RAW_SUFFIXES:
            raw += 1
        elif suffix in PICTURE_SUFFIXES and path.is_file():
            relative = path.relative_to(folder)
            target = root / relative.with_name(_renamed(relative, image_format))
            batch.jobs.append(_job(path, target, compare))
            found += 1
    if raw:
        batch.notices.append(f"{folder}: {raw} camera raw file(s) left out; export them as 16-bit TIFFs to clean them")
    if not found:
        step = "Name a folder that holds JPEG, PNG, WebP, TIFF, BMP, AVIF or HEIC files."
        batch.bad.append(BadInput(str(folder), InputError(str(folder), "there are no pictures in this folder", step)))


def _walk(folder: Path, skip: Path) -> Iterator[Path]:
    """Files below a folder, sorted; hidden ones and the output folder left out, link loops entered once."""
    skipped = skip.resolve()
    entered: set[tuple[int, int]] = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        status = Path(here).stat()
        identity = (status.st_dev, status.st_ino)
        if identity in entered:
            folders.clear()
            continue
        entered.add(identity)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and (Path(here) / name).resolve() != skipped
        )
        yield from (Path(here) / name for name in sorted(files) if not name.startswith("."))


def _sibling(folder: Path) -> Path:
    """``photos`` to ``photos-derained`` beside it; ``.`` and ``..`` by their real names."""
    real = folder.resolve()
    if not real.name:
        raise InputError(str(folder), "a whole disk has no folder beside it", "Name the output folder with -o.")
    plain = folder.name not in {"", ".."}
    return (folder if plain else real).with_name(real.name + OWN_SUFFIX if not plain else folder.name + OWN_SUFFIX)


def _renamed(path: Path, image_format: ImageFormat | None) -> str:
    """The name of the output: the input's, with another suffix only if another format is asked for."""
    if image_format is None:
        # A camera's .mpo is cleaned as its primary picture, which is a plain JPEG.
        return path.stem + ".jpg" if path.suffix.lower() == ".mpo" else path.name
    if format_for(path) is image_format and path.suffix.lower() != ".mpo":
        return path.name
    return path.stem + _FORMAT_SUFFIX.get(image_format, f".{image_format}")


def _job(source: Path, target: Path, compare: bool) -> Job:
    return Job(source, target, target.with_name(target.stem + COMPARE_SUFFIX) if compare else None)


def _not_a_picture(path: Path) -> DpenetError | None:
    if path.suffix.lower() in RAW_SUFFIXES:
        return raw_refusal(str(path))
    if not path.exists():
        return InputError(str(path), "this link leads nowhere", "Mend the link, or name the picture itself.")
    if not path.is_file():
        return InputError(str(path), "this is a pipe or a device, not a file", "Use - to read from a pipe.")
    return None


def _key(path: Path) -> str:
    """A path as the file system compares it; macOS and Windows do not tell upper from lower case."""
    text = os.path.normcase(path.resolve())
    return text.casefold() if sys.platform == "darwin" else text


def _drop_repeats(batch: Batch) -> None:
    """The same file named twice for the same output is one job."""
    unique = {(_key(job.source), _key(job.target)): job for job in reversed(batch.jobs)}
    batch.jobs = list(reversed(unique.values()))


def _drop_own_products(batch: Batch) -> None:
    """Leave out inputs that other inputs have as their outputs: ``dpenet derain *.jpg``, run a second time."""
    products = {_key(path) for job in batch.jobs for path in (job.target, job.compare) if path is not None}
    kept = [job for job in batch.jobs if _key(job.source) not in products]
    if dropped := len(batch.jobs) - len(kept):
        batch.notices.append(f"{dropped} input(s) left out: they are the cleaned pictures of other inputs")
    batch.jobs = kept


def _check_targets(jobs: Sequence[Job]) -> None:
    """Refuse, before anything is written, what would lose a picture."""
    sources = {_key(job.source): job.source for job in jobs}
    writers: dict[str, Path] = {}
    for job in jobs:
        for path in (job.target, job.compare):
            if path is None:
                continue
            key = _key(path)
            if key in sources:
                what = str(path) if key != _key(job.source) else str(job.source)
                why = "it is an input, and the output would replace it"
                raise InputError(what, why, "Name another output with -o.")
            if key in writers:
                why = f"both {writers[key]} and {job.source} would be written to it"
                raise InputError(str(path), why, "Clean them in two runs with two output folders.")
            writers[key] = job.source
