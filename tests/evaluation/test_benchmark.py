"""Scores on pairs: sets by name, folders, the demo; what is found before the work; the loop over sets and methods."""

import os
from pathlib import Path

import numpy as np
import pytest
from conftest import make_set, store, textured
from pictures import deep_png, photo
from PIL import Image

from dpenet_cli.errors import DatasetError
from dpenet_cli.evaluation.benchmark import BestAndWorst, Method, score_set, score_sets
from dpenet_cli.evaluation.demo import demo_names, demo_pair
from dpenet_cli.evaluation.methods import method_names, network_cost
from dpenet_cli.evaluation.metrics import score
from dpenet_cli.evaluation.pair_sets import demo_set, folder_set, named_set
from dpenet_cli.evaluation.reported_scores import reported_on
from dpenet_cli.evaluation.set_folders import data_roots
from dpenet_cli.evaluation.test_sets import BENCHMARK_SETS, find_test_set
from dpenet_cli.network.model import DPENet, DPENetConfig
from dpenet_cli.options import Protocol

DATA = os.environ.get("DPENET_TEST_DATA")


def test_a_set_is_found_by_name_and_says_how_much_of_it_is_there(data_root, monkeypatch, tmp_path):
    found = named_set("Rain100L", data_root, partial=True)
    assert (found.coverage, [pair.name for pair in found.pairs]) == ("3 of 100 pairs", ["0", "1", "2"])
    with pytest.raises(DatasetError, match=r"3 pairs where Rain100L.*has 100.*--allow-partial"):
        named_set("rain100l", data_root)
    monkeypatch.setenv("DPENET_DATA", str(data_root))
    assert named_set("rain100l", partial=True).coverage == "3 of 100 pairs"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert data_roots(tmp_path) == [tmp_path, data_root, tmp_path / "data/dpenet"]


