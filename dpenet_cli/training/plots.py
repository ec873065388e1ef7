"""The curve and the grid of a run, as PNG bytes."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from dpenet_cli.arrays import Pixels8

_INK, _WHITE = (40, 40, 40), (255, 255, 255)
_LOSS_COLOUR, _PSNR_COLOUR = (180, 90, 20), (30, 110, 30)  # BGR
_PANEL_HEIGHT, _PANEL_WIDTH, _MARGIN = 300, 900, 30
_CELL = 192
"""Side of a picture in the grid, in pixels."""


def draw_grid(rows: Sequence[tuple[Pixels8, ...]], captions: Sequence[str]) -> bytes:
    """Pictures in rows, each cut to its centre, a caption on each row's first.

    Args:
        rows: H×W×3 uint8 RGB pictures, equally many a row.
        captions: one a row, ASCII.
    """
    lines = []
    for row, caption in zip(rows, captions, strict=True):
        line = np.hstack([_cell(picture) for picture in row])
        _write(line, caption, (5, 15), (0, 0, 0), 3)  # a dark rim, so that it can be read on any picture
        _write(line, caption, (5, 15), _WHITE, 1)
        lines.append(line)
    return _png(np.vstack(lines)[..., ::-1])


def draw_curve(loss: Sequence[tuple[float, float]], psnr: Sequence[tuple[float, float]]) -> bytes:
    """Two panels over the steps: the loss, and the validation PSNR in dB. Each point is (step, value)."""
    return _png(np.vstack([_panel("loss", loss, _LOSS_COLOUR), _panel("validation PSNR, dB", psnr, _PSNR_COLOUR)]))


def _cell(picture: Pixels8) -> Pixels8:
    height, width = picture.shape[:2]
    top, left = max(height - _CELL, 0) // 2, max(width - _CELL, 0) // 2
    cut = picture[top : top + _CELL, left : left + _CELL]
    below, beside = _CELL - cut.shape[0], _CELL - cut.shape[1]
    return np.pad(cut, ((0, below), (0, beside), (0, 0)), constant_values=255)


def _panel(name: str, points: Sequence[tuple[float, float]], colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A line in a frame, from step 0 to the last and from the lowest value to the highest, both in the title."""
    canvas = np.full((_PANEL_HEIGHT, _PANEL_WIDTH, 3), 255, np.uint8)
    if not points:
        _write(canvas, name, (_MARGIN, 20), _INK)
        return canvas
    step, value = np.array(points, float).T
    # The first values can be far off; the frame shows where the curve spends its time.
    low, high = np.percentile(value, (1, 98)) if len(value) > 20 else (value.min(), value.max())
    _write(canvas, f"{name}: {low:.4g} to {high:.4g}, over {step.max():.0f} steps", (_MARGIN, 20), _INK)
    cv2.rectangle(canvas, (_MARGIN, _MARGIN), (_PANEL_WIDTH - _MARGIN, _PANEL_HEIGHT - _MARGIN), _INK)
    across = step / max(step.max(), 1.0)
    up = (np.clip(value, low, high) - low) / max(high - low, 1e-9)
    size = np.array([_PANEL_WIDTH, _PANEL_HEIGHT]) - 2 * _MARGIN
    line = (_MARGIN + np.stack([across, 1.0 - up], axis=1) * size).round().astype(np.int32)
    cv2.polylines(canvas, [line], isClosed=False, color=colour, thickness=2, lineType=cv2.LINE_AA)
    cv2.circle(canvas, line[-1].tolist(), 4, colour, -1, cv2.LINE_AA)  # one point alone makes no line
    return canvas


def _write(
    canvas: NDArray[np.uint8], text: str, place: tuple[int, int], colour: tuple[int, int, int], thickness: int = 1
) -> None:
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, thickness, cv2.LINE_AA)


def _png(bgr: NDArray[np.uint8]) -> bytes:
    _, data = cv2.imencode(".png", np.ascontiguousarray(bgr))
    return data.tobytes()
