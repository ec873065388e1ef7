"""The network: its size, its stages, its receptive field, and its parity with the published results."""

import numpy as np
import pytest
import torch
from conftest import TINY, lively_model
from PIL import Image

from dpenet_cli import EngineOptions, Precision, load
from dpenet_cli.network.model import DDRB, ERPAB, DPENet, DPENetConfig


def rgb(path):
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.mark.parametrize(("n_ddrb", "parameters"), [(10, 647_328), (5, 370_848)])
def test_parameters_of_the_paper(n_ddrb, parameters):
    model = DPENet(DPENetConfig(n_ddrb=n_ddrb))
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_radius_of_the_paper():
    assert (DDRB.radius, ERPAB.radius, DPENet().receptive_radius) == (16, 7, 181)


def test_receptive_radius_is_exact():
    """The farthest pixel that matters is at the radius, and none lies beyond."""
    model = lively_model(DPENetConfig(channels=3, n_ddrb=1, n_erpab=1)).double()
    radius = model.receptive_radius
    size = 2 * radius + 11
    picture = torch.rand(1, 3, size, size, dtype=torch.float64, requires_grad=True)
    centre = size // 2
    # ReLU can close single paths, so several draws of the picture are added up
    reach = torch.zeros(size, size, dtype=torch.float64)
    for seed in range(5):
        picture = torch.rand(
            1, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed), requires_grad=True
        )
        model(picture).restored[0, :, centre, centre].sum().backward()
        reach += picture.grad[0].abs().sum(0)
    rows = reach.sum(1).nonzero().flatten() - centre
    columns = reach.sum(0).nonzero().flatten() - centre
    assert (rows.min(), rows.max()) == (-radius, radius)
    assert (columns.min(), columns.max()) == (-radius, radius)


def test_output_convolutions_are_linear():
    """Streaks are brighter than what they hide: the first stage must be able to darken."""
    model = lively_model(TINY)
    picture = torch.rand(1, 3, 32, 32)
    stages = model(picture)
    assert (stages.streak_free < picture).any()
    assert (stages.streak_free > picture).any()
    assert (stages.restored < stages.streak_free).any()


def test_stages_start_from_the_picture():
    """With output convolutions of zero both residuals vanish, and the picture passes unchanged."""
    model = lively_model(TINY)
    for network in (model.r2net, model.drnet):
        network.outconv.weight.zero_()
    picture = torch.rand(2, 3, 9, 17)
    stages = model(picture)
    assert torch.equal(stages.streak_free, picture)
    assert torch.equal(stages.restored, picture)


def test_published_result_is_reproduced(data):
    derain = load(data / "published/Rain100H.pth", EngineOptions(precision=Precision.FP32))
    ours = derain(rgb(data / "parity/rain100h-input.png")).astype(int)
    difference = np.abs(ours - rgb(data / "parity/rain100h-published-result.png"))
    assert difference.max() <= 1
    assert np.count_nonzero(difference) <= 10
