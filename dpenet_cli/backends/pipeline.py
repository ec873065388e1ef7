"""Frames of a video through a device: uploads, the network and downloads at the same time.

A device takes its work in queues. Within a queue everything happens in order; between queues only what is asked for.
Three of them serve here, for three parts of a GPU that work beside each other:

    upload     page-locked memory → device    frames as the integers they are, a quarter of the bytes of floats
    network    integers → clean integers      conversion, clamping and rounding are done on the device
    download   device → page-locked memory

A batch of frames goes through them in a slot of its own, so that one batch can be uploaded while the one before it is
cleaned and the one before that is downloaded.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from dpenet_cli.backends import Landing, NonFinite, Pixels

Step = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From integers, N×h×w×3, to the clean integers of the same shape, and one bool: whether all of them were finite."""


class Mark(Protocol):
    """A point in a queue: behind what it was given before, in front of what comes later."""

    def wait(self) -> None:
        """Let this thread wait until the device is there."""


class Queue(Protocol):
    """Work that a device does in order."""

    def run(self, work: Callable[[], None]) -> None:
        """Give it work; it may be done later."""

    def mark(self) -> Mark:
        """The point behind all that was given so far."""

    def after(self, mark: Mark) -> None:
        """Let all that is given from now on wait for a point in another queue."""


class QueuedDevice(Protocol):
    """A device that works through queues."""

    def queue(self) -> Queue:
        """Another queue."""

    def host(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Memory of the computer that the device copies from and to by itself."""

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Memory of the device that no queue uses any more."""

    def repeated(self, step: Step) -> Step:
        """The same step, for inputs that are always of the same shape: it may be recorded and played back."""


class _Slot:
    """The memory of one batch on its way."""

    def __init__(self, device: QueuedDevice, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        integers = torch.uint8 if dtype == torch.uint8 else torch.int32  # few operations know uint16
        self.sent = device.host(shape, dtype)
        self.rainy = device.empty(shape, dtype)
        self.clean = device.empty(shape, integers)
        self.finite = device.empty((1,), torch.bool)
        self.received = device.host(shape, integers)
        self.received_finite = device.host((1,), torch.bool)


class FramePipeline:
    """Batches of one shape through one device.

    Args:
        device: its queues.
        step: what is done with a batch.
        shape: of a batch, N×h×w×3.
        dtype: of the frames, uint8 or uint16.
    """

    def __init__(self, device: QueuedDevice, step: Step, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
        self.shape = shape
        self.dtype = dtype
        self._device = device
        self._step = device.repeated(step)
        self._upload, self._network, self._download = (device.queue() for _ in range(3))
        self._free: list[_Slot] = []

    def submit(self, frames: Sequence[Pixels]) -> Landing:
        """Send a batch on its way; at most N frames.

        Returns:
            What waits for it. It must be called, once: the batch's memory is used again afterwards.
        """
        slot = self._free.pop() if self._free else _Slot(self._device, self.shape, _torch_dtype(self.dtype))
        sent = slot.sent.numpy()
        for place, frame in enumerate(frames):
            sent[place] = frame

        def upload() -> None:
            slot.rainy.copy_(slot.sent, non_blocking=True)

        def clean() -> None:  # a recorded step gives its result at one and the same place each time
            result, finite = self._step(slot.rainy)
            slot.clean.copy_(result, non_blocking=True)
            slot.finite.copy_(finite.reshape(1), non_blocking=True)

        def download() -> None:
            slot.received.copy_(slot.clean, non_blocking=True)
            slot.received_finite.copy_(slot.finite, non_blocking=True)

        self._upload.run(upload)
        self._network.after(self._upload.mark())
        self._network.run(clean)
        self._download.after(self._network.mark())
        self._download.run(download)
        downloaded = self._download.mark()

        def land() -> list[Pixels]:
            downloaded.wait()
            try:
                if not bool(slot.received_finite):
                    raise NonFinite("the network returned values that are not numbers")
                received = slot.received.numpy()
                return [received[place].astype(self.dtype) for place in range(len(frames))]
            finally:
                self._free.append(slot)

        return land


def _torch_dtype(dtype: np.dtype[np.generic]) -> torch.dtype:
    return torch.from_numpy(np.empty(0, dtype)).dtype
