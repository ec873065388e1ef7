"""The network's blocks through OpenVINO, band after band down a picture: every operation once, little memory.

A compiled network holds the memory that it works in for as long as it lives. One of all blocks would hold gigabytes for
a wide picture, and one for each block no less. So there is one for each kind of block, into which the weights of the
blocks go in turn, and little moves between two bands: a graph reads what a block has kept from one set of tensors and
writes to a spare one, which the next block of the kind then takes for its own. The result of one block lies where the
next one reads it.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dpenet_cli.backends.bands import BandFlow
from dpenet_cli.backends.kept import Ledger, radius_of

Floats: TypeAlias = NDArray[np.float32]


class Held(NamedTuple):
    """What a block holds between two bands: the last rows of its input, 1×rows×W×C, and what its graph kept."""

    rows: Floats
    kept: list[Any]


class BlockGraph:
    """A compiled `BandBlock` for bands of one size.

    Args:
        openvino: the package.
        network: the ``openvino.CompiledModel``.
        ledger: of this kind of block.
    """

    def __init__(self, openvino: Any, network: Any, ledger: Ledger) -> None:
        self._openvino = openvino
        self._request = network.create_infer_request()
        self._ledger = ledger
        band, *self._kept_shapes = [tuple(each.shape) for each in network.outputs]
        _, self.rows, width, channels = band
        # one band is read from the first of them, and the result goes to the other, where the next block reads it
        self._bands = [np.zeros((1, ledger.above + self.rows, width, channels), np.float32) for _ in range(2)]
        self._spare = self.held_at_top().kept

    def held_at_top(self) -> Held:
        """What a block holds at the top of a picture: zeros."""
        kept = [self._openvino.Tensor(np.zeros(shape, np.float32), shared_memory=True) for shape in self._kept_shapes]
        return Held(np.zeros_like(self._bands[0][:, : self._ledger.above]), kept)

    def run(self, rows: Floats, inside: Floats, weights: Sequence[Tensor], held: Held) -> tuple[Floats, Held]:
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
        if place.ctypes.data != rows.ctypes.data:
            place[...] = rows
        band[:, above : above + height - rows.shape[1]] = 0.0
        band[:, :above] = held.rows
        views = [band[:, above - each.above : above + height - each.below] for each in self._ledger.views]
        for index, array in enumerate([inside, *views, *(each.detach().numpy() for each in weights)]):
            self._request.set_input_tensor(index, self._openvino.Tensor(array, shared_memory=True))
        for index, tensor in enumerate(held.kept, 1 + len(views) + len(weights)):
            self._request.set_input_tensor(index, tensor)
        out = result[:, above:]
        for index, tensor in enumerate([self._openvino.Tensor(out, shared_memory=True), *self._spare]):
            self._request.set_output_tensor(index, tensor)
        self._request.infer()
        held.rows[...] = band[:, height:]
        self._bands.reverse()
        self._spare, kept = held.kept, self._spare
        return out, Held(held.rows, kept)


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
        places = np.arange(top - 2 * self._radius, self._done)
        inside = ((places >= 0) & (places < self._height)).astype(np.float32)[None, None, :, None]
        held = self._graph.held_at_top() if self._held is None else self._held
        band = rows.permute(0, 2, 3, 1).numpy()
        result, self._held = self._graph.run(band, inside, self._weights, held)
        result[:, max(self._height + self._radius - top, 0) :] = 0.0  # below the picture
        known = result[:, max(self._radius - top, 0) :]
        return torch.from_numpy(known).permute(0, 3, 1, 2)
