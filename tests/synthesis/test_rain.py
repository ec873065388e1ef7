import os
from pathlib import Path

import numpy as np
import pytest
import torch

from dpenet_cli.evaluation.datasets import open_dataset
from dpenet_cli.synthesis.parameters import MAX_LAYERS, RANGES, Rain, draw_parameters
from dpenet_cli.synthesis.rain import draw_depth, draw_rain, draw_streaks

DATA = os.environ.get("DPENET_TEST_DATA")
RAINY_KINDS = [kind for kind in Rain if kind is not Rain.DRY]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def layers(kind: Rain, count: int = 40, side: int = 128) -> torch.Tensor:
    return draw_streaks(draw_parameters([kind] * count, seeded(3)), side, side, seeded(4))


@pytest.mark.parametrize("kind", RAINY_KINDS)
def test_the_same_seed_gives_the_same_rain_and_another_another(kind: Rain) -> None:
    clean = torch.rand(2, 3, 64, 80, generator=seeded(0))
    first, again, other = (
        draw_rain(clean, draw_parameters([kind] * 2, seeded(seed)), seeded(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == clean.shape
    assert 0 <= float(first.min()) <= float(first.max()) <= 1
    assert float((first - clean).abs().mean()) > 0.002


def test_a_dry_picture_is_left_alone() -> None:
    clean = torch.rand(2, 3, 48, 48, generator=seeded(0))
    kinds = [Rain.DRY, Rain.DENSE]
    rainy = draw_rain(clean, draw_parameters(kinds, seeded(1)), seeded(1))
    assert torch.equal(rainy[0], clean[0])
    assert not torch.equal(rainy[1], clean[1])


def test_added_rain_is_the_sum_cut_at_white() -> None:
    clean = torch.rand(8, 3, 64, 64, generator=seeded(0))
    parameters = draw_parameters([Rain.DENSE] * 8, seeded(1))
    parameters = parameters._replace(shot=parameters.shot * 0, read=parameters.read * 0, quality=parameters.quality * 0)
    rain = draw_streaks(parameters, 64, 64, seeded(2))
    expected = (clean + rain).clamp(max=1)
    assert torch.allclose(draw_rain(clean, parameters, seeded(2)), expected, atol=1e-6)


def test_screened_rain_spares_bright_areas() -> None:
    parameters = draw_parameters([Rain.NOISE] * 8, seeded(1))
    parameters = parameters._replace(
        screened=torch.ones(8), scatter=torch.zeros(8), shot=torch.zeros(8), read=torch.zeros(8), quality=torch.zeros(8)
    )
    dark, bright = (draw_rain(torch.full((8, 3, 64, 64), level), parameters, seeded(2)) - level for level in (0.1, 0.8))
    assert torch.allclose(bright * 0.9, dark * 0.2, atol=1e-5)


def test_the_veil_pulls_towards_the_airlight_with_depth() -> None:
    parameters = draw_parameters([Rain.DRY], seeded(0))._replace(
        scatter=torch.tensor([0.7]), airlight=torch.tensor([0.9])
    )
    veiled = draw_rain(torch.full((1, 3, 32, 32), 0.2), parameters, seeded(1))
    uniform = seeded(1)
    draw_streaks(parameters, 32, 32, uniform)
    transmission = torch.exp(-0.7 * draw_depth(1, 32, 32, uniform))
    assert torch.allclose(veiled[:, :1], 0.2 * transmission + 0.9 * (1 - transmission), atol=1e-6)


def test_only_pictures_with_rain_or_degradations_cost_random_numbers() -> None:
    """What a dry picture beside it would have drawn does not change a rainy one's rain."""
    clean = torch.rand(3, 3, 48, 48, generator=seeded(0))
    heavy = draw_parameters([Rain.HEAVY], seeded(1))._replace(shot=torch.tensor([0.001]), quality=torch.tensor([80.0]))
    none = draw_parameters([Rain.DRY], seeded(1))
    mixed = type(heavy)(*(torch.cat(parts) for parts in zip(none, heavy, none, strict=True)))
    rainy = draw_rain(clean, mixed, seeded(2))
    assert torch.equal(rainy[1:2], draw_rain(clean[1:2], heavy, seeded(2)))
    assert torch.equal(rainy[::2], clean[::2])


def test_layers_of_drops_and_of_noise_share_a_batch() -> None:
    kinds = [Rain.NOISE, Rain.THIN, Rain.NOISE, Rain.DENSE]
    parameters = draw_parameters(kinds, seeded(1))
    rain = draw_streaks(parameters, 64, 64, seeded(2)).flatten(1)
    alone = draw_streaks(parameters._replace(bright=parameters.bright * (parameters.cover == 0)), 64, 64, seeded(2))
    assert (rain.mean(dim=1) > 0.002).all()
    assert (alone.flatten(1).mean(dim=1)[1::2] == 0).all()


@pytest.mark.parametrize("degrees", [-40.0, 0.0, 25.0])
def test_streaks_fall_in_the_direction_asked_for(degrees: float) -> None:
    parameters = draw_parameters([Rain.THIN], seeded(1))
    angle = np.deg2rad(degrees)
    every = torch.ones(1, MAX_LAYERS)
    parameters = parameters._replace(
        direction=angle * every, length=40 * every, width=3 * every, softness=every, bright=every
    )
    rain = draw_streaks(parameters, 160, 160, seeded(2))[0, 0].numpy()
    down, right = np.gradient(rain)
    # The structure tensor's weak direction is along the streaks.
    tensor = np.array([[(down * down).sum(), (down * right).sum()], [(down * right).sum(), (right * right).sum()]])
    along = np.linalg.eigh(tensor)[1][:, 0]
    assert abs(np.rad2deg(np.arctan2(along[1] * np.sign(along[0]), abs(along[0]))) - degrees) < 3


@pytest.mark.parametrize(
    ("kind", "mean", "covered"),
    [(Rain.THIN, (4, 9), (0.1, 0.45)), (Rain.DENSE, (40, 80), (0.55, 0.99))],
)
def test_layers_are_as_strong_as_those_of_the_sets(
    kind: Rain, mean: tuple[float, float], covered: tuple[float, float]
) -> None:
    rain = layers(kind) * 255
    assert mean[0] < float(rain.mean(dim=(1, 2, 3)).median()) < mean[1]
    assert covered[0] < float((rain > 3).float().mean()) < covered[1]


@pytest.mark.skipif(not DATA, reason="DPENET_TEST_DATA is not set")
@pytest.mark.parametrize(("name", "kind"), [("rain100l", Rain.THIN), ("rain100h", Rain.DENSE)])
def test_drawn_layers_lie_among_the_set_s_own(name: str, kind: Rain) -> None:
    own = []
    for pair in open_dataset(Path(str(DATA)) / "eval" / name).pairs:
        rainy, clean = (picture.astype(float) for picture in pair.load())
        dark = clean.max(axis=2) < 100  # elsewhere the sum was cut at white
        layer = (rainy - clean)[..., 1][dark]
        own.append([layer.mean(), np.quantile(layer, 0.9), (layer > 3).mean()])
    drawn = [[x.mean() * 255, np.quantile(x, 0.9) * 255, (x > 3 / 255).mean()] for x in layers(kind).numpy()]
    low, high = np.quantile(drawn, (0.1, 0.9), axis=0)
    assert (low < np.median(own, axis=0)).all()
    assert (np.median(own, axis=0) < high).all()


def test_every_kind_of_rain_has_its_ranges() -> None:
    assert set(RANGES) == set(Rain)
    for ranges in RANGES.values():
        assert ranges.layers[1] <= MAX_LAYERS
        assert all(low <= high for low, high in vars(ranges).values())


def test_one_rain_in_eight_is_twice_or_three_times_as_large_and_as_much_out_of_focus() -> None:
    own = RANGES[Rain.THIN]
    parameters = draw_parameters([Rain.THIN] * 4000, seeded(7))
    # Width, length and softness are of one range each: beyond it only the magnified ones lie.
    softness = parameters.softness[:, 0]
    larger = softness > own.softness[1]
    assert float(larger.float().mean()) == pytest.approx(own.magnified[0], abs=0.02)
    assert float(softness.max()) <= 3 * own.softness[1] + 1e-5
    assert float(softness[larger].min()) >= 2 * own.softness[0] - 1e-5
    assert float((softness[larger] > 2 * own.softness[1]).float().mean()) > 0.1
    assert float(parameters.length[larger].mean() / parameters.length[~larger].mean()) == pytest.approx(2.5, abs=0.3)
