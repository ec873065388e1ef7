"""A part of a large picture, cleaned as it comes out of the whole: for somebody who wants to look before they wait."""

from typing import NamedTuple

import cv2
import numpy as np

from dpenet_cli.arrays import Pixels, to_8_bits
from dpenet_cli.inference.looks import SMALL, Look
from dpenet_cli.inference.region import Box, Region
from dpenet_cli.inference.resizing import clean_at
from dpenet_cli.inference.scale_rule import Choice
from dpenet_cli.inference.scales import ScaledDerainer

SIDE = 640
"""Width and height in pixels of the part that is shown where nobody says which: two of them fit a screen."""

_HALO = 64
"""Context in pixels of what the network sees: with it its answer is within 0.1 grey levels of the whole's."""


class Part(NamedTuple):
    """A part of a picture, before and after.

    Attributes:
        box: where it lies.
        before, after: h×w×3, of the picture's dtype; after at full strength.
        choice: how it was looked at.
        found: it was chosen because most was removed there.
    """

    box: Box
    before: Pixels
    after: Pixels
    choice: Choice
    found: bool


def cleaned_part(derainer: ScaledDerainer, rainy: Pixels, region: Region | None = None) -> Part:
    """Clean a part of a picture alone, at full strength.

    Args:
        derainer: the engine.
        rainy: the whole picture, H×W×3, uint8 or uint16.
        region: which part; None for all of a picture below `SMALL` pixels, and of others for the `SIDE`×`SIDE` pixels
            where most was removed.

    Raises:
        OptionError: the region lies outside the picture.
        DpenetError: as `Derainer` does.
    """
    height, width = rainy.shape[:2]
    asked = None if region is None else region.of(width, height)
    if height * width < SMALL:  # next to no work, and so small a picture is looked at as a whole
        cleaned = derainer.clean(rainy)
        box = asked or Box(0, 0, width, height)
        return Part(box, cut(rainy, box), cut(cleaned.pixels, box), cleaned.choice, found=False)
    choice, looks = derainer.look_around(rainy)
    box = asked or _around(max(looks, key=_removed), width, height)
    pixel = max(round(1 / choice.scale), 1)  # of the size that the network sees, in pixels of the picture
    halo = _HALO * pixel
    # It begins and ends on whole pixels of what the network sees, so that it is shrunk as the whole is.
    left, top = (max(begin - halo, 0) // pixel * pixel for begin in box[:2])
    right = min(-(-(box.left + box.width + halo) // pixel) * pixel, width)
    bottom = min(-(-(box.top + box.height + halo) // pixel) * pixel, height)
    wide = Box(left, top, right - left, bottom - top)
    clean = clean_at(derainer.engine, np.ascontiguousarray(cut(rainy, wide)), choice.scale, strength=1.0)
    inner = Box(box.left - left, box.top - top, box.width, box.height)
    return Part(box, cut(rainy, box), cut(clean, inner), choice, found=asked is None)


def most_changed(before: Pixels, after: Pixels) -> Box:
    """All of a picture below `SMALL` pixels, or the `SIDE`×`SIDE` pixels in which most was removed, of both dtypes."""
    height, width = before.shape[:2]
    if height * width < SMALL:
        return Box(0, 0, width, height)
    change = cv2.absdiff(to_8_bits(before), to_8_bits(after)).max(axis=2)
    size = across, down = min(SIDE, width), min(SIDE, height)
    # At (y, x): the mean over the window around it; only windows that lie in the picture count.
    means = cv2.boxFilter(change, cv2.CV_32F, size)
    inside = means[down // 2 : down // 2 + height - down + 1, across // 2 : across // 2 + width - across + 1]
    y, x = np.unravel_index(int(inside.argmax()), inside.shape)
    return Box(int(x), int(y), *size)


def cut(pixels: Pixels, box: Box) -> Pixels:
    """A part of a picture, not copied."""
    return pixels[box.top : box.top + box.height, box.left : box.left + box.width]


def _removed(look: Look) -> float:
    """How much light the network removes in a window, in grey levels."""
    return -float(np.minimum(look.residual, 0).mean())


def _around(look: Look, width: int, height: int) -> Box:
    """The part of the usual size around a window."""
    window, size = look.window, (min(SIDE, width), min(SIDE, height))
    left = (window.left + window.right - size[0]) // 2
    top = (window.top + window.bottom - size[1]) // 2
    return Box(min(max(left, 0), width - size[0]), min(max(top, 0), height - size[1]), *size)
