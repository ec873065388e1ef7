"""Per-pixel quantiles of a few pictures, by compare and exchange: whole pictures at a time, no sorting of pixels."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def order_statistic(pictures: Sequence[NDArray[Any]], rank: int) -> NDArray[Any]:
    """The value of a rank among the pictures at each pixel, and in each channel.

    Args:
        pictures: at least one, all of one shape and dtype, uint8, uint16 or float32.
        rank: 0 for the smallest, `len(pictures) - 1` for the largest.

    Returns:
        A new picture of the same shape and dtype.

    >>> pictures = [np.full((1, 1), value, np.uint8) for value in (7, 1, 5)]
    >>> order_statistic(pictures, 1).item()
    5
    """
    values = list(pictures)
    # Rank 0 needs one pass, rank 1 two: each carries the smallest of what is left to the front, as bubble sort does.
    # From the other end it is the same with the largest, and shorter for high ranks.
    from_above = len(values) - 1 - rank
    keep, push = (cv2.min, cv2.max) if rank <= from_above else (cv2.max, cv2.min)
    last = min(rank, from_above)
    for position in range(last + 1):
        for index in range(len(values) - 1, position, -1):
            first, second = values[index - 1], values[index]
            values[index - 1] = keep(first, second)
            if position < last:  # in the last pass only what arrives in front is wanted
                values[index] = push(first, second)
    chosen = values[last]
    return chosen.copy() if any(chosen is picture for picture in pictures) else np.asarray(chosen)
