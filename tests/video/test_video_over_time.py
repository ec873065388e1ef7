"""Videos cleaned by their neighbours in time, from file to file: whatever part of one is cleaned, and however often."""

import time
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
from clips import change, dry_and_rainy, ffmpeg, filmed, planes, probe, times

from dpenet_cli.options import VideoCodec, VideoMethod, VideoOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.video.deraining import clean_video
from dpenet_cli.video.restoration import restoration
from dpenet_cli.video.video_task import prepare

INTERLACED = ["-vf", "setfield=tff", "-c:v", "libx264", "-qp", 0, "-flags", "+ildct+ilme", "-x264opts", "tff=1"]
PQ = "setparams=color_trc=smpte2084:color_primaries=bt2020:colorspace=bt2020nc:range=tv"
HDR = ["-vf", f"scale=out_color_matrix=bt2020:out_range=tv,format=yuv420p10le,{PQ}", "-pix_fmt", "yuv420p10le"]


class Crash(Exception):
    pass


class CrashAt:
    """A cleaner that crashes at a frame."""

    def __init__(self, clean, number):
        self._clean, self._number, self.reach = clean, number, clean.reach

    def __call__(self, frames):
        yield from islice(self._clean(frames), self._number)
        time.sleep(0.5)  # what was handed over is written
        raise Crash


def cleaned(source, target, strength=1.0, crash_at=None, **options):
    """Y, Cb and Cr of every frame of the result, which is lossless."""
    task = prepare(Job(source, target), VideoOptions(method=VideoMethod.TEMPORAL, codec=VideoCodec.FFV1, **options))
    levels = task.plans[0].stream.colour.reference_white
    clean = restoration(VideoMethod.TEMPORAL, None, strength, levels=levels)
    clean_video(task, CrashAt(clean, crash_at) if crash_at else clean, "a test")
    return planes(target)


def same(frames, others):
    assert len(frames) == len(others)
    return all(np.array_equal(a, b) for x, y in zip(frames, others, strict=True) for a, b in zip(x, y, strict=True))


def distance(first, second):
    """Mean absolute difference of two planes."""
    return np.abs(first.astype(int) - second).mean()


def error(frames, truth):
    """Mean absolute difference of luma, in levels of its depth."""
    return np.mean([np.abs(a[0] - b[0]).mean() for a, b in zip(frames, truth, strict=True)])


@pytest.fixture(scope="module")
def rainy(tmp_path_factory):
    """A rainy clip of 32 frames, from a camera that moves, then stands still; and what time makes of it in one go."""
    folder = tmp_path_factory.mktemp("rainy")
    frames = dry_and_rainy(32, stops_at=14)[1]
    noise = np.random.default_rng(2).integers(-3, 4, frames.shape)
    source = filmed(folder / "a.mkv", (frames + noise).clip(0, 255).astype(np.uint8))
    return source, cleaned(source, folder / "whole.mkv")


def test_a_crash_and_the_borders_of_segments_dont_show(rainy, tmp_path):
    source, whole = rainy
    short = {"checkpoint": Fraction(2, 5)}
    assert same(whole, cleaned(source, tmp_path / "b.mkv", **short))
    with pytest.raises(Crash):
        cleaned(source, tmp_path / "c.mkv", crash_at=25, **short)
    assert (tmp_path / "c.mkv.part/0-00001.mkv").exists()
    assert not (tmp_path / "c.mkv.part/0-00003.mkv").exists()
    assert same(whole, cleaned(source, tmp_path / "c.mkv", **short))
    assert times(tmp_path / "c.mkv") == times(source)


@pytest.mark.parametrize(("first", "stop"), [(0, 9), (1, 2), (11, 20), (30, 32)])
def test_a_part_shows_what_the_whole_shows(rainy, tmp_path, first, stop):
    source, whole = rainy
    part = cleaned(source, tmp_path / "b.mkv", start=Fraction(first, 25), end=Fraction(stop, 25))
    assert same(part, whole[first:stop])


def test_a_preview_shows_before_and_after(rainy, tmp_path):
    source, whole = rainy
    look = cleaned(source, tmp_path / "b.mkv", preview=Fraction(2, 5))
    before = cleaned(source, tmp_path / "c.mkv", strength=0.0)
    # It is read from the key frame before it on, through PyAV, and shows what the whole shows all the same.
    first = min(range(32), key=lambda number: distance(before[number][0], look[0][0][:, :128]))
    assert 10 <= first <= 12
    assert len(look) == 10
    assert same([[frame[0][:, :128]] for frame in look], [frame[:1] for frame in before[first : first + 10]])
    assert same([[frame[0][:, 128:]] for frame in look], [frame[:1] for frame in whole[first : first + 10]])
    assert error(before[first : first + 10], whole[first : first + 10]) > 0.5


def test_each_camera_has_its_own_neighbours(rainy, tmp_path):
    source, whole = rainy
    picture = dry_and_rainy(20, 64, 80, seed=4)[1]
    other = filmed(tmp_path / "b.mkv", picture, "-pix_fmt", "yuv444p")  # read through PyAV, as a second stream is
    both = tmp_path / "both.mkv"
    ffmpeg("-i", source, "-i", other, "-map", 0, "-map", 1, "-c", "copy", both)
    assert same(cleaned(both, tmp_path / "c.mkv"), whole)
    assert same(planes(tmp_path / "c.mkv", 1), cleaned(other, tmp_path / "d.mkv"))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (["-pix_fmt", "yuv420p10le"], {}),
        (["-pix_fmt", "yuv444p"], {}),
        (INTERLACED, {"deinterlace": True}),
        (HDR, {"hdr": True}),
    ],
    ids=["10 bits", "whole chroma", "interlaced", "hdr"],
)
def test_every_kind_of_video_is_cleaned(tmp_path, kind, options):
    dry, rainy = (
        filmed(tmp_path / f"{name}.mkv", frames.astype(np.uint16) * 257, *kind)
        for name, frames in zip(("dry", "rainy"), dry_and_rainy(12), strict=True)
    )
    truth = cleaned(dry, tmp_path / "truth.mkv", strength=0.0, **options)
    before = cleaned(rainy, tmp_path / "before.mkv", strength=0.0, **options)
    after = cleaned(rainy, tmp_path / "after.mkv", **options)
    assert error(after, truth) < error(before, truth) / 3
    shown = [probe(path)["streams"][0] for path in (rainy, tmp_path / "after.mkv")]
    for key in ("pix_fmt", "color_transfer", "color_primaries", "avg_frame_rate"):
        assert shown[1].get(key) == shown[0].get(key), key
    part = cleaned(rainy, tmp_path / "part.mkv", start=Fraction(1, 5), end=Fraction(2, 5), **options)
    assert same(part, after[5:10])


def test_frames_far_apart_stay_as_they_are(tmp_path):
    source = filmed(tmp_path / "a.mkv", dry_and_rainy(8)[1], rate=5)
    assert same(cleaned(source, tmp_path / "b.mkv"), cleaned(source, tmp_path / "c.mkv", strength=0.0))
    assert change(source, tmp_path / "b.mkv").max() < 1
