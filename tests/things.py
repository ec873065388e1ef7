"""Made clips with things in them that are bright for a frame, or a few, and are no rain."""

from collections.abc import Callable

import cv2
import numpy as np
from weather import Thing, panning, still, with_thing

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


THINGS: dict[str, Callable[[], Thing]] = {
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
