"""Training runs of seconds: small options, pictures in memory, and what a run stored."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from conftest import scene

from dpenet_cli.training.events import Event
from dpenet_cli.training.options import Recipe, TrainOptions
from dpenet_cli.training.sources import TrainingPicture

CPU = torch.device("cpu")


def small(*data: str, **changes: Any) -> TrainOptions:
    """Options of a run that takes seconds."""
    own = {"steps": 6, "batch": 2, "crop": 32, "light": True, "validation": 2, "device": "cpu", "threads": 1}
    return TrainOptions.for_recipe(changes.pop("recipe", Recipe.GENERAL), data, **(own | changes))


def training_pictures(count: int) -> list[TrainingPicture]:
    """Pairs whose rainy half is brighter by 10."""
    scenes = [np.minimum(scene(seed), 200) for seed in range(count)]
    return [TrainingPicture(str(n), str(n), clean, clean + 10) for n, clean in enumerate(scenes)]


def stored(folder: Path) -> dict[str, Any]:
    """What a run's checkpoint holds."""
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def assert_same(a: Any, b: Any, where: str = "") -> None:
    """Two checkpoints are equal to the bit, but for the times in them."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            if key not in {"seconds", "clock"}:
                assert_same(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    else:
        assert a == b, where


def ignore(_: Event) -> None:
    """A report that nobody reads."""
