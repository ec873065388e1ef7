"""A video's scenes, the size in which the network sees each, and that parts of a video have the sizes of the whole."""

import dataclasses
from fractions import Fraction

import av
import numpy as np
import pytest
from clips import filmed
from hypothesis import given
from hypothesis import strategies as st
from weather import panning

from dpenet_cli.inference.resizing import clean_at
from dpenet_cli.options import VideoMethod, VideoOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.video.frames import Frame
from dpenet_cli.video.network_tiles import ask_network, mixed
from dpenet_cli.video.restoration import restoration
from dpenet_cli.video.scenes import CutFinder, Scenes, looked_at, scenes_of
from dpenet_cli.video.video_task import prepare, with_scales

LARGE = 800, 1280


class Halving:
    """An engine that halves what it sees, and notes how large that was."""

    at_once = 1

    def __init__(self):
        self.shapes = []

    def __call__(self, rainy, progress=None, **_):
        self.shapes.append(rainy.shape[:2])
        return rainy // 2

    def stream(self, frames):
        yield from map(self, frames)


@pytest.fixture(scope="module")
def two_scenes(tmp_path_factory):
    """Five frames of one place, then seven of another, 1280×800."""
    frames = [*panning(5, (3, 1), LARGE, seed=1), *panning(7, (-2, 2), LARGE, seed=9)]
    return filmed(tmp_path_factory.mktemp("scenes") / "two.mkv", np.stack(frames), "-c:v", "libx264", "-crf", 12)


def task_of(path, **options):
    return prepare(Job(path, path.with_name("clean.mkv")), VideoOptions(**options))


def test_a_cut_is_found_and_a_moving_camera_is_none():
    finder = CutFinder()
    for image in (*panning(6, (8, 3), LARGE, seed=2), *panning(3, (5, 0), LARGE, seed=5)):
        finder.see(av.VideoFrame.from_ndarray(image, format="rgb24"))
    assert list(finder.cuts) == [6]


def test_small_frames_are_not_looked_at_for_cuts():
    finder = CutFinder()
    for seed in range(3):
        finder.see(av.VideoFrame.from_ndarray(panning(1, (0, 0), (96, 128), seed=seed)[0], format="rgb24"))
    assert not finder.cuts


def test_a_pixel_format_that_nothing_converts_is_left_to_the_reader():
    finder = CutFinder()
    for name in ("rgb24", "gray32le", "rgb24"):
        finder.see(av.VideoFrame(*LARGE[::-1], name))
    assert not finder.cuts


@given(frames=st.integers(1, 5000), cuts=st.sets(st.integers(1, 4999)))
def test_scenes_are_the_frames_between_cuts(frames, cuts):
    cuts = sorted(cut for cut in cuts if cut < frames)
    scenes = scenes_of(frames, cuts)
    assert [number for scene in scenes for number in scene] == list(range(frames))
    assert [scene.start for scene in scenes] == [0, *cuts]


@given(start=st.integers(0, 99), length=st.integers(1, 9000), rate=st.fractions(Fraction(1, 2), 240))
def test_what_is_looked_at_lies_in_the_first_minute_of_the_scene(start, length, rate):
    scene = range(start, start + length)
    numbers = looked_at(scene, rate)
    assert 1 <= len(numbers) <= 3
    assert numbers == sorted(set(numbers))
    assert all(number in scene and number - start <= 60 * rate for number in numbers)


def test_each_scene_is_decided_on_by_its_own_frames(two_scenes):
    task = task_of(two_scenes)
    seen = []

    def choose(frames):
        seen.append(frames)
        return 0.25 if len(seen) == 1 else 0.5

    task = with_scales(task, choose)
    assert task.scenes == {0: Scenes((Fraction(0), Fraction(1, 5)), (0.25, 0.5))}
    whole = [frame.image for frame in task.reader(task.plans[0], range(12))]
    numbers = [looked_at(range(5), Fraction(25)), looked_at(range(5, 12), Fraction(25))]
    for some, images in zip(numbers, seen, strict=True):
        assert np.array_equal([whole[number] for number in some], images)
    scales = [frame.scale for frame in task.frames_of(task.plans[0], range(12), 0)]
    assert scales == [0.25] * 5 + [0.5] * 7
    part = [frame.scale for frame in task.frames_of(task.plans[0], range(4, 6), 1)]
    assert part == [0.25, 0.25, 0.5, 0.5]


def test_a_part_is_decided_on_by_the_whole(two_scenes):
    """What is looked at does not depend on what is taken."""
    found = []
    for options in ({}, {"start": Fraction(1, 4)}):
        seen = []
        with_scales(task_of(two_scenes, **options), lambda frames, seen=seen: seen.append(frames) or 1.0)
        found.append(seen)
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_frames_through_pyav_are_the_same(two_scenes):
    task = task_of(two_scenes)
    plan = task.plans[0]
    by_pyav = dataclasses.replace(plan, reading=dataclasses.replace(plan.reading, through_opencv=False))
    images = list(task.reader(by_pyav, range(0)).some([1, 4, 11]))
    every = [frame.image for frame in task.reader(by_pyav, range(12))]
    assert np.array_equal(images, [every[1], every[4], every[11]])


def test_a_size_that_is_given_holds_for_small_frames_too(tmp_path):
    path = filmed(tmp_path / "small.mkv", np.stack(panning(2, (1, 0), (96, 128))), "-c:v", "ffv1")
    task = task_of(path)
    assert with_scales(task, lambda frames: 1 / 0).scenes == {}
    assert with_scales(task, lambda frames: 1 / 0, 0.5).scenes == {0: Scenes((Fraction(0),), (0.5,))}


def test_the_network_sees_frames_in_the_size_of_their_scene():
    engine = Halving()
    images = panning(4, (1, 0), (96, 128))
    frames = [Frame(image, Fraction(n), scale=0.5 if n < 2 else 1.0) for n, image in enumerate(images)]
    results = list(restoration(VideoMethod.NETWORK, engine)(frames))
    assert engine.shapes == [(48, 64), (48, 64), (96, 128), (96, 128)]
    assert [frame.pts for frame in results] == [0, 1, 2, 3]
    assert np.array_equal(results[0].image, clean_at(Halving(), images[0], 0.5))
    assert np.array_equal(results[3].image, images[3] // 2)


def test_tiles_of_a_fused_frame_are_seen_in_that_size_too():
    image = panning(1, (0, 0), (512, 640))[0]
    need = np.zeros((512, 640), np.float32)
    need[:256, :256] = 1
    engine = Halving()
    answers = ask_network(engine, image, need, 0.25)
    result = mixed(image, answers.image, answers.weight * need)
    assert (answers.asked, answers.tiles) == (1, 4)  # four times as large as in the frame's own size
    assert engine.shapes == [(128, 160)]  # with its halo the piece is most of the frame
    expected = clean_at(Halving(), image, 0.25)
    assert np.array_equal(result[:128, :160], expected[:128, :160])
    assert np.array_equal(result[256:], image[256:])
