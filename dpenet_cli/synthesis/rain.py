"""Synthetic rain, drawn in batches on the CPU or a GPU with the same code: streaks, accumulation, veil.

A layer of rain is a field of drops convolved with one streak. The drops are sparse points, or dense noise. The streak
is a line of some length, width and direction, softened by a Gaussian: what a falling drop leaves on the sensor in one
exposure (Garg & Nayar, "Vision and Rain", IJCV 75 (2007): length by motion, width by distance, softness by defocus).
Convolution is done by FFT at the size of the picture, so that a streak which leaves on one side enters on the other,
and no border is drawn in vain. Several layers add up to the rain R, which meets the clean picture B in one of two ways:

    added       O = min(B + R, 1)                                  Rain100L, Rain100H
    screened    O = 1 − (1 − B)(1 − R), which spares bright areas  Rain800, Rain1400: Photoshop's blending mode

and a veil of distant rain may lie over both:

    O = t·(B and R) + (1 − t)·A,  t = exp(−β·d)                    airlight A, scattering β, depth d in 0..1

(Li, Cheong, Tan, "Heavy Rain Image Restoration", CVPR 2019, arXiv 1904.05050, equation 2). Directions are measured
from the vertical.

Every kind of rain is a row of ranges (`KINDS`); nothing else tells them apart. The same seed gives the same rain on
the same kind of device.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from dpenet_cli.synthesis.degradations import jpeg, sensor_noise

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


KINDS: Mapping[Rain, RainRanges] = {
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
    ),
    # Garg & Nayar 2007: streaks far away are short, thin, dim and many; those close to the lens are wide and out of
    # focus (Halimeh & Roser, "Raindrop detection on car windshields", 2009, for the defocus of near drops).
    Rain.DEPTH: RainRanges(
        layers=(2, 4),
        spread=(0, 5),
        length=(25, 110),
        width=(1.5, 7),
        softness=(0.6, 2.2),
        cover=(0.03, 0.25),
        bright=(0.12, 0.5),
        screened=(0.4, 0.4),
        recede=(0.5, 0.8),
        scatter=(0, 0.15),
        camera=(0.3, 0.3),
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
    ),
    # A dry picture stays as it is: the network learns to leave it alone.
    Rain.DRY: RainRanges(layers=(0, 0)),
}

_FIELDS = tuple(field.name for field in fields(RainRanges))
_BY_LOGARITHM = ("length", "width")
_PER_LAYER = ("spread", "length", "width", "softness", "cover", "black", "white", "bright")


class RainParameters(NamedTuple):
    """The parameters of N pictures' rain: N×M tensors for M layers, N tensors for the picture as a whole; float32."""

    direction: Tensor  # N×M, radians from the vertical
    length: Tensor  # N×M, pixels
    width: Tensor  # N×M, pixels
    softness: Tensor  # N×M, pixels
    cover: Tensor  # N×M, 0 for noise
    black: Tensor  # N×M
    white: Tensor  # N×M
    bright: Tensor  # N×M, 0 for a layer that is not there
    screened: Tensor  # N, 0 or 1
    scatter: Tensor  # N
    airlight: Tensor  # N, 0..1
    shot: Tensor  # N, see `camera.sensor_noise`; 0 without
    read: Tensor  # N
    quality: Tensor  # N, JPEG; 0 without

    def to(self, device: torch.device) -> Self:
        """Move the parameters; one small copy."""
        split = [1 if tensor.ndim == 1 else tensor.shape[1] for tensor in self]
        together = torch.cat([tensor.view(len(tensor), -1) for tensor in self], dim=1).to(device, non_blocking=True)
        parts = torch.split(together, split, dim=1)
        return type(self)(*(part[:, 0] if own.ndim == 1 else part for part, own in zip(parts, self, strict=True)))


