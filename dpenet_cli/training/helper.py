"""A process that shares the steps of a run on a CPU; `parallel.with_helpers` starts it, nobody else does."""

import math
import os
import sys
import threading
import time
from pathlib import Path

import torch

from dpenet_cli.errors import DpenetError
from dpenet_cli.training.parallel import Processes, joined
from dpenet_cli.training.run_folder import RunFolder
from dpenet_cli.training.stopping import StopSignal
from dpenet_cli.training.trainer import Trainer

_LOOK_SECONDS = 2.0
"""How often a helper looks whether the first process is still there."""


def work(processes: Processes) -> None:
    """Do this process's share of a run, from where the first process begins it to where that one ends it."""
    folder, options, resume = processes.object_from_first(None)
    with StopSignal(math.inf) as stop:
        Trainer(RunFolder(folder), options, processes, lambda _: None, resume=resume).run(stop)


def _end_with(parent: int) -> None:
    """End when the first process is gone, ``kill -9`` included: gloo notices only once they have met."""
    while sys.platform == "win32" or os.getppid() == parent:  # on Windows a launcher may stand between the two
        time.sleep(_LOOK_SECONDS)
    os._exit(1)


def main() -> int:
    """Run as ``python -m dpenet_cli.training.helper MEETING_POINT RANK WORLD_SIZE THREADS PARENT``."""
    meeting_point = Path(sys.argv[1])
    rank, world_size, threads, parent = map(int, sys.argv[2:])
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    torch.set_num_threads(threads)
    try:
        with joined(meeting_point, rank, world_size) as processes:
            work(processes)
    except (
        DpenetError,
        RuntimeError,
        KeyboardInterrupt,
    ):  # gloo's own: the first process is gone, or it ends this one.
        # Either way that one says why.
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
