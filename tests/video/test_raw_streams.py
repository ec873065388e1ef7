"""Streams that stand alone, recorders' files, and NUT: their times, their sound, and what is cut off at the end."""

import json
import re
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import SOUND, TEN_A_SECOND, clean, clip, dav, ffmpeg, packets, planes, probe, times
from conftest import dpenet

from dpenet_cli.batch.planning import plan_videos
from dpenet_cli.errors import VideoReadError, VideoRefused
from dpenet_cli.options import VideoOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.video.probe import probe as media_info
from dpenet_cli.video.video_task import damage, prepare

CODECS = {"h264": "libx264", "hevc": "libx265", "mjpeg": "mjpeg"}

STEPS = {"h264": 100, "hevc": 100, "mjpeg": 40, "dav": 100, "nut": 100}
"""Milliseconds from frame to frame: motion JPEG does not say that it has ten a second, and 25 are assumed."""


def raw(path: Path, *arguments: object, frames: int = 8) -> Path:
    """A stream that stands alone, of ten frames a second."""
    form = path.suffix[1:]
    pixels = ["-pix_fmt", "yuvj420p" if form == "mjpeg" else "yuv420p"]
    return clip(path, *pixels, *arguments, "-f", form, frames=frames, codec=CODECS[form], source=TEN_A_SECOND)


def frames_of(path: Path) -> list[bytes]:
    """The frames of raw H.264 without B-frames, each with the headers before it."""
    data = raw(path, "-bf", 0, "-g", 4, "-slices", 1).read_bytes()
    units = re.split(rb"(?=\0\0\0\x01|(?<!\0)\0\0\x01)", data)
    frames, waiting = [], b""
    for unit in filter(None, units):
        waiting += unit
        if unit.lstrip(b"\0")[1] & 0x1F in {1, 5}:
            frames.append(waiting)
            waiting = b""
    return frames


def recording(path: Path, *, sound: bool = False) -> Path:
    """Eight frames of a recorder, and a tone."""
    samples = b""
    if sound:
        ffmpeg("-f", "lavfi", "-i", "sine=r=8000", "-t", 0.8, "-f", "alaw", path.with_name("tone"))
        samples = path.with_name("tone").read_bytes()
        path.with_name("tone").unlink()
    frames = frames_of(path.with_name("frames.h264"))
    path.with_name("frames.h264").unlink()
    return dav(path, frames, samples)


def made(path: Path) -> Path:
    """A file of any of these kinds."""
    if path.suffix == ".dav":
        return recording(path)
    if path.suffix == ".nut":
        ffmpeg("-f", "lavfi", "-i", TEN_A_SECOND, *SOUND, "-t", 0.8, "-c:v", "ffv1", "-c:a", "pcm_s16le", path)
        return path
    return raw(path)


