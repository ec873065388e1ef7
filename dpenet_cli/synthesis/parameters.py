"""Which rain falls on a picture: the kinds of rain, their ranges, and parameters drawn from them.

Every kind of rain is a row of ranges (`RANGES`); nothing else tells them apart. Directions are measured from the
vertical. Parameters are drawn on the CPU and stay there until they are used, so that which picture has which layer,
veil, noise or JPEG is known without asking the device.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import NamedTuple

import torch
from torch import Tensor

MAX_LAYERS = 4
"""Layers of streaks in one picture, at most."""


class Rain(StrEnum):
    """The kinds of rain that can be drawn."""

    THIN = "thin"
    DENSE = "dense"
    NOISE = "noise"
    DEPTH = "depth"
    HEAVY = "heavy"
    DRY = "dry"


Range = tuple[float, float]


@dataclass(frozen=True)
class RainRanges:
    """Ranges that the parameters of one kind of rain are drawn from, uniformly unless said otherwise.

    Attributes:
        layers: how many layers (whole numbers, both included).
        direction: degrees from the vertical, of the picture.
        spread: degrees by which a layer may differ from the picture's direction, either way.
        length: of a streak in pixels, uniform in its logarithm.
        width: of a streak in pixels, uniform in its logarithm.
        softness: σ in pixels of the Gaussian that the streak is smoothed with; 0.35 or so is a pixel's own.
        cover: streak area over picture area, before streaks overlap; 0 draws from dense noise instead of from drops.
        black: where the levels begin: for drops in units of a streak's peak, for noise in standard deviations.
        white: by how much above `black` the levels end; below 0.2 for drops, the strokes have hard edges.
        bright: a layer's brightest value, 0..1.
        screened: probability that the rain is screened instead of added.
        recede: factor on length, width and brightness from one layer to the one behind it.
        scatter: β of the veil.
        camera: probability of sensor noise, and again of JPEG, on top.
        magnified: probability that the rain is twice or three times as large, as in pictures of more pixels, and as
            much more out of focus.
    """

    layers: Range = (1, 1)
    direction: Range = (-30, 30)
    spread: Range = (0, 0)
    length: Range = (10, 40)
    width: Range = (1, 1)
    softness: Range = (0.35, 0.5)
    cover: Range = (0, 0)
    black: Range = (0, 0)
    white: Range = (1, 1)
    bright: Range = (0, 0)
    screened: Range = (0, 0)
    recede: Range = (1, 1)
    scatter: Range = (0, 0)
    camera: Range = (0, 0)
    magnified: Range = (0, 0)


RANGES: Mapping[Rain, RainRanges] = {
    # Yang et al., "Deep Joint Rain Detection and Removal from a Single Image", CVPR 2017, section 5: Rain100L has one
    # kind of streak a picture. The numbers fit the layers of its pairs: a mean of 4 to 9 grey levels, peaks to 130.
    Rain.THIN: RainRanges(
        layers=(2, 4),
        spread=(0, 2),
        length=(9, 70),
        width=(0.6, 2),
        softness=(0.35, 0.65),
        cover=(0.01, 0.045),
        bright=(0.25, 0.65),
        camera=(0.05, 0.05),
        magnified=(0.12, 0.12),
    ),
    # The same paper: Rain100H has up to five directions. Strokes with hard edges and one grey value each, layer on
    # layer, a mean of 30 to 80 grey levels; where they meet bright areas the sum saturates.
    Rain.DENSE: RainRanges(
        layers=(2, 4),
        direction=(-25, 25),
        spread=(0, 18),
        length=(18, 110),
        width=(1, 3.5),
        softness=(0.3, 0.4),
        cover=(0.4, 1.3),
        black=(0.05, 0.4),
        white=(0.05, 0.9),
        bright=(0.09, 0.27),
        camera=(0.05, 0.05),
        magnified=(0.08, 0.08),
    ),
    # The Photoshop recipe behind Rain800 (Zhang, Sindagi, Patel, "Image De-raining Using a Conditional GAN", TCSVT
    # 2020) and Rain1400 (Fu et al., "Removing Rain from Single Images via a Deep Detail Network", CVPR 2017): add
    # noise, blur it along one direction, pull up the levels, screen it over the picture.
    Rain.NOISE: RainRanges(
        layers=(1, 2),
        direction=(-45, 45),
        spread=(0, 3),
        length=(16, 70),
        width=(0.8, 2),
        softness=(0.4, 0.9),
        black=(-0.6, 1.4),
        white=(2.0, 4.0),
        bright=(0.2, 0.75),
        screened=(0.8, 0.8),
        scatter=(0, 0.12),
        camera=(0.5, 0.5),
        magnified=(0.12, 0.12),
    ),
    # Garg & Nayar 2007: streaks far away are short, thin, dim and many; those close to the lens are wide and out of
    # focus (Halimeh & Roser, "Raindrop detection on car windshields", 2009, for the defocus of near drops). Few of them
    # alone are drawn too: a post of that width is opaque and sharp, and nothing else tells the two apart.
    Rain.DEPTH: RainRanges(
        layers=(2, 4),
        spread=(0, 5),
        length=(25, 110),
        width=(1.5, 10),
        softness=(0.6, 3.0),
        cover=(0.01, 0.25),
        bright=(0.12, 0.5),
        screened=(0.4, 0.4),
        recede=(0.5, 0.8),
        scatter=(0, 0.15),
        camera=(0.3, 0.3),
        magnified=(0.12, 0.12),
    ),
    # Li, Cheong, Tan 2019: streaks behind each other add up to a veil.
    Rain.HEAVY: RainRanges(
        layers=(2, 4),
        spread=(0, 8),
        length=(12, 70),
        width=(0.8, 3),
        softness=(0.4, 1.0),
        cover=(0.1, 0.6),
        bright=(0.12, 0.4),
        screened=(0.5, 0.5),
        recede=(0.6, 0.95),
        scatter=(0.1, 0.6),
        camera=(0.3, 0.3),
        magnified=(0.12, 0.12),
    ),
    # A dry picture stays as it is: the network learns to leave it alone.
    Rain.DRY: RainRanges(layers=(0, 0)),
}

_FIELDS = tuple(field.name for field in fields(RainRanges))
_BY_LOGARITHM = ("length", "width")
_PER_LAYER = ("spread", "length", "width", "softness", "cover", "black", "white", "bright")


class LayerParameters(NamedTuple):
    """One layer of K pictures: K×1×1×1 float32 each, on the device that draws."""

    direction: Tensor
    length: Tensor
    width: Tensor
    softness: Tensor
    cover: Tensor
    black: Tensor
    white: Tensor
    bright: Tensor


class RainParameters(NamedTuple):
    """The parameters of N pictures' rain: N×M for M layers, N for a picture as a whole; float32, on the CPU."""

    direction: Tensor  # N×M, radians from the vertical
    length: Tensor  # N×M, pixels
    width: Tensor  # N×M, pixels
    softness: Tensor  # N×M, pixels
    cover: Tensor  # N×M, 0 for noise
    black: Tensor  # N×M
    white: Tensor  # N×M
    bright: Tensor  # N×M, 0 for a layer that is not there
    screened: Tensor  # N, 0 or 1
    scatter: Tensor  # N, 0 without a veil
    airlight: Tensor  # N, 0..1
    shot: Tensor  # N, see `degradations.sensor_noise`; 0 without noise
    read: Tensor  # N
    quality: Tensor  # N, of JPEG; 0 without

    def of_layer(self, layer: int, pictures: Tensor, device: torch.device) -> LayerParameters:
        """One layer of some pictures, moved to a device in one copy.

        Args:
            layer: number of the layer.
            pictures: K indices.
            device: where the layer is drawn.
        """
        together = torch.stack([getattr(self, name)[pictures, layer] for name in LayerParameters._fields])
        return LayerParameters(*together.to(device, non_blocking=True).view(len(together), -1, 1, 1, 1))


