"""How far a run is, and what follows from it: when it ends, which crops it takes, its learning rate.

All of it is a function of the run's position, so that there is nothing else to store. A run is planned by steps or by
the clock. Either can be told to end: then its rate falls from where it is, over a fifth of what the run took so far.
"""

import math

from dpenet_cli.training.checkpoint import RunPosition
from dpenet_cli.training.options import CropStage, Recipe, TrainOptions

PAPER_MILESTONES = (0.3, 0.5, 0.8)
"""Where the published schedule multiplies the rate by 0.2: epochs 30, 50 and 80 of 100."""

ENDING_SHARE = 0.2
"""How long a run that is told to end still takes, as a share of what it took so far."""

_FLOOR = 0.01
"""Share of the learning rate that the general schedule ends with."""

_WARMUP_SHARE = 20
"""A warm-up takes one part in so many of the run at most."""

_EVALUATIONS = 20
"""Evaluations in a run, unless told otherwise."""

_REST = 9.0
"""In a run by the clock, training between two evaluations takes at least so many times as long as the last one took."""


class Schedule:
    """The plan of one run.

    Args:
        options: of the run.
        steps: of the whole run, where it is planned by steps.
    """

    def __init__(self, options: TrainOptions, steps: int) -> None:
        self._options, self._stages = options, options.stages
        self._by_clock = options.plan_minutes is not None
        self._whole = 60.0 * options.plan_minutes if options.plan_minutes is not None else float(steps)

    def end(self, position: RunPosition) -> None:
        """Let the run end: from here on its rate falls."""
        position.ending_from = self._at(position)

    def done(self, position: RunPosition) -> float:
        """How much of the run is done; 1 or more at its end."""
        return self._at(position) / self._end(position)

    def finished(self, position: RunPosition) -> bool:
        """Whether the run is at its end."""
        return self.done(position) >= 1.0

    def steps(self, position: RunPosition) -> int:
        """Steps of the whole run: a guess where it is planned by the clock, 0 before there is anything to go by."""
        if not self._by_clock:
            return math.ceil(self._end(position))
        if not position.step or not position.seconds:
            return 0
        left = self.seconds_left(position) or 0.0
        return position.step + round(left * position.step / position.seconds)  # at the rate so far without evaluations

    def seconds_left(self, position: RunPosition) -> float | None:
        """Until the end of a run that is planned by the clock; None for one that is planned by steps."""
        return max(self._end(position) - position.clock, 0.0) if self._by_clock else None

    def stage(self, position: RunPosition) -> CropStage:
        """Which crops the next step takes; the last stage's, if the run was told to end."""
        if position.ending_from >= 0:
            return self._stages[-1]
        done, end = self.done(position), 0.0
        for stage in self._stages:
            end += stage.share
            if done < end - 1e-9:
                return stage
        return self._stages[-1]

    def learning_rate(self, position: RunPosition) -> float:
        """The rate of the next step."""
        factor = position.rate_factor
        if position.ending_from < 0:
            return factor * self._planned_rate(self._at(position) / self._whole, position.step)
        step = position.step if self._by_clock else int(position.ending_from)  # of its warm-up, if it was in it
        before = self._planned_rate(min(position.ending_from / self._whole, 1.0), step)
        ending = (self._at(position) - position.ending_from) / self._ending_length(position)
        return factor * before * _fall(ending)

    def _at(self, position: RunPosition) -> float:
        return position.clock if self._by_clock else float(position.step)

    def _end(self, position: RunPosition) -> float:
        """Where the run ends: steps, or seconds of its clock."""
        if position.ending_from < 0:
            return self._whole
        return position.ending_from + self._ending_length(position)

    def _ending_length(self, position: RunPosition) -> float:
        """At least one step, or a second."""
        return max(ENDING_SHARE * position.ending_from, 1.0)

    def _planned_rate(self, done: float, step: int) -> float:
        """Steps by 0.2 (paper), or a warm-up, a stable rate and a cosine (general)."""
        options = self._options
        if options.recipe is Recipe.PAPER:
            return options.learning_rate * 0.2 ** sum(done >= milestone for milestone in PAPER_MILESTONES)
        if self._by_clock:
            rising = min(1.0, max((step + 1) / (options.warmup + 1), done * _WARMUP_SHARE))
        else:
            rising = min(1.0, (step + 1) / (min(options.warmup, int(self._whole) // _WARMUP_SHARE) + 1))
        falling = _fall((done - options.decay_from) / (1.0 - options.decay_from))
        return options.learning_rate * rising * falling


class Evaluations:
    """When the weights of a run are scored.

    Args:
        options: of the run.
        schedule: its plan.
        clock: seconds that the run has taken.
    """

    def __init__(self, options: TrainOptions, schedule: Schedule, clock: float) -> None:
        self._options, self._schedule = options, schedule
        self._last_at, self._last_took = clock, 0.0

    def took(self, seconds: float, clock: float) -> None:
        """Note how long the last one took, and when it ended."""
        self._last_at, self._last_took = clock, seconds

    def due(self, position: RunPosition, done_before: float) -> bool:
        """Whether the step that was just taken is followed by one.

        Args:
            position: after it.
            done_before: how much of the run was done before it.
        """
        every = self._options.evaluate_every
        if every or self._options.plan_minutes is None:
            every = every or max(self._schedule.steps(position) // _EVALUATIONS, 1)
            return position.step % every == 0
        rested = position.clock - self._last_at >= _REST * self._last_took
        return rested and int(self._schedule.done(position) * _EVALUATIONS) > int(done_before * _EVALUATIONS)


def _fall(done: float) -> float:
    """A cosine from 1 at 0 to the floor at 1, and level on either side."""
    return _FLOOR + (1.0 - _FLOOR) * 0.5 * (1.0 + math.cos(math.pi * min(max(done, 0.0), 1.0)))
