"""Scores on pairs: sets by name, folders, results of other methods, the demo; tables, CSV, JSON and saved pictures."""

import csv
import json
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import command, dpenet, make_set, store, textured
from pictures import deep_png, photo
from PIL import Image

from dpenet_cli.errors import DatasetError
from dpenet_cli.evaluation.benchmark import BestAndWorst, score_set
from dpenet_cli.evaluation.demo import demo_names, demo_pair
from dpenet_cli.evaluation.methods import network_cost
from dpenet_cli.evaluation.metrics import Protocol, mean_score, score
from dpenet_cli.evaluation.pair_sets import demo_set, folder_set, named_set
from dpenet_cli.evaluation.reported_scores import reported_on
from dpenet_cli.evaluation.test_sets import BENCHMARK_SETS, data_roots, find_test_set
from dpenet_cli.network.model import DPENet, DPENetConfig


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_set(tmp_path / "sets/Rain_100L")
    return tmp_path / "sets"


def test_a_set_is_found_by_name_and_says_how_much_of_it_is_there(root, monkeypatch, tmp_path):
    found = named_set("Rain100L", root, partial=True)
    assert (found.coverage, [pair.name for pair in found.pairs]) == ("3 of 100 pairs", ["0", "1", "2"])
    with pytest.raises(DatasetError, match=r"3 pairs where Rain100L.*has 100.*--allow-partial"):
        named_set("rain100l", root)
    monkeypatch.setenv("DPENET_DATA", str(root))
    assert named_set("rain100l", partial=True).coverage == "3 of 100 pairs"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert data_roots(tmp_path) == [tmp_path, root, tmp_path / "data/dpenet"]


def test_a_set_that_is_not_there_says_where_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("DPENET_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(DatasetError) as caught:
        named_set("test100", tmp_path)
    text = str(caught.value)
    for part in (str(tmp_path), str(tmp_path / "elsewhere"), "ID-CGAN", "input/1.png + target/1.png", "--data-root"):
        assert part in text
    with pytest.raises(DatasetError, match="no set has that name"):
        find_test_set("rain1000l")


def test_two_folders_of_one_name_are_not_guessed_between(root):
    make_set(root / "other/rain100L")
    with pytest.raises(DatasetError, match="two folders could be it"):
        named_set("rain100l", root, partial=True)


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


def test_what_cannot_be_scored_is_found_before_the_work_and_listed(root, tmp_path):
    folder = root / "Rain_100L"
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


def test_what_is_deeper_than_8_bits_is_found_before_the_work(root):
    folder = root / "Rain_100L"
    (folder / "target/1.png").write_bytes(deep_png(photo(40, 48, deep=True)))
    with pytest.raises(DatasetError, match=r"1 of 3 pairs cannot be scored: 1\.png has 16 bits a channel"):
        folder_set(folder / "input", folder / "target")
    found = folder_set(folder / "input", folder / "target", partial=True)
    assert [pair.name for pair in found.pairs] == ["0", "2"]


@pytest.mark.parametrize("ending", ["webp", "tif", "bmp"])
def test_pairs_of_other_formats_are_scored(root, ending):
    folder = root / "Rain_100L"
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


def test_scores_are_of_the_pixels_that_a_user_would_save(root):
    found = named_set("rain100l", root, partial=True)
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
    assert (rows["Restormer", "open-mmlab/mmagic"].ssim, rows["Restormer", "open-mmlab/mmagic"].training) == (
        0.979,
        "Rain13K",
    )
    assert rows["ClearView NAFNet", "dronefreak/clearview"].protocol == "RGB"
    assert {row.dataset for name in BENCHMARK_SETS for row in reported_on(name)} <= set(BENCHMARK_SETS)
    assert reported_on("demo") == []


def test_the_command_scores_side_by_side_and_saves(root, tiny_weights, tmp_path):
    other = tmp_path / "other.safetensors"
    other.write_bytes(tiny_weights.read_bytes())
    out = tmp_path / "out"
    arguments = ["--dataset", "rain100l", "--data-root", root, "--allow-partial", "--weights", tiny_weights]
    run = dpenet("benchmark", *arguments, "--weights", other, "--csv", out / "s.csv", "--save", out)
    assert run.returncode == 0, run.stderr
    for part in ("3 of 100 pairs", "protocol y-uint8", "fp32", "rainy input", "tiny", "other", "csdwren/PReNet README"):
        assert part in run.stdout.replace("\n", " "), part
    with (out / "s.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["picture"]) for row in rows] == [(m, p) for m in ("tiny", "other") for p in "012"]
    saved = np.asarray(Image.open(out / "rain100l/tiny/1.png"))
    clean = np.asarray(Image.open(root / "Rain_100L/target/1.png"))
    assert float(rows[1]["psnr"]) == pytest.approx(score(saved, clean).psnr, abs=1e-5)


def test_results_of_another_method_and_identical_pictures(root):
    folder = root / "Rain_100L"
    store(folder / "input/0.png", np.asarray(Image.open(folder / "target/0.png")))
    arguments = ["benchmark", "--results", folder / "input", "--target", folder / "target"]
    run = dpenet(*arguments, "--json")
    fields = json.loads(run.stdout)["results"][0]
    assert (fields["restored"]["psnr"], fields["restored"]["identical"], fields["pairs"]) == (None, 1, 3)
    pictures = [
        score(*(np.asarray(Image.open(folder / side / f"{n}.png")) for side in ("input", "target"))) for n in range(3)
    ]
    assert fields["restored"]["psnr_of_others"] == pytest.approx(mean_score(pictures[1:]).psnr)
    text = dpenet(*arguments).stdout
    assert "∞" in text
    assert "1 of 3 pictures equal their ground truth" in text


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "nothing to score"),
        (["--dataset", "demo", "--results", "."], "exclude each other"),
        (["--input", "."], "needs ground truths"),
        (["--dataset", "demo", "--target", "."], "brings its own"),
        (["--results", ".", "--target", ".", "--weights", "general"], "Leave one of them out"),
        (["--dataset", "rain13k"], "no set has that name"),
    ],
)
def test_wrong_usage_says_what_to_do(arguments, why, tmp_path):
    run = dpenet("benchmark", *arguments, cwd=tmp_path)
    assert run.returncode == 2
    assert why in run.stderr


