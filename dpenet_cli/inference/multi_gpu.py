"""Several engines as one: all GPUs of a machine at work on the same folder or the same video.

Pictures go to whichever engine is free; the batches of a video go to each in turn. `load_engine` gives one engine or
several by the device's name.
"""

import dataclasses
import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias, overload

import numpy as np
from PIL import Image

from dpenet_cli.arrays import Pixels
from dpenet_cli.errors import DeviceError
from dpenet_cli.inference.backend import ProgressCallback
from dpenet_cli.inference.derainer import Derainer
from dpenet_cli.inference.frame_batches import stream_frames
from dpenet_cli.options import ALL_CUDA, DEFAULT_WEIGHTS, EngineOptions
from dpenet_cli.system.devices import resolve_devices

log = logging.getLogger(__name__)


class MultiGPUDerainer:
    """Engines on devices of their own, ready to clean pictures at the same time.

    Calling it is safe from several threads, and of use from as many as there are engines.

    Args:
        engines: at least one; alike, but for their devices.

    Attributes:
        description: devices and precision, for a person.
        on_gpu: whether the CPU's cores are free for other work while a picture is cleaned.
        at_once: pictures that are cleaned at the same time.
    """

    def __init__(self, engines: Sequence[Derainer]) -> None:
        self._engines = list(engines)
        self._free = list(engines)
        self._freed = threading.Condition()
        self.on_gpu = all(engine.on_gpu for engine in engines)
        self.at_once = len(engines)
        self.description = f"{engines[0].description}, and {len(engines) - 1} more"

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
        """Clean one picture on a free engine, or on the first that becomes free.

        A picture that a device fails at is given to the others. Arguments and result are those of a `Derainer`.

        Raises:
            ImageError: another shape, dtype or mode.
            DeviceError: all devices fail at it.
            WeightsError: the weights give values that are not numbers, even in fp32.
        """
        tried: list[Derainer] = []
        while True:
            engine = self._take(tried)
            try:
                return engine(rainy, progress, strength=strength, precision_of=precision_of)
            except DeviceError as error:
                tried.append(engine)
                if len(tried) == self.at_once:
                    raise
                log.warning("%s: going on with another device", error)
            finally:
                self._give_back(engine)

    def used_for(self, dtype: type[np.generic]) -> dict[str, str]:
        """For programs: ``device`` (all of them), ``backend`` and ``precision``, as a `Derainer` tells them."""
        used = [engine.used_for(dtype) for engine in self._engines]
        return {**used[0], "device": ", ".join(each["device"] for each in used)}

    def stream(self, frames: Iterable[Pixels]) -> Iterator[Pixels]:
        """Clean a video's frames, in order, as `Derainer.stream` does; each engine is given as many ahead.

        A batch that a device fails at is given to the others, and the next ones too.

        Raises:
            DeviceError: all devices fail at a batch.
            DpenetError: as a call does.
        """
        return stream_frames(self._engines, frames)

    def _take(self, tried: Sequence[Derainer]) -> Derainer:
        """Wait for a free engine that was not tried yet: the one that has been free for longest."""
        with self._freed:
            while True:
                for engine in self._free:
                    if engine not in tried:
                        self._free.remove(engine)
                        return engine
                self._freed.wait()

    def _give_back(self, engine: Derainer) -> None:
        with self._freed:
            self._free.append(engine)
            self._freed.notify_all()


Engine: TypeAlias = Derainer | MultiGPUDerainer


def load_engine(weights: str | Path = DEFAULT_WEIGHTS, options: EngineOptions | None = None) -> Engine:
    """Read weights and put them on a device, or on each of several.

    Args:
        weights: a shipped name such as ``general``, a published one once it is pulled, or the path of a file.
        options: how the network is run; the defaults if None.

    Raises:
        WeightsError: the weights are missing or unusable.
        DeviceError: the device or precision is not available here.
        OptionError: the device's name means nothing, or the backend does not go with it.
    """
    options = options or EngineOptions()
    if options.device != ALL_CUDA:
        return Derainer.load(weights, options)
    devices = [dataclasses.replace(options, device=str(device)) for device in resolve_devices(ALL_CUDA)]
    engines = [Derainer.load(weights, each) for each in devices]
    return MultiGPUDerainer(engines) if len(engines) > 1 else engines[0]
