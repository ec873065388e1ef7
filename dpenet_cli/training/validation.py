"""The weights of a run, scored on pictures set aside: run as a user would run them, scored as the benchmark does.

Rainy pictures say how well rain goes; dry ones, and dry ones with structure drawn on them, how well all else stays.
Each alone would choose badly: weights that take nothing are best on dry pictures.
"""

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
from dpenet_cli.training.data import ValidationPair, ValidationSet
from dpenet_cli.training.plots import draw_grid

_GRID_ROWS = 6
"""Validation pictures in the grid."""

_PSNR_CAP = 100.0
"""PSNR in dB that stands for identical pictures, so that a mean over pictures exists."""

_DRY_CAP = 50.0
"""PSNR in dB beyond which a dry picture counts no more in the blend: nobody sees what is left."""


class ValidationResult(NamedTuple):
    """Means over the validation pictures, and some of them in a grid: rainy, restored, clean (PNG).

    Attributes:
        psnr: of restored pictures, in dB.
        ssim: of the same.
        input_psnr: of the rainy pictures as they are, in dB.
        dry_psnr: of clean pictures to themselves, in dB; NaN if they are not scored.
        structure_psnr: of clean pictures with structure to themselves, in dB; NaN if they are not scored.
        blend: what the best weights are chosen by, in dB; see `blended`.
        pictures: how many of each there are.
        grid: some of them, as PNG.
    """

    psnr: float
    ssim: float
    input_psnr: float
    dry_psnr: float
    structure_psnr: float
    blend: float
    pictures: int
    grid: bytes

    def scores(self) -> dict[str, float]:
        """For a weights card."""
        names = ("psnr", "ssim", "input_psnr", "dry_psnr", "structure_psnr", "blend", "pictures")
        return {name: value for name in names if math.isfinite(value := getattr(self, name))}


def blended(rain: float, dry: float, structure: float, dry_weight: float) -> float:
    """One number to choose weights by: ``(1 − 2w)·rain + w·dry + w·structure``, dry ones counted to 50 dB.

    Args:
        rain: PSNR of restored pictures, in dB.
        dry: PSNR of clean pictures to themselves, in dB; not looked at for a weight of 0, nor is the next.
        structure: the same with structure drawn on them.
        dry_weight: w, 0..0.5.
    """
    if not dry_weight:
        return rain
    return (1.0 - 2.0 * dry_weight) * rain + dry_weight * (min(dry, _DRY_CAP) + min(structure, _DRY_CAP))


def validate(
    model: DPENet, pictures: ValidationSet, device: torch.device, dry_weight: float = 0.0
) -> ValidationResult | None:
    """Score weights on pictures, the network alone and at the pictures' own size.

    Args:
        model: fp32, on the CPU; it is left as it is.
        pictures: what to score on.
        device: where to run it.
        dry_weight: see `blended`.

    Returns:
        The result, or None if there are no pictures.
    """
    if not pictures.rainy:
        return None
    own = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)  # the backend moves it to the device
    derainer = Derainer(TorchBackend(own, str(device), Precision.AUTO), EngineOptions())
    scores: list[tuple[float, float, float]] = []
    rows: list[tuple[Pixels8, ...]] = []
    for pair in pictures.rainy:
        restored = np.asarray(derainer(pair.rainy), np.uint8)
        after, before = score(restored, pair.clean), score(pair.rainy, pair.clean)
        scores.append((min(after.psnr, _PSNR_CAP), after.ssim, min(before.psnr, _PSNR_CAP)))
        rows.append((pair.rainy, restored, pair.clean))
    psnr, ssim, input_psnr = (math.fsum(column) / len(column) for column in zip(*scores, strict=True))
    dry, structure = (_kept(derainer, pairs) for pairs in (pictures.dry, pictures.structured))
    captions = [f"{before:.2f} -> {after:.2f} dB" for after, _, before in scores]
    every = max(len(rows) // _GRID_ROWS, 1)
    grid = draw_grid(rows[::every][:_GRID_ROWS], captions[::every][:_GRID_ROWS])
    blend = blended(psnr, dry, structure, dry_weight)
    return ValidationResult(psnr, ssim, input_psnr, dry, structure, blend, len(rows), grid)


def _kept(derainer: Derainer, pairs: Sequence[ValidationPair]) -> float:
    """Mean PSNR of what the network makes of pictures to the pictures themselves; NaN if there are none."""
    kept = [min(score(np.asarray(derainer(p.rainy), np.uint8), p.clean).psnr, _PSNR_CAP) for p in pairs]
    return math.fsum(kept) / len(kept) if kept else math.nan
