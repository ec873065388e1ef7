"""The network, or a block of it, as an OpenVINO model: from PyTorch modules to compiled networks, with a cache.

`convert_whole` and `convert_block` trace a PyTorch module and give an ``openvino.Model``; `compiled_network` compiles
one, or reads it from the user's cache folder: tracing takes seconds, reading a tenth of one.

OpenVINO is an extra of the installation. Its package reports its import, and each conversion by its own
``convert_model``, to its makers; neither happens here.
"""

import contextlib
import functools
import hashlib
import importlib
import inspect
import io
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dpenet_cli import __version__
from dpenet_cli.errors import DeviceError, OptionError
from dpenet_cli.inference import block_streaming, row_streaming
from dpenet_cli.inference.block_streaming import BlockSteps, StreamedBlock, radius_of, weights_of
from dpenet_cli.network import model as model_module
from dpenet_cli.network.model import DPENet
from dpenet_cli.system.atomic import remove_leftovers, write_whole
from dpenet_cli.system.packages import pip_install
from dpenet_cli.system.user_dirs import cache_folder

_TRACE_SIDE = 8
"""Rows and columns that the network is traced with, in pixels; the graph keeps neither."""

_CACHED_FILES = 48
"""Compiled networks that stay, the latest: one of three megabytes for each weights and precision, and two of a tenth of
one for each size of large pictures."""

_DIGEST_BYTES = hashlib.sha256().digest_size

log = logging.getLogger(__name__)


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
        step = f"Run: {pip_install('openvino')}, or use --backend torch."
        raise DeviceError("OpenVINO", why, step) from error


@functools.cache
def one_core() -> Any:
    """The one ``openvino.Core`` of this process, which is never given back.

    A Core gives its thread another stack for signals, and takes it away when it goes. After two of them a thread is
    left with a stack that is no more, and the next signal, Ctrl-C say, ends the process with a segmentation fault.

    Raises:
        DeviceError: OpenVINO is not there.
    """
    return import_openvino().Core()


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


class _Residual(nn.Module):
    """The network's residual, as pictures lie in memory: 1×H×W×3 in and out."""

    def __init__(self, model: DPENet) -> None:
        super().__init__()
        self._model = model

    def forward(self, rainy: Tensor) -> Tensor:
        residual: Tensor = self._model.residual(rainy.permute(0, 3, 1, 2))  # 1×3×H×W
        return residual.permute(0, 2, 3, 1)  # 1×H×W×3


def convert_whole(model: DPENet) -> Any:
    """Turn the network into an ``openvino.Model``: 1×H×W×3, RGB, 0..1, any height and width, to its residual.

    Raises:
        DeviceError: OpenVINO is not there.
        RuntimeError: OpenVINO does not understand the graph.
    """
    return trace(_Residual(model).eval(), (torch.zeros(1, _TRACE_SIDE, _TRACE_SIDE, 3),), ([1, -1, -1, 3],))


def convert_block(block: nn.Module, steps: BlockSteps, channels: int, rows: int, width: int) -> Any:
    """Turn a block into an ``openvino.Model`` for bands of one size; inputs and outputs as `StreamedBlock`'s.

    With sizes left open OpenVINO takes twice the memory for it, and a quarter more time.

    Raises:
        DeviceError: OpenVINO is not there.
        RuntimeError: OpenVINO does not understand the graph.
    """

    def shapes(rows: int, width: int) -> list[list[int]]:
        inside = [1, 1, 2 * radius_of(block) + rows, 1]
        inputs = [[1, each.above + rows - each.below, width, channels] for each in steps.inputs]
        weights = [list(each.shape) for each in weights_of(block)]
        state = [[1, each.rows, width, each.channels] for each in steps.state]
        return [inside, *inputs, *weights, *state]

    examples = [torch.zeros(shape) for shape in shapes(_TRACE_SIDE, _TRACE_SIDE)]
    return trace(StreamedBlock(block, steps).eval(), examples, shapes(rows, width))


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


def fingerprint(weights: Mapping[str, Tensor], *settings: str) -> str:
    """Everything that a compiled network depends on, as one hexadecimal number.

    Args:
        weights: the weights that the network holds, by name.
        settings: the runtime's version, the processor, the precision, the part of the network and its sizes.
    """
    digest = hashlib.sha256()
    # the code counts too: a clone that is being worked on has one version for long
    for module in (model_module, row_streaming, block_streaming, sys.modules[__name__]):
        digest.update(inspect.getsource(module).encode())
    digest.update(repr((__version__, torch.__version__, settings)).encode())
    for name, value in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(repr(value.shape).encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def compiled_network(core: Any, config: dict[str, Any], key: str, convert: Callable[[], Any]) -> Any:
    """Read a compiled network from the cache, or make it and put it there.

    A cache that cannot be read or written costs time, never the result.

    Args:
        core: the ``openvino.Core``.
        config: properties of the CPU device.
        key: what `fingerprint` told.
        convert: makes the ``openvino.Model``.

    Returns:
        An ``openvino.CompiledModel``.
    """
    path = _path(key)
    stored = _read(path) if path else None
    if stored is not None:
        try:
            return core.import_model(io.BytesIO(stored), "CPU", config)
        except RuntimeError as error:
            log.info("the compiled network in the cache is of no use here (%s): made again", error)
    network = core.compile_model(convert(), "CPU", config)
    if path:
        _write(path, network)
    return network


def _path(key: str) -> Path | None:
    try:
        return cache_folder() / "openvino" / f"{key}.bin"
    except OptionError:  # a user without a home
        return None


def _read(path: Path) -> bytes | None:
    """The compiled network behind its checksum, or None: not there, or not as it was written."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, network = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if hashlib.sha256(network).digest() != digest:
        return None
    with contextlib.suppress(OSError):  # a cache that may only be read serves as well
        path.touch()  # used lately, so it stays
    return network


def _write(path: Path, network: Any) -> None:
    try:
        exported = network.export_model()
        data = exported if isinstance(exported, bytes) else exported.getvalue()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(path, hashlib.sha256(data).digest() + data)
        remove_leftovers(path.parent)
        by_age = sorted(path.parent.glob("*.bin"), key=lambda each: each.stat().st_mtime, reverse=True)
        for old in by_age[_CACHED_FILES:]:
            old.unlink()
    except (OSError, RuntimeError) as error:
        log.info("the compiled network is not cached (%s)", error)
