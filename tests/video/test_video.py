"""Videos through the library: frames, time, colour, rotation, what rides along, strangers, damage, crashes."""

import dataclasses
import itertools
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import imageio_ffmpeg
import numpy as np
import pytest
from clips import PICTURE, SOUND, change, clean, clip, ffmpeg, planes, probe, times, unchanged

from dpenet_cli.batch.planning import plan_videos
from dpenet_cli.errors import OptionError, VideoError, VideoReadError, VideoRefused, VideoWriteError
from dpenet_cli.options import VideoCodec, VideoEncoder, VideoOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.video.deraining import clean_video, damage, identity, prepare
from dpenet_cli.video.discontinuities import _jumps
from dpenet_cli.video.estimate import estimate
from dpenet_cli.video.frames import Frame, pump
from dpenet_cli.video.mpegts import Break, Counters
from dpenet_cli.video.orientation import Orientation, orientation
from dpenet_cli.video.probe import probe as look
from dpenet_cli.video.segments import WorkFolder


class Shelf:
    """A sink that keeps what it gets."""

    def __init__(self, fail_at=None):
        self.frames, self.finished, self.fail_at = [], False, fail_at

    def write(self, frame):
        if len(self.frames) == self.fail_at:
            raise VideoWriteError("shelf", "it is full", "Empty it.")
        self.frames.append(frame)

    def finish(self):
        self.finished = True


def film(count):
    return [Frame(np.full((4, 6, 3), n, np.uint8), Fraction(n, 7)) for n in range(count)]


def test_the_frame_loop_needs_no_codec():
    shelf = Shelf()
    done = pump(film(50), lambda frames: (255 - frame for frame in frames), shelf)
    assert (done, shelf.finished) == (50, True)
    assert [frame.pts for frame in shelf.frames] == [Fraction(n, 7) for n in range(50)]
    assert [int(frame.image[0, 0, 0]) for frame in shelf.frames] == [255 - n for n in range(50)]


def test_the_frame_loop_is_bounded():
    taken = []

    def endless():
        for n in itertools.count():
            taken.append(n)
            yield Frame(np.zeros((2, 2, 3), np.uint8), Fraction(n))

    shelf = Shelf(fail_at=3)
    with pytest.raises(VideoWriteError):
        pump(endless(), unchanged, shelf)
    assert len(taken) < 30
    assert not [thread for thread in threading.enumerate() if thread.name.endswith("frames")]


def test_an_error_of_the_source_arrives():
    def broken():
        yield from film(3)
        raise VideoReadError("film", "it tore", "Mend it.")

    shelf = Shelf()
    with pytest.raises(VideoReadError):
        pump(broken(), unchanged, shelf)
    assert not shelf.finished


