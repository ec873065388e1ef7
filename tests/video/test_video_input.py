"""Files as they come: other containers, strangers, damage."""

import os
import re
import socket

import pytest
from clips import SOUND, clean, clip, ffmpeg, times, unchanged

from dpenet_cli.batch.planning import plan_videos
from dpenet_cli.errors import VideoReadError
from dpenet_cli.options import VideoOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.video.deraining import clean_video
from dpenet_cli.video.frames import EachFrame
from dpenet_cli.video.safe_open import open_capture
from dpenet_cli.video.video_task import damage, prepare


def test_names(tmp_path):
    for name in ("a.mp4", "b.avi", "deep/c.MOV", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    batch = plan_videos([str(tmp_path)])
    out = tmp_path.with_name(tmp_path.name + "-derained")
    assert [job.target.relative_to(out).as_posix() for job in batch.jobs] == ["a.mp4", "b.mkv", "deep/c.MOV"]
    (job,) = plan_videos([str(tmp_path / "b.avi")]).jobs
    assert job.target == tmp_path / "b-derained.mkv"


@pytest.mark.parametrize(
    ("name", "codec"), [("a.avi", "mpeg4"), ("a.ts", "libx264"), ("a.webm", "libvpx-vp9"), ("a.mov", "mjpeg")]
)
def test_other_kinds_of_files(tmp_path, name, codec):
    pixels = ["-pix_fmt", "yuvj420p"] if codec == "mjpeg" else []
    source = clip(tmp_path / name, *pixels, codec=codec, frames=7)
    (job,) = plan_videos([str(source)]).jobs
    task = prepare(job, VideoOptions())
    clean_video(task, EachFrame(unchanged), "a test")
    assert len(times(job.target)) == 7
    assert not damage(task)


def test_files_that_are_no_videos(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video at all, only words " * 50)
    ffmpeg(*SOUND, "-t", 1, tmp_path / "sound.m4a")
    (tmp_path / "cut.mp4").write_bytes(clip(tmp_path / "a.mp4").read_bytes()[:-900])  # its index is gone
    told = {"empty.mp4": "empty", "text.mp4": "cannot be opened", "sound.m4a": "only sound", "cut.mp4": "cannot be"}
    for name, words in told.items():
        with pytest.raises(VideoReadError, match=words):
            prepare(Job(tmp_path / name, tmp_path / "out.mp4"), VideoOptions())


def test_a_script_that_calls_itself_mp4_opens_nothing(tmp_path):
    """Neither the file that it names nor the address: the first stays unread, nobody calls at the second."""
    canary = clip(tmp_path / "canary.mp4")
    os.utime(canary, (1, 1))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.3)
        port = listener.getsockname()[1]
        scripts = {
            "concat.mp4": f"ffconcat version 1.0\nfile '{canary}'\n",
            "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n",
            "local.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{canary}\n#EXT-X-ENDLIST\n",
            "sdp.mp4": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n",
            "dash.mp4": f"<?xml version='1.0'?><MPD><BaseURL>http://127.0.0.1:{port}/</BaseURL></MPD>",
        }
        for name, text in scripts.items():
            (tmp_path / name).write_text(text)
            with pytest.raises(VideoReadError):
                prepare(Job(tmp_path / name, tmp_path / "out.mp4"), VideoOptions())
        with pytest.raises(TimeoutError):
            listener.accept()
    assert canary.stat().st_atime == 1


def test_opencv_has_the_same_rules(tmp_path):
    before = os.environ.get("OPENCV_FFMPEG_CAPTURE_OPTIONS")
    canary = clip(tmp_path / "canary.mp4")
    (tmp_path / "concat.mp4").write_text(f"ffconcat version 1.0\nfile '{canary}'\n")
    assert open_capture(canary).isOpened()
    assert not open_capture(tmp_path / "concat.mp4").isOpened()
    assert os.environ.get("OPENCV_FFMPEG_CAPTURE_OPTIONS") == before


def test_damage_is_cleaned_as_far_as_it_decodes_and_told(tmp_path):
    source = clip(tmp_path / "a.ts", "-g", 5, "-bf", 0, frames=40)
    whole = source.read_bytes()
    middle = len(whole) // 2 // 188 * 188
    source.write_bytes(whole[:middle] + whole[middle + 188 * 6 :])
    task = clean(source, tmp_path / "b.mkv")
    assert "packets are missing" in damage(task).why
    assert 30 < len(times(tmp_path / "b.mkv")) <= 40


def test_bytes_that_were_overwritten_are_told(tmp_path):
    source = clip(
        tmp_path / "a.mp4", "-g", 5, "-bf", 0, "-crf", 30, "-qp", 20, frames=40, source="mandelbrot=s=160x120:r=25"
    )
    data = bytearray(source.read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 3
    data[middle : middle + 400] = bytes(range(200)) * 2
    source.write_bytes(data)
    task = clean(source, tmp_path / "b.mp4")
    assert "PyAV" in task.details[0]
    frame, seconds = re.search(r"near frame (\d+) \(([\d.]+) s\)", damage(task).why).groups()
    assert int(frame) / 25 == pytest.approx(float(seconds), abs=0.05)
    assert 8 <= int(frame) <= 20  # a third of the data is about a third of the frames
    assert 30 < len(times(tmp_path / "b.mp4")) <= 40


def test_a_file_that_was_cut_off_is_told(tmp_path):
    source = clip(tmp_path / "a.mkv", "-g", 5, frames=75)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 3])
    task = clean(source, tmp_path / "b.mkv")
    assert "missing" in damage(task).why
