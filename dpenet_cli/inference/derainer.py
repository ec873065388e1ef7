"""The engine that every command shares: pictures in, clean pictures out, exact at any size."""

import contextlib
import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self, TypeAlias, overload

import numpy as np
from PIL import Image

from dpenet_cli.arrays import Pixels
from dpenet_cli.errors import DeviceError, ImageError, WeightsError
from dpenet_cli.inference.backend import (
    Backend,
    BackendFailed,
    BatchBackend,
    NonFinite,
    OutOfMemory,
    PendingBatch,
    TileSize,
)
from dpenet_cli.inference.select import choose
from dpenet_cli.inference.tiling import MIN_BAND_ROWS, MIN_TILE, plan
from dpenet_cli.network.checkpoints import load_model
from dpenet_cli.options import DEFAULT_WEIGHTS, EngineOptions, Precision

ProgressCallback = Callable[[float], None]

LOOK_AHEAD = 2
"""Frames of a video that are known before one is cleaned, so that a network may use its neighbours one day."""

IN_FLIGHT = 2
"""Batches of frames that each device has been given beyond the one that is waited for: one to work on, one on its
way."""

_Kind: TypeAlias = tuple[tuple[int, ...], np.dtype[np.generic]]
"""Shape and dtype of a frame: frames of a batch have them in common."""

log = logging.getLogger(__name__)


