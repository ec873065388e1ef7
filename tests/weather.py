"""Made clips of which the truth is known: scenes that move, things in them, and rain drawn over both."""

import functools
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

import cv2
import numpy as np

from dpenet_cli.temporal.fusion import Fused
from dpenet_cli.temporal.stream import Fusion
from dpenet_cli.temporal.window import TimedFrame

SIZE = (240, 320)
"""Rows and columns of most clips."""


def fuse(frames: Sequence[np.ndarray], rate: int = 25, **options: float) -> list[Fused]:
    """The frames fused, shown so many times a second."""
    return list(Fusion(**options)(TimedFrame(frame, Fraction(n, rate)) for n, frame in enumerate(frames)))


def images(frames: Sequence[np.ndarray], rate: int = 25) -> list[np.ndarray]:
    return [fused.image for fused in fuse(frames, rate)]


def psnr(results: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> float:
    """Mean over the frames, in dB; 99 for equal ones."""
    errors = [np.square(a.astype(float) - b).mean() for a, b in zip(results, truths, strict=True)]
    peak = np.iinfo(truths[0].dtype).max
    return float(np.mean([10 * np.log10(peak**2 / max(error, peak**2 * 10**-9.9)) for error in errors]))


@functools.lru_cache(maxsize=4)
def scenery(seed: int, height: int, width: int) -> np.ndarray:
    """Shapes of all sizes, mostly grey: mean 120 and standard deviation 30."""
    rng = np.random.default_rng(seed)
    picture = np.full((height, width, 3), 120.0, np.float32)
    for sigma, deviation in ((1, 7), (4, 14), (14, 26)):
        for channels, part in ((1, 0.9), (3, 0.4)):
            noise = rng.normal(size=(height, width, channels)).astype(np.float32)
            smooth = cv2.GaussianBlur(noise, (0, 0), sigma).reshape(height, width, channels)
            picture += smooth / smooth.std() * part * deviation
    result = np.rint(picture.clip(0, 255)).astype(np.uint8)
    result.flags.writeable = False  # all tests share it
    return result


def panning(count: int, step: tuple[float, float], size: tuple[int, int] = SIZE, seed: int = 0) -> list[np.ndarray]:
    """A scene that moves by so many columns and rows a frame, which may be fractions."""
    height, width = size
    far = [int(np.ceil(abs(each) * count)) + 4 for each in step]
    whole = scenery(seed, height + far[1], width + far[0])
    frames = []
    for number in range(count):
        left, top = (each * number if each >= 0 else far[axis] - 4 + each * number for axis, each in enumerate(step))
        back = np.array([[1, 0, left + 2], [0, 1, top + 2]], np.float32)
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        frames.append(cv2.warpAffine(whole, back, (width, height), flags=flags))
    return frames


def still(count: int, size: tuple[int, int] = SIZE, seed: int = 0) -> list[np.ndarray]:
    """A scene, before a camera that stands."""
    return [scenery(seed, *size)] * count


def drops(size: tuple[int, int], share: float, seed: int) -> np.ndarray:
    """Light of streaks, one or two pixels wide, that cover so much of a picture: H×W uint8, 0 where no drop is."""
    rng = np.random.default_rng(seed)
    light = np.zeros(size, np.uint8)
    slant = rng.uniform(-0.2, 0.2)
    while np.count_nonzero(light) < share * light.size:
        x, y = rng.integers(0, size[1]), rng.integers(-20, size[0])
        tall, brightness = rng.integers(10, 26), int(rng.integers(25, 90))
        for column in range(x, x + rng.integers(1, 3)):
            cv2.line(light, (int(column), int(y)), (int(column + slant * tall), int(y + tall)), brightness)
    return light


def rain(count: int, size: tuple[int, int] = SIZE, share: float = 0.04, seed: int = 0) -> list[np.ndarray]:
    """Drops for each frame, others every time."""
    return [drops(size, share, 1000 * seed + number) for number in range(count)]


def rained_on(frames: Sequence[np.ndarray], light: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The frames with the light of drops added to every channel."""
    unit = 1 if frames[0].dtype == np.uint8 else 257
    top = np.iinfo(frames[0].dtype).max
    wet = [frame.astype(int) + each[..., None].astype(int) * unit for frame, each in zip(frames, light, strict=True)]
    return [np.minimum(each, top).astype(frames[0].dtype) for each in wet]


class Thing(NamedTuple):
    """A clip with a thing in it, and the same without it."""

    scene: list[np.ndarray]
    clip: list[np.ndarray]


def with_thing(scene: list[np.ndarray], paint: Callable[[np.ndarray, int], None], colour: tuple[int, ...]) -> Thing:
    """Put a thing into a scene.

    Args:
        scene: its frames.
        paint: draws the thing of a frame, white, into an H×W uint8 mask.
        colour: of the thing.
    """
    clip = []
    for number, frame in enumerate(scene):
        mask = np.zeros(frame.shape[:2], np.uint8)
        paint(mask, number)
        share = cv2.GaussianBlur(mask, (0, 0), 0.6)[..., None] / 255  # edges as a lens draws them
        clip.append(np.rint(frame * (1 - share) + np.array(colour) * share).astype(np.uint8))
    return Thing(scene, clip)


def light_left(thing: Thing, results: Sequence[np.ndarray], light: Sequence[np.ndarray] | None = None) -> list[float]:
    """How much of the thing's light over its surroundings is left, in each frame that shows it.

    Pixels on which a drop is drawn in the same frame don't count: there, light may go.
    """
    left = []
    for number, (scene, clip, result) in enumerate(zip(thing.scene, thing.clip, results, strict=True)):
        counted = clip > scene
        if light is not None:
            counted &= (light[number] == 0)[..., None]
        before, after = (float((each.astype(int) - scene)[counted].sum()) for each in (clip, result))
        if before > 0:
            left.append(after / before)
    return left
