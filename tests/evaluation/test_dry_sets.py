import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import scene, store

from dpenet_cli.errors import DatasetError
from dpenet_cli.evaluation.benchmark import Method, score_sets
from dpenet_cli.evaluation.pair_sets import dry_set
from dpenet_cli.options import Protocol


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    for seed in range(3):
        store(tmp_path / f"clean/{seed}.png", scene(seed))
    return tmp_path / "clean"


def test_dry_pictures_are_scored_against_themselves(clean: Path) -> None:
    found = dry_set(clean)
    assert found.coverage == "3 pictures, each against itself"
    assert set(found.files) == set(clean.iterdir())
    for number, pair in enumerate(found.pairs):
        rainy, target = pair.load()
        assert np.array_equal(rainy, target)
        assert np.array_equal(rainy, scene(number))

    def darker(picture: np.ndarray) -> np.ndarray:
        return picture - np.minimum(picture, int(picture[0, 0, 0]) % 7 + 1)

    (result,) = score_sets([found], [Method("darker", darker)], Protocol.RGB)
    assert result.before is None
    assert result.gain is None
    assert result.worst.after.psnr == min(picture.after.psnr for picture in result.pictures)
    assert result.to_json()["worst"]["name"] == result.worst.name


def test_structure_is_drawn_by_name_and_the_same_every_time(clean: Path) -> None:
    first = {pair.name: pair.load()[0] for pair in dry_set(clean, structure=True).pairs}
    shutil.copy(clean / "0.png", clean / "9.png")
    again = {pair.name: pair.load() for pair in dry_set(clean, structure=True).pairs}
    for name, picture in first.items():
        assert np.array_equal(picture, again[name][0])
        assert np.array_equal(*again[name])
        assert not np.array_equal(picture, scene(int(name)))
    assert not np.array_equal(again["0"][0], again["9"][0])


def test_what_is_no_folder_of_pictures_is_an_error(tmp_path: Path, clean: Path) -> None:
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(DatasetError, match="folder of clean pictures"):
            dry_set(folder)
    (clean / "a.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"1 of 4 pairs cannot be scored: a\.png"):
        dry_set(clean)
    assert [pair.name for pair in dry_set(clean, partial=True).pairs] == ["0", "1", "2"]
