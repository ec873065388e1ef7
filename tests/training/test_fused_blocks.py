import pytest
import torch
from torch import Tensor, nn
from training_runs import CPU, small, training_pictures

from dpenet_cli.network.checkpoints import load_model
from dpenet_cli.network.model import DDRB, WHOLE, DPENet
from dpenet_cli.training.fused_blocks import FusedBlocks, can_fuse
from dpenet_cli.training.loader import BatchLoader
from dpenet_cli.training.losses import general_loss

pytestmark = pytest.mark.skipif(not can_fuse(), reason="this processor has no fused bf16 convolutions")


def difference(own: Tensor, exact: Tensor) -> tuple[float, float]:
    """Relative L2 error, and cosine."""
    own, exact = own.float().flatten(), exact.flatten()
    return float((own - exact).norm() / exact.norm()), float(nn.functional.cosine_similarity(own, exact, dim=0))


def recorded_blocks() -> list[tuple[DDRB, Tensor, Tensor]]:
    """The DDRBs of `general` in a training step, what goes into each, and the gradient that comes back to it."""
    model = load_model("general").train().requires_grad_()
    batch = BatchLoader(training_pictures(3), small("x", batch=4, crop=96, mix={"thin": 1.0, "dense": 1.0}), CPU).batch(
        0
    )
    seen: list[tuple[DDRB, Tensor, Tensor]] = []

    class Recording(FusedBlocks):
        def block(self, block: nn.Module, rows: Tensor) -> Tensor:
            out = WHOLE.block(block, rows)
            if isinstance(block, DDRB):
                out.retain_grad()
                seen.append((block, rows.detach(), out))
            return out

    general_loss(model(batch.rainy, Recording()), batch.clean).backward()
    return [(block, rows, out.grad) for block, rows, out in seen if out.grad is not None]


def in_bf16(block: DDRB) -> None:
    """Give a block weights that bf16 has, so that fp32 and bf16 compute with the same numbers."""
    with torch.no_grad():
        for weight in block.parameters():
            weight.copy_(weight.bfloat16())


@pytest.mark.parametrize("size", [(1, 24, 40), (3, 64, 64)])
@pytest.mark.parametrize("channels", [16, 32])
def test_a_block_s_gradients_are_those_of_the_plain_block_in_fp32(channels: int, size: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    block = DDRB(channels)
    in_bf16(block)
    n, height, width = size
    x, towards = (torch.rand(n, channels, height, width).bfloat16().float() for _ in range(2))
    x.requires_grad_()
    plain, fused = block(x), FusedBlocks().block(block, x)
    assert fused.dtype == torch.bfloat16
    assert difference(fused.detach(), plain.detach())[0] < 0.005
    wanted = [*block.parameters(), x]
    exact = torch.autograd.grad(plain, wanted, towards)
    own = torch.autograd.grad(fused, wanted, towards.bfloat16())
    for gradient, reference in zip(own[:-1], exact[:-1], strict=True):
        error, cosine = difference(gradient, reference)
        assert error <= 0.02
        assert cosine >= 0.999
    assert difference(own[-1], exact[-1])[1] >= 0.999


def test_in_a_step_of_trained_weights_they_are_as_near_as_autocast_s() -> None:
    """There, gradients of both signs nearly cancel, and signs of activations near 0 flip in bf16, however computed."""
    errors = []
    blocks = recorded_blocks()
    assert len(blocks) == 10
    for block, rows, gradient in blocks:
        in_bf16(block)
        x, towards = rows.bfloat16(), gradient.bfloat16()
        weights = list(block.parameters())
        exact = torch.autograd.grad(block(x.float()), weights, towards.float())
        fused = torch.autograd.grad(FusedBlocks().block(block, x), weights, towards)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            plain = block(x)
        usual = torch.autograd.grad(plain, weights, towards)
        for own, other, reference in zip(fused, usual, exact, strict=True):
            assert difference(own, reference)[1] >= 0.998
            errors.append((difference(own, reference)[0], difference(other, reference)[0]))
    own, other = (sum(column) / len(errors) for column in zip(*errors, strict=True))
    assert own < 1.1 * other
    assert own < 0.03


def test_a_step_of_the_whole_network_goes_where_autocast_goes() -> None:
    torch.manual_seed(0)
    model = DPENet().to(memory_format=torch.channels_last)
    clean = torch.rand(2, 3, 48, 48)
    rainy = (clean + 0.2 * torch.rand(2, 1, 48, 48)).clamp(max=1)
    gradients = []
    for schedule in (None, FusedBlocks()):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            stages = model(rainy, schedule) if schedule else model(rainy)
        gradients.append(torch.autograd.grad(general_loss(stages, clean), list(model.parameters())))
    exact = torch.autograd.grad(general_loss(model(rainy), clean), list(model.parameters()))
    fused, plain = (
        nn.functional.cosine_similarity(
            *(torch.cat([g.float().flatten() for g in each]) for each in (own, exact)), dim=0
        )
        for own in (gradients[1], gradients[0])
    )
    assert float(fused) > min(0.99, float(plain) - 0.005)
    assert all(gradient.dtype == torch.float32 for gradient in gradients[1])


def test_what_the_block_was_given_is_left_as_it_was() -> None:
    block = DDRB(32)
    x = torch.rand(1, 32, 16, 16).bfloat16().contiguous(memory_format=torch.channels_last).requires_grad_()
    grad = torch.randn(1, 32, 16, 16).bfloat16().contiguous(memory_format=torch.channels_last)
    before, towards = x.detach().clone(), grad.clone()
    out = FusedBlocks().block(block, x)
    first = torch.autograd.grad(out, x, grad, retain_graph=True)[0]
    assert torch.equal(torch.autograd.grad(out, x, grad)[0], first)
    assert torch.equal(x, before)
    assert torch.equal(grad, towards)
