"""Lines for programs: their version, what cleaned each input, how far a video is, sizes of what is skipped; and -q."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from clips import clip
from conftest import dpenet
from pictures import photo
from PIL import Image

from dpenet_cli.batch.outcomes import Outcome, Status
from dpenet_cli.batch.source_sizes import with_size
from dpenet_cli.cli import json_lines
from dpenet_cli.cli.batch_report import BatchReport
from dpenet_cli.cli.json_lines import MadeWith, Pace, outcome_fields, progress_fields
from dpenet_cli.guide.pages import read_page
from dpenet_cli.images.header_size import header_size
from dpenet_cli.images.reading import read
from dpenet_cli.network.weights_files import digest_of
from dpenet_cli.video import header_size as of_videos

OWN = ("--backend", "torch", "--precision", "fp32", "--device", "cpu")


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_pictures_tell_what_cleaned_them_and_how_large_they_are_when_skipped(tmp_path, tiny_weights):
    Image.fromarray(photo()).save(tmp_path / "a.jpg", exif=turned())
    run = ["derain", "a.jpg", "-o", "out/", "--weights", tiny_weights, *OWN, "--report", "r.jsonl"]
    first = dpenet(*run, "--json", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    done, summary = lines(first.stdout)
    assert (done["schema"], done["event"], summary["schema"], summary["event"]) == (1, "result", 1, "summary")
    assert done["weights"] == {"name": str(tiny_weights), "sha256": digest_of(tiny_weights)}
    assert (done["device"], done["backend"], done["precision"]) == ("cpu", "torch", "fp32")
    again = dpenet(*run, "--json", cwd=tmp_path)
    skipped = lines(again.stdout)[0]
    assert skipped["status"] == "skipped"
    assert (skipped["width"], skipped["height"]) == (done["width"], done["height"])
    assert (skipped["weights"], skipped["device"]) == (None, None)
    rows = lines((tmp_path / "r.jsonl").read_text())
    assert {row["schema"] for row in rows} == {1}
    assert [(row["device"], row["precision"], row["width"]) for row in rows] == [
        ("cpu", "fp32", done["width"]),
        (None, None, done["width"]),
    ]
    assert rows[0]["weights_name"] == str(tiny_weights)


def test_videos_tell_how_far_they_are(tmp_path):
    clip(tmp_path / "a.mp4", frames=12)
    run = ["video", "a.mp4", "--method", "temporal", "--json"]
    first = dpenet(*run, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    *progress, result, summary = lines(first.stdout)
    assert {line["event"] for line in progress} == {"progress"}
    assert {line["schema"] for line in [*progress, result, summary]} == {1}
    last = progress[-1]
    assert (last["input"], last["frame"], last["frames"], last["seconds_left"]) == ("a.mp4", 12, 12, 0)
    assert last["fps"] > 0
    assert (result["frames"], result["encoder"]) == (12, "libx264")
    assert (result["weights"], result["device"], result["precision"]) == (None, None, None)
    skipped = lines(dpenet(*run, cwd=tmp_path).stdout)[0]
    assert (skipped["status"], skipped["width"], skipped["height"]) == ("skipped", 64, 48)


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_quiet_is_quiet_in_a_dry_run_too(more, tmp_path):
    Image.fromarray(photo()).save(tmp_path / "a.jpg")
    assert "planned" in dpenet("derain", "a.jpg", "--dry-run", *more, cwd=tmp_path).stdout
    run = dpenet("derain", "a.jpg", "--dry-run", "-q", *more, cwd=tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    assert bool(run.stdout) == bool(more)


def test_a_detail_is_told_once(capsys):
    with BatchReport(2, verbosity=1) as report:
        for _ in range(5):
            logging.getLogger("dpenet_cli.test").info("not finite: a strip is run again")
            report.detail("seen at 1/2")
    err = capsys.readouterr().err
    assert err.count("not finite") == 1
    assert err.count("seen at 1/2") == 1


def test_the_pace_lets_a_line_through_once_a_second(monkeypatch):
    now = 100.0
    monkeypatch.setattr(json_lines.time, "monotonic", lambda: now)
    pace, let_through = Pace(), []
    for step in range(30):
        now = 100.0 + step / 10
        let_through.append(pace.is_due())
    assert [step for step, due in enumerate(let_through) if due] == [0, 10, 20]


def test_unknown_numbers_are_null():
    assert progress_fields("a", 3, None, 0.0) == {
        "event": "progress",
        "input": "a",
        "frame": 3,
        "frames": None,
        "fps": None,
        "seconds_left": None,
    }
    assert progress_fields("a", 3, 9, 2.0)["seconds_left"] == 3.0


@pytest.mark.parametrize("command", [["weights", "list"], ["weights", "show", "general"], ["doctor"]])
def test_every_command_tells_the_version(command):
    told = json.loads(dpenet(*command, "--json").stdout)
    assert all(each["schema"] == 1 for each in (told if isinstance(told, list) else [told]))


def test_the_page_documents_every_field():
    page = read_page("json").text
    outcome = Outcome("a", "b", Status.DONE, None, (), (1, 1), 1.0, {"temporal": 1.0}, 0.5, frames=1, used={})
    fields = {*outcome_fields(outcome, MadeWith("a", "b")), *progress_fields("a", 1, 2, 3.0), "schema", "summary"}
    for name in fields:
        assert f"`{name}`" in page, name


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    exif[0x010E] = "x" * 5000  # longer than what is read at first
    return exif.tobytes()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF"])
@pytest.mark.parametrize("exif", [b"", "turned"])
def test_the_head_of_a_file_tells_its_size(kind, exif, tmp_path):
    path = tmp_path / "a"
    image = Image.fromarray(np.ascontiguousarray(photo()[:40]))
    more = {"exif": turned() if exif else b""} if kind in {"JPEG", "PNG", "WEBP", "AVIF"} else {}
    if kind == "TIFF" and exif:
        more = {"tiffinfo": {274: 6}}
    image.save(path, kind, **more)
    pixels = read(path).pixels
    assert header_size(path) == (pixels.shape[1], pixels.shape[0])


def test_heic_too(tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="the extra `heic` is not installed")
    path = tmp_path / "a.heic"
    heif.from_pillow(Image.fromarray(photo())).save(path)
    pixels = read(path).pixels
    assert header_size(path) == (pixels.shape[1], pixels.shape[0])


def test_words_that_look_like_a_size_are_none(tmp_path):
    """The boxes of AVIF are gone through, so bytes of other parts say nothing."""
    exif = Image.Exif()
    exif[0x010E] = "a street"
    block = exif.tobytes() + b"ispe" + bytes(4) + (60_000).to_bytes(4, "big") * 2 + b"irot\1"
    Image.fromarray(photo()).save(tmp_path / "a.avif", "AVIF", exif=block)
    assert block in (tmp_path / "a.avif").read_bytes() or block[6:] in (tmp_path / "a.avif").read_bytes()
    assert header_size(tmp_path / "a.avif") == photo().shape[1::-1]


def test_the_main_picture_of_several_tells_its_size(tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="the extra `heic` is not installed")
    file = heif.from_pillow(Image.fromarray(photo()))
    file.add_from_pillow(Image.fromarray(np.tile(photo(), (2, 2, 1))))
    file.save(tmp_path / "a.heic", primary_index=0)
    assert header_size(tmp_path / "a.heic") == photo().shape[1::-1]
    file.save(tmp_path / "a.heic", primary_index=1)
    assert header_size(tmp_path / "a.heic") == (2 * photo().shape[1], 2 * photo().shape[0])


def test_what_tells_no_size_has_none(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "b.png").write_bytes(b"any")
    (tmp_path / "c.mp4").write_bytes(b"any")
    for name in ("a.jpg", "b.png", "c.mp4", "gone.jpg"):
        path = str(tmp_path / name)
        assert with_size(Outcome(path, None, Status.SKIPPED)).size is None
    outcome = Outcome("s3://bucket/a.jpg", None, Status.SKIPPED)
    assert with_size(outcome) is outcome
    assert of_videos.header_size(Path(path)) is None
    assert header_size(tmp_path / "gone.jpg") is None
