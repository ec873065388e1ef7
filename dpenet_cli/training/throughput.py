"""Loss and speed since the last report."""

import math
import time

from dpenet_cli.training.events import Progress

_REPORT_SECONDS = 2.0
"""Seconds between reports of progress, about."""


class Throughput:
    """Means over the steps since the last report.

    Args:
        step: the first step that counts.
        steps: of the whole run.
        crops: in one step, of all processes together.
    """

    def __init__(self, step: int, steps: int, crops: int) -> None:
        self._steps, self._crops = steps, crops
        self.restart(step)

    def restart(self, step: int) -> None:
        """Forget what was; the next steps begin at `step`."""
        self._first, self._started, self._losses = step, time.perf_counter(), list[float]()

    def add(self, loss: float) -> None:
        """Take in a step's loss; NaN for a skipped one."""
        if math.isfinite(loss):
            self._losses.append(loss)

    def due(self) -> bool:
        """Whether it is time for a report."""
        return time.perf_counter() - self._started >= _REPORT_SECONDS

    def report(self, step: int, *, learning_rate: float, waited: float, trained: float) -> Progress:
        """The report.

        Args:
            step: steps taken in all.
            learning_rate: of the last of them.
            waited: seconds spent waiting for data since the last report.
            trained: seconds of training in all.
        """
        seconds = max(time.perf_counter() - self._started, 1e-9)
        count = max(step - self._first, 1)
        return Progress(
            step=step,
            steps=self._steps,
            loss=sum(self._losses) / len(self._losses) if self._losses else math.nan,
            learning_rate=learning_rate,
            crops_per_second=count * self._crops / seconds,
            waiting=waited / seconds,
            seconds=round(trained, 1),
            seconds_left=round((self._steps - step) * seconds / count, 1),
        )
