"""Frames that a key speaks for: the network and the neighbours together, where both would make a pixel darker."""

from fractions import Fraction

import numpy as np
import pytest
from things import THINGS
from weather import images, light_left, panning, psnr, rain, rained_on, still

from dpenet_cli.options import VideoMethod
from dpenet_cli.temporal.window import KEYS_APART
from dpenet_cli.video.frames import Frame
from dpenet_cli.video.over_time import WIDEST_REACH
from dpenet_cli.video.restoration import restoration

BAR = (slice(None), slice(150, 153))
"""Rows and columns of a bright bar in a scene."""


class Engine:
    """Gives an answer of the test's, and counts how often it is asked."""

    def __init__(self, answer=lambda image: image, at_once=1):
        self.answer, self.at_once, self.asked = answer, at_once, 0

    def __call__(self, rainy, progress=None, **_):
        self.asked += 1
        return self.answer(rainy)

    def stream(self, frames):
        yield from map(self, frames)


def cleaned(frames, engine, first=0, context=()):
    """By both, of frames whose numbers begin at `first`."""
    given = [Frame(each, Fraction(n, 25), n in context, number=n + first) for n, each in enumerate(frames)]
    return [frame.image for frame in restoration(VideoMethod.AUTO, engine)(given)]


def with_bar(frames):
    barred = [frame.copy() for frame in frames]
    for frame in barred:
        frame[BAR] = np.maximum(frame[BAR], 190)
    return barred


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_dense_rain_goes_and_what_neighbours_know_stays(dtype):
    """The network sees the scene, but for a bar that it takes for a streak."""
    unit = dtype(257 if dtype == np.uint16 else 1)
    scene = [frame.astype(dtype) * unit for frame in still(14)]
    dry = [frame.astype(dtype) * unit for frame in with_bar(still(14))]
    wet = rained_on(dry, rain(14, share=0.12, seed=2))
    engine = Engine(lambda _: scene[0])
    before, after = images(wet), cleaned(wet, engine)
    assert engine.asked == 3  # frames 0, 6 and 12
    assert psnr(after, dry) > psnr(before, dry) + 1
    kept = [float((frame[BAR].astype(int) - scene[0][BAR]).sum()) for frame in (*after, dry[0])]
    assert min(kept) > 0.9 * kept[-1]
    again = cleaned(wet, Engine(lambda _: scene[0], at_once=2))
    assert np.array_equal(after, again)


def test_a_moving_scene_is_not_smeared():
    """What the key shows elsewhere makes nothing darker that is there."""
    dry = panning(14, (3.5, 1))
    wet = rained_on(dry, rain(14, share=0.1, seed=3))
    before, after = images(wet), cleaned(wet, Engine())
    assert psnr(after, dry) > psnr(before, dry) - 0.05


@pytest.mark.parametrize("first", [0, 3])
@pytest.mark.parametrize(
    "name", ["indicator", "fast figure", "narrow dashes", "ball", "white LED of 6 every 2", "headlights of 24 by 60"]
)
def test_light_stays_in_every_frame(name, first):
    thing = THINGS[name]()
    light = rain(len(thing.clip), thing.clip[0].shape[:2], seed=5)
    engine = Engine()
    left = light_left(thing, cleaned(rained_on(thing.clip, light), engine, first), light)
    assert engine.asked
    assert min(left) > 0.95, np.round(left, 2)


@pytest.mark.parametrize(("start", "stop"), [(0, 5), (13, 17), (15, 16), (21, 30)])
def test_a_part_equals_the_same_part_of_the_whole(start, stop):
    wet = rained_on(panning(30, (1, 0), (96, 128)), rain(30, (96, 128), share=0.1))
    engine = Engine(lambda image: image // 2)
    whole = cleaned(wet, engine)
    assert engine.asked >= 30 // KEYS_APART
    begin, end = max(start - WIDEST_REACH, 0), min(stop + WIDEST_REACH, 30)
    context = {n - begin for n in range(begin, end) if not start <= n < stop}
    part = cleaned(wet[begin:end], Engine(lambda image: image // 2), begin, context)
    assert np.array_equal(part, whole[start:stop])


def test_a_key_beyond_a_part_is_asked_only_if_it_speaks_for_a_frame_of_it():
    wet = rained_on(still(30, (96, 128)), rain(30, (96, 128), share=0.1))
    for wanted, asked in ((range(13, 15), 1), (range(15, 17), 2), (range(8, 9), 1)):
        engine = Engine()
        cleaned(wet, engine, context=set(range(30)) - set(wanted))
        assert engine.asked == asked, wanted
