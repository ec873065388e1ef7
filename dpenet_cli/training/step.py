"""One step: forward, loss, backward, clipping, Adam, the average. Kernel by kernel, or as one CUDA graph.

A step whose loss or gradient is not finite must change nothing. Kernel by kernel, the host looks at both and then lets
Adam step or not. A graph cannot wait for the host, so the gate is part of it: Adam and the average are told by a tensor
on the device, as PyTorch's gradient scaler tells them.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from dpenet_cli.network.model import WHOLE, NetworkSchedule, Stages
from dpenet_cli.training.checkpoint import MovingAverage
from dpenet_cli.training.loader import Batch
from dpenet_cli.training.losses import Loss

_WARM_UP = 3
"""Steps before a graph is captured, in which cuDNN chooses its kernels and memory finds its places."""


class Training(NamedTuple):
    """What a step works with.

    Attributes:
        network: called with N×3×H×W and a schedule; the model, or a wrapper of it.
        model: whose parameters are trained.
        optimizer: Adam, of these parameters.
        average: their moving average, or None.
        loss: compares both stages with the clean picture.
        dtype: of autocast, or None for fp32.
        clip: largest norm of the gradient, infinite for no limit.
        schedule: how the network's blocks are run.
    """

    network: Callable[..., Stages]
    model: nn.Module
    optimizer: torch.optim.Adam
    average: MovingAverage | None
    loss: Loss
    dtype: torch.dtype | None
    clip: float
    schedule: NetworkSchedule = WHOLE


class Step(Protocol):
    """How steps are taken."""

    def begin(self, batch: Batch, rate: float, weight: float, step: int) -> Tensor:
        """Queue a step.

        Args:
            batch: crops.
            rate: learning rate.
            weight: of this process's loss among those of all.
            step: number of the step, the first of which is 0.

        Returns:
            Loss and norm of the gradient before clipping: two float32 values on the device.
        """

    def end(self, step: int, *, finite: bool) -> None:
        """Let the step count, or not; to be called once the host knows whether both were finite, in all processes."""


class EagerStep:
    """Kernel by kernel, on any device and with any number of processes."""

    def __init__(self, training: Training) -> None:
        self._training = training

    def begin(self, batch: Batch, rate: float, weight: float, step: int) -> Tensor:  # noqa: ARG002 - the protocol's
        """As `Step.begin`."""
        training = self._training
        for group in training.optimizer.param_groups:
            group["lr"] = rate
        training.optimizer.zero_grad(set_to_none=True)
        return _gradients(training, batch.rainy, batch.clean, weight)

    def end(self, step: int, *, finite: bool) -> None:
        """As `Step.end`."""
        if finite:
            self._training.optimizer.step()
            if self._training.average is not None:
                self._training.average.update(step)


class GatedStep:
    """All of a step without the host: what a CUDA graph captures. Works on any device where Adam is fused.

    Args:
        training: its optimiser is fused, and capturable on CUDA.
        device: of the network.
    """

    def __init__(self, training: Training, device: torch.device) -> None:
        self._training = training
        self._rate, self._share = (torch.zeros((), device=device) for _ in range(2))

    def set(self, rate: float, step: int) -> None:
        """Say what the next step is to be taken with, without touching what was captured."""
        self._rate.fill_(rate)
        average = self._training.average
        self._share.fill_(1.0 - average.decay(step) if average is not None else 0.0)

    def run(self, rainy: Tensor, clean: Tensor) -> Tensor:
        """Take a step on crops, N×3×S×S both; gives loss and norm, and changes nothing unless both are finite."""
        training: Any = self._training
        for group in training.optimizer.param_groups:
            group["lr"] = self._rate
        found = _gradients(self._training, rainy, clean, 1.0)
        finite = torch.isfinite(found).all().float()
        # Where PyTorch's gradient scaler puts it too; the fused kernel leaves weights, moments and count as they are.
        training.optimizer.found_inf = 1.0 - finite
        training.optimizer.step()
        if training.average is not None:
            training.average.blend(self._share * finite)
        return found


class GraphStep:
    """Steps as CUDA graphs, one for each shape of batch, captured when it first comes.

    Args:
        training: its optimiser is fused and capturable.
        device: a CUDA device.
    """

    def __init__(self, training: Training, device: torch.device) -> None:
        self._training, self._device = training, device
        self._gated = GatedStep(training, device)
        self._graphs: dict[torch.Size, tuple[torch.cuda.CUDAGraph, Tensor, Tensor, Tensor]] = {}

    def begin(self, batch: Batch, rate: float, weight: float, step: int) -> Tensor:  # noqa: ARG002 - the protocol's
        """As `Step.begin`."""
        shape = batch.rainy.shape
        if shape not in self._graphs:
            self._graphs[shape] = self._capture(batch)
        graph, rainy, clean, found = self._graphs[shape]
        self._gated.set(rate, step)
        rainy.copy_(batch.rainy)
        clean.copy_(batch.clean)
        graph.replay()
        return found.clone()

    def end(self, step: int, *, finite: bool) -> None:
        """As `Step.end`: the graph has its own gate."""

    def _capture(self, batch: Batch) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor, Tensor]:
        # A graph reads from and writes to the same addresses each time: batches are copied to these two.
        rainy, clean = torch.empty_like(batch.rainy), torch.empty_like(batch.clean)
        # Pictures of NaN warm up, and the gate lets nothing of them through.
        rainy.fill_(math.nan)
        clean.fill_(math.nan)
        self._gated.set(0.0, 0)
        own = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        own.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(own):
            for _ in range(_WARM_UP):
                self._training.optimizer.zero_grad(set_to_none=True)
                self._gated.run(rainy, clean)
        torch.cuda.current_stream(self._device).wait_stream(own)
        # Gradients that are not there yet are made inside the graph, in its own memory.
        self._training.optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        # The next batch may be drawn meanwhile by the same thread only, so nothing else disturbs the capture.
        with torch.cuda.graph(graph):
            found = self._gated.run(rainy, clean)
        return graph, rainy, clean, found


def _gradients(training: Training, rainy: Tensor, clean: Tensor, weight: float) -> Tensor:
    """Forward, loss, backward, clipping; gives loss and norm."""
    with torch.autocast(
        rainy.device.type,
        dtype=training.dtype or torch.bfloat16,
        enabled=training.dtype is not None,
        cache_enabled=rainy.device.type != "cuda",  # what is cached outside a graph would be missing inside it
    ):
        # Said only if it is another than usual: a compiled network has compiled its own.
        stages = training.network(rainy) if training.schedule is WHOLE else training.network(rainy, training.schedule)
    loss = training.loss(stages, clean) * weight
    loss.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(training.model.parameters(), training.clip)
    return torch.stack([loss.detach().float(), norm.float()])
