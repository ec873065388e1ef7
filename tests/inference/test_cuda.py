"""Frames in batches through a device that works through queues; the one here is as lazy as it is allowed to be."""

import random

import numpy as np
import pytest
import torch
from conftest import lively_model, picture, sample_picture
from hypothesis import given, settings
from hypothesis import strategies as st
from queues import Clock, HastyQueue, InBatches, LazyQueue, Queues

from dpenet_cli.inference.backend import BatchBackend, NonFinite, OutOfMemory
from dpenet_cli.inference.cuda import FramePipeline, RepeatedStep, compile_step
from dpenet_cli.inference.derainer import Derainer
from dpenet_cli.inference.frame_batches import IN_FLIGHT
from dpenet_cli.inference.openvino import OpenVINOBackend
from dpenet_cli.inference.torch import TorchBackend
from dpenet_cli.network.checkpoints import load_model
from dpenet_cli.network.model import WHOLE, DPENetConfig
from dpenet_cli.options import EngineOptions, Precision

TINY = DPENetConfig(channels=3, n_ddrb=1, n_erpab=1)


def inverted(rainy):
    return (255 - rainy if rainy.dtype == torch.uint8 else 65535 - rainy.to(torch.int32)), torch.tensor(True)


@pytest.mark.parametrize("kind", [LazyQueue, HastyQueue])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_batches_come_back_whole_and_to_their_frames(kind, dtype):
    pipeline = FramePipeline(Queues(kind), inverted, (3, 4, 5, 3), np.dtype(dtype))
    rng = np.random.default_rng(0)
    peak = np.iinfo(dtype).max
    for counts in ((3, 3), (1, 2), (3, 3)):
        pair = [rng.integers(0, peak, (count, 4, 5, 3), dtype, endpoint=True) for count in counts]
        pending = [pipeline.submit(list(batch)) for batch in pair]
        for batch, wait in zip(pair, pending, strict=True):
            clean = wait()
            assert len(clean) == len(batch)
            assert all(np.array_equal(after, peak - before) for before, after in zip(batch, clean, strict=True))
            assert all(after.dtype == dtype for after in clean)


def test_batches_may_be_waited_for_in_any_order_and_keep_their_pixels():
    pipeline = FramePipeline(Queues(), inverted, (1, 4, 5, 3), np.dtype(np.uint8))
    frames = [picture(4, 5, seed=number) for number in range(12)]
    pending = [(frame, pipeline.submit([frame])) for frame in frames]
    random.Random(1).shuffle(pending)
    cleaned = [(frame, wait()[0]) for frame, wait in pending]
    for frame, clean in cleaned:
        assert np.array_equal(clean, 255 - frame)


def test_what_is_not_finite_is_told_and_the_next_batch_is_right():
    finite = iter([False, True])
    pipeline = FramePipeline(
        Queues(), lambda rainy: (rainy, torch.tensor(next(finite))), (1, 4, 5, 3), np.dtype(np.uint8)
    )
    with pytest.raises(NonFinite):
        pipeline.submit([picture(4, 5)])()
    assert np.array_equal(pipeline.submit([picture(4, 5)])()[0], picture(4, 5))


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.sampled_from([(5, 7), (6, 4)]), st.booleans()), max_size=14),
    together=st.integers(0, 4),
    strength=st.sampled_from([1.0, 0.6]),
    kind=st.sampled_from([LazyQueue, HastyQueue]),
)
def test_a_stream_in_batches_equals_its_pictures(sizes, together, strength, kind):
    frames = [
        picture(*size, seed=number).astype(np.uint16) * 257 if deep else picture(*size, seed=number)
        for number, (size, deep) in enumerate(sizes)
    ]
    options = EngineOptions(strength=strength)
    backend = InBatches(lively_model(TINY), together, kind)
    clean = list(Derainer(backend, options).stream(frames))
    single = Derainer(TorchBackend(lively_model(TINY), "cpu", Precision.FP32), options)
    assert len(clean) == len(frames)
    for before, after in zip(frames, clean, strict=True):
        assert after.dtype == before.dtype
        expected = single(before)
        assert np.abs(after.astype(int) - expected.astype(int)).max() <= 1  # other sums in other batches
    assert bool(backend.submitted) == bool(frames and together)
    assert all(count <= together for count in backend.submitted)


