"""What a run says before it starts: its data, and how long it will take on this machine.

For the time, one crop is timed, and the plan multiplied by it.
"""

import math
import time

import torch

from dpenet_cli.training.data import DataSelection
from dpenet_cli.training.events import Prepared
from dpenet_cli.training.loader import Batch, BatchLoader
from dpenet_cli.training.options import CropStage, TrainOptions
from dpenet_cli.training.parallel import Processes
from dpenet_cli.training.step import Step

_QUICK = 2_000 * 128 * 128
"""Pixels of crops that take an hour at most on any machine: nothing is timed for them."""


def prepared(
    loader: BatchLoader,
    selection: DataSelection,
    step: int,
    steps: int,
    *,
    validation: int,
    machine: str,
    seconds: float,
) -> Prepared:
    """What the data are.

    Args:
        loader: of the run.
        selection: what was left out.
        step: that it begins at, or goes on from.
        steps: of the whole run; 0 where it is planned by the clock.
        validation: pictures to validate on.
        machine: what it computes with, for a person.
        seconds: that reading took.
    """
    return Prepared(
        step=step,
        steps=steps,
        pairs=loader.pairs,
        backgrounds=loader.backgrounds,
        validation=validation,
        excluded=selection.excluded,
        twins=selection.twins,
        too_small=selection.too_small,
        megapixels=round(loader.store.pixels / 1e6, 1),
        hardware=machine,
        seconds=round(seconds, 1),
        bad=selection.bad,
        partners=selection.partners,
    )


def pixels_to_learn(stages: tuple[CropStage, ...], steps: int, done: int) -> float:
    """Pixels of all crops of the steps that are left.

    Args:
        stages: of the run, whose shares sum to 1.
        steps: of the whole run.
        done: how many of them are.
    """
    pixels, start = 0.0, 0.0
    for stage in stages:
        end = start + stage.share * steps
        pixels += max(end - max(start, done), 0.0) * stage.batch * stage.side**2
        start = end
    return pixels


def seconds_needed(options: TrainOptions, step_by: Step, processes: Processes, steps: int, done: int) -> float:
    """Seconds that the steps of a run take that are left, about. To be called by all of its processes.

    Args:
        options: of the run.
        step_by: what its steps are taken by; it takes none.
        processes: this one among those of the run.
        steps: of the whole run.
        done: how many of them are.

    Returns:
        NaN where the run is planned by the clock, is a short one, or runs on a GPU, which is fast.
    """
    pixels = pixels_to_learn(options.stages, steps, done)
    if options.plan_minutes is not None or pixels < _QUICK or processes.device.type != "cpu":
        return math.nan
    stage = options.stages[0]
    crop = torch.rand((1, 3, stage.side, stage.side), generator=torch.Generator().manual_seed(0))
    batch = Batch(crop, crop, [], stage)
    seconds = math.inf
    for _ in range(2):  # the first also finds places in memory
        started = time.perf_counter()
        step_by.begin(batch, 0.0, 1.0, done)  # forward, loss, backward: the gradients are thrown away
        seconds = min(seconds, time.perf_counter() - started)
    at_once = processes.world_size if processes.shared else 1
    return pixels / (at_once * stage.side**2) * seconds
