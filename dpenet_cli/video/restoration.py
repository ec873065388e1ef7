"""What cleans a video's frames: what their neighbours know, the network where they don't, or the network alone.

Time comes first (`dpenet_cli.temporal`). Where the neighbours disagree about what is behind the rain, and it does rain,
the network looks at the fused frame, tile by tile, and its answer is blended in by how little they know. Measured on
NTURain with the shipped weights: where neighbours differ by 30 to 80 grey levels the network is a little nearer to the
truth than they are, and below that they are; it does far better on the fused frame than on the rainy one where they
agree, and about as well where they don't.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from dpenet_cli.arrays import Pixels
from dpenet_cli.inference.resizing import PictureEngine, clean_at
from dpenet_cli.options import VideoMethod
from dpenet_cli.temporal.fusion import Fused
from dpenet_cli.temporal.stream import Fusion
from dpenet_cli.temporal.window import REACH, TimedFrame
from dpenet_cli.video.frames import EachFrame, Frame, FrameCleaner, ReadAhead

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

TILE = 64
"""Side of the tiles that the network is asked about or not, in pixels, about."""

HALO = 64
"""Context of a tile, in pixels: with it the network's answer is within 0.1 grey levels of the whole frame's."""

_ASKED = 0.2
"""Mean need of a tile from which on the network looks at it."""

_WHOLE = 0.6
"""Share of the frame, halos included, from which on the network looks at all of it at once."""

_STEP = 64
"""Pieces are so many pixels wide and high, or a multiple: few sizes, for which runtimes prepare themselves once."""


class FrameEngine(PictureEngine, Protocol):
    """What is asked of the network; `Derainer` and `MultiGPUDerainer` are such.

    Attributes:
        at_once: pictures that are cleaned at the same time.
    """

    at_once: int

    def stream(self, frames: Iterable[Pixels]) -> Iterator[Pixels]:
        """Clean a video's frames, in order."""


@dataclass
class Shares:
    """Where a video's pictures came from.

    Attributes:
        frames: frames that were cleaned.
        tiles: tiles of all of them.
        network_tiles: those that the network looked at.
        changed: pixels that time changed, as a share of all, summed over the frames.
    """

    frames: int = 0
    tiles: int = 0
    network_tiles: int = 0
    changed: float = 0.0

    @property
    def temporal(self) -> float:
        """Share of the picture that came from neighbouring frames alone, 0..1."""
        return 1 - self.network_tiles / self.tiles if self.tiles else 0.0

    def to_json(self) -> dict[str, Any]:
        """As JSON: shares of the picture, 0..1."""
        changed = self.changed / self.frames if self.frames else 0.0
        return {
            "temporal": round(self.temporal, 4),
            "network": round(1 - self.temporal, 4) if self.tiles else 0.0,
            "changed_by_time": round(changed, 4),
        }


def restoration(
    method: VideoMethod,
    engine: FrameEngine | None,
    strength: float = 1.0,
    *,
    fast: bool = False,
    levels: float = 1.0,
    ahead: bool = True,
) -> "Restoration":
    """What cleans a video by a method.

    Args:
        method: which.
        engine: the network; None for ``temporal``, which needs none. ``network`` leaves the strength to it; for
            ``auto`` it should clean at full strength.
        strength: share of all that is changed which is applied, 0..1.
        fast: compute optical flow at half of the usual size.
        levels: thresholds in grey levels are multiplied by this, see `temporal.fusion.compare`.
        ahead: fuse on a thread of its own, ahead of the network; else frame by frame when asked, to be timed.
    """
    if method is VideoMethod.NETWORK:
        assert engine is not None
        return Restoration(_EachFrame(engine), None)
    shares = Shares()
    fusion = Fusion(shrink=4 if fast else 2, levels=levels)
    network = engine if method is VideoMethod.AUTO else None
    return Restoration(_OverTime(fusion, network, strength, shares, ahead=ahead), shares)


