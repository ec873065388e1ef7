"""What is bright for a frame and is no rain: it keeps its light in every frame, dry and in the rain."""

import cv2
import numpy as np
import pytest
from weather import SIZE, images, light_left, panning, psnr, rain, rained_on, still, with_thing

ROAD = (480, 640)
WHITE, RED, ORANGE = (250, 250, 245), (255, 40, 30), (255, 150, 20)


def dark(frames):
    """At night."""
    return [(frame * 0.35).astype(np.uint8) for frame in frames]


def led(side, every, colour):
    def paint(mask, number):
        if number % every == 0:
            mask[100 : 100 + side, 150 : 150 + side] = 255

    return with_thing(still(12), paint, colour)


def indicator():
    def paint(mask, number):
        if number % 24 < 12:
            mask[100:108, 100:112] = 255

    return with_thing(still(30), paint, ORANGE)


def headlights(across, step):
    def paint(mask, number):
        for behind in (0, 60):
            cv2.circle(mask, (60 + number * step - behind, 240 + number * 2), across // 2, 255, -1)

    return with_thing(dark(still(min(8, 600 // step + 1), ROAD)), paint, WHITE)


def figure(count):
    """A torso, a head and limbs 11 pixels wide, across a scene in so many frames."""

    def paint(mask, number):
        x, swing = round(360 * (number + 0.5) / count) - 20, round(10 * np.sin(number * 1.2))
        cv2.circle(mask, (x, 80), 9, 255, -1)
        cv2.rectangle(mask, (x - 11, 90), (x + 11, 140), 255, -1)
        for side in (-1, 1):
            cv2.line(mask, (x, 138), (x + side * swing, 190), 255, 11)
            cv2.line(mask, (x, 98), (x + side * swing * 2, 130), 255, 11)

    return with_thing(still(count), paint, WHITE)


def dashes(width):
    """Of a lane, 50 pixels long and 60 apart, that come at 40 pixels a frame with the road."""

    def paint(mask, number):
        for top in range(40 * number - 500, 480, 110):
            cv2.rectangle(mask, (314, top), (314 + width - 1, top + 49), 255, -1)

    return with_thing(dark(panning(8, (0, -40), ROAD)), paint, WHITE)


def ball():
    def paint(mask, number):
        cv2.circle(mask, (20 + 26 * number, round(180 - 30 * number + 2.6 * number**2)), 7, 255, -1)

    return with_thing(still(12), paint, WHITE)


THINGS = {
    "indicator": indicator,
    "slow figure": lambda: figure(60),
    "fast figure": lambda: figure(10),
    "narrow dashes": lambda: dashes(10),
    "wide dashes": lambda: dashes(12),
    "ball": ball,
}
for side in (4, 6):
    for every in (2, 3):
        for name, colour in (("red", RED), ("white", WHITE), ("dim", (180, 180, 175))):
            THINGS[f"{name} LED of {side} every {every}"] = lambda s=side, e=every, c=colour: led(s, e, c)
for across in (16, 24):
    for step in (20, 60, 120):
        THINGS[f"headlights of {across} by {step}"] = lambda a=across, s=step: headlights(a, s)


@pytest.mark.parametrize("name", THINGS)
@pytest.mark.parametrize("wet", [False, True], ids=["dry", "wet"])
def test_light_stays_in_every_frame(name, wet):
    thing = THINGS[name]()
    light = rain(len(thing.clip), thing.clip[0].shape[:2], seed=5) if wet else None
    frames = rained_on(thing.clip, light) if wet else thing.clip
    results = images(frames)
    left = light_left(thing, results, light)
    assert len(left) > len(frames) // 4
    assert min(left) > 0.95, np.round(left, 2)
    assert max(left) < 1.02, np.round(left, 2)
    if wet:
        assert psnr(results, thing.clip) >= psnr(frames, thing.clip)


def test_a_lamp_blinks_on_when_the_camera_pans():
    def paint(mask, number):
        if number % 2 == 0:
            mask[100:106, 150 - 4 * number : 156 - 4 * number] = 255

    thing = with_thing(panning(12, (4, 0)), paint, WHITE)
    light = rain(12, SIZE)
    assert min(light_left(thing, images(thing.clip))) > 0.95
    assert min(light_left(thing, images(rained_on(thing.clip, light)), light)) > 0.95
