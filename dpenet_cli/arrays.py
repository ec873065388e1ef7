"""The array types of the whole program: pictures and frames as NumPy arrays, rows first."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8 | np.uint16]
"""H×W×3, RGB, uint8 (0..255) or uint16 (0..65535)."""

Pixels8: TypeAlias = NDArray[np.uint8]
"""H×W×3, RGB, uint8 (0..255): what sets of pairs, metrics and training work on."""

HDR_TRANSFERS = frozenset({16, 18})
"""Transfer characteristics of ITU-T H.273 that are high dynamic range: PQ and HLG."""


BAND = 256
"""Rows of a whole picture that are worked on at a time, where a step needs wider numbers or a copy of them."""


def to_8_bits(pixels: NDArray[np.uint8 | np.uint16]) -> NDArray[np.uint8]:
    """Round to 8 bits. What is 8 bits already comes back as it is.

    Args:
        pixels: rows first, H×…, uint8 (0..255) or uint16 (0..65535).

    Returns:
        The same shape, uint8.

    >>> to_8_bits(np.array([0, 128, 129, 65535], np.uint16)).tolist()
    [0, 0, 1, 255]
    """
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    result = np.empty(pixels.shape, np.uint8)
    for top in range(0, len(pixels), BAND):
        # 65535 = 255 · 257, and 257 is odd: half of it rounded down is 128, and no value lies between two.
        result[top : top + BAND] = (pixels[top : top + BAND].astype(np.uint32) + 128) // 257
    return result
