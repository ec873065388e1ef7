"""One frame and its neighbours as one picture: what they agree on where the frame is brighter.

Neighbours, aligned by optical flow and with the frame itself, give a median (a lower quantile where the camera is
still and the rain dense); where the frame is brighter by more than a few grey levels, and it rains there, and what
is brighter is no thing, the median takes its place. All other pixels stay as they are, bit for bit.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dpenet_cli.arrays import Pixels
from dpenet_cli.temporal.evidence import Changes, changes, rain_evidence, ramp
from dpenet_cli.temporal.motion import Flow, in_view, luma_8_bits, places_in, warp
from dpenet_cli.temporal.objects import coloured, compact, edges, repeating
from dpenet_cli.temporal.order_statistics import order_statistic

_LEAST_RISE = 4.0
"""Grey levels that a pixel must be brighter by to be replaced: less is noise."""

_DARK_SPREAD, _GAP, _BRIGHT_SPREAD = 6.0, 6.0, 10.0
"""Grey levels. Of the frames of a still camera, the darkest third agrees within the first, the next one is brighter by
the second, and the bright ones differ by the third: drops in more than half of them, each as bright as it likes. A
thing that stands there for a while is alike in all of its frames. A low quantile everywhere would cost 1.9 dB."""

_AGREE, _DISAGREE = 20.0, 40.0
"""Grey levels between the darkest and the middle one of the neighbours: up to the first they agree, from the second on
they don't."""

_LOST_AGREE, _LOST_DISAGREE = 8.0, 20.0
"""The same where following a pixel there and back loses it. On a plain road every pixel is lost, and nothing by it."""

_SAMPLED, _LEAST_OFFSET = 4, 2
"""Every so many rows and columns are looked at to tell which of two frames is brighter, and grey levels from which on
one is."""

_FEW = 4
"""Neighbours below which, at the ends of a scene, only what was followed for certain is changed."""

_SURELY = 0.3
"""Share of what a pixel may miss its beginning by, within which it was followed for certain."""

_ENOUGH_KNOWN = 0.25
"""Share of the picture that time must know to tell whether it rains."""

_MIN_NEIGHBOURS = 2
"""Neighbours without which nothing is known."""

_MANY = 5
"""Neighbours from which on a lower quantile is more than one frame's word."""


class Neighbour(NamedTuple):
    """Another frame, and where to look for each pixel in it.

    Attributes:
        image: H×W×3 RGB, uint8 or uint16.
        luma: H×W uint8.
        flow: from the frame to this one, h×w×2.
        miss: h×w float32, how far from its beginning ends what is followed there and back, as a share of what may be.
        asked: whether it is asked what is behind the rain; else only whether lights are lit in it.
    """

    image: Pixels
    luma: NDArray[np.uint8]
    flow: Flow
    miss: NDArray[np.float32]
    asked: bool


class Comparison(NamedTuple):
    """A frame beside what its neighbours say.

    Attributes:
        image: the frame, H×W×3.
        floor: what is left of it without what is brighter than its neighbours say, H×W×3; the frame itself elsewhere.
        bound: how dark each pixel may be behind the rain, H×W×3: as the second darkest of its neighbours; the frame's
            own value where it shows a thing.
        doubtful: H×W, which of its pixels change and may have been mistaken for others.
        confidence: H×W uint8, 0..255: how far the neighbours know what each pixel shows without rain.
        changes: light that the frame has more, and less, than its neighbours say; None if there are too few of them.
    """

    image: Pixels
    floor: Pixels
    bound: Pixels
    doubtful: NDArray[np.bool_]
    confidence: NDArray[np.uint8]
    changes: Changes | None


class Key(NamedTuple):
    """The nearest frame that may speak for another one.

    Attributes:
        lag: how many frames it lies behind (or, negative, before) that one.
        flow: from that one to it, h×w×2; None where they are the same.
    """

    lag: int
    flow: Flow | None


class Fused(NamedTuple):
    """What time makes of a frame.

    Attributes:
        image: H×W×3, in the dtype of the frame.
        confidence: H×W float32, 0..1: how far the neighbours know what each pixel shows without rain.
        rain: how certain it is that it rains in the frame, 0..1, as far as its neighbours can tell; 1 where they can't.
        around: the same around each pixel, H×W float32; 0 where they can't.
        bound: how dark each pixel may be behind the rain, by its neighbours; H×W×3, in the dtype of the frame.
        key: the nearest frame of the scene that may speak for this one; None if there is none near.
    """

    image: Pixels
    confidence: NDArray[np.float32]
    rain: float
    around: NDArray[np.float32]
    bound: Pixels
    key: Key | None


