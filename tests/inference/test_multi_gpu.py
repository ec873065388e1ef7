"""Several engines as one: all of them work at once, nothing is lost when one fails, and the order stays."""

import threading
import time

import numpy as np
import pytest
import torch
from conftest import TINY, as_cleaner, dpenet, lively_model, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from queues import InBatches

from dpenet_cli import EngineOptions, Precision, load
from dpenet_cli.batch.outcomes import Status
from dpenet_cli.batch.pictures import run
from dpenet_cli.batch.planning import plan_pictures
from dpenet_cli.errors import DeviceError, ImageError, OptionError
from dpenet_cli.inference import multi_gpu, select
from dpenet_cli.inference.backend import OutOfMemory
from dpenet_cli.inference.derainer import Derainer
from dpenet_cli.inference.frame_batches import IN_FLIGHT
from dpenet_cli.inference.multi_gpu import MultiGPUDerainer, load_engine
from dpenet_cli.inference.torch import TorchBackend
from dpenet_cli.options import PictureOptions
from dpenet_cli.system.devices import resolve_devices

DEVICES = 3


class Inverting:
    """An engine whose work can be watched."""

    description = "cuda:0 (a card), fp16"
    on_gpu = True

    def __init__(self, work=lambda: None):
        self.work = work
        self.cleaned = 0

    def __call__(self, rainy, progress=None, **_):
        self.work()
        self.cleaned += 1
        return 255 - rainy


def broken():
    raise DeviceError("cuda:1", "it fell off the bus", "Use another device.")


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(12):
        Image.fromarray(picture(5, 7, seed=number)).save(folder / f"{number:02}.png")
    return folder


def cleaned(photos, engine):
    jobs = plan_pictures([str(photos)]).jobs
    outcomes = list(run(jobs, as_cleaner(engine), PictureOptions(workers=4, at_once=engine.at_once)))
    assert [outcome.source for outcome in outcomes] == [str(job.source) for job in jobs]
    return outcomes


def test_all_engines_work_at_once(photos):
    """Each picture waits until there are as many in the network as there are engines."""
    together = threading.Barrier(DEVICES, timeout=60)
    engines = [Inverting(together.wait) for _ in range(DEVICES)]
    for number, outcome in enumerate(cleaned(photos, MultiGPUDerainer(engines))):
        assert outcome.status is Status.DONE
        assert np.array_equal(np.asarray(Image.open(outcome.target)), 255 - picture(5, 7, seed=number))
    assert [engine.cleaned for engine in engines] == [4, 4, 4]


def test_outcomes_stay_in_order_whoever_is_faster(photos):
    delays = iter([0.3, *[0.0] * 11])
    engines = [Inverting(lambda: time.sleep(next(delays))) for _ in range(2)]
    assert {outcome.status for outcome in cleaned(photos, MultiGPUDerainer(engines))} == {Status.DONE}


def test_what_one_device_fails_at_goes_to_another(photos, caplog):
    engines = [Inverting(), Inverting(broken), Inverting()]
    assert {outcome.status for outcome in cleaned(photos, MultiGPUDerainer(engines))} == {Status.DONE}
    assert engines[1].cleaned == 0
    assert "it fell off the bus" in caplog.text


def test_what_all_devices_fail_at_is_told(photos):
    engine = MultiGPUDerainer([Inverting(broken) for _ in range(DEVICES)])
    outcomes = cleaned(photos, engine)
    assert {outcome.status for outcome in outcomes} == {Status.FAILED}
    assert all("fell off the bus" in str(outcome.error) for outcome in outcomes)
    assert len(engine._free) == DEVICES


def test_a_bad_picture_is_no_device_s_failure():
    engine = MultiGPUDerainer([Derainer(TorchBackend(lively_model(TINY), "cpu", Precision.FP32), EngineOptions())] * 2)
    with pytest.raises(ImageError):
        engine(np.zeros((3, 3)))
    assert len(engine._free) == 2


