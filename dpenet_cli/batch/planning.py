"""What the user named, turned into jobs: files, folders and patterns in, one source and one target each out.

All of this happens before any work starts, so that two inputs for one output, or an output on top of an input, are
found while nothing has been written yet.
"""

import os
from collections.abc import Sequence
from pathlib import Path, PurePath

from dpenet_cli.batch.discovery import files_below, named_by
from dpenet_cli.batch.naming import (
    PREVIEW_SUFFIX,
    VIDEOS,
    Beside,
    Medium,
    beside,
    check_name,
    compare_folder,
    few,
    made_of,
    pictures,
    sibling,
)
from dpenet_cli.batch.passed_over import PassedOver, raw_left_out
from dpenet_cli.batch.plans import (
    BadInput,
    Plan,
    check_targets,
    drop_long_names,
    drop_own_products,
    drop_repeats,
    drop_unwritable,
    take_part,
    with_compare,
)
from dpenet_cli.batch.shards import Shard
from dpenet_cli.batch.sieve import Excluded, Sieve
from dpenet_cli.errors import DpenetError, InputError
from dpenet_cli.images.formats import format_for
from dpenet_cli.images.writers import check_writer
from dpenet_cli.options import ImageFormat
from dpenet_cli.system.outputs import Job
from dpenet_cli.system.storage import Place, is_folder


def plan_pictures(
    inputs: Sequence[str],
    output: str | Place | None = None,
    image_format: ImageFormat | None = None,
    *,
    compare: bool = False,
    shard: Shard | None = None,
    exclude: Sequence[str] = (),
) -> Plan:
    """Find the pictures and name their outputs.

    Without `output`, ``a.jpg`` becomes ``a-derained.jpg`` beside it and ``photos/`` becomes ``photos-derained/``. With
    it, a single file goes to that name if it ends like a picture and is no folder; everything else goes into the folder
    of that name, with the structure below each input folder mirrored.

    Args:
        inputs: paths and glob patterns; what exists is a path, even if it looks like a pattern.
        output: file or folder, or None; a name that ends with a slash is a folder.
        image_format: the format of the outputs, or None for that of the input's name.
        compare: plan before/after pictures: beside single outputs, and in a folder beside the output folder.
        shard: the part that is to be done, or None for all.
        exclude: names and patterns of what is left out of folders and patterns.

    Raises:
        InputError: two inputs would write one output, or an output would replace an input; nothing was found at all; or
            the output folder cannot be written to.
        ImageWriteError: nothing here writes the format that the name of the one output says.
        OptionError: a pattern of `exclude` is empty.
    """
    medium = pictures(image_format)
    return _plan(inputs, output, medium, image_format, compare=compare, shard=shard, exclude=exclude)


def plan_videos(
    inputs: Sequence[str],
    output: str | Place | None = None,
    *,
    preview: bool = False,
    overwrite: bool = False,
    shard: Shard | None = None,
    exclude: Sequence[str] = (),
) -> Plan:
    """Find the videos and name their outputs, by the rules of `plan_pictures`.

    Args:
        inputs: paths and glob patterns.
        output: file or folder, or None.
        preview: plan previews: ``a-preview.mp4`` for ``a.mp4``, unless `output` says otherwise.
        overwrite: previews may replace files; results do so by their date (`outcomes.outdated`).
        shard: the part that is to be done, or None for all.
        exclude: names and patterns of what is left out of folders and patterns.

    Raises:
        InputError: as `plan_pictures`; or a preview would replace another file.
        OptionError: a pattern of `exclude` is empty.
    """
    return _plan(inputs, output, VIDEOS, preview=preview, overwrite=overwrite, shard=shard, exclude=exclude)


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
    exclude: Sequence[str] = (),
) -> Plan:
    if "" in inputs or output == "":
        raise InputError("an empty name", "it names nothing", "Name a file or a folder; . is the current one.")
    batch = Plan()
    excluded = Excluded(exclude)
    # Path drops a trailing slash, so it is looked for first: `-o out/` is a folder, whatever `out` ends with.
    names_folder = isinstance(output, str) and output.endswith((os.sep, "/"))
    output = medium.place(output) if isinstance(output, str) else output
    named = _named(inputs, medium, excluded, batch)
    as_file = output is not None and not names_folder and _is_file_name(output, named, medium)
    if as_file and output is not None:
        check_name(output, image_format)
        check_writer(format_for(output))
    _plan_named(named, output, medium, batch, excluded, as_file=as_file)
    batch.notices += excluded.notices()
    if not batch.jobs and batch.bad and all(bad.nothing for bad in batch.bad):
        raise _nothing_found(batch.bad, medium)
    # Names are settled before they are checked: repeats go first, or they would clash with themselves; products of
    # other inputs need every target and before/after name; lengths and clashes are those of the final names.
    drop_repeats(batch)
    if compare:
        batch.jobs = with_compare(batch.jobs)
    if output is None:
        drop_own_products(batch)
    if output is None and preview:  # ``dashcam-preview.mp4`` for ``dashcam.mp4``, where the result would be
        batch.jobs = [job._replace(target=job.target.with_stem(job.source.stem + PREVIEW_SUFFIX)) for job in batch.jobs]
    drop_long_names(batch)
    check_targets(batch.jobs, redone=not preview, overwrite=overwrite)
    drop_unwritable(batch, output)
    if shard is not None:
        take_part(batch, shard, medium)
    return batch


