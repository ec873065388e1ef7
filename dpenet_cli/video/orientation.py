"""Which way is up: display matrices as quarter turns and mirrors of arrays."""

from typing import NamedTuple

import numpy as np

from dpenet_cli.arrays import Pixels
from dpenet_cli.video.scanned import DisplayMatrix


class Orientation(NamedTuple):
    """How a coded picture is to be turned: mirrored left to right first, then turned by quarters counter-clockwise."""

    mirrored: bool = False
    quarters: int = 0

    @property
    def sideways(self) -> bool:
        """Whether width and height change places."""
        return self.quarters % 2 == 1

    def upright(self, image: Pixels) -> Pixels:
        """H×W×3 as coded to h×w×3 as seen."""
        if self.mirrored:
            image = image[:, ::-1]
        return np.ascontiguousarray(np.rot90(image, self.quarters))

    def as_coded(self, image: Pixels) -> Pixels:
        """The way back."""
        image = np.rot90(image, -self.quarters)
        return np.ascontiguousarray(image[:, ::-1] if self.mirrored else image)


def orientation_of(matrix: DisplayMatrix | None) -> Orientation | None:
    """The orientation that a display matrix asks for; None if it is no quarter turn.

    A point (x, y) of the coded picture goes to (a·x + c·y, b·x + d·y); y runs down.

    Args:
        matrix: as the file has it; None is upright.
    """
    if matrix is None:
        return Orientation()
    a, b, _, c, d = (int(np.sign(value)) if abs(value) > 100 else 0 for value in matrix[:5])
    # The eight ways a picture can lie: by quarters, and each of these mirrored.
    for mirrored in (False, True):
        for quarters, turn in enumerate(((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))):
            ta, tb, tc, td = turn
            # Mirroring first: x becomes -x, so the first column of the turn changes its sign.
            if (a, b, c, d) == ((-ta, -tb, tc, td) if mirrored else turn):
                return Orientation(mirrored, quarters)
    return None