def test_a_set_that_is_not_there_says_where_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("DPENET_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(DatasetError) as caught:
        named_set("test100", tmp_path)
    text = str(caught.value)
    for part in (
        str(tmp_path),
        str(tmp_path / "elsewhere"),
        "ID-CGAN",
        "input/1.png + target/1.png",
        "--data-root",
    ):
        assert part in text
    with pytest.raises(DatasetError, match="no set has that name"):
        find_test_set("rain1000l")


def test_two_folders_of_one_name_are_not_guessed_between(data_root):
    make_set(data_root / "other/rain100L")
    with pytest.raises(DatasetError, match="two folders could be it"):
        named_set("rain100l", data_root, partial=True)


@pytest.mark.parametrize(
    ("name", "rainy", "clean"),
    [
        ("rain100l", "Rain100L/rainy/rain-{:03}.png", "Rain100L/norain-{:03}.png"),
        ("rain1400", "DDN-Data/testing/rainy_image/{}_1.jpg", "DDN-Data/testing/ground_truth/{}.jpg"),
        ("spa-data", "SPA-Data/real_test_1000/rain/{:03}.png", "SPA-Data/real_test_1000/gt/{:03}gt.png"),
        ("test100", "Derain/test/Test100/input/{}.png", "Derain/test/Test100/target/{}.png"),
    ],
)
def test_layouts_in_circulation(tmp_path, name, rainy, clean):
    for number in range(2):
        for pattern in (rainy, clean):
            store(tmp_path / pattern.format(number), textured(number, 16, 16))
    assert len(named_set(name, tmp_path, partial=True).pairs) == 2


def test_what_cannot_be_scored_is_found_before_the_work_and_listed(data_root, tmp_path):
    folder = data_root / "Rain_100L"
    store(folder / "target/0.png", textured(0, 40, 50))
    store(folder / "input/lonely.png", textured(0, 40, 48))
    (folder / "input/2.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"no partner: input/lonely\.png"):
        folder_set(folder / "input", folder / "target")
    found = folder_set(folder / "input", folder / "target", partial=True)
    assert [pair.name for pair in found.pairs] == ["1"]
    assert found.coverage == "1 of 4 pairs"
    assert [text.split()[0] for text in found.left_out] == ["input/lonely.png:", "0.png", "2.png"]
    (folder / "input/lonely.png").unlink()
    with pytest.raises(
        DatasetError, match=r"2 of 3 pairs cannot be scored: 0\.png and 0\.png differ.*2\.png cannot be"
    ):
        folder_set(folder / "input", folder / "target")
    for name in ("a/1.png", "b/1.png"):
        store(tmp_path / name, textured(0, 10, 40))
    with pytest.raises(DatasetError, match="smaller than SSIM's window"):
        folder_set(tmp_path / "a", tmp_path / "b")


def test_what_is_deeper_than_8_bits_is_found_before_the_work(data_root):
    folder = data_root / "Rain_100L"
    (folder / "target/1.png").write_bytes(deep_png(photo(40, 48, deep=True)))
    with pytest.raises(DatasetError, match=r"1 of 3 pairs cannot be scored: 1\.png has 16 bits a channel"):
        folder_set(folder / "input", folder / "target")
    found = folder_set(folder / "input", folder / "target", partial=True)
    assert [pair.name for pair in found.pairs] == ["0", "2"]


@pytest.mark.parametrize("ending", ["webp", "tif", "bmp"])
def test_pairs_of_other_formats_are_scored(data_root, ending):
    folder = data_root / "Rain_100L"
    rainy, clean = folder_set(folder / "input", folder / "target").pairs[0].load()
    for path in [*folder.glob("*/*.png")]:
        Image.open(path).save(path.with_suffix(f".{ending}"), **({"lossless": True} if ending == "webp" else {}))
        path.unlink()
    again = folder_set(folder / "input", folder / "target").pairs[0].load()
    assert np.array_equal(again[0], rainy)
    assert np.array_equal(again[1], clean)


@pytest.mark.parametrize(("rainy", "clean"), [("lq", "clean"), ("rain", "norain"), ("rainy_images", "ground_truths")])
def test_a_set_within_its_folder_is_found_whatever_its_folders_are_called(tmp_path, rainy, clean):
    for part, colour in ("train", 9), ("test", 200):
        for side in (rainy, clean):
            store(tmp_path / f"Rain100L/{part}/{side}/1.png", np.full((20, 20, 3), colour, np.uint8))
    (pair,) = named_set("rain100l", tmp_path, partial=True).pairs
    assert pair.load()[0].max() == 200
    store(tmp_path / f"Rain100L/{rainy}/1.png", np.full((20, 20, 3), 77, np.uint8))
    store(tmp_path / f"Rain100L/{clean}/1.png", np.full((20, 20, 3), 77, np.uint8))
    (pair,) = named_set("rain100l", tmp_path, partial=True).pairs
    assert pair.load()[0].max() == 77


def test_scores_are_of_the_pixels_that_a_user_would_save(data_root):
    found = named_set("rain100l", data_root, partial=True)
    scored = list(score_set(found, lambda rainy: rainy // 2, Protocol.RGB))
    for pair, images in zip(found.pairs, scored, strict=True):
        rainy, clean = pair.load()
        assert images.score.before == score(rainy, clean, Protocol.RGB)
        assert images.score.after == score(rainy // 2, clean, Protocol.RGB)
        assert np.array_equal(images.restored, rainy // 2)
    shown = BestAndWorst(2)
    for images in score_set(found, np.copy, Protocol.Y_UINT8):
        shown.add(images)
    assert [images.score.name for images in shown.worst] == ["2", "1"]
    assert [images.score.name for images in shown.best] == ["0", "1"]


def test_the_cost_is_the_papers():
    assert network_cost(DPENet(DPENetConfig())) == (647_328, 647_232)
    assert network_cost(DPENet(DPENetConfig(n_ddrb=5))).parameters == 370_848


def test_the_demo_is_the_same_every_time_and_needs_no_file():
    assert demo_set().coverage == f"{len(demo_names())} pairs"
    for name in demo_names():
        rainy, clean = demo_pair(name)
        again, _ = demo_pair(name)
        assert np.array_equal(rainy, again)
        assert rainy.shape == clean.shape
        assert 12 < score(rainy, clean).psnr < 35


def test_what_others_published_is_read_as_it_stands():
    rows = {(row.method, row.source.split()[0]): row for row in reported_on("rain100l")}
    assert rows["PReNet", "csdwren/PReNet"].psnr == 37.48
    assert (rows["DPENet", "wybchd/DPENet,"].psnr, rows["DPENet", "wybchd/DPENet,"].protocol) == (39.07, "y-uint8")
    assert (rows["Restormer", "open-mmlab/mmagic"].ssim, rows["Restormer", "open-mmlab/mmagic"].training) == (
        0.979,
        "Rain13K",
    )
    assert rows["ClearView NAFNet", "dronefreak/clearview"].protocol == "RGB"
    assert {row.dataset for name in BENCHMARK_SETS for row in reported_on(name)} <= set(BENCHMARK_SETS)
    assert reported_on("demo") == []


@pytest.mark.skipif(not DATA, reason="DPENET_TEST_DATA is not set")
@pytest.mark.parametrize(("name", "pairs"), [("rain100l", 20), ("rain100h", 20), ("rain800", 19), ("rain1400", 14)])
def test_the_evaluation_subsets_are_found(name, pairs):
    assert len(named_set(name, Path(str(DATA)) / "eval", partial=True).pairs) == pairs


def test_every_method_is_scored_on_every_set_and_callbacks_see_each_picture(data_root):
    folder = data_root / "Rain_100L"
    sets = [named_set("rain100l", data_root, partial=True), folder_set(folder / "input", folder / "target")]
    methods = [Method("given"), Method("half", lambda rainy: rainy // 2)]
    seen = []
    results = score_sets(
        sets,
        methods,
        Protocol.RGB,
        on_start=lambda test_set, method: seen.append((test_set.name, method.name)),
        on_scored=[lambda test_set, method, images: seen.append(images.score.name)],
    )
    expected = [(test_set.name, method.name) for test_set in sets for method in methods]
    assert [(result.test_set.name, result.method) for result in results] == expected
    assert seen == [each for start in expected for each in (start, "0", "1", "2")]
    given, half, *_ = results
    assert (given.before, given.gain) == (None, None)
    assert half.gain == pytest.approx(half.after.psnr - given.after.psnr)


def test_weights_are_named_by_their_stem_where_that_is_unique():
    assert method_names(["general", "a/x.pth", "a/x.pth"]) == {"general": "general", "x": "a/x.pth"}
    assert method_names(["a/x.pth", "b/x.pth"]) == {"a/x.pth": "a/x.pth", "b/x.pth": "b/x.pth"}


def test_folders_of_systems_hold_no_set(tmp_path):
    make_set(tmp_path / "#recycle/Rain100L")
    with pytest.raises(DatasetError, match="not on this machine"):
        named_set("rain100l", tmp_path, partial=True)
    make_set(tmp_path / "recycle/Rain100L")
    assert len(named_set("rain100l", tmp_path, partial=True).pairs) == 3
