"""What is copied: sound, subtitles, chapters, cover pictures, other cameras; and what a container cannot hold."""

import shlex
import subprocess
from fractions import Fraction

import numpy as np
import pytest
from clips import PICTURE, SOUND, clean, clip, ffmpeg, packets, planes, probe, times

from dpenet_cli.errors import OptionError, VideoError, VideoRefused
from dpenet_cli.options import VideoCodec, VideoOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.video.deraining import clean_video
from dpenet_cli.video.frames import EachFrame
from dpenet_cli.video.video_task import prepare


def test_sound_is_copied_to_the_bit(tmp_path):
    source = tmp_path / "a.mp4"
    ffmpeg(*PICTURE, *SOUND, "-t", 1, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", source)
    clean(source, tmp_path / "b.mp4")
    shown = ("-select_streams", "a", "-show_data_hash", "md5", "-show_entries", "packet=pts,data_hash")
    assert probe(source, *shown) == probe(tmp_path / "b.mp4", *shown)
    lasts = [float(probe(path)["format"]["duration"]) for path in (source, tmp_path / "b.mp4")]
    assert lasts[0] == pytest.approx(lasts[1], abs=0.002)


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
    subtitles = ["-c:s", "mov_text" if ending != "mkv" else "srt"]
    encoded = ["-t", "0.4", "-c:v:0", "libx264", "-pix_fmt:v:0", "yuv420p", "-c:a", "aac", *subtitles]
    metadata = ["-map_metadata", 4, "-map_chapters", 4, "-metadata", "creation_time=2024-05-06T07:08:09Z"]
    metadata += ["-metadata:s:a:1", "language=deu", "-disposition:a:1", "forced", "-disposition:a:0", "default"]
    ffmpeg(*inputs, *maps, *encoded, *cover, *metadata, *attached, source)
    return source


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv"])
def test_other_streams_are_copied(tmp_path, ending):
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


def test_fonts_and_time_codes_are_copied(tmp_path):
    (tmp_path / "a.ttf").write_bytes(bytes(200))
    kind = "mimetype=application/x-truetype-font"
    source = clip(tmp_path / "a.mkv", "-attach", tmp_path / "a.ttf", "-metadata:s:t", kind)
    clean(source, tmp_path / "b.mkv")
    assert probe(tmp_path / "b.mkv")["streams"][1]["tags"]["filename"] == "a.ttf"
    task = clean(clip(tmp_path / "a.mov", "-timecode", "01:02:03:04"), tmp_path / "b.mov")
    assert probe(tmp_path / "b.mov")["streams"][0]["tags"]["timecode"] == "01:02:03:04"
    assert not task.notices


def test_two_cameras_and_one(data, tmp_path):
    source = data / "video/nasa_13013.mp4"
    task = prepare(Job(source, tmp_path / "b.mp4"), VideoOptions(video_stream=1, end=Fraction(1)))
    assert [plan.stream.index for plan in task.plans] == [3]
    clean_video(task, EachFrame(lambda frames: (255 - frame for frame in frames)), "a test")
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


def test_a_camera_that_the_container_cannot_hold_is_known_before(tmp_path):
    other = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=25"]
    ffmpeg(*PICTURE, *other, "-map", 0, "-map", 1, "-t", "0.4", "-c:v", "wmv2", tmp_path / "a.avi")
    task = clean(tmp_path / "a.avi", tmp_path / "b.mkv", video_stream=0)
    assert not task.notices
    assert packets(tmp_path / "b.mkv", "video:1") == packets(tmp_path / "a.avi", "video:1")
    with pytest.raises(VideoRefused, match=r"video stream 1 \(wmv2\)\. Choose another container: -o b\.mkv"):
        prepare(Job(tmp_path / "a.avi", tmp_path / "b.mp4"), VideoOptions(video_stream=0))
    assert prepare(Job(tmp_path / "a.avi", tmp_path / "b.mp4"), VideoOptions()).copied == frozenset()


def test_a_part_with_a_camera_that_is_copied(tmp_path):
    """The copied stream begins at its first key frame in the part, shows nothing from before, and stays in time."""
    source = tmp_path / "a.mp4"
    other = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=25"]
    encoded = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", 2, "-x264opts", "keyint=20:min-keyint=20:open-gop=1"]
    ffmpeg(*PICTURE, *other, "-map", 0, "-map", 1, "-t", 2, *encoded, source)
    target = tmp_path / "b.mp4"
    task = clean(source, target, video_stream=0, start=Fraction(3, 5), end=Fraction(8, 5))
    assert any("stream 1 is copied" in notice and "0.80 s" in notice for notice in task.notices)
    cleaned, copied = (planes(target, stream) for stream in (0, 1))
    assert (len(cleaned), times(target)[0]) == (25, 0)
    unit, before = Fraction(probe(target)["streams"][1]["time_base"]), planes(source, 1)
    numbers = [(tick * unit + Fraction(3, 5)) * 25 for tick in times(target, "v:1")]
    assert numbers[:20] == list(range(20, 40))
    for number, frame in zip(numbers, copied, strict=True):
        assert np.array_equal(frame[0], before[int(number)][0])  # to the bit
    with pytest.raises(OptionError, match="no key frame.* Clean all streams"):
        prepare(Job(source, target), VideoOptions(video_stream=0, start=Fraction(9, 5)))


def test_what_a_container_cannot_hold_is_known_before(tmp_path):
    source = rich_clip(tmp_path, "mkv")
    with pytest.raises(VideoRefused, match=r"-o b\.mkv"):
        prepare(Job(source, tmp_path / "b.mp4"), VideoOptions())
    with pytest.raises(VideoRefused, match=r"b\.mkv"):
        prepare(Job(clip(tmp_path / "c.mp4"), tmp_path / "b.mp4"), VideoOptions(codec=VideoCodec.FFV1))


def test_what_no_container_carries_is_told_with_another_way_out(tmp_path):
    source = tmp_path / "a.flv"
    ffmpeg(*PICTURE, *SOUND, "-t", "0.4", "-c:v", "flv", "-c:a", "adpcm_swf", "-ar", 11025, source)
    with pytest.raises(VideoRefused, match="clean the result: ") as refused:
        prepare(Job(source, tmp_path / "b.mkv"), VideoOptions())
    way_out = shlex.split(refused.value.next_step.partition("result: ")[2])
    subprocess.run(way_out, check=True, capture_output=True, timeout=60)
    clean(tmp_path / "a-converted.mkv", tmp_path / "b.mkv")
    assert [stream["codec_name"] for stream in probe(tmp_path / "b.mkv")["streams"]] == ["h264", "flac"]
    assert len(times(tmp_path / "b.mkv")) == 10


@pytest.mark.parametrize(
    ("codec", "ending"),
    [
        *[(name, "avi") for name in ("pcm_alaw", "pcm_mulaw", "adpcm_ms", "adpcm_ima_wav", "g726", "g722")],
        *[("wmav2", "wmv"), ("pcm_alaw", "mkv"), ("pcm_mulaw", "mov"), ("adpcm_ms", "mkv")],
    ],
)
def test_sound_with_a_name_of_windows_rides_along_in_matroska(codec, ending, tmp_path):
    rate = 16000 if codec == "g722" else 8000
    source, folder = tmp_path / f"a.{ending}", tmp_path / r"it's \ a |[folder]"
    ffmpeg(*PICTURE, "-f", "lavfi", "-i", f"sine=r={rate}", "-t", 1, "-c:v", "mpeg4", "-c:a", codec, "-ac", 1, source)
    folder.mkdir()
    task = clean(source, folder / "b.mkv")
    assert not task.notices
    assert packets(folder / "b.mkv") == packets(source)
    (sound,) = probe(folder / "b.mkv", "-select_streams", "a", "-show_streams")["streams"]
    assert (sound["codec_name"].replace("adpcm_g7", "g7"), sound["sample_rate"]) == (codec, str(rate))
    last = [times(path, "a:0")[-1] * unit(path) for path in (source, folder / "b.mkv")]
    assert abs(last[0] - last[1]) < Fraction(2, 1000)
    if ending == "mkv":
        clean(source, folder / "c.mkv", start=Fraction(2, 5), end=Fraction(4, 5))
        assert 0 < len(packets(folder / "c.mkv")) < len(packets(source))


def unit(path):
    """Seconds a tick of the first sound."""
    return Fraction(probe(path, "-select_streams", "a:0", "-show_streams")["streams"][0]["time_base"])


def test_sound_with_a_name_of_windows_and_chapters_do_not_go_together(tmp_path):
    (tmp_path / "meta.txt").write_text(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\ntitle=One\n")
    inputs = [*PICTURE, *SOUND, "-i", tmp_path / "meta.txt", "-map_chapters", 2]
    ffmpeg(*inputs, "-t", "0.4", "-c:v", "mpeg4", "-c:a", "adpcm_ms", tmp_path / "a.mkv")
    with pytest.raises(VideoRefused, match=r"adpcm_ms.*clean the result: "):
        prepare(Job(tmp_path / "a.mkv", tmp_path / "b.mkv"), VideoOptions())


def test_a_gps_log_is_reported(tmp_path):
    source = clip(tmp_path / "a.mp4")
    with source.open("ab") as file:
        file.write(b"\0\0\0\x10gps " + bytes(8))
    task = prepare(Job(source, tmp_path / "b.mp4"), VideoOptions())
    assert any("gps" in notice for notice in task.notices)


def test_an_unknown_ending(tmp_path):
    with pytest.raises(VideoError, match=r"\.gif"):
        prepare(Job(clip(tmp_path / "a.mp4"), tmp_path / "b.gif"), VideoOptions())
