"""The network's blocks through OpenVINO, band after band down a picture: every operation once, little memory.

A compiled network holds the memory that it works in for as long as it lives. One of all blocks would hold gigabytes for
a wide picture, and one for each block no less. So there is one for each kind of block, into which the weights of the
blocks go in turn, and what a block keeps between two bands never moves: a graph reads it from one set of tensors and
writes it to a spare one, which the next block of the kind then takes for its own.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dpenet_cli.backends.bands import BandFlow
from dpenet_cli.backends.kept import Ledger, radius_of

Floats: TypeAlias = NDArray[np.float32]


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
        self._kept_at = 2 + len(ledger.weights)
        self._shapes = [tuple(each.shape) for each in network.outputs]
        self._results = [self._empty(self._shapes[0]) for _ in range(2)]
        self._spare = self.kept_nothing()
        self.rows, self.width, self.channels = self._shapes[0][1:]

    def kept_nothing(self) -> list[Any]:
        """What a block has kept at the top of a picture: tensors of zeros."""
        tensors = [self._empty(shape) for shape in self._shapes[1:]]
        for tensor in tensors:
            tensor.data.fill(0.0)
        return tensors

    def run(self, rows: Floats, inside: Floats, weights: Sequence[Tensor], kept: list[Any]) -> tuple[Floats, list[Any]]:
        """Run a block of this kind on one band.

        Args:
            rows: 1×rows×width×channels; may be what the call before returned.
            inside: as `BandBlock` wants it.
            weights: of the block, as its ledger gives them.
            kept: what this block kept from the band above. It is given up.

        Returns:
            1×rows×width×channels, valid until the call after the next; and what the block keeps now.
        """
        inputs = [rows, inside, *(each.detach().numpy() for each in weights)]
        for index, each in enumerate(inputs):
            self._request.set_input_tensor(index, self._openvino.Tensor(np.ascontiguousarray(each)))
        for index, tensor in enumerate(kept):
            self._request.set_input_tensor(self._kept_at + index, tensor)
        self._results.reverse()  # the other one may be among the inputs
        for index, tensor in enumerate([self._results[0], *self._spare]):
            self._request.set_output_tensor(index, tensor)
        self._request.infer()
        self._spare, kept = kept, self._spare
        result: Floats = self._results[0].data
        return result, kept

    def _empty(self, shape: tuple[int, ...]) -> Any:
        return self._openvino.Tensor(self._openvino.Type.f32, self._openvino.Shape(shape))


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
        self._kept: list[Any] | None = None
        self._done = 0

    def push(self, rows: Tensor) -> Tensor:
        """Take a band, give those rows that are then known; zeros below the picture."""
        count = rows.shape[2]
        if not count:
            return rows
        top = self._done + count - self._graph.rows  # of what the graph gets: rows above the picture come first
        self._done += count
        if top - self._radius >= self._height:
            self._kept = None
            return torch.zeros_like(rows)
        band = rows.permute(0, 2, 3, 1).numpy()
        if count < self._graph.rows:
            assert top < 0
            band = np.pad(band, ((0, 0), (self._graph.rows - count, 0), (0, 0), (0, 0)))
        places = np.arange(top - 2 * self._radius, self._done)
        inside = ((places >= 0) & (places < self._height)).astype(np.float32)[None, None, :, None]
        kept = self._graph.kept_nothing() if self._kept is None else self._kept
        result, self._kept = self._graph.run(band, inside, self._weights, kept)
        result[:, max(self._height + self._radius - top, 0) :] = 0.0  # below the picture
        known = result[:, max(self._radius - top, 0) :]
        return torch.from_numpy(known).permute(0, 3, 1, 2)
