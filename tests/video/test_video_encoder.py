"""The encoder: which one works, what it says when it fails, that it does not outlive us."""

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import imageio_ffmpeg
import pytest
from clips import clean, clip, times, unchanged

from dpenet_cli.errors import VideoRefused, VideoWriteError
from dpenet_cli.options import VideoEncoder, VideoOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.video.deraining import clean_video
from dpenet_cli.video.frames import EachFrame
from dpenet_cli.video.video_task import prepare


def test_an_encoder_that_fails_is_told_with_its_words(tmp_path):
    """Before the work starts, where it is the options' fault; later, where it is not."""
    source = clip(tmp_path / "a.mp4")
    with pytest.raises(VideoRefused, match="nonsense"):
        prepare(Job(source, tmp_path / "b.mp4"), VideoOptions(preset="nonsense"))
    task = prepare(Job(source, tmp_path / "b.mp4"), VideoOptions())
    plan = dataclasses.replace(task.plans[0], encoding=dataclasses.replace(task.plans[0].encoding, preset="nonsense"))
    with pytest.raises(VideoWriteError, match="nonsense"):
        clean_video(dataclasses.replace(task, plans=(plan,)), EachFrame(unchanged), "a test")
    assert not (tmp_path / "b.mp4").exists()
    assert children() == []


def test_an_ffmpeg_of_ones_own(tmp_path, monkeypatch):
    source = clip(tmp_path / "a.mp4")
    task = prepare(Job(source, tmp_path / "b.mp4"), VideoOptions())
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "no-such-program"))
    with pytest.raises(VideoWriteError, match="no-such-program"):
        clean_video(task, EachFrame(unchanged), "a test")


def test_nvenc_is_tried_not_assumed(tmp_path):
    task = prepare(Job(clip(tmp_path / "a.mp4"), tmp_path / "b.mp4"), VideoOptions(encoder=VideoEncoder.NVENC))
    (plan,) = task.plans
    assert plan.encoding.hardware != any("nvenc does not work here" in notice for notice in task.notices)
    clean_video(task, EachFrame(unchanged), "a test")
    assert len(times(tmp_path / "b.mp4")) == 10


def test_the_other_encoder_takes_over(tmp_path, monkeypatch):
    """With an ffmpeg that lacks libx264 and has NVENC, which libx264 plays here."""
    source = clip(tmp_path / "a.mp4")
    program = tmp_path / "ffmpeg"
    program.write_text(
        f"#!{sys.executable}\nimport os, sys\narguments = sys.argv[1:]\n"
        "if 'libx264' in arguments: sys.exit('Unknown encoder libx264')\n"
        "if 'h264_nvenc' in arguments:\n"
        "    at = arguments.index('h264_nvenc')\n"
        "    arguments[at : at + 7] = ['libx264']\n"
        f"os.execv({imageio_ffmpeg.get_ffmpeg_exe()!r}, ['ffmpeg', *arguments])\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    job = Job(source, tmp_path / "b.mp4")
    (told,) = clean(*job[:2]).notices
    assert "libx264 does not work here" in told
    assert "h264_nvenc encodes" in told
    assert times(tmp_path / "b.mp4") == times(source)
    assert not prepare(job, VideoOptions(encoder=VideoEncoder.NVENC)).notices
    with pytest.raises(VideoRefused, match="Unknown encoder libx264"):
        prepare(job, VideoOptions(encoder=VideoEncoder.SOFTWARE))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_no_encoder_outlives_a_killed_run(tmp_path):
    source = clip(tmp_path / "a.mp4", frames=30)
    code = (
        "import sys, time; from pathlib import Path; sys.path.insert(0, sys.argv[3])\n"
        "from clips import clean\n"
        "def slow(frames):\n"
        "    for count, frame in enumerate(frames):\n"
        "        yield frame\n"
        "        if count == 5: time.sleep(0.5); print('now', flush=True); time.sleep(60)\n"
        "clean(Path(sys.argv[1]), Path(sys.argv[2]), slow)\n"
    )
    run = [sys.executable, "-c", code, str(source), str(tmp_path / "b.mp4"), str(Path(__file__).parents[1])]
    with subprocess.Popen(run, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"now\n"
        (child,) = children(process.pid)
        process.kill()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes():
        assert time.monotonic() < deadline, "ffmpeg outlived us"
        time.sleep(0.05)


def children(parent=None) -> list[int]:
    """Living children that are ffmpeg, by /proc."""
    parent = parent or os.getpid()
    found = []
    for task in Path(f"/proc/{parent}/task").glob("*/children"):
        found += [int(child) for child in task.read_text().split()]
    return [child for child in found if b"ffmpeg" in Path(f"/proc/{child}/cmdline").read_bytes()]
