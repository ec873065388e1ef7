"""Several versions of one part of a picture side by side, each under its name, pixel for pixel."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dpenet_cli.arrays import Pixels, to_8_bits
from dpenet_cli.images.compare import on_rgb
from dpenet_cli.images.picture import Picture

_GAP, _HEAD = 8, 30
"""White columns between two panels, and rows above them for their names, in pixels."""

_LETTERS = 18
"""Height of the names, in pixels."""


class Panel(NamedTuple):
    """One version: its name, and its pixels, H×W×3 uint8 or uint16."""

    name: str
    pixels: Pixels


def panels_png(panels: Sequence[Panel], like: Picture | None = None) -> bytes:
    """A PNG with panels of one size from left to right, none of them resampled.

    Args:
        panels: what is shown.
        like: the picture that they are of, whose colour profile they keep; grey ones with a profile become sRGB. None
            for sRGB.
    """
    parts: list[NDArray[np.uint8]] = [to_8_bits(panel.pixels) for panel in panels]
    parts, icc = (parts, None) if like is None else on_rgb(parts, like)
    height, width = parts[0].shape[:2]
    canvas = Image.new("RGB", (len(parts) * (width + _GAP) - _GAP, height + _HEAD), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(_LETTERS)
    for place, (panel, pixels) in enumerate(zip(panels, parts, strict=True)):
        left = place * (width + _GAP)
        draw.text((left + 4, _HEAD // 2), panel.name, "black", font, anchor="lm")
        canvas.paste(Image.fromarray(np.ascontiguousarray(pixels)), (left, _HEAD))
    file = io.BytesIO()
    canvas.save(file, "PNG", icc_profile=icc)
    return file.getvalue()