def test_names(tmp_path):
    for name in ("a.mp4", "b.avi", "deep/c.MOV", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    batch = plan_videos([str(tmp_path)])
    out = tmp_path.with_name(tmp_path.name + "-derained")
    assert [job.target.relative_to(out).as_posix() for job in batch.jobs] == ["a.mp4", "b.mkv", "deep/c.MOV"]
    (job,) = plan_videos([str(tmp_path / "b.avi")]).jobs
    assert job.target == tmp_path / "b-derained.mkv"


@pytest.mark.parametrize("rate", ["25", "30000/1001", "24000/1001", "60", "12.5"])
def test_frame_rates_are_exact(tmp_path, rate):
    source = clip(tmp_path / "a.mp4", source=f"testsrc=s=64x48:r={rate}")
    clean(source, tmp_path / "b.mp4")
    (before,), (after,) = probe(source)["streams"], probe(tmp_path / "b.mp4")["streams"]
    for key in ("avg_frame_rate", "r_frame_rate", "nb_frames", "duration", "time_base"):
        assert after[key] == before[key]
    assert times(source) == times(tmp_path / "b.mp4")


def test_sound_is_copied_to_the_bit(tmp_path):
    source = tmp_path / "a.mp4"
    ffmpeg(*PICTURE, *SOUND, "-t", 1, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", source)
    clean(source, tmp_path / "b.mp4")
    shown = ("-select_streams", "a", "-show_data_hash", "md5", "-show_entries", "packet=pts,data_hash")
    assert probe(source, *shown) == probe(tmp_path / "b.mp4", *shown)
    lasts = [float(probe(path)["format"]["duration"]) for path in (source, tmp_path / "b.mp4")]
    assert lasts[0] == pytest.approx(lasts[1], abs=0.002)


COLOURS = [
    (matrix, levels) for matrix in ("smpte170m", "bt709", "bt470bg", "bt2020nc", "unknown") for levels in ("tv", "pc")
]


@pytest.mark.parametrize(("matrix", "levels"), COLOURS)
def test_colours_and_their_tags_come_back(tmp_path, matrix, levels):
    source = tmp_path / "a.mkv"
    out = "bt709" if matrix == "unknown" else {"bt2020nc": "bt2020", "bt470bg": "bt470"}.get(matrix, matrix)
    tags = f"setparams=colorspace={matrix}:range={levels}" + (
        ":color_primaries=bt709:color_trc=bt709" if matrix != "unknown" else ""
    )
    picture = f"scale=out_color_matrix={out}:out_range={levels},format=yuv420p,{tags}"
    clip(source, "-vf", f"gblur=3,{picture}", frames=6, source="mandelbrot=s=160x120:r=25")
    work = clean(source, tmp_path / "b.mkv", codec=VideoCodec.FFV1)
    assert change(source, tmp_path / "b.mkv").max() <= 1.0, work.details
    keys = ("color_space", "color_range", "color_primaries", "color_transfer")
    (before,), (after,) = probe(source)["streams"], probe(tmp_path / "b.mkv")["streams"]
    assert {key: after.get(key) for key in keys} == {key: before.get(key) for key in keys}


@pytest.mark.parametrize("codec", [VideoCodec.H264, VideoCodec.HEVC, VideoCodec.AV1])
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_range_stays_as_the_only_tag(tmp_path, codec, ending):
    tagged = "h264_metadata=video_full_range_flag=0"
    source = clip(tmp_path / "a.mp4", "-bsf:v", tagged, frames=3)
    target = tmp_path / f"b.{ending}"
    clean(source, target, codec=codec)
    (before,), (after,) = probe(source)["streams"], probe(target)["streams"]
    assert before["color_range"] == after["color_range"] == "tv"
    assert after.get("color_space", "unknown") == "unknown"


def test_untagged_stays_untagged(tmp_path):
    source = clip(tmp_path / "a.mp4")
    clean(source, tmp_path / "b.mp4")
    (after,) = probe(tmp_path / "b.mp4")["streams"]
    for key in ("color_space", "color_range", "color_primaries", "color_transfer"):
        assert after.get(key, "unknown") == "unknown"


def test_natural_clips_keep_their_colours(data, tmp_path):
    for name in ("tia_rainystreet1", "tia_dashcam666"):
        source = data / f"video/{name}.mp4"
        short = tmp_path / f"{name}.mp4"
        ffmpeg("-i", source, "-frames:v", 4, "-an", "-c", "copy", short)
        work = clean(short, tmp_path / f"{name}.mkv", codec=VideoCodec.FFV1)
        assert "OpenCV" in work.details[0]
        assert change(short, tmp_path / f"{name}.mkv").max() <= 1.0


@pytest.mark.parametrize(
    ("pixels", "codec", "expected"),
    [
        ("yuv420p10le", "libx265", ("hevc", "yuv420p10le")),
        ("yuv444p", "libx264", ("h264", "yuv444p")),
        ("yuv422p10le", "ffv1", ("hevc", "yuv422p10le")),
    ],
)
def test_depth_and_chroma_stay(tmp_path, pixels, codec, expected):
    soft = ["-vf", "gblur=3", "-pix_fmt", pixels]
    source = clip(tmp_path / "a.mkv", *soft, codec=codec, source="mandelbrot=s=160x120:r=25")
    work = clean(source, tmp_path / "b.mkv")
    (after,) = probe(tmp_path / "b.mkv")["streams"]
    assert (after["codec_name"], after["pix_fmt"]) == expected
    assert "PyAV" in work.details[0]
    clean(source, tmp_path / "same.mkv", codec=VideoCodec.FFV1)
    assert change(source, tmp_path / "same.mkv").max() <= (4 if "10" in pixels else 1)  # a level of 8 bits


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "ffv1"])
def test_odd_sizes_stay(tmp_path, codec):
    source = clip(tmp_path / "a.mkv", codec="ffv1", source="testsrc=s=63x47:r=25", frames=5)
    (before,) = probe(source)["streams"]
    assert (before["width"], before["height"]) == (63, 47)
    work = clean(source, tmp_path / "b.mkv", codec=VideoCodec(codec))
    (after,) = probe(tmp_path / "b.mkv")["streams"]
    assert (after["width"], after["height"], after["codec_name"]) == (63, 47, codec)
    assert any("odd size" in notice for notice in work.notices)


TURNS = [(0, False), (90, False), (180, False), (270, False), (0, True), (90, True), (270, True)]


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize(("degrees", "mirrored"), TURNS)
def test_the_picture_stays_upright(tmp_path, degrees, mirrored, ending):
    """What a player shows, which is what ffmpeg decodes, is the same before and after; the network sees it upright."""
    flat = clip(tmp_path / "flat.mp4", frames=3)
    source = tmp_path / "a.mp4"
    ffmpeg(
        "-display_rotation:v:0",
        degrees,
        *(["-display_hflip:v:0"] if mirrored else []),
        "-i",
        flat,
        "-c",
        "copy",
        source,
    )
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
    assert orientation((one, one, 0, -one, one, 0, 0, 0, 1 << 30)) is None  # 45°


