"""Which backend serves: the fastest that is here, the one that was asked for, and a word about what is missing."""

import importlib.util
import logging
import os
import sys

import numpy as np
import pytest
import torch
from conftest import TINY, dpenet, lively_model, picture
from PIL import Image

from dpenet_cli import EngineOptions
from dpenet_cli.errors import DeviceError, OptionError
from dpenet_cli.inference import select
from dpenet_cli.inference.openvino import OpenVINOBackend
from dpenet_cli.inference.torch import TorchBackend
from dpenet_cli.options import Runtime
from dpenet_cli.system.devices import cpu_has_bf16


@pytest.mark.skipif(not select.is_installed(), reason="OpenVINO is not installed")
def test_auto_takes_openvino_where_it_was_measured_to_be_faster(monkeypatch):
    monkeypatch.setattr(select.platform, "machine", lambda: "x86_64")
    model = lively_model(TINY)

    def chosen(**options):
        return type(select.select_backend(model, EngineOptions(**{"device": "cpu"} | options))[0])

    assert chosen() is OpenVINOBackend
    assert chosen(backend="torch") is TorchBackend
    assert chosen(backend="openvino") is OpenVINOBackend
    if not cpu_has_bf16():
        assert chosen(precision="bf16") is TorchBackend
    monkeypatch.setattr(select.platform, "machine", lambda: "arm64")
    assert chosen() is TorchBackend
    assert chosen(backend="openvino") is OpenVINOBackend
    monkeypatch.setattr(select, "resolve_device", lambda _: torch.device("cuda:0"))
    with pytest.raises(OptionError, match="--device cpu"):
        select.select_backend(model, EngineOptions(device="cuda", backend="openvino"))


def test_the_missing_extra_is_named_where_it_would_help(monkeypatch):
    monkeypatch.setattr(select.platform, "machine", lambda: "x86_64")
    options = EngineOptions(device="cpu")
    monkeypatch.setattr(select, "is_installed", lambda: True)
    assert select.hint(options) == ""
    monkeypatch.setattr(select, "is_installed", lambda: False)
    assert 'pip install "openvino>=' in select.hint(options)
    assert select.hint(EngineOptions(device="cpu", backend="torch")) == ""
    monkeypatch.setattr(select.platform, "machine", lambda: "arm64")
    assert select.hint(options) == ""


def test_openvino_that_does_not_load_is_no_reason_to_stop(monkeypatch, caplog):
    monkeypatch.setattr(select.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(select, "is_installed", lambda: True)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with caplog.at_level(logging.WARNING, "dpenet_cli"):
        backend, fallback = select.select_backend(lively_model(TINY), EngineOptions(device="cpu"))
    assert (type(backend), fallback) == (TorchBackend, None)
    assert "PyTorch serves" in caplog.text
    with pytest.raises(DeviceError, match='pip install "openvino>='):
        select.select_backend(lively_model(TINY), EngineOptions(device="cpu", backend="openvino"))


@pytest.mark.skipif(
    not select.is_installed() or not select.openvino_is_faster(EngineOptions()), reason="torch serves here"
)
def test_the_command_uses_it_and_does_as_told(tmp_path, tiny_weights):
    Image.fromarray(picture(40, 60)).save(tmp_path / "a.png")
    results = []
    for backend in Runtime:
        options = ("--backend", backend, "--weights", tiny_weights, "--precision", "fp32")
        run = dpenet("derain", "a.png", "-o", f"{backend}.png", *options, cwd=tmp_path)
        assert run.returncode == 0, run.stderr
        assert ("OpenVINO" in run.stderr) == (backend is not Runtime.TORCH)
        results.append(np.asarray(Image.open(tmp_path / f"{backend}.png")).astype(int))
    assert np.array_equal(results[0], results[2])
    assert np.abs(results[0] - results[1]).max() <= 1  # fp32's rounding, at a half


def test_the_line_about_the_missing_extra_is_one_and_can_be_silenced(tmp_path, tiny_weights):
    """A folder that hides OpenVINO stands for a machine without it."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util, platform\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'openvino' else find(name, *rest)\n"
        "platform.machine = lambda: 'x86_64'\n"
    )
    for name in "ab":
        Image.fromarray(picture(20, 30)).save(tmp_path / f"{name}.png")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}

    def told(*options):
        common = ("--weights", tiny_weights, "--device", "cpu", "--overwrite")
        run = dpenet("derain", "a.png", "b.png", "-o", "out", *common, *options, cwd=tmp_path, env=environment)
        assert run.returncode == 0, run.stderr
        return (run.stdout + run.stderr).count('pip install "openvino>=')

    assert told() == 1
    assert told("-q") == 0
    assert told("--json") == 0
    assert importlib.util.find_spec("conftest")  # this process is as it was
