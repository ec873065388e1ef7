"""Decoded pictures as one row of bytes, and crops gathered from it where they are needed."""

from collections.abc import Sequence

import torch
from torch import Tensor

_GPU_SHARE = 0.3
"""Share of a GPU's free memory that pictures may take; beyond it they stay in the host's."""


class PixelStore:
    """Decoded pictures of any sizes, their uint8 pixels in one row.

    Args:
        pictures: H×W×3 uint8.
        device: where the crops are needed; the pixels lie there too if they fit.
        packed: N×3 uint8 that all pictures are views of, row after row (`pack`); None copies them into one row.

    Attributes:
        pixels: how many there are.
        shorter_sides: of each picture, P.
    """

    def __init__(self, pictures: Sequence[Tensor], device: torch.device, packed: Tensor | None = None) -> None:
        self._sizes = torch.tensor([picture.shape[:2] for picture in pictures])  # P×2
        self.shorter_sides = self._sizes.min(dim=1).values
        areas = self._sizes.prod(dim=1)
        self.pixels = int(areas.sum())
        self._device = device
        if packed is None:
            self._starts = areas.cumsum(0) - areas
            self._pixels = torch.empty(self.pixels, 3, dtype=torch.uint8, device=_home(device, 3 * self.pixels))
            for start, picture in zip(self._starts.tolist(), pictures, strict=True):
                self._pixels[start : start + picture.shape[0] * picture.shape[1]] = picture.reshape(-1, 3)
        else:
            # A view of the row says by its address where in it it begins; nothing is copied but to another device.
            self._starts = torch.tensor([(picture.data_ptr() - packed.data_ptr()) // 3 for picture in pictures])
            self._pixels = packed.to(_home(device, packed.numel()))

    def draw_places(
        self, which: Tensor, side: int, *, symmetries: bool, mirrors: bool, generator: torch.Generator
    ) -> Tensor:
        """Draw where to cut.

        Args:
            which: numbers of N pictures.
            side: of a crop in pixels.
            symmetries: flip and turn the crops.
            mirrors: exchange left and right alone, where there are no symmetries.
            generator: on the CPU.

        Returns:
            N×5 integers (top, left, transposed, upside down, mirrored), on the CPU.
        """
        room = self._sizes[which] - side + 1  # N×2: how many tops, how many lefts there are
        corners = (torch.rand(len(which), 2, generator=generator, dtype=torch.float64) * room).long()
        turns = torch.randint(0, 2, (len(which), 3), generator=generator)
        if not symmetries:
            turns = turns * torch.tensor([0, 0, int(mirrors)])
        return torch.cat([corners, turns], dim=1)

    def crops(self, which: Tensor, places: Tensor, side: int) -> Tensor:
        """Gather crops: N×3×S×S float32, 0..1, channels_last, on the device.

        Args:
            which: numbers of N pictures.
            places: N×5, see `draw_places`.
            side: of a crop in pixels, S.
        """
        # All that describes the crops goes to the device in one copy: N×7, then seven columns of N×1×1.
        rows = torch.stack([self._starts[which], self._sizes[which, 1]], dim=1)
        table = torch.cat([rows, places], dim=1).to(self._pixels.device, non_blocking=True).view(-1, 7, 1, 1)
        start, width, top, left, transposed, upside_down, mirrored = table.unbind(1)
        # For each pixel of a crop, which pixel of the cut it is. The eight symmetries of a square are three swaps of
        # coordinates, so they are done here, to indices, and no pixel is copied twice.
        along = torch.arange(side, device=table.device)
        row, column = along.view(1, -1, 1), along.view(1, 1, -1)
        y, x = torch.where(transposed == 1, column, row), torch.where(transposed == 1, row, column)  # N×S×S
        y = torch.where(upside_down == 1, side - 1 - y, y)
        x = torch.where(mirrored == 1, side - 1 - x, x)
        # Pictures lie row after row, one after the other, so (y, x) of a picture is one number.
        pixels = self._pixels[start + (top + y) * width + left + x]  # N×S×S×3 uint8
        # Seen as N×3×S×S without moving a byte, which is what channels_last means.
        return pixels.to(self._device, non_blocking=True).permute(0, 3, 1, 2).float().div_(255.0)


def _home(device: torch.device, size: int) -> torch.device:
    """Where so many bytes of pixels lie: on the device, unless it is a GPU that they would fill."""
    if device.type != "cuda" or size < _GPU_SHARE * torch.cuda.mem_get_info(device)[0]:
        return device
    return torch.device("cpu")
