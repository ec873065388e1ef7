import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import pytest

from dpenet_cli.errors import OptionError, TrainingError
from dpenet_cli.training.options import Recipe, TrainOptions


def test_the_published_recipe_is_the_published_one() -> None:
    options = TrainOptions.for_recipe(Recipe.PAPER, ("x",))
    assert (options.batch, options.crop, options.epochs, options.learning_rate) == (18, 128, 100, 1e-3)
    assert (options.clip, options.ema, options.warmup, options.symmetries) == (0, 0, 0, False)
    assert options.precision == "fp32"


def test_options_travel_through_json_and_refuse_nonsense(tmp_path: Path) -> None:
    options = TrainOptions.for_recipe(Recipe.PAPER, ("a", "b"), exclude=("c",), mix={"thin": 1.0})
    (tmp_path / "options.json").write_text(options.to_json())
    assert TrainOptions.read(tmp_path / "options.json") == options
    for wrong in ({"batch": 0}, {"mix": {"hail": 1.0}}, {"mix": {"thin": 0.0}}, {"ema": 1.0}, {"learning_rate": -1.0}):
        with pytest.raises(OptionError):
            TrainOptions.for_recipe(Recipe.GENERAL, ("a",), **wrong)
    with pytest.raises(TrainingError, match="it holds no run"):
        TrainOptions.read(tmp_path / "nothing.json")
    (tmp_path / "options.json").write_text("{}")
    with pytest.raises(TrainingError, match="no options of a run"):
        TrainOptions.read(tmp_path / "options.json")


NUMBERS = [
    "steps",
    "epochs",
    "batch",
    "crop",
    "learning_rate",
    "warmup",
    "clip",
    "ema",
    "seed",
    "threads",
    "validation",
    "evaluate_every",
    "checkpoint_seconds",
    "plan_minutes",
    "decay_from",
    "l1_weight",
    "structure",
    "structure_dry",
    "dry_weight",
]


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_of_a_run_is_checked(tmp_path: Path, name: str) -> None:
    numbers = {field.name for field in dataclasses.fields(TrainOptions) if re.search("int|float", str(field.type))}
    assert numbers - {"mix"} == set(NUMBERS)
    for wrong in (math.nan, math.inf, -math.inf, -1, "1", True):
        with pytest.raises(OptionError, match=name.replace("_", "-")):
            TrainOptions(data=("a",), **{name: wrong})
    with pytest.raises(OptionError, match="mix"):
        TrainOptions(data=("a",), mix={"thin": 1.0, "dense": wrong})


@pytest.mark.parametrize(
    "wrong",
    [
        {"mix": {"thin": math.nan}},
        {"mix": {"thin": math.inf}},
        {"mix": {"thin": 1.0, "dry": -1.0}},
        {"mix": {"thin": 1e308, "dry": 1e308}},
        {"mix": "x"},
        {"data": "a"},
        {"data": (1,)},
        {"exclude": ["c"]},
        {"light": 1},
        {"clean_side": "top"},
        {"recipe": "best"},
        {"precision": "fp16"},
        {"device": None},
        {"seed": 2**63},
        {"learning_rate": 0},
        {"init": 3},
        {"compile": "no"},
        {"structure": 1.1},
        {"structure_dry": 2},
        {"decay_from": 1.0},
        {"plan_minutes": 0},
        {"dry_weight": 0.6},
        {"layers": 3},
    ],
)
def test_wrong_values_of_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        TrainOptions(**{"data": ("a",)} | wrong)
