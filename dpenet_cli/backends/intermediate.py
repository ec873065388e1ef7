"""The network, or a block of it, as an OpenVINO model: traced from the PyTorch module.

OpenVINO is an extra of the installation. Its package reports its import, and each conversion through its own front
door, to its makers; neither happens here.
"""

import contextlib
import functools
import importlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dpenet_cli.backends.kept import BandBlock, Ledger, radius_of
from dpenet_cli.errors import DeviceError
from dpenet_cli.model import DPENet

_TRACE_SIDE = 8
"""Rows and columns that the network is traced with, in pixels; the graph keeps neither."""


def import_openvino() -> Any:
    """Import OpenVINO without its usage reports.

    Raises:
        DeviceError: it is not installed, or does not load on this system.
    """
    try:
        with _without_telemetry():
            return importlib.import_module("openvino")
    except (ImportError, OSError) as error:
        why = f"it cannot be imported ({error})"
        raise DeviceError("OpenVINO", why, 'Run: pip install "dpenet[openvino]", or use --backend torch.') from error


@functools.cache
def one_core() -> Any:
    """The one ``openvino.Core`` of this process, which is never given back.

    A Core gives its thread another stack for signals, and takes it away when it goes. After two of them a thread is
    left with a stack that is no more, and the next signal, Ctrl-C say, ends the process with a segmentation fault.

    Raises:
        DeviceError: OpenVINO is not there.
    """
    return import_openvino().Core()


class _Residual(nn.Module):
    """The network as pictures lie in memory."""

    def __init__(self, model: DPENet) -> None:
        super().__init__()
        self._model = model

    def forward(self, rainy: Tensor) -> Tensor:
        return self._model.residual(rainy.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def convert_whole(model: DPENet) -> Any:
    """Turn the network into an ``openvino.Model``: 1×H×W×3, RGB, 0..1, any height and width, to its residual.

    Raises:
        DeviceError: OpenVINO is not there.
        RuntimeError: OpenVINO does not understand the graph.
    """
    return trace(_Residual(model).eval(), (torch.zeros(1, _TRACE_SIDE, _TRACE_SIDE, 3),), ([1, -1, -1, 3],))


def convert_block(block: nn.Module, ledger: Ledger, channels: int, rows: int, width: int) -> Any:
    """Turn a block into an ``openvino.Model`` for bands of one size; inputs and outputs as `BandBlock`'s.

    With sizes left open OpenVINO takes twice the memory for it, and a quarter more time.

    Raises:
        DeviceError: OpenVINO is not there.
        RuntimeError: OpenVINO does not understand the graph.
    """

    def shapes(rows: int, width: int) -> list[list[int]]:
        inside = [1, 1, 2 * radius_of(block) + rows, 1]
        views = [[1, view.above + rows - view.below, width, channels] for view in ledger.views]
        weights = [list(each.shape) for each in ledger.weights]
        kept = [[1, each.rows, width, each.channels] for each in ledger.kept]
        return [inside, *views, *weights, *kept]

    examples = [torch.zeros(shape) for shape in shapes(_TRACE_SIDE, _TRACE_SIDE)]
    return trace(BandBlock(block, ledger).eval(), examples, shapes(rows, width))


def trace(network: nn.Module, examples: Sequence[Tensor], shapes: Sequence[Sequence[int]]) -> Any:
    """Turn a module into an ``openvino.Model``.

    Args:
        network: in eval mode; it may compute no size from a size, for a trace takes what it sees for constants.
        examples: its inputs.
        shapes: of the inputs, −1 for a size that is left open.

    Raises:
        DeviceError: OpenVINO is not there.
        RuntimeError: OpenVINO does not understand the graph.
    """
    openvino = import_openvino()
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # OpenVINO's own way is this one too
        traced = torch.jit.trace(network, tuple(examples), check_trace=False)  # type: ignore[no-untyped-call]
    frontend = importlib.import_module("openvino.frontend").FrontEndManager().load_by_framework("pytorch")
    decoder = importlib.import_module("openvino.frontend.pytorch.ts_decoder").TorchScriptPythonDecoder(traced)
    converted = frontend.convert(frontend.load(decoder))
    converted.reshape({index: openvino.PartialShape(list(shape)) for index, shape in enumerate(shapes)})
    return converted


@contextlib.contextmanager
def _without_telemetry() -> Iterator[None]:
    """Let the package that reports usage seem missing meanwhile: OpenVINO then takes a stand-in that does nothing.

    Nothing is written to the user's home, and what the user has consented to elsewhere stays as it is.
    """
    name = "openvino_telemetry"
    there = name in sys.modules
    before = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]  # how Python is told that a module must not be imported
    try:
        yield
    finally:
        del sys.modules[name]
        if there and before is not None:
            sys.modules[name] = before
