"""What the user named, turned into jobs: files, folders and patterns in, one source and one target each out.

All of this happens before any work starts, so that two inputs for one output, or an output on top of an input, are
found while nothing has been written yet.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from dpenet_cli.batch.discovery import files_below, named_by
from dpenet_cli.batch.naming import (
    COMPARE_SUFFIX,
    PREVIEW_SUFFIX,
    VIDEOS,
    Medium,
    beside,
    check_name,
    pictures,
    sibling,
)
from dpenet_cli.batch.shards import Shard
from dpenet_cli.errors import DpenetError, InputError
from dpenet_cli.options import ImageFormat
from dpenet_cli.system.outputs import Job, Output, check_outputs, file_key
from dpenet_cli.system.storage import Place, is_folder, name_too_long, unwritable


class BadInput(NamedTuple):
    """An input that names nothing to work on.

    Attributes:
        source: the input.
        error: why not.
        relative: its path below the folder that was named, as in `Job`; empty for what was named itself.
        nothing: nothing was found there.
    """

    source: str
    error: DpenetError
    relative: str = ""
    nothing: bool = False


class Jobs(Protocol):
    """What is to be done, and what turns out not to be possible: a list, or what goes through one."""

    def __len__(self) -> int:
        """How many there are."""

    def __iter__(self) -> Iterator[Job | BadInput]:
        """From the first on, any number of times."""


class Work(Protocol):
    """Everything that one command is to do: a `Plan`, or one that is read as it is done."""

    @property
    def jobs(self) -> Jobs:
        """In the order of the inputs."""

    @property
    def bad(self) -> Sequence[BadInput]:
        """Inputs that failed before the work started; the others go on."""

    @property
    def notices(self) -> Sequence[str]:
        """What the user should know, as sentences without a full stop."""


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
    output: str | Place | None = None,
    image_format: ImageFormat | None = None,
    *,
    compare: bool = False,
    shard: Shard | None = None,
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
        shard: the part that is to be done, or None for all.

    Raises:
        InputError: two inputs would write one output, or an output would replace an input; nothing was found at all; or
            the output folder cannot be written to.
    """
    return _plan(inputs, output, pictures(image_format), image_format, compare=compare, shard=shard)


def plan_videos(
    inputs: Sequence[str],
    output: str | Place | None = None,
    *,
    preview: bool = False,
    overwrite: bool = False,
    shard: Shard | None = None,
) -> Plan:
    """Find the videos and name their outputs, by the rules of `plan_pictures`.

    Args:
        inputs: paths and glob patterns.
        output: file or folder, or None.
        preview: plan previews: ``a-preview.mp4`` for ``a.mp4``, unless `output` says otherwise.
        overwrite: previews may replace files; results do so by their date (`outcomes.outdated`).
        shard: the part that is to be done, or None for all.

    Raises:
        InputError: as `plan_pictures`; or a preview would replace another file.
    """
    return _plan(inputs, output, VIDEOS, preview=preview, overwrite=overwrite, shard=shard)


def _plan(
    inputs: Sequence[str],
    output: str | Place | None,
    medium: Medium,
    image_format: ImageFormat | None = None,
    *,
    compare: bool = False,
    preview: bool = False,
    overwrite: bool = False,
    shard: Shard | None = None,
) -> Plan:
    if "" in inputs or output == "":
        raise InputError("an empty name", "it names nothing", "Name a file or a folder; . is the current one.")
    batch = Plan()
    named: list[Place] = []
    for text in inputs:
        try:
            named += named_by(medium.place(text), text)
        except InputError as nothing:
            batch.bad.append(BadInput(text, nothing, nothing=True))
    # Path drops a trailing slash, so it is looked for first: `-o out/` is a folder, whatever `out` ends with.
    names_folder = isinstance(output, str) and output.endswith((os.sep, "/"))
    output = medium.place(output) if isinstance(output, str) else output
    as_file = output is not None and not names_folder and _is_file_name(output, named, medium)
    if as_file and output is not None:
        check_name(output, image_format)
    for path in named:
        if is_folder(path):
            _plan_folder(path, output, medium, batch)
        else:
            _plan_file(path, output, medium, batch, as_file=as_file)
    if not batch.jobs and batch.bad and all(bad.nothing for bad in batch.bad):
        raise _nothing_found(batch.bad)
    # Names are settled before they are checked: repeats go first, or they would clash with themselves; products of
    # other inputs need every target and before/after name; lengths and clashes are those of the final names.
    _drop_repeats(batch)
    if compare:
        batch.jobs = _with_compare(batch.jobs)
    if output is None:
        _drop_own_products(batch)
    if output is None and preview:  # ``dashcam-preview.mp4`` for ``dashcam.mp4``, where the result would be
        batch.jobs = [job._replace(target=job.target.with_stem(job.source.stem + PREVIEW_SUFFIX)) for job in batch.jobs]
    _drop_long_names(batch)
    _check_targets(batch.jobs, redone=not preview, overwrite=overwrite)
    _drop_unwritable(batch, output)
    if shard is not None:
        _take_part(batch, shard, medium)
    return batch


