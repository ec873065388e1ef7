"""Pairs made on the spot, for a machine without any set: drawn rain on four public-domain photographs.

The photographs lie in the package (``sample/demo``; their makers and terms stand in ``tests/make_demo.py``). The rain
is that of `dpenet_cli.synthesis.rain`, close to what our own weights are trained on: these numbers show that
everything works, and compare weights with each other on this machine. They place nothing among published results.
"""

from pathlib import Path

import numpy as np

from dpenet_cli.arrays import Pixels8
from dpenet_cli.evaluation.set_pictures import read_picture

RAINS = ("thin", "noise")
"""The kinds of rain drawn on each photograph: one like Rain100L's, one like Rain800's."""

_FOLDER = Path(__file__).parents[1] / "sample" / "demo"


def demo_names() -> list[str]:
    """The pairs' names, such as ``coffee-thin``, sorted."""
    return sorted(f"{path.stem}-{rain}" for path in _FOLDER.glob("*.jpg") for rain in RAINS)


def demo_pair(name: str) -> tuple[Pixels8, Pixels8]:
    """Make one pair, rainy and clean, H×W×3 uint8: the same every time on one machine.

    Another processor's arithmetic may turn a value by one grey level.

    Args:
        name: name of the pair, one of `demo_names`.
    """
    import torch

    from dpenet_cli.synthesis.parameters import Rain, draw_parameters
    from dpenet_cli.synthesis.rain import draw_rain

    photo, _, kind = name.rpartition("-")
    clean = read_picture(_FOLDER / f"{photo}.jpg")
    generator = torch.Generator().manual_seed(demo_names().index(name))
    parameters = draw_parameters([Rain(kind)], generator)
    planes = torch.from_numpy(clean).permute(2, 0, 1)[None].float() / 255.0  # 1×3×H×W, 0..1
    rainy = draw_rain(planes, parameters, generator)[0].permute(1, 2, 0).mul(255.0).round()
    return np.asarray(rainy.to(torch.uint8).numpy(), np.uint8), clean