@pytest.mark.parametrize("shape", ["16:11", "188:189"])
def test_pixel_shape_stays(tmp_path, shape):
    source = clip(tmp_path / "a.mp4", "-vf", f"setsar={shape.replace(':', '/')}:max=1000")
    kept = [(VideoCodec.H264, "mp4"), (VideoCodec.H264, "mkv"), (VideoCodec.HEVC, "mkv"), (VideoCodec.AV1, "mp4")]
    for codec, ending in kept:
        target = tmp_path / f"{codec}.{ending}"
        work = clean(source, target, codec=codec)
        assert probe(target)["streams"][0]["sample_aspect_ratio"] == shape
        assert not any("squares" in notice for notice in work.notices)
    work = clean(source, tmp_path / "c.mkv", codec=VideoCodec.FFV1)
    assert any("squares" in notice for notice in work.notices)


def test_interlaced_is_refused_or_made_whole(tmp_path):
    source = clip(tmp_path / "a.mp4", "-vf", "setfield=tff", "-flags", "+ildct+ilme", "-x264opts", "tff=1", frames=8)
    with pytest.raises(VideoRefused, match="--deinterlace"):
        prepare(Job(source, tmp_path / "b.mp4"), VideoOptions())
    clean(source, tmp_path / "b.mp4", deinterlace=True)
    assert times(source) == times(tmp_path / "b.mp4")
    assert probe(tmp_path / "b.mp4")["streams"][0]["field_order"] == "progressive"


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
def test_hdr_is_refused(tmp_path, transfer):
    tags = f"setparams=color_trc={transfer}:color_primaries=bt2020:colorspace=bt2020nc"
    source = clip(tmp_path / "a.mkv", "-vf", f"format=yuv420p10le,{tags}", "-pix_fmt", "yuv420p10le", codec="libx265")
    with pytest.raises(VideoRefused, match="HDR.*--hdr"):
        prepare(Job(source, tmp_path / "b.mkv"), VideoOptions())


@pytest.mark.parametrize("ending", ["mp4", "webm"])
def test_hdr_by_request_stays_hdr(tmp_path, ending):
    tags = "setparams=color_trc=smpte2084:color_primaries=bt2020:colorspace=bt2020nc:range=tv"
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    source = clip(
        tmp_path / "a.mkv",
        *("-vf", f"gblur=3,scale=out_color_matrix=bt2020:out_range=tv,format=yuv420p10le,{tags}"),
        *("-pix_fmt", "yuv420p10le", "-x265-params", f"log-level=error:master-display={display}:max-cll=1000,400"),
        codec="libx265",
        source="mandelbrot=s=160x120:r=25",
    )
    target = tmp_path / f"b.{ending}"
    clean(source, target, hdr=True, crf=8)
    assert change(source, target).max() <= 4  # a level of 8 bits
    shown = [probe(path, "-show_frames", "-read_intervals", "%+#1")["frames"][0] for path in (source, target)]
    for key in ("pix_fmt", "color_range", "color_space", "color_primaries", "color_transfer"):
        assert shown[1][key] == shown[0][key], key
    (display_before, light_before), (display_after, light_after) = (
        [data for data in frame["side_data_list"] if "metadata" in data["side_data_type"]] for frame in shown
    )
    assert light_after == light_before == light_before | {"max_content": 1000, "max_average": 400}
    for key in display_before.keys() - {"side_data_type"}:
        before, after = Fraction(display_before[key]), Fraction(display_after[key])
        assert abs(after - before) <= before / 1000 + Fraction(1, 10_000), key


def test_marks_that_no_encoder_is_told_are_named(tmp_path):
    source = clip(tmp_path / "a.mp4", "-x264opts", "frame-packing=3", frames=2)
    assert any("3D" in notice for notice in prepare(Job(source, tmp_path / "b.mp4"), VideoOptions()).notices)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov"])
def test_every_frame_of_a_variable_rate_keeps_its_time(tmp_path, ending):
    source = clip(
        tmp_path / f"a.{ending}",
        *("-vf", "select='not(between(n,3,6))*not(eq(n,9))',setpts=PTS+0.5/TB", "-fps_mode", "passthrough"),
        frames=14,
    )
    clean(source, tmp_path / f"b.{ending}", checkpoint=Fraction(1, 5))
    assert len(times(source)) == 14
    assert len(set(np.diff(times(source)))) > 1
    assert times(source) == times(tmp_path / f"b.{ending}")


