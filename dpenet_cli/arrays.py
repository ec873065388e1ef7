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


def to_8_bits(pixels: NDArray[np.uint8 | np.uint16]) -> Pixels8:
    """Round to 8 bits: 65535 = 255 · 257. What is 8 bits already comes back as it is.

    Args:
        pixels: of any shape.

    Returns:
        The same shape, uint8.
    """
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