def _nothing_found(bad: Sequence[BadInput]) -> DpenetError:
    """The error of a command that has nothing to work on: that of its inputs, if there is one, or of all."""
    first = bad[0].error
    if len(bad) == 1:
        return first
    names, same = ", ".join(each.source for each in bad), all(each.error.why == first.why for each in bad)
    return InputError(names, first.why if same else "nothing was found in any of these", first.next_step)


def _is_file_name(output: Place, named: Sequence[Place], medium: Medium) -> bool:
    """Whether `output` names the one file to write, rather than a folder."""
    if is_folder(output):
        return False
    is_known = output.suffix.lower() in medium.suffixes
    is_single = len(named) == 1 and not any(map(is_folder, named))
    if is_known and named and not is_single:
        raise InputError(str(output), f"several {medium.noun} do not fit into one file", "Name a folder with -o.")
    if output.suffix and is_single and not is_known:
        why = f"no {medium.noun} are written under a name that ends in {output.suffix}"
        raise InputError(str(output), why, f"Is it to be a folder? Write {output}{os.sep}")
    return is_known


def _plan_file(path: Place, output: Place | None, medium: Medium, batch: Plan, *, as_file: bool) -> None:
    if error := medium.refusal(path):
        batch.bad.append(BadInput(str(path), error, nothing=path.suffix.lower() in medium.others.suffixes))
        return
    name = medium.rename(path)
    target = beside(path, name) if output is None else output if as_file else output / name
    batch.jobs.append(Job(path, target, root=None if as_file else output, relative=path.name))


def _plan_folder(folder: Place, output: Place | None, medium: Medium, batch: Plan) -> None:
    root = output if output is not None else sibling(folder)
    raw, others, before = 0, 0, len(batch.jobs) + len(batch.bad)
    unreadable: list[DpenetError] = []
    for path in files_below(folder, root, unreadable):
        suffix = path.suffix.lower()
        if suffix in medium.raw:
            raw += 1
        elif suffix in medium.others.suffixes:
            others += 1
        elif suffix in medium.suffixes:
            relative = path.relative_to(folder)
            if error := medium.refusal(path):
                batch.bad.append(BadInput(str(path), error, relative.as_posix()))
                continue
            target = root / relative.with_name(medium.rename(relative))
            batch.jobs.append(Job(path, target, root=root, relative=relative.as_posix()))
    batch.bad += [BadInput(error.what, error) for error in unreadable]
    if raw:
        batch.notices.append(f"{folder}: {raw} camera raw file(s) left out; export them as 16-bit TIFFs to clean them")
    if others and batch.jobs:
        passed, command = medium.others.counted(others), medium.others.cleaned_by(folder)
        batch.notices.append(f"{folder}: {passed} passed over, for which there is another command: {command}")
    if len(batch.jobs) + len(batch.bad) == before:
        why, step = f"there are no {medium.noun} in this folder", f"Name a folder that holds {medium.formats}."
        if others:
            why = f"there are no {medium.noun} in this folder, but {medium.others.counted(others)}"
            step = f"Run: {medium.others.cleaned_by(folder)}"
        batch.bad.append(BadInput(str(folder), InputError(str(folder), why, step), nothing=True))


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
        error = InputError(str(job.source), why, "Give a shorter one with -o.")
        batch.bad.append(BadInput(str(job.source), error, job.relative))
    batch.jobs = remaining


def _drop_unwritable(batch: Plan, output: Place | None) -> None:
    """What has no place for its output is its failure, found before any work; it is the command's if -o says where."""
    reasons: dict[Place, str | None] = {}
    remaining = []
    for job in batch.jobs:
        folder = job.root or job.target.parent
        if folder not in reasons:
            reasons[folder] = unwritable(folder)
        why = reasons[folder]
        if why is None:
            remaining.append(job)
            continue
        error = InputError(str(folder), f"results cannot be written there ({why})", "Choose another folder with -o.")
        if output is not None:
            raise error
        batch.bad.append(BadInput(str(job.source), error, job.relative))
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


def _take_part(batch: Plan, shard: Shard, medium: Medium) -> None:
    """Leave the files of other parts out. What was named itself and is no input is every part's failure.

    Names were given and checked over all of them: a part writes what the whole would.
    """
    whole = len(batch.jobs)
    batch.jobs = [job for job in batch.jobs if shard.holds(job.relative)]
    batch.bad = [bad for bad in batch.bad if not bad.relative or shard.holds(bad.relative)]
    batch.notices.append(f"shard {shard}: {len(batch.jobs)} of {whole} {medium.noun}")
