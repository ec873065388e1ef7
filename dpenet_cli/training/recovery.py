"""What saves a run whose gradient explodes: the last good weights, and when to go back to them."""

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dpenet_cli.training.checkpoint import MovingAverage

EXPLODED = 200.0
"""Norm of the gradient, before it is clipped, above which it has exploded. A healthy one is about 3; with SSIM in TF32
it was 135,000."""

_STEPS = 10
"""Steps of which more than half must be so: one batch alone may be odd, and is clipped."""

MOST_FAILURES = 10
"""Losses or gradients in a row that are no numbers after which the weights are held to be bad."""


class GradientWatch:
    """Tells an exploding gradient from one odd batch."""

    def __init__(self) -> None:
        self._norms: deque[float] = deque(maxlen=_STEPS)

    def add(self, norm: float) -> None:
        """Take in a step's norm, a finite one."""
        self._norms.append(norm)

    @property
    def median(self) -> float:
        """Median of the last ten norms, the lower one; 0 before there are so many."""
        return sorted(self._norms)[(_STEPS - 1) // 2] if len(self._norms) == _STEPS else 0.0

    @property
    def calm(self) -> bool:
        """Whether none of the last norms is that of an explosion."""
        return max(self._norms, default=0.0) <= EXPLODED

    def trouble(self, failures: int, names: Sequence[str]) -> str:
        """Why the weights are held to be bad, or nothing.

        Args:
            failures: losses or gradients in a row that were no numbers.
            names: of the pictures of the last step.
        """
        if failures >= MOST_FAILURES:
            some = ", ".join(dict.fromkeys(names[:3]))
            return f"{MOST_FAILURES} losses in a row were not numbers, the last on {some} and others"
        if self.median > EXPLODED:
            return f"the gradient explodes: its norm is {self.median:.3g}, and a healthy one is about 3"
        return ""

    def forget(self) -> None:
        """Begin anew."""
        self._norms.clear()


class LastGood:
    """A copy of all that training changes, on its own device, to go back to.

    Args:
        model: the network.
        optimizer: of its parameters.
        average: None if the run keeps none.
        step: that they are at.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, average: MovingAverage | None, step: int) -> None:
        self._model, self._optimizer, self._average = model, optimizer, average
        self.keep(step)

    def keep(self, step: int) -> None:
        """Hold the present state to be good."""
        self.step = step
        self._copies = [tensor.detach().clone() for tensor in self._tensors()]

    @torch.no_grad()
    def restore(self) -> None:
        """Go back, in place: a CUDA graph knows tensors by their addresses."""
        now = self._tensors()
        for tensor, copy in zip(now, self._copies, strict=False):
            tensor.copy_(copy)
        for tensor in now[len(self._copies) :]:  # the optimiser had nothing to remember yet
            tensor.zero_()

    def _tensors(self) -> list[Tensor]:
        """Weights, averages, and then what the optimiser remembers, in an order that stays."""
        found: list[Tensor] = [*self._model.parameters(), *(self._average.weights if self._average else [])]
        for parameter in self._model.parameters():
            state = self._optimizer.state.get(parameter, {})
            found += [value for _, value in sorted(state.items()) if isinstance(value, Tensor)]
        return found
