"""`dpenet benchmark`: sets, folders, results of other methods; tables, CSV, JSON, the page and saved pictures."""

import csv
import json
import signal
import subprocess

import numpy as np
import pytest
from conftest import command, dpenet, make_clip, store
from PIL import Image

from dpenet_cli.evaluation.metrics import mean_score, score
from dpenet_cli.options import VideoMethod


def test_the_command_scores_side_by_side_and_saves(data_root, tiny_weights, tmp_path):
    other = tmp_path / "other.safetensors"
    other.write_bytes(tiny_weights.read_bytes())
    out = tmp_path / "out"
    arguments = ["--dataset", "rain100l", "--data-root", data_root, "--allow-partial", "--weights", tiny_weights]
    run = dpenet("benchmark", *arguments, "--weights", other, "--csv", out / "s.csv", "--save", out)
    assert run.returncode == 0, run.stderr
    for part in ("3 of 100 pairs", "protocol y-uint8", "fp32", "rainy input", "tiny", "other", "csdwren/PReNet README"):
        assert part in run.stdout.replace("\n", " "), part
    with (out / "s.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["picture"]) for row in rows] == [(m, p) for m in ("tiny", "other") for p in "012"]
    saved = np.asarray(Image.open(out / "rain100l/tiny/1.png"))
    clean = np.asarray(Image.open(data_root / "Rain_100L/target/1.png"))
    assert float(rows[1]["psnr"]) == pytest.approx(score(saved, clean).psnr, abs=1e-5)


def test_results_of_another_method_and_identical_pictures(data_root):
    folder = data_root / "Rain_100L"
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
        (["--dataset", "ntu", "--dataset", "demo"], "Run the command twice"),
        (["--dataset", "ntu", "--frames"], "says itself what it holds"),
        (["--dataset", "ntu", "--target", "."], "brings its own"),
        (["--dataset", "demo", "--method", "network"], "pictures are to be scored"),
        (["--input", ".", "--target", ".", "--method", "auto"], "--frames with two folders"),
        (["--results", ".", "--target", ".", "--frames", "--method", "auto"], "frames that are there already"),
        (["--dataset", "ntu", "--method", "temporal", "--weights", "general"], "takes no network"),
        (["--speed", "--method", "temporal"], "scores none"),
        (["--speed", "--dry", "."], "scores none"),
        (["--structure"], "Give --dry DIR"),
        (["--structure", "--dataset", "demo"], "Give --dry DIR"),
        (["--dry", ".", "--dataset", "demo"], "their own ground truths"),
        (["--dry", ".", "--target", "."], "their own ground truths"),
        (["--dry", ".", "--scale", "1/2"], "network alone"),
        (["--dataset", "ntu", "--scale", "1/2"], "does not go with clips"),
        (["--results", ".", "--target", ".", "--scale", "auto"], "does not go with --results"),
        (["--speed", "--scale", "auto"], "does not go with --speed"),
        (["--dry", "."], "no pictures lie in it"),
        (["--dataset", "ntu", "--method", "median"], "'median'"),
    ],
)
def test_wrong_usage_says_what_to_do(arguments, why, tmp_path):
    run = dpenet("benchmark", *arguments, cwd=tmp_path)
    assert run.returncode == 2
    assert why in run.stderr


def test_dry_pictures_are_scored_with_and_without_structure(data_root, tiny_weights, tmp_path):
    folder = data_root / "Rain_100L/target"
    run = ["benchmark", "--dry", folder, "--weights", tiny_weights]
    table = dpenet(*run, "--report", tmp_path / "page.html", "--save", tmp_path / "out")
    assert table.returncode == 0, table.stderr
    for part in ("3 pictures, each against itself", "dry dB", "worst dB", "tiny"):
        assert part in table.stdout
    for part in ("rainy input", "gain dB"):
        assert part not in table.stdout
    assert len(list((tmp_path / "out").rglob("*.png"))) == 3
    assert "Rain_100L/target" in (tmp_path / "page.html").read_text(encoding="utf-8")
    fields = json.loads(dpenet(*run, "--structure", "--json", "--csv", tmp_path / "s.csv").stdout)["results"][0]
    assert fields["dataset"] == "Rain_100L/target with structure"
    assert fields["input"] is None
    psnrs = {row["name"]: row["restored"]["psnr"] for row in fields["pictures"]}
    assert fields["worst"]["psnr"] == min(psnrs.values()) == psnrs[fields["worst"]["name"]]
    with (tmp_path / "s.csv").open(newline="") as file:
        assert [float(row["psnr"]) for row in csv.DictReader(file)] == pytest.approx(list(psnrs.values()), abs=1e-5)


