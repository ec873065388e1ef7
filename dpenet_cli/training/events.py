"""What a run reports, in the order it happens. Each is one line of the run's ``log.jsonl`` as well."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

MOST_NAMED = 20
"""Names of a list that are said before it is said how many more there are."""


class Preparing(NamedTuple):
    """What is being done before the first step; it can take minutes."""

    step: int
    doing: str


class Prepared(NamedTuple):
    """The data are read and checked; training begins (or goes on) at `step`. `steps` is 0 in a run by the clock."""

    step: int
    steps: int
    pairs: int
    backgrounds: int
    validation: int
    excluded: list[str]  # shares a background with a test folder
    twins: list[str]  # shares a background with a validation picture
    too_small: list[str]  # smaller than a crop
    megapixels: float
    hardware: str
    seconds: float
    bad: Mapping[str, str] | None = None  # file that cannot be learnt from: why
    partners: Mapping[str, str] | None = None  # file that goes with one of those: which


class Outlook(NamedTuple):
    """What lies before a run: how long its `steps` take on this machine, NaN if nobody can say, and of how little."""

    step: int
    steps: int  # that are left
    seconds: float
    backgrounds: int  # to learn from, of pairs and clean pictures
    validation: int


class Stopping(NamedTuple):
    """A signal came: the run stops after the step that it is at."""

    step: int


class Progress(NamedTuple):
    """Averages since the last one: `waiting` is the share of the time in which the network waited for data."""

    step: int
    steps: int
    loss: float
    learning_rate: float
    crops_per_second: float
    waiting: float
    seconds: float
    seconds_left: float


class Skipped(NamedTuple):
    """A loss or gradient was not finite; the weights were left as they were."""

    step: int
    pictures: list[str]


class WentBack(NamedTuple):
    """The gradient exploded, or the loss was no number for long: the weights are those of an earlier step again."""

    step: int
    to_step: int
    why: str
    learning_rate: float  # the highest from here on


class Ending(NamedTuple):
    """The run was told to end (``--decay-from now``): its learning rate falls from here."""

    step: int
    steps: int


class Evaluated(NamedTuple):
    """Validation under `metrics.PROTOCOL`, in dB; `input_psnr` is the rainy pictures' own.

    `dry_psnr` and `structure_psnr` compare clean pictures, and such with structure, to themselves; `blend` chooses.
    """

    step: int
    psnr: float
    ssim: float
    input_psnr: float
    best: bool
    seconds: float
    dry_psnr: float = math.nan
    structure_psnr: float = math.nan
    blend: float = math.nan


class Saved(NamedTuple):
    """A checkpoint is on the disk."""

    step: int


class Finished(NamedTuple):
    """The run ended: ``done``, ``interrupted`` or ``out of time``; the latter two go on with --resume.

    `written` are the files that lie in `folder` now, the weights to use first.
    """

    step: int
    reason: str
    seconds: float
    folder: str = ""
    written: Sequence[str] = ()


Event: TypeAlias = (
    Preparing | Prepared | Outlook | Progress | Skipped | WentBack | Ending | Evaluated | Saved | Stopping | Finished
)
Report: TypeAlias = Callable[[Event], None]


def to_fields(event: Event) -> dict[str, object]:
    """An event as the fields of a JSON object; numbers that it cannot hold are None."""
    fields: dict[str, object] = {"event": type(event).__name__.lower(), **event._asdict()}
    holes = {name for name, value in fields.items() if isinstance(value, float) and not math.isfinite(value)}
    return fields | dict.fromkeys(holes)


def to_json(event: Event) -> str:
    """An event as one line of a run's log."""
    return json.dumps(to_fields(event))


def bad_files(files: Mapping[str, str], partners: Mapping[str, str]) -> list[str]:
    """Each file with its reason and whom it takes along: ``input/3.png (it is cut off; with it goes target/3.png)``."""
    along: dict[str, list[str]] = {}
    for partner, file in partners.items():
        along.setdefault(file, []).append(partner)
    texts = []
    for file, why in files.items():
        others = along.get(file, [])
        text = f"; with it goes {_short(others[0])}" if len(others) == 1 else ""
        text = f"; with it go {len(others)} partners, such as {_short(others[0])}" if len(others) > 1 else text
        texts.append(f"{_short(file)} ({why}{text})")
    return texts


def _short(path: str) -> str:
    """A file's name and that of its folder, which tells the halves of a pair apart."""
    return "/".join(Path(path).parts[-2:])