def _plan_named(
    named: Sequence[Place], output: Place | None, medium: Medium, batch: Plan, excluded: Excluded, *, as_file: bool
) -> None:
    """Plan what was named; what lies beside pictures, or videos, and is none, is told, and no failure."""
    passed_over = PassedOver(medium)
    for path in named:
        if is_folder(path):
            _plan_folder(path, output, medium, batch, excluded)
        elif not passed_over.holds(path):
            _plan_file(path, output, medium, batch, as_file=as_file)
    if batch.jobs:  # a shell's pattern names all that lies there, and the pictures were meant
        batch.notices += passed_over.notices()
        batch.notices += [str(bad.error) for bad in batch.bad if bad.others]
        batch.bad = [bad for bad in batch.bad if not bad.others]
    else:
        for path in passed_over.paths:
            _plan_file(path, output, medium, batch, as_file=as_file)


def _named(inputs: Sequence[str], medium: Medium, excluded: Excluded, batch: Plan) -> list[Place]:
    """The files and folders that the inputs stand for; a file that is named itself is one, whatever it was made of."""
    found: list[Place] = []
    with Sieve(medium.suffixes, excluded) as sieve:
        for text in inputs:
            try:
                places = named_by(medium.place(text), text, sieve)
            except InputError as nothing:
                batch.bad.append(BadInput(text, nothing, nothing=True))
                continue
            found += places
            if [str(place) for place in places] == [str(medium.place(text))]:
                batch.notices += _own_product(places[0])
        batch.notices += sieve.notices()
    return found


def _own_product(path: Place) -> list[str]:
    """What is told of an input that looks like a product of dpenet."""
    if made_of(path.name) is None or not isinstance(path, Path) or path.is_dir():
        return []
    try:
        of = Beside(os.listdir(path.parent)).made_of(path.name)  # noqa: PTH208 - names are enough
    except OSError:
        return []
    return [f"{path}: by its name it was made by dpenet, of {of}; it is cleaned once more"] if of else []


def _nothing_found(bad: Sequence[BadInput], medium: Medium) -> DpenetError:
    """The error of a command that has nothing to work on: that of its inputs, if there is one, or of all."""
    first = bad[0].error
    if len(bad) == 1:
        return first
    paths = [PurePath(each.source) for each in bad]
    names, same = few([each.source for each in bad]), all(each.error.why == first.why for each in bad)
    every_other = all(path.suffix.lower() in medium.others.suffixes for path in paths)
    step = f"Run: {medium.others.cleaned_by(*paths)}" if every_other and same else first.next_step
    return InputError(names, first.why if same else "nothing was found in any of these", step)


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


def _plan_folder(folder: Place, output: Place | None, medium: Medium, batch: Plan, excluded: Excluded) -> None:
    root = output if output is not None else sibling(folder)
    left_out: list[str] = []
    excluded_before = excluded.files
    for products in (False, True):  # products of earlier runs are what was meant where there is nothing else
        before = len(batch.jobs) + len(batch.bad)
        with Sieve(medium.suffixes, excluded, products=products) as sieve:
            others = _search(folder, root, medium, batch, sieve)
            left_out = list(sieve.notices())
            again = len(batch.jobs) + len(batch.bad) == before and sieve.products
        if not again:
            break
        excluded.files = excluded_before
        batch.notices.append(f"{folder}: it holds nothing but results of earlier runs; they are cleaned once more")
    batch.notices += left_out
    counted, command = medium.others.counted(others), medium.others.cleaned_by(folder)
    if others and batch.jobs:
        batch.notices.append(f"{folder}: {counted} passed over, for which there is another command: {command}")
    if len(batch.jobs) + len(batch.bad) == before:
        nothing = f"there are no {medium.noun} in this folder" + (f", but {counted}" if others else "")
        why = "; ".join([nothing, *left_out, *excluded.notices()])
        step = f"Run: {command}" if others else f"Name a folder that holds {medium.formats}."
        batch.bad.append(BadInput(str(folder), InputError(str(folder), why, step), nothing=True, others=others > 0))


def _search(folder: Place, root: Place, medium: Medium, batch: Plan, sieve: Sieve) -> int:
    """Plan what is below a folder; gives the number of files that another command takes."""
    compared = compare_folder(root)
    unreadable: list[DpenetError] = []
    raw = others = 0
    for path in files_below(folder, [root] if compared is None else [root, compared], unreadable, sieve):
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
        batch.notices.append(f"{folder}: {raw_left_out(raw)}")
    return others