class Restoration:
    """A `FrameCleaner` that counts.

    Attributes:
        reach: frames before and after each one that its result depends on.
        shares: where the pictures came from, so far; None where time is not asked.
    """

    def __init__(self, cleaner: FrameCleaner, shares: Shares | None) -> None:
        self._cleaner = cleaner
        self.reach = cleaner.reach
        self.shares = shares

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Clean frames, in order, all but those that are context."""
        return self._cleaner(frames)


class _EachFrame:
    """The network on each frame, in its own size or in that of its scene."""

    reach = 0

    def __init__(self, engine: FrameEngine) -> None:
        self._engine = engine

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        for scale, some in itertools.groupby(frames, key=lambda frame: frame.scale):
            if scale == 1:
                yield from EachFrame(self._engine.stream)(some)
            else:
                scaled = partial(_seen_at, self._engine, scale)
                yield from _in_order(scaled, some, getattr(self._engine, "at_once", 1))


def _seen_at(engine: FrameEngine, scale: float, frame: Frame) -> Frame:
    return frame._replace(image=clean_at(engine, frame.image, scale))


class _FusedFrame(NamedTuple):
    frame: Frame
    fused: Fused


class _Finished(NamedTuple):
    """A clean frame, tiles that the network looked at for it and tiles in all, and the share that time changed."""

    frame: Frame
    asked: int
    tiles: int
    changed: float


class _OverTime:
    """Frames fused with their neighbours, and looked at by the network where those don't know."""

    reach = REACH

    def __init__(
        self, fusion: Fusion, engine: FrameEngine | None, strength: float, shares: Shares, *, ahead: bool
    ) -> None:
        self._fusion = fusion
        self._engine = engine
        self._strength = strength
        self._shares = shares
        self._ahead = ahead

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        if self._strength == 0.0:
            yield from (frame for frame in frames if not frame.context)
            return
        # Flow and fusion run on a thread of their own, ahead of the network.
        with ReadAhead(self._fused(frames)) if self._ahead else nullcontext(self._fused(frames)) as fused:
            for frame, asked, tiles, changed in _in_order(self._finished, fused, getattr(self._engine, "at_once", 1)):
                self._shares.frames += 1
                self._shares.tiles += tiles
                self._shares.network_tiles += asked
                self._shares.changed += changed
                yield frame

    def _fused(self, frames: Iterable[Frame]) -> Iterator[_FusedFrame]:
        """Each frame that is no context, with what its neighbours make of it."""
        waiting: deque[Frame] = deque()  # read, and not fused yet

        def timed() -> Iterator[TimedFrame]:
            for frame in frames:
                waiting.append(frame)
                yield TimedFrame(frame.image, frame.pts)

        for fused in self._fusion(timed()):
            frame = waiting.popleft()
            if not frame.context:
                yield _FusedFrame(frame, fused)

    def _finished(self, item: _FusedFrame) -> _Finished:
        frame, fused = item
        result, asked, tiles = fused.image, 0, 1
        if self._engine is not None:
            result, asked, tiles = ask_network(self._engine, fused, frame.scale)
        changed = float((fused.image != frame.image).any(axis=2).mean())
        return _Finished(Frame(at_strength(frame.image, result, self._strength), frame.pts), asked, tiles, changed)


class Box(NamedTuple):
    """A part of a frame: its rows and columns."""

    rows: slice
    columns: slice

    @property
    def area(self) -> int:
        """Pixels in it."""
        return int((self.rows.stop - self.rows.start) * (self.columns.stop - self.columns.start))

    def within(self, other: "Box") -> "Box":
        """The same part, counted from the first row and column of another that it lies in."""
        return Box(*(slice(a.start - b.start, a.stop - b.start) for a, b in zip(self, other, strict=True)))


class Piece(NamedTuple):
    """What the network is given: the part that it answers for, and that with its halo."""

    inner: Box
    outer: Box


