"""``dpenet train`` as a user runs it: the installed command, clean pictures in, weights that ``derain`` takes out."""

import json

import numpy as np
import pytest
from conftest import dpenet
from PIL import Image

SMALL = ["--steps", "4", "--batch", "2", "--crop", "32", "--validation", "1", "--threads", "1"]


@pytest.fixture
def clean(tmp_path):
    folder = tmp_path / "clean"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for index in range(4):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        coarse.resize((96, 72), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


def test_from_pictures_to_weights_to_a_clean_picture(tmp_path, clean):
    run = tmp_path / "runs/first"
    result = dpenet("train", "--data", clean, "-o", run, "--light", *SMALL)
    assert result.returncode == 0, result.stderr
    assert "done at step 4" in result.stderr
    assert {"best.safetensors", "last.safetensors", "log.jsonl", "grid.png", "curve.png"} <= {
        path.name for path in run.iterdir()
    }
    events = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert events[-1]["event"] == "finished"
    cleaned = dpenet("derain", clean / "0.png", "-o", tmp_path / "out.png", "--weights", run / "best.safetensors")
    assert cleaned.returncode == 0, cleaned.stderr


@pytest.mark.parametrize("name", ["best.safetensors", "log.jsonl"])
def test_a_new_run_replaces_no_files_of_others(tmp_path, clean, name):
    run = tmp_path / "run"
    run.mkdir()
    (run / name).write_bytes(b"mine")
    result = dpenet("train", "--data", clean, "-o", run, "--light", *SMALL)
    assert result.returncode == 2
    assert name in result.stderr
    assert "exists already" in result.stderr
    assert [(path.name, path.read_bytes()) for path in run.iterdir() if path.name != ".lock"] == [(name, b"mine")]


def test_a_run_goes_on_and_wrong_usage_exits_with_two(tmp_path, clean):
    run = tmp_path / "run"
    assert dpenet("train", "--data", clean, "-o", run, "--light", *SMALL).returncode == 0
    again = dpenet("train", "--data", clean, "-o", run, "--light", *SMALL)
    assert again.returncode == 2
    assert "--resume" in again.stderr
    resumed = dpenet("train", "--resume", "-o", run, "--steps", "6", "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout.splitlines()[-1])["step"] == 6
    numbers = [("--learning-rate", "nan"), ("--max-minutes", "nan"), ("--max-minutes", "inf"), ("--mix", "thin=nan")]
    numbers += [("--max-minutes", "-1"), ("--checkpoint-seconds", "-1"), ("--seed", "-1"), ("--evaluate-every", "-1")]
    for option, value in numbers:
        result = dpenet("train", "--data", clean, "-o", tmp_path / "z", option, value)
        assert result.returncode == 2, option
        assert option[2:] in result.stderr
        assert not (tmp_path / "z").exists()
    for wrong in (["-o", tmp_path / "x"], ["--data", tmp_path / "none", "-o", tmp_path / "y"]):
        result = dpenet("train", *wrong)
        assert result.returncode == 2
        assert "Traceback" not in result.stderr