def test_an_interrupt_ends_what_is_in_the_network_and_tells_it(photos):
    jobs = plan_pictures([str(photos)]).jobs
    engine = MultiGPUDerainer([Inverting(lambda: time.sleep(0.05)) for _ in range(2)])
    before = threading.active_count()
    outcomes = run(jobs, as_cleaner(engine), PictureOptions(workers=2, at_once=2))
    told = [next(outcomes), outcomes.throw(KeyboardInterrupt())]
    with pytest.raises(KeyboardInterrupt):
        told.extend(outcomes)
    assert threading.active_count() == before
    done = {outcome.target for outcome in told if outcome.status is Status.DONE}
    assert done == {str(job.target) for job in jobs if job.target.exists()}
    assert 1 <= len(done) < len(jobs)


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([(5, 7), (6, 4)]), max_size=20),
    together=st.lists(st.integers(0, 3), min_size=2, max_size=3),
)
def test_a_stream_equals_its_pictures(sizes, together):
    """Also where the devices hold batches of different sizes, or none."""
    frames = [picture(*size, seed=number) for number, size in enumerate(sizes)]
    backends = [InBatches(lively_model(TINY), count) for count in together]
    clean = list(MultiGPUDerainer([Derainer(backend, EngineOptions()) for backend in backends]).stream(frames))
    single = Derainer(TorchBackend(lively_model(TINY), "cpu", Precision.FP32), EngineOptions())
    assert len(clean) == len(frames)
    for before, after in zip(frames, clean, strict=True):
        assert np.abs(after.astype(int) - single(before).astype(int)).max() <= 1
    if together[0] == together[1] > 0 and len(frames) > 3:
        assert backends[0].submitted
        assert backends[1].submitted


def test_a_stream_gives_every_engine_as_much_as_one():
    backends = [InBatches(lively_model(TINY), 2) for _ in range(DEVICES)]
    taken = []
    frames = (taken.append(number) or picture(5, 7, seed=number) for number in range(60))
    stream = MultiGPUDerainer([Derainer(backend, EngineOptions()) for backend in backends]).stream(frames)
    next(stream)
    assert len(taken) == (1 + IN_FLIGHT * DEVICES) * 2
    stream.close()
    for backend in backends:
        assert len(backend._pipeline._free) == len(backend.submitted), "memory that is not given back"


class Failing(InBatches):
    """A device that fails at one part of its work, from a batch on."""

    def __init__(self, where, after=0):
        super().__init__(lively_model(TINY), 2)
        self.where, self.after = where, after

    def frames_at_once(self, height, width, precision):
        return broken() if self.where == "size" else super().frames_at_once(height, width, precision)

    def submit(self, frames, *how):
        pending = super().submit(frames, *how)
        if len(self.submitted) <= self.after:
            return pending
        if self.where == "submit":
            broken()
        if self.where == "memory":
            raise OutOfMemory("no more")

        def wait():
            pending()
            broken()

        return wait

    def clean(self, strip, *how):
        if self.where == "memory":
            raise OutOfMemory("no more")
        return super().clean(strip, *how)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(("where", "after"), [("size", 0), ("submit", 2), ("finish", 0), ("finish", 2), ("memory", 1)])
def test_a_batch_that_one_device_fails_at_goes_to_another(where, after, place, caplog):
    """In order, and the device that failed is told once for what it had, and gets nothing more."""
    backends = [InBatches(lively_model(TINY), 2) for _ in range(DEVICES - 1)]
    backends.insert(place, Failing(where, after))
    frames = [picture(5, 7, seed=number) for number in range(40)]
    clean = list(MultiGPUDerainer([Derainer(backend, EngineOptions()) for backend in backends]).stream(frames))
    single = Derainer(TorchBackend(lively_model(TINY), "cpu", Precision.FP32), EngineOptions())
    assert len(clean) == len(frames)
    for before, after_it in zip(frames, clean, strict=True):
        assert np.abs(after_it.astype(int) - single(before).astype(int)).max() <= 1
    told = [record.getMessage() for record in caplog.records if "another device" in record.getMessage()]
    assert 1 <= len(told) <= 1 + IN_FLIGHT
    assert all(("smallest tile" if where == "memory" else "fell off the bus") in line for line in told)
    assert len(backends[place].submitted) <= after + 1 + IN_FLIGHT


