"""Structure that is no rain, drawn: grilles, wires, posts and railings, lane dashes, reeds, lettering and clocks.

What is long, thin, bright and upright looks like a streak to a network that has only ever been shown streaks. Drawn on
clean crops before it rains, structure has to be told from rain: it is opaque where a near streak is translucent, and
its edges are sharp where those of a near streak are out of focus.

Everything but lettering is computed on the pictures' device from a few parameters; what is drawn is a cover (how much
of a pixel the structure hides), and where across an element a pixel lies, which gives round bars their shading. All
parameters come from one generator on the CPU, so the same seed gives the same structure.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dpenet_cli.arrays import Pixels8
from dpenet_cli.synthesis.structure_shapes import SHAPES, Shape, Structure

LEAST_OPACITY = 0.8
"""The least opacity of structure. Streaks that are as wide stay well below it (`parameters.RANGES`)."""

_SECOND = 0.25
"""Share of the pictures that get two structures."""

_WINDOW = 256
"""Side in pixels of the part of a large picture that one structure is drawn in."""


SHARES: Mapping[Structure, float] = {
    Structure.GRILLE: 0.36,
    Structure.WIRES: 0.16,
    Structure.POSTS: 0.16,
    Structure.DASHES: 0.08,
    Structure.REEDS: 0.1,
    Structure.TEXT: 0.14,
}
"""How often each kind is drawn."""


def draw_structures(clean: Tensor, generator: torch.Generator, kinds: Sequence[Structure] | None = None) -> Tensor:
    """Draw structure on pictures: one on each, two on every fourth.

    Args:
        clean: N×3×H×W float32, RGB, 0..1; left as it is.
        generator: on the CPU, wherever the pictures are.
        kinds: what to draw on each picture, and no second one; None draws the kinds too.

    Returns:
        N×3×H×W float32, 0..1, on the device of `clean`.
    """
    chosen = _draw_kinds(len(clean), generator) if kinds is None else kinds
    out = clean.clone()
    for kind in Structure:
        pictures = [number for number, own in enumerate(chosen) if own is kind]
        if pictures:
            there = torch.tensor(pictures).to(clean.device, non_blocking=True)
            shape = SHAPES[kind](len(pictures), clean.shape[-2:], generator, clean.device)
            out[there] = _paint(out[there], shape, kind, generator)
    if kinds is None:
        again = (torch.rand(len(clean), generator=generator) < _SECOND).nonzero().flatten()
        if len(again):
            there = again.to(clean.device, non_blocking=True)
            out[there] = draw_structures(out[there], generator, _draw_kinds(len(again), generator))
    return out


def _draw_kinds(n: int, generator: torch.Generator) -> list[Structure]:
    drawn = torch.multinomial(torch.tensor(list(SHARES.values())), n, replacement=True, generator=generator)
    return [list(SHARES)[kind] for kind in drawn.tolist()]


def structured_picture(pixels: Pixels8, seed: int) -> Pixels8:
    """Draw structures all over a picture of any size: about one for each 256×256 pixels, wherever it falls.

    Args:
        pixels: H×W×3 uint8, RGB; left as it is.
        seed: of everything that is drawn; it depends on the picture's size otherwise, and on nothing else.

    Returns:
        H×W×3 uint8.
    """
    generator = torch.Generator().manual_seed(seed)
    picture = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255.0  # 1×3×H×W
    height, width = picture.shape[-2:]
    h, w = min(height, _WINDOW), min(width, _WINDOW)
    for _ in range(math.ceil(height * width / _WINDOW**2)):
        top, left = (int(torch.randint(room + 1, (), generator=generator)) for room in (height - h, width - w))
        window = picture[..., top : top + h, left : left + w]
        window.copy_(draw_structures(window, generator))
    return (picture[0].permute(1, 2, 0) * 255.0).round().to(torch.uint8).numpy()


def _paint(pictures: Tensor, shape: Shape, kind: Structure, generator: torch.Generator) -> Tensor:
    """Lay structures of one kind over K×3×H×W pictures."""
    k = len(pictures)
    colour, edge, ground = (_colours(k, generator) for _ in range(3))
    drawn = torch.rand(k, 5, generator=generator)
    opacity = LEAST_OPACITY + (1.0 - LEAST_OPACITY) * drawn[:, :1]
    # Round elements are darker at their edges, flat ones are not; some have edges of another colour.
    round_, dark = drawn[:, 1:2] * (drawn[:, 2:3] < 0.7), 0.4 + 0.6 * drawn[:, 3:4]
    edge = torch.where(drawn[:, 4:5] < 0.3, edge, colour) * dark
    # Letters have a rim of the opposite brightness, as opaque as they are; a grille's inside shows some of the picture.
    ground_opacity = torch.full((k, 1), 0.7)
    if kind is Structure.TEXT:
        ground = torch.where(colour.mean(dim=1, keepdim=True) > 0.5, 0.1, 0.9).expand(k, 3)
        ground_opacity = torch.ones(k, 1)
    table = torch.cat([colour, edge, ground, opacity, round_, ground_opacity], dim=1)  # K×12, moved in one copy
    table = table.to(pictures.device, non_blocking=True).view(k, 12, 1, 1)
    colour, edge, ground, opacity, round_, ground_opacity = torch.split(table, [3, 3, 3, 1, 1, 1], dim=1)
    behind = torch.lerp(pictures, ground, shape.ground * ground_opacity)  # K×3×H×W
    shaded = torch.lerp(colour, edge, round_ * shape.across.square()) * shape.tone
    return torch.lerp(behind, shaded, shape.cover * opacity).clamp_(0.0, 1.0)


def _colours(k: int, generator: torch.Generator) -> Tensor:
    """Colours of things: white and bright ones, dark ones, and any: K×3, 0..1."""
    drawn = torch.rand(k, 6, generator=generator)
    kind, grey, free = drawn[:, :1], drawn[:, 1:2], drawn[:, 3:]
    bright = torch.where(drawn[:, 2:3] < 0.6, 0.75 + 0.25 * free, 0.7 + 0.3 * grey)
    dark = 0.3 * grey + 0.08 * free
    return torch.where(kind < 0.35, bright, torch.where(kind < 0.7, dark, free))
