"""OpenVINO: equal to PyTorch and to itself at any cut, silent towards its makers, cached, replaceable."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, lively_model, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from tiles import untiled

from dpenet_cli import EngineOptions, Precision
from dpenet_cli.errors import DeviceError, OptionError, WeightsError
from dpenet_cli.inference import openvino_ir, select
from dpenet_cli.inference.backend import BackendFailed, TileSize
from dpenet_cli.inference.block_streaming import BlockGraph, BlockStream
from dpenet_cli.inference.derainer import Derainer
from dpenet_cli.inference.tiling import plan
from dpenet_cli.inference.torch import TorchBackend
from dpenet_cli.network.model import DPENetConfig
from dpenet_cli.system.devices import cpu_has_bf16

MODEL = lively_model(DPENetConfig(channels=4, n_ddrb=2, n_erpab=1))


openvino = pytest.mark.skipif(not select.is_installed(), reason="OpenVINO is not installed")


@pytest.fixture(scope="module", autouse=True)
def private_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def fixed_tiles(model, size, precision=Precision.FP32):
    """The real backend with tiles of a given size."""
    from dpenet_cli.inference.openvino import OpenVINOBackend

    class FixedTiles(OpenVINOBackend):
        def tile_size(self, height, width, precision, columns):
            return TileSize(min(columns or self.size.columns, width), self.size.band_rows)

    backend = FixedTiles(model, precision)
    backend.size = size
    return backend


@pytest.fixture(scope="module")
def backend(private_cache):
    return fixed_tiles(MODEL, TileSize(64, 16))


@openvino
@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 130),
    width=st.integers(1, 130),
    columns=st.integers(1, 140),
    rows=st.integers(1, 140),
    dtype=st.sampled_from([np.uint8, np.uint16]),
)
def test_tiled_equals_pytorch_untiled(backend, height, width, columns, rows, dtype):
    rainy = picture(height, width, dtype)
    backend.size = TileSize(columns, rows)
    tiled = Derainer(backend, EngineOptions())(rainy)
    slack = 1e-3 * np.iinfo(dtype).max / 255  # a thousandth of an 8-bit grey level
    assert np.abs(tiled - untiled(MODEL, rainy)).max() <= 0.5 + slack


@openvino
def test_odd_shapes_at_the_papers_depth():
    deep = lively_model(DPENetConfig(channels=3))
    backend = fixed_tiles(deep, TileSize(300, 33))
    for height, width in ((1, 1), (1, 700), (700, 1), (230, 30)):
        rainy = picture(height, width)
        tiled = Derainer(backend, EngineOptions())(rainy)
        assert np.abs(tiled - untiled(deep, rainy)).max() <= 0.5 + 1e-3


@openvino
@pytest.mark.parametrize(("height", "width", "strips"), [(3000, 4000, 1), (4000, 6000, 2)])
def test_photographs_cost_a_tenth_more_than_they_must_at_most(monkeypatch, height, width, strips):
    """By the rows that the blocks are given; the columns that strips compute twice are told by the plan."""
    from dpenet_cli.inference.openvino import OpenVINOBackend

    deep = lively_model(DPENetConfig(channels=2))
    size = OpenVINOBackend(deep, Precision.FP32).tile_size(height, width, Precision.FP32, None)
    cut = plan(width, tile=size.columns, halo=deep.receptive_radius)
    rows = []
    run = BlockGraph.run

    def counting(self, *band):
        rows.append(self.rows)
        return run(self, *band)

    monkeypatch.setattr(BlockGraph, "run", counting)
    Derainer(fixed_tiles(deep, size), EngineOptions())(picture(height, 4))
    assert len(cut.strips) == strips
    assert cut.overhead * sum(rows) / (height * 13) <= 1.1


@openvino
def test_bands_hold_memory_that_does_not_grow_with_height():
    from dpenet_cli.inference.openvino import OpenVINOBackend

    backend = OpenVINOBackend(MODEL, Precision.FP32)

    def most_bytes(height):
        """Most bytes that the blocks of a picture have stored at any time, and those that their graphs share."""
        stream = BlockStream(height, lambda block: backend._graph_for(block, 8, 16, Precision.FP32))
        sizes = []
        with torch.inference_mode():
            for _ in range(0, height + MODEL.receptive_radius, 8):
                stream.begin_band()
                MODEL.residual(torch.rand(1, 8, 16, 3).permute(0, 3, 1, 2), stream)
                states = [block.state for block in stream._blocks if block.state]
                stored = [tensor for state in states for tensor in (state.rows, *state.steps)]
                stored += [tensor for graph in backend._graphs.values() for tensor in graph._spare]
                stored += [band for graph in backend._graphs.values() for band in graph._bands]
                stored += [tensor for tensor in stream._state if tensor is not None]
                sizes.append(sum(each.nbytes for each in stored))
        return max(sizes)

    assert most_bytes(2000) == most_bytes(200)


@openvino
def test_networks_for_another_size_are_given_up(backend):
    """They hold the memory that they work in."""
    engine = Derainer(backend, EngineOptions())
    for rows, width, in_memory in ((8, 40, (0, 2)), (8, 30, (0, 2)), (64, 40, (1, 0)), (8, 30, (0, 2))):
        backend.size = TileSize(64, rows)
        rainy = picture(30, width)
        assert np.abs(engine(rainy) - untiled(MODEL, rainy)).max() <= 0.5 + 1e-3
        assert (len(backend._whole), len(backend._graphs)) == in_memory


@openvino
def test_strength(backend):
    rainy = picture(90, 70)
    backend.size = TileSize(99, 16)
    full = Derainer(backend, EngineOptions())(rainy)
    half = Derainer(backend, EngineOptions(strength=0.5))(rainy)
    almost = Derainer(backend, EngineOptions(strength=1e-9))(rainy)
    assert np.array_equal(almost, rainy)
    inside = (full > 0) & (full < 255)  # elsewhere the float was clamped
    assert np.abs(half.astype(float) - (full.astype(float) + rainy) / 2)[inside].max() <= 1.0


@openvino
def test_weights_that_give_no_numbers_are_an_error():
    model = lively_model(TINY)
    model.r2net.outconv.weight.fill_(float("nan"))
    with pytest.raises(WeightsError, match="not numbers"):
        Derainer(fixed_tiles(model, TileSize(64, 64)), EngineOptions())(picture(20, 20))


@openvino
def test_precisions_are_those_that_the_processor_has(monkeypatch):
    from dpenet_cli.inference.openvino import OpenVINOBackend

    chosen = OpenVINOBackend(lively_model(TINY), Precision.AUTO)
    assert chosen.precision_for(np.dtype(np.uint16)) is Precision.FP32
    forced = OpenVINOBackend(lively_model(TINY), Precision.FP32, threads=1)
    made, networks = forced._compiled, []
    monkeypatch.setattr(forced, "_compiled", lambda *args: networks.append(made(*args)) or networks[-1])
    forced._graph_for(forced._model.drnet.erpab[0], 8, 8, Precision.FP32)
    forced._whole_request(Precision.FP32)
    assert len(networks) == 2
    for network in networks:
        assert network.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"
        assert network.get_property("INFERENCE_NUM_THREADS") == 1
    with pytest.raises(DeviceError, match="needs a CUDA device"):
        OpenVINOBackend(lively_model(TINY), Precision.FP16)
    if not cpu_has_bf16():
        with pytest.raises(DeviceError, match="processor"):
            OpenVINOBackend(lively_model(TINY), Precision.BF16)


@openvino
def test_the_cache_serves_and_never_harms(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rainy = picture(30, 40)

    def again(rows=64):
        return Derainer(fixed_tiles(MODEL, TileSize(64, rows)), EngineOptions())(rainy)

    expected, banded = again(), again(rows=8)
    folder = tmp_path / "dpenet" / "openvino"
    files = list(folder.iterdir())
    assert len(files) == 3  # the whole, and one for each kind of block
    assert folder.stat().st_mode & 0o777 == 0o700
    with monkeypatch.context() as patch:  # they are read, not made again
        patch.setattr("dpenet_cli.inference.openvino.convert_whole", None)
        patch.setattr("dpenet_cli.inference.openvino.convert_block", None)
        assert np.array_equal(again(), expected)
        assert np.array_equal(again(rows=8), banded)
        other = lively_model(MODEL.config, seed=1)  # the blocks of other weights run in the same graphs
        found = Derainer(fixed_tiles(other, TileSize(64, 8)), EngineOptions())(rainy)
        assert np.abs(found - untiled(other, rainy)).max() <= 0.5 + 1e-3
    for file in files:
        for damage in (b"", b"short", file.read_bytes()[:-1], file.read_bytes()[:-1] + b"\0"):
            file.write_bytes(damage)
            assert np.array_equal(again(), expected)
            assert np.array_equal(again(rows=8), banded)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    folder.write_text("no folder")  # nothing can be written there, whoever we are
    assert np.array_equal(again(), expected)
    monkeypatch.setattr(
        openvino_ir, "cache_folder", lambda: (_ for _ in ()).throw(OptionError("home", "none", "Set it."))
    )
    assert np.array_equal(again(), expected)


def test_the_fingerprint_depends_on_all_that_counts(monkeypatch):
    weights = MODEL.state_dict()
    first = openvino_ir.fingerprint(weights, "a", "fp32")
    assert first == openvino_ir.fingerprint(lively_model(MODEL.config).state_dict(), "a", "fp32")
    others = [
        openvino_ir.fingerprint(lively_model(MODEL.config, seed=1).state_dict(), "a", "fp32"),
        openvino_ir.fingerprint({name: weight.reshape(-1) for name, weight in weights.items()}, "a", "fp32"),
        openvino_ir.fingerprint({}, "a", "fp32"),
        openvino_ir.fingerprint(weights, "a", "bf16"),
        openvino_ir.fingerprint(weights, "b", "fp32"),
    ]
    monkeypatch.setattr(openvino_ir, "__version__", "next")
    others.append(openvino_ir.fingerprint(weights, "a", "fp32"))
    assert len({first, *others}) == 7


TRAPPED = """
import pathlib, socket, sys
def trap(*arguments, **options):
    with pathlib.Path(sys.argv[1]).open("a") as file:  # reports are sent by a process of their own
        file.write("connection")
    raise OSError("trapped")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = trap
