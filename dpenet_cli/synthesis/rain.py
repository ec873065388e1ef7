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

(Li, Cheong, Tan, "Heavy Rain Image Restoration", CVPR 2019, arXiv 1904.05050, equation 2).

Only what a picture gets is computed. The same seed gives the same rain on the same kind of device.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from dpenet_cli.synthesis.degradations import jpeg, sensor_noise
from dpenet_cli.synthesis.parameters import LayerParameters, RainParameters


def draw_rain(clean: Tensor, parameters: RainParameters, generator: torch.Generator) -> Tensor:
    """Let it rain on pictures.

    Args:
        clean: N×3×H×W float32, RGB, 0..1; left as it is.
        parameters: one row for each picture.
        generator: on the device of `clean`.

    Returns:
        N×3×H×W float32, 0..1; a picture without layers, veil, noise and JPEG comes back unchanged.
    """
    height, width = clean.shape[-2:]

    def moved(values: Tensor) -> Tensor:
        return values.to(clean.device, non_blocking=True)

    def column(values: Tensor) -> Tensor:  # one value a picture, K×1×1×1, ready to meet K×C×H×W
        return moved(values).view(-1, 1, 1, 1)

    # 1. Streaks, added or screened: B + R·(1 − sB), which is B + R for s = 0 and 1 − (1 − B)(1 − R) for s = 1.
    rain = draw_streaks(parameters, height, width, generator)  # N×1×H×W
    rainy = (clean + rain * (1.0 - column(parameters.screened) * clean)).clamp_(0.0, 1.0)

    # 2. The veil, over the K pictures that have one: t·rainy + (1 − t)·airlight.
    veiled = parameters.scatter.nonzero().flatten()
    if len(veiled):
        depth = draw_depth(len(veiled), height, width, generator)  # K×1×H×W
        transmission = torch.exp(-column(parameters.scatter[veiled]) * depth)
        airlight, there = column(parameters.airlight[veiled]), moved(veiled)
        rainy[there] = airlight + (rainy[there] - airlight) * transmission

    # 3. The camera, each part of it over the pictures that it was drawn for: noise on the light, then JPEG.
    noisy = (parameters.shot + parameters.read).nonzero().flatten()
    if len(noisy):
        shot, read, there = moved(parameters.shot[noisy]), moved(parameters.read[noisy]), moved(noisy)
        rainy[there] = sensor_noise(rainy[there], shot, read, generator)
    coded = parameters.quality.nonzero().flatten()
    if len(coded):
        there = moved(coded)
        rainy[there] = jpeg(rainy[there], moved(parameters.quality[coded]))
    return rainy


def draw_streaks(parameters: RainParameters, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Draw the rain alone: N×1×H×W float32, 0..1, on the generator's device."""
    rain = torch.zeros(len(parameters.bright), 1, height, width, device=generator.device)
    # Pictures differ in how many layers they have, so each layer is drawn for the K pictures that have it. One layer
    # after the other, not all at once: a sum in one order is the same sum every time, on a GPU too.
    for layer in range(parameters.bright.shape[1]):
        there = parameters.bright[:, layer] > 0
        of_drops = parameters.cover[:, layer] > 0
        for some, draw in ((there & of_drops, _draw_drops), (there & ~of_drops, _draw_noise)):
            pictures = some.nonzero().flatten()
            if len(pictures):
                own = parameters.of_layer(layer, pictures, rain.device)
                levels = draw(own, height, width, generator)  # K×1×H×W
                strokes = ((levels - own.black) / own.white).clamp_(0.0, 1.0) * own.bright
                rain[pictures.to(rain.device, non_blocking=True)] += strokes
    return rain.clamp_(max=1.0)


def _draw_drops(own: LayerParameters, height: int, width: int, generator: torch.Generator) -> Tensor:
    """One layer of sparse drops, each of which leaves a streak: K×1×H×W, in units of a streak's peak."""
    streak = _streak(own, height, width)
    # A streak for every pixel with probability p would cover p × area of the picture.
    p = own.cover / streak.sum(dim=(-2, -1), keepdim=True)
    uniform = torch.rand(streak.shape, generator=generator, device=streak.device)
    # Below p there is a drop; how far below gives its brightness of 0.4..1, without a second random number.
    drops = torch.where(uniform < p, 0.4 + 0.6 * uniform / p, 0.0)
    return _convolve(drops, streak)


def _draw_noise(own: LayerParameters, height: int, width: int, generator: torch.Generator) -> Tensor:
    """One layer of dense noise blurred along its direction: K×1×H×W, in standard deviations from its mean."""
    streak = _streak(own, height, width)
    blurred = _convolve(torch.rand(streak.shape, generator=generator, device=streak.device), streak)
    deviation, mean = torch.std_mean(blurred, dim=(-2, -1), keepdim=True)
    return (blurred - mean) / deviation.clamp(min=1e-6)


def _convolve(picture: Tensor, streak: Tensor) -> Tensor:
    """Circular convolution, as a product of spectra: a streak that leaves on one side enters on the other."""
    spectrum = torch.fft.rfft2(picture) * torch.fft.rfft2(streak)  # K×1×H×(W/2+1), complex
    convolved: Tensor = torch.fft.irfft2(spectrum, s=picture.shape[-2:])
    return convolved


def _streak(own: LayerParameters, height: int, width: int) -> Tensor:
    """One streak a picture, centred on pixel (0, 0) of a picture whose sides meet: K×1×H×W, 0..1.

    A rectangle of length × width, smoothed by a Gaussian; its integral has a closed form in each direction.
    """
    # Signed distances from pixel (0, 0), the short way round: 0, 1, …, −2, −1. Convolving with a streak that is
    # centred there puts each streak's middle where its drop is.
    rows, columns = (
        torch.fft.fftfreq(side, 1.0 / side, device=own.length.device).view(shape)
        for side, shape in ((height, (-1, 1)), (width, (1, -1)))
    )  # H×1, 1×W
    # The same distances along the fall, which at 0° is straight down the rows, and across it.
    cosine, sine = torch.cos(own.direction), torch.sin(own.direction)
    along = rows * cosine + columns * sine  # K×1×H×W
    across = columns * cosine - rows * sine
    length = own.length.clamp(max=0.8 * min(height, width))  # longer ones would meet their own tail
    fade = torch.maximum(own.softness, 0.12 * length)  # a streak fades in and out over part of its length
    # A rotated Gaussian is still the product of two, so the smoothed rectangle is one profile times the other.
    return _smoothed_box(along, length, fade) * _smoothed_box(across, own.width, own.softness)


def _smoothed_box(x: Tensor, width: Tensor, sigma: Tensor) -> Tensor:
    """1 within `width` around 0 and 0 outside, convolved with a Gaussian: a difference of two error functions."""
    scale = 1.0 / (math.sqrt(2.0) * sigma)
    inside: Tensor = torch.erf((x + 0.5 * width) * scale) - torch.erf((x - 0.5 * width) * scale)
    return 0.5 * inside


def draw_depth(n: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Draw smooth depths for the veil: n×1×H×W, 0..1, farther towards the top, on the generator's device."""
    coarse = torch.rand(n, 1, 4, 4, generator=generator, device=generator.device)
    coarse = 0.6 * coarse + 0.4 * torch.linspace(1.0, 0.0, 4, device=generator.device).view(1, 1, 4, 1)
    return interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True).clamp_(0.0, 1.0)
