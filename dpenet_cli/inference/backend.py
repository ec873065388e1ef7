"""What the engine asks of a backend, and how a backend says that it failed.

A backend takes strips of a picture, H×W×3 uint8 or uint16, gives their clean rows from top to bottom, and says how
large a strip it likes. The engine (`dpenet_cli.inference.derainer`) cuts the strips, puts the results together, and
decides what to do when one fails.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np

from dpenet_cli.arrays import Pixels
from dpenet_cli.options import Precision

ProgressCallback: TypeAlias = Callable[[float], None]
"""Called with the share of a picture that is done, 0..1."""

PendingBatch: TypeAlias = Callable[[], list[Pixels]]
"""Waits for a batch of frames and gives them clean, in order. To be called once; it raises as `Backend.clean` does."""


class TileSize(NamedTuple):
    """Columns of a strip (without its halo) and rows of a band, in pixels."""

    columns: int
    band_rows: int


class NonFinite(ArithmeticError):
    """The network returned infinities or NaN: its reduced precision overflowed, or its weights are broken."""


class OutOfMemory(MemoryError):
    """The device has no memory left for a strip of this size."""


class BackendFailed(RuntimeError):
    """This runtime cannot make or run the network here; another one may."""


_MEMORY_MESSAGES = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "could not allocate",
    "could not create a memory object",
    "failed to allocate",
    "alloc_failed",
    "bad_alloc",
)
"""What PyTorch's CPU allocator, oneDNN, the CUDA driver, cuDNN, cuBLAS, MPS and OpenVINO say, in lower case: most of
them have no type of their own for it."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether a runtime's error means that memory is exhausted."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(message in text for message in _MEMORY_MESSAGES)


def one_line(error: Exception, line: int = 0) -> str:
    """One line of what a runtime says: the first, or another by its index; the error's type where it says nothing."""
    lines = [text.strip() for text in str(error).splitlines() if text.strip()]
    return lines[line].rstrip(".") if lines else type(error).__name__


class Backend(Protocol):
    """One network on one device.

    Attributes:
        description: device and precision for a person, such as ``cpu, bf16``.
        on_gpu: whether the CPU's cores are free for other work meanwhile.
        receptive_radius: pixels of context that a result depends on.
    """

    description: str
    on_gpu: bool
    receptive_radius: int

    def precision_for(self, dtype: np.dtype[np.generic]) -> Precision:
        """The precision that pictures of this dtype are run in; never ``auto``."""

    def tile_size(self, height: int, width: int, precision: Precision, columns: int | None) -> TileSize:
        """A tile that suits this device's memory and caches; `columns` is the widest strip wanted, if any."""

    def clean(self, strip: Pixels, band_rows: int, precision: Precision, strength: float) -> Iterator[Pixels]:
        """Yield the clean strip in bands of rows, from top to bottom.

        Args:
            strip: H×W×3 RGB, uint8 or uint16, with its halo.
            band_rows: rows to work on at a time; the whole strip if it has no more.
            precision: what the network runs in; never ``auto``.
            strength: share of the change that is applied, 0..1.

        Yields:
            h×W×3 in the dtype of `strip`, h ≥ 1; H rows in all.

        Raises:
            NonFinite: a band holds values that are not numbers.
            OutOfMemory: the device's memory is exhausted.
            BackendFailed: the runtime fails at a network that another one may run.
        """


@runtime_checkable
class BatchBackend(Backend, Protocol):
    """A backend that takes the frames of a video in batches, and works on one while the next is on its way."""

    def frames_at_once(self, height: int, width: int, precision: Precision) -> int:
        """Frames of this size that are best cleaned together; 0 where they are best cleaned one by one."""

    def submit(self, frames: Sequence[Pixels], together: int, precision: Precision, strength: float) -> PendingBatch:
        """Begin to clean whole frames of one shape and dtype: as many as `together`, or fewer at the end of a video.

        Raises:
            OutOfMemory: the device's memory is exhausted.
        """
