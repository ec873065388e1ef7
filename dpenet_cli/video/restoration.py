"""What cleans a video's frames: neighbours and network together, neighbours alone, or the network on each frame."""

import itertools
from collections.abc import Iterable, Iterator
from functools import partial

from dpenet_cli.inference.resizing import clean_at
from dpenet_cli.options import VideoMethod
from dpenet_cli.temporal.stream import Fusion
from dpenet_cli.video.frames import EachFrame, Frame, FrameCleaner, in_order
from dpenet_cli.video.over_time import FrameEngine, OverTime, Shares


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
    return Restoration(OverTime(fusion, network, strength, shares, ahead=ahead), shares)


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
                yield from in_order(scaled, some, getattr(self._engine, "at_once", 1))


def _seen_at(engine: FrameEngine, scale: float, frame: Frame) -> Frame:
    return frame._replace(image=clean_at(engine, frame.image, scale))