def test_a_stream_takes_no_more_than_it_says():
    backend = InBatches(lively_model(TINY), 3)
    taken = []
    frames = (taken.append(number) or picture(5, 7, seed=number) for number in range(40))
    stream = Derainer(backend, EngineOptions()).stream(frames)
    next(stream)
    assert len(taken) == (1 + IN_FLIGHT) * 3
    assert len(list(stream)) == 39


@pytest.mark.parametrize("where", ["submit", "finish"])
def test_a_stream_goes_on_one_by_one_when_memory_runs_out(where, monkeypatch, caplog):
    backend = InBatches(lively_model(TINY), 2)
    engine = Derainer(backend, EngineOptions())
    frames = [picture(5, 7, seed=number) for number in range(9)]
    whole = InBatches.submit

    def full(self, frames, *how):
        if len(self.submitted) < 2:
            return whole(self, frames, *how)
        if where == "submit":
            raise OutOfMemory("no more")
        self.submitted.append(len(frames))

        def wait():
            raise OutOfMemory("no more")

        return wait

    monkeypatch.setattr(InBatches, "submit", full)
    clean = list(engine.stream(frames))
    assert "one by one" in caplog.text
    assert len(backend.submitted) <= 2 + (1 + IN_FLIGHT) * (where == "finish")
    for before, after in zip(frames, clean, strict=True):
        assert np.abs(after.astype(int) - engine(before).astype(int)).max() <= 1
    before = len(backend.submitted)
    assert len(list(engine.stream(frames))) == 9
    assert len(backend.submitted) == before  # it is not tried again


def test_frames_that_are_not_finite_in_a_batch_are_run_again(monkeypatch):
    backend = InBatches(lively_model(TINY), 2)
    whole = InBatches.submit

    def overflows(self, frames, *how):
        pending = whole(self, frames, *how)

        def overflow():
            pending()
            raise NonFinite("too bright")

        return overflow if len(self.submitted) == 2 else pending

    monkeypatch.setattr(InBatches, "submit", overflows)
    frames = [picture(5, 7, seed=number) for number in range(8)]
    engine = Derainer(backend, EngineOptions())
    for before, after in zip(frames, engine.stream(frames), strict=True):
        assert np.abs(after.astype(int) - engine(before).astype(int)).max() <= 1


def test_the_memory_for_batches_is_made_once_for_a_video_and_its_last_frames():
    backend = InBatches(lively_model(TINY), 3)
    engine = Derainer(backend, EngineOptions())
    list(engine.stream(picture(5, 7, seed=number) for number in range(8)))
    first = backend._pipeline
    list(engine.stream(picture(5, 7, seed=number) for number in range(1)))
    assert backend.submitted == [3, 3, 2, 1]
    assert backend._pipeline is first
    list(engine.stream(picture(7, 5, seed=number) for number in range(1)))
    assert backend._pipeline is not first
    engine(picture(5, 7))
    assert backend._pipeline is None  # a picture that comes alone has all the memory


def test_a_stream_that_is_left_gives_its_memory_back():
    backend = InBatches(lively_model(TINY), 2)
    engine = Derainer(backend, EngineOptions())
    for _ in range(5):
        stream = engine.stream(picture(5, 7, seed=number) for number in range(30))
        next(stream)
        stream.close()
    assert len(backend._pipeline._free) == 1 + IN_FLIGHT


