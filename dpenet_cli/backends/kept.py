"""One block of the network as a plain function of rows, for runtimes that take a graph.

`dpenet_cli.backends.bands` keeps its state in an object that grows as the first bands come in. A graph has no such
object, and its sizes are best fixed. So rows that a step keeps go in and come out as tensors beside the band; as many
rows come out of a step as went in, but from further up; and an input tells which rows are inside the picture, for those
outside must be zero to every convolution, as zero padding is. The weights are inputs too: one graph serves every block
of a kind.

Tensors are N×H×W×C, as pictures lie in memory, and as runtimes that prefer channels last want them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, relu

from dpenet_cli.model import DDRB, ERPAB


class Kept(NamedTuple):
    """Rows that one step keeps for the next band: a tensor of 1×rows×W×channels."""

    rows: int
    channels: int


class Ledger(NamedTuple):
    """What the steps of a block do, each in the order of the forward pass.

    Attributes:
        layers: the convolutions.
        depths: of each convolution: rows by which its input lags behind the block's.
        lags: of each sum: rows by which its second operand lags behind its first.
        kept: of the steps that keep anything.
    """

    layers: tuple[nn.Conv2d, ...]
    depths: tuple[int, ...]
    lags: tuple[int, ...]
    kept: tuple[Kept, ...]

    @property
    def weights(self) -> list[Tensor]:
        """Weights and biases of the convolutions, as `BandBlock` takes them."""
        return [each for layer in self.layers for each in (layer.weight, layer.bias) if each is not None]


def radius_of(block: nn.Module) -> int:
    """Rows by which a block's result lags behind its input."""
    assert isinstance(block, DDRB | ERPAB)
    return block.radius


def ledger_of(block: nn.Module, channels: int) -> Ledger:
    """Find what the steps of a block do, by running it without padding and looking at what is left of the rows."""
    flow = _LedgerFlow(2 * radius_of(block) + 1)
    with torch.inference_mode():
        block(torch.zeros(1, channels, flow.height, 1), flow)
    return Ledger(tuple(flow.layers), tuple(flow.depths), tuple(flow.lags), tuple(flow.kept.values()))


