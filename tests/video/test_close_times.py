"""Frames closer to each other than a millisecond: kept to a tick, or refused before the work."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import clean, clip, ffmpeg, times
from conftest import dpenet

from dpenet_cli.errors import VideoRefused, VideoWriteError
from dpenet_cli.options import VideoOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.video import deraining
from dpenet_cli.video.mux import verify
from dpenet_cli.video.probe import probe as media_info
from dpenet_cli.video.video_task import prepare

FAST = "testsrc=s=96x64:r=2000"


@pytest.fixture
def highspeed(tmp_path: Path) -> Path:
    return clip(tmp_path / "highspeed.mp4", "-bf", 3, frames=12, source=FAST)


def seconds(path: Path) -> list[Fraction]:
    stream = media_info(path).streams[0]
    return [stream.time(frame) for frame in range(len(stream.ticks))]


def test_the_command_keeps_or_refuses(highspeed, tiny_weights):
    run = ["video", highspeed.name, "--weights", tiny_weights, "-o"]
    result = dpenet(*run, "9.mp4", cwd=highspeed.parent)
    assert result.returncode == 0, result.stderr
    assert seconds(highspeed.with_name("9.mp4")) == [Fraction(k, 2000) for k in range(12)]
    refused = dpenet(*run, "9.mkv", "-v", cwd=highspeed.parent)
    assert refused.returncode == 1
    for words in (".mkv", "would give two frames one time", "-o 9.mp4"):
        assert words in refused.stderr
    assert "frames, " not in refused.stderr.replace("12 frames, read", "")
    assert sorted(path.name for path in highspeed.parent.iterdir()) == ["9.mp4", "highspeed.mp4"]


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_every_encoder_and_each_segment(highspeed, codec):
    target = highspeed.with_name("b.mov" if codec == "hevc" else "b.mp4")
    clean(highspeed, target, codec=codec, checkpoint=Fraction(1, 400))
    assert times(target) == times(highspeed)
    assert times(target) == [8 * k for k in range(12)]


def test_a_part_and_a_preview(highspeed):
    part = clean(highspeed, highspeed.with_name("b.mp4"), start=Fraction(2, 1000), end=Fraction(4, 1000))
    assert part.frames == 4
    assert seconds(highspeed.with_name("b.mp4")) == [Fraction(k, 2000) for k in range(4)]
    clean(highspeed, highspeed.with_name("c.mp4"), preview=Fraction(3, 1000))
    assert seconds(highspeed.with_name("c.mp4")) == [Fraction(k, 2000) for k in range(6)]
    with pytest.raises(VideoRefused, match="two frames one time"):
        prepare(Job(highspeed, highspeed.with_name("c.mkv")), VideoOptions(preview=Fraction(3, 1000)))


def test_resumed_work_equals_the_whole(highspeed):
    def crash(frames):
        for count, frame in enumerate(frames):
            if count == 9:
                raise KeyError(count)
            yield frame

    target = highspeed.with_name("b.mp4")
    with pytest.raises(KeyError):
        clean(highspeed, target, crash, checkpoint=Fraction(1, 500))
    assert clean(highspeed, target, checkpoint=Fraction(1, 500)).frames == 12
    assert times(target) == [8 * k for k in range(12)]


def pair(path: Path, *arguments: object) -> Path:
    """Twenty-five frames a second, but for two that are 0.4 ms apart."""
    times = "settb=1/10000,setpts='if(eq(N,5),1604,N*400)'"
    return clip(path, "-vf", times, "-fps_mode", "passthrough", "-enc_time_base", "1/10000", *arguments)


@pytest.mark.parametrize("ending", ["mkv", "webm"])
def test_only_two_frames_lie_that_close(tmp_path, ending):
    source = pair(tmp_path / "a.mp4", "-video_track_timescale", 10_000)
    assert np.diff(times(source)).min() == 4
    with pytest.raises(VideoRefused, match=r"at 0\.1600 s.*-o b\.mp4"):
        prepare(Job(source, tmp_path / f"b.{ending}"), VideoOptions())
    clean(source, tmp_path / "b.mp4")
    assert times(tmp_path / "b.mp4") == times(source)
    # The part without them fits.
    clean(source, tmp_path / f"c.{ending}", start=Fraction(1, 5))
    assert times(tmp_path / f"c.{ending}") == [40, 80, 120, 160]


def test_a_matroska_file_with_a_finer_clock(tmp_path):
    source = tmp_path / "a.mkv"
    clip(source, frames=12, source="testsrc=s=96x64:r=20")
    scale = bytes.fromhex("2ad7b1 83 0f4240")  # nanoseconds a tick, a hundredth of them from now on
    data = source.read_bytes()
    assert data.count(scale) == 1
    source.write_bytes(data.replace(scale, bytes.fromhex("2ad7b1 83 002710")))
    assert seconds(source)[:3] == [0, Fraction(1, 2000), Fraction(1, 1000)]
    with pytest.raises(VideoRefused, match=r"-o b\.mp4"):
        prepare(Job(source, tmp_path / "b.mkv"), VideoOptions())
    clean(source, tmp_path / "b.mp4")
    assert seconds(tmp_path / "b.mp4") == [Fraction(k, 2000) for k in range(12)]


def test_a_container_that_carries_the_subtitles_is_advised(tmp_path):
    clip(tmp_path / "a.mp4", frames=12, source=FAST)
    (tmp_path / "a.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n")
    ffmpeg("-i", tmp_path / "a.mp4", "-i", tmp_path / "a.srt", "-c:v", "copy", "-c:s", "mov_text", tmp_path / "s.mov")
    with pytest.raises(VideoRefused, match=r"-o b\.mp4"):
        prepare(Job(tmp_path / "s.mov", tmp_path / "b.mkv"), VideoOptions())


def test_the_result_is_refused_if_its_times_do_not_rise(highspeed, monkeypatch):
    """The check looks at the times themselves, whatever was decided before."""
    checked = []

    def squeezed(media, encoded, copied, window, target):
        slow = target.with_name("slow.mkv")
        ffmpeg("-i", target, "-c", "copy", slow)
        with av.open(str(slow)) as container:
            checked.append([packet.pts for packet in container.demux(video=0) if packet.size])
        verify(media, encoded, copied, window, slow)

    monkeypatch.setattr(deraining, "verify", squeezed)
    with pytest.raises(VideoWriteError, match="two frames at one time"):
        clean(highspeed, highspeed.with_name("b.mp4"))
    assert len(set(checked[0])) < 12


def test_two_frames_at_one_time_in_the_source_still_fit(tmp_path):
    """The source itself says one time for two frames: any container may hold the second a little later."""
    source = tmp_path / "a.ts"
    clip(tmp_path / "a.mp4", "-bf", 0)
    with av.open(str(tmp_path / "a.mp4")) as before, av.open(str(source), "w") as after:
        stream = after.add_stream_from_template(before.streams.video[0])
        for number, packet in enumerate(packet for packet in before.demux(video=0) if packet.size):
            packet.time_base = Fraction(1, 90_000)
            packet.pts = 3600 * (number - (number > 4))
            packet.dts = 3600 * (number - 2)
            packet.stream = stream
            after.mux(packet)
    assert len(set(times(source))) == 9
    clean(source, tmp_path / "b.mkv")
    found = seconds(tmp_path / "b.mkv")
    assert len(found) == 10
    assert min(np.diff(found)) >= Fraction(1, 1000)
