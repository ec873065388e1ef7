from pathlib import Path

import numpy as np
import pytest
from conftest import scene, store
from training_runs import ignore, small

from dpenet_cli.errors import DatasetError, TrainingError
from dpenet_cli.training.data import load_data
from dpenet_cli.training.run import resume, train


def test_validation_backgrounds_are_never_trained_on(tmp_path: Path, photos: str, pairs: str) -> None:
    for seed in range(6):
        store(tmp_path / f"again/{seed}-again.jpg", np.ascontiguousarray(scene(seed)[:120, :130][:, ::-1]))
    options = small(photos, str(tmp_path / "again"), pairs, validation=4)
    found = load_data(options)
    set_aside = {Path(pair.name).stem.split("-")[0] for pair in found.validation.rainy}
    trained = {Path(picture.name).stem.split("-")[0] for picture in found.pictures}
    assert len(found.validation.rainy) == 4
    assert found.selection.twins
    assert not set_aside & trained
    assert load_data(options, found.selection).selection == found.selection


def test_excluded_and_small_pictures_are_left_out(tmp_path: Path, photos: str) -> None:
    for half in ("input", "target"):
        store(tmp_path / f"test/{half}/a.png", scene(3)[:, ::-1])
    store(tmp_path / "tiny/t.png", scene(90)[:20, :200])
    tiny = str(tmp_path / "tiny")
    found = load_data(small(photos, tiny, exclude=(str(tmp_path / "test"),), validation=0))
    assert [Path(name).name for name in found.selection.excluded] == ["3.png"]
    assert [Path(name).name for name in found.selection.too_small] == ["t.png"]
    assert len(found.pictures) == 5
    with pytest.raises(DatasetError, match="nothing is left: 1 too small"):
        load_data(small(tiny))


def test_a_chosen_side_concerns_side_by_side_pictures_alone(tmp_path: Path, photos: str) -> None:
    picture = np.minimum(scene(70), 200)
    for number in range(3):
        store(tmp_path / f"both/{number}.png", np.hstack([picture, picture + 30]))
    found = load_data(small(photos, str(tmp_path / "both"), clean_side="right", validation=0, crop=100)).pictures
    assert [picture.rainy is None for picture in found] == [True] * 6 + [False] * 3
    assert float(found[-1].clean.mean()) > float(found[-1].rainy.mean())


def test_wrong_layers_are_found_before_pictures_are_read(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/broken.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match="rendered streak layers"):
        load_data(small(str(tmp_path / "photos"), layers=str(tmp_path / "nowhere")))


def test_a_run_does_not_go_on_with_other_layers(tmp_path: Path, photos: str) -> None:
    layer = store(tmp_path / "layers/a.png", np.full((50, 60, 3), 90, np.uint8))
    train(tmp_path / "run", small(photos, layers=str(tmp_path / "layers"), validation=0), ignore, max_minutes=0)
    store(tmp_path / "layers/a.png", layer + 1)
    with pytest.raises(TrainingError, match="not those that the run began with"):
        resume(tmp_path / "run", {}, ignore)
    store(tmp_path / "layers/a.png", layer)
    assert resume(tmp_path / "run", {}, ignore) == "done"


def test_data_that_will_not_do_leave_no_pixels_behind(tmp_path: Path, photos: str) -> None:
    """A run of several processes keeps its pictures in a file while it begins; it is gone however that ends."""
    for half in ("input", "target"):
        store(tmp_path / f"test/{half}/a.png", scene(3)[:120, :130])
    options = small(photos, exclude=(str(tmp_path / "test"),), crop=200, threads=2)
    with pytest.raises(DatasetError, match="nothing is left: 6 too small"):
        train(tmp_path / "run", options, ignore)
    assert not (tmp_path / "run/.pixels").exists()
