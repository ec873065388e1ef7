"""The two recipes, and every option of a training run, declared once. No torch: the command line reads this."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, Self

from dpenet_cli.errors import OptionError, TrainingError
from dpenet_cli.options import Precision, check_types


class Recipe(StrEnum):
    """How to train: as the paper's authors did, or for weights that serve everywhere."""

    PAPER = "paper"
    GENERAL = "general"


PAIRS = "pairs"
"""The name, in a mixture, of rainy pictures as they are; the other names are kinds of drawn rain."""

GENERAL_MIX = {PAIRS: 0.28, "thin": 0.15, "dense": 0.27, "noise": 0.08, "depth": 0.1, "heavy": 0.03, "dry": 0.09}

GENERAL_PLAN = "128:32:0.3,192:14:0.3,256:8:0.4"
"""Crops grow, at about the same number of pixels a step: small ones are many and various, and learning begins fast on
them; large ones show the network its whole context, whose radius is 181 pixels."""

_SMALLEST_CROP = 16

_MINIMUM = {"batch": 1, "crop": _SMALLEST_CROP, "threads": 1} | dict.fromkeys(
    (
        *("steps", "epochs", "validation", "warmup", "clip", "seed", "evaluate_every", "checkpoint_seconds"),
        *("l1_weight", "dry_weight"),
    ),
    0,
)
"""The least value of each number that has no limit of its own kind."""

_SHARES = ("structure", "structure_dry")
"""Options that are a share of something: 0..1, both included."""

_LARGEST_SEED = 2**63 - 1
"""What PyTorch's generators take."""


