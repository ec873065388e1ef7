"""The published loss, and the general recipe's. Each compares both stages with the clean picture.

    published   1 − (SSIM₁ + SSIM₂) + 0.05·(Edge₁ + Edge₂)        code at github.com/wybchd/DPENet
    general     Σ over both stages of (1 − SSIM) + 5·L1

SSIM is that of Wang et al., IEEE TIP 13 (2004), with an 11×11 Gaussian window (σ 1.5), zero-padded, for each colour
channel. Edge is the edge loss of Jiang et al. (CVPR 2020) and MPRNet (CVPR 2021): a Charbonnier distance between
one-level Laplacian pyramids.

Both filters are linear and separable, so each is one matrix for the rows and one for the columns: X → M·X·Wᵀ. Borders,
decimation and the window are all in the matrices, and a product of matrices is what every device does best. It runs in
float32 whatever autocast says, and never in TF32, forwards or backwards: SSIM's variances are small differences of
large numbers, and on bright flat areas TF32 makes its gradient thousands of times too large.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor

from dpenet_cli.network.model import Stages

Loss = Callable[[Stages, Tensor], Tensor]
"""From both stages and the clean picture (all N×3×H×W, 0..1) to a scalar."""

EDGE_WEIGHT = 0.05
"""Weight of the edge loss against SSIM in the published loss."""

_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2  # K 0.01 and 0.03 for pictures of range 1
_PYRAMID_TAPS = (0.05, 0.25, 0.4, 0.25, 0.05)  # Burt & Adelson, "The Laplacian Pyramid", 1983, with a = 0.4
_CHARBONNIER_EPSILON = 1e-3  # undefined in the published code; this is the value of the loss that it derives from


def published_loss(stages: Stages, clean: Tensor) -> Tensor:
    """The loss that the paper's weights were trained with. It falls from about 1 to −1.

    Args:
        stages: both N×3×H×W, of any floating dtype.
        clean: N×3×H×W, 0..1.

    Returns:
        A float32 scalar.
    """
    with torch.autocast(clean.device.type, enabled=False):
        first, second, clean = stages.streak_free.float(), stages.restored.float(), clean.float()
        similarity = ssim(first, clean) + ssim(second, clean)
        return 1.0 - similarity + EDGE_WEIGHT * (edge_distance(first, clean) + edge_distance(second, clean))


def general_loss(stages: Stages, clean: Tensor, l1_weight: float = 5.0) -> Tensor:
    """(1 − SSIM) + 5·L1, summed over both stages. Arguments and result as in `published_loss`; it falls towards 0."""
    with torch.autocast(clean.device.type, enabled=False):
        clean = clean.float()
        total = clean.new_zeros(())
        for stage in (stages.streak_free.float(), stages.restored.float()):
            total = total + (1.0 - ssim(stage, clean)) + l1_weight * (stage - clean).abs().mean()
        return total


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean structural similarity of N×C×H×W float32 tensors of range 0..1, zero-padded at the borders; a scalar."""
    smooth = _SeparableFilter(_gaussian_rows(a.shape[-2], a.device), _gaussian_rows(a.shape[-1], a.device))
    # Means, variances and covariance under the window around each pixel, as Var(x) = E(x²) − E(x)²: N×C×H×W each.
    mean_a, mean_b = smooth(a), smooth(b)
    variance_a, variance_b = smooth(a * a) - mean_a * mean_a, smooth(b * b) - mean_b * mean_b
    covariance = smooth(a * b) - mean_a * mean_b
    above = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
    below = (mean_a * mean_a + mean_b * mean_b + _C1) * (variance_a + variance_b + _C2)
    return (above / below).mean()


def edge_distance(a: Tensor, b: Tensor) -> Tensor:
    """Charbonnier distance between the Laplacians of N×C×H×W float32 tensors; a scalar, at least 0.001."""
    difference = a - b  # the Laplacian is linear
    blur = _SeparableFilter(_pyramid_rows(a.shape[-2], a.device), _pyramid_rows(a.shape[-1], a.device))
    laplacian = difference - blur(difference)
    return (laplacian * laplacian + _CHARBONNIER_EPSILON**2).sqrt().mean()


class _SeparableFilter:
    """A separable linear filter: H×H for the rows, W×W for the columns."""

    def __init__(self, rows: Tensor, columns: Tensor) -> None:
        self._rows, self._columns = rows, columns.T

    def __call__(self, x: Tensor) -> Tensor:
        return cast("Tensor", _Filter.apply(x, self._rows, self._columns))  # type: ignore[no-untyped-call]


class _Filter(torch.autograd.Function):
    """rows · x · columns, whose products are of full precision in both directions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        ctx.matrices = rows, columns
        with _full_precision():
            return rows @ x @ columns

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        rows, columns = ctx.matrices
        with _full_precision():
            return rows.T @ grad @ columns.T, None, None


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """No TF32 or bf16 inside float32 products of matrices, whatever the process allows elsewhere."""
    families: tuple[Any, ...] = (torch.backends.cuda, torch.backends.mkldnn)
    backends = [family.matmul for family in families]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


@functools.cache
def _gaussian_rows(side: int, device: torch.device) -> Tensor:
    """The SSIM window over zero-padded rows: side × side, banded."""
    offset = torch.arange(_WINDOW, dtype=torch.float64) - _WINDOW // 2
    taps = torch.exp(-offset.square() / (2 * _SIGMA**2))
    return _banded(taps / taps.sum(), side, replicate=False).float().to(device)


@functools.cache
def _pyramid_rows(side: int, device: torch.device) -> Tensor:
    """Blur, keep every second row doubled and the others zero, blur again: one level down and up, side × side."""
    blur = _banded(torch.tensor(_PYRAMID_TAPS, dtype=torch.float64), side, replicate=True)
    # Going down a level drops every second row, and coming up puts zeros there: a diagonal of ones and zeros. Half the
    # brightness is lost with them in rows and in columns, so each side doubles: four times, as published.
    alternate = 2.0 * (torch.arange(side) % 2 == 0).double()
    return (blur @ (alternate[:, None] * blur)).float().to(device)


def _banded(taps: Tensor, side: int, *, replicate: bool) -> Tensor:
    """The matrix of a correlation with `taps` whose border is zero or the nearest row."""
    matrix = torch.zeros(side, side, dtype=torch.float64)
    for tap, weight in enumerate(taps.tolist()):
        for row in range(side):
            source = row + tap - len(taps) // 2
            if replicate:
                source = min(max(source, 0), side - 1)
            if 0 <= source < side:
                matrix[row, source] += weight
    return matrix