def compare(
    image: Pixels, luma: NDArray[np.uint8], neighbours: Mapping[int, Neighbour], *, still: bool, levels: float = 1.0
) -> Comparison:
    """Ask a frame's neighbours what is behind the rain.

    Args:
        image: the frame, H×W×3 RGB, uint8 or uint16.
        luma: its luma, H×W uint8.
        neighbours: other frames, by how many frames they lie behind (or, negative, before) it.
        still: whether the camera stands still.
        levels: thresholds are multiplied by this: below 1 where the code values of white lie lower (HDR).
    """
    asked = {lag: each for lag, each in neighbours.items() if each.asked}
    if len(asked) < _MIN_NEIGHBOURS:
        nothing = np.zeros(luma.shape, np.uint8)
        return Comparison(image, image, image, nothing > 0, nothing, None)

    # 1. The neighbours on the frame's grid.
    aligned = _aligned(image, luma, neighbours)
    colours, lumas = aligned.colours, aligned.lumas

    # 2. What they say: the median, or less where the frames of a still camera show drops in more than half of them.
    answer = order_statistic([image, *colours], len(colours) // 2)
    if still and len(colours) >= _MANY:
        answer = _below_dense_rain(answer, [image, *colours], [luma, *(lumas[lag] for lag in asked)], levels)
    difference = _levels(luma, luma_8_bits(answer), levels)
    rise = np.maximum(difference, 0)

    # 3. What must not vanish.
    few = len(asked) < _FEW
    floor = np.minimum(image, answer)  # rain adds light in every channel
    channels = (image - floor).astype(np.float32) / np.float32(levels * _unit(image))
    # A lamp that is out can't be followed; before a still camera it needn't be.
    lamps = {lag: neighbours[lag].luma if still else each for lag, each in lumas.items()}
    things = compact(rise) | coloured(channels) | repeating(luma, lamps, rise) | edges(luma, lumas, rise, loose=few)
    changing = (rise > _LEAST_RISE) & ~things
    doubtful = changing & (aligned.surely * 2 < len(asked))
    if few:
        changing &= ~doubtful

    # 4. What they know: half of them at least must see a pixel, and they must agree about it.
    confidence = _agreement([lumas[lag] for lag in asked], aligned.followed * 2 >= len(asked), levels)
    confidence[aligned.witnesses * 2 < len(asked)] = 0
    confidence[things] = 1
    # How dark it may be: of the neighbours, one may have been mistaken for another place; two are right, but of a lamp.
    bound = np.minimum(image, order_statistic(colours, 1))
    lit = repeating(luma, lamps, np.maximum(_levels(luma, luma_8_bits(bound), levels), 0))
    return Comparison(
        image,
        np.where(changing[..., None], floor, image),
        np.where((things | lit)[..., None], image, bound),
        doubtful,
        np.rint(confidence * 255).astype(np.uint8),
        changes(difference, ~things),
    )


def fuse(comparison: Comparison, around: Mapping[int, Changes], key: Key | None = None) -> Fused:
    """Take the rain out of a frame, as far as it rains.

    Args:
        comparison: the frame beside what its neighbours say.
        around: changes in the frame, and in those before and after it, by how many frames they lie behind it: from them
            it is told whether it rains.
        key: the nearest frame that may speak for it.
    """
    confidence = comparison.confidence.astype(np.float32) / np.float32(255)
    if comparison.changes is None:
        return Fused(comparison.image, confidence, 1.0, np.zeros_like(confidence), comparison.bound, key)
    evidence = rain_evidence(around, confidence.shape)
    # Where it doesn't rain everywhere, what is to go must have been followed for certain.
    share = evidence.around * np.where(comparison.doubtful, np.float32(evidence.everywhere), np.float32(1))
    known = comparison.confidence > 127
    rain = float(evidence.around[known].mean()) if known.mean() > _ENOUGH_KNOWN else 1.0
    image = _blend(comparison.image, comparison.floor, share)
    return Fused(image, confidence, rain, evidence.around, comparison.bound, key)


class _Aligned(NamedTuple):
    """Neighbours on a frame's grid.

    Attributes:
        colours: those that are asked, H×W×3 each.
        lumas: all of them, H×W each, by how many frames they lie behind it.
        witnesses: H×W, how many of those that are asked see each pixel.
        followed: H×W, how many of those lead back to where it was, nearly.
        surely: H×W, how many do so for certain.
    """

    colours: list[Pixels]
    lumas: dict[int, NDArray[np.uint8]]
    witnesses: NDArray[np.uint8]
    followed: NDArray[np.uint8]
    surely: NDArray[np.uint8]


def _aligned(image: Pixels, luma: NDArray[np.uint8], neighbours: Mapping[int, Neighbour]) -> _Aligned:
    """Warp the neighbours onto the frame, as bright as it; where one doesn't see a pixel, the frame speaks for it."""
    found = _Aligned([], {}, *(np.zeros(luma.shape, np.uint8) for _ in range(3)))
    for lag, each in neighbours.items():
        places = places_in(each.flow, luma.shape)
        warped = warp(each.luma, places, luma)
        offset = _brightness_above(luma, warped)
        found.lumas[lag] = _brightened(warped, offset)
        if each.asked:
            found.colours.append(_brightened(warp(each.image, places, image), offset * _unit(image)))
            visible = in_view(places)
            miss = cv2.resize(each.miss, luma.shape[::-1], interpolation=cv2.INTER_LINEAR)
            np.add(found.witnesses, visible, out=found.witnesses)
            np.add(found.followed, visible & (miss < 1), out=found.followed)
            np.add(found.surely, visible & (miss < _SURELY), out=found.surely)
    return found


def _brightness_above(luma: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    """Grey levels that most of a frame is brighter than another: a lamp that flickers, an exposure that changes."""
    difference = luma[::_SAMPLED, ::_SAMPLED].astype(np.int16) - other[::_SAMPLED, ::_SAMPLED]
    offset = round(float(np.median(difference)))
    return offset if abs(offset) >= _LEAST_OFFSET else 0


def _brightened(picture: NDArray[Any], offset: int) -> NDArray[Any]:
    """A picture, so much brighter or (negative) darker, as far as its dtype goes."""
    if not offset:
        return picture
    top = np.iinfo(picture.dtype).max
    return np.clip(picture.astype(np.int32) + offset, 0, top).astype(picture.dtype)


def _below_dense_rain(median: Pixels, pictures: list[Pixels], lumas: list[NDArray[np.uint8]], levels: float) -> Pixels:
    """The median, and a lower quantile where drops cover more than half of the frames."""
    low = (len(pictures) - 1) // 3
    ranks = {rank: order_statistic(lumas, rank) for rank in (0, low, low + 1, len(lumas) - 1)}
    dense = _levels(ranks[low], ranks[0], levels) <= _DARK_SPREAD
    dense &= _levels(ranks[low + 1], ranks[low], levels) >= _GAP
    dense &= _levels(ranks[len(lumas) - 1], ranks[low + 1], levels) >= _BRIGHT_SPREAD
    return np.where(dense[..., None], order_statistic(pictures, low), median)


def _levels(luma: NDArray[np.uint8], other: NDArray[np.uint8], levels: float) -> NDArray[np.float32]:
    """How much brighter one is than the other, in grey levels."""
    return cv2.subtract(luma, other, dtype=cv2.CV_32F) / np.float32(levels)


def _unit(image: Pixels) -> int:
    """Code values in a grey level."""
    return 1 if image.dtype == np.uint8 else 257


def _blend(image: Pixels, floor: Pixels, share: NDArray[np.float32]) -> Pixels:
    """The frame, and so much of the other picture; bit for bit the frame where that is nothing."""
    change = cv2.subtract(image, floor, dtype=cv2.CV_32F) * share[..., None]
    fused: Pixels = image - np.rint(change).astype(image.dtype)
    return fused


def _agreement(lumas: list[NDArray[np.uint8]], followed: NDArray[np.bool_], levels: float) -> NDArray[np.float32]:
    """How far the darker half of the neighbours agrees; H×W, 0..1."""
    spread = _levels(order_statistic(lumas, len(lumas) // 2), order_statistic(lumas, 0), levels)
    lost = ramp(spread, _LOST_DISAGREE, _LOST_AGREE)
    return np.where(followed, ramp(spread, _DISAGREE, _AGREE), lost)