def rich_clip(tmp_path, ending):
    """Two sound tracks, subtitles, chapters, a title, languages, a cover picture."""
    (tmp_path / "a.srt").write_text("1\n00:00:00,100 --> 00:00:00,300\nRain\n")
    (tmp_path / "meta.txt").write_text(
        ";FFMETADATA1\ntitle=Wet road\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\ntitle=One\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=200\nEND=400\ntitle=Two\n"
    )
    ffmpeg("-f", "lavfi", "-i", "color=red:s=32x32", "-frames:v", 1, tmp_path / "cover.jpg")
    source = tmp_path / f"a.{ending}"
    pictures = ["-i", tmp_path / "cover.jpg"] if ending == "mp4" else []
    inputs = [*PICTURE, *SOUND, *SOUND, "-i", tmp_path / "a.srt", "-i", tmp_path / "meta.txt", *pictures]
    maps = ["-map", 0, "-map", 1, "-map", 2, "-map", 3, *(["-map", 5] if pictures else [])]
    cover = ["-c:v:1", "copy", "-disposition:v:1", "attached_pic"] if pictures else []
    attached = ["-attach", tmp_path / "cover.jpg", "-metadata:s:t", "mimetype=image/jpeg"] if ending == "mkv" else []
    ffmpeg(
        *(*inputs, *maps, "-map_metadata", 4, "-map_chapters", 4, "-t", "0.4", "-c:v:0", "libx264"),
        *("-pix_fmt:v:0", "yuv420p", "-c:a", "aac", "-c:s", "mov_text" if ending != "mkv" else "srt", *cover),
        *("-metadata", "creation_time=2024-05-06T07:08:09Z", "-metadata:s:a:1", "language=deu"),
        *("-disposition:a:1", "forced", "-disposition:a:0", "default", *attached, source),
    )
    return source


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv"])
def test_what_rides_along(tmp_path, ending):
    source = rich_clip(tmp_path, ending)
    clean(source, tmp_path / f"b.{ending}")
    before, after = probe(source), probe(tmp_path / f"b.{ending}")

    def row(stream):
        tags = stream.get("tags", {})
        on = sorted(name for name, value in stream["disposition"].items() if value)
        return stream["codec_type"], stream.get("codec_name"), tags.get("language"), tags.get("filename"), on

    assert [row(stream) for stream in after["streams"]] == [row(stream) for stream in before["streams"]]
    assert len(before["streams"]) >= 4

    def chapters(shown):
        return [(c["start_time"], c["end_time"], c["tags"]["title"]) for c in shown["chapters"]]

    assert len(chapters(before)) == 2
    assert chapters(after) == chapters(before)
    for key in ("title", "creation_time"):
        assert after["format"]["tags"].get(key) == before["format"]["tags"].get(key)


def test_two_cameras_and_one(data, tmp_path):
    source = data / "video/nasa_13013.mp4"
    work = prepare(Job(source, tmp_path / "b.mp4"), VideoOptions(video_stream=1, end=Fraction(1)))
    assert [strand.footage.index for strand in work.strands] == [3]
    clean_video(work, lambda frames: (255 - frame for frame in frames), "a test")
    kinds = [stream["codec_type"] for stream in probe(tmp_path / "b.mp4")["streams"]]
    assert kinds == ["video", "audio", "subtitle", "video", "audio", "subtitle"]
    before, after = planes(source, 0)[0][0], planes(tmp_path / "b.mp4", 0)[0][0]
    assert np.array_equal(before, after)  # copied
    assert abs(planes(source, 1)[0][0].mean() + planes(tmp_path / "b.mp4", 1)[0][0].mean() - 251) < 6  # inverted
    with pytest.raises(OptionError, match="2 video stream"):
        prepare(Job(source, tmp_path / "b.mp4"), VideoOptions(video_stream=2))
    clean(source, tmp_path / "look.mp4", video_stream=1, preview=Fraction(1, 4))
    shown = [(s["codec_type"], s.get("width")) for s in probe(tmp_path / "look.mp4")["streams"]]
    assert sorted(shown, key=str) == sorted([("video", 960), *[("audio", None), ("subtitle", None)] * 2], key=str)


def test_a_part_with_a_camera_that_is_copied(tmp_path):
    """The copied stream begins at its first key frame in the part, shows nothing from before, and stays in time."""
    source = tmp_path / "a.mp4"
    ffmpeg(
        *(*PICTURE, "-f", "lavfi", "-i", "testsrc2=s=64x48:r=25", "-map", 0, "-map", 1, "-t", 2, "-c:v", "libx264"),
        *("-pix_fmt", "yuv420p", "-bf", 2, "-x264opts", "keyint=20:min-keyint=20:open-gop=1", source),
    )
    target = tmp_path / "b.mp4"
    work = clean(source, target, video_stream=0, start=Fraction(3, 5), end=Fraction(8, 5))
    assert any("stream 1 is copied" in notice and "0.80 s" in notice for notice in work.notices)
    cleaned, copied = (planes(target, stream) for stream in (0, 1))
    assert (len(cleaned), times(target)[0]) == (25, 0)
    unit, before = Fraction(probe(target)["streams"][1]["time_base"]), planes(source, 1)
    numbers = [(tick * unit + Fraction(3, 5)) * 25 for tick in times(target, "v:1")]
    assert numbers[:20] == list(range(20, 40))
    for number, frame in zip(numbers, copied, strict=True):
        assert np.array_equal(frame[0], before[int(number)][0])  # to the bit
    with pytest.raises(OptionError, match="no key frame"):
        prepare(Job(source, target), VideoOptions(video_stream=0, start=Fraction(9, 5)))


