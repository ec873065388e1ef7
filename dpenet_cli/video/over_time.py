"""Frames cleaned by their neighbours in time, and by the network where those don't know or don't see enough.

Time comes first (`dpenet_cli.temporal`). Where the neighbours disagree about what is behind the rain, and it does rain,
the network looks at the fused frame, tile by tile, and its answer is blended in by how little they know. Measured on
NTURain with the shipped weights: where neighbours differ by 30 to 80 grey levels the network is a little nearer to the
truth than they are, and below that they are; it does far better on the fused frame than on the rainy one where they
agree, and about as well where they don't.

Where rain is so dense that a pixel is covered in most frames, neighbours agree, and are wrong. There the network sees
what they don't, and they what it doesn't: it takes bars of a fence for streaks, and they know that a bar is there in
every frame. So what both would make darker becomes darker: at one frame in six, a key, the network looks at all where
it rains, and its answer, pulled along the flow, speaks for the three frames before and behind it too; but no pixel
becomes darker than the second darkest of its neighbours. On NTURain's moving clip that gains 0.25 dB, on the still one
0.06; the bars of the gate in its real clip stay, which the network alone takes away.
"""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from dpenet_cli.arrays import Pixels
from dpenet_cli.inference.resizing import PictureEngine
from dpenet_cli.temporal.evidence import ramp
from dpenet_cli.temporal.fusion import Fused
from dpenet_cli.temporal.motion import luma_8_bits, places_in, warp
from dpenet_cli.temporal.objects import compact
from dpenet_cli.temporal.stream import Fusion
from dpenet_cli.temporal.window import KEY_REACH, REACH, TimedFrame
from dpenet_cli.video.frames import Frame, ReadAhead, in_order
from dpenet_cli.video.network_tiles import ask_network, at_strength, mixed

WIDEST_REACH = REACH + KEY_REACH
"""Frames before and after each one that its result depends on, at most."""

_CERTAIN = 0.5
"""Evidence of rain around a pixel from which on the network's word counts in full where neighbours agree; below, by so
much less."""

_DRY, _WET = 0.25, 0.4
"""Mean evidence of rain in a frame up to which it does not count there, and from which on it counts in full. On a dry
dashcam clip whose posts pass faster than the flow can follow it stays below, on a rainy street at night above."""

_SLIP_HEIGHT = 480
"""Rows of the picture in which a key's answer may lie a pixel beside its place for each frame in between; more in
taller pictures. It counts there only as far as the brightest of the pixels around has it."""


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


class _FusedFrame(NamedTuple):
    """A frame, and what its neighbours make of it.

    Attributes:
        position: its number among those that were read.
        frame: as it came.
        fused: what became of it.
        is_key: whether the network looks at all of it where it rains.
    """

    position: int
    frame: Frame
    fused: Fused
    is_key: bool


class _Seen(NamedTuple):
    """A frame that the network has looked at, or need not.

    Attributes:
        item: what was looked at.
        image: H×W×3, the network's answer blended in where neighbours don't know.
        answer: H×W×3, what a key says: the network's answer wherever it was asked; None of other frames.
        asked: tiles that it looked at.
        tiles: tiles in all.
    """

    item: _FusedFrame
    image: Pixels
    answer: Pixels | None
    asked: int
    tiles: int

    @property
    def key_position(self) -> int:
        """Position of the frame that speaks for this one; its own if there is none."""
        key = self.item.fused.key
        return self.item.position + (key.lag if key else 0)


