"""The engine that every command shares: one picture in, the clean picture out, exact at any size.

A picture is cut into strips (`dpenet_cli.inference.tiling`), which a backend cleans. Here is decided what happens when
that fails: smaller tiles when memory runs out, fp32 where a reduced precision overflows, another backend when one
breaks. A video's frames go through `dpenet_cli.inference.frame_batches`, for which an engine guards its device.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self, overload

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
    ProgressCallback,
    TileSize,
)
from dpenet_cli.inference.frame_batches import stream_frames
from dpenet_cli.inference.select import select_backend
from dpenet_cli.inference.tiling import MIN_BAND_ROWS, MIN_TILE, Strip, plan
from dpenet_cli.network.checkpoints import load_model
from dpenet_cli.options import DEFAULT_WEIGHTS, EngineOptions, Precision

log = logging.getLogger(__name__)


class _How(NamedTuple):
    """How one picture is run."""

    size: TileSize
    precision: Precision
    strength: float
    progress: ProgressCallback


class Derainer:
    """A network on a device, ready to clean pictures.

    Calling it is safe from several threads; pictures are cleaned one at a time.

    Args:
        backend: the network on its device.
        options: how the network is run; tile and strength are used here, the rest is the backend's.
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
        self._limit: TileSize | None = None  # what memory was found to hold
        self._together: dict[tuple[object, ...], int] = {}  # frames in a batch, by shape and dtype; 0: one by one
        self._lock = threading.Lock()

    @classmethod
    def load(cls, weights: str | Path = DEFAULT_WEIGHTS, options: EngineOptions | None = None) -> Self:
        """Read weights and put them on a device.

        Args:
            weights: a shipped name such as ``general``, a published one once it is pulled, or the path of a file.
            options: how the network is run; the defaults if None.

        Raises:
            WeightsError: the weights are missing or unusable.
            DeviceError: the device or precision is not available here.
            OptionError: the device's name means nothing, or the backend does not go with it.
        """
        options = options or EngineOptions()
        model = load_model(weights)
        backend, fallback = select_backend(model, options)
        return cls(backend, options, fallback)

    @property
    def description(self) -> str:
        """Device and precision, for a person."""
        return self._backend.description

    def used_for(self, dtype: type[np.generic]) -> dict[str, str]:
        """For programs: ``device``, ``backend`` and ``precision`` that pictures of this dtype are run with."""
        device, *runtime = self.description.split(", ")[:-1]  # its last part is the usual precision
        precision = self._backend.precision_for(np.dtype(dtype)).value
        return {"device": device, "backend": "openvino" if runtime else "torch", "precision": precision}

    @property
    def on_gpu(self) -> bool:
        """Whether the CPU's cores are free for other work while a picture is cleaned."""
        return self._backend.on_gpu

    @overload
    def __call__(
        self,
        rainy: Image.Image,
        progress: ProgressCallback | None = None,
        *,
        strength: float | None = None,
        precision_of: type[np.generic] | None = None,
    ) -> Image.Image: ...

    @overload
    def __call__(
        self,
        rainy: Pixels,
        progress: ProgressCallback | None = None,
        *,
        strength: float | None = None,
        precision_of: type[np.generic] | None = None,
    ) -> Pixels: ...

    def __call__(
        self,
        rainy: Pixels | Image.Image,
        progress: ProgressCallback | None = None,
        *,
        strength: float | None = None,
        precision_of: type[np.generic] | None = None,
    ) -> Pixels | Image.Image:
        """Clean one picture.

        Args:
            rainy: H×W×3 RGB array, uint8 or uint16; or a Pillow picture of mode RGB.
            progress: called on this thread, now and then, with the share of the picture that is done, 0..1.
            strength: 0..1 for this picture, or None for the engine's own.
            precision_of: uint8 or uint16: run the network as precisely as for pictures of that dtype; None: of this.

        Returns:
            The same kind, shape and dtype; the input is left as it was.

        Raises:
            ImageError: another shape, dtype or mode.
            DeviceError: the device's memory does not hold the smallest tile, or the backend fails and none takes over.
            WeightsError: the weights give values that are not numbers, even in fp32.

        Example:
            >>> import numpy as np
            >>> from dpenet_cli import Derainer, EngineOptions
            >>> derainer = Derainer.load("light", EngineOptions(device="cpu"))
            >>> clean = derainer(np.full((24, 32, 3), 128, np.uint8))
            >>> clean.shape, clean.dtype
            ((24, 32, 3), dtype('uint8'))
        """
        if isinstance(rainy, Image.Image):
            pixels = self(as_pixels(rainy), progress, strength=strength, precision_of=precision_of)
            return Image.fromarray(pixels)
        check_pixels(rainy)
        strength = self._strength if strength is None else strength
        if strength == 0.0 or rainy.size == 0:
            return rainy.copy()
        clean = np.empty_like(rainy, order="C")
        height, width = rainy.shape[:2]
        dtype = np.dtype(precision_of or rainy.dtype)
        level = logging.INFO if progress else logging.DEBUG  # not once for each frame, or for each small look
        progress = progress or _no_progress
        with self._lock:
            while True:  # until the picture is clean: after a failure all of it is done again
                precision = self._backend.precision_for(dtype)
                how = _How(self._tile_size(height, width, precision), precision, strength, progress)
                cut = plan(width, tile=how.size.columns, halo=self._backend.receptive_radius)
                log.log(
                    level,
                    "%d×%d in %d strip(s), bands of %d rows, %s: %.2f times the operations needed",
                    width,
                    height,
                    len(cut.strips),
                    how.size.band_rows,
                    precision,
                    cut.overhead,
                )
                try:
                    for strip in cut.strips:
                        self._clean_strip(clean, rainy, strip, how)
                except OutOfMemory as error:
                    self._limit = _halved(how.size, str(error))  # the next picture need not find out again
                    log.warning("out of memory: going on with tiles of %d×%d pixels", *self._limit)
                except BackendFailed as error:
                    self._take_over(error)
                else:
                    return clean

    def _clean_strip(self, clean: Pixels, rainy: Pixels, strip: Strip, how: "_How") -> None:
        """Fill the columns of one strip; rows that come out non-finite, and those below them, are run in fp32."""
        height, width = rainy.shape[:2]
        precision = how.precision
        with_halo = rainy[:, strip.start : strip.stop]
        core = slice(strip.left - strip.start, strip.right - strip.start)
        done = 0  # rows that are clean
        while True:
            top = 0  # of the rows that come out next
            try:
                for rows in self._backend.clean(with_halo, how.size.band_rows, precision, how.strength):
                    bottom = top + len(rows)
                    if bottom > done:  # in a second run the first rows are clean already
                        clean[done:bottom, strip.left : strip.right] = rows[done - bottom :, core]
                        done = bottom
                        how.progress((strip.left + (strip.right - strip.left) * done / height) / width)
                    top = bottom
            except NonFinite as error:
                if precision is Precision.FP32:
                    why = "they give values that are not numbers"
                    raise WeightsError("these weights", why, "Use other weights.") from error
                log.info("not finite in %s: a strip is run again in fp32", precision)
                precision = Precision.FP32
            else:
                return

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
        `frame_batches.IN_FLIGHT` of them are taken from `frames` beyond the batch that is waited for.

        Args:
            frames: H×W×3 RGB arrays, uint8 or uint16.

        Returns:
            As many frames, each of the shape and dtype of its input.

        Raises:
            DpenetError: as a call does.

        Example:
            >>> import numpy as np
            >>> from dpenet_cli import Derainer, EngineOptions
            >>> derainer = Derainer.load("light", EngineOptions(device="cpu"))
            >>> video = (np.full((24, 32, 3), level, np.uint8) for level in (100, 101, 102))
            >>> [frame.shape for frame in derainer.stream(video)]
            [(24, 32, 3), (24, 32, 3), (24, 32, 3)]
        """
        return stream_frames([self], frames)

    def batch_size(self, frame: Pixels) -> int:
        """How many frames of this shape and dtype go together, at least 1.

        Raises:
            ImageError: another shape or dtype than H×W×3 uint8 or uint16.
        """
        check_pixels(frame)
        try:
            return max(self._frames_together(frame), 1)
        except DeviceError:  # whoever sends the batch to this device will be told; another one may be there
            return 1

    def submit(self, batch: Sequence[Pixels]) -> PendingBatch | None:
        """Send frames of one shape and dtype to the device, if it takes batches and has the memory.

        Returns:
            What `finish` wants; or None: clean them one by one.

        Raises:
            DeviceError: the device fails.
        """
        together = self._frames_together(batch[0])
        if len(batch) > together or not isinstance(self._backend, BatchBackend):
            return None
        precision = self._backend.precision_for(batch[0].dtype)
        with self._lock:
            try:
                return self._backend.submit(batch, together, precision, self._strength)
            except OutOfMemory as error:
                self._batch_no_more(batch[0], error)
                return None

    def finish(self, batch: Sequence[Pixels], pending: PendingBatch) -> list[Pixels]:
        """Wait for the clean frames of a batch; they are made one by one if something was wrong with it.

        Raises:
            DpenetError: as a call does.
        """
        try:
            with self._lock:
                return pending()
        except OutOfMemory as error:
            self._batch_no_more(batch[0], error)
        except NonFinite:
            log.info("not finite: the frames of a batch are run again one by one")
        return [self(frame) for frame in batch]

    def discard(self, pending: PendingBatch) -> None:
        """Wait for a batch that nobody wants any more: its memory is wanted again."""
        with self._lock, contextlib.suppress(OutOfMemory, NonFinite, DeviceError):
            pending()

    def _frames_together(self, frame: Pixels) -> int:
        """How many frames like this the backend wants in a batch; 0 if it takes them one by one."""
        kind = frame.shape, frame.dtype
        if kind not in self._together:
            count = 0
            if self._strength != 0.0 and frame.size and isinstance(self._backend, BatchBackend):
                height, width = frame.shape[:2]
                precision = self._backend.precision_for(frame.dtype)
                size = self._tile_size(height, width, precision)
                if size.columns >= width and size.band_rows >= height:  # a batch holds whole frames
                    count = self._backend.frames_at_once(height, width, precision)
            self._together[kind] = count
        return self._together[kind]

    def _batch_no_more(self, frame: Pixels, error: OutOfMemory) -> None:
        """No batches of such frames from now on; a frame by itself may be cut as far as memory needs."""
        log.warning("out of memory (%s): going on with frames one by one", error)
        self._together[frame.shape, frame.dtype] = 0


def _no_progress(share: float) -> None:
    pass


def as_pixels(picture: Image.Image) -> Pixels:
    """The pixels of a Pillow picture.

    Raises:
        ImageError: its mode is not RGB.
    """
    if picture.mode != "RGB":
        raise ImageError(f"picture of mode {picture.mode}", "RGB is needed", 'Use .convert("RGB") first.')
    return np.asarray(picture)


def check_pixels(rainy: Pixels) -> None:
    """Refuse what is no picture.

    Raises:
        ImageError: another shape or dtype than H×W×3 uint8 or uint16.
    """
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
