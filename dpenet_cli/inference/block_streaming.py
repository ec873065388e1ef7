"""The blocks of the network on bands of rows, by runtimes that take a graph instead of Python: OpenVINO.

In go the same bands as in `dpenet_cli.inference.row_streaming`, out come the same rows; but a block is run by a graph,
a plain function of tensors. This is how a block becomes one:

- What its steps store between two bands goes in and comes out as tensors beside the band (`StreamedBlock`): a graph
  has no object to store it in. `steps_of` finds once, from the order of the calls, what there is to store.
- As many rows come out of a step as went in, but from further up: sizes of a graph are best fixed. So there are rows
  outside the picture, and an input tells which; they must be zero to every convolution, as zero padding is.
- The rows of the block itself come in once for each step that wants them, with those above that it wants: the caller
  has all of them in one buffer, of which these are views.
- The weights are inputs too: one graph serves every block of a kind, DDRB or ERPAB. A compiled graph holds the memory
  that it works in for as long as it lives; one for each block would hold gigabytes for a wide picture.

A `BlockGraph` runs a compiled graph, and `BlockStream` is the `NetworkSchedule` that sends each block through one.
Tensors of graphs are N×H×W×C, as pictures lie in memory, and as runtimes that prefer channels last want them.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, relu

from dpenet_cli.inference.row_streaming import RowStream, padding_of
from dpenet_cli.network.model import DDRB, ERPAB


class InputRows(NamedTuple):
    """Rows of a block's input that one step wants: from `above` rows above the band to `below` before its end."""

    above: int
    below: int


class StateShape(NamedTuple):
    """Rows that are stored for the next band: a tensor of 1×rows×W×channels."""

    rows: int
    channels: int


class Step(NamedTuple):
    """One call of `conv` or `align` in a block's forward pass.

    Attributes:
        lag: rows by which what it is given lags behind the block's input; 0 is that input itself.
        above: rows of it that are wanted above those of the band.
        state: which tensor of the state these are; None if they are the block's input, or none are wanted.
    """

    lag: int
    above: int
    state: int | None


class BlockSteps(NamedTuple):
    """What the steps of a kind of block need.

    Attributes:
        steps: all of them, in the order of the forward pass.
        inputs: rows of the block's input, for each step that takes it.
        state: what is stored between two bands.
    """

    steps: tuple[Step, ...]
    inputs: tuple[InputRows, ...]
    state: tuple[StateShape, ...]

    @property
    def above(self) -> int:
        """Rows of the block's input that must be there above a band."""
        return max(rows.above for rows in self.inputs)


def radius_of(block: nn.Module) -> int:
    """Rows by which a block's result lags behind its input."""
    assert isinstance(block, DDRB | ERPAB)
    return block.radius


def weights_of(block: nn.Module) -> list[Tensor]:
    """Weights and biases of a block, as `StreamedBlock` takes them: its layers are declared in the order of calls."""
    return list(block.parameters())


def steps_of(block: nn.Module, channels: int) -> BlockSteps:
    """Find what the steps of a block need, by running it without padding and looking at what is left of the rows.

    Args:
        block: one of the kind; its weights do not count.
        channels: width of the network's feature maps.
    """
    # with so many rows one comes out; each step's lag is then half of what its input lacks of them
    recorder = _Recorder(2 * radius_of(block) + 1)
    with torch.inference_mode():
        block(torch.zeros(1, channels, recorder.height, 1), recorder)
    return BlockSteps(tuple(recorder.steps), tuple(recorder.inputs), tuple(recorder.state.values()))


class _Recorder:
    """A `BlockSchedule` that notes what each call needs.

    Args:
        height: rows of the block's input.
    """

    def __init__(self, height: int) -> None:
        self.height = height
        self.steps: list[Step] = []
        self.inputs: list[InputRows] = []
        self.state: dict[tuple[int, int], StateShape] = {}  # by lag and number of rows

    def conv(self, layer: nn.Conv2d, rows: Tensor, *, rectify: bool = False) -> Tensor:  # noqa: ARG002 - no matter
        """Convolve the rows whose context is there: 1×C×h×1 in, 1×C'×(h − 2·radius)×1 out."""
        radius, side = padding_of(layer)
        self._note(rows, InputRows(2 * radius, 0))
        return conv2d(rows, layer.weight, layer.bias, padding=(0, side), dilation=layer.dilation)

    def align(self, earlier: Tensor, like: Tensor) -> Tensor:
        """Give the rows of `earlier` that stand where those of `like` do."""
        lag = (earlier.shape[2] - like.shape[2]) // 2
        self._note(earlier, InputRows(lag, lag))
        return earlier[:, :, lag : earlier.shape[2] - lag]

    def _note(self, rows: Tensor, wanted: InputRows) -> None:
        lag = (self.height - rows.shape[2]) // 2  # each convolution has taken its radius off either end
        state = None
        if not lag:
            self.inputs.append(wanted)
        elif wanted.above:
            # A sum that waits for a pair of convolutions wants as many rows of the same tensor as the first of them,
            # so they are stored once. Such a tensor is known by its lag: no two that are stored have it in common.
            self.state.setdefault((lag, wanted.above), StateShape(wanted.above, rows.shape[1]))
            state = list(self.state).index((lag, wanted.above))
        self.steps.append(Step(lag, wanted.above, state))