def test_an_interrupt_ends_it_with_its_own_code(tmp_path):
    run = [command(), "benchmark", "--dataset", "demo", "--save", str(tmp_path / "out")]
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert "8 pictures" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "interrupted: nothing is reported" in error
    assert not list(tmp_path.rglob(".dpenet-*"))


def test_a_file_that_cannot_be_written_does_not_hide_the_scores(root, tmp_path):
    (tmp_path / "file").touch()
    folder = root / "Rain_100L"
    arguments = ["--results", folder / "input", "--target", folder / "target", "--csv", tmp_path / "file/s.csv"]
    run = dpenet("benchmark", *arguments)
    assert run.returncode == 1
    assert "protocol y-uint8" in run.stdout
    assert "cannot be written" in run.stderr


def test_files_are_replaced_only_when_asked_and_pictures_never(root, tmp_path):
    folder = root / "Rain_100L"
    run = ["benchmark", "--results", folder / "input", "--target", folder / "target"]
    table, page = tmp_path / "s.csv", tmp_path / "page.html"
    saved = tmp_path / "out/Rain_100L-input against Rain_100L-target/Rain_100L-input/0.png"
    assert dpenet(*run, "--csv", table, "--report", page, "--save", tmp_path / "out").returncode == 0
    for path, option in ((table, ["--csv", table]), (page, ["--report", page]), (saved, ["--save", tmp_path / "out"])):
        path.write_bytes(b"mine")
        result = dpenet(*run, *option)
        assert (result.returncode, result.stdout, path.read_bytes()) == (2, "", b"mine")
        assert path.name in result.stderr
        assert "exists already" in result.stderr
        assert "--overwrite" in result.stderr
        assert dpenet(*run, *option, "--overwrite").returncode == 0
        assert path.read_bytes() != b"mine"
    picture = folder / "target/1.png"
    before = picture.read_bytes()
    both = dpenet(*run, "--csv", tmp_path / "new", "--report", tmp_path / "new")
    over = dpenet(*run, "--csv", picture, "--overwrite")
    assert (both.returncode, over.returncode) == (2, 2)
    assert "both --csv and --report" in both.stderr
    assert "it is an input" in over.stderr
    assert picture.read_bytes() == before


DATA = os.environ.get("DPENET_TEST_DATA")


@pytest.mark.skipif(not DATA, reason="DPENET_TEST_DATA is not set")
@pytest.mark.parametrize(("name", "pairs"), [("rain100l", 20), ("rain100h", 20), ("rain800", 19), ("rain1400", 14)])
def test_the_evaluation_subsets_are_found(name, pairs):
    assert len(named_set(name, Path(str(DATA)) / "eval", partial=True).pairs) == pairs
