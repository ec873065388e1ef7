"""A process that shares the steps of a run on a CPU; `parallel.with_helpers` starts it, nobody else does."""

import math
import sys
from pathlib import Path

import torch

from dpenet_cli.errors import DpenetError
from dpenet_cli.training.parallel import Processes, joined
from dpenet_cli.training.run_folder import RunFolder
from dpenet_cli.training.stopping import StopSignal
from dpenet_cli.training.trainer import Trainer


def work(processes: Processes) -> None:
    """Do this process's share of a run, from where the first process begins it to where that one ends it."""
    folder, options, resume = processes.object_from_first(None)
    with StopSignal(math.inf) as stop:
        Trainer(RunFolder(folder), options, processes, lambda _: None, resume=resume).run(stop)


def main() -> int:
    """Run as ``python -m dpenet_cli.training.helper MEETING_POINT RANK WORLD_SIZE``."""
    meeting_point, rank, world_size = sys.argv[1:]
    torch.set_num_threads(1)
    try:
        with joined(Path(meeting_point), int(rank), int(world_size)) as processes:
            work(processes)
    except (DpenetError, RuntimeError):  # gloo's own: the first process is gone. Either way that one says why
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
