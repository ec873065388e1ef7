"""A part of a picture that somebody wants to see, in pixels or in percent of the picture."""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from dpenet_cli.errors import OptionError

ALL = "all"
"""The whole picture, as a region's name."""

_NUMBER = re.compile(r"\s*([0-9]{1,7}(?:\.[0-9]{1,6})?)\s*(%?)\s*")


class Box(NamedTuple):
    """A part of a picture in pixels, from its upper left corner on."""

    left: int
    top: int
    width: int
    height: int

    def __str__(self) -> str:
        """As ``--region`` takes it."""
        return ",".join(map(str, self))


class _Length(NamedTuple):
    """So many pixels, or percent of a side."""

    value: Fraction
    percent: bool

    def pixels(self, side: int) -> int:
        """In whole pixels."""
        return round(self.value * side / 100 if self.percent else self.value)


@dataclass(frozen=True)
class Region:
    """What ``--region`` asks for; `Region.parse` reads it.

    Attributes:
        text: as it was given.
    """

    text: str
    _lengths: tuple[_Length, ...]

    @classmethod
    def parse(cls, text: str) -> "Region":
        """Read ``X,Y,W,H``, each in pixels or, with a percent sign, in percent; or ``all``.

        >>> Region.parse("25%,50%,320,240").of(800, 600)
        Box(left=200, top=300, width=320, height=240)

        Raises:
            OptionError: it is none.
        """
        parts = ["0", "0", "100%", "100%"] if text.strip().lower() == ALL else text.split(",")
        found = [_NUMBER.fullmatch(part) for part in parts]
        lengths = tuple(_Length(Fraction(match[1]), bool(match[2])) for match in found if match)
        if len(parts) != 4 or len(lengths) != 4:
            why = "it is not X,Y,W,H: the left edge, the upper edge, width and height, in pixels or percent"
            raise OptionError(f"--region {text!r}", why, "Give 1200,800,640,640 or 40%,40%,20%,20%, say, or all.")
        return cls(text, lengths)

    def of(self, width: int, height: int) -> Box:
        """The part of a picture of this size; what reaches beyond its right and lower edges is cut off.

        Raises:
            OptionError: nothing is left.
        """
        left, top, right, bottom = (
            length.pixels(side) for length, side in zip(self._lengths, (width, height) * 2, strict=True)
        )
        box = Box(left, top, min(right, width - left), min(bottom, height - top))
        if min(box.width, box.height) < 1:
            why = f"nothing of it lies in the picture, which is {width} pixels wide and {height} high"
            raise OptionError(f"--region {self.text}", why, "Give another one, in percent if that is easier.")
        return box
