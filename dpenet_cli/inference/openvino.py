"""The backend for x86 processors: strips of a picture through OpenVINO, in bf16 where the hardware has it, or in fp32.

A strip that is small enough is run whole. Others go through the blocks in bands, each operation once (see
`dpenet_cli.inference.block_streaming`). The network gives its residual; it is added to the picture here, in fp32.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dpenet_cli.arrays import Pixels
from dpenet_cli.errors import DeviceError
from dpenet_cli.inference.backend import BackendFailed, NonFinite, OutOfMemory, TileSize, is_out_of_memory, one_line
from dpenet_cli.inference.block_streaming import BlockGraph, BlockSteps, BlockStream, Infer, steps_of, weights_of
from dpenet_cli.inference.openvino_ir import (
    compiled_network,
    convert_block,
    convert_whole,
    fingerprint,
    import_openvino,
    one_core,
)
from dpenet_cli.network.model import DPENet
from dpenet_cli.options import Precision

_HINTS = {Precision.FP32: "f32", Precision.BF16: "bf16"}

_WHOLE_PIXELS = 2**19
"""Largest picture that is run whole, in pixels: a feature map of it takes 64 MB in fp32, and a dozen are alive."""

_BAND_PIXELS, _BAND_ROWS = 2**17, (16, 64)
"""Pixels in a band, and bounds of its rows: a block then works in 0.2 GB. More would be no faster, and in fewer rows
those that are stored weigh more."""

_WIDEST = 4096
"""Widest strip, in columns: the rows that the blocks store between bands take 54 kB a column, 0.22 GB in all."""


class OpenVINOBackend:
    """DPENet on the CPU through OpenVINO. Calls must not overlap; `Derainer` sees to that.

    Networks are compiled when they are first needed, and stored in the user's cache folder. Those for large pictures of
    one size are in memory, or the one for small pictures, but not both: they hold the memory that they work in.

    Args:
        model: the network in eval mode, fp32, on the CPU.
        precision: what was asked for; ``auto`` is bf16 where the processor has it.
        threads: CPU threads, or None for one on each core. PyTorch, which does what is between the blocks, gets as
            many, and that setting holds for the process.

    Raises:
        DeviceError: OpenVINO is not installed, or the precision is not available here.
    """

    def __init__(self, model: DPENet, precision: Precision, threads: int | None = None) -> None:
        openvino = import_openvino()
        self.on_gpu = False
        self.receptive_radius = model.receptive_radius
        self._model = model
        self._openvino = openvino
        self._core = one_core()
        self._wanted = precision
        self._chosen = self._resolve(precision)
        self._threads = threads
        if threads is not None:
            torch.set_num_threads(threads)
        self._whole: dict[Precision, Any] = {}
        self._graphs: dict[type[nn.Module], BlockGraph] = {}
        self._steps: dict[type[nn.Module], BlockSteps] = {}
        self._graphs_size: tuple[int, int, Precision] | None = None
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
        if height * span <= _WHOLE_PIXELS:
            return TileSize(widest, height)
        fewest, most = _BAND_ROWS
        return TileSize(widest, min(max(_BAND_PIXELS // span, fewest), most))

    def clean(self, strip: Pixels, band_rows: int, precision: Precision, strength: float) -> Iterator[Pixels]:
        """Clean a strip in bands, or whole if one band holds it; see `Backend.clean`.

        Raises:
            NonFinite: a band holds values that are not numbers.
            OutOfMemory: memory is exhausted.
            BackendFailed: OpenVINO cannot make or run the network.
        """
        try:
            if band_rows >= strip.shape[0]:
                yield _add(strip, self._residual(strip, precision), strength)
            else:
                yield from self._clean_in_bands(strip, band_rows, precision, strength)
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, BackendFailed):
                raise
            what = one_line(error, -1)  # OpenVINO says first where, and last what
            if is_out_of_memory(error):
                raise OutOfMemory(what) from error
            raise BackendFailed(what) from error

    def _residual(self, rows: Pixels, precision: Precision) -> NDArray[np.float32]:
        """Run the whole network: H×W×3 integers in; the residual, H×W×3 in levels of 0..1."""
        request = self._whole_request(precision)  # of a network for any height and width
        request.set_input_tensor(0, self._openvino.Tensor(_scaled(rows)))
        request.infer()
        residual: NDArray[np.float32] = request.get_output_tensor(0).data[0]
        return residual

    def _clean_in_bands(self, strip: Pixels, band_rows: int, precision: Precision, strength: float) -> Iterator[Pixels]:
        """Run the network block by block; what is not in blocks is little, and PyTorch does it."""
        height, width = strip.shape[:2]
        schedule = BlockStream(height, lambda block: self._graph_for(block, band_rows, width, precision))
        for band, rainy in schedule.bands(strip, band_rows, self.receptive_radius):
            with torch.inference_mode():
                rows = torch.from_numpy(_scaled(band)).permute(0, 3, 1, 2)  # 1×3×band_rows×W
                residual = self._model.residual(rows, schedule)  # 1×3×h'×W, h' ≤ band_rows
            if len(rainy):  # nothing comes out of the first bands
                yield _add(rainy, residual[0, :, : len(rainy)].permute(1, 2, 0).numpy(), strength)

    def _whole_request(self, precision: Precision) -> Any:
        if precision not in self._whole:
            self._graphs.clear()
            network = self._compiled(precision, self._model.state_dict(), "whole", lambda: convert_whole(self._model))
            self._whole[precision] = network.create_infer_request()
        return self._whole[precision]

    def _graph_for(
        self, block: nn.Module, rows: int, width: int, precision: Precision
    ) -> tuple[BlockGraph, list[Tensor]]:
        """The graph for a block, and the block's weights."""
        self._whole.clear()
        if self._graphs_size != (rows, width, precision):
            self._graphs.clear()
            self._graphs_size = rows, width, precision
        channels, kind = self._model.config.channels, type(block)
        if kind not in self._steps:
            self._steps[kind] = steps_of(block, channels)
        steps = self._steps[kind]
        if kind not in self._graphs:
            settings = f"{kind.__name__} {channels} {rows} {width}"
            network = self._compiled(
                precision, {}, settings, lambda: convert_block(block, steps, channels, rows, width)
            )
            self._graphs[kind] = BlockGraph(self._runner(network), steps, rows, width, channels)
        return self._graphs[kind], weights_of(block)

    def _runner(self, network: Any) -> Infer:
        """What runs a compiled network in memory that is not its own."""
        request = network.create_infer_request()

        def infer(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
            for index, tensor in enumerate(inputs):
                request.set_input_tensor(index, self._shared(tensor))
            for index, tensor in enumerate(outputs):
                request.set_output_tensor(index, self._shared(tensor))
            request.infer()

        return infer

    def _shared(self, tensor: Tensor) -> Any:
        return self._openvino.Tensor(tensor.detach().numpy(), shared_memory=True)

    def _compiled(
        self, precision: Precision, weights: Mapping[str, Tensor], settings: str, make: Callable[[], Any]
    ) -> Any:
        """A compiled network, from the cache or made."""
        config: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # pinned threads wait where another program holds their core
        }
        if self._threads is not None:
            config["INFERENCE_NUM_THREADS"] = self._threads
        processor = self._core.get_property("CPU", "FULL_DEVICE_NAME")
        key = fingerprint(weights, self._openvino.get_version(), processor, precision.value, settings)
        return compiled_network(self._core, config, key, make)

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


def _scaled(rows: Pixels) -> NDArray[np.float32]:
    """h×W×3 integers to 1×h×W×3, 0..1."""
    scaled = np.divide(rows, np.float32(np.iinfo(rows.dtype).max), dtype=np.float32)
    return np.ascontiguousarray(scaled[None])


def _add(rainy: Pixels, residual: NDArray[np.float32], strength: float) -> Pixels:
    """Add `strength` times the residual to the picture, in fp32; h×W×3 integers in and out."""
    if not np.isfinite(residual).all():
        raise NonFinite("the network returned values that are not numbers")
    peak = np.float32(np.iinfo(rainy.dtype).max)
    levels = np.multiply(residual, peak * np.float32(strength))
    levels += rainy
    np.clip(levels, 0.0, peak, out=levels)
    return np.rint(levels, out=levels).astype(rainy.dtype)
