"""PSNR and SSIM under the protocol ``y-uint8``, the one of Restormer's and MPRNet's MATLAB scripts.

8-bit pictures; rounded BT.601 limited-range luma; PSNR with peak 255; SSIM with an 11×11 Gaussian window, σ 1.5,
K .01 and .03, L 255, on the valid region; a set's score is the mean over its pictures. Limited-range luma reads
20·log10(255/219) = 1.32 dB above full-range luma, which is why the protocol is named with every number.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

PROTOCOL = "y-uint8"

_LUMA = np.array([65.481, 128.553, 24.966])  # ITU-R BT.601, limited range: 16 + Σ·rgb/255, as MATLAB's rgb2ycbcr
_WINDOW, _SIGMA, _K1, _K2, _PEAK = 11, 1.5, 0.01, 0.03, 255.0  # Wang et al., IEEE TIP 13 (2004), their defaults


class Score(NamedTuple):
    """PSNR in dB (infinite for identical luma) and SSIM (at most 1) of one picture."""

    psnr: float
    ssim: float


def score(result: NDArray[np.uint8], target: NDArray[np.uint8]) -> Score:
    """Score one picture against its ground truth under `PROTOCOL`.

    Args:
        result: H×W×3 uint8, RGB, at least 11×11.
        target: the same shape and dtype.

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
    a, b = luma(result), luma(target)
    return Score(_psnr(a, b), _ssim(a, b))


def luma(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Rounded BT.601 limited-range luma, H×W float64 holding integers 16..235, of H×W×3 uint8 RGB."""
    return np.asarray(np.round(16.0 + rgb.astype(np.float64) @ _LUMA / 255.0))


def _psnr(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    error = float(np.mean((a - b) ** 2))
    return float("inf") if error == 0.0 else float(10.0 * np.log10(_PEAK**2 / error))


def _ssim(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    mean_a, mean_b = _smooth(a), _smooth(b)
    var_a, var_b = _smooth(a * a) - mean_a**2, _smooth(b * b) - mean_b**2
    covariance = _smooth(a * b) - mean_a * mean_b
    c1, c2 = (_K1 * _PEAK) ** 2, (_K2 * _PEAK) ** 2
    similarity = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    )
    return float(np.mean(similarity))


def _smooth(plane: NDArray[np.float64]) -> NDArray[Any]:
    """Gaussian window over the valid region: H×W in, (H−10)×(W−10) out."""
    import cv2  # noqa: PLC0415 - not every user of this package scores

    window = cv2.getGaussianKernel(_WINDOW, _SIGMA, cv2.CV_64F)
    border = _WINDOW // 2
    return cv2.sepFilter2D(plane, cv2.CV_64F, window, window)[border:-border, border:-border]
