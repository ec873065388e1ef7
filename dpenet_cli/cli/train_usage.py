"""What the options of ``dpenet train`` may be together, and what some of them mean."""

import math
from pathlib import Path

from dpenet_cli.errors import OptionError

NOW = "now"
"""The word that lets a run end, in place of a share of it."""


def check_usage(data: list[Path] | None, max_minutes: float | None, *, resume: bool) -> None:
    """Check what a run begins or goes on with.

    Raises:
        OptionError: nothing to learn from, or a time that is none.
    """
    if max_minutes is not None and not 0 <= max_minutes < math.inf:  # NaN neither
        raise OptionError(f"max-minutes {max_minutes}", "it is a number of minutes, at least 0", "Give 30, say.")
    if not data and not resume:
        raise OptionError("data", "there is nothing to learn from", "Give --data DIR, or --resume.")
    if data and resume:
        raise OptionError("data", "a run goes on with the data that it was started with", "Leave out --data.")


def check_course(
    steps: int | None, plan_minutes: float | None, max_minutes: float | None, *, ending: bool, resume: bool
) -> None:
    """Check that a run is planned in one way.

    Raises:
        OptionError: two of the options plan it, or one has nothing to end.
    """
    if plan_minutes is not None and max_minutes is not None:
        why = "one plans the run into a time, the other stops it and leaves the rest to --resume"
        raise OptionError("--plan-minutes and --max-minutes", why, "Leave one of them out.")
    if plan_minutes is not None and steps:
        raise OptionError("--plan-minutes", "--steps and --epochs plan the run too", "Leave one of them out.")
    if ending and not resume:
        raise OptionError(f"--decay-from {NOW}", "it ends a run that has begun", "Give --resume with it.")
    if ending and plan_minutes is not None:
        raise OptionError(f"--decay-from {NOW}", "--plan-minutes says when the run ends", "Leave one of them out.")


def parse_share(text: str | None) -> float:
    """Read the share that is given to --decay-from."""
    try:
        return float(text or "")
    except ValueError as error:
        raise OptionError(f"decay-from {text!r}", "it is neither a share nor now", "Give 0.35, say.") from error


def parse_mix(text: str) -> dict[str, float]:
    """Read ``pairs=0.3,thin=0.7``."""
    try:
        parts = [part.split("=") for part in text.split(",")]
        return {name.strip(): float(weight) for name, weight in parts}
    except ValueError as error:
        raise OptionError(f"mix {text!r}", "it is not NAME=WEIGHT,NAME=WEIGHT", "Write pairs=0.3,thin=0.7.") from error
