"""The network as a file for other runtimes: from a weights file to ONNX, or OpenVINO's intermediate representation.

The file takes a picture of any height and width, describes itself, and is compared with PyTorch before it gets its
name. Nothing is fetched for it.
"""

import contextlib
import importlib
import io
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dpenet_cli import __version__
from dpenet_cli.errors import ExportError
from dpenet_cli.inference.openvino_ir import import_openvino, one_core, trace
from dpenet_cli.network.checkpoints import load_model, read_card
from dpenet_cli.network.model import DPENet
from dpenet_cli.network.weights_files import find_weights
from dpenet_cli.options import ExportFormat
from dpenet_cli.system.atomic import write_whole
from dpenet_cli.system.outputs import Output, check_outputs
from dpenet_cli.system.packages import pip_install

OPSET = 17
"""ONNX operator set: the network needs nothing newer, and runtimes since 2022 have it."""

INPUT, OUTPUT = "rainy", "restored"

INTERFACE = (
    f"input {INPUT}: float32, 1×3×H×W, RGB, 0..1, any H and W; output {OUTPUT}: float32, 1×3×H×W, RGB, 0..1, clamped"
)

_CHECKED_SIZES = ((64, 64), (37, 51), (1, 90))
"""Height and width of the pictures that are compared with PyTorch."""

_TOLERANCE = 1e-3 / 255
"""Largest difference from PyTorch, both in fp32: a thousandth of an 8-bit grey level."""

_SUFFIXES = {ExportFormat.ONNX: ".onnx", ExportFormat.OPENVINO: ".xml"}

_Runner: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def export(weights: str, path: Path, file_format: ExportFormat, *, overwrite: bool = False) -> tuple[Path, ...]:
    """Write the network with its weights for another runtime; whole or not at all.

    Args:
        weights: a name or a path, as `load_model` takes it.
        path: ends in ``.onnx``, or in ``.xml``, beside which a ``.bin`` is written.
        file_format: what the file is.
        overwrite: replace files that exist.

    Returns:
        The files written.

    Raises:
        ExportError: the name does not fit, a file exists or is the weights themselves, a package is missing, the
            result differs from PyTorch's, or it cannot be stored.
        DeviceError: OpenVINO is not installed.
        WeightsError: the weights are missing or unusable.
    """
    suffix = _SUFFIXES[file_format]
    if path.suffix.lower() != suffix:
        raise ExportError(str(path), f"{file_format} files end in {suffix}", f"Use {path.stem}{suffix}.")
    targets = (path,) if file_format is ExportFormat.ONNX else (path.with_suffix(".bin"), path)
    outputs = [Output(each, str(file_format)) for each in targets]
    check_outputs(outputs, [find_weights(weights)], overwrite=overwrite, kind=ExportError)
    _check_packages(file_format)
    model = load_model(weights)
    described = _description(weights)
    make = _onnx if file_format is ExportFormat.ONNX else _openvino
    contents, run = make(model, described)
    _compare(model, run, path)
    _store(targets, contents)
    return targets


class _Restoring(nn.Module):
    """The network as other runtimes get it: N×3×H×W, RGB, 0..1, in and out."""

    def __init__(self, model: DPENet) -> None:
        super().__init__()
        self._model = model

    def forward(self, rainy: Tensor) -> Tensor:
        restored: Tensor = self._model(rainy).restored
        return restored.clamp(0.0, 1.0)


def _check_packages(file_format: ExportFormat) -> None:
    if file_format is ExportFormat.OPENVINO:
        import_openvino()
        return
    for name in ("onnx", "onnxruntime"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            step = f"Run: {pip_install('export')}"
            raise ExportError("format onnx", f"the package {name} cannot be imported ({error})", step) from error


def _description(weights: str) -> dict[str, str]:
    """What the file says of itself."""
    card = read_card(weights)
    texts = {"producer": f"dpenet {__version__}", "weights": card.name, "licence": card.licence, "interface": INTERFACE}
    return {key: text for key, text in texts.items() if text}


def _onnx(model: DPENet, description: dict[str, str]) -> tuple[tuple[bytes, ...], _Runner]:
    onnx, onnxruntime = (importlib.import_module(name) for name in ("onnx", "onnxruntime"))
    axes = {2: "height", 3: "width"}
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the newer exporter wants one more package
        torch.onnx.export(
            _Restoring(model).eval(),
            (_example(),),
            file,  # type: ignore[arg-type]  # this exporter takes a file too
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: axes, OUTPUT: axes},
        )
    graph = onnx.load_model_from_string(file.getvalue())
    onnx.helper.set_model_props(graph, description)
    graph.doc_string = INTERFACE
    onnx.checker.check_model(graph, full_check=True)
    content: bytes = graph.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return (content,), lambda rainy: session.run([OUTPUT], {INPUT: rainy})[0]


def _openvino(model: DPENet, description: dict[str, str]) -> tuple[tuple[bytes, ...], _Runner]:
    openvino = import_openvino()
    graph = trace(_Restoring(model).eval(), (_example(),), ([1, 3, -1, -1],))
    graph.inputs[0].get_tensor().set_names({INPUT})
    graph.outputs[0].get_tensor().set_names({OUTPUT})
    for key, text in description.items():
        graph.set_rt_info(text, ["dpenet", key])
    with tempfile.TemporaryDirectory(prefix="dpenet-") as folder:
        xml = Path(folder) / "network.xml"
        openvino.save_model(graph, xml, compress_to_fp16=False)
        contents = xml.with_suffix(".bin").read_bytes(), xml.read_bytes()
    read = one_core().read_model(contents[1], contents[0])
    compiled = one_core().compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return contents, lambda rainy: compiled({INPUT: rainy})[OUTPUT]


def _example() -> Tensor:
    return torch.zeros(1, 3, 16, 16)


def _compare(model: DPENet, run: _Runner, path: Path) -> None:
    """Run the exported network beside PyTorch's.

    Raises:
        ExportError: they differ.
    """
    reference = _Restoring(model)
    rng = np.random.default_rng(0)
    for height, width in _CHECKED_SIZES:
        rainy = rng.random((1, 3, height, width), dtype=np.float32)
        with torch.inference_mode():
            expected = reference(torch.from_numpy(rainy)).numpy()
        found: Any = run(rainy)
        if found.shape != expected.shape or not np.abs(found - expected).max() <= _TOLERANCE:  # `not`: NaN too
            why = f"at {width}×{height} it does not give what PyTorch does"
            raise ExportError(str(path), why, "Nothing was written. Please report it, with `dpenet doctor`.")


def _store(targets: tuple[Path, ...], contents: tuple[bytes, ...]) -> None:
    """Write the files; if one cannot be written, those before it are what they were."""
    written: list[tuple[Path, bytes | None]] = []
    try:
        for target, content in zip(targets, contents, strict=True):
            before = target.read_bytes() if target.exists() else None
            write_whole(target, content)
            written.append((target, before))
    except BaseException as error:
        for target, before in written:
            with contextlib.suppress(OSError):  # the first error is the one to report
                target.unlink() if before is None else write_whole(target, before)
        if not isinstance(error, OSError):
            raise
        why = f"it cannot be written ({error.strerror or error})"
        step = "Choose a folder that exists and that you may write to."
        raise ExportError(str(targets[-1]), why, step) from error