class Derainer:
    """A network on a device, ready to clean pictures.

    Calling it is safe from several threads; pictures are cleaned one at a time.

    Args:
        backend: the network on its device.
        options: tile and strength; device, precision and threads are the backend's.
        fallback: makes the backend that takes over, for good, when the first one fails at its work.

    Attributes:
        at_once: pictures that are cleaned at the same time.
    """

    at_once = 1

    def __init__(self, backend: Backend, options: EngineOptions, fallback: Callable[[], Backend] | None = None) -> None:
        self._backend = backend
        self._fallback = fallback
        self._strength = options.strength
        self._columns = options.tile
        self._limit: TileSize | None = None
        self._together: dict[_Kind, int] = {}
        self._lock = threading.Lock()

    @classmethod
    def load(cls, weights: str | Path = DEFAULT_WEIGHTS, options: EngineOptions | None = None) -> Self:
        """Read weights and put them on a device.

        Raises:
            WeightsError: the weights are missing or unusable.
            DeviceError: the device or precision is not available here.
            OptionError: the device's name means nothing, or the backend does not go with it.
        """
        options = options or EngineOptions()
        model = load_model(weights)
        backend, fallback = choose(model, options)
        return cls(backend, options, fallback)

    @property
    def description(self) -> str:
        """Device and precision, for a person."""
        return self._backend.description

    @property
    def on_gpu(self) -> bool:
        """Whether the CPU's cores are free for other work while a picture is cleaned."""
        return self._backend.on_gpu

    @overload
    def __call__(self, rainy: Image.Image, progress: ProgressCallback | None = None) -> Image.Image: ...

    @overload
    def __call__(self, rainy: Pixels, progress: ProgressCallback | None = None) -> Pixels: ...

    def __call__(self, rainy: Pixels | Image.Image, progress: ProgressCallback | None = None) -> Pixels | Image.Image:
        """Clean one picture.

        Args:
            rainy: H×W×3 RGB array, uint8 or uint16; or a Pillow picture of mode RGB.
            progress: called on this thread, now and then, with the share of the picture that is done, 0..1.

        Returns:
            The same kind, shape and dtype; the input is left as it was.

        Raises:
            ImageError: another shape, dtype or mode.
            DeviceError: the device's memory does not hold the smallest tile, or the backend fails and none takes over.
            WeightsError: the weights give values that are not numbers, even in fp32.
        """
        if isinstance(rainy, Image.Image):
            if rainy.mode != "RGB":
                raise ImageError(f"picture of mode {rainy.mode}", "RGB is needed", 'Use .convert("RGB") first.')
            return Image.fromarray(self(np.asarray(rainy), progress))
        _check(rainy)
        if self._strength == 0.0 or rainy.size == 0:
            return rainy.copy()
        with self._lock:
            clean = np.empty_like(rainy, order="C")
            try:
                self._clean_into(clean, rainy, progress or _no_progress)
            except BackendFailed as error:
                self._take_over(error)
                self._clean_into(clean, rainy, progress or _no_progress)
            return clean

    def _take_over(self, error: BackendFailed) -> None:
        """Let the fallback serve from now on."""
        failed = self._backend.description
        if self._fallback is None:
            raise DeviceError(failed, str(error), "Use another --backend.") from error
        self._backend, self._fallback, self._limit = self._fallback(), None, None
        self._together.clear()
        log.warning("%s failed (%s): going on with %s", failed, error, self._backend.description)

    def _tile_size(self, height: int, width: int, precision: Precision) -> TileSize:
        """What suits the backend, and no more than memory has been found to hold."""
        columns, band_rows = self._backend.tile_size(height, width, precision, self._columns)
        band_rows = min(band_rows, height)
        if self._limit is None:
            return TileSize(columns, band_rows)
        return TileSize(min(columns, self._limit.columns), min(band_rows, self._limit.band_rows))

    def stream(self, frames: Iterable[Pixels]) -> Iterator[Pixels]:
        """Clean a video's frames, in order.

        Where the device likes batches, as a GPU does, the next are prepared while one is cleaned: at most
        `IN_FLIGHT` of them, and `LOOK_AHEAD` frames, are taken from `frames` beyond the batch that is waited for.

        Args:
            frames: H×W×3 RGB arrays, uint8 or uint16.

        Returns:
            As many frames, each of the shape and dtype of its input.

        Raises:
            DpenetError: as a call does.
        """
        return stream_through([self], frames)

    def batches(self, frames: Iterable[Pixels]) -> Iterator[list[Pixels]]:
        """Frames of one shape and dtype that go together, in order, with the look-ahead.

        Raises:
            ImageError: a frame of another kind.
        """
        waiting: deque[Pixels] = deque()
        for frame in frames:
            _check(frame)
            waiting.append(frame)
            if len(waiting) >= LOOK_AHEAD + self._batch_size(waiting[0]):
                yield self._next_batch(waiting)
        while waiting:
            yield self._next_batch(waiting)

    def _next_batch(self, waiting: deque[Pixels]) -> list[Pixels]:
        kind = _kind(waiting[0])
        alike = itertools.takewhile(lambda frame: _kind(frame) == kind, waiting)
        count = sum(1 for _ in itertools.islice(alike, self._batch_size(waiting[0])))
        return [waiting.popleft() for _ in range(count)]

    def _batch_size(self, frame: Pixels) -> int:
        """How many frames like this are to go together."""
        try:
            return max(self._frames_together(frame), 1)
        except DeviceError:  # whoever sends the batch to this device will be told; another one may be there
            return 1

    def _frames_together(self, frame: Pixels) -> int:
        """How many frames like this the backend wants in a batch; 0 if it takes them one by one."""
        kind = _kind(frame)
        if kind not in self._together:
            count = 0
            if self._strength != 0.0 and frame.size and isinstance(self._backend, BatchBackend):
                height, width = frame.shape[:2]
                precision = self._backend.precision_for(frame.dtype)
                size = self._tile_size(height, width, precision)
                if size.columns >= width and size.band_rows >= height:
                    count = self._backend.frames_at_once(height, width, precision)
            self._together[kind] = count
        return self._together[kind]

    def submit(self, batch: list[Pixels]) -> PendingBatch | None:
        """Send frames of one shape and dtype to the device, if it takes batches and has the memory.

        Returns:
            What `land` wants; or None: clean them one by one.
        """
        together = self._frames_together(batch[0])
        if len(batch) > together or not isinstance(self._backend, BatchBackend):
            return None
        precision = self._backend.precision_for(batch[0].dtype)
        with self._lock:
            try:
                return self._backend.submit(batch, together, precision, self._strength)
            except OutOfMemory as error:
                self._go_singly(batch, error)
                return None

    def land(self, batch: list[Pixels], landing: PendingBatch) -> list[Pixels]:
        """Wait for the clean frames of a batch; they are made one by one if something was wrong with it.

        Raises:
            DpenetError: as a call does.
        """
        try:
            with self._lock:
                return landing()
        except OutOfMemory as error:
            self._go_singly(batch, error)
        except NonFinite:
            log.info("not finite: the frames of a batch are run again one by one")
        return [self(frame) for frame in batch]

    def drop(self, landing: PendingBatch) -> None:
        """Wait for a batch that nobody wants any more: its memory is wanted again."""
        with self._lock, contextlib.suppress(OutOfMemory, NonFinite, DeviceError):
            landing()

    def _go_singly(self, batch: list[Pixels], error: OutOfMemory) -> None:
        """No batches of such frames from now on; a frame by itself may be cut as far as memory needs."""
        log.warning("out of memory (%s): going on with frames one by one", error)
        self._together[_kind(batch[0])] = 0

    def _clean_into(self, clean: Pixels, rainy: Pixels, progress: ProgressCallback) -> None:
        """Fill `clean`; start over with half the tile when memory runs out."""
        height, width = rainy.shape[:2]
        precision = self._backend.precision_for(rainy.dtype)
        size = self._tile_size(height, width, precision)
        while True:
            cut = plan(width, tile=size.columns, halo=self._backend.receptive_radius)
            log.info(
                "%d×%d in %d strip(s), bands of %d rows, %s: %.2f times the operations needed",
                *(width, height, len(cut.strips), size.band_rows, precision, cut.overhead),
            )
            try:
                for strip in cut.strips:
                    top = 0
                    for rows in self._strip(rainy[:, strip.start : strip.stop], size.band_rows, precision):
                        core = rows[:, strip.left - strip.start : strip.right - strip.start]
                        clean[top : top + len(rows), strip.left : strip.right] = core
                        top += len(rows)
                        progress((strip.left + (strip.right - strip.left) * top / height) / width)
            except OutOfMemory as error:
                size = _halved(size, str(error))
                self._limit = size  # the next picture need not find out again
                log.warning("out of memory: going on with tiles of %d×%d pixels", *size)
            else:
                return

    def _strip(self, strip: Pixels, band_rows: int, precision: Precision) -> Iterator[Pixels]:
        """The cleaned rows of one strip; those that come out non-finite are run again in fp32."""
        done = 0
        try:
            for rows in self._backend.clean(strip, band_rows, precision, self._strength):
                yield rows
                done += len(rows)
        except NonFinite as error:
            if precision is Precision.FP32:
                why = "they give values that are not numbers"
                raise WeightsError("these weights", why, "Use other weights.") from error
            log.info("not finite in %s: a strip is run again in fp32", precision)
        else:
            return
        for rows in self._strip(strip, band_rows, Precision.FP32):
            fresh = rows[max(done, 0) :]
            done -= len(rows)
            if len(fresh):
                yield fresh


