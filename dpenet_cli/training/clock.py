"""When a run reports, and when it stops."""

import math
import signal
import threading
import time
from typing import Any, Self

import torch

from dpenet_cli.training.events import Progress
from dpenet_cli.training.parallel import Processes

_REPORT_SECONDS = 2.0
"""Seconds between reports of progress, about."""


class Throughput:
    """Means over the steps since the last report."""

    def __init__(self, step: int) -> None:
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

    def event(self, step: int, steps: int, crops: int, waited: float) -> Progress:
        """The report: `crops` are those of one step, `waited` the seconds spent waiting for data."""
        seconds = max(time.perf_counter() - self._started, 1e-9)
        count = max(step - self._first, 1)
        loss = sum(self._losses) / len(self._losses) if self._losses else math.nan
        left = (steps - step) * seconds / count
        return Progress(step, steps, loss, 0.0, count * crops / seconds, waited / seconds, 0.0, round(left, 1))


class StopSignal:
    """Whether to stop: a deadline, SIGINT, SIGTERM or SIGHUP. A second SIGINT interrupts at once.

    SIGHUP comes when the terminal is closed; under ``nohup`` it is ignored and stays so.
    """

    def __init__(self, deadline: float) -> None:
        self._deadline, self._signalled = deadline, False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # others cannot have handlers
            numbers = [signal.SIGINT, signal.SIGTERM]
            if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # not on Windows
                numbers.append(signal.SIGHUP)
            for number in numbers:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _frame: object) -> None:
        if self._signalled and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signalled = True

    def asked(self, processes: Processes) -> str:
        """Why to stop, or nothing; the same answer in every process."""
        mine = torch.tensor([float(self._signalled), float(time.monotonic() >= self._deadline)])
        if processes.world > 1:
            mine = processes.average(mine.to(processes.device)).cpu()
        signalled, late = (mine > 0).tolist()
        return "interrupted" if signalled else "out of time" if late else ""
