"""PSNR and SSIM under named protocols, and their means over a set.

    y-uint8    rounded BT.601 limited-range luma: the MATLAB scripts of Restormer and MPRNet; the default
    y-float    the same luma, not rounded
    rgb        the three channels: one mean squared error over all of them, SSIM averaged over them

All score 8-bit pictures: PSNR with peak 255; SSIM with an 11×11 Gaussian window, σ 1.5, K .01 and .03, L 255, on the
valid region; a set's score is the mean over its pictures. Limited-range luma reads 20·log10(255/219) = 1.32 dB above
full-range luma, which is why the protocol is named with every number.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpenet_cli.options import PROTOCOL, Protocol

MIN_SIDE = 11
"""Shortest side of a picture that can be scored, in pixels: SSIM's window."""

_LUMA_WEIGHTS = np.array([65.481, 128.553, 24.966])  # ITU-R BT.601, limited range, as MATLAB's rgb2ycbcr; sum 219
_WINDOW, _SIGMA, _K1, _K2, _PEAK = MIN_SIDE, 1.5, 0.01, 0.03, 255.0  # Wang et al., IEEE TIP 13 (2004), their defaults


class Score(NamedTuple):
    """PSNR in dB (infinite where nothing differs) and SSIM (at most 1) of one picture."""

    psnr: float
    ssim: float


class MeanScore(NamedTuple):
    """Means over the pictures of a set. One identical picture makes the mean PSNR infinite, and `identical` says so.

    Attributes:
        psnr: mean PSNR in dB, infinite if any picture's is.
        ssim: mean SSIM, at most 1.
        pictures: number of pictures.
        identical: number of pictures that equal their ground truth under the protocol.
        psnr_of_others: mean PSNR in dB of the pictures that differ, NaN if none does.
    """

    psnr: float
    ssim: float
    pictures: int
    identical: int
    psnr_of_others: float


def score(result: NDArray[np.uint8], target: NDArray[np.uint8], protocol: Protocol = PROTOCOL) -> Score:
    """Score one picture against its ground truth.

    >>> import numpy as np
    >>> target = np.full((16, 16, 3), 128, np.uint8)
    >>> psnr, ssim = score(target + np.uint8(8), target)
    >>> f"{psnr:.2f} dB, {ssim:.3f}"  # 8 grey levels are 7 of limited-range luma
    '31.23 dB, 0.999'

    Args:
        result: restored picture, H×W×3 uint8, RGB, at least 11×11.
        target: ground truth, of the same shape and dtype.
        protocol: planes that are compared, see the module's docstring.

    Returns:
        PSNR in dB, infinite for equal pictures, and SSIM, at most 1.

    Raises:
        ValueError: other dtypes, unequal shapes, or a side shorter than SSIM's window.
    """
    for picture in (result, target):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(f"expected H×W×3 uint8, got {picture.shape} {picture.dtype}")
    if result.shape != target.shape:
        raise ValueError(f"the result is {result.shape}, its target {target.shape}")
    if min(result.shape[:2]) < _WINDOW:
        raise ValueError(f"SSIM's window needs {_WINDOW}×{_WINDOW} pixels, the picture has {result.shape[:2]}")
    a, b = _planes(result, protocol), _planes(target, protocol)
    return Score(_psnr(a, b), math.fsum(map(_ssim, a, b)) / len(a))


def mean_score(scores: Sequence[Score]) -> MeanScore:
    """Average the scores of a set's pictures.

    Raises:
        ValueError: there are none.
    """
    if not scores:
        raise ValueError("no scores to average")
    psnrs = [each.psnr for each in scores]
    finite = [psnr for psnr in psnrs if math.isfinite(psnr)]
    return MeanScore(
        psnr=math.fsum(psnrs) / len(psnrs),
        ssim=math.fsum(each.ssim for each in scores) / len(scores),
        pictures=len(scores),
        identical=len(psnrs) - len(finite),
        psnr_of_others=math.fsum(finite) / len(finite) if finite else math.nan,
    )


def limited_range_luma(rgb: NDArray[np.uint8], *, rounded: bool = True) -> NDArray[np.float64]:
    """Limited-range luma by ITU-R BT.601, as MATLAB's ``rgb2ycbcr`` gives it.

    The luma of grey pictures, which keeps their values, is full-range: `dpenet_cli.images.writing`.

    Args:
        rgb: picture, H×W×3 uint8.
        rounded: whether to round to whole numbers.

    Returns:
        H×W float64, 16..235.
    """
    y = 16.0 + rgb.astype(np.float64) @ _LUMA_WEIGHTS / 255.0
    return np.asarray(np.round(y) if rounded else y)


def _planes(rgb: NDArray[np.uint8], protocol: Protocol) -> NDArray[np.float64]:
    """The planes that a protocol compares: 1×H×W or 3×H×W float64, 0..255."""
    if protocol is Protocol.RGB:
        return np.ascontiguousarray(rgb.transpose(2, 0, 1), np.float64)
    return limited_range_luma(rgb, rounded=protocol is Protocol.Y_UINT8)[None]


def _psnr(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    error = float(np.mean((a - b) ** 2))
    return float("inf") if error == 0.0 else float(10.0 * np.log10(_PEAK**2 / error))


def _ssim(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """SSIM of two planes: equation 13 of Wang et al., averaged over every position of the window."""
    mean_a, mean_b = _smooth(a), _smooth(b)  # (H−10)×(W−10)
    # E[x²] − E[x]² under the window's weights, which sum to 1: the population's variance, without n/(n−1).
    var_a, var_b = _smooth(a * a) - mean_a**2, _smooth(b * b) - mean_b**2
    covariance = _smooth(a * b) - mean_a * mean_b
    c1, c2 = (_K1 * _PEAK) ** 2, (_K2 * _PEAK) ** 2  # keep the quotients finite where a window is flat
    above = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float(np.mean(above / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))))


def _smooth(plane: NDArray[np.float64]) -> NDArray[Any]:
    """Gaussian window over the valid region: H×W in, (H−10)×(W−10) out."""
    import cv2

    window = cv2.getGaussianKernel(_WINDOW, _SIGMA, cv2.CV_64F)
    border = _WINDOW // 2  # positions where the window would reach beyond the picture
    return cv2.sepFilter2D(plane, cv2.CV_64F, window, window)[border:-border, border:-border]