def stream_through(engines: Sequence[Derainer], frames: Iterable[Pixels]) -> Iterator[Pixels]:
    """Clean a video's frames by engines that take turns, in order; see `Derainer.stream`.

    A batch that an engine's device fails at goes to the others. From then on that engine is left out, as long as there
    are others.

    Args:
        engines: alike, but for their devices.
        frames: H×W×3 RGB arrays, uint8 or uint16.

    Raises:
        DpenetError: as a call does; of devices that fail, when all of them do.
    """
    flying: deque[tuple[Derainer, list[Pixels], PendingBatch | None]] = deque()
    turns = _Turns(engines)

    def submit(batch: list[Pixels]) -> tuple[Derainer, PendingBatch | None]:
        tried: list[Derainer] = []
        while True:
            engine = turns.next(tried)
            try:
                return engine, engine.submit(batch)
            except DeviceError as error:
                turns.leave_out(engine, tried, error)

    def land_first() -> list[Pixels]:
        engine, batch, landing = flying.popleft()
        tried: list[Derainer] = []
        while True:
            try:
                if landing is not None and not tried:
                    return engine.land(batch, landing)
                return [engine(frame) for frame in batch]
            except DeviceError as error:
                turns.leave_out(engine, tried, error)
                engine = turns.next(tried)

    try:
        for batch in engines[0].batches(frames):
            engine, landing = submit(batch)
            flying.append((engine, batch, landing))
            while len(flying) > (IN_FLIGHT * len(engines) if landing is not None else 0):
                yield from land_first()
        while flying:
            yield from land_first()
    finally:
        for engine, _, landing in flying:
            if landing is not None:
                engine.drop(landing)


class _Turns:
    """Engines that take turns, those that failed only when there is no other.

    Args:
        engines: at least one.
    """

    def __init__(self, engines: Sequence[Derainer]) -> None:
        self._waiting = list(engines)
        self._failed: list[Derainer] = []

    def next(self, tried: Sequence[Derainer]) -> Derainer:
        """Whose turn it is, of those that were not tried; there must be one."""
        engine = next(engine for engine in (*self._waiting, *self._failed) if engine not in tried)
        line = self._failed if engine in self._failed else self._waiting
        line.remove(engine)
        line.append(engine)
        return engine

    def leave_out(self, engine: Derainer, tried: list[Derainer], error: DeviceError) -> None:
        """Note that a device failed at a batch, and tell it.

        Args:
            engine: the one on it.
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


def _kind(frame: Pixels) -> _Kind:
    return frame.shape, frame.dtype


def _no_progress(share: float) -> None:
    pass


def _check(rainy: Pixels) -> None:
    if not isinstance(rainy, np.ndarray):
        raise ImageError(f"a {type(rainy).__name__}", "a picture is a NumPy array or a Pillow picture", "Convert it.")
    if rainy.ndim != 3 or rainy.shape[2] != 3 or rainy.dtype not in (np.uint8, np.uint16):
        shape = "×".join(map(str, rainy.shape))
        raise ImageError(f"array {shape} {rainy.dtype}", "H×W×3 RGB uint8 or uint16 is needed", "Convert it first.")


def _halved(size: TileSize, why: str) -> TileSize:
    """Half the tile: shorter bands first, for they cost next to nothing; then narrower strips, whose halo does."""
    if size.band_rows > MIN_BAND_ROWS:
        return TileSize(size.columns, max(size.band_rows // 2, MIN_BAND_ROWS))
    if size.columns > MIN_TILE:
        return TileSize(max(size.columns // 2, MIN_TILE), size.band_rows)
    raise DeviceError("the device", f"its memory does not hold the smallest tile ({why})", "Use --device cpu.")