def draw_parameters(kinds: Sequence[Rain], generator: torch.Generator) -> RainParameters:
    """Draw the parameters of one shower for each picture, on the CPU.

    Args:
        kinds: one kind of rain for each picture.
        generator: on the CPU.
    """
    n, m = len(kinds), MAX_LAYERS
    ranges = torch.tensor([[getattr(KINDS[kind], name) for name in _FIELDS] for kind in kinds], dtype=torch.float32)
    ranges = ranges.view(n, len(_FIELDS), 1, 2)
    logarithmic = torch.tensor([name in _BY_LOGARITHM for name in _FIELDS]).view(1, -1, 1, 1)
    ranges = torch.where(logarithmic, ranges.log(), ranges)
    uniform = torch.rand(n, len(_FIELDS), m, generator=generator)
    drawn = torch.lerp(ranges[..., 0].expand_as(uniform), ranges[..., 1].expand_as(uniform), uniform)
    drawn = torch.where(logarithmic[..., 0], drawn.exp(), drawn)
    value = {name: drawn[:, i] if name in _PER_LAYER else drawn[:, i, :1] for i, name in enumerate(_FIELDS)}
    chance = torch.rand(n, 8, generator=generator)
    first, last = ranges[:, 0, :, 0], ranges[:, 0, :, 1]
    count = (first + chance[:, :1] * (last - first + 1)).floor().clamp(max=last)  # whole numbers, both ends included
    layer = torch.arange(m, dtype=torch.float32).view(1, m)
    behind = value["recede"] ** layer
    turn = value["spread"] * (2.0 * torch.rand(n, m, generator=generator) - 1.0)
    noisy, coded = (chance[:, i] < value["camera"][:, 0] for i in (1, 2))
    return RainParameters(
        direction=torch.deg2rad(value["direction"] + turn),
        length=value["length"] * behind,
        width=value["width"] * behind,
        softness=value["softness"] * behind.clamp(min=0.5),
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


def draw_rain(clean: Tensor, showers: RainParameters, generator: torch.Generator) -> Tensor:
    """Let it rain on pictures.

    Args:
        clean: N×3×H×W float32, RGB, 0..1.
        showers: on the same device, one for each picture.
        generator: on the same device.

    Returns:
        N×3×H×W float32, 0..1; a picture without layers, veil, noise and JPEG comes back unchanged.
    """
    height, width = clean.shape[-2:]
    rain = draw_streaks(showers, height, width, generator)
    screened = showers.screened.view(-1, 1, 1, 1)
    rainy = clean + rain * (1.0 - screened * clean)
    depth = draw_depth(len(clean), height, width, generator)
    transmission = torch.exp(-showers.scatter.view(-1, 1, 1, 1) * depth)
    rainy = torch.lerp(showers.airlight.view(-1, 1, 1, 1).expand_as(rainy), rainy.clamp_(0.0, 1.0), transmission)
    rainy = sensor_noise(rainy, showers.shot, showers.read, generator)
    coded = jpeg(rainy, showers.quality.clamp(min=1.0))
    return torch.where(showers.quality.view(-1, 1, 1, 1) > 0, coded, rainy)


def draw_streaks(showers: RainParameters, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Draw the rain alone: N×1×H×W float32, 0..1, on the device of `showers`."""
    n, m = showers.length.shape
    streak = _streak(showers, height, width)
    uniform = torch.rand(n, m, height, width, generator=generator, device=streak.device)
    # A point with probability p carries a brightness of 0.4..1, taken from the same random number; noise is the number.
    area = streak.sum(dim=(-2, -1), keepdim=True)
    cover = showers.cover.view(n, m, 1, 1)
    p = cover / area
    drops = torch.where(uniform < p, 0.4 + 0.6 * uniform / p.clamp(min=1e-12), 0.0)
    field = torch.where(cover > 0, drops, uniform)
    spectrum = torch.fft.rfft2(field) * torch.fft.rfft2(streak)
    layers = torch.fft.irfft2(spectrum, s=(height, width))
    deviation, mean = torch.std_mean(layers, dim=(-2, -1), keepdim=True)
    layers = torch.where(cover > 0, layers, (layers - mean) / deviation.clamp(min=1e-6))
    black, white = (value.view(n, m, 1, 1) for value in (showers.black, showers.white))
    layers = ((layers - black) / white).clamp(0.0, 1.0) * showers.bright.view(n, m, 1, 1)
    return layers.sum(dim=1, keepdim=True).clamp_(max=1.0)


def _streak(showers: RainParameters, height: int, width: int) -> Tensor:
    """One streak a layer, centred on pixel (0, 0) of a picture whose sides meet: N×M×H×W, 0..1.

    A rectangle of length × width, smoothed by a Gaussian; its integral has a closed form in each direction.
    """
    device = showers.length.device
    rows, columns = (torch.fft.fftfreq(side, 1.0 / side, device=device) for side in (height, width))  # 0, 1, … −2, −1
    rows, columns = rows.view(-1, 1), columns.view(1, -1)
    shape = (*showers.length.shape, 1, 1)
    direction = showers.direction.view(shape)
    along = rows * torch.cos(direction) + columns * torch.sin(direction)
    across = columns * torch.cos(direction) - rows * torch.sin(direction)
    length = showers.length.clamp(max=0.8 * min(height, width)).view(shape)  # longer ones would meet their own tail
    softness = showers.softness.view(shape)
    fade = torch.maximum(softness, 0.12 * length)  # a streak fades in and out over part of its length
    return _smoothed_box(along, length, fade) * _smoothed_box(across, showers.width.view(shape), softness)


def _smoothed_box(x: Tensor, width: Tensor, sigma: Tensor) -> Tensor:
    scale = 1.0 / (math.sqrt(2.0) * sigma)
    return 0.5 * (torch.erf((x + 0.5 * width) * scale) - torch.erf((x - 0.5 * width) * scale))


def draw_depth(n: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Draw smooth depths for the veil: N×1×H×W, 0..1, farther towards the top, on the generator's device."""
    coarse = torch.rand(n, 1, 4, 4, generator=generator, device=generator.device)
    coarse = 0.6 * coarse + 0.4 * torch.linspace(1.0, 0.0, 4, device=generator.device).view(1, 1, 4, 1)
    return interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True).clamp_(0.0, 1.0)
