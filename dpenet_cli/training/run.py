"""A run from its start or its last checkpoint to its end, in a folder that no other run enters meanwhile.

It survives Ctrl-C, SIGTERM and a time limit (a checkpoint is written, then it ends), and ``kill -9`` (the last
checkpoint is whole).
"""

import dataclasses
import math
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from dpenet_cli.errors import OptionError, TrainingError
from dpenet_cli.system.devices import resolve_device
from dpenet_cli.training.events import Report
from dpenet_cli.training.options import TrainOptions
from dpenet_cli.training.parallel import process_group
from dpenet_cli.training.run_folder import RunFolder
from dpenet_cli.training.stopping import StopSignal
from dpenet_cli.training.trainer import Trainer

_FREE_TO_CHANGE = frozenset({"steps", "device", "threads", "compile", "evaluate_every", "checkpoint_seconds"})
"""Options that a resumed run may change; of these only `steps` changes what is computed."""


def train(folder: Path, options: TrainOptions, report: Report, *, max_minutes: float | None = None) -> str:
    """Start a run in a new folder.

    Args:
        folder: for the run's files.
        options: resolved; they are stored with the run.
        report: called with every event.
        max_minutes: stop (with a checkpoint) after so many minutes, reading the data included.

    Returns:
        Why it ended: ``done``, ``interrupted`` or ``out of time``.

    Raises:
        DatasetError: the data do not pair, cannot be read, or are too few.
        TrainingError: the folder holds a run, cannot be written to, or the loss is no longer a number.
        DeviceError: the device or precision is not available.
        WeightsError: the weights to start from are not usable.
    """
    return _run(RunFolder(folder), options, report, max_minutes, resume=False)


def resume(folder: Path, changes: dict[str, Any], report: Report, *, max_minutes: float | None = None) -> str:
    """Go on with a run from its last checkpoint, or from its start if it has none.

    Args:
        folder: of the run.
        changes: new values for some of steps, device, threads, compile, evaluate_every and checkpoint_seconds.
        report: called with every event.
        max_minutes: as for `train`.

    Returns:
        As `train`.

    Raises:
        OptionError: another option was to change.
        TrainingError: there is no run, its data have changed, or as `train`.
    """
    run = RunFolder(folder)
    if foreign := sorted(set(changes) - _FREE_TO_CHANGE):
        why = "a run goes on with the options that it was started with"
        raise OptionError(foreign[0].replace("_", "-"), why, "Leave it out, or start a new run.")
    return _run(run, dataclasses.replace(run.options(), **changes), report, max_minutes, resume=True)


def _run(run: RunFolder, options: TrainOptions, report: Report, max_minutes: float | None, *, resume: bool) -> str:
    deadline = time.monotonic() + 60.0 * (max_minutes if max_minutes is not None else math.inf)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = True  # crops have one size, so the search for the fastest kernel pays
    with process_group(resolve_device(options.device)) as processes, run.locked() if processes.first else nullcontext():
        if processes.first and not resume:
            run.start(options)
        processes.barrier()  # the others must find the folder as the first one leaves it
        try:
            with StopSignal(deadline) as stop:
                return Trainer(run, options, processes, report, resume=resume).run(stop)
        except BrokenPipeError:  # whoever read the reports has gone
            raise
        except OSError as error:  # what is read is checked where it is read; this is about the run's own files
            why = f"cannot be written to: {error.strerror or error}"
            next_step = "Make room, or mend what it says, and go on with --resume; the last checkpoint is whole."
            if not run.folder.is_dir():
                why, next_step = "it was removed while the run was at work in it", "Start the run again."
            raise TrainingError(str(run.folder), why, next_step) from error
