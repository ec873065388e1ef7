"""Rain from rendered streak layers, such as those of the Garg–Nayar database.

A rendered layer is a grey picture of streaks on black: what light, camera and the oscillation of falling drops make of
them, which no drawn streak has (Garg & Nayar, "Photorealistic Rendering of Rain Streaks", SIGGRAPH 2006). Crops of
layers are brought to other sizes, mirrored, made brighter or darker, laid over each other, and added to the picture or
screened over it (`rain`).
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

_ZOOM = (0.6, 1.8)
"""How large a layer is shown, at least and at most, uniform in the logarithm."""

_BRIGHT = (0.5, 1.6)
"""Factor on the brightness of a layer, which fills half of its range."""

_SECOND = 0.3
"""Share of the pictures that get a second layer, a weaker one."""

_SCREENED = 0.6
"""Share of the pictures whose rain is screened instead of added."""


class StreakLayers:
    """Rendered layers, ready on a device.

    Args:
        layers: L×h×w uint8, grey.
        device: where rain is drawn.
    """

    def __init__(self, layers: Tensor, device: torch.device) -> None:
        self._layers = layers.to(device)

    def draw(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Let it rain on pictures.

        Args:
            clean: N×3×H×W float32, RGB, 0..1, on the device; left as it is.
            generator: on the CPU.

        Returns:
            N×3×H×W float32, 0..1.
        """
        n = len(clean)
        drawn = torch.rand(n, 4, generator=generator)
        bright = _BRIGHT[0] + (_BRIGHT[1] - _BRIGHT[0]) * drawn[:, 0]
        second = torch.where(drawn[:, 1] < _SECOND, 0.3 + 0.7 * drawn[:, 2], 0.0)
        screened = (drawn[:, 3] < _SCREENED).float()
        factors = torch.stack([bright, second, screened]).to(clean.device, non_blocking=True).view(3, n, 1, 1, 1)
        first, other = self._crops(2 * n, clean.shape[-2:], generator).chunk(2)  # N×1×H×W each
        rain = (first * factors[0] + other * factors[1]).clamp_(max=1.0)
        return (clean + rain * (1.0 - factors[2] * clean)).clamp_(0.0, 1.0)

    def _crops(self, n: int, size: torch.Size, generator: torch.Generator) -> Tensor:
        """Crops of layers at sizes, places and sides drawn at random: n×1×H×W, 0..1."""
        height, width = size
        rows, columns = self._layers.shape[1:]
        which = torch.randint(len(self._layers), (n,), generator=generator)
        drawn = torch.rand(n, 4, generator=generator)
        zoom = torch.exp(math.log(_ZOOM[0]) + math.log(_ZOOM[1] / _ZOOM[0]) * drawn[:, 0])
        # One factor for both directions, so that streaks keep their shape; a layer that is too small is shown larger.
        zoom = zoom.clamp(min=max(height / rows, width / columns))
        tall, wide = height / zoom / rows, width / zoom / columns  # of the part that is shown, in shares of the layer
        mirror = torch.where(drawn[:, 1] < 0.5, 1.0, -1.0)
        # grid_sample's coordinates run from −1 to 1 over the layer.
        matrix = torch.zeros(n, 2, 3)
        matrix[:, 0, 0], matrix[:, 1, 1] = mirror * wide, tall
        matrix[:, 0, 2] = (1.0 - wide) * (2.0 * drawn[:, 2] - 1.0)
        matrix[:, 1, 2] = (1.0 - tall) * (2.0 * drawn[:, 3] - 1.0)
        device = self._layers.device
        grid = affine_grid(matrix.to(device, non_blocking=True), [n, 1, height, width], align_corners=False)
        layers = self._layers[which.to(device, non_blocking=True)].unsqueeze(1).float().div_(255.0)  # n×1×h×w
        return grid_sample(layers, grid, padding_mode="border", align_corners=False)