def test_only_devices_that_like_batches_get_them():
    backend = TorchBackend(lively_model(TINY), "cpu", Precision.FP32)
    assert isinstance(backend, BatchBackend)
    assert backend.frames_at_once(480, 640, Precision.FP32) == 0
    assert not hasattr(OpenVINOBackend, "frames_at_once")


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 5000), width=st.integers(1, 9000), free=st.integers(2**20, 2**37))
def test_batches_on_cuda_fit_the_free_memory(height, width, free):
    backend = TorchBackend(lively_model(DPENetConfig()), "cpu", Precision.FP32)
    backend.device = torch.device("cuda:0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 2**37))
        patch.setattr(torch.cuda, "memory_reserved", lambda _: 0)
        patch.setattr(torch.cuda, "memory_allocated", lambda _: 0)
        count = backend.frames_at_once(height, width, Precision.FP16)
    assert 0 <= count <= 16
    assert count * height * width * 12 * 32 * 2 <= free
    if free == 2**37 and height * width < 2**22:
        assert count >= 1


def timed(clock, seconds, change=0):
    """A step that takes so long, and whose result is so many levels off."""

    def step(rainy):
        clock.now += seconds
        return rainy + change, torch.tensor(True)

    return step


def repeated(clock, *, compiled_step, capture=None):
    events = []

    def capturing(step, example):
        events.append("captured")
        return step if capture is None else capture(step, example)

    def compiling(step):
        events.append("compiled")
        return compiled_step

    step = timed(clock, 1.0)
    return RepeatedStep(step, capturing, compiling, clock), events


BATCH = torch.zeros((1, 2, 2, 3), dtype=torch.uint8)


def test_a_step_is_captured_soon_and_compiled_after_a_minute():
    clock = Clock()
    run, events = repeated(clock, compiled_step=timed(clock, 0.25))
    for _ in range(2):
        run(BATCH)
    assert events == []
    run(BATCH)
    assert events == ["captured"]
    for _ in range(59):
        run(BATCH)
    assert events == ["captured"]
    run(BATCH)
    assert events == ["captured", "compiled", "captured"]
    before = clock.now
    for _ in range(100):
        run(BATCH)
    assert clock.now - before == pytest.approx(25.0)
    assert events == ["captured", "compiled", "captured"]


@pytest.mark.parametrize(("seconds", "change"), [(1.5, 0), (0.25, 2)], ids=["slower", "another picture"])
def test_a_compiled_step_that_is_no_better_is_dropped(seconds, change):
    clock = Clock()
    run, events = repeated(clock, compiled_step=timed(clock, seconds, change))
    for _ in range(90):
        result, _ = run(BATCH)
    assert events.count("compiled") == 1
    assert not result.any()
    before = clock.now
    run(BATCH)
    assert clock.now - before == 1.0


def test_what_cannot_be_captured_or_compiled_goes_on_as_it_is(caplog):
    clock = Clock()

    def refuse(*_):
        raise RuntimeError("not here\nat all")

    def broken(rainy):
        raise ValueError("no compiler")

    caplog.set_level("INFO")
    run, _ = repeated(clock, compiled_step=broken, capture=refuse)
    for _ in range(80):
        result, finite = run(BATCH)
    assert finite
    assert torch.equal(result, BATCH)
    assert "not captured as a CUDA graph: not here" in caplog.text
    assert "not compiled: no compiler" in caplog.text


@pytest.mark.long
def test_a_compiled_step_equals_the_plain_one(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    backend = TorchBackend(lively_model(DPENetConfig()), "cpu", Precision.FP32)

    def step(rainy):
        return backend._step(rainy, rows=24, schedule=WHOLE, precision=Precision.FP32, strength=0.7)

    rainy = torch.from_numpy(np.stack([picture(24, 40, seed=number) for number in range(2)]))
    expected, found = step(rainy), compile_step(step)(rainy)
    assert (expected[0].int() - found[0].int()).abs().max() <= 1
    assert found[1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_stream_on_cuda_equals_its_pictures():
    """By real weights on a real picture: the random network above amplifies rounding a thousandfold, and a batch's
    kernels round in another order than those of a single picture."""
    engine = Derainer(TorchBackend(load_model("general"), "cuda", Precision.FP16), EngineOptions())
    sample = sample_picture()
    frames = [np.ascontiguousarray(sample[number : number + 96, 2 * number : 2 * number + 160]) for number in range(40)]
    for before, after in zip(frames, engine.stream(frames), strict=True):
        assert np.abs(after.astype(int) - engine(before).astype(int)).max() <= 1
