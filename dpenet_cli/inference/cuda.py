"""Frames of a video through a device: uploads, the network and downloads at the same time.

A device takes its work in queues. Within a queue everything happens in order; between queues only what is asked for.
Three of them serve here, for three parts of a GPU that work beside each other:

    upload     page-locked memory → device    frames as the integers they are, a quarter of the bytes of floats
    network    integers → clean integers      conversion, clamping and rounding are done on the device
    download   device → page-locked memory

A batch of frames goes through them in a slot of its own, so that one batch can be uploaded while the one before it is
cleaned and the one before that is downloaded.

CUDA as a device that works through queues: streams, events, page-locked memory, steps recorded and fused.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from dpenet_cli.arrays import Pixels
from dpenet_cli.inference.backend import NonFinite, PendingBatch
from dpenet_cli.system.user_dirs import keep_compilers_tidy

Step = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From integers, N×h×w×3, to the clean integers of the same shape, and one bool: whether all of them were finite."""


class QueueEvent(Protocol):
    """A point in a queue: behind what it was given before, in front of what comes later."""

    def wait(self) -> None:
        """Let this thread wait until the device is there."""


class DeviceQueue(Protocol):
    """Work that a device does in order."""

    def run(self, work: Callable[[], None]) -> None:
        """Give it work; it may be done later."""

    def mark(self) -> QueueEvent:
        """The point behind all that was given so far."""

    def after(self, mark: QueueEvent) -> None:
        """Let all that is given from now on wait for a point in another queue."""


class QueuedDevice(Protocol):
    """A device that works through queues."""

    def queue(self) -> DeviceQueue:
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

    def submit(self, frames: Sequence[Pixels]) -> PendingBatch:
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


_WARM_UPS = 2
"""Runs of a step before it is recorded: cuDNN tries its algorithms in the first, and that cannot be recorded."""

_FUSE_AFTER = 60.0
"""Seconds after which a step is compiled: about as long as compiling takes, so that short work never waits for it."""

_TIMED_RUNS = 3
"""Runs that tell which of two steps is faster."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CudaDevice:
    """One CUDA device.

    Attributes:
        device: which one.
    """

    device: torch.device

    def queue(self) -> "_Stream":
        """Another stream."""
        return _Stream(self.device)

    def host(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Page-locked memory."""
        return torch.empty(shape, dtype=dtype, pin_memory=True)

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Memory of the device. PyTorch may give some that another stream still reads from: all of them end first."""
        tensor = torch.empty(shape, dtype=dtype, device=self.device)
        torch.cuda.synchronize(self.device)
        return tensor

    def repeated(self, step: Step) -> Step:
        """The same step, soon recorded, later compiled."""
        return Repeated(_with_tried_algorithms(step), recorded, fused)


@dataclass(frozen=True)
class _Event:
    """A `QueueEvent`."""

    event: torch.cuda.Event

    def wait(self) -> None:
        """Sleep meanwhile: the cores are the decoder's and the encoder's."""
        self.event.synchronize()


class _Stream:
    """A `Queue`."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def run(self, work: Callable[[], None]) -> None:
        """Issue work to this stream."""
        with torch.cuda.stream(self._stream):
            work()

    def mark(self) -> QueueEvent:
        """Record an event."""
        event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        event.record(self._stream)
        return _Event(event)

    def after(self, mark: QueueEvent) -> None:
        """Wait for an event on the device."""
        assert isinstance(mark, _Event)
        self._stream.wait_event(mark.event)


class Repeated:
    """A step that gets faster the longer it goes on.

    After a few runs it is recorded as a CUDA graph: its hundreds of kernels are then launched at once. After a minute
    it is compiled, so that additions and ReLUs become part of fewer kernels, and the compiled step is recorded. That
    one stays if it gives the same picture and is faster. Whatever fails, the step goes on as it was.

    Args:
        step: gives the same result whenever it is given the same input.
        record: makes a player of a step, for inputs like its example.
        fuse: compiles a step.
        now: a clock, in seconds.
    """

    def __init__(
        self,
        step: Step,
        record: Callable[[Step, Tensor], Step],
        fuse: Callable[[Step], Step],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._step = self._fastest = step
        self._record = record
        self._fuse = fuse
        self._now = now
        self._runs = 0
        self._fuse_at: float | None = None

    def __call__(self, rainy: Tensor) -> tuple[Tensor, Tensor]:
        """Run the step."""
        self._runs += 1
        if self._runs == _WARM_UPS + 1:
            self._fuse_at = self._now() + _FUSE_AFTER
            with _told("recorded as a CUDA graph"):
                self._fastest = self._record(self._step, rainy)
        elif self._fuse_at is not None and self._now() >= self._fuse_at:
            self._fuse_at = None
            with _told("compiled"):
                self._try_fused(rainy)
        return self._fastest(rainy)

    def _try_fused(self, rainy: Tensor) -> None:
        fused = self._fuse(self._step)
        for _ in range(_WARM_UPS):
            fused(rainy)
        player = self._record(fused, rainy)
        expected, found = (step(rainy)[0].to(torch.int32) for step in (self._fastest, player))
        away = int((expected - found).abs().max())
        allowed = 1 if rainy.dtype == torch.uint8 else 257
        before, after = self._seconds(self._fastest, rainy), self._seconds(player, rainy)
        kept = away <= allowed and after < before
        log.info(
            "compiled, a batch takes %.4f s instead of %.4f s, and differs by %d at most: %s",
            *(after, before, away, "kept" if kept else "not kept"),
        )
        if kept:
            self._fastest = player

    def _seconds(self, step: Step, rainy: Tensor) -> float:
        """Time of one run, the device's work included, from a few."""
        begun = self._now()
        for _ in range(_TIMED_RUNS):
            bool(step(rainy)[1])  # waits for the device
        return (self._now() - begun) / _TIMED_RUNS


def recorded(step: Step, example: Tensor) -> Step:
    """Record a step on the current stream, which must not be the default one.

    Returns:
        The step's player. Its results lie at one and the same place each time.
    """
    graph = torch.cuda.CUDAGraph()
    held = example.clone()
    stream = torch.cuda.current_stream(example.device)
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        output = step(held)

    def play(rainy: Tensor) -> tuple[Tensor, Tensor]:
        held.copy_(rainy, non_blocking=True)
        graph.replay()
        return output

    return play


def fused(step: Step) -> Step:
    """Compile a step for one shape, in this process."""
    keep_compilers_tidy()
    from torch._inductor import config

    compiled = torch.compile(step, dynamic=False)

    def run(rainy: Tensor) -> tuple[Tensor, Tensor]:
        with config.patch(compile_threads=1):  # other processes would outlive an interrupt
            result: tuple[Tensor, Tensor] = compiled(rainy)
            return result

    return run


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Say that something is not to be had, and go on: it would only have made the work faster."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - compilers raise what they like
        log.info("the network is not %s: %s", what, str(error).partition("\n")[0] or type(error).__name__)


def _with_tried_algorithms(step: Step) -> Step:
    """Let cuDNN choose its algorithms by trying them, which pays where the same shape comes again and again."""

    def run(rainy: Tensor) -> tuple[Tensor, Tensor]:
        before = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = True
        try:
            return step(rainy)
        finally:
            torch.backends.cudnn.benchmark = before

    return run
