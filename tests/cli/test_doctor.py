"""The doctor: what it tells, what it keeps to itself, and what it advises."""

import importlib
import itertools
import json
import os
import re
import tomllib
from pathlib import Path

import pytest
from conftest import dpenet

from dpenet_cli import __version__
from dpenet_cli.inference.derainer import Derainer

doctor = importlib.import_module("dpenet_cli.cli.doctor")  # the package exports the command under the same name


def test_it_tells_what_a_bug_report_needs():
    facts = json.loads(dpenet("doctor", "--json").stdout)
    assert facts["versions"]["dpenet"] == __version__
    assert facts["versions"]["torch"][0].isdigit()
    assert facts["engine"]["chosen"].startswith(f"{Derainer.load().description}: ")
    assert "libx264" in facts["ffmpeg"]["encoders built in"]
    assert "general" in facts["weights"]["ours"]
    text = dpenet("doctor").stdout
    for part in ("versions", "chosen", "sets found", "to be faster"):
        assert part in text


def test_it_names_everything_that_the_project_depends_on():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [names for extra, names in project["optional-dependencies"].items() if extra != "dev"]
    declared = {re.match(r"[\w.-]+", name)[0] for name in [*project["dependencies"], *itertools.chain(*extras)]}
    assert declared == doctor.gather()["versions"].keys() - {"dpenet", "python", "opencv-python-headless"}


def test_the_home_folder_and_proxies_stay_private(tmp_path):
    environment = os.environ | {
        "HOME": str(tmp_path),
        "HTTPS_PROXY": "http://me:secret@proxy:1",
        "DPENET_DATA": str(tmp_path / "data"),
    }
    environment.pop("XDG_CACHE_HOME", None)
    text = dpenet("doctor", env=environment).stdout
    assert "secret" not in text
    assert str(tmp_path) not in text
    assert "~/data" in text


def test_it_survives_a_machine_without_ffmpeg(monkeypatch):
    import imageio_ffmpeg

    def missing():
        raise RuntimeError("no ffmpeg here")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", missing)
    assert doctor.gather()["ffmpeg"]["path"] == "none that works: no ffmpeg here"


@pytest.mark.parametrize(
    ("description", "part"),
    [
        ("cuda:0 (NVIDIA H200), fp16", "first CUDA device"),
        ("mps, fp32", "Apple"),
        ("cpu, bf16", "multiplies bf16 in hardware"),
        ("cpu, fp32", "bf16 would be slower"),
        ("cpu, OpenVINO, fp32", "OpenVINO is faster than PyTorch"),
    ],
)
def test_the_precision_has_a_reason(description, part):
    assert part in doctor._reason(description)


def test_advice_about_what_to_install(monkeypatch):
    from dpenet_cli.inference import select

    monkeypatch.setattr(select, "openvino_is_faster", lambda _: True)
    monkeypatch.setattr(select, "is_installed", lambda: False)
    assert any('pip install "openvino>=' in line for line in doctor._advice())
    assert "openvino is not installed" in doctor.gather()["engine"]["backends"]
    monkeypatch.setattr(select, "is_installed", lambda: True)
    assert not any('pip install "openvino>=' in line for line in doctor._advice())


def test_advice_about_threads(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert any("OMP_NUM_THREADS=1" in line for line in doctor._advice())