def test_what_a_container_cannot_hold_is_known_before(tmp_path):
    source = rich_clip(tmp_path, "mkv")
    with pytest.raises(VideoRefused, match=r"-o b\.mkv"):
        prepare(Job(source, tmp_path / "b.mp4"), VideoOptions())
    with pytest.raises(VideoRefused, match=r"b\.mkv"):
        prepare(Job(clip(tmp_path / "c.mp4"), tmp_path / "b.mp4"), VideoOptions(codec=VideoCodec.FFV1))


@pytest.mark.parametrize(
    ("name", "codec"), [("a.avi", "mpeg4"), ("a.ts", "libx264"), ("a.webm", "libvpx-vp9"), ("a.mov", "mjpeg")]
)
def test_other_kinds_of_files(tmp_path, name, codec):
    source = clip(tmp_path / name, *(["-pix_fmt", "yuvj420p"] if codec == "mjpeg" else []), codec=codec, frames=7)
    (job,) = plan_videos([str(source)]).jobs
    work = prepare(job, VideoOptions())
    clean_video(work, unchanged, "a test")
    assert len(times(job.target)) == 7
    assert not damage(work)


def test_a_gps_log_is_reported(tmp_path):
    source = clip(tmp_path / "a.mp4")
    with source.open("ab") as file:
        file.write(b"\0\0\0\x10gps " + bytes(8))
    work = prepare(Job(source, tmp_path / "b.mp4"), VideoOptions())
    assert any("gps" in notice for notice in work.notices)


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
    from dpenet_cli.video.safe_open import open_capture

    before = os.environ.get("OPENCV_FFMPEG_CAPTURE_OPTIONS")
    canary = clip(tmp_path / "canary.mp4")
    (tmp_path / "concat.mp4").write_text(f"ffconcat version 1.0\nfile '{canary}'\n")
    assert open_capture(canary).isOpened()
    assert not open_capture(tmp_path / "concat.mp4").isOpened()
    assert os.environ.get("OPENCV_FFMPEG_CAPTURE_OPTIONS") == before


def test_files_that_are_no_videos(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video at all, only words " * 50)
    ffmpeg(*SOUND, "-t", 1, tmp_path / "sound.m4a")
    (tmp_path / "cut.mp4").write_bytes(clip(tmp_path / "a.mp4").read_bytes()[:-900])  # its index is gone
    told = {"empty.mp4": "empty", "text.mp4": "cannot be opened", "sound.m4a": "only sound", "cut.mp4": "cannot be"}
    for name, words in told.items():
        with pytest.raises(VideoReadError, match=words):
            prepare(Job(tmp_path / name, tmp_path / "out.mp4"), VideoOptions())


def test_damage_is_cleaned_as_far_as_it_decodes_and_told(tmp_path):
    source = clip(tmp_path / "a.ts", "-g", 5, "-bf", 0, frames=40)
    whole = source.read_bytes()
    middle = len(whole) // 2 // 188 * 188
    source.write_bytes(whole[:middle] + whole[middle + 188 * 6 :])
    work = clean(source, tmp_path / "b.mkv")
    assert "packets are missing" in damage(work).why
    assert 30 < len(times(tmp_path / "b.mkv")) <= 40


def test_bytes_that_were_overwritten_are_told(tmp_path):
    source = clip(
        tmp_path / "a.mp4", "-g", 5, "-bf", 0, "-crf", 30, "-qp", 20, frames=40, source="mandelbrot=s=160x120:r=25"
    )
    data = bytearray(source.read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 3
    data[middle : middle + 400] = bytes(range(200)) * 2
    source.write_bytes(data)
    work = clean(source, tmp_path / "b.mp4")
    assert "PyAV" in work.details[0]
    frame, seconds = re.search(r"near frame (\d+) \(([\d.]+) s\)", damage(work).why).groups()
    assert int(frame) / 25 == pytest.approx(float(seconds), abs=0.05)
    assert 8 <= int(frame) <= 20  # a third of the data is about a third of the frames
    assert 30 < len(times(tmp_path / "b.mp4")) <= 40


def test_a_file_that_was_cut_off_is_told(tmp_path):
    source = clip(tmp_path / "a.mkv", "-g", 5, frames=75)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 3])
    work = clean(source, tmp_path / "b.mkv")
    assert "missing" in damage(work).why


