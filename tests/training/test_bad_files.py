"""Folders from anywhere: files that cannot be learnt from are found all at once, and left out where that is wanted."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import scene, store
from pictures import deep_png, photo
from PIL import Image
from training_runs import assert_same, ignore, small, stored

from dpenet_cli.errors import BadFilesError, DatasetError
from dpenet_cli.training import sources
from dpenet_cli.training.data import load_data
from dpenet_cli.training.events import MOST_NAMED, Event, Prepared
from dpenet_cli.training.run import resume, train

BAD = {"deep.png": "16 bits", "empty.jpg": "empty", "page.jpg": "no picture", "truncated.png": "cut off"}


def spoil(folder: Path) -> None:
    """Files of every kind that cannot be learnt from."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "deep.png").write_bytes(deep_png(photo(deep=True)))
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "page.jpg").write_bytes(b"<!DOCTYPE html><title>Not found</title>" * 9)
    store(folder / "truncated.png", scene(50))
    content = (folder / "truncated.png").read_bytes()
    (folder / "truncated.png").write_bytes(content[: len(content) // 2])


def cut(path: Path) -> None:
    """Cut a file off in its middle."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.fixture
def mixed(photos: str) -> Path:
    """Six good pictures, one that is good in each other format, and four that are bad."""
    folder = Path(photos)
    for number, name in enumerate(("a.jpg", "b.webp", "c.tif", "d.bmp", "e.ppm")):
        store(folder / name, scene(20 + number)[:60, :70])
    Image.fromarray(scene(30)[:60, :70]).convert("CMYK").save(folder / "cmyk.jpg")
    spoil(folder)
    return folder


def test_all_of_them_are_named_at_once_with_their_reasons(mixed: Path) -> None:
    with pytest.raises(BadFilesError, match=r"4 files cannot be learnt from: .*--skip-bad") as raised:
        load_data(small(str(mixed)))
    assert raised.value.files.keys() == {str(mixed / name) for name in BAD}
    for name, why in BAD.items():
        assert why in raised.value.files[str(mixed / name)]
        assert f"{mixed.name}/{name} (" in str(raised.value)


def test_left_out_they_are_recorded_and_the_good_ones_learnt_from(mixed: Path) -> None:
    found = load_data(small(str(mixed), skip_bad=True, validation=0))
    assert {Path(picture.name).name for picture in found.pictures} == {
        *(f"{number}.png" for number in range(6)),
        *("a.jpg", "b.webp", "c.tif", "d.bmp", "e.ppm", "cmyk.jpg"),
    }
    assert found.selection.bad.keys() == {str(mixed / name) for name in BAD}
    assert found.selection.partners == {}


def test_of_a_pair_both_go_and_the_partner_is_named(tmp_path: Path, pairs: str) -> None:
    folder = tmp_path / "pairs"
    cut(folder / "input/12.png")
    (folder / "target/14.png").write_bytes(b"")
    store(folder / "input/15.png", scene(15)[:50, :70])
    told = r"input/12\.png \(it is cut off or damaged; with it goes target/12\.png\)"
    with pytest.raises(BadFilesError, match=told) as raised:
        load_data(small(pairs))
    assert "target/14.png (it is empty; with it goes input/14.png)" in str(raised.value)
    assert "input/15.png (it differs in size from its partner, 70×50 against 70×60;" in str(raised.value)
    found = load_data(small(pairs, skip_bad=True, validation=0))
    assert sorted(Path(picture.name).stem for picture in found.pictures) == ["10", "11", "13", "16", "17"]
    assert found.selection.partners == {
        str(folder / "target/12.png"): str(folder / "input/12.png"),
        str(folder / "input/14.png"): str(folder / "target/14.png"),
        str(folder / "target/15.png"): str(folder / "input/15.png"),
    }


def test_a_background_of_several_rains_stays_until_all_of_them_are_bad(tmp_path: Path) -> None:
    for name in ("1", "2"):
        clean = store(tmp_path / f"set/ground_truth/{name}.png", scene(int(name))[:60, :70])
        for rain in (1, 2, 3):
            store(tmp_path / f"set/rainy_image/{name}_{rain}.png", clean)
    cut(tmp_path / "set/rainy_image/1_2.png")
    (tmp_path / "set/ground_truth/2.png").write_bytes(b"")
    options = small(str(tmp_path / "set"), skip_bad=True, validation=0)
    found = load_data(options)
    assert [Path(picture.name).name for picture in found.pictures] == ["1_1.png", "1_3.png"]
    assert {Path(name).name for name in found.selection.partners} == {"2_1.png", "2_2.png", "2_3.png"}
    with pytest.raises(BadFilesError, match=r"with it go 3 partners, such as rainy_image/2_1\.png"):
        load_data(small(str(tmp_path / "set")))


@pytest.mark.parametrize("clean_side", [None, "right"])
def test_side_by_side_pictures_with_bad_ones_among_those_that_tell_the_layout(
    tmp_path: Path, clean_side: str | None
) -> None:
    for number in range(6):
        picture = np.minimum(scene(60 + number)[:60, :70], 200)
        rain = (np.random.default_rng(number).random(picture.shape[:2]) < 0.1)[..., None] * np.uint8(50)
        store(tmp_path / f"both/{number}.png", np.hstack([picture + rain, picture]))
    for number in (0, 3):
        cut(tmp_path / f"both/{number}.png")
    options = small(str(tmp_path / "both"), clean_side=clean_side, validation=0)
    with pytest.raises(BadFilesError, match="2 files cannot be learnt from"):
        load_data(options)
    found = load_data(small(str(tmp_path / "both"), clean_side=clean_side, validation=0, skip_bad=True))
    assert [Path(picture.name).stem for picture in found.pictures] == ["1", "2", "4", "5"]
    assert all(picture.rainy is not None and picture.rainy.mean() > picture.clean.mean() for picture in found.pictures)


def test_a_folder_of_bad_files_alone_is_one_error_too(tmp_path: Path, photos: str) -> None:
    spoil(tmp_path / "bad")
    with pytest.raises(BadFilesError, match="4 files"):
        load_data(small(str(tmp_path / "bad")))
    with pytest.raises(BadFilesError, match="4 files"):
        load_data(small(photos, str(tmp_path / "bad")))
    assert len(load_data(small(photos, str(tmp_path / "bad"), skip_bad=True, validation=0)).pictures) == 6
    with pytest.raises(DatasetError, match=r"nothing is left: 0 too small .*, 4 that cannot be learnt from"):
        load_data(small(str(tmp_path / "bad"), skip_bad=True))


def test_test_folders_and_layers_are_looked_through_too(tmp_path: Path, photos: str) -> None:
    for name in ("3", "4"):
        for half in ("input", "target"):
            store(tmp_path / f"test/{half}/{name}.png", scene(int(name))[:, ::-1])
    cut(tmp_path / "test/target/3.png")  # its rainy half still shows the background
    store(tmp_path / "layers/a.png", np.full((50, 60, 3), 90, np.uint8))
    (tmp_path / "layers/b.png").write_bytes(b"")
    spoil(Path(photos))
    wanted = {"exclude": (str(tmp_path / "test"),), "layers": str(tmp_path / "layers"), "validation": 0}
    with pytest.raises(BadFilesError, match="6 files cannot be learnt from") as raised:
        load_data(small(photos, **wanted))
    assert "layers/b.png (it is empty)" in str(raised.value)
    assert "target/3.png (it is cut off or damaged; with it goes input/3.png)" in str(raised.value)
    found = load_data(small(photos, skip_bad=True, **wanted))
    assert [Path(name).name for name in found.selection.excluded] == ["3.png", "4.png"]
    assert len(found.selection.bad) == 6
    assert found.layers is not None
    assert len(found.layers) == 1


def test_thousands_are_counted_and_some_named(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(2000):
        (folder / f"{number:04}.jpg").touch()
    with pytest.raises(BadFilesError, match="2000 files cannot be learnt from") as raised:
        load_data(small(str(folder)))
    assert str(raised.value).count("(it is empty)") == MOST_NAMED == 20
    assert "0019.jpg (it is empty); and 1980 more. Mend" in str(raised.value)
    assert len(raised.value.files) == 2000


def test_what_nobody_foresaw_is_the_fault_of_one_file(photos: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class OwnError(Exception):
        pass

    def read(path: Path) -> object:
        if path.name in {"1.png", "4.png"}:
            raise OwnError("codec [x]")
        return read_picture(path)

    read_picture = sources.read_picture
    monkeypatch.setattr(sources, "read_picture", read)
    with pytest.raises(BadFilesError, match=r"2 files .*1\.png \(an unexpected error \(OwnError: codec \[x\]\)"):
        load_data(small(photos))


@pytest.mark.parametrize("more", [{}, {"pack": "p.pack"}, {"threads": 2}], ids=["plain", "pack", "processes"])
def test_a_run_goes_on_with_the_same_pictures_also_when_one_was_mended(
    tmp_path: Path, mixed: Path, more: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = small(str(mixed), skip_bad=True, steps=2, validation=1, evaluate_every=100, **more)
    train(Path("whole"), options, ignore)
    train(Path("parts"), options, ignore, max_minutes=0)
    shutil.copy(mixed / "1.png", mixed / "truncated.png")
    (mixed / "empty.jpg").unlink()
    seen: list[Event] = []
    assert resume(Path("parts"), {}, seen.append) == "done"
    assert_same(stored(Path("parts")), stored(Path("whole")))
    (prepared,) = [event for event in seen if isinstance(event, Prepared)]
    assert prepared.bad is not None
    assert {Path(name).name for name in prepared.bad} == set(BAD)
    assert json.loads(Path("parts/data.json").read_text())["bad"] == prepared.bad


def test_a_pair_of_which_one_was_bad_stays_out_once_it_is_mended(tmp_path: Path, pairs: str) -> None:
    whole = (tmp_path / "pairs/input/12.png").read_bytes()
    cut(tmp_path / "pairs/input/12.png")
    options = small(pairs, skip_bad=True, validation=0, steps=2, evaluate_every=100)
    train(tmp_path / "run", options, ignore, max_minutes=0)
    (tmp_path / "pairs/input/12.png").write_bytes(whole)
    assert resume(tmp_path / "run", {}, ignore) == "done"
    (tmp_path / "pairs/input/12.png").unlink()
    assert resume(tmp_path / "run", {"steps": 3}, ignore) == "done"


def test_a_file_that_broke_since_is_named_where_a_run_goes_on(tmp_path: Path, photos: str) -> None:
    train(tmp_path / "run", small(photos, skip_bad=True, validation=0, steps=2), ignore, max_minutes=0)
    whole = (Path(photos) / "2.png").read_bytes()
    cut(Path(photos) / "2.png")
    with pytest.raises(BadFilesError, match=r"a file that the run began with cannot .* any more: photos/2\.png"):
        resume(tmp_path / "run", {}, ignore)
    (Path(photos) / "2.png").write_bytes(whole)
    assert resume(tmp_path / "run", {"skip_bad": True}, ignore) == "done"  # said again, it changes nothing


def test_a_pack_knows_what_it_left_out(tmp_path: Path, mixed: Path) -> None:
    pack = str(tmp_path / "p.pack")
    with pytest.raises(BadFilesError):
        load_data(small(str(mixed), pack=pack))
    assert not Path(pack).exists()
    made = load_data(small(str(mixed), pack=pack, skip_bad=True, validation=0))
    found = load_data(small(str(mixed), pack=pack, skip_bad=True, validation=0))
    assert found.selection == made.selection
    assert [picture.name for picture in found.pictures] == [picture.name for picture in made.pictures]
    with pytest.raises(BadFilesError, match="4 files"):
        load_data(small(str(mixed), pack=pack))
    shutil.copy(mixed / "1.png", mixed / "truncated.png")
    with pytest.raises(DatasetError, match="have changed since"):
        load_data(small(str(mixed), pack=pack, skip_bad=True))


def test_a_refused_run_leaves_nothing_behind(tmp_path: Path, mixed: Path) -> None:
    run = tmp_path / "runs/first"
    with pytest.raises(BadFilesError):
        train(run, small(str(mixed)), ignore)
    assert not run.parent.exists()
    run.mkdir(parents=True)
    (run / "notes.txt").write_text("mine")
    with pytest.raises(BadFilesError):
        train(run, small(str(mixed)), ignore)
    assert [path.name for path in run.iterdir()] == ["notes.txt"]
    assert train(run, small(str(mixed), skip_bad=True, steps=1), ignore) == "done"
