"""Where structures lie in a picture: the covers of grilles, strokes and lettering, from a few drawn parameters.

Parameters are drawn on the CPU, K rows for K pictures; covers are computed on the pictures' device.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

_AT_ONCE = 8
"""Strokes that are drawn at a time: enough to keep a GPU busy, and few enough for a processor's cache."""


class Structure(StrEnum):
    """The kinds of structure that can be drawn."""

    GRILLE = "grille"
    WIRES = "wires"
    POSTS = "posts"
    DASHES = "dashes"
    REEDS = "reeds"
    TEXT = "text"


class Shape(NamedTuple):
    """Where the structures of K pictures lie: K×1×H×W each, on the pictures' device."""

    cover: Tensor  # 0..1, the structure itself
    across: Tensor  # −1..1, from one edge of an element to the other
    tone: Tensor  # 0..1, a factor on its colour
    ground: Tensor  # 0..1, what belongs to it and lies behind it: a radiator's dark inside, the rim of letters


class _Strokes(NamedTuple):
    """M strokes in each of K pictures: K×M float32 each, in pixels, on the CPU."""

    y0: Tensor
    x0: Tensor
    y1: Tensor
    x1: Tensor
    half0: Tensor  # half the width where it begins; below −1 for a stroke that is not there
    half1: Tensor  # half the width where it ends
    bend: Tensor  # how far its middle lies beside the straight line
    tone: Tensor  # 0..1


def _between(low: float, high: float, k: int, generator: torch.Generator, m: int = 1) -> Tensor:
    """K×M numbers, uniform in a range."""
    return low + (high - low) * torch.rand(k, m, generator=generator)


def _log_between(low: float, high: float, k: int, generator: torch.Generator) -> Tensor:
    """K×1 numbers, uniform in their logarithm."""
    return _between(math.log(low), math.log(high), k, generator).exp()


def _count(low: int, high: int, k: int, generator: torch.Generator) -> Tensor:
    """K×1 whole numbers, both ends included."""
    return torch.randint(low, high + 1, (k, 1), generator=generator)


def _normal(spread: float, k: int, generator: torch.Generator, m: int = 1) -> Tensor:
    return spread * torch.randn(k, m, generator=generator)


