import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from scipy.ndimage import correlate1d
from torch.nn.functional import conv2d, pad
from torch.utils._python_dispatch import TorchDispatchMode

from dpenet_cli.network.model import Stages
from dpenet_cli.training import losses
from dpenet_cli.training.losses import edge_distance, general_loss, published_loss, ssim


def pictures(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(*shape, generator=generator)
    return clean, (clean + 0.2 * torch.randn(*shape, generator=generator)).clamp(0, 1)


def foreign_ssim(a: torch.Tensor, b: torch.Tensor) -> float:
    offset = torch.arange(11).double() - 5
    taps = torch.exp(-offset.square() / 4.5)
    taps = (taps / taps.sum()).numpy()

    def smooth(x: torch.Tensor) -> torch.Tensor:
        rows = correlate1d(x.double().numpy(), taps, axis=2, mode="constant")
        return torch.from_numpy(correlate1d(rows, taps, axis=3, mode="constant"))

    mean_a, mean_b = smooth(a), smooth(b)
    var_a, var_b, both = smooth(a * a) - mean_a**2, smooth(b * b) - mean_b**2, smooth(a * b) - mean_a * mean_b
    top = (2 * mean_a * mean_b + 1e-4) * (2 * both + 9e-4)
    return float((top / ((mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4))).mean())


def foreign_edges(x: torch.Tensor) -> torch.Tensor:
    """The Laplacian as the edge loss of MPRNet defines it: blur, decimate, put zeros between, blur, subtract."""
    taps = torch.tensor([0.05, 0.25, 0.4, 0.25, 0.05])
    kernel = torch.outer(taps, taps).repeat(3, 1, 1, 1)

    def blur(y: torch.Tensor) -> torch.Tensor:
        return conv2d(pad(y, (2, 2, 2, 2), mode="replicate"), kernel, groups=3)

    spread = torch.zeros_like(x)
    spread[:, :, ::2, ::2] = blur(x)[:, :, ::2, ::2] * 4
    return x - blur(spread)


@pytest.mark.parametrize("size", [(40, 40), (33, 50)])
def test_ssim_is_what_scipy_computes(size: tuple[int, int]) -> None:
    clean, noisy = pictures(2, 3, *size)
    assert float(ssim(noisy, clean)) == pytest.approx(foreign_ssim(noisy, clean), abs=1e-5)


@pytest.mark.parametrize("size", [(40, 40), (33, 50)])
def test_edges_are_those_of_the_pyramid(size: tuple[int, int]) -> None:
    clean, noisy = pictures(2, 3, *size)
    expected = ((foreign_edges(noisy) - foreign_edges(clean)) ** 2 + 1e-6).sqrt().mean()
    assert float(edge_distance(noisy, clean)) == pytest.approx(float(expected), rel=1e-4)


def test_losses_are_their_formulas() -> None:
    clean, noisy = pictures(1, 3, 32, 32)
    stages = Stages(noisy, 0.5 * (noisy + clean))
    similar = [float(ssim(stage, clean)) for stage in stages]
    edges = [float(edge_distance(stage, clean)) for stage in stages]
    away = [float((stage - clean).abs().mean()) for stage in stages]
    assert float(published_loss(stages, clean)) == pytest.approx(1 - sum(similar) + 0.05 * sum(edges), abs=1e-5)
    assert float(general_loss(stages, clean)) == pytest.approx(2 - sum(similar) + 5 * sum(away), abs=1e-5)
    assert float(general_loss(stages, clean, 1.0)) == pytest.approx(2 - sum(similar) + sum(away), abs=1e-5)
    perfect = Stages(clean, clean)
    assert float(published_loss(perfect, clean)) == pytest.approx(-1 + 0.05 * 2 * 1e-3, abs=1e-5)
    assert float(general_loss(perfect, clean)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("loss", [published_loss, general_loss])
def test_losses_stay_in_fp32_and_both_stages_learn(loss: object) -> None:
    clean, noisy = pictures(1, 3, 32, 32)
    first, second = (noisy.clone().requires_grad_() for _ in range(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(Stages(first, second), clean)  # type: ignore[operator]
    assert value.dtype == torch.float32
    value.backward()
    for stage in (first, second):
        assert stage.grad is not None
        assert torch.isfinite(stage.grad).all()
        assert float(stage.grad.abs().sum()) > 0


class Tf32(TorchDispatchMode):
    """Products of matrices as a GPU with TF32 computes them, where the process allows it: 10 bits of mantissa."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function._opname in {"mm", "bmm"} and torch.backends.cuda.matmul.fp32_precision == "tf32":
            args = [((x.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32) for x in map(torch.clone, args)]
        return function(*args, **(kwargs or {}))


@pytest.fixture
def tf32_allowed() -> Iterator[None]:
    matmul = torch.backends.cuda.matmul
    before, matmul.fp32_precision = matmul.fp32_precision, "tf32"
    yield
    assert matmul.fp32_precision == "tf32"  # the loss leaves the process's choice as it is
    matmul.fp32_precision = before


def gradient_norm(loss: Any, device: str = "cpu") -> float:
    """On flat pictures, bright ones, that are a quarter of a grey level off."""
    levels = torch.tensor([0.786, 0.828, 0.846, 0.994], device=device).view(-1, 1, 1, 1)
    clean = levels.expand(-1, 3, 32, 32).contiguous()
    seen = (clean + 1e-3).requires_grad_()
    loss(Stages(seen, seen), clean).backward()
    assert seen.grad is not None
    return float(seen.grad.norm())


@pytest.mark.parametrize("loss", [published_loss, general_loss])
@pytest.mark.usefixtures("tf32_allowed")
def test_tf32_is_kept_out_of_ssim_in_both_directions(loss: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    right = gradient_norm(loss)
    with Tf32():
        assert gradient_norm(loss) == pytest.approx(right, rel=1e-5)
    # Without the guard it is far off: the test would see it.
    monkeypatch.setattr(losses, "_full_precision", contextlib.nullcontext)
    with Tf32():
        assert gradient_norm(loss) > 20 * right


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.usefixtures("tf32_allowed")
def test_tf32_is_kept_out_of_ssim_on_a_gpu() -> None:
    assert gradient_norm(general_loss, "cuda") == pytest.approx(gradient_norm(general_loss), rel=1e-2)
