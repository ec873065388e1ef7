"""DPENet, the network: a rainy picture in, the picture without streaks and the restored picture out.

R2Net removes the rain streaks, DRNet restores the detail beneath them. All pictures are N×3×H×W, RGB, 0..1:

    rainy ─┬─ 1×1 ─ ReLU ─ DDRB ×10 ─ 1×1 ─(+)─ stage 1, streak-free
           └────────────────────────────────┘ │
           ┌──────────────────────────────────┘
           ├─ ReLU ─ 1×1 ─ ReLU ─ ERPAB ×3 ─ 1×1 ─(+)─ stage 2, restored
           └──────────────────────────────────────┘

Source: Wen, Gao, Zhang, Zhang, Chen, "From heavy rain removal to detail restoration: A faster and better network",
Pattern Recognition 148 (2024) 110205, arXiv 2205.03553, figure 1. The two 1×1 output convolutions are linear here: the
code published beside the paper's weights puts a ReLU after them, under which no streak could be darkened; linear,
those weights reproduce the author's own result picture.

The data flow is written once. In which order rows go through it is a `NetworkSchedule`: the whole picture at once
(`WHOLE`), or band after band with its context stored (`dpenet_cli.inference.row_streaming`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

DILATIONS = (1, 2, 5)
"""Dilation of the three pairs of a DDRB and of the three branches of an ERPAB, in pixels (section 3 of the paper)."""


@dataclass(frozen=True)
class DPENetConfig:
    """The size of a DPENet.

    Attributes:
        channels: width of every feature map; 32 in the paper.
        n_ddrb: dilated dense residual blocks in R2Net; 10 in the paper, 5 in the light variant.
        n_erpab: enhanced residual pixel-wise attention blocks in DRNet; 3 in the paper.
    """

    channels: int = 32
    n_ddrb: int = 10
    n_erpab: int = 3


class Stages(NamedTuple):
    """What the network returns: two N×3×H×W tensors, RGB, nominally 0..1, not clamped."""

    streak_free: Tensor
    restored: Tensor


class BlockSchedule(Protocol):
    """How rows reach the convolutions of a block. The order of the calls is the same in every forward pass."""

    def conv(self, layer: nn.Conv2d, rows: Tensor, *, rectify: bool = False) -> Tensor:
        """Apply a convolution; the rows that come out may lag behind those that go in.

        Args:
            layer: a convolution of stride 1, zero-padded to keep the size.
            rows: the next rows of its input, N×C×h×W.
            rectify: put them through a ReLU first. A schedule may store them as they were before it, so that one copy
                serves a sum of the same rows too.

        Returns:
            The rows of its output whose context is there, N×C'×h'×W.
        """

    def align(self, earlier: Tensor, like: Tensor) -> Tensor:
        """Give the rows of `earlier` that stand at the same place in the picture as those of `like`."""


class NetworkSchedule(BlockSchedule, Protocol):
    """How rows reach the convolutions and the blocks of the network."""

    def block(self, block: nn.Module, rows: Tensor) -> Tensor:
        """Run a `DDRB` or an `ERPAB` on N×C×h×W, by its own forward pass or by something that equals it."""


class _Whole:
    """The whole picture at once: nothing lags."""

    def conv(self, layer: nn.Conv2d, rows: Tensor, *, rectify: bool = False) -> Tensor:
        out: Tensor = layer(relu(rows) if rectify else rows)
        return out

    def align(self, earlier: Tensor, like: Tensor) -> Tensor:  # noqa: ARG002 - the protocol's signature
        return earlier

    def block(self, block: nn.Module, rows: Tensor) -> Tensor:
        out: Tensor = block(rows, self)
        return out


WHOLE: NetworkSchedule = _Whole()


def _conv3x3(inputs: int, outputs: int, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=False)


def _conv1x1(inputs: int, outputs: int, *, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, bias=bias)


def _conv_pair(channels: int, dilation: int) -> Sequence[nn.Conv2d]:
    return cast("Sequence[nn.Conv2d]", nn.ModuleList(_conv3x3(channels, channels, dilation) for _ in range(2)))


class DDRB(nn.Module):
    """Dilated dense residual block: three pairs of 3×3 convolutions with dilations 1, 2 and 5, densely summed.

    N×C×H×W in and out. `radius` is how far, in pixels, an input value reaches into the output.
    """

    radius = 2 * sum(DILATIONS)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dconv1, self.dconv2, self.dconv5 = (_conv_pair(channels, dilation) for dilation in DILATIONS)

    def forward(self, x: Tensor, schedule: BlockSchedule = WHOLE) -> Tensor:
        """Run the block. x: N×C×H×W."""
        conv, align = schedule.conv, schedule.align
        x1 = conv(self.dconv1[1], conv(self.dconv1[0], x), rectify=True)  # N×C×H×W, as is all that follows
        sum1 = align(x, x1) + x1
        x2 = conv(self.dconv2[1], conv(self.dconv2[0], sum1, rectify=True), rectify=True)
        sum2 = align(sum1, x2) + x2
        x3 = conv(self.dconv5[1], conv(self.dconv5[0], sum2, rectify=True), rectify=True)
        return relu(align(sum2, x3) + x3)


class PixelAttention(nn.Module):
    """One weight for each channel at each pixel: 3×3 to one map, ReLU, 3×3 back to C maps, sigmoid. N×C×H×W, 0..1."""

    radius = 2

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = _conv3x3(channels, 1)
        self.excite = _conv3x3(1, channels)

    def forward(self, features: Tensor, schedule: BlockSchedule = WHOLE) -> Tensor:
        """Weigh the features. features: N×C×H×W."""
        squeezed = schedule.conv(self.squeeze, features)  # N×1×H×W
        return torch.sigmoid(schedule.conv(self.excite, squeezed, rectify=True))  # N×C×H×W


class ERPAB(nn.Module):
    """Enhanced residual pixel-wise attention block: three dilated branches, fused, weighed pixel by pixel.

    N×C×H×W in and out. `radius` is how far, in pixels, an input value reaches into the output.
    """

    radius = max(DILATIONS) + PixelAttention.radius

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inconv1, self.inconv2, self.inconv5 = (_conv3x3(channels, channels, dilation) for dilation in DILATIONS)
        self.outconv = _conv1x1(len(DILATIONS) * channels, channels, bias=True)
        self.pa = PixelAttention(channels)

    def forward(self, x: Tensor, schedule: BlockSchedule = WHOLE) -> Tensor:
        """Run the block. x: N×C×H×W."""
        conv, align = schedule.conv, schedule.align
        x1 = conv(self.inconv1, x)  # N×C×H×W
        x2 = conv(self.inconv2, x)
        x5 = conv(self.inconv5, x)  # reaches furthest, so the others wait for it
        branches = torch.cat([align(x1, x5), align(x2, x5), x5], dim=1)  # N×3C×H×W
        features = relu(conv(self.outconv, branches))  # N×C×H×W
        attention = self.pa(features, schedule)  # N×C×H×W, 0..1
        return relu(align(features, attention) * attention + align(x, attention))


class R2Net(nn.Module):
    """Rain streaks removal network: what to add to the picture so that the streaks are gone. N×3×H×W in and out."""

    def __init__(self, config: DPENetConfig) -> None:
        super().__init__()
        self.inconv = _conv1x1(3, config.channels)
        self.ddrb = nn.ModuleList(DDRB(config.channels) for _ in range(config.n_ddrb))
        self.outconv = _conv1x1(config.channels, 3)
        self.radius = config.n_ddrb * DDRB.radius

    def forward(self, rainy: Tensor, schedule: NetworkSchedule = WHOLE) -> Tensor:
        """Estimate the residual. rainy: N×3×H×W, RGB, 0..1."""
        features = relu(schedule.conv(self.inconv, rainy))  # N×C×H×W
        for block in self.ddrb:
            features = schedule.block(block, features)
        return schedule.conv(self.outconv, features)  # N×3×H×W


class DRNet(nn.Module):
    """Details reconstruction network: the detail that R2Net took or the rain hid. N×3×H×W in and out."""

    def __init__(self, config: DPENetConfig) -> None:
        super().__init__()
        self.inconv = _conv1x1(3, config.channels)
        self.erpab = nn.ModuleList(ERPAB(config.channels) for _ in range(config.n_erpab))
        self.outconv = _conv1x1(config.channels, 3)
        self.radius = config.n_erpab * ERPAB.radius

    def forward(self, streak_free: Tensor, schedule: NetworkSchedule = WHOLE) -> Tensor:
        """Estimate the residual. streak_free: N×3×H×W, RGB, nominally 0..1."""
        features = relu(schedule.conv(self.inconv, relu(streak_free)))  # N×C×H×W
        for block in self.erpab:
            features = schedule.block(block, features)
        return schedule.conv(self.outconv, features)  # N×3×H×W


class DPENet(nn.Module):
    """R2Net, then DRNet on its result; each adds its residual to its own input.

    Attributes:
        config: the sizes it was built with.
        receptive_radius: pixels from an output value to the farthest input value that it depends on; 181 by default.
    """

    def __init__(self, config: DPENetConfig | None = None) -> None:
        super().__init__()
        self.config = config or DPENetConfig()
        self.r2net = R2Net(self.config)
        self.drnet = DRNet(self.config)
        self.receptive_radius = self.r2net.radius + self.drnet.radius

    def forward(self, rainy: Tensor, schedule: NetworkSchedule = WHOLE) -> Stages:
        """Derain.

        Under autocast the two residuals are computed in the reduced precision and added to `rainy` in its own.

        Args:
            rainy: N×3×H×W float tensor, RGB, 0..1.
            schedule: how rows reach the convolutions and the blocks.

        Returns:
            Both stages, each N×3×H×W, in the dtype of `rainy`, not clamped.
        """
        residual = self.r2net(rainy, schedule)
        streak_free = schedule.align(rainy, residual) + residual
        detail = self.drnet(streak_free, schedule)
        return Stages(streak_free, schedule.align(streak_free, detail) + detail)

    def residual(self, rainy: Tensor, schedule: NetworkSchedule = WHOLE) -> Tensor:
        """Estimate restored − rainy, without the picture's own size drowning it. rainy: N×3×H×W, RGB, 0..1."""
        streaks = self.r2net(rainy, schedule)
        detail = self.drnet(schedule.align(rainy, streaks) + streaks, schedule)
        residual: Tensor = schedule.align(streaks, detail) + detail
        return residual
