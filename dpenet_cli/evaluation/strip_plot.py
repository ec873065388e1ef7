"""The distribution of a set's scores as inline SVG: a row a method, a dot a picture, a line at the mean."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

_WIDTH, _LEFT, _RIGHT = 1000, 170, 20  # of the drawing; of the names at its left; of its right margin
_ROW, _TOP, _BOTTOM = 44, 8, 40  # of a row; of the top margin; of the axis
_DOT = 4  # a dot's radius
_NAME_LENGTH = 24  # characters that fit into _LEFT


class Row(NamedTuple):
    """The dots of one method.

    Attributes:
        name: name of the method.
        values: PSNRs of its pictures, in dB.
        is_input: whether it is the rainy input itself.
    """

    name: str
    values: Sequence[float]
    is_input: bool = False


def strip_plot(rows: Sequence[Row]) -> str:
    """Draw the rows above one axis in dB; infinite values are left out.

    Returns:
        An ``<svg>`` element; nothing if no value is finite.
    """
    finite_by_row = [[value for value in row.values if math.isfinite(value)] for row in rows]
    finite = [value for values in finite_by_row for value in values]
    if not finite:
        return ""
    # The axis runs from tick to tick around all values, one step at least: a single value has no span.
    step = _tick_step(max(finite) - min(finite))
    low = math.floor(min(finite) / step) * step
    high = max(math.ceil(max(finite) / step) * step, low + step)
    bottom = _TOP + _ROW * len(rows)

    def x(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    parts = [_tick(x(low + i * step), low + i * step, bottom) for i in range(round((high - low) / step) + 1)]
    for number, (row, values) in enumerate(zip(rows, finite_by_row, strict=True)):
        parts.append(_row(row, [x(value) for value in values], _TOP + _ROW * (number + 0.5)))
    parts.append(f'<text x="{(_LEFT + _WIDTH) / 2}" y="{bottom + 36}" text-anchor="middle">PSNR, dB</text>')
    label = escape(f"Distribution of PSNR: {', '.join(row.name for row in rows)}", quote=True)
    size = f"0 0 {_WIDTH} {bottom + _BOTTOM}"
    return f'<svg viewBox="{size}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _tick_step(span: float) -> float:
    """A round distance between ticks, for ten of them at most."""
    return next((step for step in (0.5, 1.0, 2.0, 5.0, 10.0) if span / step <= 10), 20.0)


def _tick(x: float, value: float, bottom: float) -> str:
    line = f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>'
    return f'{line}<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{value:g}</text>'


def _row(row: Row, xs: Sequence[float], y: float) -> str:
    """Dots at three heights in turn, so that equal values show side by side."""
    css_class = "input" if row.is_input else "dot"
    name = row.name if len(row.name) <= _NAME_LENGTH else row.name[: _NAME_LENGTH - 1] + "…"
    dots = "".join(
        f'<circle class="{css_class}" cx="{x:.1f}" cy="{y + 7 * (i % 3 - 1):.1f}" r="{_DOT}"/>'
        for i, x in enumerate(sorted(xs))
    )
    mean = math.fsum(xs) / len(xs) if xs else None
    line = f'<line class="mean" x1="{mean:.1f}" x2="{mean:.1f}" y1="{y - 15}" y2="{y + 15}"/>' if mean else ""
    return f'<text x="{_LEFT - 12}" y="{y + 4}" text-anchor="end">{escape(name)}</text>{dots}{line}'
