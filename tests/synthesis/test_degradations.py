import io

import numpy as np
import pytest
import torch
from conftest import textured
from PIL import Image

from dpenet_cli.synthesis.degradations import jpeg, sensor_noise


def as_tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("quality", [20, 60, 92])
def test_jpeg_is_what_a_jpeg_library_does(quality: int) -> None:
    picture = textured()
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality, subsampling=2)
    theirs = np.asarray(Image.open(buffer)).astype(float)
    ours = jpeg(as_tensor(picture), torch.tensor([float(quality)]))[0].permute(1, 2, 0).numpy() * 255
    damage = np.abs(theirs - picture).mean()
    assert np.abs(ours - theirs).mean() < 0.3 * damage


def test_jpeg_of_each_picture_has_its_own_quality_and_any_size() -> None:
    picture = as_tensor(textured(height=37, width=50)).repeat(2, 1, 1, 1)
    coded = jpeg(picture, torch.tensor([10.0, 95.0]))
    errors = (coded - picture).abs().mean(dim=(1, 2, 3))
    assert coded.shape == picture.shape
    assert errors[0] > 2 * errors[1] > 0


def test_noise_has_the_variance_of_its_model() -> None:
    picture = torch.full((2, 3, 200, 200), 0.5)
    shot, read = torch.tensor([0.004, 0.0]), torch.tensor([0.01, 0.0])
    noisy = sensor_noise(picture, shot, read, torch.Generator().manual_seed(0))
    assert float(noisy[0].var()) == pytest.approx(0.004 * 0.5 + 0.01**2, rel=0.03)
    assert torch.equal(noisy[1], picture[1])