def test_the_commands(tmp_path, tiny_weights):
    raw(tmp_path / "camera.h264", frames=5)
    raw(tmp_path / "doorbell.hevc", frames=5)
    raw(tmp_path / "timelapse.mjpeg", frames=3)
    recording(tmp_path / "recorder.dav")
    run = ["--weights", tiny_weights, "--strength", 0]
    result = dpenet("video", ".", "-o", "out", *run, "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    lines = [line for line in map(json.loads, result.stdout.splitlines()) if line["event"] == "result"]
    assert [Path(line["output"]).name for line in lines] == [
        "camera.mkv",
        "doorbell.mkv",
        "recorder.mkv",
        "timelapse.mkv",
    ]
    assumed = "25 frames a second were assumed (the stream does not say)"
    assert [assumed in line["notices"] for line in lines] == [False, False, False, True]
    for name, count, step in ("camera", 5, 100), ("doorbell", 5, 100), ("recorder", 8, 100), ("timelapse", 3, 40):
        assert times(tmp_path / f"out/{name}.mkv") == [step * k for k in range(count)]
    part = dpenet("video", "recorder.dav", "--start", 0.2, "--end", 0.4, "-o", "b.mkv", *run, cwd=tmp_path)
    assert part.returncode == 0, part.stderr
    assert times(tmp_path / "b.mkv") == [0, 100]


def test_every_ending_is_found_in_a_folder(tmp_path):
    for name in ("a.h264", "b.264", "c.hevc", "d.h265", "e.265", "f.dav", "g.MJPEG", "h.nut", "i.jpg", "j.txt"):
        (tmp_path / name).touch()
    assert [job.source.name[0] for job in plan_videos([str(tmp_path)]).jobs] == list("abcdefgh")
    assert {job.target.suffix for job in plan_videos([str(tmp_path)]).jobs} == {".mkv"}


@pytest.mark.parametrize("kind", sorted(STEPS))
def test_mp4_parts_previews_and_resuming(kind, tmp_path):
    source, step = made(tmp_path / f"a.{kind}"), Fraction(STEPS[kind], 1000)
    sound = kind == "nut"
    target = "mov" if sound else "mp4"  # which holds no plain samples
    task = clean(source, tmp_path / f"b.{target}")
    found = media_info(tmp_path / f"b.{target}").streams[0]
    assert [found.time(frame) for frame in range(8)] == [step * k for k in range(8)]
    assert len(task.media.others) == sound
    assert len(probe(tmp_path / f"b.{target}")["streams"]) == 1 + sound
    clean(source, tmp_path / "c.mkv", start=2 * step, end=4 * step)
    assert times(tmp_path / "c.mkv") == [0, STEPS[kind]]
    clean(source, tmp_path / "d.mkv", preview=4 * step)
    assert times(tmp_path / "d.mkv") == [STEPS[kind] * k for k in range(4)]

    def crash(frames):
        for count, frame in enumerate(frames):
            if count == 5:
                raise KeyError(count)
            yield frame

    with pytest.raises(KeyError):
        clean(source, tmp_path / "e.mkv", crash, checkpoint=2 * step)
    clean(source, tmp_path / "e.mkv", checkpoint=2 * step)
    clean(source, tmp_path / "f.mkv", checkpoint=2 * step)
    assert times(tmp_path / "e.mkv") == times(tmp_path / "f.mkv") == [STEPS[kind] * k for k in range(8)]
    for one, other in zip(planes(tmp_path / "e.mkv"), planes(tmp_path / "f.mkv"), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_sound_of_a_recorder_rides_along_or_is_named(tmp_path):
    source = recording(tmp_path / "a.dav", sound=True)
    clean(source, tmp_path / "b.mov")
    audio, video = probe(tmp_path / "b.mov")["streams"]
    assert (video["codec_type"], audio["codec_name"], audio["sample_rate"]) == ("video", "pcm_alaw", "8000")
    found = media_info(tmp_path / "b.mov").streams[0]
    assert [found.time(frame) for frame in range(8)] == [Fraction(k, 10) for k in range(8)]
    assert float(audio["start_time"]) == 0
    clean(source, tmp_path / "b.mkv")
    assert times(tmp_path / "b.mkv") == [100 * k for k in range(8)]
    assert packets(tmp_path / "b.mkv") == packets(source)
    with pytest.raises(VideoRefused, match=r"audio stream 0 \(pcm_alaw\).*-o b\.mkv"):
        prepare(Job(source, tmp_path / "b.mp4"), VideoOptions())


@pytest.mark.parametrize("ending", ["h264", "hevc"])
def test_b_frames_are_in_their_order(ending, tmp_path):
    source = raw(tmp_path / f"a.{ending}", "-bf", 2)
    before = planes(source)
    clean(source, tmp_path / "b.mkv")
    after = planes(tmp_path / "b.mkv")
    assert len(after) == len(before) == 8
    assert max(np.abs(a[0] - b[0]).mean() for a, b in zip(before, after, strict=True)) < 6


def test_a_rate_that_the_stream_does_not_say(tmp_path):
    silent = ["-x265-params", "log-level=error:vui-timing-info=0"]
    source = raw(tmp_path / "a.hevc", *silent)
    task = prepare(Job(source, tmp_path / "b.mkv"), VideoOptions())
    assert "25 frames a second were assumed (the stream does not say)" in task.notices
    assert [float(task.media.streams[0].time(frame)) for frame in (0, 1, 7)] == [0, 0.04, 0.28]
    said = clip(tmp_path / "b.h264", frames=3)  # of 25 frames a second, and says so
    assert prepare(Job(said, tmp_path / "c.mkv"), VideoOptions()).notices == ()


@pytest.mark.parametrize("name", ["a.h264", "a.hevc", "a.mjpeg", "a.dav"])
def test_a_stream_that_is_cut_off_at_its_end_is_told(name, tmp_path):
    source = made(tmp_path / name)
    whole = source.read_bytes()
    assert not media_info(source).damaged
    begin = {".mjpeg": b"\xff\xd8\xff", ".dav": b"DHAV"}.get(source.suffix, b"\0\0\1")
    for _ in range(2):  # in the middle of the last picture, and of the one before it
        last = whole.rindex(begin)
        source.write_bytes(whole[: (last + len(whole)) // 2])
        error = damage(prepare(Job(source, tmp_path / "out.mkv"), VideoOptions()))
        assert error is not None
        assert "the file is damaged" in error.why
        whole = whole[:last].rstrip(b"\0") if begin[0] == 0 else whole[:last]


@pytest.mark.parametrize("kind", ["h264", "hevc"])
def test_every_byte_that_a_picture_needs_is_missed(kind, tmp_path):
    """Cut by few bytes: told, unless every picture that begins there is the same to the bit as in the whole."""
    source = raw(tmp_path / f"a.{kind}", "-bf", 0)
    whole = source.read_bytes()
    frames = [b"".join(plane.tobytes() for plane in frame) for frame in planes(source)]
    begins = [found.start() for found in re.finditer(b"\0\0\1", whole)]
    silent = []
    for cut in range(1, len(whole) - begins[-1] + 4):
        source.write_bytes(whole[:-cut])
        if not media_info(source).damaged:
            left = [b"".join(plane.tobytes() for plane in frame) for frame in planes(source)]
            assert left == frames[: len(left)]
            silent.append(cut)
    # The bits that fill the last byte, and the zeros before the next start code, where nobody can tell.
    last = len(whole) - begins[-1]
    assert all(cut <= 2 or cut >= last - 2 for cut in silent), (silent, last)


@pytest.mark.parametrize("ending", ["nut", "mkv", "webm", "avi", "flv", "ivf"])
def test_a_cut_in_the_last_packets_is_told_to_the_byte(ending, tmp_path):
    """Whatever is behind the packets (indexes, lengths) may be missing; of them not one byte."""
    sound = [] if ending == "ivf" else [*SOUND, "-c:a", {"webm": "libopus", "flv": "aac"}.get(ending, "pcm_s16le")]
    codec = {"webm": "libvpx", "ivf": "libvpx", "nut": "mpeg4", "avi": "mpeg4"}.get(ending, "libx264")
    source = tmp_path / f"a.{ending}"
    ffmpeg("-f", "lavfi", "-i", TEN_A_SECOND, *sound, "-t", 0.5, "-c:v", codec, "-pix_fmt", "yuv420p", source)
    assert not media_info(source).damaged
    whole = source.read_bytes()
    with av.open(str(source)) as container:
        packets = [packet for packet in container.demux() if packet.size]
    last = max(packets, key=lambda packet: packet.pos)
    end = whole.rindex(bytes(last)) + last.size
    for cut in (1, 2, 10, last.size // 2, last.size - 1):
        source.write_bytes(whole[: end - cut])
        task = prepare(Job(source, tmp_path / "b.mkv"), VideoOptions())
        assert damage(task) is not None, cut
    assert "it is cut off at its end" in damage(task).why
    source.write_bytes(whole[:end])
    # In WebM the group of the last packet says what is cut off its sound, behind it.
    assert (damage(prepare(Job(source, tmp_path / "b.mkv"), VideoOptions())) is None) == (ending != "webm")


@pytest.mark.parametrize(
    "arguments", [["-profile:v", "baseline"], ["-slices", 4], ["-g", 1], ["-bf", 3], ["-x264-params", "aud=1"]]
)
def test_whole_h264_of_every_kind_is_whole(arguments, tmp_path):
    assert not media_info(raw(tmp_path / "a.h264", *arguments, "-qp", 30)).damaged
    padded = (tmp_path / "a.h264").read_bytes() + bytes(100)
    (tmp_path / "a.h264").write_bytes(padded)
    assert not media_info(tmp_path / "a.h264").damaged


def test_whole_hevc_and_motion_jpeg_with_something_behind(tmp_path):
    for name in ("a.hevc", "a.mjpeg", "a.dav"):
        source = made(tmp_path / name)
        source.write_bytes(source.read_bytes() + bytes(100))
        assert not media_info(source).damaged, name


def test_no_frame_is_lost_behind_a_damaged_one(tmp_path):
    """Decoders that work at several frames at a time would drop what lies behind an error at the end."""
    source = raw(tmp_path / "a.h264", "-bf", 2, "-g", 30, frames=12)
    whole = source.read_bytes()
    source.write_bytes(whole[:-6])
    task = clean(source, tmp_path / "b.mkv")
    assert damage(task) is not None
    assert len(times(tmp_path / "b.mkv")) >= 11


def test_what_is_refused_says_a_way_out(tmp_path):
    source = tmp_path / "words.dav"
    source.write_bytes(b"no recording at all " * 300)
    with pytest.raises(VideoReadError, match=rf"ffmpeg -i {source} -c copy {source.with_suffix('.mkv')}"):
        prepare(Job(source, tmp_path / "out.mkv"), VideoOptions())
    shutil.copy(source, tmp_path / "words.mkv")
    with pytest.raises(VideoReadError, match=r"-c copy \S+words-converted\.mkv"):
        prepare(Job(tmp_path / "words.mkv", tmp_path / "out.mkv"), VideoOptions())
