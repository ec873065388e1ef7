"""Batches of video frames through a GPU: uploads, the network and downloads at the same time.

In go batches of H×W×3 uint8 or uint16 frames, out come the same, clean. A device takes its work in queues (streams, as
CUDA calls them). Within a queue everything happens in order; between queues only what is asked for, by events. Three
of them serve a `FramePipeline`, for three parts of a GPU that work beside each other:

    upload     page-locked memory → device    frames as the integers they are, a quarter of the bytes of floats
    network    integers → clean integers      conversion, clamping and rounding are done on the device
    download   device → page-locked memory

A batch goes through them in buffers of its own, so that one can be uploaded while the one before it is cleaned and the
one before that is downloaded. `CudaDevice` is a device with such queues; there the network's step is soon captured as
a CUDA graph, and compiled if it goes on for long (`RepeatedStep`).
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

_WARM_UPS = 2
"""Runs of a step before it is captured: cuDNN tries its algorithms in the first, and that cannot be captured."""

_COMPILE_AFTER = 60.0
"""Seconds after which a step is compiled: about as long as compiling takes, so that short work never waits for it."""

_TIMED_RUNS = 3
"""Runs that tell which of two steps is faster."""

Step = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From integers, N×h×w×3, to the clean integers of the same shape, and one bool: whether all of them were finite."""

log = logging.getLogger(__name__)


class QueueEvent(Protocol):
    """A point in a queue: behind what it was given before, in front of what comes later."""

    def wait(self) -> None:
        """Let this thread wait until the device is there."""


class DeviceQueue(Protocol):
    """Work that a device does in order."""

    def run(self, work: Callable[[], None]) -> None:
        """Give it work, to be done now or later."""

    def record_event(self) -> QueueEvent:
        """The point behind all that was given so far."""

    def wait_event(self, event: QueueEvent) -> None:
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
        """The same step, for inputs that are always of the same shape: it may be captured and replayed."""