def draw_parameters(kinds: Sequence[Rain], generator: torch.Generator) -> RainParameters:
    """Draw the parameters of the rain in each picture.

    Args:
        kinds: one kind of rain for each of N pictures.
        generator: on the CPU.
    """
    n, m = len(kinds), MAX_LAYERS
    ranges = torch.tensor([[getattr(RANGES[kind], name) for name in _FIELDS] for kind in kinds], dtype=torch.float32)
    low, high = ranges.unsqueeze(-1).unbind(2)  # N×F×1 each, for F fields
    # Uniform in the logarithm means: interpolate between the ends' logarithms, then go back.
    logarithmic = torch.tensor([name in _BY_LOGARITHM for name in _FIELDS]).view(1, -1, 1)
    start, end = torch.where(logarithmic, low.log(), low), torch.where(logarithmic, high.log(), high)
    drawn = start + (end - start) * torch.rand(n, len(_FIELDS), m, generator=generator)  # N×F×M
    drawn = torch.where(logarithmic, drawn.exp(), drawn)
    value = {name: drawn[:, i] if name in _PER_LAYER else drawn[:, i, :1] for i, name in enumerate(_FIELDS)}
    chance = torch.rand(n, 10, generator=generator)  # one column for each thing that is decided once a picture
    turn = value["spread"] * (2.0 * torch.rand(n, m, generator=generator) - 1.0)  # N×M, either way

    first, last = low[:, _FIELDS.index("layers")], high[:, _FIELDS.index("layers")]  # N×1
    count = (first + chance[:, :1] * (last - first + 1)).floor().clamp(max=last)  # whole numbers, both ends included
    layer = torch.arange(m, dtype=torch.float32).view(1, m)
    behind = value["recede"] ** layer  # N×M: 1 for the nearest layer, less for each one behind it
    noisy, coded = (chance[:, i] < value["camera"][:, 0] for i in (1, 2))
    magnified = chance[:, 8:9] < value["magnified"]  # N×1
    size = torch.where(magnified, torch.where(chance[:, 9:] < 0.5, 2.0, 3.0), 1.0)
    return RainParameters(
        direction=torch.deg2rad(value["direction"] + turn),
        length=value["length"] * behind * size,
        width=value["width"] * behind * size,
        softness=value["softness"] * behind.clamp(min=0.5) * size,  # shrinks with distance too, but to half at most
        cover=value["cover"],
        black=value["black"],
        white=value["white"],
        bright=value["bright"] * behind * (layer < count),
        screened=(chance[:, 3] < value["screened"][:, 0]).float(),
        scatter=value["scatter"][:, 0],
        airlight=0.6 + 0.35 * chance[:, 4],
        shot=noisy * 0.002 * chance[:, 5],
        read=noisy * 0.01 * chance[:, 6],
        quality=coded * (60.0 + 38.0 * chance[:, 7]).round(),
    )
