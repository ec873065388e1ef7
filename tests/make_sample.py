"""Makes ``dpenet_cli/sample/rainy.jpg``: rain drawn over a CC0 photograph that scikit-image carries.

    python tests/make_sample.py

The photograph is ``rocket.jpg`` (the launch of DSCOVR, by SpaceX, released as CC0). The rain is drawn to look like what
a camera sees: many drops far away, few near ones that are longer, wider and out of focus, all as bright as the light
that falls on them, and a little haze of what is too far to be seen.
"""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import skimage
from PIL import Image

TARGET = Path(__file__).parent.parent / "dpenet_cli/sample/rainy.jpg"

SLANT = 6.0
"""Degrees by which drops fall aslant."""

COLOUR = np.array([0.92, 0.96, 1.0], np.float32)
"""Of drops under white light, RGB: they show the sky."""

HAZE = 0.07
"""Share of a picture's light that is scattered light of lamps."""


class Layer(NamedTuple):
    """Drops at one distance: how many, their length and softness in pixels, and how much they hide."""

    count: int
    length: float
    softness: float
    opacity: float


LAYERS = (Layer(9000, 8, 0.45, 0.10), Layer(3000, 18, 0.5, 0.24), Layer(420, 36, 0.7, 0.40), Layer(30, 80, 1.8, 0.26))


def streaks(layer: Layer, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Drops of one layer, H×W float32, 0..1."""
    light = np.zeros(shape, np.float32)
    low, high = (-20, -80, 0.6, -1.5, 0.35), (shape[1] + 20, shape[0], 1.4, 1.5, 1.0)
    for x, y, scale, turn, bright in rng.uniform(low, high, (layer.count, 5)):
        angle = np.deg2rad(90 + SLANT + turn)
        tip = (x + np.cos(angle) * layer.length * scale, y + np.sin(angle) * layer.length * scale)
        stroke = [tuple(round(v * 16) for v in point) for point in ((x, y), tip)]
        cv2.line(light, *stroke, float(bright), 1, cv2.LINE_AA, shift=4)
    light = cv2.GaussianBlur(light, (0, 0), layer.softness)
    light = cv2.blur(light, (1, max(int(layer.length * 0.3) | 1, 3)))  # a drop fades in and out
    return np.clip(light / np.percentile(light[light > 0.02], 95), 0, 1) * layer.opacity


def main() -> None:
    """Draw and save."""
    rng = np.random.default_rng(2024)
    photo = np.asarray(Image.open(Path(skimage.__file__).parent / "data/rocket.jpg").convert("RGB")) / np.float32(255)
    lamps = cv2.GaussianBlur(photo, (0, 0), 45)
    grey = lamps.mean(axis=2, keepdims=True)
    light = np.clip(0.45 + 0.85 * (lamps + grey) / 2 / grey.max(), 0, 1.3) * COLOUR
    clear = np.ones(photo.shape[:2], np.float32)
    for layer in LAYERS:
        clear *= 1 - streaks(layer, clear.shape, rng)
    rain = np.clip((1 - clear)[..., None] * light, 0, 1)
    rainy = (1 - (1 - photo) * (1 - rain)) * (1 - HAZE) + np.clip(lamps * 1.6 + 0.08, 0, 1) * HAZE
    TARGET.parent.mkdir(exist_ok=True)
    Image.fromarray(np.rint(np.clip(rainy, 0, 1) * 255).astype(np.uint8)).save(TARGET, quality=92, subsampling=0)


if __name__ == "__main__":
    main()
