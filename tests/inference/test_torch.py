"""PyTorch's backend: precisions, devices, memory, and CUDA beside the CPU."""

import contextlib

import numpy as np
import pytest
import torch
from conftest import TINY, lively_model, picture, sample_picture
from hypothesis import given, settings
from hypothesis import strategies as st
from tiles import FixedTiles, untiled

from dpenet_cli.errors import DeviceError, OptionError
from dpenet_cli.inference.backend import OutOfMemory, TileSize
from dpenet_cli.inference.derainer import Derainer
from dpenet_cli.inference.torch import TorchBackend, _ieee_convolutions
from dpenet_cli.network.checkpoints import load_model
from dpenet_cli.network.model import DPENetConfig
from dpenet_cli.options import EngineOptions, Precision

MODEL = lively_model(DPENetConfig(channels=4, n_ddrb=2, n_erpab=1))
DEEP = lively_model(DPENetConfig(channels=3))  # the paper's depth, so its 181 pixels


def test_sixteen_bit_pictures_run_in_fp32_under_auto():
    backend = TorchBackend(MODEL, "cpu", Precision.AUTO)
    assert backend.precision_for(np.dtype(np.uint16)) is Precision.FP32
    forced = TorchBackend(MODEL, "cpu", Precision.BF16)
    assert forced.precision_for(np.dtype(np.uint16)) is Precision.BF16


def test_bf16_adds_its_residual_in_fp32():
    """A network whose residual is zero returns a 16-bit picture to the last bit, bf16 or not."""
    model = lively_model(TINY)
    for network in (model.r2net, model.drnet):
        network.outconv.weight.zero_()
    rainy = picture(40, 40, np.uint16)
    for size in (TileSize(64, 64), TileSize(64, 8)):
        backend = FixedTiles(model, size)
        backend._wanted = backend._chosen = Precision.BF16
        assert np.array_equal(Derainer(backend, EngineOptions())(rainy), rainy)


@pytest.mark.parametrize(
    ("device", "error"),
    [("gpu", OptionError), ("cuda:x", OptionError), ("cuda:99", DeviceError), ("cpu:1", OptionError)],
)
def test_unknown_devices_are_refused(device, error):
    with pytest.raises(error):
        TorchBackend(MODEL, device, Precision.AUTO)


def test_fp16_is_refused_on_a_cpu():
    with pytest.raises(DeviceError, match="needs a CUDA device"):
        TorchBackend(MODEL, "cpu", EngineOptions(precision="fp16").precision)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("CUDA error: out of memory"), OutOfMemory),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), OutOfMemory),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), OutOfMemory),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"), OutOfMemory),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), OutOfMemory),
        (MemoryError(), OutOfMemory),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), DeviceError),
    ],
)
def test_what_devices_say_is_understood(monkeypatch, error, expected):
    def fail(*_):
        raise error

    backend = TorchBackend(lively_model(TINY), "cpu", Precision.FP32)
    monkeypatch.setattr(backend, "_upload", fail)
    for band_rows in (8, 100):
        with pytest.raises(expected):
            list(backend.clean(picture(20, 20), band_rows, Precision.FP32, 1.0))


@settings(max_examples=50, deadline=None)
@given(
    height=st.integers(1, 20000),
    width=st.integers(1, 60000),
    free=st.integers(2**20, 2**37),
    columns=st.one_of(st.none(), st.integers(1, 10000)),
    precision=st.sampled_from([Precision.FP32, Precision.FP16]),
)
def test_tiles_on_cuda_fit_the_free_memory(height, width, free, columns, precision):
    backend = TorchBackend(DEEP, "cpu", Precision.FP32)
    backend.device = torch.device("cuda:0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 2**37))
        patch.setattr(torch.cuda, "memory_reserved", lambda _: 0)
        patch.setattr(torch.cuda, "memory_allocated", lambda _: 0)
        size = backend.tile_size(height, width, precision, columns)
    assert 1 <= size.columns <= min(width, columns or width)
    assert size.band_rows >= 1
    span = min(size.columns + 2 * DEEP.receptive_radius, width)
    value = 3 * (4 if precision is Precision.FP32 else 2)  # three channels in this network
    if size.columns > 1:  # where even one column is too much, running out of memory tells
        stored = 0 if size.band_rows >= height else 48 * 13
        assert (
            span * (12 * min(size.band_rows, height) + stored) * value
            <= free + 12 * 64 * 362 * value + 362 * stored * value
        )


def test_ieee_single_is_asked_of_cudnn_and_nothing_else_changes():
    convolutions = torch.backends.cudnn.conv
    before = convolutions.fp32_precision
    with contextlib.ExitStack() as one, contextlib.ExitStack() as another:  # threads that overlap
        one.enter_context(_ieee_convolutions)
        another.enter_context(_ieee_convolutions)
        one.close()
        assert convolutions.fp32_precision == "ieee"
    assert convolutions.fp32_precision == before


def test_the_callers_code_runs_outside_inference_mode_and_autocast():
    backend = FixedTiles(lively_model(TINY), TileSize(64, 8))
    backend._wanted = backend._chosen = Precision.BF16
    seen = []

    def progress(_):
        seen.append((torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")))

    Derainer(backend, EngineOptions())(picture(40, 40), progress)
    assert set(seen) == {(False, False)}


no_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@no_cuda
def test_cuda_equals_the_cpu_in_fp32():
    """In 16 bits, whose rounding is 1/257 of a grey level: in 8 bits a tie may round either way."""
    rainy = picture(300, 500).astype(np.uint16) * 257
    model = lively_model(DPENetConfig())
    on_gpu = Derainer(TorchBackend(model, "cuda", Precision.FP32), EngineOptions())(rainy)
    assert np.abs(on_gpu - untiled(lively_model(DPENetConfig()), rainy)).max() / 257 <= 0.1


@pytest.mark.parametrize(
    ("device", "precision", "levels"),
    [
        ("cpu", Precision.BF16, 9.0),
        pytest.param("cuda", Precision.BF16, 9.0, marks=no_cuda),
        pytest.param("cuda", Precision.FP16, 1.0, marks=no_cuda),
    ],
)
def test_reduced_precision_is_near_fp32(device, precision, levels):
    """By real weights on a real picture: the random network on noise amplifies rounding a thousandfold.

    On the CPU, under autocast, parts of the sample differ by 0.31 grey levels in fp16 and by 3.0 in bf16 at most; three
    times that is allowed, for a GPU sums in another order.
    """
    rainy = sample_picture()[50:146, 100:260].astype(np.uint16) * 257
    reduced = Derainer(TorchBackend(load_model("general"), device, precision), EngineOptions())(rainy)
    assert np.abs(reduced - untiled(load_model("general"), rainy)).max() / 257 <= levels
