"""What the user named, turned into jobs: files, folders and patterns in, one source and one target each out.

All of this happens before any work starts, so that two inputs for one output, or an output on top of an input, are
found while nothing has been written yet.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dpenet_cli.batch.discovery import files_below, named_by, not_a_file
from dpenet_cli.errors import DpenetError, InputError
from dpenet_cli.images.formats import PICTURE_SUFFIXES, RAW_SUFFIXES, format_for, raw_refusal
from dpenet_cli.options import ImageFormat
from dpenet_cli.system.atomic import name_too_long
from dpenet_cli.system.outputs import Job, Output, check_outputs, file_key
from dpenet_cli.video.containers import FALLBACK_SUFFIX, MUXERS, VIDEO_SUFFIXES

OWN_SUFFIX = "-derained"
"""Added to a name whose output stands beside its input."""

PREVIEW_SUFFIX = "-preview"
"""Takes the place of `OWN_SUFFIX` in the name of a video's preview."""

COMPARE_SUFFIX = "-compare.jpg"
"""Added to the stem of an output for its before/after picture."""

_FORMAT_SUFFIX = {ImageFormat.JPEG: ".jpg", ImageFormat.TIFF: ".tif"}


class BadInput(NamedTuple):
    """An input that names nothing to work on."""

    source: str
    error: DpenetError


@dataclass
class Plan:
    """Everything that one command is to do.

    Attributes:
        jobs: in the order of the inputs, folders sorted by name.
        bad: inputs that failed before the work started; the others go on.
        notices: what the user should know, as sentences without a full stop.
    """

    jobs: list[Job] = field(default_factory=list)
    bad: list[BadInput] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def plan_pictures(
    inputs: Sequence[str],
    output: str | Path | None = None,
    image_format: ImageFormat | None = None,
    *,
    compare: bool = False,
) -> Plan:
    """Find the pictures and name their outputs.

    Without `output`, ``a.jpg`` becomes ``a-derained.jpg`` beside it and ``photos/`` becomes ``photos-derained/``. With
    it, a single file goes to that name if it ends like a picture and is no folder; everything else goes into the folder
    of that name, with the structure below each input folder mirrored.

    Args:
        inputs: paths and glob patterns; what exists is a path, even if it looks like a pattern.
        output: file or folder, or None; a name that ends with a slash is a folder.
        image_format: the format of the outputs, or None for that of the input's name.
        compare: plan a before/after picture beside each output.

    Raises:
        InputError: two inputs would write one output, or an output would replace an input.
    """
    pictures = _Medium(
        noun="pictures",
        suffixes=PICTURE_SUFFIXES,
        formats="JPEG, PNG, WebP, TIFF, BMP, AVIF or HEIC files",
        rename=lambda path: _renamed(path, image_format),
        raw=RAW_SUFFIXES,
    )
    return _plan(inputs, output, pictures, image_format, compare=compare)


def plan_videos(
    inputs: Sequence[str], output: str | Path | None = None, *, preview: bool = False, overwrite: bool = False
) -> Plan:
    """Find the videos and name their outputs, by the rules of `plan_pictures`.

    Args:
        inputs: paths and glob patterns.
        output: file or folder, or None.
        preview: plan previews: ``a-preview.mp4`` for ``a.mp4``, unless `output` says otherwise.
        overwrite: previews may replace files; results do so by their date (`outcomes.outdated`).

    Raises:
        InputError: two inputs would write one output, an output would replace an input, or a preview another file.
    """
    videos = _Medium("videos", VIDEO_SUFFIXES, "MP4, MOV, MKV, WebM, AVI or similar files", _video_name)
    return _plan(inputs, output, videos, preview=preview, overwrite=overwrite)


@dataclass(frozen=True)
class _Medium:
    """What is looked for: its name in the plural, what its files end with, how to say that, and how outputs are named.

    Files that end with one of `raw` are told about when a folder is searched.
    """

    noun: str
    suffixes: frozenset[str]
    formats: str
    rename: Callable[[Path], str]
    raw: frozenset[str] = frozenset()


def _plan(
    inputs: Sequence[str],
    output: str | Path | None,
    medium: _Medium,
    image_format: ImageFormat | None = None,
    *,
    compare: bool = False,
    preview: bool = False,
    overwrite: bool = False,
) -> Plan:
    if "" in inputs or output == "":
        raise InputError("an empty name", "it names nothing", "Name a file or a folder; . is the current one.")
    batch = Plan()
    named: list[Path] = []
    for text in inputs:
        try:
            named += named_by(text)
        except InputError as nothing:
            batch.bad.append(BadInput(text, nothing))
    # Path drops a trailing slash, so it is looked for first: `-o out/` is a folder, whatever `out` ends with.
    is_folder = isinstance(output, str) and output.endswith((os.sep, "/"))
    output = None if output is None else Path(output)
    as_file = output is not None and not is_folder and _is_file_name(output, named, medium)
    if as_file and output is not None:
        check_name(output, image_format)
    for path in named:
        if os.path.isdir(path):  # noqa: PTH112 - false, not an error, where permission is missing
            _plan_folder(path, output, medium, batch)
        elif error := _not_a_file(path, medium):
            batch.bad.append(BadInput(str(path), error))
        else:
            name = Path(medium.rename(path))
            beside = path.with_name(path.stem + OWN_SUFFIX + name.suffix)
            batch.jobs.append(Job(path, beside if output is None else output if as_file else output / name))
    # Names are settled before they are checked: repeats go first, or they would clash with themselves; products of
    # other inputs need every target and before/after name; lengths and clashes are those of the final names.
    _drop_repeats(batch)
    if compare:
        batch.jobs = _with_compare(batch.jobs)
    if output is None:
        _drop_own_products(batch)
        if preview:
            batch.jobs = [job._replace(target=_preview_name(job)) for job in batch.jobs]
    _drop_long_names(batch)
    _check_targets(batch.jobs, redone=not preview, overwrite=overwrite)
    return batch


