"""Photographs and videos timed from file to file."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from conftest import dpenet

from dpenet_cli.errors import DpenetError
from dpenet_cli.evaluation import end_to_end
from dpenet_cli.evaluation.end_to_end import EndToEndOptions
from dpenet_cli.evaluation.speed import Size
from dpenet_cli.options import EngineOptions, Precision

ENGINE = EngineOptions("cpu", Precision.FP32)


@pytest.fixture
def temporary_folder(tmp_path, monkeypatch):
    """Where temporary files go meanwhile."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_photographs_go_from_file_to_file(tiny_weights, temporary_folder):
    reference, ours = end_to_end.time_photographs(EndToEndOptions(str(tiny_weights), ENGINE, Size(96, 64), 3))
    assert (reference.ratio, ours.ratio) == (1.0, pytest.approx(reference.seconds / ours.seconds))
    assert (reference.pictures, ours.pictures) == (1, 3)
    for timing in (reference, ours):
        assert set(timing.parts) == {"network", "decoding alone", "encoding alone"}
        assert 0 < timing.parts["network"] <= timing.seconds
        assert timing.cpu_share > 0
    assert list(temporary_folder.iterdir()) == []


def test_the_network_of_the_reference_is_scaled_by_the_pixels(tiny_weights, temporary_folder, monkeypatch):
    monkeypatch.setattr(end_to_end, "_CROP", 16)
    monkeypatch.setattr(end_to_end, "_seconds", lambda work: (work(), 0.5)[1])
    reference, _ = end_to_end.time_photographs(EndToEndOptions(str(tiny_weights), ENGINE, Size(64, 32), 1))
    assert reference.parts["network"] == 0.5 * 64 * 32 / 16**2
    assert reference.seconds == pytest.approx(reference.parts["network"] + 1.0)
    assert "16×16" in reference.method


def test_a_video_goes_from_file_to_file(tiny_weights, temporary_folder):
    (timing,) = end_to_end.time_video(EndToEndOptions(str(tiny_weights), ENGINE, Size(96, 64), 7))
    parts = {"looking at every frame", "network", "waiting for frames", "waiting for the encoder"}
    assert set(timing.parts) == parts
    assert sum(timing.parts.values()) <= timing.seconds  # the rest is putting the file together
    assert min(timing.parts.values()) >= 0
    assert timing.ratio is None
    assert list(temporary_folder.iterdir()) == []


def test_a_failure_is_raised(tiny_weights, temporary_folder, monkeypatch):
    whole = end_to_end.pictures.run

    def unreadable(jobs, clean, options):
        jobs[0].source.write_bytes(b"no picture")
        return whole(jobs, clean, options)

    monkeypatch.setattr(end_to_end.pictures, "run", unreadable)
    with pytest.raises(DpenetError):
        list(end_to_end.time_photographs(EndToEndOptions(str(tiny_weights), ENGINE, Size(40, 30), 1)))
    assert list(temporary_folder.iterdir()) == []


def test_made_pictures_have_any_size_and_a_grain():
    picture = end_to_end._synthetic_picture(Size(301, 97))
    assert (picture.shape, picture.dtype) == ((97, 301, 3), np.uint8)
    assert np.diff(picture[:, :20].astype(int), axis=1).std() > 2


def test_the_command(tiny_weights, tmp_path):
    run = ["benchmark", "--speed", "--weights", tiny_weights, "--photo", "48x32", "--film", "64x48", "--repeat", "2"]
    result = dpenet(*run, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    for words in (
        "a JPEG: decode, clean, encode, 48×32",
        "a video, each frame by itself: decode, clean, encode, mux, 64×48",
        "cores busy",
    ):
        assert words in result.stdout
    rows = json.loads(dpenet(*run, "--json").stdout)["journeys"]
    assert [row["pieces"] for row in rows] == [1, 2, 2]
    assert not list(Path(tmp_path).iterdir())


@pytest.mark.parametrize(
    "wrong", [["--photo", "48x32"], ["--speed", "--photo", "48"], ["--speed", "--film", "9x9", "--size", "9x9"]]
)
def test_wrong_use_is_told(wrong):
    assert dpenet("benchmark", *wrong).returncode == 2
