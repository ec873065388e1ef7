"""Work that survives a crash, and what the rest of it will take."""

import itertools
import os
import sys
import time
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from clips import clean, clip, planes, times, unchanged

from dpenet_cli.errors import VideoWriteError
from dpenet_cli.options import VideoOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.video.deraining import clean_video
from dpenet_cli.video.estimate import estimate
from dpenet_cli.video.frames import EachFrame
from dpenet_cli.video.video_task import identity, prepare
from dpenet_cli.video.work_folder import WorkFolder


class Crash(Exception):
    pass


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
    task = prepare(Job(source, tmp_path / "b.mp4"), VideoOptions(**options))
    assert clean_video(task, EachFrame(darken), "a test", told.append) == ()
    assert (told[0], told[-1]) == (20, 30)
    assert not part.exists()
    assert all(
        np.array_equal(a, b)
        for x, y in zip(planes(tmp_path / "whole.mp4"), planes(tmp_path / "b.mp4"), strict=True)
        for a, b in zip(x, y, strict=True)
    )
    assert times(tmp_path / "whole.mp4") == times(tmp_path / "b.mp4") == times(source)


def test_unfinished_work_of_0_1_0_is_known_by_the_same_keys(tmp_path):
    task = prepare(Job(clip(tmp_path / "a.mp4"), tmp_path / "b.mp4"), VideoOptions())
    known = identity(task, "a test")
    assert set(known) == {"input", "engine", "encoder", "strands"}
    (stream,) = known["strands"]
    assert set(stream) == {"stream", "frames", "times", "ffmpeg", "reading", "turns"}
    assert stream["reading"] == {
        "through_opencv": True,
        "coefficients": task.plans[0].reading.coefficients,
        "full": False,
        "deep": False,
        "colour": [0, 2, 2, 2],
        "why": "",
    }
    assert stream["turns"] == [[False, 0], [False, 0]]


def test_other_options_or_another_input_start_over(tmp_path):
    source = clip(tmp_path / "a.mp4", frames=30)
    options = VideoOptions(checkpoint=Fraction(2, 5))

    def crash(frames):
        yield from itertools.islice(frames, 15)
        time.sleep(0.5)
        raise Crash

    def begin():
        with pytest.raises(Crash):
            clean_video(prepare(Job(source, tmp_path / "b.mp4"), options), EachFrame(crash), "a test")

    begin()
    (told,) = clean_video(prepare(Job(source, tmp_path / "b.mp4"), options), EachFrame(unchanged), "another engine")
    assert "started over" in told
    begin()
    os.utime(source, (5, 5))
    (told,) = clean_video(prepare(Job(source, tmp_path / "b.mp4"), options), EachFrame(unchanged), "a test")
    assert "started over" in told
    begin()
    segment = tmp_path / "b.mp4.part/0-00000.mkv"
    segment.write_bytes(segment.read_bytes()[:500])  # it does not hold what the manifest says: it does not count
    told = []
    clean_video(prepare(Job(source, tmp_path / "b.mp4"), options), EachFrame(unchanged), "a test", told.append)
    assert told[0] == 0


def test_a_resume_costs_what_is_left(tmp_path, monkeypatch):
    """Disk and time: not those of the segments that are there, and no frame at all where all are there."""
    source = clip(tmp_path / "a.mp4", frames=30)
    options = VideoOptions(checkpoint=Fraction(2, 5))
    module = sys.modules["dpenet_cli.video.estimate"]
    task = prepare(Job(source, tmp_path / "b.mp4"), options)
    folder = WorkFolder(tmp_path / "b.mp4", identity(task, "a test"))
    whole = estimate(task, EachFrame(unchanged), "a test")
    frame = 64 * 48 // 16  # bytes by the estimate's rule of thumb
    assert whole.bytes_needed == source.stat().st_size + 2 * 30 * frame

    def crash(frames):
        yield from itertools.islice(frames, 25)
        time.sleep(0.5)
        raise Crash

    with pytest.raises(Crash):
        clean_video(task, EachFrame(crash), "a test")
    held = sum(folder.segment(0, number).stat().st_size for number in range(2))
    left = estimate(task, EachFrame(unchanged), "a test")
    assert (left.frames, left.bytes_needed) == (10, source.stat().st_size + held + 2 * 10 * frame)

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["dpenet_cli.video.deraining"], "assemble", lambda *_: next(unchanged([])))
        with pytest.raises(StopIteration):
            clean_video(task, EachFrame(unchanged), "a test")
    held = sum(folder.segment(0, number).stat().st_size for number in range(3))
    (folder.path / "result.mp4").write_bytes(bytes(100))

    def forbidden(frames):
        raise AssertionError

    needed = held + source.stat().st_size
    for free, enough in ((needed - 100, True), (needed - 101, False)):  # what is replaced gives its space
        monkeypatch.setattr(module.shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        if enough:
            nothing = estimate(task, EachFrame(forbidden), "a test")
            assert (nothing.frames, nothing.seconds, nothing.bytes_needed) == (0, 0.0, needed)
        else:
            with pytest.raises(VideoWriteError, match="are needed while working"):
                estimate(task, EachFrame(forbidden), "a test")
    assert clean_video(task, EachFrame(forbidden), "a test") == ()
    assert len(planes(tmp_path / "b.mp4")) == 30


@pytest.mark.parametrize(
    ("frames", "seconds", "taken"), [(1, 10.0, 1), (2, 1.0, 2), (40, 1.0, 3), (40, 0.25, 9), (900, 0.001, 900)]
)
def test_speed_is_measured_behind_the_first_frame(frames, seconds, taken, monkeypatch):
    estimate = sys.modules["dpenet_cli.video.estimate"]
    now, cleaned = [0.0], []
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: now[0])

    def clean(images):
        for image in images:
            now[0] += seconds if cleaned else 10.0
            cleaned.append(image)
            yield image

    assert estimate._seconds_per_frame(clean, iter(range(frames))) == pytest.approx(seconds)
    assert len(cleaned) == taken