def test_clips_are_scored_side_by_side_and_saved(tiny_weights, tmp_path):
    make_clip(tmp_path / "sets/NTU-a1")
    make_clip(tmp_path / "sets/NTU-b1", count=2)
    (tmp_path / "sets/ntu-real").mkdir()
    out = tmp_path / "out"
    arguments = ["benchmark", "--dataset", "NTU", "--data-root", tmp_path / "sets", "--weights", tiny_weights]
    arguments += [word for name in VideoMethod for word in ("--method", name)]
    run = dpenet(*arguments, "--csv", out / "s.csv", "--save", out, "--report", out / "page.html")
    assert run.returncode == 0, run.stderr
    for part in ("2 clips, 6 frames", "truth", "rainy input", "tiny (network)", "mean over 2 clips", "RainMamba"):
        assert part in run.stdout, part
    assert "left out  ntu-real: no input/ and target/ with frames" in run.stdout
    assert "Less flicker than the truth is blur" in run.stdout
    assert "tiny (network) on ntu: 6 frames" in run.stderr
    with (out / "s.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    frames = [f"NTU-a1/{number}" for number in (8, 9, 10, 11)] + ["NTU-b1/8", "NTU-b1/9"]
    methods = ("tiny", "temporal", "tiny (network)")
    assert [(row["method"], row["picture"]) for row in rows] == [(m, frame) for m in methods for frame in frames]
    for row in rows:
        saved = np.asarray(Image.open(out / "ntu" / row["method"] / f"{row['picture']}.png"))
        clip, _, number = row["picture"].partition("/")
        truth = np.asarray(Image.open(tmp_path / "sets" / clip / f"target/{number}.png"))
        assert float(row["psnr"]) == pytest.approx(score(saved, truth).psnr, abs=1e-5)
    assert "around its worst frame" in (out / "page.html").read_text(encoding="utf-8")
    again = dpenet(*arguments, "--save", out)
    assert again.returncode == 2
    assert "exists already" in again.stderr


def test_temporal_loads_no_weights_and_two_folders_are_one_clip(tmp_path):
    make_clip(tmp_path / "a1")
    folders = ["--input", tmp_path / "a1/input", "--target", tmp_path / "a1/target", "--frames"]
    run = dpenet("benchmark", *folders, "--method", "temporal", "--json")
    assert run.returncode == 0, run.stderr
    (result,) = json.loads(run.stdout)["results"]
    assert (result["method"], result["network"], result["clips"][0]["name"]) == ("temporal", None, "a1")
    assert json.loads(run.stdout)["how"] == "no network"
    clip = result["clips"][0]
    assert clip["frames"] == 4
    assert clip["truth"]["flicker"] < clip["input"]["flicker"]
    (tmp_path / "a1/target/11.png").unlink()
    missing = dpenet("benchmark", *folders, "--method", "temporal")
    assert missing.returncode == 2
    assert "have no partner: input/11.png" in missing.stderr
    partial = dpenet("benchmark", *folders, "--method", "temporal", "--allow-partial")
    assert partial.returncode == 0, partial.stderr
    assert "1 clip, 3 of 4 frames" in partial.stdout


def test_another_methods_frames_are_scored_for_flicker_too(tmp_path):
    make_clip(tmp_path / "a1")
    run = dpenet(
        "benchmark", "--results", tmp_path / "a1/input", "--target", tmp_path / "a1/target", "--frames", "--json"
    )
    assert run.returncode == 0, run.stderr
    (clip,) = json.loads(run.stdout)["results"][0]["clips"]
    assert clip["input"] is clip["frames_per_minute"] is None
    assert clip["restored"]["flicker"] > clip["truth"]["flicker"]


def test_an_interrupt_ends_it_with_its_own_code(tmp_path):
    run = [command(), "benchmark", "--dataset", "demo", "--save", str(tmp_path / "out")]
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert "8 pictures" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "interrupted: nothing is reported" in error
    assert not list(tmp_path.rglob(".dpenet-*"))


def test_a_file_that_cannot_be_written_does_not_hide_the_scores(data_root, tmp_path):
    (tmp_path / "file").touch()
    folder = data_root / "Rain_100L"
    arguments = ["--results", folder / "input", "--target", folder / "target", "--csv", tmp_path / "file/s.csv"]
    run = dpenet("benchmark", *arguments)
    assert run.returncode == 1
    assert "protocol y-uint8" in run.stdout
    assert "cannot be written" in run.stderr


def test_files_are_replaced_only_when_asked_and_pictures_never(data_root, tmp_path):
    folder = data_root / "Rain_100L"
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
