"""Exports: what other runtimes compute from the files, what the files say, and that there is a whole file or none."""

import sys

import numpy as np
import pytest
import torch
from conftest import dpenet

from dpenet_cli.errors import DeviceError, ExportError
from dpenet_cli.inference import export as exporting
from dpenet_cli.inference import select
from dpenet_cli.network.checkpoints import load_model
from dpenet_cli.options import ExportFormat


def expected(weights, rainy):
    with torch.inference_mode():
        return load_model(weights)(torch.from_numpy(rainy)).restored.clamp(0, 1).numpy()


def test_onnx_end_to_end(tmp_path, tiny_weights):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    run = dpenet("export", "--format", "onnx", "-o", "net.onnx", "--weights", tiny_weights, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    graph = onnx.load(tmp_path / "net.onnx")
    assert [each.version for each in graph.opset_import] == [exporting.OPSET]
    assert {each.key: each.value for each in graph.metadata_props}["weights"] == "tiny"
    assert "0..1" in graph.doc_string
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    for height, width in ((20, 30), (33, 7)):
        rainy = np.random.default_rng(0).random((1, 3, height, width), dtype=np.float32)
        (found,) = session.run(["restored"], {"rainy": rainy})
        assert np.abs(found - expected(tiny_weights, rainy)).max() <= 1e-3 / 255
    again = dpenet("export", "--format", "onnx", "-o", "net.onnx", "--weights", tiny_weights, cwd=tmp_path)
    assert again.returncode == 2
    assert "exists" in again.stderr


@pytest.mark.skipif(not select.is_installed(), reason="OpenVINO is not installed")
def test_openvino_end_to_end(tmp_path, tiny_weights):
    run = dpenet("export", "--format", "openvino", "-o", "net.xml", "--weights", tiny_weights, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"net.xml", "net.bin"}
    from dpenet_cli.inference.openvino_ir import one_core

    core = one_core()
    graph = core.read_model(tmp_path / "net.xml")
    assert graph.get_rt_info(["dpenet", "weights"]).astype(str) == "tiny"
    compiled = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    rainy = np.random.default_rng(0).random((1, 3, 33, 7), dtype=np.float32)
    assert np.abs(compiled({"rainy": rainy})["restored"] - expected(tiny_weights, rainy)).max() <= 1e-3 / 255


def test_a_file_that_differs_from_pytorch_gets_no_name(tmp_path, tiny_weights, monkeypatch):
    pytest.importorskip("onnxruntime")
    real = exporting._onnx

    def slightly_wrong(model, description):
        content, run = real(model, description)
        return content, lambda rainy: run(rainy) + 1e-4

    monkeypatch.setattr(exporting, "_onnx", slightly_wrong)
    with pytest.raises(ExportError, match="does not give what PyTorch does"):
        exporting.export(str(tiny_weights), tmp_path / "net.onnx", ExportFormat.ONNX)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("before", [None, b"old"])
def test_two_files_or_none(tmp_path, monkeypatch, before):
    targets = tmp_path / "net.bin", tmp_path / "net.xml"
    if before:
        for path in targets:
            path.write_bytes(before)
    real = exporting.write_whole

    def full_disk(path, data):
        if path.suffix == ".xml":
            raise OSError(28, "No space left on device")
        real(path, data)

    monkeypatch.setattr(exporting, "write_whole", full_disk)
    with pytest.raises(ExportError, match="No space left"):
        exporting._store(targets, (b"new", b"new"))
    assert [path.read_bytes() for path in targets if path.exists()] == ([before] * 2 if before else [])


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ExportError, match="onnxruntime.*pip install .onnx>="):
        exporting.export("general", tmp_path / "net.onnx", ExportFormat.ONNX)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(DeviceError, match="pip install .openvino>="):
        exporting.export("general", tmp_path / "net.xml", ExportFormat.OPENVINO)


def test_neither_files_nor_the_weights_are_replaced(tmp_path, tiny_weights):
    network = tmp_path / "net.bin"
    network.write_bytes(tiny_weights.read_bytes())
    with pytest.raises(ExportError, match=r"net\.bin: it exists already.*--overwrite"):
        exporting.export("general", tmp_path / "net.xml", ExportFormat.OPENVINO)
    with pytest.raises(ExportError, match=r"net\.bin: it is an input"):
        exporting.export(str(network), tmp_path / "net.xml", ExportFormat.OPENVINO, overwrite=True)
    (tmp_path / "net.onnx").mkdir()
    with pytest.raises(ExportError, match="it is a folder"):
        exporting.export("general", tmp_path / "net.onnx", ExportFormat.ONNX, overwrite=True)
    assert network.read_bytes() == tiny_weights.read_bytes()


def test_a_name_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ExportError, match=r"Use net\.xml"):
        exporting.export("general", tmp_path / "net.onnx", ExportFormat.OPENVINO)
