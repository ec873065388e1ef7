"""Which frames a result depends on: those of the scene, within reach, and no others."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weather import fuse, images, panning, rain, rained_on, scenery, still

from dpenet_cli.temporal.motion import FlowEstimator, luma_8_bits
from dpenet_cli.temporal.stream import Fusion
from dpenet_cli.temporal.window import REACH, TimedFrame, is_cut

SMALL = (96, 128)


def wet_clip(count, step=(0.0, 0.0), size=SMALL, seed=0):
    return rained_on(panning(count, step, size, seed), rain(count, size, seed=seed))


def same(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert a.image.dtype == b.image.dtype
        assert np.array_equal(a.image, b.image)
        assert np.array_equal(a.confidence, b.confidence)
        assert a.rain == b.rain


MIXED = [*wet_clip(9), *wet_clip(6, (3, 1), seed=1), *np.repeat(wet_clip(3, (2, 0), seed=2), 2, axis=0)]
WHOLE = fuse(MIXED)


@settings(max_examples=40, deadline=None)
@given(st.tuples(st.integers(0, len(MIXED)), st.integers(0, len(MIXED))).map(sorted))
def test_a_part_with_its_context_is_a_part_of_the_whole(part):
    """Across cuts, repeats, and a camera that stands and moves."""
    first, last = part
    begin, end = max(first - REACH, 0), min(last + REACH, len(MIXED))
    frames = [TimedFrame(MIXED[number], Fraction(number, 25)) for number in range(begin, end)]
    results = list(Fusion()(frames))[first - begin : last - begin]
    same(results, WHOLE[first:last])


def test_no_more_frames_are_read_than_are_needed():
    read = []

    def source():
        for number, frame in enumerate(wet_clip(10)):
            read.append(number)
            yield TimedFrame(frame, Fraction(number, 25))

    for number, _ in enumerate(Fusion()(source())):
        assert len(read) == min(number + REACH + 1, 10)


@pytest.mark.parametrize("step", [(0, 0), (4, 1)])
@pytest.mark.parametrize("cut", [1, 4, 7])
def test_a_cut_parts_two_scenes(step, cut):
    first, second = wet_clip(cut, step), wet_clip(8 - cut, step, seed=1)
    same(fuse([*first, *second]), [*fuse(first), *fuse(second)])


def test_a_change_of_size_or_depth_is_a_cut():
    small, large = wet_clip(4), wet_clip(4, size=(120, 160))
    deep = [frame.astype(np.uint16) * 257 for frame in small]
    same(fuse([*small, *large, *deep]), [*fuse(small), *fuse(large), *fuse(deep)])


def test_frames_far_apart_in_time_are_not_asked():
    frames = wet_clip(6)
    for slow in (Fraction(1, 5), Fraction(101, 1000)):
        results = list(Fusion()(TimedFrame(frame, number * slow) for number, frame in enumerate(frames)))
        assert all(np.array_equal(result.image, frame) for result, frame in zip(results, frames, strict=True))
        assert not any(result.confidence.any() for result in results)
    assert not all(np.array_equal(*pair) for pair in zip(images(frames, rate=10), frames, strict=True))


def test_a_gap_in_time_is_a_cut():
    frames = wet_clip(8)
    seconds = [Fraction(number, 25) + (number >= 4) for number in range(8)]
    results = list(Fusion()(map(TimedFrame, frames, seconds)))
    same(results, [*fuse(frames[:4]), *fuse(frames[4:])])


def test_a_clock_that_goes_back_is_a_cut():
    frames = wet_clip(8)
    seconds = [Fraction(number % 4, 25) for number in range(8)]
    same(list(Fusion()(map(TimedFrame, frames, seconds))), [*fuse(frames[:4]), *fuse(frames[4:])])


def test_scenes_are_told_apart():
    estimator = FlowEstimator()

    def cut(first, second):
        return is_cut(*(estimator.features(luma_8_bits(each)) for each in (first, second)), estimator)

    pictures = [scenery(seed, 240, 320) for seed in range(4)]
    for first in range(4):
        for second in range(4):
            assert cut(pictures[first], pictures[second]) == (first != second)
    for frames in (panning(2, (12, 5)), rained_on(still(2), rain(2, share=0.15))):
        assert not cut(*frames)
    flat = [np.full((240, 320, 3), level, np.uint8) for level in (10, 30, 60)]
    assert [cut(flat[0], other) for other in flat] == [False, False, True]
    assert cut(flat[0], pictures[0])
