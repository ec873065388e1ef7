import torch

from dpenet_cli.synthesis.layers import StreakLayers

CPU = torch.device("cpu")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def streaks() -> torch.Tensor:
    """Two layers of 80×120 with bright columns."""
    layers = torch.zeros(2, 80, 120, dtype=torch.uint8)
    layers[0, 10:60, 10::9] = 200
    layers[1, :, 60:63] = 120
    return layers


def test_rendered_rain_only_brightens_and_depends_on_the_seed_alone() -> None:
    clean = torch.rand(30, 3, 48, 40, generator=seeded(0))
    rain = StreakLayers(streaks(), CPU)
    first, again, other = (rain.draw(clean, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (first >= clean - 1e-6).all()
    assert float(first.max()) <= 1
    assert ((first - clean).flatten(1).amax(dim=1) > 0.05).float().mean() > 0.7


def test_black_layers_leave_a_picture_alone() -> None:
    clean = torch.rand(4, 3, 48, 40, generator=seeded(0))
    rain = StreakLayers(torch.zeros(1, 60, 60, dtype=torch.uint8), CPU)
    assert torch.allclose(rain.draw(clean, seeded(1)), clean)


def test_streaks_keep_their_direction_and_small_layers_fill_large_crops() -> None:
    clean = torch.zeros(20, 3, 200, 160)
    rain = StreakLayers(streaks()[1:], CPU).draw(clean, seeded(3))
    seen = rain[rain.flatten(1).amax(dim=1) > 0][:, 0]
    assert len(seen) > 5
    assert float(seen.diff(dim=1).abs().max()) < 0.05  # the same from top to bottom: no padding is seen
    assert float(seen.diff(dim=2).abs().max()) > 0.1


def test_rain_comes_in_many_sizes_and_from_both_sides() -> None:
    clean = torch.zeros(200, 3, 32, 32)
    layer = torch.zeros(1, 64, 64, dtype=torch.uint8)
    layer[0, torch.arange(64), torch.arange(64)] = 255  # falls to the right
    rain = StreakLayers(layer, CPU).draw(clean, seeded(3))[:, 0]
    down, right = torch.gradient(rain, dim=(1, 2))
    turned = (down * right).sum(dim=(1, 2)).sign()  # across a streak that falls to the right the two differ in sign
    assert 0.35 < float((turned < 0).sum() / (turned != 0).sum()) < 0.65
