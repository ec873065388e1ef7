"""The network through OpenVINO, on the CPU: bf16 where the hardware has it, fp32 everywhere.

A picture that is small enough is one band. Others slide through three graphs, each operation once (see
`dpenet_cli.backends.kept`): what a band keeps goes from one inference request to the other without being copied.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpenet_cli.backends import BackendFailed, NonFinite, OutOfMemory, Pixels, TileSize
from dpenet_cli.backends.compiled import compiled_network, fingerprint
from dpenet_cli.backends.intermediate import convert, import_openvino, one_core
from dpenet_cli.backends.kept import Place, first_rows, ledger_of
from dpenet_cli.errors import DeviceError
from dpenet_cli.model import DPENet
from dpenet_cli.options import Precision

_HINTS = {Precision.FP32: "f32", Precision.BF16: "bf16"}

WHOLE_PIXELS = 2**19
"""Largest picture that is one band, in pixels: a feature map of it takes 64 MB in fp32, and a dozen are alive."""

_BAND_ROWS = 64
"""Rows of a band. The first one has as many more as the network reaches, so shorter bands would save little memory."""

_WIDEST = 1024
"""Widest strip, in columns. OpenVINO reuses little memory in the graphs for bands: 7.8 GB were measured for a strip of
3,181 columns, 2.4 MB a column."""


class OpenVINOBackend:
    """DPENet on the CPU through OpenVINO. Calls must not overlap; `Derainer` sees to that.

    Networks are compiled when they are first needed, and kept in the user's cache folder.

    Args:
        model: in eval mode, fp32, on the CPU.
        precision: what was asked for; ``auto`` is bf16 where the processor has it.
        threads: CPU threads, or None for one on each core.

    Raises:
        DeviceError: OpenVINO is not installed, or the precision is not available here.
    """

    def __init__(self, model: DPENet, precision: Precision, threads: int | None = None) -> None:
        openvino = import_openvino()
        self.on_gpu = False
        self.receptive_radius = model.receptive_radius
        self._model = model
        self._ledger = ledger_of(model)
        self._openvino = openvino
        self._core = one_core()
        self._wanted = precision
        self._chosen = self._resolve(precision)
        self._threads = threads
        self._requests: dict[tuple[Place, Precision], list[Any]] = {}
        self.description = f"cpu, OpenVINO, {self._chosen}"

    def precision_for(self, dtype: np.dtype[np.generic]) -> Precision:
        """Under ``auto``, 16-bit pictures run in fp32: a reduced precision has fewer bits than they do."""
        if self._wanted is Precision.AUTO and dtype == np.uint16:
            return Precision.FP32
        return self._chosen

    def tile_size(self, height: int, width: int, precision: Precision, columns: int | None) -> TileSize:  # noqa: ARG002
        """The whole picture where it is small, else bands of strips that memory holds."""
        widest = min(columns or _WIDEST, width)
        span = min(widest + 2 * self.receptive_radius, width)
        return TileSize(widest, height if height * span <= WHOLE_PIXELS else _BAND_ROWS)

    def clean(self, strip: Pixels, band_rows: int, precision: Precision, strength: float) -> Iterator[Pixels]:
        """Slide down the strip, or take it whole if one band holds it.

        Raises:
            NonFinite: a block holds values that are not numbers.
            OutOfMemory: memory is exhausted.
            BackendFailed: OpenVINO cannot make or run the network.
        """
        kept: list[Any] = []
        try:
            for number, (place, top, bottom) in enumerate(self._bands(strip.shape[0], band_rows)):
                residual, kept = self._infer(place, precision, strip[top:bottom], kept, number)
                begin = max(top - self.receptive_radius, 0) if not place.is_top else 0
                yield _add(strip[begin : begin + len(residual)], residual, strength)
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, BackendFailed):
                raise
            if _is_out_of_memory(error):
                raise OutOfMemory(_first_line(error)) from error
            raise BackendFailed(_first_line(error)) from error

    def _bands(self, height: int, band_rows: int) -> Iterator[tuple[Place, int, int]]:
        """Each band's place, first row, and the row behind its last."""
        first = first_rows(self._model, band_rows)
        if band_rows >= height or first >= height:
            yield Place.WHOLE, 0, height
            return
        yield Place.FIRST, 0, first
        last = first + (height - first - 1) // band_rows * band_rows
        for top in range(first, last, band_rows):
            yield Place.BETWEEN, top, top + band_rows
        yield Place.LAST, last, height

    def _infer(
        self, place: Place, precision: Precision, rows: Pixels, kept: list[Any], number: int
    ) -> tuple[NDArray[np.float32], list[Any]]:
        """Run one band: h×W×3 integers in; the residual, h'×W×3 in levels of 0..1, and what is kept for the next."""
        requests = self._requests_for(place, precision)
        request = requests[number % len(requests)]
        scaled = np.divide(rows, np.float32(np.iinfo(rows.dtype).max), dtype=np.float32)
        request.set_input_tensor(0, self._openvino.Tensor(np.ascontiguousarray(scaled[None])))
        for index, tensor in enumerate(kept, 1):
            request.set_input_tensor(index, tensor)
        request.infer()
        outputs = [request.get_output_tensor(index) for index in range(len(request.model_outputs))]
        residual: NDArray[np.float32] = outputs[0].data[0]
        return residual, outputs[1:]

    def _requests_for(self, place: Place, precision: Precision) -> list[Any]:
        """Two requests for bands that follow each other: what one keeps is the other's input."""
        if (place, precision) not in self._requests:
            config: dict[str, Any] = {
                "INFERENCE_PRECISION_HINT": _HINTS[precision],
                "PERFORMANCE_HINT": "LATENCY",
                "ENABLE_CPU_PINNING": False,  # pinned threads wait where another program holds their core
            }
            if self._threads is not None:
                config["INFERENCE_NUM_THREADS"] = self._threads
            processor = self._core.get_property("CPU", "FULL_DEVICE_NAME")
            key = fingerprint(self._model, self._openvino.get_version(), processor, precision.value, place.value)
            network = compiled_network(
                self._core, config, key, lambda: convert(self._model, self._ledger, place)
            )  # fmt: skip
            count = 2 if place is Place.BETWEEN else 1
            self._requests[place, precision] = [network.create_infer_request() for _ in range(count)]
        return self._requests[place, precision]

    def _resolve(self, wanted: Precision) -> Precision:
        has_bf16 = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if wanted is Precision.AUTO:
            return Precision.BF16 if has_bf16 else Precision.FP32
        if wanted is Precision.FP16:
            raise DeviceError("precision fp16 on cpu", "it needs a CUDA device", "Use --precision auto.")
        if wanted is Precision.BF16 and not has_bf16:
            why = "OpenVINO has it only where the processor does, and this one does not"
            raise DeviceError("precision bf16", why, "Use --precision auto, or --backend torch.")
        return wanted


def _add(rainy: Pixels, residual: NDArray[np.float32], strength: float) -> Pixels:
    """Add `strength` times the residual to the picture, in fp32; h×W×3 integers in and out."""
    if not np.isfinite(residual).all():
        raise NonFinite("the network returned values that are not numbers")
    peak = np.float32(np.iinfo(rainy.dtype).max)
    levels = np.multiply(residual, peak * np.float32(strength))
    levels += rainy
    np.clip(levels, 0.0, peak, out=levels)
    return np.rint(levels, out=levels).astype(rainy.dtype)


_MEMORY_MESSAGES = ("bad_alloc", "out of memory", "not enough memory", "failed to allocate", "could not allocate")


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(message in str(error).lower() for message in _MEMORY_MESSAGES)


def _first_line(error: Exception) -> str:
    lines = [line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__  # OpenVINO says first where, and last what
