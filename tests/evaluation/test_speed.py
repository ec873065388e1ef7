"""Timing: the reference first, ratios to it, useful operations, medians of turns."""

import json
import subprocess
import sys

import pytest
import torch
from conftest import TINY, dpenet, lively_model

from dpenet_cli.errors import OptionError
from dpenet_cli.evaluation import speed
from dpenet_cli.evaluation.methods import network_cost
from dpenet_cli.evaluation.speed import REFERENCE, Size, SpeedOptions, TimedMethod, parse_size, time_methods
from dpenet_cli.inference import select
from dpenet_cli.inference.derainer import Derainer
from dpenet_cli.options import Precision
from dpenet_cli.system.devices import cpu_has_bf16


@pytest.fixture(autouse=True)
def small_products(monkeypatch):
    monkeypatch.setattr(speed, "_MATRIX_SIDES", {"cpu": 128})


def test_every_method_of_this_machine_is_timed_against_the_reference(tiny_weights):
    sizes = (Size(40, 30), Size(32, 32))
    timings = list(time_methods(SpeedOptions(str(tiny_weights), sizes, "cpu", repeats=3)))
    precisions = ["fp32"] + ["bf16"] * cpu_has_bf16()
    runtimes = ["cpu"] + ["cpu, OpenVINO"] * select.is_installed()
    methods = [REFERENCE, *(f"dpenet: {runtime}, {precision}" for runtime in runtimes for precision in precisions)]
    assert [(timing.method, timing.size) for timing in timings] == [
        (method, size) for size in sizes for method in methods
    ]
    macs = network_cost(lively_model(TINY)).macs_per_pixel
    for timing in timings:
        pixels = timing.size.width * timing.size.height
        assert timing.gflops == pytest.approx(2 * macs * pixels / timing.seconds / 1e9)
        assert timing.megapixels_per_second == pytest.approx(pixels / timing.seconds / 1e6)
        assert timing.spread[0] <= timing.seconds <= timing.spread[1]
        assert timing.matrix_gflops > 0
        reference = next(t for t in timings if t.size == timing.size)
        assert timing.ratio == pytest.approx(reference.seconds / timing.seconds)


def test_a_gpu_is_also_given_frames_ahead(tiny_weights, monkeypatch):
    monkeypatch.setattr(Derainer, "on_gpu", True)
    timings = list(time_methods(SpeedOptions(str(tiny_weights), (Size(16, 12),), "cpu", repeats=1)))
    videos = [timing.method for timing in timings if timing.method.endswith(", frames of a video")]
    assert videos == [f"{timing.method}, frames of a video" for timing in timings[1::2]]


def test_each_frame_counts_once(monkeypatch):
    ticks = iter(range(100))
    monkeypatch.setattr(speed.time, "perf_counter", lambda: 8.0 * next(ticks))
    methods = [TimedMethod("one", Precision.FP32, list), TimedMethod("video", Precision.FP32, list, pictures=4)]
    assert speed._take_turns(methods, 2) == {"one": [8.0, 8.0], "video": [2.0, 2.0]}


def test_methods_take_turns_and_the_median_counts():
    order = []
    methods = [TimedMethod(name, Precision.FP32, lambda name=name: order.append(name)) for name in "ab"]
    seconds = speed._take_turns(methods, 3)
    assert order == list("ababab")
    assert {name: len(runs) for name, runs in seconds.items()} == {"a": 3, "b": 3}


def test_a_method_that_runs_out_of_memory_is_told_and_the_others_go_on(tiny_weights, monkeypatch):
    def hungry(weights, picture, device):
        def run():
            raise torch.OutOfMemoryError("no memory left")

        return TimedMethod(REFERENCE, Precision.FP32, run)

    monkeypatch.setattr(speed, "reference_method", hungry)
    first, *others = time_methods(SpeedOptions(str(tiny_weights), (Size(32, 32),), "cpu", repeats=1))
    assert (first.seconds, first.problem) == (None, "no memory left")
    assert others
    assert all(timing.seconds and timing.ratio is None for timing in others)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is told by Linux alone")
def test_the_peak_of_memory_is_that_of_the_work():
    """In a process of its own: what other tests left behind is freed when it likes."""
    code = (
        "import numpy as np, torch\n"
        "from dpenet_cli.evaluation.speed import peak_bytes, reset_peak\n"
        "cpu = torch.device('cpu')\n"
        "earlier = np.ones(200_000_000, np.uint8)\n"
        "del earlier\n"
        "reset_peak(cpu)\n"
        "before = peak_bytes(cpu)\n"
        "block = np.ones(50_000_000, np.uint8)\n"
        "assert 40_000_000 < peak_bytes(cpu) - before < 100_000_000, (before, peak_bytes(cpu))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_sizes_are_read():
    assert parse_size("1920x1080") == (1920, 1080)
    for text in ("1920", "0x5", "axb", "-1x5", ""):
        with pytest.raises(OptionError, match="WIDTHxHEIGHT"):
            parse_size(text)


def test_the_command_times(tiny_weights):
    run = dpenet("benchmark", "--speed", "--size", "48x32", "--repeat", "1", "--weights", tiny_weights, "--json")
    fields = json.loads(run.stdout)
    assert fields["timings"][0]["ratio"] == 1.0
    assert fields["timings"][0]["way"] == fields["timings"][0]["method"] == REFERENCE
    assert "PyTorch" in fields["device"]
    wrong = dpenet("benchmark", "--speed", "--dataset", "demo")
    assert (wrong.returncode, "scores none" in wrong.stderr) == (2, True)
