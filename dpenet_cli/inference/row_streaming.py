"""The network on a picture in bands of rows, from top to bottom: every operation once, in memory for one band.

In go the bands of a strip (`RowStream.bands`), out come its clean rows, a receptive radius later. `RowStream` is the
`NetworkSchedule` for it: each 3×3 convolution with dilation d stores the last 2d rows that it was given, so that its
result lags d rows behind. Zero rows stand in for what lies above the picture and below it, exactly as zero padding
does, so the bands together equal the whole picture. The bands go on below the last row until the network's whole lag
has come out; what a convolution would compute there is known to be padding, and is not computed.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, relu

from dpenet_cli.arrays import Pixels


class RowStream:
    """What each step of the forward pass stores between two bands. One object serves one picture, once.

    A step is one call of `conv` or `align`; it is known by its position in the order of the calls, which is the same
    for every band.

    Args:
        height: rows of the picture. Rows below it, which must be pushed as zeros to get the last rows out, are padding
            to every step.
    """

    def __init__(self, height: int) -> None:
        self._height = height
        self._state: list[Tensor | None] = []  # of each step: rows stored for the next band, N×C×rows×W
        self._rows_out: list[int] = []  # of each step: rows that it has given so far
        self._step = -1

    def bands(self, strip: Pixels, band_rows: int, radius: int) -> Iterator[tuple[Pixels, Pixels]]:
        """Cut a strip into bands; each is to go through one forward pass before the next is taken.

        Args:
            strip: h×W×3 integers.
            band_rows: rows of every band; below the picture they are zero, and push out the rows still on their way.
            radius: receptive radius of the network, rows by which its result lags.

        Returns:
            Each band, band_rows×W×3, and the rows of the strip that stand where those do that then come out; the first
            of those may be none.
        """
        height = strip.shape[0]
        for top in range(0, height + radius, band_rows):
            band = strip[top : top + band_rows]
            if len(band) < band_rows:
                band = np.pad(band, ((0, band_rows - len(band)), (0, 0), (0, 0)))
            self.begin_band()
            yield band, strip[max(top - radius, 0) : max(top + band_rows - radius, 0)]

    def begin_band(self) -> None:
        """Announce the next forward pass; `bands` does so by itself."""
        self._step = -1

    def conv(self, layer: nn.Conv2d, rows: Tensor, *, rectify: bool = False) -> Tensor:
        """Convolve the rows whose context is complete: N×C×h×W in, N×C'×h'×W out, h' ≤ h."""
        if rectify:
            rows = relu(rows)
        radius, side = padding_of(layer)
        stored = self._next_step()
        if radius:
            # above the picture there are `radius` rows of padding; further down, the last 2·radius rows that came
            above = stored if stored is not None else _zeros(rows, rows.shape[1], radius)
            rows = torch.cat([above, rows], dim=2)  # N×C×(above + h)×W
            self._store(rows[:, :, -2 * radius :])
        ready = max(rows.shape[2] - 2 * radius, 0)  # rows whose context is complete
        # of those only the ones inside the picture are computed; the layers below must see zeros beyond its end
        inside = min(ready, max(self._height - self._rows_out[self._step], 0))
        self._rows_out[self._step] += ready
        if not inside:
            return _zeros(rows, layer.out_channels, ready)
        rows = rows[:, :, : inside + 2 * radius]
        out = conv2d(rows, layer.weight, layer.bias, padding=(0, side), dilation=layer.dilation)  # N×C'×inside×W
        if inside == ready:
            return out
        return torch.cat([out, _zeros(out, layer.out_channels, ready - inside)], dim=2)  # N×C'×ready×W

    def align(self, earlier: Tensor, like: Tensor) -> Tensor:
        """Give as many of the oldest waiting rows of `earlier` as `like` has; the rest wait for the next band."""
        waiting = self._next_step()
        if waiting is not None and waiting.shape[2]:
            earlier = torch.cat([waiting, earlier], dim=2)  # N×C×(waiting + h)×W
        ready = like.shape[2]
        self._store(earlier[:, :, ready:])
        return earlier[:, :, :ready]

    def block(self, block: nn.Module, rows: Tensor) -> Tensor:
        """Run the block's own steps."""
        out: Tensor = block(rows, self)
        return out

    def _next_step(self) -> Tensor | None:
        """Move on to the next step; take what it stored after the band before."""
        self._step += 1
        if self._step == len(self._state):
            self._state.append(None)
            self._rows_out.append(0)
        stored, self._state[self._step] = self._state[self._step], None
        return stored

    def _store(self, rows: Tensor) -> None:
        """Store rows for the next band: a copy, so that the band they are cut from is freed."""
        self._state[self._step] = rows.clone(memory_format=torch.channels_last)


def padding_of(layer: nn.Conv2d) -> tuple[int, int]:
    """Rows and columns by which a convolution of the network reaches beyond a pixel."""
    assert layer.stride == (1, 1)
    assert not isinstance(layer.padding, str)
    vertical, horizontal = layer.padding
    return vertical, horizontal


def _zeros(like: Tensor, channels: int, height: int) -> Tensor:
    """N×channels×height×W zeros as a convolution would return them.

    One step in another layout or a wider dtype would drag along all that follow.
    """
    device = like.device
    dtype = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else like.dtype
    zeros = torch.zeros((like.shape[0], channels, height, like.shape[3]), dtype=dtype, device=device)
    return zeros.to(memory_format=torch.channels_last)
