"""The network's blocks through a runtime that takes graphs, band after band down a picture: every operation once.

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

from dpenet_cli.backends.bands import BandFlow
from dpenet_cli.backends.kept import Ledger, radius_of

Infer: TypeAlias = Callable[[Sequence[Tensor], Sequence[Tensor]], None]
"""Runs a compiled `BandBlock`: takes its inputs, and contiguous tensors to put its outputs into."""


class Held(NamedTuple):
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
        self, infer: Infer, ledger: Ledger, rows: int, width: int, channels: int, *, dtype: torch.dtype = torch.float32
    ) -> None:
        self.rows = rows
        self._infer = infer
        self._ledger = ledger
        self._width = width
        self._dtype = dtype
        # one band is read from the first of them, and the result goes to the other, where the next block reads it
        self._bands = [self._zeros(ledger.above + rows, channels) for _ in range(2)]
        self._spare = self.held_at_top().kept

    def held_at_top(self) -> Held:
        """What a block holds at the top of a picture: zeros."""
        kept = [self._zeros(*each) for each in self._ledger.kept]
        return Held(torch.zeros_like(self._bands[0][:, : self._ledger.above]), kept)

    def run(self, rows: Tensor, inside: Tensor, weights: Sequence[Tensor], held: Held) -> tuple[Tensor, Held]:
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
        return out, Held(held.rows, kept)

    def _zeros(self, rows: int, channels: int) -> Tensor:
        return torch.zeros((1, rows, self._width, channels), dtype=self._dtype)


class BlockFlow(BandFlow):
    """A `BandFlow` whose blocks are run by graphs. One object serves one picture, once.

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
        self._held: Held | None = None
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
