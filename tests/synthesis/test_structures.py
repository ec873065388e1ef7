import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio

from dpenet_cli.synthesis.parameters import RANGES, Rain, draw_parameters
from dpenet_cli.synthesis.rain import draw_streaks
from dpenet_cli.synthesis.structure_shapes import SHAPES, Structure
from dpenet_cli.synthesis.structures import LEAST_OPACITY, SHARES, draw_structures, structured_picture


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grey(n: int, side: int = 64, level: float = 0.5) -> torch.Tensor:
    return torch.full((n, 3, side, side), level)


@pytest.mark.parametrize("kind", list(Structure))
def test_the_same_seed_draws_the_same_structure_and_another_another(kind: Structure) -> None:
    clean = grey(6)
    first, again, other = (draw_structures(clean, seeded(seed), [kind] * 6) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(clean, grey(6))
    changed = (first != clean).any(dim=1).flatten(1).float().mean(dim=1)
    assert float(changed.max()) > 0.02
    assert (changed > 0).float().mean() > 0.6  # some lie outside


@pytest.mark.parametrize("kind", [kind for kind in Structure if kind is not Structure.TEXT])
def test_structure_is_opaque(kind: Structure) -> None:
    """What shines through is the difference between the results on white and on black."""
    on_white, on_black = (draw_structures(grey(60, level=level), seeded(4), [kind] * 60) for level in (1.0, 0.0))
    through = (on_white - on_black).mean(dim=1).flatten(1)
    assert float(through.min()) >= -1e-6
    darkest = through.min(dim=1).values[through.min(dim=1).values < 0.95]  # of those that are in the picture
    assert float(darkest.quantile(0.05)) < 0.05
    assert float(darkest.median()) <= 1.0 - LEAST_OPACITY + 0.01


def test_a_near_streak_is_translucent_and_out_of_focus_and_a_post_is_neither() -> None:
    near = RANGES[Rain.DEPTH]
    assert near.bright[1] < LEAST_OPACITY - 0.2
    assert near.width[1] == 10  # as wide as the widest post
    shape = SHAPES[Structure.POSTS](200, (96, 96), seeded(2), torch.device("cpu"))
    parameters = draw_parameters([Rain.DEPTH] * 200, seeded(2))
    alone = (torch.arange(parameters.bright.shape[1]) == 0).float()  # the nearest layer, at its full range
    streaks = draw_streaks(
        parameters._replace(bright=alone.expand(200, -1), cover=0.02 + 0 * parameters.cover), 96, 96, seeded(3)
    )

    def edges(cover: torch.Tensor) -> float:
        """How many pixels are neither in nor out, for each one that is in."""
        return float(((cover > 0.1) & (cover < 0.9)).sum() / (cover >= 0.9).sum())

    assert edges(shape.cover) < 0.7
    assert edges(streaks) > 4


def test_bars_stand_upright_mostly() -> None:
    shape = SHAPES[Structure.GRILLE](200, (64, 64), seeded(2), torch.device("cpu"))
    down, right = (shape.cover.diff(dim=dim).abs().mean(dim=(1, 2, 3)) for dim in (2, 3))
    assert float((right > down).float().mean()) > 0.6


def test_kinds_come_as_often_as_they_should_and_every_fourth_picture_has_two(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[Structure, int]] = []

    def spy(kind: Structure) -> object:
        def shape(k: int, *rest: object) -> object:
            drawn.append((kind, k))
            return SHAPES_BEFORE[kind](k, *rest)  # type: ignore[arg-type]

        return shape

    SHAPES_BEFORE = dict(SHAPES)
    monkeypatch.setattr("dpenet_cli.synthesis.structures.SHAPES", {kind: spy(kind) for kind in Structure})
    draw_structures(grey(1200, side=16), seeded(5))
    count = {kind: sum(k for own, k in drawn if own is kind) for kind in Structure}
    assert sum(count.values()) == pytest.approx(1.25 * 1200, rel=0.04)
    for kind, share in SHARES.items():
        assert count[kind] / sum(count.values()) == pytest.approx(share, abs=0.03)
    assert sum(SHARES.values()) == pytest.approx(1)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 5), st.integers(0, 2**40))
def test_pictures_of_any_size_stay_pictures(height: int, width: int, n: int, seed: int) -> None:
    clean = torch.rand(n, 3, height, width, generator=seeded(seed))
    out = draw_structures(clean, seeded(seed))
    assert out.shape == clean.shape
    assert torch.isfinite(out).all()
    assert 0 <= float(out.min()) <= float(out.max()) <= 1


def test_a_large_picture_has_structure_all_over_it_and_the_same_every_time() -> None:
    picture = np.full((500, 900, 3), 128, np.uint8)
    first, again, other = (structured_picture(picture, seed) for seed in (0, 0, 1))
    assert (picture == 128).all()
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    changed = (first != picture).any(axis=2)
    assert 0.03 < changed.mean() < 0.7
    assert all(changed[:, 300 * third : 300 * third + 300].any() for third in range(3))
    assert peak_signal_noise_ratio(picture, first) < 25
    assert structured_picture(picture[:3, :2], 0).shape == (3, 2, 3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_a_gpu_draws_what_the_cpu_draws() -> None:
    clean = torch.rand(40, 3, 128, 128, generator=seeded(0))
    cpu, cuda = draw_structures(clean, seeded(1)), draw_structures(clean.cuda(), seeded(1)).cpu()
    assert float((cpu - cuda).abs().mean()) < 1e-4
