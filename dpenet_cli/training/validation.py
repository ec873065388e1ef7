"""The weights of a run, scored on pictures set aside: run as a user would run them, scored as the benchmark does."""

import copy
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from dpenet_cli.arrays import Pixels8
from dpenet_cli.evaluation.metrics import score
from dpenet_cli.inference.derainer import Derainer
from dpenet_cli.inference.torch import TorchBackend
from dpenet_cli.network.model import DPENet
from dpenet_cli.options import EngineOptions, Precision
from dpenet_cli.training.data import ValidationPair
from dpenet_cli.training.plots import draw_grid

_GRID_ROWS = 6
"""Validation pictures in the grid."""

_PSNR_CAP = 100.0
"""PSNR in dB that stands for identical pictures, so that a mean over pictures exists."""


class ValidationResult(NamedTuple):
    """Means over the validation pictures, and some of them in a grid: rainy, restored, clean (PNG)."""

    psnr: float
    ssim: float
    input_psnr: float
    pictures: int
    grid: bytes

    def scores(self) -> dict[str, float]:
        """For a weights card."""
        return {"psnr": self.psnr, "ssim": self.ssim, "input_psnr": self.input_psnr, "pictures": self.pictures}


def validate(model: DPENet, pairs: Sequence[ValidationPair], device: torch.device) -> ValidationResult | None:
    """Score weights on pictures.

    Args:
        model: fp32, on the CPU; it is left as it is.
        pairs: rainy pictures and their ground truths.
        device: where to run it.

    Returns:
        The result, or None if there are no pictures.
    """
    if not pairs:
        return None
    own = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)  # the backend moves it to the device
    derainer = Derainer(TorchBackend(own, str(device), Precision.AUTO), EngineOptions())
    scores: list[tuple[float, float, float]] = []
    rows: list[tuple[Pixels8, ...]] = []
    for pair in pairs:
        restored = np.asarray(derainer(pair.rainy), np.uint8)
        after, before = score(restored, pair.clean), score(pair.rainy, pair.clean)
        scores.append((min(after.psnr, _PSNR_CAP), after.ssim, min(before.psnr, _PSNR_CAP)))
        rows.append((pair.rainy, restored, pair.clean))
    psnr, ssim, input_psnr = (math.fsum(column) / len(column) for column in zip(*scores, strict=True))
    captions = [f"{before:.2f} -> {after:.2f} dB" for after, _, before in scores]
    every = max(len(rows) // _GRID_ROWS, 1)
    grid = draw_grid(rows[::every][:_GRID_ROWS], captions[::every][:_GRID_ROWS])
    return ValidationResult(psnr, ssim, input_psnr, len(rows), grid)
