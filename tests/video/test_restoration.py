"""What cleans a video's frames: which frames come out, what the network is asked, and how its answer comes in."""

import threading
import time
from fractions import Fraction

import numpy as np
import pytest
from conftest import TINY, lively_model, textured
from scipy.ndimage import shift

import dpenet_cli.video.restoration as restoration_module
from dpenet_cli.inference.derainer import Derainer
from dpenet_cli.inference.torch import TorchBackend
from dpenet_cli.options import EngineOptions, Precision, VideoMethod
from dpenet_cli.temporal.window import REACH
from dpenet_cli.video.frames import Frame
from dpenet_cli.video.restoration import restoration

SIZE = 360, 480


class Darkening:
    """An engine that halves what it gets, and remembers its shapes."""

    def __init__(self, at_once=1, slow=()):
        self.at_once, self.shapes, self.calls, self._slow = at_once, [], 0, set(slow)

    def __call__(self, rainy):
        call, self.calls = self.calls, self.calls + 1
        if call in self._slow:
            time.sleep(0.2)
        self.shapes.append(rainy.shape[:2])
        return rainy // 2

    def stream(self, frames):
        return (self(frame) for frame in frames)


def rain(number, share=0.02):
    """Bright lines of one pixel's width, elsewhere in each frame: H×W."""
    rng = np.random.default_rng(number)
    drops = rng.random(SIZE) < share / 12
    return sum(np.roll(drops, row, axis=0) for row in range(12)).astype(bool) * 50


def scene(seed=0):
    return textured(seed, *SIZE).astype(int) // 2


def moving(count, *, wet=True, dtype=np.uint8):
    """A scene that moves by a pixel a frame, in rain or not: its frames, and the same dry."""
    wide = np.hstack([scene(), scene(1)])
    dry = [wide[:, number : number + SIZE[1]] for number in range(count)]
    seen = [frame + rain(number)[..., None] * wet for number, frame in enumerate(dry)]
    unit = 257 if dtype is np.uint16 else 1
    return [[(frame * unit).astype(dtype) for frame in frames] for frames in (seen, dry)]


def timed(images, context=()):
    return [Frame(image, Fraction(number, 25), number in context) for number, image in enumerate(images)]


def over_time(images, engine=None, strength=1.0, context=(), method=None):
    method = method or (VideoMethod.AUTO if engine else VideoMethod.TEMPORAL)
    clean = restoration(method, engine, strength)
    return [frame.image for frame in clean(timed(images, context))], clean


def error(frames, truth):
    return np.mean([np.abs(a.astype(int) - b.astype(int)).mean() for a, b in zip(frames, truth, strict=True)])


