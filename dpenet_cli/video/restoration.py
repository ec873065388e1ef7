"""A stand-in: what cleans a video's frames, as `VideoMethod` names it."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from dpenet_cli.inference.multi_gpu import Engine
from dpenet_cli.options import VideoMethod
from dpenet_cli.video.frames import Frame


class Restoration:
    """Cleans the frames of one video, as `CleanFrames` has it; `shares` tells afterwards who cleaned how much."""

    def __init__(self, method: VideoMethod, engine: Engine | None) -> None:
        self._method, self._engine = method, engine
        self.shares: Any = None

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Clean frames in order."""
        if self._method is VideoMethod.NETWORK:
            assert self._engine is not None
            times: deque[Frame] = deque()
            images = (times.append(frame) or frame.image for frame in frames)  # type: ignore[func-returns-value]
            for image in self._engine.stream(images):
                yield Frame(image, times.popleft().pts)
            return
        near: deque[Frame] = deque(maxlen=3)
        for frame in frames:
            near.append(frame)
            if len(near) > 1:
                yield _median(near, -2)
        if near:
            yield _median(near, -1)


def _median(near: deque[Frame], which: int) -> Frame:
    median = np.median([frame.image for frame in near], axis=0)
    return Frame(median.astype(near[0].image.dtype), near[which].pts)


def restoration(method: VideoMethod, engine: Engine | None, strength: float = 1.0) -> Restoration:  # noqa: ARG001
    """What cleans one video by a method."""
    return Restoration(method, engine)
