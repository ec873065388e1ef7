"""Rain goes, on clips of which the truth is known; everything else stays as it is."""

from fractions import Fraction

import numpy as np
import pytest
from weather import SIZE, fuse, images, panning, psnr, rain, rained_on, scenery, still

from dpenet_cli.temporal.fusion import compare
from dpenet_cli.temporal.fusion import fuse as fuse_one
from dpenet_cli.temporal.stream import Fusion
from dpenet_cli.temporal.window import COMPARED, TimedFrame

COUNT = 10


def occluded(count):
    """Another piece of scenery that moves before a still one."""
    behind, before = scenery(0, *SIZE), scenery(5, *SIZE)
    frames = [behind.copy() for _ in range(count)]
    for number, frame in enumerate(frames):
        left = 10 + 7 * number
        frame[60:200, left : left + 80] = before[60:200, :80]
    return frames


def brightened(frames, levels):
    """Each frame by so many levels of its own."""
    pairs = zip(frames, levels, strict=True)
    return [np.clip(frame.astype(int) + level, 0, 255).astype(np.uint8) for frame, level in pairs]


# dB that each frame must gain at least; measured were 13.9, 12.6, 13.4, 10.7, 9.4, 8.2 and 11.7.
CLIPS = {
    "still": (lambda: still(COUNT), 12),
    "by a column": (lambda: panning(COUNT, (1, 0)), 11),
    "by a part of a pixel": (lambda: panning(COUNT, (0.5, 0.3)), 11),
    "by columns and rows": (lambda: panning(COUNT, (4, 1)), 9),
    "by parts, back and up": (lambda: panning(COUNT, (6.3, -2.6)), 8),
    "fast": (lambda: panning(COUNT, (12.4, 0)), 7),
    "behind something": (lambda: occluded(COUNT), 10),
}


@pytest.mark.parametrize("name", CLIPS)
def test_rain_goes_and_nothing_else(name):
    make, gain = CLIPS[name]
    truth, light = make(), rain(COUNT)
    wet = rained_on(truth, light)
    results = fuse(wet)
    for scene, frame, result, drop in zip(truth, wet, results, light, strict=True):
        assert psnr([result.image], [scene]) > psnr([frame], [scene]) + gain
        assert (result.image <= frame).all()  # rain adds light
        assert result.image.dtype == np.uint8
        assert result.confidence.dtype == np.float32
        assert result.confidence.shape == SIZE
        assert 0 <= result.confidence.min() <= result.confidence.max() <= 1
        assert result.rain > 0.8
        untouched = (result.image == frame).all(axis=2)
        assert untouched[drop == 0].mean() > 0.98  # bit for bit
    assert np.mean([result.confidence.mean() for result in results]) > 0.9


@pytest.mark.parametrize("name", CLIPS)
def test_dry_clips_stay_dry(name):
    frames = CLIPS[name][0]()
    results = fuse(frames)
    assert psnr([result.image for result in results], frames) > 55
    for frame, result in zip(frames, results, strict=True):
        assert (result.image == frame).mean() > 0.99
        assert result.rain < 0.4 or name == "still"  # which repeats: there is no one to ask


def test_noise_is_no_rain():
    rng = np.random.default_rng(0)
    frames = [np.rint(frame + rng.normal(0, 3, frame.shape)).clip(0, 255).astype(np.uint8) for frame in still(7)]
    results = fuse(frames)
    assert all((result.image == frame).all() for result, frame in zip(results, frames, strict=True))
    assert max(result.rain for result in results) == 0


def test_dense_rain_before_a_still_camera():
    """Where drops cover a pixel in more than half of the frames, the median shows drops; a lower quantile doesn't."""
    truth, light = still(12), rain(12, share=0.3)
    wet = rained_on(truth, light)
    results = images(wet)
    inner = range(COMPARED, len(wet) - COMPARED)
    median = [np.sort(np.stack(wet[n - 2 : n + 3]), axis=0)[2] for n in inner]
    assert psnr([results[n] for n in inner], truth[3:9]) > psnr(median, truth[3:9]) + 1
    drops = np.stack(light) > 0
    for n in inner:
        dense = drops[n - COMPARED : n + COMPARED + 1].sum(axis=0) == 4
        assert dense.mean() > 0.05
        errors = [np.square(each[dense].astype(float) - truth[n][dense]).mean() for each in (results[n], median[n - 3])]
        assert errors[0] < errors[1] * 0.7


