"""How a picture is cut into strips: from its width, the widest strip and the halo to columns. Integers only.

A picture is cut into strips of columns. Each strip carries the halo of columns that its result depends on, which is
computed twice; down the strip the network works in bands of rows whose context is stored, not recomputed. A picture
that is not wider than a tile is one strip, and costs nothing extra.
"""

import itertools
from dataclasses import dataclass
from typing import NamedTuple

MIN_TILE = 32
"""Narrowest strip that running out of memory leads to, in pixels; below it the halo is nearly all of the work."""

MIN_BAND_ROWS = 8
"""Shortest band that running out of memory leads to, in pixels; below it what is stored between bands weighs most."""


class Strip(NamedTuple):
    """Columns ``left`` to ``right`` of the result, computed from columns ``start`` to ``stop`` of the picture."""

    left: int
    right: int
    start: int
    stop: int


@dataclass(frozen=True)
class Plan:
    """The strips of one picture, from left to right."""

    width: int
    strips: tuple[Strip, ...]

    @property
    def overhead(self) -> float:
        """Operations done over operations needed; 1.0 where nothing is computed twice."""
        return sum(strip.stop - strip.start for strip in self.strips) / self.width


def plan(width: int, *, tile: int, halo: int) -> Plan:
    """Cut `width` columns into the fewest strips of at most `tile` columns, as even as integers allow.

    Args:
        width: columns of the picture, at least 1.
        tile: widest strip, without its halo, at least 1.
        halo: columns of context on either side, where the picture has them.
    """
    count = -(-width // tile)
    edges = [index * width // count for index in range(count + 1)]
    strips = tuple(
        Strip(left, right, max(left - halo, 0), min(right + halo, width)) for left, right in itertools.pairwise(edges)
    )
    return Plan(width, strips)