class OverTime:
    """A `FrameCleaner` by neighbours in time, and by the network.

    Args:
        fusion: fuses frames with their neighbours.
        engine: the network; None to do without.
        strength: share of all that is changed which is applied, 0..1.
        shares: where the pictures came from; counted here.
        ahead: fuse on a thread of its own, ahead of the network.
    """

    def __init__(
        self, fusion: Fusion, engine: FrameEngine | None, strength: float, shares: Shares, *, ahead: bool
    ) -> None:
        self.reach = REACH if engine is None else WIDEST_REACH
        self._fusion = fusion
        self._engine = engine
        self._strength = strength
        self._shares = shares
        self._ahead = ahead

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Clean frames, in order, all but those that are context."""
        if self._strength == 0.0:
            yield from (frame for frame in frames if not frame.context)
            return
        # Flow and fusion run on a thread of their own, ahead of the network.
        with ReadAhead(self._fused(frames)) if self._ahead else nullcontext(self._fused(frames)) as fused:
            seen = in_order(self._seen, fused, getattr(self._engine, "at_once", 1))
            for each, image in _with_keys(seen):
                frame = each.item.frame
                if frame.context:
                    continue
                self._shares.frames += 1
                self._shares.tiles += each.tiles
                self._shares.network_tiles += each.asked
                self._shares.changed += float((each.item.fused.image != frame.image).any(axis=2).mean())
                yield Frame(at_strength(frame.image, image, self._strength), frame.pts)

    def _fused(self, frames: Iterable[Frame]) -> Iterator[_FusedFrame]:
        """Each frame that comes out, and each that speaks for such a one, with what its neighbours make of it."""
        waiting: deque[Frame] = deque()  # read, and not fused yet

        def timed() -> Iterator[TimedFrame]:
            for frame in frames:
                waiting.append(frame)
                yield TimedFrame(frame.image, frame.pts, frame.number)

        last = -1 - KEY_REACH  # position of the last one that comes out
        for position, fused in enumerate(self._fusion(timed())):
            frame = waiting.popleft()
            is_key = self._engine is not None and fused.key is not None and fused.key.lag == 0
            if not frame.context:
                last = position
            comes_out_near = position - last <= KEY_REACH or not all(
                each.context for each in itertools.islice(waiting, KEY_REACH)
            )
            if not frame.context or (is_key and comes_out_near):
                yield _FusedFrame(position, frame, fused, is_key)

    def _seen(self, item: _FusedFrame) -> _Seen:
        fused = item.fused
        if self._engine is None:
            return _Seen(item, fused.image, None, 0, 1)
        need = (np.float32(1) - fused.confidence) * np.float32(fused.rain)  # H×W, 0..1
        look = cv2.max(need, _rains(fused)) if item.is_key else need
        answers = ask_network(self._engine, fused.image, np.asarray(look, np.float32), item.frame.scale)
        image = fused.image
        if answers.asked:
            image = mixed(fused.image, answers.image, answers.weight * need)
        answer = mixed(fused.image, answers.image, answers.weight) if item.is_key else None
        return _Seen(item, image, answer, answers.asked, answers.tiles)


def _with_keys(frames: Iterable[_Seen]) -> Iterator[tuple[_Seen, Pixels]]:
    """Each frame with what becomes of it once its key has spoken, which may be one of those that follow."""
    waiting: deque[_Seen] = deque()
    answers: dict[int, Pixels] = {}
    for seen in frames:
        waiting.append(seen)
        if seen.answer is not None:
            answers[seen.item.position] = seen.answer
        while waiting and waiting[0].key_position <= seen.item.position:
            first = waiting.popleft()
            yield first, _spoken_for(first, answers.get(first.key_position))
        oldest = (waiting[0] if waiting else seen).item.position - KEY_REACH
        answers = {position: answer for position, answer in answers.items() if position >= oldest}
    for seen in waiting:
        yield seen, _spoken_for(seen, answers.get(seen.key_position))


def _spoken_for(seen: _Seen, answer: Pixels | None) -> Pixels:
    """The frame made darker where its key's answer is, as far as its neighbours allow, and as far as it rains."""
    image, fused = seen.image, seen.item.fused
    rains = _rains(fused)
    if answer is None or fused.key is None or not rains.any():
        return image
    if fused.key.flow is not None:
        answer = warp(answer, places_in(fused.key.flow, image.shape), image)
        slip = max(round(abs(fused.key.lag) * image.shape[0] / _SLIP_HEIGHT), abs(fused.key.lag))
        around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * slip + 1, 2 * slip + 1))
        answer = np.asarray(cv2.dilate(answer, around), image.dtype)
    darker = np.maximum(np.minimum(image, answer), np.minimum(image, fused.bound))
    # What moves otherwise than the flow has it is not where the key shows it.
    loss = cv2.subtract(luma_8_bits(image), luma_8_bits(darker), dtype=cv2.CV_32F)
    share = np.where(compact(np.asarray(loss, np.float32)), np.float32(0), rains)
    return mixed(image, darker, share)


def _rains(fused: Fused) -> NDArray[np.float32]:
    """How far it rains around each pixel, for the network's word to count where neighbours agree: H×W, 0..1."""
    wet = ramp(np.asarray([fused.rain], np.float32), _DRY, _WET)
    return ramp(fused.around, 0, _CERTAIN) * wet
