"""One file never ends a batch, whatever happens to it; a batch that cannot be stored or goes too wrong ends early."""

import errno
import sys

import numpy as np
import pytest
from conftest import as_cleaner
from PIL import Image
from typer.testing import CliRunner

from dpenet_cli.batch import picture_files, pictures, videos
from dpenet_cli.batch.outcomes import Status
from dpenet_cli.batch.pictures import run
from dpenet_cli.batch.planning import plan_pictures, plan_videos
from dpenet_cli.cli.app import app
from dpenet_cli.errors import InputError, UnexpectedError
from dpenet_cli.options import EngineOptions, PictureOptions, VideoOptions


class SurpriseError(Exception):
    """Of a class that no one foresaw."""


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        Image.fromarray(np.full((8, 8, 3), 60 * number, np.uint8)).save(folder / f"{number}.png")
    return folder


def fail_at(function, wanted, error):
    """The function, except that its call with this picture fails."""

    def wrapped(*arguments, **named):
        if wanted(*arguments):
            raise error
        return function(*arguments, **named)

    return wrapped


@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize("place", [0, 2, 3])
@pytest.mark.parametrize("stage", ["read", "clean", "encode", "write_whole"])
@pytest.mark.parametrize("error", [SurpriseError("oops"), ValueError("bad"), MemoryError()])
def test_any_exception_is_its_pictures_own(photos, tmp_path, monkeypatch, caplog, at_once, place, stage, error):
    clean = lambda pixels: pixels  # noqa: E731
    if stage == "clean":
        clean = fail_at(clean, lambda pixels: pixels[0, 0, 0] == 60 * place, error)
    elif stage == "encode":
        wanted = lambda picture, *_: picture.pixels[0, 0, 0] == 60 * place  # noqa: E731
        monkeypatch.setattr(picture_files, stage, fail_at(picture_files.encode, wanted, error))
    else:
        wanted = lambda path, *_: path.name == f"{place}.png"  # noqa: E731
        monkeypatch.setattr(picture_files, stage, fail_at(getattr(picture_files, stage), wanted, error))
    jobs = plan_pictures([str(photos)], tmp_path / "out").jobs
    with caplog.at_level("INFO", "dpenet_cli"):
        outcomes = list(run(jobs, as_cleaner(clean), PictureOptions(at_once=at_once)))
    assert [outcome.status for outcome in outcomes] == [
        Status.FAILED if number == place else Status.DONE for number in range(4)
    ]
    assert len(list((tmp_path / "out").glob("*.png"))) == 3
    told = outcomes[place].error
    assert str(photos / f"{place}.png") in told.what
    if not isinstance(error, MemoryError):
        assert isinstance(told, UnexpectedError)
        assert f"{type(error).__name__}: {error}" in told.why
        assert "Traceback" in caplog.text  # for those who ask with -v


@pytest.mark.parametrize("error", [SurpriseError("oops"), ValueError("bad")])
@pytest.mark.parametrize("stage", ["prepare", "estimate", "clean_video"])
def test_any_exception_is_its_videos_own(tmp_path, monkeypatch, stage, error):
    for name in "ab":
        (tmp_path / f"{name}.mp4").touch()

    def fail(*_):
        raise error

    task = type("Task", (), {"scenes": {}, "details": (), "notices": (), "plans": (), "frames": 1})
    monkeypatch.setattr(videos, "prepare", lambda job, options: task)
    monkeypatch.setattr(videos.VideoBatch, "_tell", lambda self, task: None)
    monkeypatch.setattr(videos.VideoBatch, "_restoration", lambda self, task: None)
    monkeypatch.setattr(videos, "estimate", lambda *_: None)
    monkeypatch.setattr(videos, "_outlook", lambda *_: "")
    monkeypatch.setattr(videos, stage, fail)
    report = type("Silent", (), {name: lambda self, text: None for name in ("stage", "note", "detail")})()
    batch = videos.VideoBatch(VideoOptions(method="temporal"), EngineOptions(), "general", report)
    outcomes = list(batch.run(plan_videos([str(tmp_path)]).jobs, dry=False))
    assert [type(outcome.error) for outcome in outcomes] == [UnexpectedError] * 2


