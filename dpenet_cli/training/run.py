"""A run from its start or its last checkpoint to its end, in a folder that no other run enters meanwhile.

It survives Ctrl-C, SIGTERM and a time limit (a checkpoint is written, then it ends; before the first step there is
nothing to write), and ``kill -9`` (the last checkpoint is whole).
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from dpenet_cli.errors import OptionError, TrainingError
from dpenet_cli.system.devices import resolve_device
from dpenet_cli.training.events import Report
from dpenet_cli.training.init import initial_network
from dpenet_cli.training.options import TrainOptions
from dpenet_cli.training.parallel import Processes, cpu_processes, process_group, with_helpers
from dpenet_cli.training.run_folder import RunFolder
from dpenet_cli.training.stopping import StopSignal
from dpenet_cli.training.trainer import Trainer

_FREE_TO_CHANGE = frozenset(
    {"steps", "plan_minutes", "device", "threads", "compile", "pack", "evaluate_every", "checkpoint_seconds", "csv"}
)
"""Options that a resumed run may change. The first two change what is computed; with another number of threads on a CPU
the crops are others too."""


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
        DatasetError: the data do not pair, or too few are left.
        BadFilesError: files among them that cannot be read, unless the options leave them out.
        TrainingError: the folder holds a run, cannot be written to, or the loss is no longer a number.
        DeviceError: the device or precision is not available.
        WeightsError: the weights to start from are not usable.
    """
    if options.init is not None:
        initial_network(options)  # wrong weights are known before thousands of pictures are read
    return _run(RunFolder(folder), options, report, max_minutes, resume=False)


def resume(folder: Path, changes: dict[str, Any], report: Report, *, max_minutes: float | None = None) -> str:
    """Go on with a run from its last checkpoint, or from its start if it has none.

    Args:
        folder: of the run.
        changes: new values for some of the options that may differ.
        report: called with every event.
        max_minutes: as for `train`.

    Returns:
        As `train`.

    Raises:
        OptionError: another option was to change.
        TrainingError: there is no run, its data have changed, or as `train`.
    """
    run = RunFolder(folder)
    options = run.options()
    changed = {name for name, value in changes.items() if value != getattr(options, name)}
    if foreign := sorted(changed - _FREE_TO_CHANGE):
        why = "a run goes on with the options that it was started with"
        raise OptionError(foreign[0].replace("_", "-"), why, "Leave it out, or start a new run.")
    if "plan_minutes" in changes and options.plan_minutes is None:
        why = "the run was planned by steps, and the clock would give it another course"
        raise OptionError("plan-minutes", why, "Give --steps, or --decay-from now to let it end.")
    if "steps" in changes and options.plan_minutes is not None:
        raise OptionError("steps", "the run is planned by the clock", "Give --plan-minutes.")
    options = dataclasses.replace(options, **changes)
    if options.plan_minutes is not None and max_minutes is not None:
        raise OptionError("max-minutes", "the run is planned by the clock, and ends by itself", "Leave it out.")
    return _run(run, options, report, max_minutes, resume=True)


def can_go_on(folder: Path) -> bool:
    """Whether a folder holds a run that got its data together, for `resume` to take up."""
    return RunFolder(folder).begun()


def end(folder: Path) -> bool:
    """Ask a run to end: its learning rate falls from then on, over a fifth of the time that it took so far.

    Args:
        folder: of the run.

    Returns:
        Whether a process is at work in it now, which will do so; otherwise `resume` does.

    Raises:
        TrainingError: there is no run, or the folder cannot be written to.
    """
    run = RunFolder(folder)
    run.options()
    run.ask_to_end()
    return run.is_locked()


def _run(run: RunFolder, options: TrainOptions, report: Report, max_minutes: float | None, *, resume: bool) -> str:
    deadline = time.monotonic() + 60.0 * (max_minutes if max_minutes is not None else math.inf)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = True  # crops have few sizes, so the search for the fastest kernel pays
    with _processes(run, options, resume=resume) as processes:
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


@contextlib.contextmanager
def _processes(run: RunFolder, options: TrainOptions, *, resume: bool) -> Iterator[Processes]:
    """The processes of the run, with the folder locked: those that torchrun started, or ours on a CPU."""
    device = resolve_device(options.device)
    count = cpu_processes(options, device)
    if count > 1:
        with run.locked():
            if not resume:
                run.start(options)
            with with_helpers(count) as processes:
                processes.object_from_first((run.folder.absolute(), options, resume))
                yield processes
        return
    with process_group(device) as processes, run.locked() if processes.first else nullcontext():
        if processes.first and not resume:
            run.start(options)
        processes.barrier()  # the others must find the folder as the first one leaves it
        yield processes
