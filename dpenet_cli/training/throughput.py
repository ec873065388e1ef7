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
    """

    def __init__(self, step: int) -> None:
        self.restart(step)

    def restart(self, step: int) -> None:
        """Forget what was; the next steps begin at `step`."""
        self._first, self._started, self._losses, self._crops = step, time.perf_counter(), list[float](), 0

    def add(self, loss: float, crops: int) -> None:
        """Take in a step's loss, NaN for a skipped one, and its crops, of all processes together."""
        self._crops += crops
        if math.isfinite(loss):
            self._losses.append(loss)

    def due(self) -> bool:
        """Whether it is time for a report."""
        return time.perf_counter() - self._started >= _REPORT_SECONDS

    def report(
        self, step: int, steps: int, *, learning_rate: float, waited: float, trained: float, left: float | None = None
    ) -> Progress:
        """The report.

        Args:
            step: steps taken in all.
            steps: of the whole run.
            learning_rate: of the last of them.
            waited: seconds spent waiting for data since the last report.
            trained: seconds of training in all.
            left: seconds until the end, or None to go by the speed since the last report.
        """
        seconds = max(time.perf_counter() - self._started, 1e-9)
        if left is None:
            left = max(steps - step, 0) * seconds / max(step - self._first, 1)
        return Progress(
            step=step,
            steps=steps,
            loss=sum(self._losses) / len(self._losses) if self._losses else math.nan,
            learning_rate=learning_rate,
            crops_per_second=self._crops / seconds,
            waiting=waited / seconds,
            seconds=round(trained, 1),
            seconds_left=round(left, 1),
        )