def test_the_network_alone_is_what_its_stream_gives():
    images, _ = moving(5)
    done, clean = over_time(images, Darkening(), method=VideoMethod.NETWORK)
    assert all(np.array_equal(a, b // 2) for a, b in zip(done, images, strict=True))
    assert (clean.reach, clean.shares) == (0, None)


def test_time_alone_takes_the_rain_away():
    wet, dry = moving(9)
    done, clean = over_time(wet)
    assert error(done, dry) < 0.35 * error(wet, dry)
    assert clean.shares.to_json()["temporal"] == 1
    assert all((a <= b).all() for a, b in zip(done, wet, strict=True)), "rain adds light"


def test_context_does_not_come_out_and_a_part_equals_the_same_part_of_the_whole():
    wet, _ = moving(6 + 2 * REACH)
    clean = restoration(VideoMethod.TEMPORAL, None)
    whole = list(clean(timed(wet)))
    for first, stop in ((0, 3), (REACH, REACH + 6), (7, 8), (len(wet) - 2, len(wet))):
        wanted = range(max(first - REACH, 0), min(stop + REACH, len(wet)))
        frames = [Frame(wet[n], Fraction(n, 25), not first <= n < stop) for n in wanted]
        part = list(clean(frames))
        assert [frame.pts for frame in part] == [Fraction(n, 25) for n in range(first, stop)]
        assert all(np.array_equal(a.image, b.image) for a, b in zip(part, whole[first:stop], strict=True))


def test_frames_whose_neighbours_agree_never_reach_the_network():
    wet, _ = moving(9)
    engine = Darkening()
    done, clean = over_time(wet, engine)
    assert (engine.shapes, clean.shares.network_tiles) == ([], 0)
    assert all(np.array_equal(a, b) for a, b in zip(done, over_time(wet)[0], strict=True))


@pytest.mark.parametrize("count", [1, 4])
def test_frames_without_neighbours_go_to_the_network_as_a_whole(count):
    images = [scene(seed).astype(np.uint8) for seed in range(count)]  # a cut after each
    engine = Darkening()
    done, clean = over_time(images, engine)
    assert engine.shapes == [SIZE] * count
    assert all(np.array_equal(a, b // 2) or error([a], [b // 2]) < 0.1 for a, b in zip(done, images, strict=True))
    assert clean.shares.to_json() == {"temporal": 0.0, "network": 1.0, "changed_by_time": 0.0}


def test_where_neighbours_disagree_the_network_looks_at_a_piece():
    wet, _ = moving(9)
    for number, frame in enumerate(wet):
        frame[60:180, 60:180] = np.random.default_rng(number).integers(0, 256, (40, 120, 1)).repeat(3, 0)
    engine = Darkening()
    done, clean = over_time(wet, engine)
    alone, _ = over_time(wet)
    assert all(shape < SIZE for shape in engine.shapes), "a piece, not the whole"
    assert 0 < clean.shares.to_json()["network"] < 0.5
    for a, b in zip(done, alone, strict=True):
        assert np.array_equal(a[300:], b[300:])
        assert np.array_equal(a[:, 300:], b[:, 300:])
    patch = np.s_[90:150, 90:150]
    assert 0.4 < done[4][patch].mean() / alone[4][patch].mean() < 0.8, "halved, where the neighbours don't know"


def test_a_piece_gives_what_the_whole_frame_does(monkeypatch):
    wet, _ = moving(7)
    for number, frame in enumerate(wet):
        frame[64:128, 64:128] = np.random.default_rng(number).integers(0, 256, (64, 64, 3))
    engine = Derainer(TorchBackend(lively_model(TINY), "cpu", Precision.FP32), EngineOptions())
    pieces, _ = over_time(wet, engine)
    monkeypatch.setattr(restoration_module, "_WHOLE", 0.0)
    whole, _ = over_time(wet, engine)
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(pieces, whole, strict=True)) <= 1
    assert any((a != b).any() for a, b in zip(pieces, over_time(wet)[0], strict=True)), "the network was asked"


def test_order_is_kept_by_engines_that_work_at_once():
    images = [scene(seed).astype(np.uint8) for seed in range(6)]
    one, _ = over_time(images, Darkening())
    two, _ = over_time(images, Darkening(at_once=2, slow=(0, 3)))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_strength_scales_all_that_is_changed(dtype):
    wet, _ = moving(7, dtype=dtype)
    full, _ = over_time(wet)
    half, _ = over_time(wet, strength=0.5)
    none, _ = over_time(wet, strength=0.0)
    assert all(np.array_equal(a, b) for a, b in zip(none, wet, strict=True))
    for a, b, c in zip(half, wet, full, strict=True):
        assert a.dtype == dtype
        assert np.abs(a - (b.astype(float) + c) / 2).max() <= 0.5
    assert error(full, wet) > 0.1 * (257 if dtype is np.uint16 else 1)


def test_few_frames_are_in_memory():
    frame = scene().astype(np.uint8)
    read = 0

    def source():
        nonlocal read
        for number in range(100):
            read += 1
            yield Frame(shift(frame, (0, number % 3, 0), order=0, mode="nearest"), Fraction(number, 25))

    for done, _ in enumerate(restoration(VideoMethod.TEMPORAL, None)(source())):
        assert read - done <= REACH + 7  # as many wait between the threads


class Broken(Exception):
    """What a test raises."""


def _breaking(frames):
    yield from frames
    raise Broken


def test_what_goes_wrong_ends_every_thread():
    images = [scene(seed).astype(np.uint8) for seed in range(4)]
    before = threading.active_count()
    with pytest.raises(Broken):
        list(restoration(VideoMethod.TEMPORAL, None)(_breaking(timed(images))))

    def fail(_):
        raise Broken

    for at_once in (1, 2):
        engine = Darkening(at_once)
        engine.__class__ = type("Failing", (Darkening,), {"__call__": lambda self, rainy: fail(rainy)})
        with pytest.raises(Broken):
            list(restoration(VideoMethod.AUTO, engine)(timed(images)))
    early = restoration(VideoMethod.TEMPORAL, None)(iter(timed(images * 5)))
    next(early)
    early.close()
    assert threading.active_count() == before
