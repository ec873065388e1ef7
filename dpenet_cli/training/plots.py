"""The curve and the grid of a run, as PNG bytes."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dpenet_cli.arrays import Pixels8

_INK, _FAINT = (40, 40, 40), (225, 225, 225)
_LOSS_COLOUR, _PSNR_COLOUR = (180, 90, 20), (30, 110, 30)  # BGR
_PANEL = (300, 900)  # height and width in pixels
_MARGIN = (34, 20, 30, 70)  # top, right, bottom, left
_CELL = 192


def draw_grid(rows: Sequence[tuple[Pixels8, ...]], captions: Sequence[str]) -> bytes:
    """Pictures in rows, each cut to its centre, a caption on each row's first.

    Args:
        rows: H×W×3 uint8 RGB pictures, equally many a row.
        captions: one a row, ASCII.
    """
    lines = []
    for row, caption in zip(rows, captions, strict=True):
        line = np.hstack([_cell(picture) for picture in row])
        for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            cv2.putText(line, caption, (5, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, thickness, cv2.LINE_AA)
        lines.append(line)
    return _png(np.vstack(lines)[..., ::-1])


def draw_curve(loss: Sequence[tuple[float, float]], psnr: Sequence[tuple[float, float]]) -> bytes:
    """Two panels over the steps: the loss, and the validation PSNR in dB. Each point is (step, value)."""
    return _png(np.vstack([_panel("loss", loss, _LOSS_COLOUR), _panel("validation PSNR (dB)", psnr, _PSNR_COLOUR)]))


def _cell(picture: Pixels8) -> Pixels8:
    height, width = picture.shape[:2]
    top, left = max(height - _CELL, 0) // 2, max(width - _CELL, 0) // 2
    cut = picture[top : top + _CELL, left : left + _CELL]
    below, beside = _CELL - cut.shape[0], _CELL - cut.shape[1]
    return np.pad(cut, ((0, below), (0, beside), (0, 0)), constant_values=255)


def _panel(title: str, points: Sequence[tuple[float, float]], colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    height, width = _PANEL
    top, right, bottom, left = _MARGIN
    canvas = np.full((height, width, 3), 255, np.uint8)
    cv2.putText(canvas, title, (left, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.5, _INK, 1, cv2.LINE_AA)
    x, y = (np.array([point[axis] for point in points], float) for axis in (0, 1))
    if not len(x):
        return canvas
    # The first values can be far off; the axis shows where the curve spends its time.
    low, high = np.percentile(y, (1, 98)) if len(y) > 20 else (y.min(), y.max())
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    last = max(x.max(), 1.0)

    def place(step: Any, value: Any) -> NDArray[Any]:
        across = left + step / last * (width - left - right)
        down = height - bottom - (np.clip(value, low, high) - low) / (high - low) * (height - top - bottom)
        return np.stack([across, down], axis=-1).round().astype(np.int32)

    for tick in np.linspace(low, high, 5):
        row = int(place(0, tick)[1])
        cv2.line(canvas, (left, row), (width - right, row), _FAINT, 1)
        cv2.putText(canvas, f"{tick:.4g}", (6, row + 4), cv2.FONT_HERSHEY_SIMPLEX, 0.4, _INK, 1, cv2.LINE_AA)
    for tick in np.linspace(0, last, 5):
        column = int(place(tick, low)[0])
        where = (column - 20, height - 10)
        cv2.putText(canvas, f"{tick:.0f}", where, cv2.FONT_HERSHEY_SIMPLEX, 0.4, _INK, 1, cv2.LINE_AA)
    dots = place(x, y)
    cv2.polylines(canvas, [dots.reshape(-1, 1, 2)], isClosed=False, color=colour, thickness=1, lineType=cv2.LINE_AA)
    if len(dots) <= 60:
        for dot in dots.tolist():
            cv2.circle(canvas, tuple(dot), 2, colour, -1, cv2.LINE_AA)
    return canvas


def _png(bgr: NDArray[np.uint8]) -> bytes:
    _, data = cv2.imencode(".png", np.ascontiguousarray(bgr))
    return data.tobytes()