def _grid(size: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows and columns of pixels: 1×1×H×1 and 1×1×1×W."""
    rows, columns = (torch.arange(side, dtype=torch.float32, device=device) for side in size)
    return rows.view(1, 1, -1, 1), columns.view(1, 1, 1, -1)


def _grille(k: int, size: Sequence[int], generator: torch.Generator, device: torch.device) -> Shape:
    """Bars side by side in a rectangle, closer together towards one end, some with crossbars and a ground behind."""
    height, width = size
    upright = torch.rand(k, 1, generator=generator) < 0.75
    tilt = torch.where(upright, _normal(12, k, generator), _between(-90, 90, k, generator))
    pitch, duty = _log_between(3.5, 32, k, generator), _between(0.12, 0.6, k, generator)
    converging = _between(-0.3, 0.3, k, generator) / max(height, width)  # perspective: pitch by place along the bars
    phase, soft = pitch * torch.rand(k, 1, generator=generator), _between(0.7, 1.1, k, generator)
    crossed = (torch.rand(k, 1, generator=generator) < 0.4).float()
    cross_pitch, cross_half = (
        pitch * _between(1, 6, k, generator),
        0.5 * duty * pitch * _between(0.5, 1.5, k, generator),
    )
    sides = _between(0.25, 1.1, k, generator, 2) * torch.tensor([height, width])
    centre = torch.rand(k, 2, generator=generator) * torch.tensor([height, width])
    grounded = (torch.rand(k, 1, generator=generator) < 0.3).float()
    parts = [torch.deg2rad(tilt), pitch, duty, converging, phase, soft, crossed, cross_pitch, cross_half]
    table = torch.cat([*parts, 0.5 * sides, centre, grounded], dim=1)
    columns = table.to(device, non_blocking=True).view(k, -1, 1, 1, 1).unbind(1)  # K×1×1×1 each
    angle, pitch, duty, converging, phase, soft, crossed, cross_pitch, cross_half = columns[:9]
    half_height, half_width, y, x, grounded = columns[9:]
    rows, cols = _grid(size, device)
    along = (rows - y) * angle.cos() - (cols - x) * angle.sin()  # K×1×H×W
    beside = (cols - x) * angle.cos() + (rows - y) * angle.sin()
    beside = beside * (1.0 + converging * along) + phase
    # From −½ to ½ between one bar's middle and the next one's: 0 in the middle of a bar.
    place = torch.remainder(beside / pitch, 1.0) - 0.5
    cover = _inside(0.5 * duty * pitch, place.abs() * pitch, soft)
    cross = (torch.remainder(along / cross_pitch, 1.0) - 0.5).abs() * cross_pitch
    cover = torch.maximum(cover, crossed * _inside(cross_half, cross, soft))
    region = _inside(half_height, (rows - y).abs(), soft) * _inside(half_width, (cols - x).abs(), soft)
    across = (2.0 * place / duty).clamp(-1.0, 1.0)
    return Shape(cover * region, across, torch.ones_like(cover), grounded * region)


def _inside(half: Tensor, distance: Tensor, soft: Tensor | float) -> Tensor:
    """1 within `half` of a middle and 0 outside, with an edge of `soft` pixels."""
    return ((half - distance) / soft + 0.5).clamp(0.0, 1.0)


def _wires(k: int, size: Sequence[int], generator: torch.Generator, device: torch.device) -> Shape:
    """One to five wires that sag, or hang from top to bottom."""
    height, width = size
    m = 5
    y0, y1 = (_between(-0.2, 1.2, k, generator, m) * height for _ in range(2))
    x0, x1 = (_between(-0.2, 1.2, k, generator, m) * width for _ in range(2))
    sag = _between(-0.3, 0.3, k, generator, m) * height
    upright = torch.rand(k, m, generator=generator) < 0.4
    x1 = torch.where(upright, x0 + _normal(0.06 * width, k, generator, m), x1)
    y0, y1 = torch.where(upright, -9.0, y0), torch.where(upright, height + 9.0, y1)
    half = _between(0.3, 1.8, k, generator, m)
    there = torch.arange(m) < _count(1, m, k, generator)
    bend = torch.where(upright, 0.0, sag)
    return _draw_strokes(_Strokes(y0, x0, y1, x1, half, half, bend, torch.ones(k, m)), there, size, generator, device)


def _posts(k: int, size: Sequence[int], generator: torch.Generator, device: torch.device) -> Shape:
    """A row of posts that recedes; half of them carry a rail, level or slanted."""
    height, width = size
    m = 13
    number = torch.arange(m)
    ratio = _between(0.85, 1.1, k, generator)
    shrink = ratio**number  # K×M
    steps = _between(0.04, 0.3, k, generator) * width * shrink
    x = _between(-0.1, 0.5, k, generator) * width + steps.cumsum(dim=1) - steps
    slope = _normal(0.25, k, generator)
    top = torch.rand(k, 1, generator=generator) * 0.9 * height + slope * (x - x[:, :1])
    top = top + _normal(0.01 * height, k, generator, m)
    length = _between(0.06, 0.6, k, generator) * height * shrink
    lean = _normal(0.03, k, generator) * length
    half = 0.5 * _log_between(1, 10, k, generator) * shrink.clamp(max=1.2)
    there = number < _count(2, m, k, generator)
    last = there.sum(dim=1, keepdim=True) - 1
    railed = torch.rand(k, 1, generator=generator) < 0.5
    rail_half = 0.5 * _log_between(1, 6, k, generator)
    ones, none = torch.ones(k, 1), torch.zeros(k, 1)
    posts = (top, x, top + length, x + lean, half, half, torch.zeros(k, m), torch.ones(k, m))
    rail = (top[:, :1], x[:, :1], top.gather(1, last), x.gather(1, last), rail_half, rail_half, none, ones)
    strokes = _Strokes(*(torch.cat(parts, dim=1) for parts in zip(posts, rail, strict=True)))
    return _draw_strokes(strokes, torch.cat([there, railed], dim=1), size, generator, device)


def _dashes(k: int, size: Sequence[int], generator: torch.Generator, device: torch.device) -> Shape:
    """Lane dashes that come nearer: each one longer and wider than the one before it."""
    height, width = size
    m = 8
    grow = _between(1.1, 1.4, k, generator) ** torch.arange(m)  # K×M
    length = _between(3, 12, k, generator) * grow
    gap = _between(1, 2.5, k, generator)
    start = length * gap
    start = start.cumsum(dim=1) - start  # how far down each one begins
    y = _between(0.3, 0.6, k, generator) * height + start
    lean = _normal(0.8, k, generator)
    x = _between(0.1, 0.9, k, generator) * width + lean * start
    half = _between(0.5, 2.5, k, generator) * grow
    there = torch.arange(m) < _count(2, m, k, generator)
    strokes = _Strokes(y, x, y + length, x + lean * length, half, 1.2 * half, torch.zeros(k, m), torch.ones(k, m))
    return _draw_strokes(strokes, there, size, generator, device)


def _reeds(k: int, size: Sequence[int], generator: torch.Generator, device: torch.device) -> Shape:
    """Reeds, grass and twigs: many that bend and end in a point, each of its own brightness."""
    height, width = size
    m = 48
    base = _between(0.5, 1.1, k, generator) * height + _normal(0.03 * height, k, generator, m)
    x = torch.rand(k, m, generator=generator) * width
    length = _between(0.1, 0.6, k, generator, m) * height
    tip = x + _normal(0.12 * width, k, generator, m)
    bend = _normal(0.04 * width, k, generator, m)
    half = _between(0.3, 1.3, k, generator, m)
    there = torch.arange(m) < _count(10, m, k, generator)
    tone = _between(0.5, 1.0, k, generator, m)
    strokes = _Strokes(base, x, base - length, tip, half, 0.2 * half, bend, tone)
    return _draw_strokes(strokes, there, size, generator, device)


def _draw_strokes(
    strokes: _Strokes, there: Tensor, size: Sequence[int], generator: torch.Generator, device: torch.device
) -> Shape:
    """Draw strokes over each other: the one that covers a pixel most gives its shading."""
    k = len(there)
    soft = _between(0.7, 1.1, k, generator).to(device, non_blocking=True).view(k, 1, 1, 1)
    half0, half1 = (torch.where(there, half, -9.0) for half in (strokes.half0, strokes.half1))
    strokes = strokes._replace(half0=half0, half1=half1)
    most = int(there.any(dim=0).nonzero().max()) + 1
    table = torch.stack(strokes)[..., :most].to(device, non_blocking=True).unsqueeze(-1).unsqueeze(-1)  # 8×K×M×1×1
    rows, columns = _grid(size, device)
    cover = torch.zeros(k, 1, *size, device=device)
    across, tone = torch.zeros_like(cover), torch.ones_like(cover)
    for first in range(0, most, _AT_ONCE):
        own = _Strokes(*table[:, :, first : first + _AT_ONCE])  # K×m×1×1 each
        own_cover, own_across = _stroke(own, rows, columns, soft)  # K×m×H×W
        best, which = own_cover.max(dim=1, keepdim=True)
        nearer = best > cover
        cover = torch.where(nearer, best, cover)
        across = torch.where(nearer, own_across.gather(1, which), across)
        tone = torch.where(nearer, own.tone.flatten(1).gather(1, which.flatten(1)).view_as(which), tone)
    return Shape(cover, across, tone, torch.zeros_like(cover))


def _stroke(own: _Strokes, rows: Tensor, columns: Tensor, soft: Tensor) -> tuple[Tensor, Tensor]:
    """Cover, and place across the stroke, of every pixel for m strokes of K pictures: K×m×H×W each."""
    down, right = own.y1 - own.y0, own.x1 - own.x0
    length = (down.square() + right.square()).sqrt().clamp(min=1e-3)
    down, right = down / length, right / length
    y, x = rows - own.y0, columns - own.x0
    along = y * down + x * right  # K×m×H×W, pixels from where it begins
    beside = x * down - y * right
    t = (along / length).clamp(0.0, 1.0)
    # A parabola between the ends, as a wire hangs; seen at its slope it is thinner than measured straight across.
    beside = beside - own.bend * 4.0 * t * (1.0 - t)
    slope = own.bend * 4.0 * (1.0 - 2.0 * t) / length
    distance = beside / (1.0 + slope.square()).sqrt()
    half = torch.lerp(own.half0, own.half1, t)
    cover = _inside(half, distance.abs(), soft) * _inside(0.5 * length, (along - 0.5 * length).abs(), soft)
    return cover, (distance / half.clamp(min=0.3)).clamp(-1.0, 1.0)


_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_PLAIN,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
)
_LETTERS = "0123456789:/-. ABCDEFGHIKLMNPRSTUVWXYZabcdefghiklmnoprstuvwxyz|l1I"


def _text(k: int, size: Sequence[int], generator: torch.Generator, device: torch.device) -> Shape:
    """One to three lines of letters, or of a clock, half of them with a rim; drawn by OpenCV and moved there."""
    cover, rim = (np.zeros((k, *size), np.uint8) for _ in range(2))
    for number in range(k):
        for _ in range(int(torch.randint(1, 4, (), generator=generator))):
            line = _line(generator)
            draw = torch.rand(6, generator=generator).tolist()
            font, scale = _FONTS[int(draw[0] * len(_FONTS))], 0.3 + 1.1 * draw[1]
            thickness = 1 + int(2 * draw[2])
            place = (int((draw[3] - 0.2) * size[1]), int((0.05 + 0.95 * draw[4]) * size[0]))
            if draw[5] < 0.5:
                cv2.putText(rim[number], line, place, font, scale, 255, thickness + 2, cv2.LINE_AA)
            cv2.putText(cover[number], line, place, font, scale, 255, thickness, cv2.LINE_AA)
    drawn, ground = (
        torch.from_numpy(mask).to(device, non_blocking=True).unsqueeze(1).float().div_(255.0) for mask in (cover, rim)
    )
    return Shape(drawn, torch.zeros_like(drawn), torch.ones_like(drawn), ground)


def _line(generator: torch.Generator) -> str:
    """A date with a time, or letters at random."""
    if float(torch.rand((), generator=generator)) < 0.4:
        ends = torch.tensor([2000, 1, 1, 0, 0, 0]), torch.tensor([2040, 13, 29, 24, 60, 60])
        drawn = (ends[0] + torch.rand(6, generator=generator) * (ends[1] - ends[0])).long().tolist()
        return "{:04d}-{:02d}-{:02d} {:02d}:{:02d}:{:02d}".format(*drawn)
    length = int(torch.randint(3, 24, (), generator=generator))
    return "".join(_LETTERS[i] for i in torch.randint(len(_LETTERS), (length,), generator=generator).tolist())


SHAPES: Mapping[Structure, Callable[[int, Sequence[int], torch.Generator, torch.device], Shape]] = {
    Structure.GRILLE: _grille,
    Structure.WIRES: _wires,
    Structure.POSTS: _posts,
    Structure.DASHES: _dashes,
    Structure.REEDS: _reeds,
    Structure.TEXT: _text,
}
"""For each kind: from K, (H, W), a generator on the CPU and a device to where its structures lie."""