def _video_name(path: Path) -> str:
    return path.name if path.suffix.lower() in MUXERS else path.stem + FALLBACK_SUFFIX


def _is_file_name(output: Path, named: Sequence[Path], medium: _Medium) -> bool:
    """Whether `output` names the one file to write, rather than a folder."""
    if output.suffix.lower() not in medium.suffixes:
        return False
    if os.path.isdir(output):  # noqa: PTH112 - false, not an error, for impossible names
        return False
    if len(named) > 1 or any(map(os.path.isdir, named)):
        raise InputError(str(output), f"several {medium.noun} do not fit into one file", "Name a folder with -o.")
    return True


def check_name(output: Path, image_format: ImageFormat | None) -> None:
    """Refuse a file name that says one format when another is asked for.

    Raises:
        InputError: they differ.
    """
    meant = format_for(output)
    if meant is not None and image_format not in (None, meant):
        why = f"its name says {meant}, but the format asked for is {image_format}"
        raise InputError(str(output), why, "Leave out --format, or change the name.")


def _plan_folder(folder: Path, output: Path | None, medium: _Medium, batch: Plan) -> None:
    root = output if output is not None else _sibling(folder)
    raw, before = 0, len(batch.jobs) + len(batch.bad)
    unreadable: list[InputError] = []
    for path in files_below(folder, root, unreadable):
        suffix = path.suffix.lower()
        if suffix in medium.raw:
            raw += 1
        elif suffix in medium.suffixes:
            if error := _not_a_file(path, medium):
                batch.bad.append(BadInput(str(path), error))
                continue
            relative = path.relative_to(folder)
            batch.jobs.append(Job(path, root / relative.with_name(medium.rename(relative))))
    batch.bad += [BadInput(error.what, error) for error in unreadable]
    if raw:
        batch.notices.append(f"{folder}: {raw} camera raw file(s) left out; export them as 16-bit TIFFs to clean them")
    if len(batch.jobs) + len(batch.bad) == before:
        why, step = f"there are no {medium.noun} in this folder", f"Name a folder that holds {medium.formats}."
        batch.bad.append(BadInput(str(folder), InputError(str(folder), why, step)))


def _not_a_file(path: Path, medium: _Medium) -> DpenetError | None:
    return raw_refusal(str(path)) if path.suffix.lower() in medium.raw else not_a_file(path)


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


def _preview_name(job: Job) -> Path:
    """``dashcam-preview.mp4`` for ``dashcam.mp4``, where the result would be."""
    return job.target.with_stem(job.source.stem + PREVIEW_SUFFIX)


def _with_compare(jobs: Sequence[Job]) -> list[Job]:
    """Add the names of the before/after pictures: ``a-compare.jpg``, with the suffix kept where two would be alike."""
    plain = [job.target.with_name(job.target.stem + COMPARE_SUFFIX) for job in jobs]
    uses = Counter(map(file_key, plain))
    return [
        job._replace(
            compare=name if uses[file_key(name)] == 1 else job.target.with_name(job.target.name + COMPARE_SUFFIX)
        )
        for job, name in zip(jobs, plain, strict=True)
    ]


def _drop_repeats(batch: Plan) -> None:
    """The same file named twice for the same output is one job."""
    unique = {(file_key(job.source), file_key(job.target)): job for job in reversed(batch.jobs)}
    batch.jobs = list(reversed(unique.values()))


def _drop_own_products(batch: Plan) -> None:
    """Leave out inputs that other inputs have as their outputs: ``dpenet derain *.jpg``, run a second time."""
    products = {file_key(path) for job in batch.jobs for path in (job.target, job.compare) if path is not None}
    remaining = [job for job in batch.jobs if file_key(job.source) not in products]
    if dropped := len(batch.jobs) - len(remaining):
        batch.notices.append(f"{dropped} input(s) left out: they are the cleaned pictures of other inputs")
    batch.jobs = remaining


def _drop_long_names(batch: Plan) -> None:
    """An output whose name no file could have is its input's failure, found before any work."""
    remaining = []
    for job in batch.jobs:
        long = next((path for path in (job.target, job.compare) if path is not None and name_too_long(path)), None)
        if long is None:
            remaining.append(job)
            continue
        why = f"a name on the way to its output would be too long ({long})"
        batch.bad.append(BadInput(str(job.source), InputError(str(job.source), why, "Give a shorter one with -o.")))
    batch.jobs = remaining


def _check_targets(jobs: Sequence[Job], *, redone: bool, overwrite: bool) -> None:
    """Refuse, before anything is written, what would lose a file."""
    outputs = [
        Output(path, str(job.source), redone) for job in jobs for path in (job.target, job.compare) if path is not None
    ]
    check_outputs(
        outputs,
        [job.source for job in jobs],
        overwrite=overwrite,
        elsewhere="Name another output with -o",
        apart="Clean them in two runs with two output folders.",
    )
