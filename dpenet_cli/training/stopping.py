"""When a run stops before its end: a time limit, or a signal."""

import signal
import threading
import time
from collections.abc import Callable
from typing import Any, Self

import torch

from dpenet_cli.training.parallel import Processes


class StopSignal:
    """Whether to stop: a deadline, SIGINT, SIGTERM or SIGHUP. A second SIGINT interrupts at once.

    Before there is anything to store, the first signal interrupts at once too. SIGHUP comes when the terminal is
    closed; under ``nohup`` it is ignored and stays so.

    Args:
        deadline: on the clock of `time.monotonic`, in seconds.
    """

    def __init__(self, deadline: float) -> None:
        self._deadline, self._signalled, self._waits = deadline, False, False
        self._previous_handlers: dict[int, Any] = {}
        self._told = threading.Event()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # others cannot have handlers
            numbers = [signal.SIGINT, signal.SIGTERM]
            if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # not on Windows
                numbers.append(signal.SIGHUP)
            for number in numbers:
                self._previous_handlers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        self._waits = False
        self._told.set()
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)

    def wait_for_steps(self, tell: Callable[[], None]) -> None:
        """From now on a signal is answered after a step.

        Args:
            tell: called once, on a thread of its own, when there is a signal: a step can take long.
        """
        self._waits = True
        threading.Thread(target=self._tell, args=(tell,), daemon=True).start()

    def _tell(self, tell: Callable[[], None]) -> None:
        # A handler runs between any two operations of the main thread, which may be printing: it must not print too.
        self._told.wait()
        if self._waits:
            tell()

    def _handle(self, number: int, _frame: object) -> None:
        if not self._waits or (self._signalled and number == signal.SIGINT):
            raise KeyboardInterrupt
        if not self._signalled:  # else its lock may be held by the operation that this one interrupts
            self._signalled = True
            self._told.set()

    def reason(self, processes: Processes) -> str:
        """``interrupted``, ``out of time``, or nothing; the same answer in every process."""
        own = torch.tensor([float(self._signalled), float(time.monotonic() >= self._deadline)])
        if processes.world_size > 1:  # one that stopped alone would leave the others waiting for its gradients
            own = processes.mean(own.to(processes.device)).cpu()
        signalled, late = (own > 0).tolist()
        return "interrupted" if signalled else "out of time" if late else ""