class StreamedBlock(nn.Module):
    """A block as a function of one band and its state.

    Args:
        block: gives the forward pass; its weights do not count.
        steps: of this kind of block.
    """

    def __init__(self, block: nn.Module, steps: BlockSteps) -> None:
        super().__init__()
        self._block = block
        self._steps = steps
        self._radius = radius_of(block)

    def forward(self, inside: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Run the block on one band of h rows.

        Args:
            inside: 1×1×(2·radius + h)×1: 1 for a row of the picture, 0 for others; from twice the radius above the
                band to its last row.
            tensors: rows of the block's input, as `BlockSteps.inputs` lists them, each 1×rows×W×C, zero outside the
                picture; the weights, as `weights_of` gives them; then what the band above returned as its state, as
                `BlockSteps.state` lists it, or zeros at the top.

        Returns:
            1×h×W×C, rows that stand `radius` rows above the band, and mean nothing outside the picture; then the state
            for the band below.
        """
        schedule = _ExplicitState(self._steps, self._radius, inside, tensors)
        out = self._block(schedule.input, schedule)  # 1×C×h×W
        return (out.permute(0, 2, 3, 1), *schedule.new_state)


class _ExplicitState:
    """A `BlockSchedule` whose state is tensors that go in and come out.

    It takes all sizes from the steps that were recorded: a trace would take sizes that are looked up for constants.

    Args:
        steps: of the block.
        radius: rows by which the block's result lags.
        inside: as in `StreamedBlock.forward`.
        tensors: as there.

    Attributes:
        input: stands for the block's input; the steps take their own rows of it.
        new_state: the state for the band below, 1×rows×W×C each.
    """

    def __init__(self, steps: BlockSteps, radius: int, inside: Tensor, tensors: Sequence[Tensor]) -> None:
        first_state = len(tensors) - len(steps.state)
        inputs = [rows.permute(0, 3, 1, 2) for rows in tensors[: len(steps.inputs)]]  # 1×C×rows×W
        self.input = inputs[0]
        self._steps = iter(steps.steps)
        self._inputs = iter(inputs)
        self._weights = iter(tensors[len(inputs) : first_state])
        self._state = tensors[first_state:]
        self._radius = radius
        self._inside = inside
        self._extended: list[Tensor] = []  # for each tensor of the state: its rows, and those of this band below them
        self.new_state: list[Tensor] = []

    def conv(self, layer: nn.Conv2d, rows: Tensor, *, rectify: bool = False) -> Tensor:
        """Convolve: as many rows as came in, from `radius` of the layer further up; 1×C×h×W in, 1×C'×h×W out."""
        step = next(self._steps)
        weight, bias = next(self._weights), None if layer.bias is None else next(self._weights)
        radius, side = padding_of(layer)
        rows = self._with_rows_above(rows, step)  # 1×C×(2·radius + h)×W
        if rectify:
            rows = relu(rows)
        if radius and step.lag:
            # The rows lag: they begin `lag + 2·radius` rows above the band and end `lag` above its last row, and those
            # of them outside the picture are not zero by themselves. The block's input is.
            begin = 2 * (self._radius - radius) - step.lag
            rows = rows * self._inside[:, :, begin : -step.lag]
        return conv2d(rows, weight, bias, padding=(0, side), dilation=layer.dilation)

    def align(self, earlier: Tensor, like: Tensor) -> Tensor:  # noqa: ARG002 - which rows is known from the record
        """Give the rows of `earlier` that stand where those of `like` do: 1×C×h×W."""
        step = next(self._steps)
        rows = self._with_rows_above(earlier, step)
        return rows if step.state is None else rows[:, :, : -step.above]

    def _with_rows_above(self, rows: Tensor, step: Step) -> Tensor:
        """Put the rows that were stored of the band above on top, and store as many for the band below."""
        if not step.lag:
            return next(self._inputs)  # the caller has put them on top already
        if step.state is None:
            return rows
        if step.state == len(self._extended):  # the first step that wants these; a later one takes the same
            extended = torch.cat([self._state[step.state].permute(0, 3, 1, 2), rows], dim=2)  # 1×C×(above + h)×W
            self._extended.append(extended)
            self.new_state.append(extended[:, :, -step.above :].permute(0, 2, 3, 1))  # 1×above×W×C
        return self._extended[step.state]


Infer: TypeAlias = Callable[[Sequence[Tensor], Sequence[Tensor]], None]
"""Runs a compiled `StreamedBlock`: takes its inputs, and contiguous tensors to put its outputs into."""


class BlockState(NamedTuple):
    """What a block stores between two bands.

    Attributes:
        rows: the last rows of its input, 1×rows×W×C.
        steps: what its graph returned as its state.
    """

    rows: Tensor
    steps: list[Tensor]


class BlockGraph:
    """A compiled `StreamedBlock` for bands of one size, and the memory that all blocks of its kind share; all in fp32.

    Args:
        infer: runs it.
        steps: of this kind of block.
        rows: rows of a band.
        width: columns of a band.
        channels: width of the network's feature maps.
    """

    def __init__(self, infer: Infer, steps: BlockSteps, rows: int, width: int, channels: int) -> None:
        self.rows = rows
        self._infer = infer
        self._steps = steps
        self._width = width
        # one band is read from the first of them, and the result goes to the other, where the next block reads it
        self._bands = [self._zeros(steps.above + rows, channels) for _ in range(2)]
        self._spare = self.initial_state().steps

    def initial_state(self) -> BlockState:
        """The state of a block at the top of a picture: zeros."""
        rows = torch.zeros_like(self._bands[0][:, : self._steps.above])
        return BlockState(rows, [self._zeros(*shape) for shape in self._steps.state])

    def run(
        self, rows: Tensor, inside: Tensor, weights: Sequence[Tensor], state: BlockState
    ) -> tuple[Tensor, BlockState]:
        """Run a block of this kind on one band.

        Args:
            rows: 1×h×W×C, no more than the graph's; what lacks is above the picture. May be the end of what the call
                before returned.
            inside: as `StreamedBlock` wants it.
            weights: of the block, as `weights_of` gives them.
            state: from the band above. It is given up.

        Returns:
            1×rows×W×C, valid until the call after the next; and the block's state now.
        """
        band, result = self._bands  # each 1×(above + rows)×W×C
        above, height = self._steps.above, self.rows
        # Into the buffer, from its end: the new rows, zeros where they are too few, and the rows above the band. New
        # rows that the call before left there are not copied: PyTorch sees that they are in their place.
        band[:, band.shape[1] - rows.shape[1] :].copy_(rows)
        band[:, above : above + height - rows.shape[1]] = 0.0
        band[:, :above] = state.rows
        inputs = [band[:, above - each.above : above + height - each.below] for each in self._steps.inputs]
        out = result[:, above:]
        # The graph may not write where it reads. It reads this block's state and writes to the spare tensors, which
        # become its state; those it read from are spare for the next block of the kind.
        self._infer([inside, *inputs, *weights, *state.steps], [out, *self._spare])
        state.rows.copy_(band[:, height:])
        self._bands.reverse()
        self._spare, new_state = state.steps, self._spare
        return out, BlockState(state.rows, new_state)

    def _zeros(self, rows: int, channels: int) -> Tensor:
        return torch.zeros((1, rows, self._width, channels))


class BlockStream(RowStream):
    """A `RowStream` whose blocks are run by graphs. One object serves one picture, once.

    Blocks are known by their position in the order of the calls, as steps are.

    Args:
        height: rows of the picture.
        graph_of: gives the graph for a block, and the weights that go into it.
    """

    def __init__(self, height: int, graph_of: Callable[[nn.Module], tuple[BlockGraph, Sequence[Tensor]]]) -> None:
        super().__init__(height)
        self._graph_of = graph_of
        self._blocks: list[_BlockProgress] = []
        self._position = -1

    def begin_band(self) -> None:
        """Announce the next forward pass."""
        super().begin_band()
        self._position = -1

    def block(self, block: nn.Module, rows: Tensor) -> Tensor:
        """Run the block on the graph's number of rows: N×C×h×W in, N×C×h'×W out, h' ≤ h.

        The first band of a block may have fewer rows, because those of blocks before it are still on their way.
        """
        self._position += 1
        if self._position == len(self._blocks):
            self._blocks.append(_BlockProgress(self._height, radius_of(block), *self._graph_of(block)))
        return self._blocks[self._position].push(rows)


class _BlockProgress:
    """How far one block has come down a picture."""

    def __init__(self, height: int, radius: int, graph: BlockGraph, weights: Sequence[Tensor]) -> None:
        self._height = height
        self._radius = radius
        self._graph = graph
        self._weights = weights
        self._rows_in = 0
        self.state: BlockState | None = None

    def push(self, rows: Tensor) -> Tensor:
        """Take a band, give those rows that are then known; zeros below the picture. 1×C×h×W in, 1×C×h'×W out."""
        count = rows.shape[2]
        if not count:
            return rows
        # The graph takes a fixed number of rows. Of its first band those above the new ones stand above the picture.
        top = self._rows_in + count - self._graph.rows
        self._rows_in += count
        if top - self._radius >= self._height:  # all that would come out stands below the picture
            self.state = None
            return torch.zeros_like(rows)
        places = torch.arange(top - 2 * self._radius, self._rows_in)  # where the rows stand in the picture
        inside = ((places >= 0) & (places < self._height)).float().reshape(1, 1, -1, 1)
        state = self._graph.initial_state() if self.state is None else self.state
        result, self.state = self._graph.run(rows.permute(0, 2, 3, 1), inside, self._weights, state)  # 1×rows×W×C
        # the result stands `radius` rows above the band: what is below the picture is zero to the next layer, and what
        # is above it is left out
        result[:, max(self._height + self._radius - top, 0) :] = 0.0
        return result[:, max(self._radius - top, 0) :].permute(0, 3, 1, 2)