class _BatchBuffers:
    """The memory of one batch on its way: on the device, and page-locked at either end."""

    def __init__(self, device: QueuedDevice, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        integers = torch.uint8 if dtype == torch.uint8 else torch.int32  # few operations know uint16
        self.host_rainy = device.host(shape, dtype)
        self.rainy = device.empty(shape, dtype)
        self.clean = device.empty(shape, integers)
        self.finite = device.empty((1,), torch.bool)
        self.host_clean = device.host(shape, integers)
        self.host_finite = device.host((1,), torch.bool)


class FramePipeline:
    """Batches of one shape through one device.

    Args:
        device: gives the queues and the memory.
        step: what is done with a batch.
        shape: shape of a batch, N×h×w×3.
        dtype: dtype of the frames, uint8 or uint16.
    """

    def __init__(self, device: QueuedDevice, step: Step, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
        self._shape = shape
        self._dtype = dtype
        self._device = device
        self._step = device.repeated(step)
        self._upload, self._network, self._download = (device.queue() for _ in range(3))
        self._free: list[_BatchBuffers] = []

    def submit(self, frames: Sequence[Pixels]) -> PendingBatch:
        """Send a batch on its way.

        Args:
            frames: at most N frames, h×w×3 each.

        Returns:
            What waits for it. It must be called, once: the batch's memory is used again afterwards.
        """
        if not self._free:
            self._free.append(_BatchBuffers(self._device, self._shape, _torch_dtype(self._dtype)))
        buffers = self._free.pop()
        staged = buffers.host_rainy.numpy()
        for place, frame in enumerate(frames):
            staged[place] = frame

        def upload() -> None:
            buffers.rainy.copy_(buffers.host_rainy, non_blocking=True)

        def clean() -> None:
            # a captured step gives its result at one and the same place each time, so the next batch would overwrite it
            result, finite = self._step(buffers.rainy)
            buffers.clean.copy_(result, non_blocking=True)
            buffers.finite.copy_(finite.reshape(1), non_blocking=True)

        def download() -> None:
            buffers.host_clean.copy_(buffers.clean, non_blocking=True)
            buffers.host_finite.copy_(buffers.finite, non_blocking=True)

        # Each part waits, on the device, for the part before it of this batch only; this thread waits for nothing.
        self._upload.run(upload)
        self._network.wait_event(self._upload.record_event())
        self._network.run(clean)
        self._download.wait_event(self._network.record_event())
        self._download.run(download)
        downloaded = self._download.record_event()

        def wait() -> list[Pixels]:
            downloaded.wait()
            try:
                if not bool(buffers.host_finite):
                    raise NonFinite("the network returned values that are not numbers")
                clean = buffers.host_clean.numpy()
                return [clean[place].astype(self._dtype) for place in range(len(frames))]
            finally:
                self._free.append(buffers)

        return wait


def _torch_dtype(dtype: np.dtype[np.generic]) -> torch.dtype:
    return torch.from_numpy(np.empty(0, dtype)).dtype


@dataclass(frozen=True)
class CudaDevice:
    """One CUDA device.

    Attributes:
        device: the device, ``cuda:N``.
    """

    device: torch.device

    def queue(self) -> "_CudaStream":
        """Another stream."""
        return _CudaStream(self.device)

    def host(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Page-locked memory."""
        return torch.empty(shape, dtype=dtype, pin_memory=True)

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Memory of the device. PyTorch may give some that another stream still reads from: all of them end first."""
        tensor = torch.empty(shape, dtype=dtype, device=self.device)
        torch.cuda.synchronize(self.device)
        return tensor

    def repeated(self, step: Step) -> Step:
        """The same step, soon captured, later compiled."""
        return RepeatedStep(_with_tried_algorithms(step), capture, compile_step)


@dataclass(frozen=True)
class _CudaEvent:
    """A `QueueEvent` of a CUDA stream."""

    event: torch.cuda.Event

    def wait(self) -> None:
        """Sleep meanwhile: the cores are the decoder's and the encoder's."""
        self.event.synchronize()


class _CudaStream:
    """A `DeviceQueue`: a CUDA stream."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def run(self, work: Callable[[], None]) -> None:
        """Issue work to this stream."""
        with torch.cuda.stream(self._stream):
            work()

    def record_event(self) -> QueueEvent:
        """Record an event."""
        event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        event.record(self._stream)
        return _CudaEvent(event)

    def wait_event(self, event: QueueEvent) -> None:
        """Wait for an event on the device."""
        assert isinstance(event, _CudaEvent)
        self._stream.wait_event(event.event)


class RepeatedStep:
    """A step that gets faster the longer it goes on.

    After a few runs it is captured as a CUDA graph: its hundreds of kernels are then launched at once. After a minute
    it is compiled, so that additions and ReLUs become part of fewer kernels, and the compiled step is captured. That
    one stays if it gives the same picture and is faster. Whatever fails, the step goes on as it was.

    Args:
        step: gives the same result whenever it is given the same input.
        capture: makes a CUDA graph of a step, for inputs like its example.
        compile_step: compiles a step.
        now: a clock, in seconds.
    """

    def __init__(
        self,
        step: Step,
        capture: Callable[[Step, Tensor], Step],
        compile_step: Callable[[Step], Step],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._step = self._fastest = step
        self._capture = capture
        self._compile = compile_step
        self._now = now
        self._runs = 0
        self._compile_at: float | None = None

    def __call__(self, rainy: Tensor) -> tuple[Tensor, Tensor]:
        """Run the step."""
        self._runs += 1
        if self._runs == _WARM_UPS + 1:
            self._compile_at = self._now() + _COMPILE_AFTER
            with _optional("captured as a CUDA graph"):
                self._fastest = self._capture(self._step, rainy)
        elif self._compile_at is not None and self._now() >= self._compile_at:
            self._compile_at = None
            with _optional("compiled"):
                self._try_compiled(rainy)
        return self._fastest(rainy)

    def _try_compiled(self, rainy: Tensor) -> None:
        compiled = self._compile(self._step)
        for _ in range(_WARM_UPS):
            compiled(rainy)
        captured = self._capture(compiled, rainy)
        # fused kernels round elsewhere: one grey level of 8 bits is allowed, whatever the depth
        expected, found = (step(rainy)[0].to(torch.int32) for step in (self._fastest, captured))
        away = int((expected - found).abs().max())
        allowed = 1 if rainy.dtype == torch.uint8 else 257
        before, after = self._seconds(self._fastest, rainy), self._seconds(captured, rainy)
        better = away <= allowed and after < before
        log.info(
            "compiled, a batch takes %.4f s instead of %.4f s, and differs by %d at most: %s",
            after,
            before,
            away,
            "used" if better else "not used",
        )
        if better:
            self._fastest = captured

    def _seconds(self, step: Step, rainy: Tensor) -> float:
        """Time of one run, the device's work included, from a few."""
        begun = self._now()
        for _ in range(_TIMED_RUNS):
            bool(step(rainy)[1])  # waits for the device
        return (self._now() - begun) / _TIMED_RUNS


def capture(step: Step, example: Tensor) -> Step:
    """Capture a step as a CUDA graph on the current stream, which must not be the default one.

    Returns:
        The step, replayed. Its results lie at one and the same place each time.
    """
    graph = torch.cuda.CUDAGraph()
    static_input = example.clone()  # a graph reads and writes at fixed addresses
    stream = torch.cuda.current_stream(example.device)
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        output = step(static_input)

    def replay(rainy: Tensor) -> tuple[Tensor, Tensor]:
        static_input.copy_(rainy, non_blocking=True)
        graph.replay()
        return output

    return replay


def compile_step(step: Step) -> Step:
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
def _optional(what: str) -> Iterator[None]:
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