@pytest.mark.parametrize("where", ["size", "submit", "finish", "memory"])
def test_a_batch_that_all_devices_fail_at_ends_the_stream(where, monkeypatch):
    monkeypatch.setattr(Failing, "clean", lambda *_: broken())
    engines = [Derainer(Failing(where), EngineOptions()) for _ in range(DEVICES)]
    with pytest.raises(DeviceError, match="fell off the bus"):
        list(MultiGPUDerainer(engines).stream(picture(5, 7, seed=number) for number in range(20)))


def test_a_card_that_cannot_say_its_free_memory_has_failed(monkeypatch):
    def lost(device):
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(torch.cuda, "mem_get_info", lost)
    with pytest.raises(DeviceError, match="unspecified launch failure"):
        TorchBackend(lively_model(TINY), "cpu", Precision.FP32)._map_pixels(Precision.FP32)


@pytest.fixture
def cards(monkeypatch):
    """As many CUDA devices as a test says."""

    def there(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return there


def test_all_cuda_devices_are_found(cards, monkeypatch):
    cards(8)
    assert [str(device) for device in resolve_devices("cuda:all")] == [f"cuda:{index}" for index in range(8)]
    assert [str(device) for device in resolve_devices("cuda:3")] == ["cuda:3"]
    monkeypatch.setattr(multi_gpu.Derainer, "load", lambda weights, options: Inverting(lambda: options.device))
    engine = load_engine("general", EngineOptions(device="cuda:all"))
    assert [each.work() for each in engine._engines] == [f"cuda:{index}" for index in range(8)]
    assert engine.description == "cuda:0 (a card), fp16, and 7 more"
    cards(1)
    assert load_engine("general", EngineOptions(device="cuda:all")).work() == "cuda:0"
    assert load_engine("general", EngineOptions()).work() == "auto"


def test_the_library_s_door_puts_one_on_every_card(cards, monkeypatch):
    cards(2)
    single = Derainer(TorchBackend(lively_model(TINY), "cpu", Precision.FP32), EngineOptions())
    devices = []

    def on_cpu(weights, options):
        devices.append(options.device)
        return Derainer(TorchBackend(lively_model(TINY), "cpu", Precision.FP32), options)

    monkeypatch.setattr(Derainer, "load", on_cpu)
    engine = load(options=EngineOptions(device="cuda:all"))
    assert devices == ["cuda:0", "cuda:1"]
    rainy = picture(5, 7)
    assert np.array_equal(engine(rainy), single(rainy))
    assert np.array_equal(np.asarray(engine(Image.fromarray(rainy))), single(rainy))
    assert [frame.tolist() for frame in engine.stream([rainy] * 3)] == [single(rainy).tolist()] * 3


def test_one_engine_is_not_put_on_all_cards(cards):
    cards(2)
    with pytest.raises(OptionError, match="no such device"):
        Derainer.load("general", EngineOptions(device="cuda:all"))


def test_several_cards_of_which_one_is_used_are_told(cards):
    cards(4)
    assert (
        select.hint(EngineOptions()) == "4 CUDA devices are here, and one of them is used: --device cuda:all uses all"
    )
    assert select.hint(EngineOptions(device="cuda:2")) == ""
    assert select.hint(EngineOptions(device="cuda:all")) == ""
    cards(1)
    assert select.hint(EngineOptions()) == ""


def test_where_there_is_no_card_it_says_so(cards, tmp_path, photos):
    cards(0)
    with pytest.raises(DeviceError, match="PyTorch sees 0 CUDA device"):
        load_engine("general", EngineOptions(device="cuda:all"))
    result = dpenet("derain", photos, "-o", tmp_path / "out", "--device", "cuda:all")
    assert result.returncode != 0
    if not torch.version.cuda:
        assert "this PyTorch is built without CUDA" in result.stderr
