"""The curve and the grid of a run, as PNG bytes."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from dpenet_cli.arrays import Pixels8

_INK, _WHITE = (40, 40, 40), (255, 255, 255)
_LOSS_COLOUR, _FAINT = (180, 90, 20), (235, 205, 180)  # BGR, as all of them
_SCORE_COLOURS = {"rain": (30, 110, 30), "dry": (0, 130, 210), "structure": (160, 60, 160), "blend": (30, 30, 30)}
"""What is scored, in the order of the legend."""

_PANEL_HEIGHT, _PANEL_WIDTH, _MARGIN = 300, 900, 30
_CELL = 192
"""Side of a picture in the grid, in pixels."""

_SMOOTHING = 20
"""So many parts of a run are told apart in its smoothed loss: a report's own follows its crops up and down."""

Point: TypeAlias = tuple[float, float]
"""Step and value."""


class _Line(NamedTuple):
    """A curve: its name, points, colour (BGR) and width in pixels."""

    name: str
    points: Sequence[Point]
    colour: tuple[int, int, int]
    width: int = 2


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


def draw_curve(loss: Sequence[Point], scores: Mapping[str, Sequence[Point]], name: str = "") -> bytes:
    """Two panels over the steps: the loss, as reported and smoothed, and the validation's PSNRs in dB.

    Args:
        loss: one point a report.
        scores: by what was scored; those without points are left out.
        name: of the run, for the title.
    """
    window = max(len(loss) // _SMOOTHING, 1)
    lines = [_Line("loss", loss, _LOSS_COLOUR)]
    if window > 1:
        lines = [
            _Line("loss, each report", loss, _FAINT, 1),
            _Line(f"mean of {window}", smoothed(loss, window), _LOSS_COLOUR),
        ]
    psnr = [_Line(each, scores[each], colour) for each, colour in _SCORE_COLOURS.items() if scores.get(each)]
    title = name.encode("ascii", "replace").decode()  # OpenCV's letters are those of ASCII
    loss_panel, score_panel = _panel(f"{title}: loss", lines), _panel(f"{title}: validation PSNR, dB", psnr)
    return _png(np.vstack([loss_panel, score_panel]))


def smoothed(points: Sequence[Point], window: int) -> list[Point]:
    """The mean of each point and those before it, `window` in all or as many as there are."""
    sums = np.concatenate([[0.0], np.cumsum([value for _, value in points])])
    ends = np.arange(1, len(points) + 1)
    starts = np.maximum(ends - window, 0)
    means = (sums[ends] - sums[starts]) / (ends - starts)
    return [(step, float(mean)) for (step, _), mean in zip(points, means, strict=True)]


def _cell(picture: Pixels8) -> Pixels8:
    height, width = picture.shape[:2]
    top, left = max(height - _CELL, 0) // 2, max(width - _CELL, 0) // 2
    cut = picture[top : top + _CELL, left : left + _CELL]
    below, beside = _CELL - cut.shape[0], _CELL - cut.shape[1]
    return np.pad(cut, ((0, below), (0, beside), (0, 0)), constant_values=255)


def _panel(title: str, lines: Sequence[_Line]) -> NDArray[np.uint8]:
    """Lines in a frame, from step 0 to the last and from the lowest value to the highest, all of them named."""
    canvas = np.full((_PANEL_HEIGHT, _PANEL_WIDTH, 3), 255, np.uint8)
    _write(canvas, title, (_MARGIN, 20), _INK)
    lines = [line for line in lines if line.points]
    if not lines:
        return canvas
    values = np.array([value for line in lines for _, value in line.points], float)
    last = max(step for line in lines for step, _ in line.points)
    # The first values can be far off; the frame shows where the curves spend their time.
    low, high = np.percentile(values, (1, 98)) if len(values) > 20 else (values.min(), values.max())
    cv2.rectangle(canvas, (_MARGIN, _MARGIN), (_PANEL_WIDTH - _MARGIN, _PANEL_HEIGHT - _MARGIN), _INK)
    _write(canvas, f"{high:.4g}", (_MARGIN + 4, _MARGIN + 14), _INK)
    _write(canvas, f"{low:.4g}", (_MARGIN + 4, _PANEL_HEIGHT - _MARGIN - 5), _INK)
    _write(canvas, f"step {last:.0f}", (_PANEL_WIDTH - _MARGIN - 90, _PANEL_HEIGHT - 10), _INK)
    for number, line in enumerate(lines):
        _write(canvas, line.name, (_PANEL_WIDTH // 3 + 150 * number, 20), line.colour)
        _draw(canvas, line, last, low, high)
    return canvas


def _draw(canvas: NDArray[np.uint8], line: _Line, last: float, low: float, high: float) -> None:
    """One line, from step 0 to `last` across and from `low` to `high` up; what lies beyond, on the frame."""
    step, value = np.array(line.points, float).T
    across = step / max(last, 1.0)
    up = (np.clip(value, low, high) - low) / max(high - low, 1e-9)
    size = np.array([_PANEL_WIDTH, _PANEL_HEIGHT]) - 2 * _MARGIN
    points = (_MARGIN + np.stack([across, 1.0 - up], axis=1) * size).round().astype(np.int32)
    cv2.polylines(canvas, [points], isClosed=False, color=line.colour, thickness=line.width, lineType=cv2.LINE_AA)
    if line.width > 1:
        cv2.circle(canvas, points[-1].tolist(), 4, line.colour, -1, cv2.LINE_AA)  # one point alone makes no line


def _write(
    canvas: NDArray[np.uint8], text: str, place: tuple[int, int], colour: tuple[int, int, int], thickness: int = 1
) -> None:
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, thickness, cv2.LINE_AA)


def _png(bgr: NDArray[np.uint8]) -> bytes:
    _, data = cv2.imencode(".png", np.ascontiguousarray(bgr))
    return data.tobytes()
