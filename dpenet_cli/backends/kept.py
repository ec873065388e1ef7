"""One block of the network as a plain function of rows, for runtimes that take a graph.

`dpenet_cli.backends.bands` keeps its state in an object that grows as the first bands come in. A graph has no such
object, and its sizes are best fixed. So rows that a step keeps go in and come out as tensors beside the band; as many
rows come out of a step as went in, but from further up; and an input tells which rows are inside the picture, for those
outside must be zero to every convolution, as zero padding is. The weights are inputs too: one graph serves every block
of a kind. The rows of the block itself come in once for each step that wants them, with those above that it wants: the
caller has them in one buffer, where that costs no copy.

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


class View(NamedTuple):
    """Rows of a block's input that one step wants: from `above` rows above the band to `below` before its end."""

    above: int
    below: int


class Ledger(NamedTuple):
    """What the steps of a block do, each in the order of the forward pass.

    Attributes:
        layers: the convolutions.
        depths: of each convolution: rows by which its input lags behind the block's.
        lags: of each sum: rows by which its second operand lags behind its first.
        views: of the block's input, for each step that takes it.
        kept: of the other steps that keep anything.
    """

    layers: tuple[nn.Conv2d, ...]
    depths: tuple[int, ...]
    lags: tuple[int, ...]
    views: tuple[View, ...]
    kept: tuple[Kept, ...]

    @property
    def above(self) -> int:
        """Rows of the block's input that must be there above a band."""
        return max(view.above for view in self.views)

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
    rows = torch.zeros(1, channels, 2 * radius_of(block) + 1, 1)
    flow = _LedgerFlow(rows)
    with torch.inference_mode():
        block(rows, flow)
    return Ledger(
        tuple(flow.layers), tuple(flow.depths), tuple(flow.lags), tuple(flow.views), tuple(flow.kept.values())
    )  # fmt: skip


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

    def forward(self, inside: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Run the block on one band of h rows.

        Args:
            inside: 1×1×(2·radius + h)×1: 1 for a row of the picture, 0 for others; from twice the radius above the
                band to its last row.
            tensors: views of the block's input, as the ledger lists them, each 1×rows×W×C, zero outside the picture;
                the weights, as the ledger gives them; then what the band above returned, as the ledger lists it, or
                zeros at the top.

        Returns:
            1×h×W×C, rows that stand `radius` rows above the band, and mean nothing outside the picture; then what the
            steps keep for the band below.
        """
        flow = _KeptFlow(self._ledger, self._radius, inside, tensors)
        out = self._block(flow.views[0], flow)
        return (out.permute(0, 2, 3, 1), *flow.kept)


class _LedgerFlow:
    """A `Flow` that writes down what it is asked for.

    Args:
        rows: the block's input.
    """

    def __init__(self, rows: Tensor) -> None:
        self._input = rows
        self.layers: list[nn.Conv2d] = []
        self.depths: list[int] = []
        self.lags: list[int] = []
        self.views: list[View] = []
        self.kept: dict[tuple[int, int], Kept] = {}
        self._seen: list[Tensor] = []

    def conv(self, layer: nn.Conv2d, rows: Tensor, *, rectify: bool = False) -> Tensor:  # noqa: ARG002 - no matter
        """Convolve the rows whose context is there."""
        radius, side = _padding(layer)
        self.layers.append(layer)
        self.depths.append((self._input.shape[2] - rows.shape[2]) // 2)
        self._note(rows, View(2 * radius, 0))
        return conv2d(rows, layer.weight, layer.bias, padding=(0, side), dilation=layer.dilation)

    def align(self, earlier: Tensor, like: Tensor) -> Tensor:
        """Give the rows of `earlier` that stand where those of `like` do."""
        lag = (earlier.shape[2] - like.shape[2]) // 2
        self.lags.append(lag)
        self._note(earlier, View(lag, lag))
        return earlier[:, :, lag : earlier.shape[2] - lag]

    def block(self, block: nn.Module, rows: Tensor) -> Tensor:
        """Blocks do not hold blocks."""
        raise NotImplementedError

    def _note(self, rows: Tensor, view: View) -> None:
        if rows is self._input:
            self.views.append(view)
        elif view.above:
            self._seen.append(rows)  # alive, or a later tensor might get its id
            self.kept[id(rows), view.above] = Kept(view.above, rows.shape[1])


class _KeptFlow:
    """A `Flow` whose state is tensors that go in and come out.

    A convolution with radius r keeps the last 2r rows of its input. A sum that waits for a pair of them wants the same
    rows of the same tensor, so they are kept once.

    Args:
        ledger: of the block; a trace would take sizes that are looked up for constants.
        radius: of the block.
        inside: as in `BandBlock.forward`.
        tensors: as there.

    Attributes:
        views: of the block's input; the first one stands for it.
        kept: for the band below.
    """

    def __init__(self, ledger: Ledger, radius: int, inside: Tensor, tensors: Sequence[Tensor]) -> None:
        remaining = iter(tensors)
        self.views = [next(remaining).permute(0, 3, 1, 2) for _ in ledger.views]
        self._views = iter(self.views)
        self._weights = iter([next(remaining) for _ in ledger.weights])
        self._above = remaining
        self._depths = iter(ledger.depths)
        self._lags = iter(ledger.lags)
        self._radius = radius
        self._inside = inside
        self._extended: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self.kept: list[Tensor] = []

    def conv(self, layer: nn.Conv2d, rows: Tensor, *, rectify: bool = False) -> Tensor:
        """Convolve: as many rows as came in, from `radius` of the layer further up."""
        depth = next(self._depths)
        weight, bias = next(self._weights), None if layer.bias is None else next(self._weights)
        radius, side = _padding(layer)
        rows = next(self._views) if rows is self.views[0] else self._extend(rows, 2 * radius)
        if rectify:
            rows = relu(rows)
        if radius and depth:  # the block's own input is zero outside the picture as it is
            begin = 2 * (self._radius - radius) - depth
            rows = rows * self._inside[:, :, begin:-depth]
        return conv2d(rows, weight, bias, padding=(0, side), dilation=layer.dilation)

    def align(self, earlier: Tensor, like: Tensor) -> Tensor:  # noqa: ARG002 - its rows are known
        """Give the rows of `earlier` that stand where those of `like` do."""
        lag = next(self._lags)
        if earlier is self.views[0]:
            return next(self._views)
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
