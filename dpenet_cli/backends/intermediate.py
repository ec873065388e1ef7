"""The network as an OpenVINO model: traced from the PyTorch module, any height and width.

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

from dpenet_cli.backends.kept import BandNetwork, Ledger, Place, first_rows
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


def convert(model: DPENet, ledger: Ledger, place: Place) -> Any:
    """Turn the network for bands at one place into an ``openvino.Model``; inputs and outputs as `BandNetwork`'s.

    Raises:
        DeviceError: OpenVINO is not there.
        RuntimeError: OpenVINO does not understand the graph.
    """
    rows = first_rows(model, 1) if place is Place.FIRST else _TRACE_SIDE
    examples = [torch.zeros(1, rows, _TRACE_SIDE, 3)]
    if not place.is_top:
        examples += [torch.zeros(1, kept.rows, _TRACE_SIDE, kept.channels) for kept in ledger.kept]
    network = BandNetwork(model, ledger, place).eval()
    return trace(network, examples, [[1, -1, -1, each.shape[3]] for each in examples])


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
