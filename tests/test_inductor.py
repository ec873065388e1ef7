"""Compiled blocks on a CPU: only in long jobs, only if they are faster and give the same; and they do give the same."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import lively_model
from hypothesis import given, settings
from hypothesis import strategies as st

from dpenet_cli import EngineOptions, Precision
from dpenet_cli.backends import TileSize, inductor
from dpenet_cli.backends.bands import BandFlow
from dpenet_cli.backends.inductor import CompiledBlocks, LongJob
from dpenet_cli.backends.kept import BandBlock
from dpenet_cli.backends.sliding import BlockFlow
from dpenet_cli.backends.torch import TorchBackend
from dpenet_cli.derainer import Derainer
from dpenet_cli.model import DPENetConfig

MODEL = lively_model(DPENetConfig(channels=4, n_ddrb=2, n_erpab=1))
BLOCKS = 3


@pytest.fixture(scope="module", autouse=True)
def private_folders(tmp_path_factory):
    """What the compilers are told to use is told by the environment, which later tests hand on to the commands."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
            patch.setenv(name, str(tmp_path_factory.mktemp("compiled")))
        patch.setenv("TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS", "0")
        yield


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """Time that passes by a second for each band that a plain block is given."""
    clock = Clock()
    plain = BandFlow.block

    def block(self, block, rows):
        clock.now += 1.0
        return plain(self, block, rows)

    monkeypatch.setattr(BandFlow, "block", block)
    return clock


def uncompiled(monkeypatch, clock=None, seconds=0.0, factor=1.0):
    """Let blocks that would be compiled run as they are: in so many seconds, with so many times the right result."""

    def runner(block, ledger):
        def infer(inputs, outputs):
            if clock is not None:
                clock.now += seconds
            for place, result in zip(outputs, BandBlock(block, ledger)(*inputs), strict=True):
                place.copy_(result * factor)

        return infer

    monkeypatch.setattr(inductor, "_compiled", runner)


def worked(job, clock, seconds, rows=8, width=20):
    with job.at_work(rows, width):
        clock.now += seconds
    with torch.inference_mode():
        return job.flow(100, rows, width)


def test_blocks_are_compiled_once_a_job_has_shown_to_be_long(monkeypatch, clock):
    uncompiled(monkeypatch, clock, 0.5)
    job = LongJob(MODEL, CompiledBlocks, clock)
    assert type(worked(job, clock, 30.0)) is BandFlow
    assert type(worked(job, clock, 40.0, width=10)) is BandFlow, "another size's time does not count"
    assert type(worked(job, clock, 29.0)) is BandFlow
    assert type(worked(job, clock, 1.0)) is BlockFlow
    before = clock.now
    assert type(worked(job, clock, 0.0)) is BlockFlow
    assert clock.now == before, "they are compared once"


@pytest.mark.parametrize(("seconds", "factor"), [(0.95, 1.0), (1.5, 1.0), (0.5, 1.1)], ids=["even", "slow", "wrong"])
def test_blocks_that_are_no_better_are_dropped(monkeypatch, clock, caplog, seconds, factor):
    caplog.set_level("INFO")
    uncompiled(monkeypatch, clock, seconds, factor)
    job = LongJob(MODEL, CompiledBlocks, clock)
    for _ in range(3):
        assert type(worked(job, clock, 100.0)) is BandFlow
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"compiled, the blocks take {BLOCKS * seconds:.3f} s a band instead of {BLOCKS:.3f} s")
    assert line.endswith("not kept")


def test_without_a_compiler_the_job_goes_on_as_it_is(clock, caplog):
    attempts = []

    def refuse(*size):
        attempts.append(size)
        raise RuntimeError("no C++ compiler\nat all")

    caplog.set_level("INFO")
    job = LongJob(MODEL, refuse, clock)
    for _ in range(3):
        assert type(worked(job, clock, 100.0)) is BandFlow
    assert attempts == [(MODEL, 8, 20)]
    assert caplog.messages == ["the blocks are not compiled: no C++ compiler"]


def test_blocks_stay_for_two_sizes(monkeypatch, clock):
    uncompiled(monkeypatch, clock, 0.1)
    job = LongJob(MODEL, CompiledBlocks, clock)
    assert [type(worked(job, clock, 99.0, width=width)) for width in (10, 20, 30)] == [BlockFlow] * 3
    assert [type(worked(job, clock, 9.0, width=width)) for width in (10, 20, 30)] == [BandFlow, BlockFlow, BlockFlow]


def long_job(size, precision):
    """A backend with tiles of a given size, in the middle of a long job."""

    class FixedTiles(TorchBackend):
        def tile_size(self, height, width, precision, columns):
            return TileSize(min(size.columns, width), size.band_rows)

    backend = FixedTiles(MODEL, "cpu", precision)
    backend._long_job._faster_blocks = lambda rows, width: CompiledBlocks(MODEL, rows, width)
    return backend


def picture(height, width):
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 130), width=st.integers(1, 40), rows=st.integers(1, 70))
def test_a_picture_through_blocks_equals_the_plain_one(height, width, rows):
    rainy = picture(height, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inductor, "_COMPILE_AFTER", 0.0)
        uncompiled(patch)
        backend = long_job(TileSize(64, rows), Precision.BF16)
        found = Derainer(backend, EngineOptions())(rainy).astype(int)
    plain = TorchBackend(MODEL, "cpu", Precision.BF16)
    expected = Derainer(plain, EngineOptions())(rainy).astype(int)
    assert np.abs(found - expected).max() <= 2, "bf16 rounds where bands are cut"
    assert np.abs(found - expected).mean() <= 0.2


def test_fp32_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(inductor, "_COMPILE_AFTER", 0.0)
    backend = long_job(TileSize(64, 8), Precision.FP32)
    Derainer(backend, EngineOptions())(picture(40, 30))
    assert backend._long_job._blocks == {}


COMPILING = """
import numpy as np
from test_inductor import MODEL, picture
from dpenet_cli import EngineOptions, Precision
from dpenet_cli.backends import TileSize, inductor
from dpenet_cli.backends.torch import TorchBackend
from dpenet_cli.derainer import Derainer

inductor._COMPILE_AFTER = 0.0
inductor._WORTH = 1e9
rainy = picture(60, 24)
plain = Derainer(TorchBackend(MODEL, "cpu", Precision.BF16), EngineOptions())(rainy).astype(int)
backend = TorchBackend(MODEL, "cpu", Precision.BF16)
backend.tile_size = lambda height, width, *_: TileSize(width, 16)
compiled = Derainer(backend, EngineOptions())(rainy).astype(int)
assert backend._long_job._blocks[16, 24] is not None
assert np.abs(compiled - plain).max() <= 2
assert np.abs(compiled - plain).mean() <= 0.2
"""


@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++", "cl"))), reason="no C++ compiler here")
def test_compiled_blocks_equal_the_plain_ones(tmp_path):
    """With the real compiler, and its own comparison; what it stores goes to the user's cache alone."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TORCHINDUCTOR", "TRITON"))}
    here = {
        "TMPDIR": str(temporary),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PYTHONPATH": str(Path(__file__).parent),
    }
    subprocess.run([sys.executable, "-c", COMPILING], env=kept | here, check=True)
    assert not list(temporary.iterdir())
    if sys.platform == "linux":
        assert list((tmp_path / "cache/dpenet/compiled/inductor").iterdir())