def ask_network(engine: FrameEngine, fused: Fused, scale: float = 1.0) -> tuple[Pixels, int, int]:
    """Let the network look at the tiles of a fused frame where its neighbours know too little.

    Args:
        engine: the network.
        fused: the frame and its confidence.
        scale: width in which the network sees the frame, over its own; tiles and their halos are larger by as much.

    Returns:
        The frame with the network's answer blended in, tiles that it looked at, and tiles in all.
    """
    need = (np.float32(1) - fused.confidence) * np.float32(fused.rain)  # H×W, 0..1
    height, width = need.shape
    grid = max(round(width * scale / TILE), 1), max(round(height * scale / TILE), 1)
    asked = cv2.resize(need, grid, interpolation=cv2.INTER_AREA) >= _ASKED
    if not asked.any():
        return fused.image, 0, asked.size
    # Soft borders: from 1 in the middle of a tile to 0 at the middle of one that is not asked, and half way between,
    # at the border, 0.5; twice that less 1 is 0 there.
    soft = cv2.resize(asked.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    weight = np.maximum(2 * soft - 1, 0) * need
    result = fused.image.copy()
    for inner, outer in _pieces(asked, height, width, round(1 / scale)):
        answer = clean_at(engine, np.ascontiguousarray(fused.image[outer]), scale)
        # Boxes of two groups may overlap; the weight of each tile counts once, for its first answer.
        result[inner] = _mixed(result[inner], answer[inner.within(outer)], weight[inner])
        weight[inner] = 0
    return result, int(asked.sum()), asked.size


def _pieces(asked: NDArray[np.bool_], height: int, width: int, pixel: int) -> list[Piece]:
    """What the network is given of a frame: one piece for each group of tiles, or the whole where that is less work.

    Args:
        asked: rows×columns of tiles, whether the network looks at them.
        height: of the frame.
        width: of the frame.
        pixel: side of what the network sees as one pixel.
    """
    rows, columns = asked.shape
    count, labels = cv2.connectedComponents(asked.astype(np.uint8), connectivity=8)
    pieces = []
    for label in range(1, count):
        y, x = np.nonzero(labels == label)
        inner = Box(_part(y, height, rows), _part(x, width, columns))
        pieces.append(Piece(inner, Box(_with_halo(inner.rows, height, pixel), _with_halo(inner.columns, width, pixel))))
    if sum(piece.outer.area for piece in pieces) > _WHOLE * height * width:
        whole = Box(slice(0, height), slice(0, width))
        return [Piece(whole, whole)]
    return pieces


def _part(tiles: NDArray[np.int_], size: int, count: int) -> slice:
    """From the first of these tiles to the last, in pixels."""
    start, stop = float(tiles.min()) * size / count, float(tiles.max() + 1) * size / count
    return slice(max(int(np.floor(start)), 0), min(int(np.ceil(stop)), size))


def _with_halo(part: slice, size: int, pixel: int) -> slice:
    """The part and its halo, or more, so that its length is a multiple of `_STEP`, as far as the frame goes."""
    halo, step = HALO * pixel, _STEP * pixel
    # It begins on a whole pixel of what the network sees, so that two frames are cut alike.
    start, stop = max(part.start - halo, 0) // pixel * pixel, min(part.stop + halo, size)
    wanted = min(-(-(stop - start) // step) * step, size)
    start = min(start, size - wanted)
    return slice(start, start + wanted)


def at_strength(before: Pixels, after: Pixels, strength: float) -> Pixels:
    """So much of a change: ``before + strength · (after − before)``, in the same dtype."""
    if strength == 1.0:
        return after
    return _mixed(before, after, np.full(before.shape[:2], strength, np.float32))


def _mixed(first: Pixels, second: Pixels, weight: NDArray[np.float32]) -> Pixels:
    """``first + weight · (second − first)``, rounded: H×W×3, and H×W of weights, 0..1."""
    change = cv2.subtract(second, first, dtype=cv2.CV_32F) * weight[..., None]
    mixed: Pixels = np.rint(first + change).astype(first.dtype)
    return mixed


def _in_order(function: Callable[[_Item], _Result], items: Iterable[_Item], workers: int) -> Iterator[_Result]:
    """A function of every item, in order, of so many at a time on threads; of one at a time on this one."""
    if workers == 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[_Result]] = deque()
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
