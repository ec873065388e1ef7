"""In which size a picture's rain should be seen, and whether there is any: a rule that is fitted to weights.

From what small looks say (`dpenet_cli.inference.scale_evidence`) it predicts by how many decibels the result in half of
a size is better. Its coefficients are fitted on rain that was drawn at known sizes (`dpenet_cli.evaluation.scale_fit`)
and lie beside the weights that they belong to.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from dpenet_cli.arrays import Pixels
from dpenet_cli.errors import WeightsError
from dpenet_cli.inference.looks import SCALES
from dpenet_cli.inference.scale_evidence import FEATURES, RAIN_FEATURES, Evidence
from dpenet_cli.network.weights_files import find_weights
from dpenet_cli.options import DEFAULT_WEIGHTS
from dpenet_cli.system.atomic import write_whole


def _size(scale: float) -> str:
    """A size in words: 1/4, or 0.35."""
    part = 1 / scale
    return f"1/{part:.0f}" if scale < 1 and abs(part - round(part)) < 0.01 else f"{scale:.2g}"


_SEEN = 0.4
"""Share of the light that a finer size removes which a size must remove itself. Drawn rain of every kind keeps to 0.8,
and real rain, enlarged, to 0.41; without it, one real picture in dense rain was shown in an eighth of its size, where
its streaks are gone."""

SUFFIX = ".scales.json"
"""Added to the stem of a weights file: the rule that belongs to it."""


class Choice(NamedTuple):
    """In which size a picture is looked at, and why.

    Attributes:
        scale: width that the network sees over the picture's.
        dry: whether no look found rain; False where nobody looked.
        looked: pixels that were looked at to decide, over those of the picture.
        gains: decibels that each size was expected to gain over the picture's own; empty where it was given.
    """

    scale: float
    dry: bool = False
    looked: float = 0.0
    gains: Mapping[float, float] = {}

    def __str__(self) -> str:
        """In words."""
        if self.dry:
            return f"no rain found: looked at {_size(self.scale)}"
        times = f"streaks about {1 / self.scale:.2g} times the size that the weights know" if self.scale < 1 else ""
        return f"{times or 'streaks of the size that the weights know'}: looked at {_size(self.scale)}"

    @property
    def at_the_limit(self) -> bool:
        """Whether the smallest size that was looked at seems best: the streaks may be wider still."""
        return self.scale == min(SCALES) and self.scale in self.gains


class Cleaned(NamedTuple):
    """A clean picture, how it was looked at, and what the network ran with, as `Derainer.used_for` tells it."""

    pixels: Pixels
    choice: Choice
    used: Mapping[str, str] | None = None


@dataclass(frozen=True)
class ScaleRule:
    """What is fitted to weights.

    Attributes:
        coefficients: decibels that half of a size gains over it, for each of `FEATURES`.
        least_light: grey levels that the best size must remove; below it a picture is looked at in its own size.
        rain: for each of `RAIN_FEATURES`; a picture whose strongest windows have a mean sum above 0 shows rain.
    """

    coefficients: tuple[float, ...]
    least_light: float
    rain: tuple[float, ...]

    def decide(self, evidence: Evidence, margin: float = 0.0) -> Choice:
        """In which size to look at what the evidence is of, and whether there is rain in it.

        Args:
            evidence: what the looks say.
            margin: decibels by which another size must be better than the picture's own to be taken.
        """
        gains = {1.0: 0.0}
        for scale in sorted(evidence.comparisons, reverse=True):
            if scale in gains:  # the sizes above it were compared too
                gains[scale / 2] = gains[scale] + float(evidence.features(scale) @ np.array(self.coefficients))
        light = {scale: evidence.shapes[scale].mean for scale in gains if scale in evidence.shapes}

        def sees_the_rain(scale: float) -> bool:
            return scale == 1 or light[scale] >= _SEEN * max(light[other] for other in light if other >= scale)

        seen = [scale for scale in gains if sees_the_rain(scale)]
        best = max(seen, key=lambda scale: gains[scale] + (margin if scale == 1 else 0.0))
        if max(light.values(), default=0.0) < self.least_light:
            best = 1.0  # next to nothing to be gained, and what is seen may be no rain
        return Choice(best, dry=evidence.rain(self.rain) <= 0, gains=gains)

    def save(self, path: Path) -> None:
        """Write the rule as JSON; whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        fields = {"features": FEATURES, "rain_features": RAIN_FEATURES, **asdict(self)}
        write_whole(path, (json.dumps(fields, indent=2) + "\n").encode())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a rule.

        Raises:
            WeightsError: the file is damaged, or of another version.
        """
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            if (tuple(fields["features"]), tuple(fields["rain_features"])) != (FEATURES, RAIN_FEATURES):
                raise ValueError("it was fitted for another version of dpenet")  # noqa: TRY301 - told in one place
            coefficients, rain = (tuple(float(each) for each in fields[name]) for name in ("coefficients", "rain"))
            if (len(coefficients), len(rain)) != (len(FEATURES), len(RAIN_FEATURES)):
                raise ValueError("numbers are missing")  # noqa: TRY301 - told in one place
            return cls(coefficients, float(fields["least_light"]), rain)
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = f"it cannot be read as a rule of sizes ({error})"
            raise WeightsError(str(path), why, "Fit it again: see dpenet weights fit-scales --help.") from error


def rule_path(weights: str | Path) -> Path:
    """Where the rule of weights lies, or would: beside their file.

    Raises:
        WeightsError: there are no such weights.
    """
    path = find_weights(weights)
    return path.with_name(path.stem + SUFFIX)


def rule_for(weights: str | Path) -> ScaleRule:
    """The rule that was fitted to weights, or that of the default ones where there is none.

    Raises:
        WeightsError: there are no such weights, or their rule is damaged.
    """
    own = rule_path(weights)
    return ScaleRule.load(own if own.is_file() else rule_path(DEFAULT_WEIGHTS))
