"""DDRBs on a processor with bf16, as one autograd function each.

PyTorch's own backward pass of a DDRB reads and writes every feature map many times: for each ReLU, each sum, each
mask. Here ReLUs and sums ride on oneDNN's convolutions, gradients are added to and masked where they lie, and only what
the backward pass needs is kept. The formulas are those of the block (`network.model.DDRB`), in bf16 as autocast has it.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from dpenet_cli.network.model import DDRB, DILATIONS, WHOLE

_CHANNELS_LAST = torch.channels_last


class FusedBlocks:
    """A network's schedule (`network.model.NetworkSchedule`): DDRBs fused, all else as it is, whole pictures at once.

    For training on a CPU under bf16 autocast; see `can_fuse`.
    """

    def conv(self, layer: nn.Conv2d, rows: Tensor, *, rectify: bool = False) -> Tensor:
        """As `NetworkSchedule.conv`."""
        return WHOLE.conv(layer, rows, rectify=rectify)

    def align(self, earlier: Tensor, like: Tensor) -> Tensor:
        """As `NetworkSchedule.align`."""
        return WHOLE.align(earlier, like)

    def block(self, block: nn.Module, rows: Tensor) -> Tensor:
        """Run a block. rows: N×C×H×W; a DDRB's result is bf16, channels_last."""
        if not isinstance(block, DDRB):
            return WHOLE.block(block, rows)
        weights = [layer.weight for pair in (block.dconv1, block.dconv2, block.dconv5) for layer in pair]
        out: Tensor = _FusedDDRB.apply(_bf16(rows), *(_bf16(weight) for weight in weights))  # type: ignore[no-untyped-call]
        return out


def can_fuse() -> bool:
    """Whether this PyTorch has oneDNN's fused convolutions, and they give what the plain block gives."""
    try:
        with torch.no_grad():
            generator = torch.Generator().manual_seed(0)
            block, rows = DDRB(32), torch.rand(1, 32, 16, 16, generator=generator)
            fused, plain = FusedBlocks().block(block, rows), block(rows)
    except (AttributeError, RuntimeError, TypeError):  # the operator is PyTorch's own business
        return False
    return float((fused.float() - plain).norm()) < 0.02 * float(plain.norm())


def _bf16(tensor: Tensor) -> Tensor:
    return tensor.to(torch.bfloat16).contiguous(memory_format=_CHANNELS_LAST)


class _FusedDDRB(torch.autograd.Function):
    """The block's forward and backward pass. N×C×H×W and six C×C×3×3 weights, all bf16 and channels_last."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *weights: Tensor) -> Tensor:
        one, two, five = DILATIONS
        w1, w2, w3, w4, w5, w6 = weights
        # Each pair: a = ReLU(w·input), sum = input + w·a; what follows a sum reads it through a ReLU.
        a1 = _conv_relu(x, w1, one)
        sum1 = _conv_add(a1, w2, one, x)
        r1 = torch.relu(sum1)
        a2 = _conv_relu(r1, w3, two)
        sum2 = _conv_add(a2, w4, two, sum1)
        r2 = torch.relu(sum2)
        a3 = _conv_relu(r2, w5, five)
        out = _conv_add(a3, w6, five, sum2, rectify=True)
        ctx.save_for_backward(x, *weights, a1, r1, a2, r2, a3, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        one, two, five = DILATIONS
        x, w1, w2, w3, w4, w5, w6, a1, r1, a2, r2, a3, out = ctx.saved_tensors
        g = _masked(grad.contiguous(memory_format=_CHANNELS_LAST), out)  # of the last sum, and of sum2 through it
        t, g6 = _conv_backward(g, a3, w6, five)
        t, g5 = _conv_backward(_mask_(t, a3), r2, w5, five)
        g.add_(_mask_(t, r2))  # of sum2
        t, g4 = _conv_backward(g, a2, w4, two)
        t, g3 = _conv_backward(_mask_(t, a2), r1, w3, two)
        g.add_(_mask_(t, r1))  # of sum1
        t, g2 = _conv_backward(g, a1, w2, one)
        _mask_(t, a1)
        g1 = _weight_gradient(t, x, w1, one)
        return _conv_add(t, _turned(w1), one, g), g1, g2, g3, g4, g5, g6


def _operator() -> Any:
    """A convolution of oneDNN with what follows it, which PyTorch's compiler uses: not public, hence `can_fuse`."""
    return torch.ops.mkldnn._convolution_pointwise  # noqa: SLF001 - see above


def _conv(x: Tensor, weight: Tensor, dilation: int, then: str = "none") -> Tensor:
    d = [dilation, dilation]
    return cast("Tensor", _operator()(x, weight, None, d, [1, 1], d, 1, then, [], ""))


def _conv_relu(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    return _conv(x, weight, dilation, "relu")


def _conv_add(x: Tensor, weight: Tensor, dilation: int, other: Tensor, *, rectify: bool = False) -> Tensor:
    d, then = [dilation, dilation], "relu" if rectify else None
    return cast("Tensor", _operator().binary(x, other, weight, None, d, [1, 1], d, 1, "add", 1.0, then, [], None))


def _conv_backward(grad: Tensor, x: Tensor, weight: Tensor, dilation: int) -> tuple[Tensor, Tensor]:
    """Gradients by the input and by the weight."""
    return _conv(grad, _turned(weight), dilation), _weight_gradient(grad, x, weight, dilation)


def _turned(weight: Tensor) -> Tensor:
    """The kernel whose convolution gives the gradient by the input: turned by half, inputs and outputs exchanged."""
    return weight.flip(2, 3).transpose(0, 1).contiguous(memory_format=_CHANNELS_LAST)


def _weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    d = [dilation, dilation]
    _, by_weight, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, [1, 1], d, d, False, [0, 0], 1, [False, True, False]
    )
    return cast("Tensor", by_weight)


def _masked(grad: Tensor, rectified: Tensor) -> Tensor:
    """The gradient through a ReLU: zero where its result is."""
    return cast("Tensor", torch.ops.aten.threshold_backward(grad, rectified, 0))


def _mask_(grad: Tensor, rectified: Tensor) -> Tensor:
    """The same in place."""
    return cast("Tensor", torch.ops.aten.threshold_backward.grad_input(grad, rectified, 0, grad_input=grad))
