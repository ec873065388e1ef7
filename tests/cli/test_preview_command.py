"""``--preview``, ``--frame`` and ``--gallery`` as a user gives them."""

import os
import pty
import re
import subprocess
import sys

import numpy as np
import pytest
from clips import dry_and_rainy, filmed
from conftest import command, dpenet
from PIL import Image
from typer.testing import CliRunner

from dpenet_cli.cli.app import app
from dpenet_cli.errors import DpenetError

OWN = ["--precision", "fp32", "--threads", "1"]


@pytest.fixture
def photo(tmp_path, rainy_photo):
    path = tmp_path / "IMG_1.jpg"
    Image.fromarray(rainy_photo).save(path)
    return path


def test_a_preview_of_a_picture(photo, tiny_weights):
    look = ["derain", photo, "--preview", "--weights", tiny_weights, *OWN]
    result = dpenet(*look, "--strength", "0.5,1", "--region", "25%,0,60,40")
    assert result.returncode == 0, result.stderr
    target = photo.with_name("IMG_1-preview.png")
    assert Image.open(target).size == (3 * 60 + 2 * 8, 40 + 30)
    assert (result.stdout, result.stderr.count("\n")) == ("", 1)
    assert "60×40 of 120×90 pixels, --region 30,0,60,40" in result.stderr
    again = dpenet(*look, "-q")
    assert (again.returncode, again.stderr, Image.open(target).size) == (0, "", (2 * 120 + 8, 90 + 30))
    target.write_bytes(b"mine")
    refused = dpenet(*look)
    assert (refused.returncode, target.read_bytes()) == (2, b"mine")
    assert "--overwrite" in refused.stderr
    assert sorted(path.name for path in photo.parent.iterdir()) == ["IMG_1-preview.png", "IMG_1.jpg"]


def test_a_frame_of_a_video(tmp_path):
    frames = dry_and_rainy(30)[1]
    source = filmed(tmp_path / "dashcam.mp4", frames, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "12")
    result = dpenet("video", source, "--frame", "0:00.8", "--method", "temporal")
    assert result.returncode == 0, result.stderr
    picture = np.asarray(Image.open(tmp_path / "dashcam-preview-0m0.8s.png"))
    assert picture.shape == (30 + 96, 128 + 8 + 128, 3)
    before, after = picture[30:, :128].astype(int), picture[30:, 136:].astype(int)
    assert np.abs(before - frames[20]).mean() < 12  # its colours are coarse
    assert 0.5 < before.mean() - after.mean() < 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dashcam-preview-0m0.8s.png", "dashcam.mp4"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["derain", "a.jpg", "--strength", "0.4,1"], "Give one, or look at them with --preview"),
        (["derain", "a.jpg", "--strength", "0.4;1"], "between 0 and 1"),
        (["derain", "a.jpg", "--region", "all"], "Give it with --preview"),
        (["derain", ".", "--preview"], "it is a folder"),
        (["derain", "a.jpg", "b.jpg", "--preview"], "a preview is of one picture"),
        (["derain", "--preview"], "a preview is of one picture"),
        (["derain", "none.jpg", "--preview"], "no such file"),
        (["derain", "a.jpg", "--preview", "--json", "--compare"], "Leave out --compare, --json"),
        (["derain", "a.jpg", "--preview", "--region", "1,2,3"], "X,Y,W,H"),
        (["derain", "a.jpg", "--preview", "-o", "look.jpg"], "a preview is a PNG"),
        (["derain", "a.jpg", "--gallery", "page.jpg"], "ends in .html"),
        (["derain", "-", "--gallery", "page.html"], "a pipe goes with"),
        (["video", "a.mp4", "--frame", "1:99"], "it is no time"),
        (["video", "a.mp4", "--frame", "1:23", "--preview", "5"], "Leave out --preview"),
        (["video", "a.mp4", "--region", "all"], "Give it with --frame"),
    ],
)
def test_wrong_usage_is_told_before_any_work(arguments, why, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.jpg", "a.mp4"):
        (tmp_path / name).touch()
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, DpenetError), result.output
    assert why in f"{result.exception.what}: {result.exception.why}. {result.exception.next_step}"


def test_a_bad_picture_is_its_own_failure(tmp_path, tiny_weights):
    (tmp_path / "a.jpg").write_text("no picture")
    result = dpenet("derain", tmp_path / "a.jpg", "--preview", "--weights", tiny_weights)
    assert result.returncode == 1
    assert "its content is not a picture" in result.stderr


def test_a_gallery_of_a_run_and_of_the_next(photo, tiny_weights):
    folder = photo.parent
    (folder / "bad.jpg").write_text("no picture")
    run = ["derain", folder, "-o", folder / "clean", "--weights", tiny_weights, *OWN, "--gallery", folder / "page.html"]
    first = dpenet(*run)
    assert first.returncode == 1
    assert "before and after: " in first.stderr
    html = (folder / "page.html").read_text(encoding="utf-8")
    assert html.count("<figure") == 1
    assert "bad.jpg: its content is not a picture" in html
    assert dpenet(*run, "-q").returncode == 1
    assert (folder / "page.html").read_text(encoding="utf-8") == html
    (folder / "page.html").write_text("mine")
    refused = dpenet(*run)
    assert (refused.returncode, (folder / "page.html").read_text()) == (2, "mine")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_on_a_terminal_it_is_told_what_is_loaded(photo, tiny_weights):
    ours, theirs = pty.openpty()
    arguments = [command(), "derain", str(photo), "--preview", "--weights", str(tiny_weights), *OWN]
    run = subprocess.Popen(arguments, stderr=theirs, stdout=subprocess.DEVNULL, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:  # Linux's way to say that the other end is closed
        pass
    assert run.wait() == 0
    assert "loading the network" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
