"""A video's frames through one engine or several: frames in, clean frames out, in order, in batches where they help.

Where the device likes batches, as a GPU does, frames of one shape and dtype go together, and the next batches are on
their way while one is waited for. Several engines take turns; a batch that a device fails at goes to the others. An
engine, of which `dpenet_cli.inference.derainer.Derainer` is one, knows its device; this file knows only the order.
"""

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from dpenet_cli.arrays import Pixels
from dpenet_cli.errors import DeviceError
from dpenet_cli.inference.backend import PendingBatch

IN_FLIGHT = 2
"""Batches of frames that each device has been given beyond the one that is waited for: one to work on, one on its
way."""

log = logging.getLogger(__name__)


class BatchEngine(Protocol):
    """What a stream of frames asks of an engine. Each of these raises a `DpenetError` where the engine's call does."""

    def __call__(self, rainy: Pixels) -> Pixels:
        """Clean one frame by itself, H×W×3 uint8 or uint16."""

    def batch_size(self, frame: Pixels) -> int:
        """How many frames of this shape and dtype go together, at least 1; an ImageError for what is no frame."""

    def submit(self, batch: Sequence[Pixels]) -> PendingBatch | None:
        """Send frames of one shape and dtype to the device; None: they are to be cleaned one by one."""

    def finish(self, batch: Sequence[Pixels], pending: PendingBatch) -> list[Pixels]:
        """Wait for the clean frames of a batch."""

    def discard(self, pending: PendingBatch) -> None:
        """Wait for a batch that nobody wants any more: its memory is wanted again."""


class _Submitted(NamedTuple):
    """A batch that an engine was given; `pending` is None where its frames are to be cleaned one by one."""

    engine: BatchEngine
    batch: list[Pixels]
    pending: PendingBatch | None


def stream_frames(engines: Sequence[BatchEngine], frames: Iterable[Pixels]) -> Iterator[Pixels]:
    """Clean a video's frames by engines that take turns, in order.

    At most `IN_FLIGHT` batches for each engine are taken from `frames` beyond the batch that is waited for. A batch
    that an engine's device fails at goes to the others. From then on that engine is left out, as long as there are
    others.

    Args:
        engines: at least one; alike, but for their devices.
        frames: H×W×3 RGB arrays, uint8 or uint16.

    Yields:
        As many frames, each of the shape and dtype of its input.

    Raises:
        DpenetError: as an engine's call does; that of a device which fails, when all of them do.
    """
    in_flight: deque[_Submitted] = deque()
    turns = _Turns(engines)
    try:
        for batch in _batches(frames, engines[0]):
            in_flight.append(_submit(batch, turns))
            # frames that go one by one are not sent ahead: nothing would work on them meanwhile
            most = IN_FLIGHT * len(engines) if in_flight[-1].pending is not None else 0
            while len(in_flight) > most:
                yield from _finish(in_flight.popleft(), turns)
        while in_flight:
            yield from _finish(in_flight.popleft(), turns)
    finally:
        for engine, _, pending in in_flight:
            if pending is not None:
                engine.discard(pending)


def _batches(frames: Iterable[Pixels], engine: BatchEngine) -> Iterator[list[Pixels]]:
    """Frames of one shape and dtype that go together, in order.

    Raises:
        ImageError: a frame of another kind.
    """
    batch: list[Pixels] = []
    for frame in frames:
        size = engine.batch_size(frame)
        if batch and (frame.shape, frame.dtype) != (batch[0].shape, batch[0].dtype):
            yield batch
            batch = []
        batch.append(frame)
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


def _submit(batch: list[Pixels], turns: "_Turns") -> _Submitted:
    """Give a batch to the engine whose turn it is, or to the first after it whose device does not fail at that."""
    tried: list[BatchEngine] = []
    while True:
        engine = turns.next(tried)
        try:
            return _Submitted(engine, batch, engine.submit(batch))
        except DeviceError as error:
            turns.leave_out(engine, tried, error)


def _finish(submitted: _Submitted, turns: "_Turns") -> list[Pixels]:
    """The clean frames of a batch; if its device fails at it, by another engine, one by one."""
    engine, batch, pending = submitted
    tried: list[BatchEngine] = []
    while True:
        try:
            if pending is not None and not tried:
                return engine.finish(batch, pending)
            return [engine(frame) for frame in batch]
        except DeviceError as error:
            turns.leave_out(engine, tried, error)
            engine = turns.next(tried)


class _Turns:
    """Engines that take turns, those that failed only when there is no other.

    Args:
        engines: at least one.
    """

    def __init__(self, engines: Sequence[BatchEngine]) -> None:
        self._waiting = list(engines)
        self._failed: list[BatchEngine] = []

    def next(self, tried: Sequence[BatchEngine]) -> BatchEngine:
        """The engine whose turn it is, of those that were not tried; there must be one."""
        engine = next(engine for engine in (*self._waiting, *self._failed) if engine not in tried)
        queue = self._failed if engine in self._failed else self._waiting
        queue.remove(engine)
        queue.append(engine)
        return engine

    def leave_out(self, engine: BatchEngine, tried: list[BatchEngine], error: DeviceError) -> None:
        """Note that a device failed at a batch, and log it.

        Args:
            engine: the one on that device.
            tried: those that failed at this batch; it becomes one of them.
            error: what happened.

        Raises:
            DeviceError: the same, if all have failed at this batch.
        """
        tried.append(engine)
        if engine in self._waiting:
            self._waiting.remove(engine)
            self._failed.append(engine)
        if len(tried) == len(self._waiting) + len(self._failed):
            raise error
        log.warning("%s: going on with another device", error)
