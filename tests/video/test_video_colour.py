"""Colour: matrices, ranges, depth, chroma, HDR."""

from fractions import Fraction

import numpy as np
import pytest
from clips import change, clean, clip, ffmpeg, probe

from dpenet_cli.errors import VideoRefused
from dpenet_cli.options import VideoCodec, VideoOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.video.video_task import prepare

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
    task = clean(source, tmp_path / "b.mkv", codec=VideoCodec.FFV1)
    assert change(source, tmp_path / "b.mkv").max() <= 1.0, task.details
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
        task = clean(short, tmp_path / f"{name}.mkv", codec=VideoCodec.FFV1)
        assert "OpenCV" in task.details[0]
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
    task = clean(source, tmp_path / "b.mkv")
    (after,) = probe(tmp_path / "b.mkv")["streams"]
    assert (after["codec_name"], after["pix_fmt"]) == expected
    assert "PyAV" in task.details[0]
    clean(source, tmp_path / "same.mkv", codec=VideoCodec.FFV1)
    assert change(source, tmp_path / "same.mkv").max() <= (4 if "10" in pixels else 1)  # a level of 8 bits


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
    picture = ["-vf", f"gblur=3,scale=out_color_matrix=bt2020:out_range=tv,format=yuv420p10le,{tags}"]
    told = ["-pix_fmt", "yuv420p10le", "-x265-params", f"log-level=error:master-display={display}:max-cll=1000,400"]
    source = clip(tmp_path / "a.mkv", *picture, *told, codec="libx265", source="mandelbrot=s=160x120:r=25")
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