@pytest.mark.parametrize("clock", ["anew", "on"])
def test_recordings_joined_with_cat_are_no_damage(tmp_path, clock):
    """Each part keeps its own pace and its sound in time, and begins where the one before ends."""
    whole = [*PICTURE, *SOUND, "-t", 2, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", 25, "-c:a", "aac"]
    parts = [tmp_path / "0.ts", tmp_path / "1.ts"]
    if clock == "anew":
        for part in parts:
            ffmpeg(*whole, part)
    else:
        ffmpeg(*whole, *("-f", "segment", "-segment_time", 1, "-segment_format", "mpegts"), tmp_path / "%d.ts")
    source = tmp_path / "a.ts"
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    work = clean(source, tmp_path / "b.mkv")
    assert damage(work) is None
    assert any("joined at" in notice for notice in work.notices)

    def seconds(path, stream):
        found = probe(path, "-select_streams", stream, "-show_entries", "packet=pts_time")["packets"]
        return np.array(sorted(float(packet["pts_time"]) for packet in found))

    begins = {}
    for stream in ("v:0", "a:0"):
        after = seconds(tmp_path / "b.mkv", stream)
        assert 0 < np.diff(after).min() <= np.diff(after).max() < 0.3
        for part in parts:
            before = seconds(part, stream)
            mine, after = after[: len(before)], after[len(before) :]
            assert np.abs((mine - mine[0]) - (before - before[0])).max() <= 0.002
            begins.setdefault(part, []).append(mine[0] - before[0])
        assert not len(after)
    for picture, sound in begins.values():
        assert picture == pytest.approx(sound, abs=0.002)


@pytest.mark.parametrize("sound", [[], [*SOUND, "-c:a", "aac"]], ids=["silent", "sound"])
@pytest.mark.parametrize("count", [12, 10, 5, 2, 1])
def test_recordings_of_less_than_half_a_second_follow_each_other(tmp_path, count, sound):
    """Whatever counters go on by chance across a joint, as those of one table, or of 16 packets, do."""
    part, source = tmp_path / "part.ts", tmp_path / "a.ts"
    encoded = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", 0]
    ffmpeg(*PICTURE, *sound[:4], "-t", count / 25, *encoded, *sound[4:], part)
    source.write_bytes(part.read_bytes() * 4)
    work = clean(source, tmp_path / "b.mkv")
    assert damage(work) is None
    assert len(work.movie.timeline.joints) == 3
    steps = np.diff(work.movie.footage[0].ticks)
    assert len(steps) == 4 * count - 1
    joined = np.zeros(len(steps), bool)
    joined[count - 1 :: count] = True
    assert set(steps[~joined]) <= {3600}
    assert (steps[joined] == steps[joined][0]).all()
    if sound:
        assert (steps[joined] >= 3600).all()  # the sound of each part is a little longer than its picture
    else:
        assert (steps[joined] == 3600).all()
    after = look(tmp_path / "b.mkv").footage[0].ticks  # in milliseconds
    assert np.abs(np.diff(after) - steps / 90).max() <= 1


def test_a_clock_that_falters_is_a_joint_only_where_counters_break():
    """Across the table of programs with which the second recording begins; the sound's break alone says little."""
    positions, starts = np.array([100, 200, 400, 500]), np.array([0, 3600, 0, 3600])
    counters = Counters((Break(257, 50, 350, fresh=True), Break(256, 200, 400, fresh=True)), (0, 180, 250, 320, 600))
    pictures = np.ones(4, int)
    assert _jumps(positions, starts, pictures, counters) == [(1, 2)]
    assert counters.restart_between(200, 400) == 250
    lost = tuple(item._replace(fresh=False) for item in counters.breaks)
    for other in (Counters(), counters._replace(tables=()), counters._replace(breaks=lost)):
        assert _jumps(positions, starts, pictures, other) == []
    assert _jumps(positions, starts - 90_000 * (positions > 300), pictures, Counters()) == [(1, 2)]


class Crash(Exception):
    pass


def test_a_resume_costs_what_is_left(tmp_path, monkeypatch):
    """Disk and time: not those of the segments that are there, and no frame at all where all are there."""
    source = clip(tmp_path / "a.mp4", frames=30)
    options = VideoOptions(checkpoint=Fraction(2, 5))
    module = sys.modules["dpenet_cli.video.estimate"]
    work = prepare(Job(source, tmp_path / "b.mp4"), options)
    place = WorkFolder(tmp_path / "b.mp4", identity(work, "a test"))
    whole = estimate(work, unchanged, "a test")
    frame = 64 * 48 // 16  # bytes by the estimate's rule of thumb
    assert whole.bytes_needed == source.stat().st_size + 2 * 30 * frame

    def crash(frames):
        yield from itertools.islice(frames, 25)
        time.sleep(0.5)
        raise Crash

    with pytest.raises(Crash):
        clean_video(work, crash, "a test")
    held = sum(place.segment(0, number).stat().st_size for number in range(2))
    left = estimate(work, unchanged, "a test")
    assert (left.frames, left.bytes_needed) == (10, source.stat().st_size + held + 2 * 10 * frame)

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["dpenet_cli.video.deraining"], "assemble", lambda *_: next(unchanged([])))
        with pytest.raises(StopIteration):
            clean_video(work, unchanged, "a test")
    held = sum(place.segment(0, number).stat().st_size for number in range(3))
    (place.folder / "result.mp4").write_bytes(bytes(100))

    def forbidden(frames):
        raise AssertionError

    needed = held + source.stat().st_size
    for free, enough in ((needed - 100, True), (needed - 101, False)):  # what is replaced gives its space
        monkeypatch.setattr(module.shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        if enough:
            nothing = estimate(work, forbidden, "a test")
            assert (nothing.frames, nothing.seconds, nothing.bytes_needed) == (0, 0.0, needed)
        else:
            with pytest.raises(VideoWriteError, match="are needed while working"):
                estimate(work, forbidden, "a test")
    assert clean_video(work, forbidden, "a test") == ()
    assert len(planes(tmp_path / "b.mp4")) == 30


def test_a_crash_costs_one_segment_and_changes_nothing(tmp_path):
    source = clip(tmp_path / "a.mp4", "-bf", 3, frames=30)

    def darken(frames):
        yield from (frame // 2 for frame in frames)

    def crash_at(number):
        def network(frames):
            for count, frame in enumerate(frames):
                if count == number:
                    time.sleep(0.5)  # what was handed over is written
                    raise Crash
                yield frame // 2

        return network

    options = {"checkpoint": Fraction(2, 5)}
    clean(source, tmp_path / "whole.mp4", darken, **options)
    with pytest.raises(Crash):
        clean(source, tmp_path / "b.mp4", crash_at(23), **options)
    part = tmp_path / "b.mp4.part"
    assert sorted(path.name for path in part.glob("*.mkv"))[:2] == ["0-00000.mkv", "0-00001.mkv"]
    assert not (tmp_path / "b.mp4").exists()
    told = []
    work = prepare(Job(source, tmp_path / "b.mp4"), VideoOptions(**options))
    assert clean_video(work, darken, "a test", told.append) == ()
    assert (told[0], told[-1]) == (20, 30)
    assert not part.exists()
    assert all(
        np.array_equal(a, b)
        for x, y in zip(planes(tmp_path / "whole.mp4"), planes(tmp_path / "b.mp4"), strict=True)
        for a, b in zip(x, y, strict=True)
    )
    assert times(tmp_path / "whole.mp4") == times(tmp_path / "b.mp4") == times(source)


def test_other_options_or_another_input_start_over(tmp_path):
    source = clip(tmp_path / "a.mp4", frames=30)
    options = VideoOptions(checkpoint=Fraction(2, 5))

    def crash(frames):
        yield from itertools.islice(frames, 15)
        time.sleep(0.5)
        raise Crash

    def begin():
        with pytest.raises(Crash):
            clean_video(prepare(Job(source, tmp_path / "b.mp4"), options), crash, "a test")

    begin()
    (told,) = clean_video(prepare(Job(source, tmp_path / "b.mp4"), options), unchanged, "another engine")
    assert "started over" in told
    begin()
    os.utime(source, (5, 5))
    (told,) = clean_video(prepare(Job(source, tmp_path / "b.mp4"), options), unchanged, "a test")
    assert "started over" in told
    begin()
    segment = tmp_path / "b.mp4.part/0-00000.mkv"
    segment.write_bytes(segment.read_bytes()[:500])  # it does not hold what the manifest says: it does not count
    told = []
    clean_video(prepare(Job(source, tmp_path / "b.mp4"), options), unchanged, "a test", told.append)
    assert told[0] == 0


def test_an_encoder_that_fails_is_told_with_its_words(tmp_path):
    """Before the work starts, where it is the options' fault; later, where it is not."""
    source = clip(tmp_path / "a.mp4")
    with pytest.raises(VideoRefused, match="nonsense"):
        prepare(Job(source, tmp_path / "b.mp4"), VideoOptions(preset="nonsense"))
    work = prepare(Job(source, tmp_path / "b.mp4"), VideoOptions())
    strand = dataclasses.replace(
        work.strands[0], encoding=dataclasses.replace(work.strands[0].encoding, preset="nonsense")
    )
    with pytest.raises(VideoWriteError, match="nonsense"):
        clean_video(dataclasses.replace(work, strands=(strand,)), unchanged, "a test")
    assert not (tmp_path / "b.mp4").exists()
    assert children() == []


def test_an_ffmpeg_of_ones_own(tmp_path, monkeypatch):
    source = clip(tmp_path / "a.mp4")
    work = prepare(Job(source, tmp_path / "b.mp4"), VideoOptions())
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "no-such-program"))
    with pytest.raises(VideoWriteError, match="no-such-program"):
        clean_video(work, unchanged, "a test")


