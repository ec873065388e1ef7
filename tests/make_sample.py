"""Makes ``dpenet_cli/sample/rainy.jpg``: rain drawn over a CC0 photograph that scikit-image carries.

    python tests/make_sample.py

The photograph is ``rocket.jpg`` (the launch of DSCOVR, by SpaceX, released as CC0). The rain is added and clipped, as
the field's synthetic sets do it: O = min(B + R, 1).
"""

from pathlib import Path

import cv2
import numpy as np
import skimage
from PIL import Image

TARGET = Path(__file__).parent.parent / "dpenet_cli/sample/rainy.jpg"


def streaks(shape: tuple[int, int], count: int, length: float, strength: float, rng: np.random.Generator) -> np.ndarray:
    """One layer of short, nearly parallel strokes, H×W float32, 0..1."""
    layer = np.zeros(shape, np.float32)
    for x, y, scale, turn in rng.uniform((0, 0, 0.5, -3), (shape[1], shape[0], 1.5, 3), (count, 4)):
        angle = np.deg2rad(78 + turn)
        tip = (x + np.cos(angle) * length * scale, y + np.sin(angle) * length * scale)
        stroke = [tuple(round(v * 16) for v in point) for point in ((x, y), tip)]
        cv2.line(layer, *stroke, float(strength * rng.uniform(0.4, 1.0)), 1, cv2.LINE_AA, shift=4)
    return cv2.GaussianBlur(layer, (0, 0), 0.6)


def main() -> None:
    """Draw and save."""
    rng = np.random.default_rng(2024)
    photo = np.asarray(Image.open(Path(skimage.__file__).parent / "data/rocket.jpg").convert("RGB")) / np.float32(255)
    rain = streaks(photo.shape[:2], 1600, 26, 0.55, rng) + streaks(photo.shape[:2], 500, 45, 0.8, rng)
    rainy = np.minimum(photo + rain[..., None], 1.0)
    TARGET.parent.mkdir(exist_ok=True)
    Image.fromarray(np.rint(rainy * 255).astype(np.uint8)).save(TARGET, quality=92, subsampling=0)


if __name__ == "__main__":
    main()
