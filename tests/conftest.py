"""What the tests share: the evaluation data where they are, small networks, and the installed command."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the command does, and before torch is imported

import numpy as np
import pytest
import torch
from PIL import Image

from dpenet_cli.checkpoints import WeightsCard, save_model
from dpenet_cli.model import DPENet, DPENetConfig

TINY = DPENetConfig(channels=4, n_ddrb=1, n_erpab=1)


def lively_model(config: DPENetConfig, seed: int = 0) -> DPENet:
    """A random network whose outputs depend on all of their receptive field, and strongly.

    Small random weights let the far context fade away, and a tiling mistake with it. These keep the signal's size.
    """
    generator = torch.Generator().manual_seed(seed)
    model = DPENet(config)
    with torch.no_grad():
        for parameter in model.parameters():
            fan_in = parameter[0].numel() if parameter.ndim == 4 else parameter.numel()
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (1.0 / fan_in) ** 0.5)
    return model.eval().requires_grad_(requires_grad=False)


@pytest.fixture(scope="session")
def data() -> Path:
    """The evaluation data, named by DPENET_TEST_DATA."""
    folder = os.environ.get("DPENET_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("DPENET_TEST_DATA does not name the folder of evaluation data")
    return Path(folder)


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file of a network that takes milliseconds."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_model(lively_model(TINY), path, WeightsCard(name="tiny"))
    return path


@pytest.fixture(scope="session")
def rainy_photo() -> np.ndarray:
    """A picture with structure in every channel, 90×120×3 uint8."""
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 256, (12, 15, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((120, 90), Image.Resampling.BICUBIC))


def dpenet(*arguments: object, cwd: Path | None = None, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the installed command, as a user does."""
    options = {"capture_output": True, "text": True, "timeout": 300} | options
    return subprocess.run([command(), *map(str, arguments)], cwd=cwd, check=False, **options)


def command() -> str:
    """Path of the installed ``dpenet``."""
    found = shutil.which("dpenet", path=str(Path(sys.executable).parent)) or shutil.which("dpenet")
    assert found, "the package is not installed: pip install -e ."
    return found
