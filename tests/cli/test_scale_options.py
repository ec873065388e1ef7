"""``--scale`` and ``--skip-dry`` as a user gives them: the installed command, real files, what is told."""

import json
import subprocess

import numpy as np
import pytest
from conftest import command, dpenet
from pictures import camera_jpeg, photo, saved
from PIL import Image

from dpenet_cli import EngineOptions, Precision, load
from dpenet_cli.inference.scale_evidence import FEATURES, RAIN_FEATURES
from dpenet_cli.inference.scale_rule import ScaleRule


@pytest.fixture
def own_weights(tmp_path, tiny_weights):
    """Weights with a rule of their own: `gain` dB with each halving, and rain or none."""

    def make(gain, *, rain):
        path = tmp_path / f"own{gain}{rain}.safetensors"
        path.write_bytes(tiny_weights.read_bytes())
        constant = [0.0] * (len(FEATURES) - 1), [0.0] * (len(RAIN_FEATURES) - 1)
        rule = ScaleRule((gain, *constant[0]), 0.0, (1.0 if rain else -1.0, *constant[1]))
        rule.save(path.with_name(f"{path.stem}.scales.json"))
        return path

    return make


def lines(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_the_size_is_decided_told_and_taken(tmp_path, own_weights):
    picture = photo(200, 300)
    (tmp_path / "a.png").write_bytes(saved(picture, "PNG"))
    weights = own_weights(3.0, rain=True)
    run = ["derain", tmp_path / "a.png", "--weights", weights, "--precision", "fp32", "--json"]
    auto, half, own = (
        dpenet(*run, "-o", tmp_path / f"{number}.png", *more)
        for number, more in enumerate(([], ["--scale", "1/2"], ["--scale", "1"]))
    )
    assert [lines(each)[0]["scale"] for each in (auto, half, own)] == [0.5, 0.5, 1.0]
    results = [np.asarray(Image.open(tmp_path / f"{number}.png")) for number in range(3)]
    assert np.array_equal(results[0], results[1])
    engine = {scale: load(weights, EngineOptions(precision=Precision.FP32, scale=scale)) for scale in (0.5, 1.0)}
    assert np.array_equal(results[1], engine[0.5](picture))
    assert np.array_equal(results[2], engine[1.0](picture))
    told = dpenet(*run[:-1], "-o", tmp_path / "v.png", "-v")
    assert "streaks about 2 times the size that the weights know: looked at 1/2" in told.stderr
    assert "% of the work" in told.stderr


@pytest.mark.parametrize("wrong", ["0", "2", "-1", "1/0", "big", "nan", "0.001", ""])
def test_sizes_that_mean_nothing_are_wrong_usage(tmp_path, wrong):
    (tmp_path / "a.png").write_bytes(saved(photo(), "PNG"))
    result = dpenet("derain", tmp_path / "a.png", "--scale", wrong)
    assert result.returncode == 2
    assert "scale" in result.stderr
    assert "Traceback" not in result.stderr


def test_dry_pictures_are_written_as_asked_and_counted(tmp_path, own_weights):
    source = camera_jpeg(6, pixels=photo(200, 300))
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(source)
    run = ["derain", folder, "--weights", own_weights(-1.0, rain=False), "--json"]
    plain = dpenet(*run, "-o", tmp_path / "kept", "--skip-dry")
    assert plain.returncode == 0, plain.stderr
    outcome, summary = lines(plain)
    assert (outcome["status"], outcome["notices"]) == ("dry", [])
    assert (summary["summary"]["dry"], summary["summary"]["done"]) == (1, 0)
    assert "1 dry" in plain.stderr
    assert (tmp_path / "kept/a.jpg").read_bytes() == source  # nothing was asked for that changes it
    again = lines(dpenet(*run, "-o", tmp_path / "kept", "--skip-dry"))
    assert again[0]["status"] == "skipped"

    dpenet(*run, "-o", tmp_path / "png", "--skip-dry", "--format", "png")
    upright = np.asarray(Image.open(tmp_path / "png/a.png"))
    assert upright.shape[:2] == (300, 200)
    dpenet(*run, "-o", tmp_path / "bare", "--skip-dry", "--strip-metadata")
    bare = Image.open(tmp_path / "bare/a.jpg")
    assert bare.size == (200, 300)
    assert not bare.getexif()

    cleaned = dpenet(*run, "-o", tmp_path / "clean")
    outcome = lines(cleaned)[0]
    assert outcome["status"] == "done"
    assert any("no rain found" in notice for notice in outcome["notices"])
    assert "no rain found" in cleaned.stderr


def test_a_pipe_takes_both_options(tmp_path, own_weights):
    picture = saved(photo(200, 300), "PNG")
    run = [command(), "derain", "-", "--weights", str(own_weights(3.0, rain=False))]
    scaled = subprocess.run([*run, "--scale", "0.5", "-q"], input=picture, capture_output=True, check=True)
    (tmp_path / "half.png").write_bytes(scaled.stdout)
    dry = subprocess.run([*run, "--skip-dry"], input=picture, capture_output=True, check=True)
    (tmp_path / "dry.png").write_bytes(dry.stdout)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "dry.png")), photo(200, 300))
    assert not np.array_equal(np.asarray(Image.open(tmp_path / "half.png")), photo(200, 300))
    assert b"no rain found" in dry.stderr
