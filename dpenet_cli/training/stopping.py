"""When a run stops before its end: a time limit, or a signal."""

import signal
import threading
import time
from typing import Any, Self

import torch

from dpenet_cli.training.parallel import Processes


class StopSignal:
    """Whether to stop: a deadline, SIGINT, SIGTERM or SIGHUP. A second SIGINT interrupts at once.

    SIGHUP comes when the terminal is closed; under ``nohup`` it is ignored and stays so.

    Args:
        deadline: on the clock of `time.monotonic`, in seconds.
    """

    def __init__(self, deadline: float) -> None:
        self._deadline, self._signalled = deadline, False
        self._previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # others cannot have handlers
            numbers = [signal.SIGINT, signal.SIGTERM]
            if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # not on Windows
                numbers.append(signal.SIGHUP)
            for number in numbers:
                self._previous_handlers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _frame: object) -> None:
        if self._signalled and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signalled = True

    def reason(self, processes: Processes) -> str:
        """``interrupted``, ``out of time``, or nothing; the same answer in every process."""
        own = torch.tensor([float(self._signalled), float(time.monotonic() >= self._deadline)])
        if processes.world_size > 1:  # one that stopped alone would leave the others waiting for its gradients
            own = processes.mean(own.to(processes.device)).cpu()
        signalled, late = (own > 0).tolist()
        return "interrupted" if signalled else "out of time" if late else ""
