"""Parts of a batch: which of the files are this machine's, so that N machines clean each file once.

A file's part is decided by a hash of its path below the folder that was named: files that come later move no other,
and every machine finds its own part without asking another.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from dpenet_cli.errors import OptionError

_GIVEN = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
_AUTO = re.compile(r"auto(?:/([0-9]{1,9}))?")


@dataclass(frozen=True)
class Shard:
    """One part of several.

    Attributes:
        number: which, from 1.
        count: of how many.
    """

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def holds(self, relative: str) -> bool:
        """Whether a file belongs to this part, by its path below the folder that was named, with ``/``."""
        digest = hashlib.blake2b(os.fsencode(relative), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.number - 1


def parse_shard(text: str, environment: Mapping[str, str]) -> Shard:
    """Read the value of ``--shard``: ``3/8``, ``auto``, or ``auto/8`` where a launcher tells the number alone.

    Args:
        text: the value.
        environment: the variables that a launcher sets.

    Raises:
        OptionError: it is neither, or no launcher, or more than one, says which part is meant.
    """
    if given := _GIVEN.fullmatch(text):
        return _checked(text, int(given[1]), int(given[2]))
    auto = _AUTO.fullmatch(text)
    if auto is None:
        raise OptionError(f"shard {text!r}", "it is neither I/N nor auto nor auto/N", "Give 3/8, say.")
    told = _told(environment)
    count = int(auto[1]) if auto[1] else None
    if len(told) != 1:
        why = f"several launchers say which part this is ({', '.join(told)})" if told else "no launcher says which part"
        raise OptionError(f"shard {text!r}", why, "Give I/N, 3/8 say.")
    ((launcher, (number, of)),) = told.items()
    if of is None and count is None:
        raise OptionError(
            f"shard {text!r}", f"{launcher} tells the number, not of how many", "Give auto/N, auto/8 say."
        )
    if of is not None and count not in (None, of):
        why = f"{launcher} runs {of} tasks, not {count}: some files would be nobody's"
        raise OptionError(f"shard {text!r}", why, "Give I/N, 3/8 say.")
    return _checked(f"{text} ({launcher})", number, of or count or 0)


def unasked(environment: Mapping[str, str]) -> str | None:
    """What is to be told where a launcher runs several of these commands and none was asked for a part."""
    for launcher, (number, count) in _told(environment).items():
        if count != 1:
            which = f"task {number} of {count}" if count else f"task {number}"
            option = "--shard auto" if count else "--shard auto/N"
            return f"this is {which} ({launcher}), and it cleans everything; {option} takes a part"
    return None


def _told(environment: Mapping[str, str]) -> dict[str, tuple[int, int | None]]:
    """The number of this task, from 1, and of how many if that is said, by the launcher that says so."""
    numbers = {name: int(value) for name, value in environment.items() if re.fullmatch(r"[0-9]{1,9}", value)}
    told: dict[str, tuple[int, int | None]] = {}
    if "SLURM_ARRAY_TASK_ID" in numbers:
        # An array counts from where its user wants, in steps: --array=0-14:2 has the tasks 0, 2, 4, ... 14.
        step = max(numbers.get("SLURM_ARRAY_TASK_STEP", 1), 1)
        number, rest = divmod(numbers["SLURM_ARRAY_TASK_ID"] - numbers.get("SLURM_ARRAY_TASK_MIN", 0), step)
        # Not a multiple of the step: a list of tasks, 1,5,6 say, which has no N.
        told["SLURM's array"] = (number + 1 if not rest else 0), numbers.get("SLURM_ARRAY_TASK_COUNT")
    if "RANK" in numbers and "WORLD_SIZE" in numbers:
        told["RANK and WORLD_SIZE"] = numbers["RANK"] + 1, numbers["WORLD_SIZE"]
    if "JOB_COMPLETION_INDEX" in numbers:
        told["Kubernetes"] = numbers["JOB_COMPLETION_INDEX"] + 1, None
    return told


def _checked(what: str, number: int, count: int) -> Shard:
    if not 1 <= number <= count:
        why = f"part {number} of {count} does not exist: they are counted from 1"
        raise OptionError(f"shard {what}", why, "Give I/N with I from 1 to N, 3/8 say.")
    return Shard(number, count)
