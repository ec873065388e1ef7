"""Flicker: cases whose answer is known, an implementation by the formula, real frames, and what is kept."""

import doctest
import itertools
import math
import weakref

import cv2
import numpy as np
import pytest
from conftest import textured

from dpenet_cli.evaluation import flicker
from dpenet_cli.evaluation.datasets import read_picture
from dpenet_cli.evaluation.flicker import Flicker, FlickerMeter, pooled
from dpenet_cli.evaluation.metrics import limited_range_luma


def measured(truths, *videos):
    meter = FlickerMeter()
    for frames in zip(truths, *videos, strict=True):
        meter.add(*frames)
    return meter.flickers()


def moving(count=4, height=48, width=64):
    """A texture that moves by two columns and one row a frame."""
    picture = textured(3, 120, 136)
    return [picture[n : n + height, 2 * n : 2 * n + width].copy() for n in range(count)]


def test_the_example_is_right():
    assert doctest.testmod(flicker).failed == 0


def test_before_a_still_scene_flicker_is_the_difference_of_luma():
    truth = textured(0, 40, 48)
    rng = np.random.default_rng(0)
    video = [np.clip(truth + rng.integers(-40, 40, truth.shape), 0, 255).astype(np.uint8) for _ in range(4)]
    of_truth, of_video = measured([truth] * 4, video)
    lumas = [limited_range_luma(frame) for frame in video]
    expected = np.mean([np.abs(b - a) for a, b in itertools.pairwise(lumas)])
    assert of_truth.mean == of_truth.still == 0.0
    assert of_video.mean == of_video.still == pytest.approx(expected, abs=1e-12)
    assert of_video.pixels == of_video.still_pixels == 3 * 40 * 48


def test_only_what_stands_still_in_the_truth_counts_as_still():
    """Texture at the left; at the right a lamp that goes on, whose match is nowhere near."""
    dark = textured(0, 64, 96)
    dark[:, 64:] = 20
    lit = dark.copy()
    lit[:, 64:] = 220
    rainy = dark.copy()
    rainy[:, :32] = np.minimum(rainy[:, :32], 200) + 40
    of_truth, of_rainy = measured([dark, lit], [dark, np.where(lit == 220, lit, rainy)])
    assert of_truth.still_pixels < of_truth.pixels * 0.8
    assert of_truth.still < flicker.STILL
    assert of_truth.mean > 40
    assert of_rainy.still > 5


def by_the_formula(truths, video):
    """Each pixel by itself: bicubic over its sixteen neighbours, a = −0.75."""

    def weights(t):
        a = -0.75
        near, far = np.abs([t, 1 - t]), np.abs([1 + t, 2 - t])
        inner = (a + 2) * near**3 - (a + 3) * near**2 + 1
        outer = a * far**3 - 5 * a * far**2 + 8 * a * far - 4 * a
        return np.array([outer[0], inner[0], inner[1], outer[1]])

    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    height, width = truths[0].shape[:2]
    differences, still = [], []
    for t in range(1, len(truths)):
        flow = dis.calc(*(cv2.cvtColor(truths[i], cv2.COLOR_RGB2GRAY) for i in (t, t - 1)), None)
        warped = {name: np.empty_like(truths[0]) for name in ("truth", "video")}
        for y in range(height):
            for x in range(width):
                px, py = (at + flow[y, x, i] for i, at in enumerate((x, y)))
                columns = np.clip(math.floor(px) + np.arange(-1, 3), 0, width - 1)
                rows = np.clip(math.floor(py) + np.arange(-1, 3), 0, height - 1)
                kernel = np.outer(weights(py % 1), weights(px % 1))
                for name, frame in (("truth", truths[t - 1]), ("video", video[t - 1])):
                    values = np.tensordot(kernel, frame[np.ix_(rows, columns)].astype(float), axes=2)
                    warped[name][y, x] = np.clip(np.round(values), 0, 255)
        now = {"truth": truths[t], "video": video[t]}
        both = {name: np.abs(limited_range_luma(now[name]) - limited_range_luma(warped[name])) for name in now}
        differences.append(both["video"])
        still.append(both["truth"] < 2)
    differences, still = np.array(differences), np.array(still)
    return differences.mean(), differences[still].mean()


def test_it_is_the_formula_of_the_docstring():
    truths = moving()
    rng = np.random.default_rng(1)
    rainy = [np.where(rng.random((48, 64, 1)) < 0.05, 255, frame).astype(np.uint8) for frame in truths]
    found = measured(truths, rainy)
    for flickers, video in zip(found, (truths, rainy), strict=True):
        assert (flickers.mean, flickers.still) == pytest.approx(
            by_the_formula(truths, video), abs=0.03
        )  # OpenCV 4 goes by 1/32 of a pixel
    assert found[0].mean < 1 < found[1].mean


def test_blur_reads_less_than_the_truth():
    rng = np.random.default_rng(2)
    truths = [np.clip(frame + rng.normal(0, 4, frame.shape), 0, 255).astype(np.uint8) for frame in moving()]
    of_truth, of_blur = measured(truths, [cv2.GaussianBlur(frame, (0, 0), 3) for frame in truths])
    assert of_blur.mean < of_truth.mean


def test_the_frames_of_ntu_read_what_the_docstring_says(data):
    folders = [sorted((data / "video/ntu-a1" / side).iterdir()) for side in ("target", "input")]
    found = measured(*([read_picture(path) for path in paths] for paths in folders))
    assert [each.mean for each in found] == pytest.approx([3.80, 6.58], abs=0.02)


def test_single_frames_have_none_and_small_ones_do_not_crash():
    frame = textured(0, 12, 40)
    (alone,) = measured([frame])
    assert math.isnan(alone.mean)
    assert math.isnan(alone.still)
    assert measured([frame, frame])[0] == Flicker(0.0, 480, 0.0, 480)
    assert FlickerMeter().flickers() == ()


def test_videos_are_pooled_by_their_pixels():
    assert pooled([Flicker(10.0, 10, 0.0, 0), Flicker(2.0, 30, 4.0, 2)]) == Flicker(12.0, 40, 4.0, 2)
    assert pooled([]) == Flicker()


def test_no_more_than_the_last_frames_are_kept():
    meter, kept = FlickerMeter(), []
    for number in range(5):
        frames = textured(number, 40, 48), textured(number + 9, 40, 48)
        kept += [weakref.ref(frame) for frame in frames]
        meter.add(*frames)
    del frames
    assert [reference() is not None for reference in kept] == [False] * 8 + [True] * 2


def test_frames_of_another_size_or_depth_are_refused():
    meter = FlickerMeter()
    meter.add(textured(0, 40, 48), textured(1, 40, 48))
    with pytest.raises(ValueError, match=r"expected uint8 frames of \(40, 48, 3\)"):
        meter.add(textured(0, 40, 50), textured(1, 40, 50))
    with pytest.raises(ValueError, match="expected uint8 frames"):
        meter.add(textured(0, 40, 48), textured(1, 40, 48).astype(np.uint16))
