"""PyTorch's backend with tiles of a given size, and what it is compared with: the network on the whole picture."""

import numpy as np
import torch

from dpenet_cli.inference.backend import TileSize
from dpenet_cli.inference.torch import TorchBackend
from dpenet_cli.options import Precision


class FixedTiles(TorchBackend):
    """The real backend with tiles of a given size."""

    def __init__(self, model, size):
        super().__init__(model, "cpu", Precision.FP32)
        self.size = size

    def tile_size(self, height, width, precision, columns):
        return TileSize(min(columns or self.size.columns, width), self.size.band_rows)


def untiled(model, rainy):
    """The untiled result in grey levels, float."""
    peak = np.iinfo(rainy.dtype).max
    tensor = torch.from_numpy(rainy.astype(np.float32) / peak).permute(2, 0, 1)[None]
    with torch.inference_mode():
        return model(tensor).restored[0].permute(1, 2, 0).clamp(0, 1).numpy().astype(np.float64) * peak
