"""Pictures that hold a pair, each one half: told from others by their pixels, and cut in two."""

from collections.abc import Container, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dpenet_cli.arrays import Pixels8
from dpenet_cli.errors import DatasetError
from dpenet_cli.evaluation.set_pictures import read_picture

_SAMPLE = 12
"""Number of pictures of a folder that decide whether it holds side-by-side ones."""


class Side(StrEnum):
    """The half of a side-by-side picture that is clean."""

    LEFT = "left"
    RIGHT = "right"


def halves(picture: Pixels8) -> tuple[Pixels8, Pixels8]:
    """Both pictures of a side-by-side one, H×W×3 each; a column in the middle of an odd width belongs to neither."""
    half = picture.shape[1] // 2
    return picture[:, :half], picture[:, -half:]


def find_clean_side(paths: Sequence[Path], leave_out: Container[str], *, lenient: bool) -> Side | None:
    """Tell side-by-side pictures from others, and which half is clean; None for ordinary pictures.

    The halves of one scene agree where the two halves of a photograph do not; and rain adds horizontal differences.

    Args:
        paths: all pictures of a folder.
        leave_out: those among them that are not to be looked at.
        lenient: whether it is no error that none of them can be read.

    Raises:
        DatasetError: none of the pictures can be read, unless `lenient`.
    """
    agreements, activity_ratios = [], []
    for picture in _sample(paths, leave_out, lenient=lenient):
        if picture.shape[1] < 2:
            return None
        left, right = (half.mean(axis=2) for half in halves(picture))  # H×(W/2) each
        agreements.append(_agreement(left, right))
        # As a logarithm, for the sign to tell the side; 0.1 grey levels keep flat pictures finite.
        activity_ratios.append(np.log((_horizontal_activity(right) + 0.1) / (_horizontal_activity(left) + 0.1)))
    # The median: a photograph that happens to be symmetric, or one pair in heavy rain, must not decide.
    if not agreements or np.median(agreements) < 0.5:
        return None
    return Side.LEFT if np.mean(activity_ratios) > 0 else Side.RIGHT


def _sample(paths: Sequence[Path], leave_out: Container[str], *, lenient: bool) -> Iterator[Pixels8]:
    """A dozen pictures from all over a folder; others take the places of those that cannot be read."""
    spread = paths[:: max(len(paths) // _SAMPLE, 1)]
    found, first = 0, None
    for path in dict.fromkeys((*spread[:_SAMPLE], *paths)):
        if str(path) in leave_out:
            continue
        try:
            picture = read_picture(path)
        except DatasetError as error:  # told when all of them are read
            first = first or error
            continue
        yield picture
        found += 1
        if found == _SAMPLE:
            return
    if first and not found and not lenient:
        raise first


def _agreement(left: NDArray[Any], right: NDArray[Any]) -> float:
    """Correlation of two pictures without what all pictures share: bright above, dark below."""
    # At 24×24, streaks are gone and the scene's layout is left.
    a, b = (
        np.asarray(Image.fromarray(x.astype(np.float32)).resize((24, 24), Image.Resampling.BOX)) for x in (left, right)
    )
    # Less the means of columns and rows, or two halves of one landscape would agree by their sky.
    a, b = (x - x.mean(axis=0) - x.mean(axis=1, keepdims=True) + x.mean() for x in (a, b))
    return float((a * b).sum() / (np.sqrt((a * a).sum() * (b * b).sum()) + 1e-6))


def _horizontal_activity(picture: NDArray[Any]) -> float:
    """Mean absolute difference of horizontal neighbours, which upright streaks add to."""
    return float(np.abs(np.diff(picture, axis=1)).mean())
