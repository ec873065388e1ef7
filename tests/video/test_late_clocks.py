"""Files whose clock does not begin at 0: whole ones are whole, and what is cut off is told with the right seconds."""

import re
import struct
from fractions import Fraction
from pathlib import Path

import pytest
from clips import TEN_A_SECOND, clean, clip, ffmpeg, times
from conftest import dpenet

from dpenet_cli.errors import OptionError
from dpenet_cli.options import VideoOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.video.probe import probe as media_info
from dpenet_cli.video.video_task import damage, prepare

CODECS = {"webm": "libvpx-vp9", "avi": "mpeg4"}


def late(path: Path, *arguments: object, frames: int = 30) -> Path:
    """A video at ten frames a second whose first frame is shown at 10 s."""
    codec = CODECS.get(path.suffix[1:], "libx264")
    shift = ["-g", 5, "-output_ts_offset", 10]
    return clip(path, *shift, *arguments, frames=frames, codec=codec, source=TEN_A_SECOND)


def test_the_commands(tmp_path, tiny_weights):
    late(tmp_path / "late.mkv", frames=10)
    run = ["video", "late.mkv", "--weights", tiny_weights, "--strength", 0, "-o"]
    empty = dpenet(*run, "a.mkv", "--start", 0, "--end", 5, cwd=tmp_path)
    assert empty.returncode == 1
    assert "10.00 s" in empty.stderr
    assert "10.90 s" in empty.stderr
    part = dpenet(*run, "b.mkv", "--start", 10, "--end", "10.5", cwd=tmp_path)
    assert part.returncode == 0, part.stderr
    assert "damage" not in part.stderr
    assert times(tmp_path / "b.mkv") == [0, 100, 200, 300, 400]
    whole = dpenet(*run, "c.mkv", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    assert times(tmp_path / "c.mkv") == [10_000 + 100 * k for k in range(10)]


@pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.mp4", "a.mov", "a.flv", "a.nut", "a.ts", "a.avi"])
def test_whole_files_are_whole(name, tmp_path):
    media = media_info(late(tmp_path / name))
    assert not media.damaged
    first, last = (float(media.streams[0].time(frame)) for frame in (0, -1))
    # A transport stream begins at 0; AVI shows its first frame from 0 on.
    assert first == pytest.approx({"a.ts": 0, "a.avi": 0}.get(name, 10))
    assert last == pytest.approx(2.9 if name == "a.ts" else 12.9)
    assert damage(prepare(Job(tmp_path / name, tmp_path / "out.mkv"), VideoOptions())) is None


@pytest.mark.parametrize("flags", ["+faststart", "+frag_keyframe+delay_moov"])
def test_edit_lists(flags, tmp_path):
    media = media_info(late(tmp_path / "a.mp4", "-movflags", flags))
    assert not media.damaged
    assert media.streams[0].time(0) == 10
    # An edit that begins within the recording leaves what lies before it out.
    clip(tmp_path / "whole.mp4", "-g", 5, frames=30, source=TEN_A_SECOND)
    ffmpeg("-ss", "1.2", "-i", tmp_path / "whole.mp4", "-c", "copy", tmp_path / "edited.mov")
    assert not media_info(tmp_path / "edited.mov").damaged


def test_an_avi_with_a_start(tmp_path):
    source = clip(tmp_path / "a.avi", codec="mpeg4", frames=30, source=TEN_A_SECOND)
    data = bytearray(source.read_bytes())
    at = data.index(b"strh") + 8 + 28
    data[at : at + 4] = struct.pack("<I", 100)  # ticks of a tenth of a second
    source.write_bytes(data)
    media = media_info(source)
    assert not media.damaged
    assert media.streams[0].time(0) == 10
    clean(source, tmp_path / "b.mkv", start=Fraction(10), end=Fraction(21, 2))
    assert times(tmp_path / "b.mkv") == [0, 100, 200, 300, 400]


@pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.mp4", "a.flv"])
def test_what_is_cut_off_and_begins_late_is_told(name, tmp_path):
    source = late(tmp_path / name, *(["-movflags", "+faststart"] if name == "a.mp4" else []))
    source.write_bytes(source.read_bytes()[: source.stat().st_size * 55 // 100])
    media = media_info(source)
    last = float(media.streams[0].time(-1))
    told = damage(prepare(Job(source, tmp_path / "out.mkv"), VideoOptions()))
    missing = float(re.search(r"its last ([\d.]+) s are missing", told.why).group(1))
    assert 1 < missing < 3
    assert last + missing == pytest.approx(13, abs=0.9)


def test_a_long_clock_hides_no_cut(tmp_path):
    """What may be missing is measured by the file's length, not by the time of day that its clock tells."""
    source = tmp_path / "a.mkv"
    clip(source, "-g", 5, "-output_ts_offset", 36_000, frames=60, source=TEN_A_SECOND)
    assert not media_info(source).damaged
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    assert 2 < media_info(source).cut_off < 5


def test_the_error_of_an_empty_range_names_both_ends(tmp_path):
    source = late(tmp_path / "a.mp4", frames=5)
    with pytest.raises(OptionError, match=r"from 10\.00 s until 10\.40 s"):
        prepare(Job(source, tmp_path / "b.mp4"), VideoOptions(end=Fraction(5)))
    with pytest.raises(OptionError, match=r"from 10\.00 s until 10\.40 s"):
        prepare(Job(source, tmp_path / "b.mp4"), VideoOptions(start=Fraction(50)))
