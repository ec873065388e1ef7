"""``dpenet video`` as a user runs it: exit codes, what is told, and the same command after a crash."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import H264_AAC, SOUND, clip, dry_and_rainy, ffmpeg, filmed, planes, probe, times
from conftest import command, dpenet, heavy_imports, lively_model, textured
from hypothesis import given
from hypothesis import strategies as st

from dpenet_cli.batch import videos
from dpenet_cli.cli.batch_report import BatchReport
from dpenet_cli.cli.console import Exit
from dpenet_cli.cli.video import _seconds
from dpenet_cli.errors import OptionError
from dpenet_cli.inference.scale_rule import rule_path
from dpenet_cli.network.checkpoints import WeightsCard, save_model
from dpenet_cli.network.model import DPENetConfig
from dpenet_cli.options import EngineOptions, VideoOptions
from dpenet_cli.system.outputs import Job

OWN = ["--precision", "fp32", "--threads", "1"]


@pytest.fixture
def dashcam(tmp_path):
    path = tmp_path / "dashcam.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x48:r=30000/1001", *SOUND, "-t", 1, *H264_AAC, path)
    return path


def test_a_dashcam_video(dashcam, tiny_weights):
    before = dashcam.read_bytes()
    result = dpenet("video", dashcam.name, "--weights", tiny_weights, *OWN, "-v", cwd=dashcam.parent)
    assert result.returncode == 0, result.stderr
    target = dashcam.with_name("dashcam-derained.mp4")
    assert [stream["codec_type"] for stream in probe(target)["streams"]] == ["video", "audio"]
    assert probe(target)["streams"][0]["avg_frame_rate"] == "30000/1001"
    assert times(target) == times(dashcam)
    for words in ("read through OpenCV", "frames, ", "1 done"):
        assert words in result.stderr
    assert dashcam.read_bytes() == before
    assert sorted(path.name for path in dashcam.parent.iterdir()) == ["dashcam-derained.mp4", "dashcam.mp4"]
    assert not np.array_equal(planes(target)[0][0], planes(dashcam)[0][0])
    again = dpenet("video", dashcam, "--weights", tiny_weights)
    assert "1 skipped" in again.stderr
    os.utime(dashcam, (time.time() + 5, time.time() + 5))
    assert "1 done" in dpenet("video", dashcam, "--weights", tiny_weights, "--strength", 0).stderr


def test_a_source_from_the_future_is_done_once(dashcam, tiny_weights):
    os.utime(dashcam, (time.time() + 1e7, time.time() + 1e7))
    run = ["video", dashcam, "--weights", tiny_weights, *OWN]
    assert "1 done" in dpenet(*run).stderr
    assert "1 skipped" in dpenet(*run).stderr


def test_a_replaced_video_keeps_its_permissions(dashcam, tiny_weights):
    target = dashcam.with_name("b.mp4")
    target.write_bytes(b"mine alone")
    target.chmod(0o600)
    run = ["video", dashcam, "-o", target, "--overwrite", "--weights", tiny_weights, *OWN]
    result = dpenet(*run, umask=0o022)
    assert result.returncode == 0, result.stderr
    assert target.read_bytes() != b"mine alone"
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_preview_shows_both(dashcam, tiny_weights):
    result = dpenet("video", dashcam, "--preview", "0.4", "--weights", tiny_weights)
    assert result.returncode == 0, result.stderr
    (target,) = dashcam.parent.glob("*-preview.mp4")
    stream = probe(target)["streams"][0]
    assert (stream["width"], stream["height"], stream["nb_frames"]) == (128, 48, "12")
    assert np.abs(planes(target)[0][0][:, :64] - planes(dashcam)[9][0]).mean() < 4
    assert dpenet("video", dashcam, "--preview", "1", "--start", "1").returncode == 2


def test_a_preview_is_never_written_over_another_file_unasked(dashcam, tiny_weights):
    before = dashcam.read_bytes()
    other = dashcam.with_name("dashcam-preview.mp4")
    other.write_bytes(before)
    look = ["--preview", "0.2", "--weights", tiny_weights]
    runs = {
        (dashcam, *look): "it exists already",
        (dashcam, *look, "-o", other): "it exists already",
        (dashcam, other, *look): "it is an input",
        (dashcam, other, *look, "--overwrite"): "it is an input",
    }
    for run, why in runs.items():
        result = dpenet("video", *run)
        assert result.returncode == 2
        assert "dashcam-preview.mp4" in result.stderr
        assert why in result.stderr
        assert "-o" in result.stderr
    assert "--overwrite" in dpenet("video", dashcam, *look).stderr
    assert sorted(path.name for path in dashcam.parent.iterdir()) == ["dashcam-preview.mp4", "dashcam.mp4"]
    assert (dashcam.read_bytes(), other.read_bytes()) == (before, before)
    assert dpenet("video", dashcam, *look, "--overwrite").returncode == 0
    assert other.read_bytes() != before


def test_previews_of_a_folder_have_names_of_their_own(dashcam, tiny_weights):
    folder = dashcam.parent / "trip"
    folder.mkdir()
    for name in ("a.mp4", "a-derained.mp4"):
        (folder / name).write_bytes(dashcam.read_bytes())
    result = dpenet("video", folder, "--preview", "0.2", "--weights", tiny_weights)
    assert result.returncode == 0, result.stderr
    made = sorted(path.name for path in (dashcam.parent / "trip-derained").iterdir())
    assert made == ["a-preview.mp4"]  # the other one is the result of an earlier run


def test_a_folder_with_bad_files(dashcam, tiny_weights):
    folder = dashcam.parent
    (folder / "empty.mp4").touch()
    (folder / "script.mkv").write_text("ffconcat version 1.0\nfile 'dashcam.mp4'\n")
    result = dpenet("video", folder, "-o", folder / "clean", "--weights", tiny_weights, "--strength", 0, "--json")
    assert result.returncode == 1
    *told, last = [json.loads(line) for line in result.stdout.splitlines()]
    by_name = {Path(line["input"]).name: line for line in told if line["event"] == "result"}
    assert by_name["dashcam.mp4"]["status"] == "done"
    assert (by_name["dashcam.mp4"]["width"], by_name["dashcam.mp4"]["height"]) == (64, 48)
    assert "empty" in by_name["empty.mp4"]["error"]["why"]
    assert by_name["script.mkv"]["status"] == "failed"
    assert (last["summary"]["done"], last["summary"]["failed"]) == (1, 2)
    assert sorted(path.name for path in (folder / "clean").iterdir()) == [".dpenet.jsonl", "dashcam.mp4"]


def test_a_damaged_video_is_cleaned_and_told(tmp_path, tiny_weights):
    source = clip(tmp_path / "a.ts", "-g", 5, "-bf", 0, frames=20)
    whole = source.read_bytes()
    middle = len(whole) // 2 // 188 * 188
    source.write_bytes(whole[:middle] + whole[middle + 188 * 6 :])
    run = ["video", source, "--weights", tiny_weights, "--strength", 0]
    result = dpenet(*run)
    assert result.returncode == 1
    assert "damaged" in result.stderr
    assert (tmp_path / "a-derained.mkv").exists()
    assert dpenet(*run, "--allow-damaged", "--overwrite").returncode == 0


@pytest.mark.parametrize(
    "wrong",
    [
        ["--start", "soon"],
        ["--start", "-5"],
        ["--end", "1:-30"],
        ["--preview", "1/2"],
        ["--start", "1:60"],
        ["--start", "5", "--end", "4"],
        ["--crf", "99"],
        ["--codec", "gif"],
        ["--checkpoint", "0"],
        ["--strength", "2"],
        ["--fast"],
    ],
)
def test_wrong_usage(dashcam, tiny_weights, wrong):
    result = dpenet("video", dashcam, "--weights", tiny_weights, *wrong)
    assert result.returncode == 2
    assert not dashcam.with_name("dashcam-derained.mp4").exists()


@given(
    hours=st.integers(0, 10**6),
    minutes=st.integers(0, 59),
    seconds=st.integers(0, 59),
    part=st.from_regex(r"(\.[0-9]{1,18})?", fullmatch=True).filter(str.isascii),
)
def test_times_are_read_exactly(hours, minutes, seconds, part):
    rest = Fraction("0" + part)
    for text, expected in (
        (f"{hours}{part}", hours + rest),
        (f"{hours}:{seconds}{part}", hours * 60 + seconds + rest),
        (f"{hours}:{minutes:02}:{seconds:02}{part}", hours * 3600 + minutes * 60 + seconds + rest),
    ):
        assert _seconds(text, "--start") == expected


@pytest.mark.parametrize(("text", "expected"), [("90", 90), ("1:30", 90), ("1:02:03.5", 3723.5), (".5", 0.5), ("0", 0)])
def test_times_as_people_write_them(text, expected):
    assert _seconds(text, "--start") == expected


WRONG_TIMES = [
    "",
    ".",
    "-5",
    "+5",
    "1:-30",
    "1/2",
    "1e3",
    "nan",
    "inf",
    "1:60",
    "1:60:00",
    "1:2:3:4",
    ":30",
    "1:",
    " 5",
]
WRONG_TIMES += [" 5", "1_000", "1.5:30", "5s", "0x10", "٣", "5\n", "1:٣", "9" * 5000]


@pytest.mark.parametrize("text", WRONG_TIMES)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(OptionError, match="it is no time"):
        _seconds(text, "--start")


@given(st.text(st.sampled_from("0123456789:.-+/e_ n"), max_size=12))
def test_any_text_is_a_time_of_at_least_0_or_refused(text):
    try:
        value = _seconds(text, "--start")
    except OptionError:
        return
    assert value is not None
    assert value >= 0
    assert set(text) <= set("0123456789:.")


def test_fast_takes_the_light_weights(dashcam, tmp_path):
    """By their name, through the one reader; a network of their shape lies where the shipped ones do."""
    shelf = tmp_path / "weights"
    shelf.mkdir()
    light = lively_model(DPENetConfig(channels=2, n_ddrb=5, n_erpab=3))
    save_model(light, shelf / "light.safetensors", WeightsCard(name="light"))
    shutil.copy(rule_path("general"), shelf / "light.scales.json")
    code = (
        "import sys; from pathlib import Path; from dpenet_cli.network import checkpoints\n"
        "shelf = Path(sys.argv.pop(1)); checkpoints.weights_folder = lambda: shelf\n"
        "from dpenet_cli.cli.app import main; main()"
    )
    run = [sys.executable, "-c", code, shelf, "video", dashcam, "--fast", "--end", "0.1", "-v"]
    result = subprocess.run(list(map(str, run)), capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    assert "light on cpu" in result.stderr
    assert len(times(dashcam.with_name("dashcam-derained.mp4"))) == 3


def test_an_output_never_replaces_an_input(dashcam):
    assert dpenet("video", dashcam, "-o", dashcam).returncode == 2


def test_dry_run_writes_nothing(dashcam, tiny_weights):
    assert dpenet("video", dashcam, "--dry-run", "--weights", "no-such-weights").returncode == 2
    result = dpenet("video", dashcam, "--dry-run", "--weights", tiny_weights)
    assert result.returncode == 0, result.stderr
    assert "planned" in result.stdout
    assert [path.name for path in dashcam.parent.iterdir()] == ["dashcam.mp4"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_the_same_command_goes_on_after_a_crash(tmp_path, tiny_weights, how):
    source = clip(tmp_path / "a.mp4", "-bf", 3, frames=60, source="testsrc=s=192x144:r=25")
    run = ["video", source, "--weights", tiny_weights, *OWN, "--checkpoint", "0.2", "-o"]
    if how is signal.SIGKILL:
        assert dpenet(*run, tmp_path / "whole.mp4").returncode == 0
    arguments = [command(), *map(str, run), str(tmp_path / "b.mp4")]
    manifest = tmp_path / "b.mp4.part/manifest.json"
    with subprocess.Popen(arguments, start_new_session=True, stderr=subprocess.PIPE) as process:
        while process.poll() is None and not (manifest.exists() and b"0-00001" in manifest.read_bytes()):
            time.sleep(0.01)
        os.killpg(process.pid, how)
        process.stderr.read()
    assert process.returncode == (-9 if how is signal.SIGKILL else 130)
    assert not (tmp_path / "b.mp4").exists()
    result = dpenet(*run, tmp_path / "b.mp4", "-v")
    assert result.returncode == 0, result.stderr
    assert "goes on at frame" in result.stderr
    assert " of them done, " in result.stderr
    assert times(tmp_path / "b.mp4") == times(source)
    if how is signal.SIGKILL:
        for one, other in zip(planes(tmp_path / "whole.mp4"), planes(tmp_path / "b.mp4"), strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def result_of(run):
    (line,) = (line for line in map(json.loads, run.stdout.splitlines()) if line["event"] == "result")
    return line


def shown(path):
    return np.stack([frame[0] for frame in planes(path)])


def test_time_comes_first_and_what_it_did_is_told(tmp_path, tiny_weights):
    """By default; a scene, and then pictures of which none goes on from the one before."""
    pictures = [textured(seed, 96, 128) for seed in range(1, 5)]
    filmed(tmp_path / "a.mkv", np.concatenate([dry_and_rainy(12)[1], pictures]))
    run = ["video", tmp_path / "a.mkv", "--codec", "ffv1", "--weights", tiny_weights, *OWN, "-o"]
    told = {}
    for name, more in {"default": [], "auto": ["--method", "auto"], "network": ["--method", "network"]}.items():
        result = dpenet(*run, tmp_path / f"{name}.mkv", *more, *(["--json"] if name != "auto" else []))
        assert result.returncode == 0, result.stderr
        told[name] = result_of(result) if name != "auto" else " ".join(result.stderr.split())
    shares = told["default"]["shares"]
    assert (shares["temporal"], shares["network"]) == (0.625, 0.375)  # frames 0 and 6 are keys
    assert 0 < shares["changed_by_time"] < 0.1
    (notice,) = (notice for notice in told["default"]["notices"] if "neighbouring" in notice)
    assert notice.startswith("62% of the picture came from neighbouring frames")
    assert notice in told["auto"]
    assert "shares" not in told["network"]
    assert not any("neighbouring" in notice for notice in told["network"]["notices"])
    default, auto, network = (shown(tmp_path / f"{name}.mkv") for name in ("default", "auto", "network"))
    assert np.array_equal(default, auto)
    assert np.array_equal(default[12:], network[12:])
    assert np.abs(default[:12] - network[:12]).mean() > 1


def test_time_alone_takes_no_weights(dashcam):
    for wrong in (["--weights", "general"], ["--fast"]):
        result = dpenet("video", dashcam, "--method", "temporal", *wrong)
        assert result.returncode == 2
        assert f"--method temporal {wrong[0]}: it runs no network" in " ".join(result.stderr.split())
    assert not dashcam.with_name("dashcam-derained.mp4").exists()
    assert "torch" not in heavy_imports("dpenet_cli.batch.videos")


def test_time_goes_on_after_a_kill_and_another_method_starts_over(tmp_path, tiny_weights):
    source = filmed(tmp_path / "a.mkv", dry_and_rainy(60, 96, 160)[1])
    run = ["video", source, "--codec", "ffv1", "--checkpoint", "0.4", "-v"]
    over_time = [*run, "--method", "temporal", "-o"]
    result = dpenet(*over_time, tmp_path / "whole.mkv", "--json")
    assert result.returncode == 0, result.stderr
    line = result_of(result)
    assert line["shares"]["temporal"] == 1
    assert not any("neighbouring" in notice for notice in line["notices"])

    part = tmp_path / "b.mkv.part"
    manifest = part / "manifest.json"
    arguments = [command(), *map(str, over_time), str(tmp_path / "b.mkv")]
    with subprocess.Popen(arguments, start_new_session=True, stderr=subprocess.PIPE) as process:
        while process.poll() is None and not (manifest.exists() and b"0-00001" in manifest.read_bytes()):
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.stderr.read()
    assert process.returncode == -9
    shutil.copytree(part, tmp_path / "c.mkv.part")
    result = dpenet(*over_time, tmp_path / "b.mkv")
    assert result.returncode == 0, result.stderr
    assert "goes on at frame" in result.stderr
    assert times(tmp_path / "b.mkv") == times(source)
    assert np.array_equal(shown(tmp_path / "b.mkv"), shown(tmp_path / "whole.mkv"))

    result = dpenet(*run, "--method", "network", "--weights", tiny_weights, *OWN, "-o", tmp_path / "c.mkv")
    assert result.returncode == 0, result.stderr
    assert "started over" in result.stderr
    assert "goes on at frame" not in result.stderr
    assert not np.array_equal(shown(tmp_path / "c.mkv"), shown(tmp_path / "whole.mkv"))


def test_a_video_that_memory_does_not_hold_is_told_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    def full(job, options):
        raise MemoryError

    monkeypatch.setattr(videos, "prepare", full)
    jobs = [Job(tmp_path / f"{name}.mp4", tmp_path / f"{name}-derained.mp4") for name in "ab"]
    report = BatchReport(2, noun="videos")
    for outcome in videos.VideoBatch(VideoOptions(), EngineOptions(), "general", report).run(jobs, dry=False):
        report.outcome(outcome)
    assert report.finish() is Exit.SOME_FAILED
    told = " ".join(capsys.readouterr().err.split())
    assert told.count("memory ran out") == 2
    assert "2 failed" in told
