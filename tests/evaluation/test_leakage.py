import io
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import scene
from PIL import Image
from scipy.ndimage import gaussian_filter

from dpenet_cli.evaluation.datasets import open_dataset
from dpenet_cli.evaluation.leakage import BackgroundIndex
from dpenet_cli.evaluation.set_pictures import read_picture

DATA = os.environ.get("DPENET_TEST_DATA")


def saved_again(picture: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def rained_on(picture: np.ndarray) -> np.ndarray:
    drops = np.random.default_rng(9).random(picture.shape[:2]) > 0.995
    streaks = gaussian_filter(drops.astype(float), (6, 0.6))
    return (picture + 90 * np.clip(streaks / streaks.max(), 0, 1)[..., None]).clip(0, 255).astype(np.uint8)


DISGUISES = {
    "none": lambda p: p,
    "mirrored": lambda p: p[:, ::-1],
    "cropped": lambda p: p[40:180, 60:240],
    "saved again": lambda p: saved_again(p, 40),
    "smaller": lambda p: np.asarray(Image.fromarray(p).resize((170, 131))),
    "rained on": rained_on,
    "all of them": lambda p: saved_again(rained_on(p)[20:190, 250:30:-1], 60),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_background_is_found_in_its_disguise(disguise: str) -> None:
    index = BackgroundIndex([scene(seed) for seed in range(5)])
    found = [index.find(DISGUISES[disguise](scene(seed))) for seed in range(5)]
    assert [match.test if match else None for match in found] == list(range(5))
    assert all(match.mirrored == (disguise in {"mirrored", "all of them"}) for match in found if match)


def test_other_pictures_are_not_found() -> None:
    index = BackgroundIndex([scene(seed) for seed in range(5)])
    assert [index.find(scene(seed)) for seed in range(100, 110)] == [None] * 10
    assert index.find(np.full((50, 60, 3), 7, np.uint8)) is None
    assert BackgroundIndex([]).find(scene(0)) is None
    assert BackgroundIndex([np.zeros((50, 50, 3), np.uint8)]).find(scene(0)) is None


@pytest.mark.skipif(not DATA, reason="DPENET_TEST_DATA is not set")
def test_genuine_sets() -> None:
    root = Path(str(DATA))
    pairs = open_dataset(root / "eval/rain100l").pairs
    index = BackgroundIndex([pair.load()[1] for pair in pairs])
    for number, pair in enumerate(pairs):
        match = index.find(pair.load()[0])
        assert match is not None, pair.name
        assert match.test == number
    strangers = open_dataset(root / "train/clean/bsds").clean[::20]
    assert [path.name for path in strangers if index.find(read_picture(path))] == []
