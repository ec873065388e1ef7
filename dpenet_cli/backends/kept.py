"""The network as plain functions of rows, for runtimes that take a graph: kept rows go in and come out beside them.

`dpenet_cli.backends.bands` keeps its state in an object that grows as the first bands come in. A graph has no such
object, and its slices are fixed. So the first band is taller than the network reaches: every step then has rows to
give, and how many it keeps depends on the layer alone. A band's place decides what stands above and below it: rows of
the picture, or the padding of each convolution. That makes four graphs, which do every operation of a picture once.

Each returns the residual: what is to be added to the picture in fp32, whatever the graph's own arithmetic. Tensors are
N×H×W×C, as pictures lie in memory, and as runtimes that prefer channels last want them.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad, relu

from dpenet_cli.model import DILATIONS, DPENet, Flow


class Place(StrEnum):
    """Where a band stands in its picture."""

    WHOLE = "whole"
    FIRST = "first"
    BETWEEN = "between"
    LAST = "last"

    @property
    def is_top(self) -> bool:
        """Whether nothing stands above it."""
        return self in {Place.WHOLE, Place.FIRST}

    @property
    def is_bottom(self) -> bool:
        """Whether nothing stands below it."""
        return self in {Place.WHOLE, Place.LAST}


class Kept(NamedTuple):
    """Rows that one step keeps for the next band: a tensor of 1×rows×W×channels."""

    rows: int
    channels: int


class Ledger(NamedTuple):
    """What the steps of a network keep, and how far they lag, each in the order of the forward pass.

    Attributes:
        kept: of the steps that keep anything.
        lags: of each sum: rows by which its second operand comes later than its first.
    """

    kept: tuple[Kept, ...]
    lags: tuple[int, ...]


class BandNetwork(nn.Module):
    """A network on bands that stand at one place.

    Args:
        model: in eval mode, fp32.
        ledger: of this model.
        place: of the bands.
    """

    def __init__(self, model: DPENet, ledger: Ledger, place: Place) -> None:
        super().__init__()
        self._model = model
        self._ledger = ledger
        self._place = place

    def forward(self, rows: Tensor, *kept: Tensor) -> tuple[Tensor, ...]:
        """Estimate the residual.

        Args:
            rows: 1×h×W×3, RGB, 0..1; at least `first_rows` of them in a first band.
            kept: what the band above returned, as the ledger lists it; nothing at the top of the picture.

        Returns:
            The residual of the rows whose context is complete, 1×h'×W×3; then, unless this is the bottom, what the
            steps keep for the band below.
        """
        flow = _KeptFlow(self._place, kept, self._ledger.lags)
        residual = _residual(self._model, rows.permute(0, 3, 1, 2), flow)
        return (residual.permute(0, 2, 3, 1), *flow.kept)


def first_rows(model: DPENet, band_rows: int) -> int:
    """Rows of a first band from which at least `band_rows` come out.

    A convolution with radius r stands at most R − r rows behind the input, R being the network's radius, and has 2r
    rows to keep: so R + r must come in.
    """
    return model.receptive_radius + max(band_rows, *DILATIONS)


def ledger_of(model: DPENet) -> Ledger:
    """Find what the steps of a network keep, by running a first band and looking."""
    flow = _KeptFlow(Place.FIRST, (), None)
    with torch.inference_mode():
        _residual(model, torch.zeros(1, 3, first_rows(model, 1), 1), flow)
    return Ledger(tuple(Kept(rows.shape[1], rows.shape[3]) for rows in flow.kept), tuple(flow.lags))


def _residual(model: DPENet, rainy: Tensor, flow: Flow) -> Tensor:
    """Both networks' residuals, added: restored − rainy, without the picture's own size drowning it."""
    streaks = model.r2net(rainy, flow)
    detail = model.drnet(flow.align(rainy, streaks) + streaks, flow)
    residual: Tensor = flow.align(streaks, detail) + detail
    return residual


class _KeptFlow:
    """A `Flow` whose state is tensors that go in and come out.

    A convolution with radius r keeps the last 2r rows of its input. A sum that waits for a pair of them wants the same
    rows of the same tensor, so they are kept once.

    Args:
        place: of the band.
        above: rows kept from the band above, in the order in which the steps ask for them.
        lags: as in `Ledger`, or None to see them in the shapes, which only an untraced first band may do: a trace
            would take sizes for constants.
    """

    def __init__(self, place: Place, above: Sequence[Tensor], lags: Sequence[int] | None) -> None:
        self._place = place
        self._above = iter(above)
        self._known = None if lags is None else iter(lags)
        self._extended: dict[int, tuple[Tensor, Tensor, int]] = {}
        self.kept: list[Tensor] = []
        self.lags: list[int] = []

    def conv(self, layer: nn.Conv2d, rows: Tensor, *, rectify: bool = False) -> Tensor:
        """Convolve the rows whose context is complete."""
        assert layer.stride == (1, 1)
        assert not isinstance(layer.padding, str)
        radius, side = layer.padding
        if radius:
            rows = self._extend(rows, 2 * radius)
        if rectify:
            rows = relu(rows)
        above, below = radius * self._place.is_top, radius * self._place.is_bottom
        if above or below:
            rows = pad(rows, (0, 0, above, below))
        return conv2d(rows, layer.weight, layer.bias, padding=(0, side), dilation=layer.dilation)

    def align(self, earlier: Tensor, like: Tensor) -> Tensor:
        """Give the rows of `earlier` that stand where those of `like` do."""
        lag = earlier.shape[2] - like.shape[2] if self._known is None else next(self._known)
        self.lags.append(lag)
        if not lag or self._place is Place.WHOLE:
            return earlier
        extended = self._extend(earlier, lag)
        return extended if self._place.is_bottom else extended[:, :, :-lag]

    def _extend(self, rows: Tensor, count: int) -> Tensor:
        """Put the `count` rows kept from the band above on top, and keep as many for the band below."""
        _, extended, known = self._extended.get(id(rows), (None, rows, 0))
        if known == count:
            return extended
        extended = rows
        if not self._place.is_top:
            extended = torch.cat([next(self._above).permute(0, 3, 1, 2), rows], dim=2)
        if not self._place.is_bottom:
            self.kept.append(extended[:, :, -count:].permute(0, 2, 3, 1))
        self._extended[id(rows)] = rows, extended, count  # holds `rows`, or a later tensor might get its id
        return extended
