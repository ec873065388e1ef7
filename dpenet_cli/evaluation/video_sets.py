"""Clips to score on: folders of rainy frames and true ones, found, paired and looked through before any work starts.

NTURain has no one layout. A clip of it is every folder whose name begins with ``ntu``, or that lies in a folder
``NTURain``, and that holds ``input/`` and ``target/`` with frames. Frames are paired by name, as pictures are, and
follow each other in the natural order of their names: 2 before 10.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dpenet_cli.errors import DatasetError
from dpenet_cli.evaluation.datasets import CLEAN_FOLDERS, RAINY_FOLDERS, holds_pictures, pair_folders, two_folders
from dpenet_cli.evaluation.pair_sets import BenchmarkPair, PairSet, scorable, short_name
from dpenet_cli.evaluation.set_folders import data_roots
from dpenet_cli.evaluation.test_sets import NTU
from dpenet_cli.system.folders import is_no_users

_WHOLE = "nturain"
"""Name of the folder that holds the set, in lower case without punctuation."""

_SOURCE = "github.com/hotndy/SPAC-SupplementaryMaterials (Chen et al., CVPR 2018)"
_LAYOUT = "NTURain/a1/input/ and NTURain/a1/target/, its a1_Rain and a1_GT, and so for every clip"


class Clip(NamedTuple):
    """One video, as pairs of frames.

    Attributes:
        name: name of the clip, unique in its set.
        frames: its frames in order, all of one size; their names are CLIP/FRAME.
    """

    name: str
    frames: tuple[BenchmarkPair, ...]


class ClipFolders(NamedTuple):
    """Where a clip lies: its folder, and the two within it."""

    folder: Path
    rainy: Path
    clean: Path


@dataclass(frozen=True)
class VideoSet(PairSet):
    """Clips to score on; its pairs are the frames of all of them, clip after clip.

    Attributes:
        clips: the clips, sorted by name.
    """

    clips: tuple[Clip, ...] = ()

    @property
    def coverage(self) -> str:
        """Such as ``2 clips, 128 frames`` or ``1 clip, 47 of 48 frames``."""
        clips = "1 clip" if len(self.clips) == 1 else f"{len(self.clips)} clips"
        return f"{clips}, {super().coverage.removesuffix('pairs')}frames"


def ntu_set(data_root: Path | None = None, *, partial: bool = False) -> VideoSet:
    """The clips of NTURain that are on this machine.

    Args:
        data_root: folder that is searched first, see `set_folders.data_roots`; the first folder with clips counts.
        partial: whether frames without a partner or that cannot be scored are left out, instead of being an error.

    Raises:
        DatasetError: there are no clips, or frames of one cannot be scored unless `partial`.
    """
    roots = data_roots(data_root)
    for root in roots:
        clips, others = find_clips(root)
        if clips:
            sets = {
                (name := _below(each.folder, root)): _clip_set(name, each.rainy, each.clean, partial=partial)
                for each in clips
            }
            left_out = [f"{_below(each, root)}: no input/ and target/ with frames" for each in others]
            return _video_set(NTU, sets, left_out)
    looked = ", ".join(map(str, roots))
    why = f"no clip of it is on this machine; looked for folders named {NTU}… or in NTURain under {looked}"
    step = f"Get it from {_SOURCE}; lay it out as {_LAYOUT}; and name the folder above with --data-root."
    raise DatasetError("NTURain", why, step)


def frames_set(rainy: Path, clean: Path, *, partial: bool = False) -> VideoSet:
    """Two folders of frames as one clip.

    Args:
        rainy: folder of rainy frames, or of a method's results.
        clean: folder of true frames.
        partial: whether frames without a partner or that cannot be scored are left out, instead of being an error.

    Raises:
        DatasetError: as `datasets.pair_folders`, and for frames that cannot be scored unless `partial`.
    """
    # a1/input tells nothing that a1 does not; results/a1 is a1's too
    folder = rainy.absolute()
    name = folder.parent.name if folder.name.lower() in RAINY_FOLDERS and folder.parent.name else folder.name
    found = _clip_set(name, rainy, clean, partial=partial)
    return _video_set(f"{short_name(rainy)} against {short_name(clean)}", {name: found}, [])


def find_clips(root: Path) -> tuple[list[ClipFolders], list[Path]]:
    """Search a folder for the clips of NTURain, however deep they lie.

    Args:
        root: where to search; itself, if it is one.

    Returns:
        The clips, and the folders that are named as clips are and hold none; each sorted.
    """
    found = list(_search(root, within=_plain(root.absolute().parent.name) == _WHOLE, seen=set()))
    clips = [each for each in found if isinstance(each, ClipFolders)]
    return sorted(clips), sorted(each for each in found if isinstance(each, Path))


def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """What names are sorted by for numbers in them to count as numbers.

    >>> sorted(["10.png", "2.png", "b1.png"], key=natural_key)
    ['2.png', '10.png', 'b1.png']
    """
    # Text and numbers take turns, text first: (0, text) meets (0, text), and (number, "") meets its like.
    parts = re.split(r"([0-9]+)", name)
    return tuple((int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts))


def _search(folder: Path, *, within: bool, seen: set[Path]) -> Iterator[ClipFolders | Path]:
    """The clips, and as paths the folders that only go by such a name or lie within the set's own folder."""
    try:
        real = folder.resolve()
        named = within or folder.absolute().name.lower().startswith(NTU)
        rainy, clean = two_folders(folder) if named else (None, None)
        if rainy and clean and holds_pictures(rainy) and holds_pictures(clean):
            yield ClipFolders(folder, rainy, clean)
            return
        below = sorted(path for path in folder.iterdir() if path.is_dir() and not is_no_users(path.name))
    except OSError:  # not there, or not ours to read: looked at, and empty
        return
    if real in seen:  # a link that leads back
        return
    seen.add(real)
    if named:  # half a clip is told as one folder, not as the folder within it
        below = [path for path in below if path.name.lower() not in {*RAINY_FOLDERS, *CLEAN_FOLDERS}]
    within = within or _plain(folder.absolute().name) == _WHOLE
    count = 0
    for path in below:
        for found in _search(path, within=within, seen=seen):
            count += 1
            yield found
    if named and not count:
        yield folder


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _below(folder: Path, root: Path) -> str:
    """The name of a clip: its path below the root, or the root's own name."""
    return folder.relative_to(root).as_posix() if folder != root else folder.absolute().name


def _clip_set(name: str, rainy: Path, clean: Path, *, partial: bool) -> PairSet:
    return scorable(name, pair_folders(rainy, clean, partial=partial), partial=partial, one_size=True)


def _video_set(name: str, sets: dict[str, PairSet], others: Sequence[str]) -> VideoSet:
    clips = tuple(_clip(clip, sets[clip].pairs) for clip in sorted(sets, key=natural_key))
    left_out = [f"{clip}: {text}" for clip, found in sets.items() for text in found.left_out]
    frames = tuple(frame for clip in clips for frame in clip.frames)
    whole = sum(found.usual_pairs or len(found.pairs) for found in sets.values())
    files = tuple(path for found in sets.values() for path in found.files)
    return VideoSet(name, frames, whole if whole > len(frames) else None, (*others, *left_out), files, clips=clips)


def _clip(name: str, pairs: Sequence[BenchmarkPair]) -> Clip:
    ordered = sorted(pairs, key=lambda pair: natural_key(pair.name))
    return Clip(name, tuple(BenchmarkPair(f"{name}/{pair.name}", pair.load) for pair in ordered))