"""
OURS = """
import numpy as np
from conftest import TINY, lively_model
from dpenet_cli import EngineOptions, Precision
from dpenet_cli.inference.openvino import OpenVINOBackend
from dpenet_cli.inference.derainer import Derainer
engine = Derainer(OpenVINOBackend(lively_model(TINY), Precision.FP32), EngineOptions())
engine(np.zeros((8, 8, 3), np.uint8))
assert "openvino" in sys.modules and "openvino_telemetry" not in sys.modules
"""
THEIRS = """
import openvino, openvino_telemetry
openvino_telemetry.Telemetry().force_shutdown(10)
"""


@openvino
def test_nothing_is_sent_and_nothing_is_written_to_the_home_folder(tmp_path):
    """In a child with sockets trapped, consent given, and no CI; OpenVINO by itself shows that the trap works."""
    home = tmp_path / "home"
    consent = home / "intel" / "openvino_telemetry"
    consent.parent.mkdir(parents=True)
    consent.write_text("1")
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    environment |= {"HOME": str(home), "USERPROFILE": str(home), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    sent = tmp_path / "sent"

    def run(code):
        arguments = [sys.executable, "-c", TRAPPED + code, str(sent)]
        result = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr

    run(OURS)
    assert not sent.exists()
    assert [path for path in home.rglob("*") if path.is_file()] == [consent]
    assert consent.read_text() == "1"
    run(THEIRS)
    assert sent.exists()


class Failing(TorchBackend):
    """A backend that fails after its first rows."""

    def tile_size(self, height, width, precision, columns):
        return TileSize(width, 8)

    def clean(self, strip, band_rows, precision, strength):
        yield next(super().clean(strip, band_rows, precision, strength)) // 2  # wrong pixels that must not survive
        raise BackendFailed("it broke")


def test_a_backend_that_fails_is_replaced_for_good(caplog):
    rainy = picture(60, 30)
    failing = Failing(MODEL, "cpu", Precision.FP32)
    engine = Derainer(failing, EngineOptions(), lambda: TorchBackend(MODEL, "cpu", Precision.FP32))
    with caplog.at_level(logging.WARNING, "dpenet_cli"):
        for _ in range(2):
            assert np.abs(engine(rainy) - untiled(MODEL, rainy)).max() <= 0.5 + 1e-3
    assert len(caplog.records) == 1
    with pytest.raises(DeviceError, match=r"it broke.*--backend"):
        Derainer(failing, EngineOptions())(rainy)


@openvino
@pytest.mark.parametrize(
    ("message", "expected"),
    [("std::bad_alloc", "OutOfMemory"), ("Check failed at a.cpp:1:\nno such kernel", "BackendFailed")],
)
def test_what_openvino_says_is_understood(backend, monkeypatch, message, expected):
    def fail(*_):
        raise RuntimeError(message)

    monkeypatch.setattr(backend, "_compiled", fail)
    monkeypatch.setattr(backend, "_whole", {})
    monkeypatch.setattr(backend, "_graphs", {})
    with pytest.raises(Exception, match=message.splitlines()[-1]) as caught:
        list(backend.clean(picture(20, 20), 8, Precision.FP32, 1.0))
    assert type(caught.value).__name__ == expected


SIGNALLED = """
import gc, signal
import numpy as np
from dpenet_cli.inference.openvino import OpenVINOBackend
from dpenet_cli.inference.derainer import Derainer
from dpenet_cli.network.model import DPENet, DPENetConfig
from dpenet_cli.options import EngineOptions, Precision

model = DPENet(DPENetConfig(4, 1, 1)).eval().requires_grad_(False)
engines = [Derainer(OpenVINOBackend(model, Precision.FP32), EngineOptions()) for _ in range(3)]
for engine in engines:
    engine(np.zeros((32, 32, 3), np.uint8))
del engine
while engines:
    engines.pop(0)
    gc.collect()
signal.signal(signal.SIGTERM, lambda *_: print("told"))
signal.raise_signal(signal.SIGTERM)
"""


def test_a_signal_after_engines_have_gone_is_survived():
    result = subprocess.run([sys.executable, "-c", SIGNALLED], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "told\n"), result.stderr
