"""Frames cleaned by their neighbours, by the network where those don't know, or by the network alone."""

import sys
import threading
import time
from fractions import Fraction

import cv2
import numpy as np
import pytest
from clips import dry_and_rainy
from conftest import textured
from weather import still

from dpenet_cli.errors import DeviceError, VideoReadError
from dpenet_cli.inference.derainer import Derainer
from dpenet_cli.options import EngineOptions, Precision, VideoMethod
from dpenet_cli.video.frames import Frame
from dpenet_cli.video.network_tiles import ask_network, mixed
from dpenet_cli.video.restoration import restoration

AUTO, TEMPORAL, NETWORK = VideoMethod.AUTO, VideoMethod.TEMPORAL, VideoMethod.NETWORK
MODULE = sys.modules["dpenet_cli.video.network_tiles"]

PATCH = slice(128, 192)
"""Rows, and columns, of the tile in which `disturbed` frames have nothing in common."""


class Fake:
    """An engine that halves what it is given, or asks another one, and remembers shapes; its calls differ in length."""

    def __init__(self, at_once=1, fail_at=None, answer=lambda rainy: rainy // 2):
        self.at_once, self.fail_at, self.answer, self.shapes = at_once, fail_at, answer, []

    def __call__(self, rainy, progress=None, **_):
        self.shapes.append(rainy.shape)
        if len(self.shapes) == self.fail_at:
            raise DeviceError("the device", "it broke", "Mend it.")
        time.sleep(0.02 * (len(self.shapes) % 2) * (self.at_once > 1))
        return self.answer(rainy)

    def stream(self, frames):
        yield from map(self, frames)


def at_25(images, context=(), keys=True):
    return [Frame(image, Fraction(n, 25), n in context, number=n if keys else 1) for n, image in enumerate(images)]


def scenes(count, height=96, width=128):
    """Pictures of which none goes on from the one before."""
    return [textured(seed, height, width) for seed in range(count)]


def grainy(count):
    """Dry frames of a camera that stands, with noise."""
    noise = np.random.default_rng(3).integers(-3, 4, (count, 240, 320, 3))
    return (np.stack(still(count)) + noise).clip(0, 255).astype(np.uint8)


def disturbed(count=6):
    """Rainy frames of 320×384 with noise of its own in one tile of each."""
    images = dry_and_rainy(count, 320, 384)[1].copy()
    images[:, PATCH, PATCH] = np.random.default_rng(1).integers(0, 256, (count, 64, 64, 3))
    return images


def cleaned(method, frames, engine=None, strength=1.0):
    return [frame.image for frame in restoration(method, engine, strength)(frames)]


def threads():
    return sorted(thread.name for thread in threading.enumerate())


def test_network_gives_what_the_engine_gives():
    frames = at_25(scenes(5))
    clean = restoration(NETWORK, Fake())
    assert (clean.reach, clean.shares) == (0, None)
    found = list(clean(frames))
    assert [frame.pts for frame in found] == [frame.pts for frame in frames]
    for frame, image in zip(found, Fake().stream(frame.image for frame in frames), strict=True):
        assert np.array_equal(frame.image, image)


def test_time_takes_rain_out_without_a_network():
    dry, rainy = dry_and_rainy(10)
    clean = restoration(TEMPORAL, None)
    found = list(clean(at_25(rainy)))
    before, after = (np.abs(each - dry.astype(int)).mean() for each in (rainy, np.stack([f.image for f in found])))
    assert after < before / 5
    told = clean.shares.to_json()
    assert (told["temporal"], told["network"]) == (1, 0)
    assert 0 < told["changed_by_time"] < 0.1


@pytest.mark.parametrize("at_once", [0, 1, 2])
@pytest.mark.parametrize("images", [dry_and_rainy(12)[1], scenes(12)], ids=["a scene", "scenes"])
def test_order_and_times_are_kept_and_context_is_not(images, at_once):
    method, engine = (AUTO, Fake(at_once)) if at_once else (TEMPORAL, None)
    found = list(restoration(method, engine)(at_25(images, context={0, 1, 2, 10, 11})))
    assert [(frame.pts, frame.context) for frame in found] == [(Fraction(n, 25), False) for n in range(3, 10)]
    assert np.array_equal([frame.image for frame in found], cleaned(method, at_25(images), engine)[3:10])


@pytest.mark.parametrize(
    ("images", "keys"), [(grainy(8), True), (dry_and_rainy(8, 320, 384)[1], False)], ids=["dry", "no key"]
)
def test_where_neighbours_agree_the_network_is_not_asked(images, keys):
    engine = Fake()
    frames = at_25(images, keys=keys)
    clean = restoration(AUTO, engine)
    found = [frame.image for frame in clean(frames)]
    assert not engine.shapes
    assert np.array_equal(found, cleaned(TEMPORAL, frames))
    assert clean.shares.to_json()["network"] == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("count", [1, 5])
def test_where_there_are_no_neighbours_the_network_does_it_all(count, dtype):
    """A single frame, and cuts everywhere."""
    images = [image.astype(dtype) * dtype(257 if dtype == np.uint16 else 1) for image in scenes(count)]
    engine = Fake()
    clean = restoration(AUTO, engine)
    found = [frame.image for frame in clean(at_25(images))]
    assert engine.shapes == [(96, 128, 3)] * count
    assert np.array_equal(found, [image // 2 for image in images])
    assert clean.shares.to_json() == {"temporal": 0, "network": 1, "changed_by_time": 0}


@pytest.mark.parametrize("at_once", [1, 2])
def test_where_neighbours_disagree_the_network_is_asked_about_that_alone(at_once):
    frames = at_25(disturbed(), keys=False)
    engine = Fake(at_once)
    clean = restoration(AUTO, engine)
    found = np.stack([frame.image for frame in clean(frames)])
    assert set(engine.shapes) == {(64 + 64 + 64, 64 + 64 + 64, 3)}  # the tile and its halo
    assert len(engine.shapes) >= 4  # noise may agree with two neighbours alone
    changed = (found != np.stack(cleaned(TEMPORAL, frames))).any(axis=3)
    assert changed[:, PATCH, PATCH].any(axis=(1, 2)).sum() == len(engine.shapes)
    changed[:, PATCH, PATCH] = False
    assert not changed.any()
    told = clean.shares.to_json()
    assert told["network"] == round(len(engine.shapes) / (6 * 30), 4)
    assert told["temporal"] == pytest.approx(1 - told["network"], abs=1e-4)


def test_a_piece_gives_what_the_whole_gives(tiny_weights, monkeypatch):
    engine = Derainer.load(tiny_weights, EngineOptions(device="cpu", precision=Precision.FP32, threads=1))
    frames = at_25(disturbed(4), keys=False)
    answers = []
    for share, shape in ((0.0, (320, 384, 3)), (1.0, (192, 192, 3))):
        monkeypatch.setattr(MODULE, "_WHOLE", share)
        spy = Fake(answer=engine)
        answers.append(np.stack(cleaned(AUTO, frames, spy)).astype(int))
        assert set(spy.shapes) == {shape}
    assert np.abs(answers[0] - answers[1]).max() <= 1
    assert np.abs(answers[0] - np.stack(cleaned(TEMPORAL, frames)))[:, PATCH, PATCH].mean() > 2


def test_pieces_that_overlap_are_blended_in_once(monkeypatch):
    """Of an angle of tiles and one tile that lies in its box, on a frame whose sides are no multiples of a tile."""
    monkeypatch.setattr(MODULE, "_WHOLE", 9.0)
    asked = np.zeros((5, 5), np.bool_)
    asked[0], asked[:, 0], asked[3, 3] = True, True, True
    need = cv2.resize(asked.astype(np.float32) / 2, (331, 309), interpolation=cv2.INTER_NEAREST)
    engine = Fake(answer=lambda fused: fused + np.uint8(50))
    image = np.full((309, 331, 3), 100, np.uint8)
    answers = ask_network(engine, image, need)
    result = mixed(image, answers.image, answers.weight * need)
    assert (answers.asked, answers.tiles, len(engine.shapes)) == (10, 25, 2)
    assert result.min() == 100
    assert result.max() == 125
    for row, column in np.argwhere(asked):
        assert (result[int((row + 0.5) * 309 / 5), int((column + 0.5) * 331 / 5)] == 125).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("method", [TEMPORAL, AUTO])
def test_strength_is_a_share_of_the_change(method, dtype):
    images = [image.astype(dtype) * dtype(257 if dtype == np.uint16 else 1) for image in disturbed(4)]
    frames = at_25(images)
    engine = Fake()
    none = cleaned(method, frames, engine, 0.0)
    assert not engine.shapes
    assert np.array_equal(none, images)
    full, half = (np.stack(cleaned(method, frames, engine, strength)).astype(int) for strength in (1.0, 0.5))
    assert none[0].dtype == dtype
    assert np.abs(2 * half - full - np.stack(images)).max() <= 1
    assert (half != full).any()


def test_nothing_is_shared_where_nothing_is_done():
    clean = restoration(AUTO, Fake(), 0.0)
    assert len(list(clean(at_25(scenes(3), context={0})))) == 2
    assert clean.shares.to_json() == {"temporal": 0, "network": 0, "changed_by_time": 0}
    assert list(restoration(TEMPORAL, None)([])) == []


@pytest.mark.parametrize(("method", "at_once"), [(TEMPORAL, 1), (AUTO, 1), (AUTO, 2)])
def test_few_frames_are_held(method, at_once):
    images = dry_and_rainy(20, 48, 64)[1]
    read = out = most = 0

    def source():
        nonlocal read, most
        for number in range(200):
            read += 1
            most = max(most, read - out)
            yield Frame(images[number % 20], Fraction(number, 25), number=number)

    for _ in restoration(method, Fake(at_once) if method is AUTO else None)(source()):
        out += 1
    assert out == read == 200
    assert most <= 17 + at_once


@pytest.mark.parametrize("at_once", [1, 2])
def test_errors_arrive_and_end_every_thread(at_once):
    before = threads()
    frames = at_25(scenes(20, 48, 64))
    with pytest.raises(DeviceError):
        cleaned(AUTO, frames, Fake(at_once, fail_at=5))
    assert threads() == before

    def torn():
        yield from frames[:9]
        raise VideoReadError("the source", "it tore", "Mend it.")

    for method, engine in ((AUTO, Fake(at_once)), (TEMPORAL, None)):
        with pytest.raises(VideoReadError):
            cleaned(method, torn(), engine)
        assert threads() == before


@pytest.mark.parametrize("at_once", [1, 2])
def test_leaving_early_ends_every_thread(at_once):
    before = threads()
    for method, engine in ((AUTO, Fake(at_once)), (TEMPORAL, None)):
        stream = restoration(method, engine)(iter(at_25(scenes(20, 48, 64))))
        next(stream)
        assert threads() != before
        stream.close()
        assert threads() == before
