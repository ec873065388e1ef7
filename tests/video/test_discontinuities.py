"""Recordings that were joined with cat, and clocks that were running before."""

from fractions import Fraction

import numpy as np
import pytest
from clips import PICTURE, SOUND, clean, ffmpeg, probe, times

from dpenet_cli.options import VideoOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.video.discontinuities import _clock_jumps
from dpenet_cli.video.mpegts import Continuity, CounterBreak
from dpenet_cli.video.probe import probe as media_info
from dpenet_cli.video.video_task import damage, prepare


@pytest.mark.parametrize("clock", ["anew", "on"])
def test_recordings_joined_with_cat_are_no_damage(tmp_path, clock):
    """Each part keeps its own pace and its sound in time, and begins where the one before ends."""
    whole = [*PICTURE, *SOUND, "-t", 2, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", 25, "-c:a", "aac"]
    parts = [tmp_path / "0.ts", tmp_path / "1.ts"]
    if clock == "anew":
        for part in parts:
            ffmpeg(*whole, part)
    else:
        ffmpeg(*whole, "-f", "segment", "-segment_time", 1, "-segment_format", "mpegts", tmp_path / "%d.ts")
    source = tmp_path / "a.ts"
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    task = clean(source, tmp_path / "b.mkv")
    assert damage(task) is None
    assert any("joined at" in notice for notice in task.notices)

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
    """Whatever counters go on by chance across a discontinuity, as those of one table, or of 16 packets, do."""
    part, source = tmp_path / "part.ts", tmp_path / "a.ts"
    encoded = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", 0]
    ffmpeg(*PICTURE, *sound[:4], "-t", count / 25, *encoded, *sound[4:], part)
    source.write_bytes(part.read_bytes() * 4)
    task = clean(source, tmp_path / "b.mkv")
    assert damage(task) is None
    assert len(task.media.timeline.discontinuities) == 3
    steps = np.diff(task.media.streams[0].ticks)
    assert len(steps) == 4 * count - 1
    joined = np.zeros(len(steps), bool)
    joined[count - 1 :: count] = True
    assert set(steps[~joined]) <= {3600}
    assert (steps[joined] == steps[joined][0]).all()
    if sound:
        assert (steps[joined] >= 3600).all()  # the sound of each part is a little longer than its picture
    else:
        assert (steps[joined] == 3600).all()
    after = media_info(tmp_path / "b.mkv").streams[0].ticks  # in milliseconds
    assert np.abs(np.diff(after) - steps / 90).max() <= 1


def test_a_clock_that_falters_is_a_discontinuity_only_where_counters_break():
    """Across the table of programs with which the second recording begins; the sound's break alone says little."""
    positions, starts = np.array([100, 200, 400, 500]), np.array([0, 3600, 0, 3600])
    breaks = (CounterBreak(257, 50, 350, unit_start=True), CounterBreak(256, 200, 400, unit_start=True))
    continuity = Continuity(breaks, (0, 180, 250, 320, 600))
    pictures = np.ones(4, int)
    assert _clock_jumps(positions, starts, pictures, continuity) == [(1, 2)]
    assert continuity.restart_between(200, 400) == 250
    lost = tuple(item._replace(unit_start=False) for item in continuity.breaks)
    for other in (Continuity(), continuity._replace(pat_positions=()), continuity._replace(breaks=lost)):
        assert _clock_jumps(positions, starts, pictures, other) == []
    assert _clock_jumps(positions, starts - 90_000 * (positions > 300), pictures, Continuity()) == [(1, 2)]


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
