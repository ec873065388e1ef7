"""The weights of a run, scored on pictures set aside: run as a user would run them, scored as the benchmark does."""

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

    def numbers(self) -> dict[str, float]:
        """For a weights card."""
        return {"psnr": self.psnr, "ssim": self.ssim, "input_psnr": self.input_psnr, "pictures": self.pictures}


def validate(model: DPENet, checks: Sequence[ValidationPair], device: torch.device) -> ValidationResult | None:
    """Score weights on pictures.

    Args:
        model: fp32, on the CPU; it is left as it is.
        checks: pictures and their ground truths.
        device: where to run it.

    Returns:
        The verdict, or None if there are no pictures.
    """
    if not checks:
        return None
    copy = DPENet(model.config)
    copy.load_state_dict(model.state_dict())
    backend = TorchBackend(copy.eval().requires_grad_(requires_grad=False), str(device), Precision.AUTO)
    derainer = Derainer(backend, EngineOptions())
    columns: list[tuple[float, float, float]] = []
    rows: list[tuple[Pixels8, ...]] = []
    for check in checks:
        restored = np.asarray(derainer(check.rainy), np.uint8)
        after, before = score(restored, check.clean), score(check.rainy, check.clean)
        columns.append((min(after.psnr, _PSNR_CAP), after.ssim, min(before.psnr, _PSNR_CAP)))
        rows.append((check.rainy, restored, check.clean))
    psnr, ssim, before_psnr = (math.fsum(column) / len(columns) for column in zip(*columns, strict=True))
    step = max(len(rows) // _GRID_ROWS, 1)
    captions = [f"{before:.2f} -> {after:.2f} dB" for after, _, before in columns]
    grid = draw_grid(rows[::step][:_GRID_ROWS], captions[::step][:_GRID_ROWS])
    return ValidationResult(psnr, ssim, before_psnr, len(rows), grid)