def test_nvenc_is_tried_not_assumed(tmp_path):
    work = prepare(Job(clip(tmp_path / "a.mp4"), tmp_path / "b.mp4"), VideoOptions(encoder=VideoEncoder.NVENC))
    (strand,) = work.strands
    assert strand.encoding.hardware != any("nvenc does not work here" in notice for notice in work.notices)
    clean_video(work, unchanged, "a test")
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


def test_fonts_and_time_codes_ride_along(tmp_path):
    (tmp_path / "a.ttf").write_bytes(bytes(200))
    kind = "mimetype=application/x-truetype-font"
    source = clip(tmp_path / "a.mkv", "-attach", tmp_path / "a.ttf", "-metadata:s:t", kind)
    clean(source, tmp_path / "b.mkv")
    assert probe(tmp_path / "b.mkv")["streams"][1]["tags"]["filename"] == "a.ttf"
    work = clean(clip(tmp_path / "a.mov", "-timecode", "01:02:03:04"), tmp_path / "b.mov")
    assert probe(tmp_path / "b.mov")["streams"][0]["tags"]["timecode"] == "01:02:03:04"
    assert not work.notices


@pytest.mark.parametrize("form", ["rgb24", "gray"])
def test_rgb_and_grey_pixels(tmp_path, form):
    import av

    codec = {"rgb24": "qtrle", "gray": "ffv1"}[form]
    source = tmp_path / ("a.mov" if form == "rgb24" else "a.mkv")
    clip(source, "-vf", "gblur=3", "-pix_fmt", form, codec=codec, frames=3, source="mandelbrot=s=160x120:r=25")
    clean(source, tmp_path / "b.mkv", codec=VideoCodec.FFV1)
    shown = []
    for path in (source, tmp_path / "b.mkv"):
        with av.open(str(path)) as container:
            shown.append([frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)])
    assert np.abs(np.array(shown[0]) - np.array(shown[1])).mean() < 1


