from pathlib import Path

import pytest
import torch
from training_runs import ignore, small

from dpenet_cli.errors import OptionError
from dpenet_cli.network.checkpoints import load_model
from dpenet_cli.training.init import LIGHT, initial_network
from dpenet_cli.training.run import train


def test_training_starts_from_given_weights(tmp_path: Path, photos: str) -> None:
    train(tmp_path / "run", small(photos, light=False, init="general", steps=1, learning_rate=1e-9, ema=0.0), ignore)
    start, end = load_model("general").state_dict(), load_model(tmp_path / "run/last.safetensors").state_dict()
    assert all(torch.allclose(start[key], end[key], atol=1e-7) for key in start)


def test_a_light_network_starts_from_every_second_block(photos: str) -> None:
    whole, light = load_model("general"), initial_network(small(photos, init="general"))
    assert light.config == LIGHT
    assert light.training
    assert all(parameter.requires_grad for parameter in light.parameters())
    for position, block in enumerate(light.r2net.ddrb):
        for key, value in block.state_dict().items():
            assert torch.equal(value, whole.r2net.ddrb[2 * position].state_dict()[key])
    for key, value in whole.state_dict().items():
        if "ddrb" not in key:
            assert torch.equal(light.state_dict()[key], value)


def test_a_light_network_cannot_start_from_another_width(photos: str, tiny_weights: Path) -> None:
    with pytest.raises(OptionError, match="1 DDRBs and 1 ERPABs of 4 channels"):
        initial_network(small(photos, init=str(tiny_weights)))