def invoke(*arguments):
    return CliRunner().invoke(app, ["derain", *map(str, arguments), "--device", "cpu", "--threads", "1"])


@pytest.fixture
def no_network(monkeypatch):
    """The command, with a network that gives pictures back as they are."""
    monkeypatch.setattr(
        pictures, "clean_pictures", lambda jobs, load, options, decisions: run(jobs, SAME, options, decisions)
    )


SAME = as_cleaner(lambda pixels: pixels)


def test_a_pipe_tells_a_surprise_too(photos, monkeypatch, tiny_weights):
    import dpenet_cli.images.reading

    def fail(*_, **__):
        raise SurpriseError("oops")

    monkeypatch.setattr(dpenet_cli.images.reading, "read", fail)
    monkeypatch.setattr(sys, "stdin", sys.__stdin__)
    result = invoke(photos / "0.png", "-o", "-", "--weights", tiny_weights)
    assert result.exit_code == 1
    assert "an unexpected error (SurpriseError: oops)" in " ".join(result.stderr.split())


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE])
def test_a_disk_that_is_full_or_gone_ends_the_run(photos, tmp_path, monkeypatch, no_network, code):
    wanted = lambda path, *_: path.name != "0.png"  # noqa: E731
    monkeypatch.setattr(picture_files, "write_whole", fail_at(picture_files.write_whole, wanted, OSError(code, "away")))
    result = invoke(photos, "-o", tmp_path / "out", "--report", tmp_path / "r.jsonl")
    assert result.exit_code == 75
    assert result.stderr.count("(away)") == 1
    assert "ended early: 1 done, 1 failed" in result.stderr
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["0.png"]
    monkeypatch.undo()
    assert len(list(run(plan_pictures([str(photos)], tmp_path / "out").jobs, SAME, PictureOptions()))) == 4


@pytest.mark.parametrize("options", [[], ["--max-failures", "2"], ["--fail-fast"]])
def test_failures_end_a_run_if_that_is_asked_for(photos, tmp_path, no_network, options):
    """What was begun meanwhile is finished and told."""
    for number in (0, 1, 2):
        (photos / f"{number}.png").write_bytes(b"broken")
    result = invoke(photos, "-o", tmp_path / "out", *options)
    assert result.exit_code == 1
    assert ("ended early" in result.stderr) == bool(options)
    assert (tmp_path / "out/3.png").exists() == (not options)


def test_what_cannot_be_written_is_found_before_the_work(photos, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for output in (tmp_path / "file/out", tmp_path / "file"):
        with pytest.raises(InputError, match="results cannot be written there"):
            plan_pictures([str(photos)], f"{output}/")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(InputError, match="Permission denied"):
        plan_pictures([str(photos)], tmp_path / "new/out")
    plan = plan_pictures([str(photos / "0.png"), str(photos)])
    assert not plan.jobs
    assert len(plan.bad) == 5


def test_a_name_that_no_writer_knows_is_no_folder_by_mistake(photos, tmp_path):
    one = [str(photos / "0.png")]
    with pytest.raises(InputError, match=r"ends in \.xyz.*Is it to be a folder\? Write .*s2\.xyz/"):
        plan_pictures(one, tmp_path / "s2.xyz")
    assert plan_pictures(one, f"{tmp_path}/s2.xyz/").jobs[0].target == tmp_path / "s2.xyz/0.png"
    (tmp_path / "v1.2").mkdir()
    assert plan_pictures(one, tmp_path / "v1.2").jobs[0].target == tmp_path / "v1.2/0.png"
    assert plan_pictures([str(photos)], tmp_path / "s2.xyz").jobs[0].target == tmp_path / "s2.xyz/0.png"


def test_nothing_at_all_is_wrong_usage(photos, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no such file"):
        plan_pictures([str(tmp_path / "missing")])
    with pytest.raises(InputError, match="nothing was found in any of these"):
        plan_pictures([str(tmp_path / "missing"), str(tmp_path / "empty"), str(tmp_path / "*.jpg")])
    plan = plan_pictures([str(tmp_path / "missing"), str(photos)])
    assert (len(plan.jobs), len(plan.bad)) == (4, 1)
