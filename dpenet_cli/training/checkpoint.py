"""What a checkpoint holds: all that is needed to go on as if nothing had happened."""

import dataclasses
import io
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn

from dpenet_cli.errors import TrainingError
from dpenet_cli.system.atomic import write_whole

_FORMAT = 1
"""Version of what `checkpoint.pt` holds."""


class MovingAverage:
    """The exponential moving average of a network's weights. It starts fast, as it has little to average then.

    Args:
        model: whose weights are averaged; fp32.
        decay: share of the old average in the new one, in the long run.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._source = list(model.parameters())
        self._names = [name for name, _ in model.named_parameters()]
        self._decay = decay
        self.weights = [parameter.detach().clone() for parameter in self._source]

    def decay(self, step: int) -> float:
        """Share of the old average in the new one after a step, the first of which is 0."""
        # A tenth of the old average after the first step, most of it later: the random weights are soon forgotten.
        return min(self._decay, (1 + step) / (10 + step))

    def update(self, step: int) -> None:
        """Take in the weights after a step."""
        with torch.no_grad():
            get_ema_multi_avg_fn(self.decay(step))(  # type: ignore[no-untyped-call]
                self.weights, [p.detach() for p in self._source], None
            )

    def blend(self, share: Tensor) -> None:
        """Take in a share of the weights that lies on their device, as a CUDA graph must have it: a scalar tensor."""
        with torch.no_grad():
            for own, parameter in zip(self.weights, self._source, strict=True):
                own.add_((parameter.detach() - own) * share)

    def state(self) -> dict[str, Tensor]:
        """The averaged weights under the network's names."""
        return dict(zip(self._names, self.weights, strict=True))

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over averaged weights, in place."""
        for name, own in zip(self._names, self.weights, strict=True):
            own.copy_(state[name])


@dataclasses.dataclass
class RunPosition:
    """How far a run has come.

    Attributes:
        step: optimiser steps taken.
        seconds: time spent in them.
        best_psnr: the best blend of validation PSNRs so far, in dB.
        evaluated: step of the last evaluation.
        failures: non-finite steps in a row.
        clock: seconds that the run has taken, reading data and evaluations included.
        ending_from: where (steps, or seconds of `clock`) it was told to end, or −1; see `schedule`.
        rate_factor: on the learning rate; halved each time that the run went back to earlier weights.
        went_back: how often it did.
    """

    step: int = 0
    seconds: float = 0.0
    best_psnr: float = float("-inf")
    evaluated: int = -1
    failures: int = 0
    clock: float = 0.0
    ending_from: float = -1.0
    rate_factor: float = 1.0
    went_back: int = 0


def save_checkpoint(
    path: Path,
    position: RunPosition,
    model: nn.Module,
    average: MovingAverage | None,
    *,
    optimizer: Optimizer,
    data: str,
) -> None:
    """Store all that is needed to go on; the file that was there stays whole until this one is.

    Nothing of the data's order or of random numbers is among it: batches follow from the step.

    Args:
        path: of the checkpoint.
        position: how far the run has come.
        model: the network itself, not a wrapper of it.
        average: None if the run keeps none.
        optimizer: of the model's parameters.
        data: fingerprint of the pictures and layers.

    Raises:
        OSError: the disk is full or cannot be written to.
    """
    content = {
        "format": _FORMAT,
        "position": dataclasses.asdict(position),
        "model": model.state_dict(),
        "average": average.state() if average else None,
        "optimizer": optimizer.state_dict(),
        "data": data,
    }
    buffer = io.BytesIO()  # in memory first: what fails halfway must not be half a file
    torch.save(content, buffer)
    write_whole(path, buffer.getvalue())


def load_checkpoint(
    path: Path, model: nn.Module, average: MovingAverage | None, optimizer: Optimizer, data: str
) -> RunPosition:
    """Put a run back to where it was saved.

    Args:
        path: what `save_checkpoint` wrote.
        model: overwritten, as are the next two.
        average: None if the run keeps none.
        optimizer: of the model's parameters.
        data: fingerprint of the pictures and layers; it must be what it was.

    Raises:
        TrainingError: no such file, another format, another network, or other pictures.
    """
    try:
        # To the CPU, wherever it was saved: what takes it over copies it to its own device. Plain tensors and
        # containers only, so that a foreign file cannot run code.
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']} of another version")  # noqa: TRY301 - one more damaged file
        model.load_state_dict(content["model"])
        if average is not None:
            average.restore(content["average"])
        # How the optimiser is run follows from this machine; only what it remembers is the run's: its rate too, which
        # a run that was saved after its last step does not set again.
        stored = content["optimizer"]
        stored["param_groups"] = [
            own | {"params": group["params"], "lr": float(group["lr"])}
            for own, group in zip(optimizer.state_dict()["param_groups"], stored["param_groups"], strict=True)
        ]
        optimizer.load_state_dict(stored)
        position = RunPosition(**content["position"])
    except Exception as error:  # torch raises many types on damaged files; all of them mean this
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TrainingError(str(path), f"the run cannot go on from it: {reason}", "Start a new run.") from error
    # Other pictures make other batches: the run would no longer be the one that it was.
    if content["data"] != data:
        why = "the pictures, or the streak layers, are not those that the run began with"
        raise TrainingError(str(path), why, "Bring the folders back to what they were, or start a new run.")
    return position