def test_rain_goes_where_brightness_alternates():
    """As beneath lamps, or where a camera changes its exposure."""
    dry = brightened(still(COUNT), [-5, 5] * (COUNT // 2))
    assert all((a == b).all() for a, b in zip(images(dry), dry, strict=True))
    wet = rained_on(dry, rain(COUNT))
    for result, frame, scene in zip(images(wet), wet, dry, strict=True):
        assert psnr([result], [scene]) >= psnr([frame], [scene]) + 6


@pytest.mark.parametrize("wet", [False, True], ids=["dry", "wet"])
def test_lightning_stays(wet):
    truth = brightened(still(COUNT), [30 * (number == 5) for number in range(COUNT)])
    frames = rained_on(truth, rain(COUNT)) if wet else truth
    for number, result in enumerate(images(frames)):
        assert psnr([result], [truth[number]]) >= psnr([frames[number]], [truth[number]]) + 8 * wet


@pytest.mark.parametrize("step", [(0, 0), (4, 1)])
def test_sixteen_bits_say_what_eight_do(step):
    wet = rained_on(panning(7, step), rain(7))
    deep = [((frame.astype(int) * 1023 + 127) // 255 * 65535 // 1023).astype(np.uint16) for frame in wet]
    for eight, sixteen in zip(fuse(wet), fuse(deep), strict=True):
        assert sixteen.image.dtype == np.uint16
        off = np.abs(sixteen.image / 257 - eight.image)
        assert (off <= 1).mean() > 0.9999  # at a threshold a pixel may go either way
        assert off.max() < 16
        assert np.abs(sixteen.confidence - eight.confidence).mean() < 0.01


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_frames_stay(count):
    frames = rained_on(still(count), rain(count))
    for frame, result in zip(frames, fuse(frames), strict=True):
        assert (result.image == frame).all()
        assert not result.confidence.any()
        assert result.rain == 1


def test_three_frames_are_enough():
    truth, light = still(3), rain(3)
    wet = rained_on(truth, light)
    for scene, frame, result in zip(truth, wet, images(wet), strict=True):
        assert psnr([result], [scene]) > psnr([frame], [scene]) + 10


def test_no_frames():
    assert fuse([]) == []


@pytest.mark.parametrize("step", [(0, 0), (2, 1)])
def test_repeated_frames_are_one(step):
    """Film at twice its rate: a drop that is seen twice is no scenery."""
    truth, light = panning(8, step), rain(8)
    twice = [number // 2 for number in range(16)]
    wet = rained_on(truth, light)
    results = images([wet[n] for n in twice], rate=50)
    for number, (n, result) in enumerate(zip(twice, results, strict=True)):
        gain = psnr([result], [truth[n]]) - psnr([wet[n]], [truth[n]])
        assert gain >= (8 if 3 <= number < 13 else 0)


def test_frames_of_nothing_stay():
    for level in (0, 90, 255):
        frames = [np.full((48, 64, 3), level, np.uint8)] * 5
        assert all((result.image == level).all() for result in fuse(frames))


@pytest.mark.parametrize("size", [(8, 8), (16, 200), (33, 47), (241, 319)])
def test_small_and_odd_sizes(size):
    wet = rained_on(panning(5, (1, 0), size), rain(5, size))
    for frame, result in zip(wet, fuse(wet), strict=True):
        assert result.image.shape == (*size, 3)
        assert (result.image <= frame).all()


def test_thresholds_follow_the_scale_of_brightness():
    """HDR: at half the code values, drops of half the brightness are found as well."""
    truth, light = still(7), rain(7)
    half = [frame // 2 for frame in truth]
    wet = rained_on(half, [drop // 2 for drop in light])
    frames = [TimedFrame(frame, Fraction(n, 25)) for n, frame in enumerate(wet)]
    results = [fused.image for fused in Fusion(levels=0.5)(frames)]
    assert psnr(results, half) > psnr(wet, half) + 10


def test_nobody_is_asked():
    frame = scenery(0, *SIZE)
    fused = fuse_one(compare(frame, frame[..., 0], {}, still=True), [])
    assert fused.image is frame
    assert fused.rain == 1
    assert not fused.confidence.any()
