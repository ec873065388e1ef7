"""One block of the network as a plain function of rows, for runtimes that take a graph.

`dpenet_cli.inference.row_streaming` keeps its state in an object that grows as the first bands come in. A graph
has no such object, and its sizes are best fixed. So rows that a step keeps go in and come out as tensors beside the
band; as many rows come out of a step as went in, but from further up; and an input tells which rows are inside the
picture, for those outside must be zero to every convolution, as zero padding is. The weights are inputs too: one graph
serves every block of a kind. The rows of the block itself come in once for each step that wants them, with those above
that it wants: the caller has them in one buffer, where that costs no copy.

Tensors are N×H×W×C, as pictures lie in memory, and as runtimes that prefer channels last want them.

The network's blocks through a runtime that takes graphs, band after band down a picture: every operation once.

A compiled network holds the memory that it works in for as long as it lives. One of all blocks would hold gigabytes for
a wide picture, and one for each block no less. So there is one for each kind of block, into which the weights of the
blocks go in turn, and little moves between two bands: a graph reads what a block has kept from one set of tensors and
writes to a spare one, which the next block of the kind then takes for its own. The result of one block lies where the
next one reads it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, relu

from dpenet_cli.inference.row_streaming import RowStream
from dpenet_cli.network.model import DDRB, ERPAB


class StateShape(NamedTuple):
    """Rows that one step keeps for the next band: a tensor of 1×rows×W×channels."""

    rows: int
    channels: int


class InputRows(NamedTuple):
    """Rows of a block's input that one step wants: from `above` rows above the band to `below` before its end."""

    above: int
    below: int


class BlockSteps(NamedTuple):
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
    views: tuple[InputRows, ...]
    kept: tuple[StateShape, ...]

    @property
    def above(self) -> int:
        """Rows of the block's input that must be there above a band."""
        return max(view.above for view in self.views)

    @property
    def weights(self) -> list[Tensor]:
        """Weights and biases of the convolutions, as `StreamedBlock` takes them."""
        return [each for layer in self.layers for each in (layer.weight, layer.bias) if each is not None]


def radius_of(block: nn.Module) -> int:
    """Rows by which a block's result lags behind its input."""
    assert isinstance(block, DDRB | ERPAB)
    return block.radius


def steps_of(block: nn.Module, channels: int) -> BlockSteps:
    """Find what the steps of a block do, by running it without padding and looking at what is left of the rows."""
    rows = torch.zeros(1, channels, 2 * radius_of(block) + 1, 1)
    flow = _LedgerFlow(rows)
    with torch.inference_mode():
        block(rows, flow)
    return BlockSteps(
        tuple(flow.layers), tuple(flow.depths), tuple(flow.lags), tuple(flow.views), tuple(flow.kept.values())
    )  # fmt: skip


