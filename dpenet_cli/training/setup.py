"""What a run's steps are taken with on this machine: precision, loss, optimiser, and the way of taking them."""

import functools
import math
from typing import Any

import torch
from torch import nn

from dpenet_cli.network.model import WHOLE, DPENet
from dpenet_cli.options import Precision
from dpenet_cli.system.devices import cpu_has_bf16
from dpenet_cli.system.memory import keep_freed_memory
from dpenet_cli.system.user_dirs import keep_compilers_tidy
from dpenet_cli.training.checkpoint import MovingAverage
from dpenet_cli.training.fused_blocks import FusedBlocks, can_fuse
from dpenet_cli.training.losses import Loss, general_loss, published_loss
from dpenet_cli.training.options import Recipe, TrainOptions
from dpenet_cli.training.parallel import Processes
from dpenet_cli.training.step import EagerStep, GraphStep, Step, Training


def new_optimizer(model: DPENet, options: TrainOptions, processes: Processes) -> torch.optim.Adam:
    """Adam for a model, as this machine runs it."""
    on_cuda = processes.device.type == "cuda"
    return torch.optim.Adam(
        model.parameters(), lr=options.learning_rate, fused=on_cuda or None, capturable=_by_graph(processes)
    )


def new_step(
    model: DPENet,
    optimizer: torch.optim.Adam,
    average: MovingAverage | None,
    options: TrainOptions,
    processes: Processes,
) -> Step:
    """How steps are taken here: as CUDA graphs with one GPU, kernel by kernel elsewhere.

    Args:
        model: on its device.
        optimizer: see `new_optimizer`.
        average: of its weights, or None.
        options: of the run.
        processes: this one among those of the run.
    """
    dtype = _autocast_dtype(options.precision, processes.device)
    loss: Loss = published_loss
    if options.recipe is Recipe.GENERAL:
        loss = functools.partial(general_loss, l1_weight=options.l1_weight)
    on_cpu = processes.device.type == "cpu"
    if on_cpu:
        keep_freed_memory()
    fused = on_cpu and dtype is not None and not options.compile and can_fuse()
    network = _compiled(processes.wrap(model), options)
    clip = options.clip or math.inf
    training = Training(network, model, optimizer, average, loss, dtype, clip, FusedBlocks() if fused else WHOLE)
    return GraphStep(training, processes.device) if _by_graph(processes) else EagerStep(training)


def hardware(options: TrainOptions, processes: Processes) -> str:
    """What the run computes with, for a person."""
    device = processes.device
    parts = [torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)]
    threads = torch.get_num_threads()
    if processes.shared:
        each = "one thread" if threads == 1 else f"{threads} threads"
        parts.append(f"{processes.world_size} processes of {each} each")
    elif device.type == "cpu":
        parts.append(f"{threads} threads")
    parts.append("bf16" if _autocast_dtype(options.precision, device) else "fp32")
    if processes.world_size > 1 and not processes.shared:
        parts[-1] += f", {processes.world_size} processes"
    return ", ".join(parts)


def _by_graph(processes: Processes) -> bool:
    """Gradients of several GPUs are averaged between kernels, outside any graph."""
    return processes.device.type == "cuda" and processes.world_size == 1


def _autocast_dtype(precision: Precision, device: torch.device) -> torch.dtype | None:
    if precision is Precision.FP32:
        return None
    has = device.type == "cuda" or (device.type == "cpu" and cpu_has_bf16())
    return torch.bfloat16 if has or precision is Precision.BF16 else None


def _compiled(network: nn.Module, options: TrainOptions) -> Any:
    if not options.compile:
        return network
    keep_compilers_tidy()
    return torch.compile(network)