def test_an_unknown_ending(tmp_path):
    with pytest.raises(VideoError, match=r"\.gif"):
        prepare(Job(clip(tmp_path / "a.mp4"), tmp_path / "b.gif"), VideoOptions())


def test_counts_are_facts_not_headers(tmp_path):
    movie = look(clip(tmp_path / "a.mkv", frames=13))
    assert len(movie.footage[0].ticks) == 13


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


def test_a_clock_that_was_running_before_starts_at_0(tmp_path):
    """As players count, and as people name --start; sound and picture keep their distance."""
    source = tmp_path / "a.ts"
    encoded = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    ffmpeg(*PICTURE, *SOUND, "-t", 1, *encoded, "-output_ts_offset", 5000, source)
    clean(source, tmp_path / "b.mkv")
    before, after = (float(probe(path)["format"]["duration"]) for path in (source, tmp_path / "b.mkv"))
    assert after == pytest.approx(before, abs=0.05)
    found = [[times(path, stream)[0] for stream in ("v:0", "a:0")] for path in (source, tmp_path / "b.mkv")]
    assert (found[0][0] - found[0][1]) / 90 == pytest.approx(found[1][0] - found[1][1], abs=1.1)
    assert 0 <= min(found[1]) < 100
    assert prepare(Job(source, tmp_path / "c.mkv"), VideoOptions(start=Fraction(1, 2))).frames in range(12, 15)


def test_a_size_that_changes_on_the_way_is_told(tmp_path):
    parts = [clip(tmp_path / f"{n}.ts", source=f"testsrc=s={s}:r=25") for n, s in enumerate(("64x48", "96x64"))]
    source = tmp_path / "a.ts"
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    work = clean(source, tmp_path / "b.mkv")
    assert any("becomes 64×48" in notice for notice in work.notices)
    (after,) = probe(tmp_path / "b.mkv")["streams"]
    assert (after["width"], after["height"], len(times(tmp_path / "b.mkv"))) == (64, 48, 20)


def test_what_no_container_carries_is_told_with_another_way_out(tmp_path):
    source = tmp_path / "a.wmv"
    ffmpeg(*PICTURE, *SOUND, "-t", "0.4", "-c:v", "wmv2", "-c:a", "wmav2", source)
    with pytest.raises(VideoRefused, match="clean the result: ") as refused:
        prepare(Job(source, tmp_path / "b.mkv"), VideoOptions())
    way_out = shlex.split(refused.value.next_step.partition("result: ")[2])
    subprocess.run(way_out, check=True, capture_output=True, timeout=60)
    clean(tmp_path / "a-converted.mkv", tmp_path / "b.mkv")
    assert [stream["codec_name"] for stream in probe(tmp_path / "b.mkv")["streams"]] == ["h264", "flac"]
    assert len(times(tmp_path / "b.mkv")) == 10


@pytest.mark.parametrize(
    ("frames", "pace", "taken"), [(1, 10.0, 1), (2, 1.0, 2), (40, 1.0, 3), (40, 0.25, 9), (900, 0.001, 900)]
)
def test_the_pace_is_measured_behind_the_first_frame(frames, pace, taken, monkeypatch):
    estimate = sys.modules["dpenet_cli.video.estimate"]
    now, cleaned = [0.0], []
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: now[0])

    def clean(images):
        for image in images:
            now[0] += pace if cleaned else 10.0
            cleaned.append(image)
            yield image

    assert estimate._pace(clean, iter(range(frames))) == pytest.approx(pace)
    assert len(cleaned) == taken
