"""The two recipes, and every option of a training run, declared once. No torch: the command line reads this."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from dpenet_cli.errors import OptionError, TrainingError
from dpenet_cli.options import Precision, check_types


class Recipe(StrEnum):
    """How to train: as the paper's authors did, or for weights that serve everywhere."""

    PAPER = "paper"
    GENERAL = "general"


PAIRS = "pairs"
"""The name, in a mixture, of rainy pictures as they are; the other names are kinds of drawn rain."""

GENERAL_MIX = {PAIRS: 0.27, "thin": 0.2, "dense": 0.24, "noise": 0.13, "depth": 0.07, "heavy": 0.03, "dry": 0.06}

_MINIMUM = {"batch": 1, "crop": 16, "threads": 1} | dict.fromkeys(
    ("steps", "epochs", "validation", "warmup", "clip", "seed", "evaluate_every", "checkpoint_seconds"), 0
)
"""The least value of each number that has no limit of its own kind."""

_LARGEST_SEED = 2**63 - 1
"""What PyTorch's generators take."""


@dataclass(frozen=True)
class TrainOptions:
    """One training run. The defaults are the general recipe's; `for_recipe` gives the paper's.

    Attributes:
        recipe: decides the loss (published or general), the schedule, and how pictures take turns: each once an epoch
            (paper), or drawn by the mixture (general).
        data: folders to learn from, see `datasets`; relative ones must be found from where a run is resumed.
        exclude: test folders whose backgrounds are left out of `data`.
        clean_side: clean half of side-by-side pictures, ``left`` or ``right``; None finds out.
        mix: weights of pairs and of the kinds of drawn rain; they need not sum to 1.
        steps: optimiser steps in all; 0 follows from `epochs`.
        epochs: passes over the data, where `steps` is 0.
        batch: crops in a step, of each process.
        crop: side of a crop in pixels.
        learning_rate: Adam's, at its highest.
        warmup: steps over which it rises to that, from nothing; at most a twentieth of the run.
        clip: largest norm of the gradient, 0 for no limit.
        ema: decay of the moving average of the weights that is validated and written out, 0 for the weights themselves.
        symmetries: flip and turn crops.
        light: the network with five blocks instead of ten.
        init: weights to start from, by name or path; for a light network those of a whole one will do.
        seed: of everything that is drawn.
        precision: fp32, or bf16 under autocast; auto is bf16 where the hardware has it.
        device: as for the other commands.
        compile: run the network through torch.compile; None does so on CUDA.
        threads: CPU threads, or None for PyTorch's number.
        validation: backgrounds set aside to validate on.
        evaluate_every: steps between evaluations; 0 makes 20 in a run.
        checkpoint_seconds: seconds between checkpoints, which is what a ``kill -9`` costs at most.
    """

    data: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    recipe: Recipe = Recipe.GENERAL
    clean_side: str | None = None
    mix: Mapping[str, float] = dataclasses.field(default_factory=lambda: dict(GENERAL_MIX))
    steps: int = 60_000
    epochs: int = 0
    batch: int = 32
    crop: int = 128
    learning_rate: float = 1e-3
    warmup: int = 500
    clip: float = 1.0
    ema: float = 0.999
    symmetries: bool = True
    light: bool = False
    init: str | None = None
    seed: int = 1234
    precision: Precision = Precision.AUTO
    device: str = "auto"
    compile: bool | None = None
    threads: int | None = None
    validation: int = 24
    evaluate_every: int = 0
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        check_types(self)
        for name, minimum in _MINIMUM.items():
            if (value := getattr(self, name)) is not None and value < minimum:
                what = f"{name.replace('_', '-')} {value}"
                raise OptionError(what, f"it is at least {minimum}", "Give a larger number.")
        if self.clean_side not in {None, "left", "right"}:
            why = "a picture has a left and a right half"
            raise OptionError(f"clean-side {self.clean_side}", why, "Use left or right.")
        if not self.data:
            raise OptionError("data", "there is nothing to learn from", "Give --data DIR.")
        if not self.steps and not self.epochs:
            raise OptionError("steps 0", "the run would have no end", "Give a number of steps or of epochs.")
        if not 0.0 <= self.ema < 1.0:
            raise OptionError(f"ema {self.ema}", "a decay lies in 0..1, without the 1", "Give 0.999, or 0 for none.")
        if self.learning_rate <= 0:
            raise OptionError(f"learning-rate {self.learning_rate}", "nothing would be learnt", "Give 0.001, say.")
        if self.seed > _LARGEST_SEED:
            raise OptionError(f"seed {self.seed}", f"it is at most {_LARGEST_SEED}", "Give a smaller number.")
        if self.precision is Precision.FP16:
            raise OptionError("precision fp16", "gradients need bf16's range", "Use bf16 or fp32.")
        unknown = sorted(set(self.mix) - set(GENERAL_MIX))
        if unknown or not 0 < sum(self.mix.values()) < math.inf or min(self.mix.values()) < 0:
            why = f"there is no {unknown[0]!r}" if unknown else "weights are positive numbers"
            raise OptionError("mix", why, f"Use {', '.join(GENERAL_MIX)}, as in pairs=0.3,thin=0.7.")

    @classmethod
    def for_recipe(cls, recipe: Recipe, data: tuple[str, ...], **changes: Any) -> Self:
        """The recipe's options, with some of them changed; None keeps the recipe's own."""
        own: dict[str, Any] = dict(_PAPER) if recipe is Recipe.PAPER else {}
        own |= {name: value for name, value in changes.items() if value is not None}
        return cls(data=data, recipe=recipe, **own)

    def to_json(self) -> str:
        """The options as a JSON object, one line a field."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `to_json` wrote.

        Raises:
            TrainingError: the file is missing or is not a run's options.
        """
        if not path.is_file():
            raise TrainingError(str(path.parent), "it holds no run", "Start one: leave out --resume, give --data.")
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            stored |= {"recipe": Recipe(stored["recipe"]), "precision": Precision(stored["precision"])}
            return cls(**(stored | {"data": tuple(stored["data"]), "exclude": tuple(stored["exclude"])}))
        except (OSError, ValueError, TypeError, KeyError, OptionError) as error:
            raise TrainingError(
                str(path), f"no options of a run: {error}", "Start the run without --resume."
            ) from error


# github.com/wybchd/DPENet as published: Adam 1e-3, 100 epochs, batches of 18 crops of 128×128, no flips, fp32 (which on
# CUDA is what PyTorch calls so: convolutions in TF32). The mixture matters only for pictures without a rainy partner.
_PAPER = {
    "steps": 0,
    "epochs": 100,
    "batch": 18,
    "crop": 128,
    "learning_rate": 1e-3,
    "warmup": 0,
    "clip": 0.0,
    "ema": 0.0,
    "symmetries": False,
    "precision": Precision.FP32,
    "mix": {PAIRS: 1.0, "thin": 1.0},
}