class BandBlock(nn.Module):
    """A block on bands of a picture.

    Args:
        block: whose weights do not count.
        ledger: of this block, or of another one of its kind.
    """

    def __init__(self, block: nn.Module, ledger: Ledger) -> None:
        super().__init__()
        self._block = block
        self._ledger = ledger
        self._radius = radius_of(block)

    def forward(self, rows: Tensor, inside: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Run the block on one band.

        Args:
            rows: 1×h×W×C; those outside the picture are zero.
            inside: 1×1×(2·radius + h)×1: 1 for a row of the picture, 0 for others; from twice the radius above the
                band to its last row.
            tensors: the weights, as the ledger gives them; then what the band above returned, as the ledger lists it,
                or zeros at the top.

        Returns:
            1×h×W×C, rows that stand `radius` rows above those that came in, and mean nothing outside the picture; then
            what the steps keep for the band below.
        """
        count = len(self._ledger.weights)
        flow = _KeptFlow(self._ledger, self._radius, inside, tensors[:count], tensors[count:])
        out = self._block(rows.permute(0, 3, 1, 2), flow)
        return (out.permute(0, 2, 3, 1), *flow.kept)


class _LedgerFlow:
    """A `Flow` that writes down what it is asked for.

    Args:
        height: rows of the block's input.
    """

    def __init__(self, height: int) -> None:
        self.height = height
        self.layers: list[nn.Conv2d] = []
        self.depths: list[int] = []
        self.lags: list[int] = []
        self.kept: dict[tuple[int, int], Kept] = {}
        self._seen: list[Tensor] = []

    def conv(self, layer: nn.Conv2d, rows: Tensor, *, rectify: bool = False) -> Tensor:  # noqa: ARG002 - no matter
        """Convolve the rows whose context is there."""
        radius, side = _padding(layer)
        self.layers.append(layer)
        self.depths.append((self.height - rows.shape[2]) // 2)
        self._keep(rows, 2 * radius)
        return conv2d(rows, layer.weight, layer.bias, padding=(0, side), dilation=layer.dilation)

    def align(self, earlier: Tensor, like: Tensor) -> Tensor:
        """Give the rows of `earlier` that stand where those of `like` do."""
        lag = (earlier.shape[2] - like.shape[2]) // 2
        self.lags.append(lag)
        self._keep(earlier, lag)
        return earlier[:, :, lag : earlier.shape[2] - lag]

    def block(self, block: nn.Module, rows: Tensor) -> Tensor:
        """Blocks do not hold blocks."""
        raise NotImplementedError

    def _keep(self, rows: Tensor, count: int) -> None:
        if count:
            self._seen.append(rows)  # alive, or a later tensor might get its id
            self.kept[id(rows), count] = Kept(count, rows.shape[1])


class _KeptFlow:
    """A `Flow` whose state is tensors that go in and come out.

    A convolution with radius r keeps the last 2r rows of its input. A sum that waits for a pair of them wants the same
    rows of the same tensor, so they are kept once.

    Args:
        ledger: of the block; a trace would take sizes that are looked up for constants.
        radius: of the block.
        inside: as in `BandBlock.forward`.
        weights: of the convolutions, in the order of the forward pass.
        above: rows kept from the band above, in the order in which the steps ask for them.
    """

    def __init__(
        self, ledger: Ledger, radius: int, inside: Tensor, weights: Sequence[Tensor], above: Sequence[Tensor]
    ) -> None:
        self._depths = iter(ledger.depths)
        self._lags = iter(ledger.lags)
        self._radius = radius
        self._inside = inside
        self._weights = iter(weights)
        self._above = iter(above)
        self._extended: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self.kept: list[Tensor] = []

    def conv(self, layer: nn.Conv2d, rows: Tensor, *, rectify: bool = False) -> Tensor:
        """Convolve: as many rows as came in, from `radius` of the layer further up."""
        depth = next(self._depths)
        weight, bias = next(self._weights), None if layer.bias is None else next(self._weights)
        radius, side = _padding(layer)
        rows = self._extend(rows, 2 * radius)
        if rectify:
            rows = relu(rows)
        if radius and depth:  # the block's own input is zero outside the picture as it is
            begin = 2 * (self._radius - radius) - depth
            rows = rows * self._inside[:, :, begin:-depth]
        return conv2d(rows, weight, bias, padding=(0, side), dilation=layer.dilation)

    def align(self, earlier: Tensor, like: Tensor) -> Tensor:  # noqa: ARG002 - its rows are known
        """Give the rows of `earlier` that stand where those of `like` do."""
        lag = next(self._lags)
        return self._extend(earlier, lag)[:, :, :-lag] if lag else earlier

    def block(self, block: nn.Module, rows: Tensor) -> Tensor:
        """Blocks do not hold blocks."""
        raise NotImplementedError

    def _extend(self, rows: Tensor, count: int) -> Tensor:
        """Put the `count` rows kept from the band above on top, and keep as many for the band below."""
        if not count:
            return rows
        _, extended = self._extended.get((id(rows), count), (None, None))
        if extended is None:
            extended = torch.cat([next(self._above).permute(0, 3, 1, 2), rows], dim=2)
            self.kept.append(extended[:, :, -count:].permute(0, 2, 3, 1))
            self._extended[id(rows), count] = rows, extended  # holds `rows`, or a later tensor might get its id
        return extended


def _padding(layer: nn.Conv2d) -> tuple[int, int]:
    assert layer.stride == (1, 1)
    assert not isinstance(layer.padding, str)
    vertical, horizontal = layer.padding
    return vertical, horizontal
