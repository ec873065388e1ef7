"""The files that a run learns from, decoded. Those that will not do are found all at once, and named.

Folders of thousands of files from anywhere hold some that are cut off, or no pictures. A run does not begin with them,
unless it is told to leave them out (``--skip-bad``); then their names are kept with the run.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

from dpenet_cli.arrays import Pixels8
from dpenet_cli.errors import BadFilesError, DatasetError, DpenetError
from dpenet_cli.evaluation.datasets import Layout, Pair, open_dataset
from dpenet_cli.evaluation.set_pictures import read_picture
from dpenet_cli.evaluation.side_by_side import Side
from dpenet_cli.training.events import MOST_NAMED, bad_files

_IN_SHORT = {
    "file is empty": "it is empty",
    "truncated": "it is cut off",
    "cut off": "it is cut off or damaged",
    "is not a picture": "it is no picture, or of a format that is not read",
}
"""Words of a reader's reasons, and what they come to for someone with a list of files to mend."""


class TrainingPicture(NamedTuple):
    """One picture to learn from: H×W×3 uint8, RGB; `rainy` is None where rain is to be drawn.

    `background` names the clean picture, which several rainy ones may share.
    """

    name: str
    background: str
    clean: Pixels8
    rainy: Pixels8 | None


@dataclass(frozen=True)
class BadFiles:
    """Files that will not do.

    Attributes:
        files: why each will not do, a clause, by its path.
        partners: files of pairs that go with one of them, and with which.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    partners: Mapping[str, str] = field(default_factory=dict)

    def __or__(self, other: "BadFiles") -> "BadFiles":
        return BadFiles({**self.files, **other.files}, {**self.partners, **other.partners})

    def names(self) -> frozenset[str]:
        """The paths of all that is to be left out."""
        return frozenset((*self.files, *self.partners))


Source: TypeAlias = Pair | Path
"""A pair, or a clean picture that rain is drawn on."""


_Argument = TypeVar("_Argument")
_Content = TypeVar("_Content")


class _Reading(NamedTuple):
    """What became of one source.

    Attributes:
        picture: None if a file of it will not do.
        readable: the clean picture, or of a pair the rainy one if that alone can be read; None without either.
        bad: why, by path.
    """

    picture: TrainingPicture | None
    readable: Pixels8 | None
    bad: Mapping[str, str]


def find_sources(folders: Sequence[str], clean_side: str | None, leave_out: BadFiles) -> list[Source]:
    """The pairs and pictures of folders.

    Args:
        folders: see `datasets`.
        clean_side: clean half of side-by-side pictures, ``left`` or ``right``; None finds out.
        leave_out: files that were bad when the run began, whatever they are now.

    Raises:
        DatasetError: a folder is not there, holds no pictures, or does not pair.
    """
    sources: list[Source] = []
    names = leave_out.names()
    for folder in folders:
        dataset = open_dataset(Path(folder), leave_out=names, lenient=True)
        if clean_side and dataset.layout is Layout.SIDE_BY_SIDE:
            dataset = open_dataset(Path(folder), Side(clean_side), leave_out=names)
        sources += [*dataset.pairs, *dataset.clean]
    return sources


def files_of(sources: Iterable[Source]) -> list[Path]:
    """The files of sources, in order."""
    return [file for source in sources for file in ([source] if isinstance(source, Path) else source[1:3])]


def read_sources(sources: Sequence[Source]) -> tuple[list[TrainingPicture], BadFiles]:
    """Decode them; those that will not do are missing among the pictures."""
    found = in_threads(_read, sources)
    return [reading.picture for reading in found if reading.picture], _bad(sources, found)


def read_backgrounds(sources: Sequence[Source]) -> tuple[list[Pixels8], BadFiles]:
    """One picture of each background, to find it again elsewhere: also of pairs of which one file will not do."""
    found = in_threads(_read, sources)
    backgrounds: dict[str, Pixels8] = {}
    for source, reading in zip(sources, found, strict=True):
        if reading.readable is not None:
            backgrounds.setdefault(source.background if isinstance(source, Pair) else str(source), reading.readable)
    return list(backgrounds.values()), _bad(sources, found)


def read_plain(files: Sequence[Path]) -> tuple[list[Pixels8], BadFiles]:
    """Decode pictures that nothing is drawn on, such as streak layers."""
    found = in_threads(_read, files)
    return [reading.readable for reading in found if reading.readable is not None], _bad(files, found)


def refuse(bad: BadFiles, folders: Sequence[str], *, resumed: bool = False) -> BadFilesError:
    """The error that names them, and their partners.

    Args:
        bad: at least one.
        folders: that they lie in.
        resumed: whether they could be read when the run began.
    """
    names = bad_files(bad.files, bad.partners)
    more = f"; and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    count = f"{len(names)} files" if len(names) > 1 else "a file"
    why = f"{count} cannot be learnt from: {'; '.join(names[:MOST_NAMED])}{more}"
    step = "Mend or remove them, or leave them out with --skip-bad."
    if resumed:
        why = why.replace("cannot be learnt from", "that the run began with cannot be learnt from any more", 1)
        step = "Bring them back to what they were, or start a new run."
    return BadFilesError(", ".join(folders), why, step, bad.files)


def one_per_background(pictures: Sequence[TrainingPicture]) -> list[TrainingPicture]:
    """The first picture of each background."""
    return list({picture.background: picture for picture in pictures}.values())


def in_threads(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Decoding and feature search release Python's lock, so threads are enough."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(function, items))


def _read(source: Source) -> _Reading:
    if isinstance(source, Path):
        clean, why = _try(read_picture, source)
        picture = None if clean is None else TrainingPicture(str(source), str(source), clean, None)
        return _Reading(picture, clean, {str(source): why} if why else {})
    if source.clean_side is not None:
        both, why = _try(Pair.load, source)
        if both is None:
            return _Reading(None, None, {str(source.rainy): why})
        return _Reading(TrainingPicture(str(source.rainy), source.background, both[1], both[0]), both[1], {})
    # Each file by itself, so that both are named where both are bad.
    (rainy, why_rainy), (clean, why_clean) = _try(read_picture, source.rainy), _try(read_picture, source.clean)
    if rainy is None or clean is None:
        bad = {str(path): why for path, why in ((source.rainy, why_rainy), (source.clean, why_clean)) if why}
        return _Reading(None, rainy if clean is None else clean, bad)
    if rainy.shape != clean.shape:
        sizes = f"{rainy.shape[1]}×{rainy.shape[0]} against {clean.shape[1]}×{clean.shape[0]}"
        return _Reading(None, clean, {str(source.rainy): f"it differs in size from its partner, {sizes}"})
    return _Reading(TrainingPicture(str(source.rainy), source.background, clean, rainy), clean, {})


def _try(load: Callable[[_Argument], _Content], argument: _Argument) -> tuple[_Content | None, str]:
    """What a file holds, or why it will not do."""
    try:
        return load(argument), ""
    except DatasetError as error:
        return None, _in_short(error.why)
    except DpenetError:  # a package is missing: nothing is wrong with the file
        raise
    except Exception as error:  # noqa: BLE001 - a library that fails in a way of its own fails at one file alone
        return None, f"an unexpected error ({type(error).__name__}: {error})"


def _in_short(why: str) -> str:
    return next((short for words, short in _IN_SHORT.items() if words in why), why)


def _bad(sources: Sequence[Source], found: Sequence[_Reading]) -> BadFiles:
    """What will not do among sources, and what goes with it: a background of several rains only if all of them do."""
    good = [source for source, reading in zip(sources, found, strict=True) if reading.picture]
    needed = set(map(str, files_of(good)))
    files: dict[str, str] = {}
    partners: dict[str, str] = {}
    for source, reading in zip(sources, found, strict=True):
        files |= reading.bad
        for file in map(str, files_of([source])):
            if reading.bad and file not in reading.bad and file not in needed:
                partners.setdefault(file, next(iter(reading.bad)))
    return BadFiles(files, {partner: file for partner, file in partners.items() if partner not in files})
