"""A before/after picture for people to look at."""

import contextlib
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dpenet_cli.arrays import Pixels, to_8_bits
from dpenet_cli.errors import ImageReadError
from dpenet_cli.images import icc_profiles
from dpenet_cli.images.picture import Picture

_LONGEST = 2400
"""Longest side of either half, in pixels: sharp on today's screens, small enough to send to somebody."""

_GAP = 8
"""White columns between the halves, in pixels."""


def side_by_side(before: Picture, after: Picture) -> bytes:
    """A JPEG with both pictures, `before` on the left, in their own colour profile; grey ones with a profile in sRGB.

    Args:
        before: the input.
        after: the result, of the same size.

    Raises:
        ImageReadError: it has another size.
    """
    if before.pixels.shape != after.pixels.shape:
        why = "it does not have the size of the picture that it was made of, and no before/after picture can be made"
        raise ImageReadError("the result", why, "Leave out --compare, or clean it again with --overwrite.")
    halves, icc = on_rgb([_for_screen(picture.pixels) for picture in (before, after)], after)
    height, width = halves[0].shape[:2]
    canvas = np.full((height, 2 * width + _GAP, 3), 255, np.uint8)
    canvas[:, :width] = halves[0]
    canvas[:, width + _GAP :] = halves[1]
    file = io.BytesIO()
    Image.fromarray(canvas).save(file, "JPEG", quality=92, subsampling=0, icc_profile=icc)
    return file.getvalue()


def on_rgb(parts: list[NDArray[np.uint8]], picture: Picture) -> tuple[list[NDArray[np.uint8]], bytes | None]:
    """Versions of a picture as they can stand on an RGB canvas, H×W×3 each, and their colour profile there.

    They keep the picture's own; grey ones with a profile become sRGB.
    """
    icc = picture.metadata.icc
    if not icc or icc_profiles.fits(icc, grey=False):
        return parts, icc
    if picture.grey:
        with contextlib.suppress(icc_profiles.ProfileError):
            parts = [np.repeat(icc_profiles.converted(part[..., :1], icc), 3, axis=2) for part in parts]
    return parts, None


def _for_screen(pixels: Pixels) -> NDArray[np.uint8]:
    """H×W×3 uint8 or uint16, to uint8 of at most `_LONGEST` pixels a side."""
    height, width = pixels.shape[:2]
    scale = min(1.0, _LONGEST / max(height, width))
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return np.asarray(Image.fromarray(to_8_bits(pixels)).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))
