"""Frames: how many there are, when each is shown, its size, which way it is turned."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from clips import PICTURE, SOUND, clean, clip, ffmpeg, planes, probe, times

from dpenet_cli.errors import OptionError, VideoRefused
from dpenet_cli.options import VideoCodec, VideoOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.video.orientation import Orientation, orientation_of
from dpenet_cli.video.probe import probe as media_info
from dpenet_cli.video.video_task import prepare


@pytest.mark.parametrize("rate", ["25", "30000/1001", "24000/1001", "60", "12.5"])
def test_frame_rates_are_exact(tmp_path, rate):
    source = clip(tmp_path / "a.mp4", source=f"testsrc=s=64x48:r={rate}")
    clean(source, tmp_path / "b.mp4")
    (before,), (after,) = probe(source)["streams"], probe(tmp_path / "b.mp4")["streams"]
    for key in ("avg_frame_rate", "r_frame_rate", "nb_frames", "duration", "time_base"):
        assert after[key] == before[key]
    assert times(source) == times(tmp_path / "b.mp4")


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov"])
def test_every_frame_of_a_variable_rate_keeps_its_time(tmp_path, ending):
    gaps = ["-vf", "select='not(between(n,3,6))*not(eq(n,9))',setpts=PTS+0.5/TB", "-fps_mode", "passthrough"]
    source = clip(tmp_path / f"a.{ending}", *gaps, frames=14)
    clean(source, tmp_path / f"b.{ending}", checkpoint=Fraction(1, 5))
    assert len(times(source)) == 14
    assert len(set(np.diff(times(source)))) > 1
    assert times(source) == times(tmp_path / f"b.{ending}")


def test_counts_are_facts_not_headers(tmp_path):
    media = media_info(clip(tmp_path / "a.mkv", frames=13))
    assert len(media.streams[0].ticks) == 13


def test_start_and_end(tmp_path):
    source = tmp_path / "a.mp4"
    ffmpeg(*PICTURE, *SOUND, "-t", 1, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", source)
    clean(source, tmp_path / "b.mp4", start=Fraction(1, 5), end=Fraction(3, 5))
    first = min(times(tmp_path / "b.mp4"))
    assert (len(times(tmp_path / "b.mp4")), first) == (10, 0)
    assert 0.3 < float(probe(tmp_path / "b.mp4")["streams"][1]["duration"]) < 0.5
    want = planes(source)[5][0]
    assert np.abs(planes(tmp_path / "b.mp4")[0][0] - want).mean() < 4
    with pytest.raises(OptionError, match="no frame"):
        prepare(Job(source, tmp_path / "b.mp4"), VideoOptions(start=Fraction(5)))


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "ffv1"])
def test_odd_sizes_stay(tmp_path, codec):
    source = clip(tmp_path / "a.mkv", codec="ffv1", source="testsrc=s=63x47:r=25", frames=5)
    (before,) = probe(source)["streams"]
    assert (before["width"], before["height"]) == (63, 47)
    task = clean(source, tmp_path / "b.mkv", codec=VideoCodec(codec))
    (after,) = probe(tmp_path / "b.mkv")["streams"]
    assert (after["width"], after["height"], after["codec_name"]) == (63, 47, codec)
    assert any("odd size" in notice for notice in task.notices)


def test_a_size_that_changes_on_the_way_is_told(tmp_path):
    parts = [clip(tmp_path / f"{n}.ts", source=f"testsrc=s={s}:r=25") for n, s in enumerate(("64x48", "96x64"))]
    source = tmp_path / "a.ts"
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    task = clean(source, tmp_path / "b.mkv")
    assert any("becomes 64×48" in notice for notice in task.notices)
    (after,) = probe(tmp_path / "b.mkv")["streams"]
    assert (after["width"], after["height"], len(times(tmp_path / "b.mkv"))) == (64, 48, 20)


@pytest.mark.parametrize("shape", ["16:11", "188:189"])
def test_pixel_shape_stays(tmp_path, shape):
    source = clip(tmp_path / "a.mp4", "-vf", f"setsar={shape.replace(':', '/')}:max=1000")
    kept = [(VideoCodec.H264, "mp4"), (VideoCodec.H264, "mkv"), (VideoCodec.HEVC, "mkv"), (VideoCodec.AV1, "mp4")]
    for codec, ending in kept:
        target = tmp_path / f"{codec}.{ending}"
        task = clean(source, target, codec=codec)
        assert probe(target)["streams"][0]["sample_aspect_ratio"] == shape
        assert not any("squares" in notice for notice in task.notices)
    task = clean(source, tmp_path / "c.mkv", codec=VideoCodec.FFV1)
    assert any("squares" in notice for notice in task.notices)


TURNS = [(0, False), (90, False), (180, False), (270, False), (0, True), (90, True), (270, True)]


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize(("degrees", "mirrored"), TURNS)
def test_the_picture_stays_upright(tmp_path, degrees, mirrored, ending):
    """What a player shows, which is what ffmpeg decodes, is the same before and after; the network sees it upright."""
    flat = clip(tmp_path / "flat.mp4", frames=3)
    source = tmp_path / "a.mp4"
    turned = ["-display_rotation:v:0", degrees] + (["-display_hflip:v:0"] if mirrored else [])
    ffmpeg(*turned, "-i", flat, "-c", "copy", source)
    seen = []

    def network(frames):
        for frame in frames:
            seen.append(frame.shape)
            yield frame

    target = tmp_path / f"b.{ending}"
    clean(source, target, network)
    shown = []
    for path in (source, target):
        ffmpeg("-i", path, "-c:v", "ffv1", "-pix_fmt", "yuv444p", tmp_path / f"{path.stem}-shown.mkv")
        shown.append(planes(tmp_path / f"{path.stem}-shown.mkv"))
    assert shown[0][0][0].shape == shown[1][0][0].shape == seen[0][:2]
    assert np.abs(shown[0][0][0] - shown[1][0][0]).mean() < 4


def test_orientations_go_there_and_back():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    for quarters, mirrored in itertools.product(range(4), (False, True)):
        turn = Orientation(mirrored, quarters)
        assert np.array_equal(turn.as_coded(turn.upright(image)), image)
    one = 65536
    assert orientation_of((one, one, 0, -one, one, 0, 0, 0, 1 << 30)) is None  # 45°


def test_interlaced_is_refused_or_made_whole(tmp_path):
    source = clip(tmp_path / "a.mp4", "-vf", "setfield=tff", "-flags", "+ildct+ilme", "-x264opts", "tff=1", frames=8)
    with pytest.raises(VideoRefused, match="--deinterlace"):
        prepare(Job(source, tmp_path / "b.mp4"), VideoOptions())
    clean(source, tmp_path / "b.mp4", deinterlace=True)
    assert times(source) == times(tmp_path / "b.mp4")
    assert probe(tmp_path / "b.mp4")["streams"][0]["field_order"] == "progressive"