class StreamedBlock(nn.Module):
    """A block on bands of a picture.

    Args:
        block: whose weights do not count.
        ledger: of this block, or of another one of its kind.
    """

    def __init__(self, block: nn.Module, ledger: BlockSteps) -> None:
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
        self.views: list[InputRows] = []
        self.kept: dict[tuple[int, int], StateShape] = {}
        self._seen: list[Tensor] = []

    def conv(self, layer: nn.Conv2d, rows: Tensor, *, rectify: bool = False) -> Tensor:  # noqa: ARG002 - no matter
        """Convolve the rows whose context is there."""
        radius, side = _padding(layer)
        self.layers.append(layer)
        self.depths.append((self._input.shape[2] - rows.shape[2]) // 2)
        self._note(rows, InputRows(2 * radius, 0))
        return conv2d(rows, layer.weight, layer.bias, padding=(0, side), dilation=layer.dilation)

    def align(self, earlier: Tensor, like: Tensor) -> Tensor:
        """Give the rows of `earlier` that stand where those of `like` do."""
        lag = (earlier.shape[2] - like.shape[2]) // 2
        self.lags.append(lag)
        self._note(earlier, InputRows(lag, lag))
        return earlier[:, :, lag : earlier.shape[2] - lag]

    def block(self, block: nn.Module, rows: Tensor) -> Tensor:
        """Blocks do not hold blocks."""
        raise NotImplementedError

    def _note(self, rows: Tensor, view: InputRows) -> None:
        if rows is self._input:
            self.views.append(view)
        elif view.above:
            self._seen.append(rows)  # alive, or a later tensor might get its id
            self.kept[id(rows), view.above] = StateShape(view.above, rows.shape[1])


class _KeptFlow:
    """A `Flow` whose state is tensors that go in and come out.

    A convolution with radius r keeps the last 2r rows of its input. A sum that waits for a pair of them wants the same
    rows of the same tensor, so they are kept once.

    Args:
        ledger: of the block; a trace would take sizes that are looked up for constants.
        radius: of the block.
        inside: as in `StreamedBlock.forward`.
        tensors: as there.

    Attributes:
        views: of the block's input; the first one stands for it.
        kept: for the band below.
    """

    def __init__(self, ledger: BlockSteps, radius: int, inside: Tensor, tensors: Sequence[Tensor]) -> None:
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


Infer: TypeAlias = Callable[[Sequence[Tensor], Sequence[Tensor]], None]
"""Runs a compiled `BandBlock`: takes its inputs, and contiguous tensors to put its outputs into."""


class BlockState(NamedTuple):
    """What a block holds between two bands: the last rows of its input, 1×rows×W×C, and what its graph kept."""

    rows: Tensor
    kept: list[Tensor]


class BlockGraph:
    """A compiled `BandBlock` for bands of one size.

    Args:
        infer: runs it.
        ledger: of this kind of block.
        rows: of a band.
        width: of a band.
        channels: of the network.
        dtype: of all that goes in and out, but for the weights.
    """

    def __init__(
        self,
        infer: Infer,
        ledger: BlockSteps,
        rows: int,
        width: int,
        channels: int,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.rows = rows
        self._infer = infer
        self._ledger = ledger
        self._width = width
        self._dtype = dtype
        # one band is read from the first of them, and the result goes to the other, where the next block reads it
        self._bands = [self._zeros(ledger.above + rows, channels) for _ in range(2)]
        self._spare = self.held_at_top().kept

    def held_at_top(self) -> BlockState:
        """What a block holds at the top of a picture: zeros."""
        kept = [self._zeros(*each) for each in self._ledger.kept]
        return BlockState(torch.zeros_like(self._bands[0][:, : self._ledger.above]), kept)

    def run(
        self, rows: Tensor, inside: Tensor, weights: Sequence[Tensor], held: BlockState
    ) -> tuple[Tensor, BlockState]:
        """Run a block of this kind on one band.

        Args:
            rows: 1×h×W×C, no more than the graph's; what lacks is above the picture. May be the end of what the call
                before returned.
            inside: as `BandBlock` wants it.
            weights: of the block, as its ledger gives them.
            held: from the band above. It is given up.

        Returns:
            1×rows×W×C, valid until the call after the next; and what the block holds now.
        """
        band, result = self._bands
        above, height = self._ledger.above, self.rows
        place = band[:, band.shape[1] - rows.shape[1] :]
        if place.data_ptr() != rows.data_ptr():
            place.copy_(rows)
        band[:, above : above + height - rows.shape[1]] = 0.0
        band[:, :above] = held.rows
        views = [band[:, above - each.above : above + height - each.below] for each in self._ledger.views]
        out = result[:, above:]
        self._infer([inside.to(self._dtype), *views, *weights, *held.kept], [out, *self._spare])
        held.rows.copy_(band[:, height:])
        self._bands.reverse()
        self._spare, kept = held.kept, self._spare
        return out, BlockState(held.rows, kept)

    def _zeros(self, rows: int, channels: int) -> Tensor:
        return torch.zeros((1, rows, self._width, channels), dtype=self._dtype)


class BlockStream(RowStream):
    """A `RowStream` whose blocks are run by graphs. One object serves one picture, once.

    Args:
        height: rows of the picture.
        graph_of: gives the graph for a block, and the weights that go into it.
    """

    def __init__(self, height: int, graph_of: Callable[[nn.Module], tuple[BlockGraph, Sequence[Tensor]]]) -> None:
        super().__init__(height)
        self._graph_of = graph_of
        self._runs: dict[int, _BlockRun] = {}

    def block(self, block: nn.Module, rows: Tensor) -> Tensor:
        """Run the block on the graph's number of rows: N×C×h×W in, N×C×h'×W out, h' ≤ h.

        The first band of a block may have fewer rows, because those of blocks before it are still on their way.
        """
        if id(block) not in self._runs:
            self._runs[id(block)] = _BlockRun(self._height, radius_of(block), *self._graph_of(block))
        return self._runs[id(block)].push(rows)


class _BlockRun:
    """One block on its way down a picture."""

    def __init__(self, height: int, radius: int, graph: BlockGraph, weights: Sequence[Tensor]) -> None:
        self._height = height
        self._radius = radius
        self._graph = graph
        self._weights = weights
        self._held: BlockState | None = None
        self._done = 0

    def push(self, rows: Tensor) -> Tensor:
        """Take a band, give those rows that are then known; zeros below the picture."""
        count = rows.shape[2]
        if not count:
            return rows
        top = self._done + count - self._graph.rows  # of what the graph gets: rows above the picture come first
        self._done += count
        if top - self._radius >= self._height:
            self._held = None
            return torch.zeros_like(rows)
        places = torch.arange(top - 2 * self._radius, self._done)
        inside = ((places >= 0) & (places < self._height)).float().reshape(1, 1, -1, 1)
        held = self._graph.held_at_top() if self._held is None else self._held
        result, self._held = self._graph.run(rows.permute(0, 2, 3, 1), inside, self._weights, held)
        result[:, max(self._height + self._radius - top, 0) :] = 0.0  # below the picture
        return result[:, max(self._radius - top, 0) :].permute(0, 3, 1, 2)
