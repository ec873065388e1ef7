"""Lines for programs: what each JSON line holds. `dpenet guide json` documents every field."""

import json
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, TextIO

from dpenet_cli.batch.outcomes import Outcome, Status
from dpenet_cli.cli.console import print_line
from dpenet_cli.system.line_file import SCHEMA

_EVERY = 1.0
"""Seconds between two lines that tell how far a video is."""


class MadeWith(NamedTuple):
    """The weights of a run, as its lines tell them; nothing where no network is run.

    Attributes:
        name: their name or path, as it was given.
        sha256: of the file.
    """

    name: str | None = None
    sha256: str | None = None


def made_with(weights: str, asked: Mapping[str, object]) -> MadeWith:
    """The weights of a run.

    Args:
        weights: their name or path.
        asked: what results depend on, with the weights' hash where they depend on any.
    """
    digest = asked.get("weights")
    return MadeWith(weights, str(digest)) if digest else MadeWith()


def with_schema(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same fields after the version of what they mean."""
    return {"schema": SCHEMA, **fields}


def print_json(fields: Mapping[str, Any], file: TextIO | None = None) -> None:
    """Print one object as a line, to be read at once.

    Args:
        fields: what it holds.
        file: where it goes; stdout by default.

    Raises:
        InputError: stdout cannot be written to.
    """
    text = json.dumps(with_schema(fields))  # ASCII: survives every locale, undecodable names too
    if file is None:
        print_line(text)
    else:
        print(text, file=file, flush=True)


def outcome_fields(outcome: Outcome, weights: MadeWith) -> dict[str, Any]:
    """What became of one input."""
    error = outcome.error
    width, height = outcome.size or (None, None)
    made = outcome.status in {Status.DONE, Status.DRY}
    used = outcome.used or {}
    return {
        "event": "result",
        "input": outcome.source,
        "output": outcome.target,
        "status": outcome.status.value,
        "width": width,
        "height": height,
        "seconds": round(outcome.seconds, 3),
        **({"frames": outcome.frames, "encoder": outcome.encoder} if outcome.frames is not None else {}),
        **({"shares": dict(outcome.shares)} if outcome.shares else {}),
        **({"scale": round(outcome.scale, 4), "looked": round(outcome.looked, 4)} if outcome.scale else {}),
        "weights": weights._asdict() if made and weights.sha256 else None,
        **{name: used.get(name) for name in ("device", "backend", "precision")},
        "notices": list(outcome.notices),
        "error": error and {"what": error.what, "why": error.why, "next_step": error.next_step},
    }


def progress_fields(source: str, done: int, total: int | None, speed: float) -> dict[str, Any]:
    """How far a video is.

    Args:
        source: which.
        done: frames that are done.
        total: frames in all, or None where nobody knows.
        speed: frames a second, 0 while unknown.
    """
    known = speed > 0
    return {
        "event": "progress",
        "input": source,
        "frame": done,
        "frames": total,
        "fps": round(speed, 3) if known else None,
        "seconds_left": round((total - done) / speed, 1) if known and total is not None else None,
    }


class Pace:
    """Lets a line through now and then."""

    def __init__(self) -> None:
        self._told = -_EVERY

    def is_due(self) -> bool:
        """Whether the last line that was let through is a while ago; this one counts then."""
        now = time.monotonic()
        if now - self._told < _EVERY:
            return False
        self._told = now
        return True