class CropStage(NamedTuple):
    """A part of a run.

    Attributes:
        side: of its crops in pixels.
        batch: crops in a step.
        share: of the run that it takes, 0..1.
    """

    side: int
    batch: int
    share: float


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
        layers: folder of rendered streak layers that some of the drawn rain comes from, or None.
        structure: share of the crops with drawn rain that get structure before it rains.
        structure_dry: the same of the dry ones.
        skip_bad: leave out files that cannot be read, instead of not beginning.
        pack: file that keeps the decoded pictures, or None; it is made if it is not there.
        plan: parts of the run as ``side:batch:share``, separated by commas; None makes it one, of `crop` and `batch`.
        steps: optimiser steps in all; 0 follows from `epochs`.
        epochs: passes over the data, where `steps` is 0.
        plan_minutes: the whole run is planned into so many minutes from its start, whatever `steps` says, and always
            ends with its learning rate decayed; None plans by steps.
        batch: crops in a step, of each process that torchrun starts, where there is no plan.
        crop: side of a crop in pixels, where there is no plan.
        learning_rate: Adam's, at its highest.
        warmup: steps over which it rises to that, from nothing; at most a twentieth of the run.
        decay_from: share of the run after which the learning rate falls.
        clip: largest norm of the gradient, 0 for no limit.
        ema: decay of the moving average of the weights that is validated and written out, 0 for the weights themselves.
        symmetries: flip and turn crops, quarter turns among it; rain falls, so they teach what no camera sees.
        mirrors: exchange left and right at random, where there are no `symmetries`.
        l1_weight: weight of L1 beside 1 − SSIM (general).
        light: the network with five blocks instead of ten.
        init: weights to start from, by name or path; for a light network those of a whole one will do.
        seed: of everything that is drawn.
        precision: fp32, or bf16 under autocast; auto is bf16 where the hardware has it.
        device: as for the other commands.
        compile: run the network through torch.compile; None does not.
        threads: CPU threads, or None for PyTorch's number; on a CPU, as many processes of one thread share each step.
        validation: backgrounds set aside to validate on.
        dry_weight: weight of the PSNR of dry pictures, and again of structured ones, in the blend that chooses the best
            weights; that of rainy ones has the rest.
        evaluate_every: steps between evaluations; 0 makes 20 in a run.
        csv: keep the log as a table too.
        checkpoint_seconds: seconds between checkpoints, which is what a ``kill -9`` costs at most.
    """

    data: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    recipe: Recipe = Recipe.GENERAL
    clean_side: str | None = None
    mix: Mapping[str, float] = dataclasses.field(default_factory=lambda: dict(GENERAL_MIX))
    layers: str | None = None
    structure: float = 0.33
    structure_dry: float = 0.6
    skip_bad: bool = False
    pack: str | None = None
    plan: str | None = None
    steps: int = 60_000
    epochs: int = 0
    plan_minutes: float | None = None
    batch: int = 32
    crop: int = 128
    learning_rate: float = 1e-3
    warmup: int = 500
    decay_from: float = 0.35
    clip: float = 1.0
    ema: float = 0.999
    symmetries: bool = False
    mirrors: bool = True
    l1_weight: float = 5.0
    light: bool = False
    init: str | None = None
    seed: int = 1234
    precision: Precision = Precision.AUTO
    device: str = "auto"
    compile: bool | None = None
    threads: int | None = None
    validation: int = 24
    dry_weight: float = 0.1
    evaluate_every: int = 0
    checkpoint_seconds: float = 60.0
    csv: bool = False

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
        self._check_course()
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

    def _check_course(self) -> None:
        """Check what the run's course and its mixture of structure follow from."""
        if self.plan_minutes is not None and self.plan_minutes <= 0:
            raise OptionError(f"plan-minutes {self.plan_minutes}", "it is a time to train in", "Give 60, say.")
        if not 0.0 <= self.decay_from < 1.0:
            why = "it is a share of the run, from 0 to below 1"
            raise OptionError(f"decay-from {self.decay_from}", why, "Give 0.35, say.")
        for name in _SHARES:
            if not 0.0 <= (share := getattr(self, name)) <= 1.0:
                raise OptionError(f"{name.replace('_', '-')} {share}", "a share lies in 0..1", "Give 0.33, say.")
        if self.dry_weight > 0.5:
            raise OptionError(f"dry-weight {self.dry_weight}", "it counts twice, and all is 1", "Give 0.1, say.")
        self.stages  # noqa: B018 - wrong ones are found here

    @property
    def stages(self) -> tuple[CropStage, ...]:
        """The parts of the run, their shares made to sum to 1.

        Raises:
            OptionError: the plan is not written as one.
        """
        if self.plan is None:
            return (CropStage(self.crop, self.batch, 1.0),)
        step = f"Write {GENERAL_PLAN}, say: parts of side:batch:share."
        stages = []
        for part in self.plan.split(","):
            try:
                side, batch, share = part.split(":")
                stage = CropStage(int(side), int(batch), float(share))
            except ValueError as error:
                raise OptionError(f"plan {self.plan!r}", f"{part!r} is not side:batch:share", step) from error
            if stage.side < _SMALLEST_CROP or stage.batch < 1 or not 0 < stage.share < math.inf:
                why = f"in {part!r}, a side is at least {_SMALLEST_CROP}, a batch at least 1, a share more than 0"
                raise OptionError(f"plan {self.plan!r}", why, step)
            stages.append(stage)
        total = sum(stage.share for stage in stages)
        if not total < math.inf:
            raise OptionError(f"plan {self.plan!r}", "its shares have no sum", step)
        return tuple(stage._replace(share=stage.share / total) for stage in stages)

    @classmethod
    def for_recipe(cls, recipe: Recipe, data: tuple[str, ...], **changes: Any) -> Self:
        """The recipe's options, with some of them changed; None keeps the recipe's own.

        A crop or a batch stands for the whole run, so the general recipe's plan, in which crops grow, goes with it.
        """
        own: dict[str, Any] = dict(_PAPER) if recipe is Recipe.PAPER else {"plan": GENERAL_PLAN}
        changes = {name: value for name, value in changes.items() if value is not None}
        if changes.keys() & {"crop", "batch"}:
            if "plan" in changes:
                raise OptionError("plan", "it says itself how large crops and batches are", "Leave out the others.")
            own["plan"] = None
        own |= changes
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
            stored = _OF_0_1_0 | json.loads(path.read_text(encoding="utf-8"))
            stored |= {"recipe": Recipe(stored["recipe"]), "precision": Precision(stored["precision"])}
            return cls(**(stored | {"data": tuple(stored["data"]), "exclude": tuple(stored["exclude"])}))
        except (OSError, ValueError, TypeError, KeyError, OptionError) as error:
            raise TrainingError(
                str(path), f"no options of a run: {error}", "Start the run without --resume."
            ) from error


_OF_0_1_0: dict[str, Any] = {
    "layers": None,
    "structure": 0.0,
    "structure_dry": 0.0,
    "pack": None,
    "plan": None,
    "plan_minutes": None,
    "decay_from": 0.0,
    "mirrors": False,
    "l1_weight": 1.0,
    "dry_weight": 0.0,
}
"""What options that version 0.1.0 did not have stood at in it, so that its runs go on as they began."""

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
    "mirrors": False,
    "structure": 0.0,
    "structure_dry": 0.0,
    "dry_weight": 0.0,
    "precision": Precision.FP32,
    "mix": {PAIRS: 1.0, "thin": 1.0},
}
