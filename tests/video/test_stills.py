"""One frame of a video, and previews: as the whole shows them, and nothing else is decoded."""

from fractions import Fraction

import av
import numpy as np
import pytest
from clips import clip, dry_and_rainy, ffmpeg, filmed

from dpenet_cli.errors import OptionError
from dpenet_cli.options import VideoMethod, VideoOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.video import readers, scan, video_task
from dpenet_cli.video.over_time import WIDEST_REACH
from dpenet_cli.video.probe import probe, probe_part
from dpenet_cli.video.restoration import restoration
from dpenet_cli.video.stills import read_still
from dpenet_cli.video.video_task import prepare

LONG = ["-g", "25", "-bf", "2", "-crf", "20", "-pix_fmt", "yuv420p"]


@pytest.fixture(scope="module")
def rainy(tmp_path_factory):
    """Eight seconds of rain with a key frame a second, and two pictures shown before each that need others."""
    frames = np.concatenate([dry_and_rainy(50, seed=seed)[1] for seed in range(4)])
    return filmed(tmp_path_factory.mktemp("long") / "a.mkv", frames, "-c:v", "libx264", *LONG)


@pytest.fixture
def decoded(monkeypatch):
    """Counts the frames that are decoded to look at a file, or to read it."""
    count = [0]
    added = scan.add_frame
    to_rgb = readers.to_rgb
    monkeypatch.setattr(scan, "add_frame", lambda *given: (count.__setitem__(0, count[0] + 1), added(*given))[1])
    monkeypatch.setattr(
        readers, "to_rgb", lambda *given, **named: (count.__setitem__(0, count[0] + 1), to_rgb(*given, **named))[1]
    )
    return count


def luma(image):
    return image @ np.array([0.299, 0.587, 0.114])


def whole_frames(path):
    with av.open(str(path)) as container:
        return {frame.time: frame.to_ndarray(format="gray") for frame in container.decode(video=0)}


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts", ".avi", ".mov"])
def test_the_frame_of_a_time_in_every_container(rainy, tmp_path, suffix, decoded):
    path = tmp_path / f"a{suffix}"
    ffmpeg("-i", rainy, "-c", "copy", *(["-bsf:v", "h264_mp4toannexb"] if suffix == ".avi" else []), path)
    whole = probe(path).streams[0]
    images = {whole.time(n): frame for n, frame in enumerate(whole_frames(path).values())}
    decoded[0] = 0
    for when in (Fraction(0), Fraction(5), Fraction(401, 100), Fraction(799, 100)):
        still = read_still(path, when + whole.time(0), VideoOptions())
        assert still.time <= when + whole.time(0) < still.time + Fraction(1, 20)
        assert np.abs(still.before.mean(axis=2) - images[min(images, key=lambda t: abs(t - still.time))]).mean() < 25
        assert [frame.context for frame in still.frames].count(False) == 1
    assert decoded[0] < 4 * (160 if suffix == ".ts" else 90)  # a stream without index is entered by trial


def test_the_frame_is_cleaned_as_the_whole_is(rainy):
    clean = restoration(VideoMethod.TEMPORAL, None)
    task = prepare(Job(rainy, rainy.with_name("b.mkv")), VideoOptions(method=VideoMethod.TEMPORAL))
    whole = [frame.image for frame in clean(task.frames_of(task.plans[0], range(120, 128), clean.reach))]
    still = read_still(rainy, Fraction(124, 25), VideoOptions())
    assert still.time == Fraction(124, 25)
    after = still.cleaned(restoration(VideoMethod.TEMPORAL, None))
    assert np.array_equal(after, whole[4])  # PyAV reads it, as OpenCV reads the whole
    assert np.abs(luma(after) - luma(still.before)).mean() > 1


def test_a_preview_decodes_its_part_alone(rainy, tmp_path, decoded, monkeypatch):
    monkeypatch.setattr(video_task, "probe", None)  # it is not looked at as a whole
    task = prepare(Job(rainy, tmp_path / "look.mkv"), VideoOptions(preview=Fraction(1)))
    assert task.frames == 25
    assert decoded[0] < 90
    start = task.options.start
    assert abs(start - Fraction(7, 2)) <= Fraction(1, 25)
    plan = task.plans[0]
    frames = list(task.frames_of(plan, range(plan.first, plan.stop), 5))
    assert [frame.context for frame in frames] == [True] * 5 + [False] * 25 + [True] * 5
    assert frames[5].pts == start


def test_beyond_the_end_nothing_is_shown(rainy):
    for when in (8, 9, 10**6):
        with pytest.raises(OptionError, match=r"nothing is shown.*run from 0\.00 s to 7\.96 s"):
            read_still(rainy, Fraction(when), VideoOptions())


def test_frames_far_apart(tmp_path):
    path = clip(tmp_path / "slow.mp4", source="testsrc=s=64x48:r=1/10", frames=33)
    still = read_still(path, Fraction(162), VideoOptions())
    assert still.time == 160
    assert len(still.frames) == 2 * WIDEST_REACH + 1


def test_a_file_that_cannot_be_entered_is_read_from_its_beginning(tmp_path):
    part = clip(tmp_path / "a.ts", frames=25)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(part.read_bytes() * 2)
    assert probe_part(joined, lambda first, last: (first, last), 5) is None
    assert read_still(joined, Fraction(3, 2), VideoOptions()).time == Fraction(37, 25)
