"""`load`: the network on a device, ready to clean whatever a program has."""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, overload

from numpy.typing import NDArray
from PIL import Image

from dpenet_cli.arrays import Pixels
from dpenet_cli.images.reading import read
from dpenet_cli.inference.backend import ProgressCallback
from dpenet_cli.inference.multi_gpu import Engine, load_engine
from dpenet_cli.inference.scale_rule import ScaleRule, rule_for
from dpenet_cli.inference.scales import ScaledDerainer
from dpenet_cli.library.kinds import Depth, cleaned_like, cleaned_picture, like, to_pixels
from dpenet_cli.options import DEFAULT_WEIGHTS, EngineOptions
from dpenet_cli.system.storage import place


class PictureDerainer(ScaledDerainer):
    """The network on a device: call it with a picture. `load` makes one.

    Calling it is safe from several threads; pictures are cleaned one at a time, or as many as there are GPUs.

    Args:
        engine: the network on its device, or on several.
        rule: tells in which size the network sees a picture.
        weights: their name or path.
        options: how the network is run.

    Attributes:
        weights: their name or path.
        options: how the network is run.
    """

    def __init__(self, engine: Engine, rule: ScaleRule, weights: str | Path, options: EngineOptions) -> None:
        super().__init__(engine, rule, options.scale, options.strength)
        self.weights = weights
        self.options = options

    @overload
    def __call__(self, rainy: Image.Image, progress: ProgressCallback | None = None) -> Image.Image: ...

    @overload
    def __call__(self, rainy: str | Path, progress: ProgressCallback | None = None) -> Pixels: ...

    @overload
    def __call__(self, rainy: NDArray[Depth], progress: ProgressCallback | None = None) -> NDArray[Depth]: ...

    def __call__(
        self, rainy: NDArray[Depth] | Image.Image | str | Path, progress: ProgressCallback | None = None
    ) -> NDArray[Depth] | Image.Image | Pixels:
        """Clean a picture, or a batch of pictures, each by itself.

        Args:
            rainy: an array, H×W×3 RGB, H×W or H×W×1 grey, or N×H×W×3 or N×H×W×1 for N pictures; uint8 (0..255), uint16
                (0..65535) or float32 (0..1). Or a Pillow picture of mode RGB, L or I;16. Or the path of a picture, of
                which the pixels come back, upright; `clean_file` keeps all else that its file holds.
            progress: told, now and then, the share of a picture that is done, 0..1; in a batch, for each anew.

        Returns:
            The same kind, shape and dtype; for a path, H×W×3 uint8 or uint16. The input is left as it was.

        Raises:
            ImageError: another shape, dtype or mode, no pixels, or floats that are not numbers or lie outside 0..1; a
                file that cannot be read is an `ImageReadError`, one that would lose something an `ImageRefused`.
            DeviceError: the device's memory does not hold the smallest tile, or the device fails.
            WeightsError: the weights give values that are not numbers, even in fp32.

        Example:
            >>> import numpy as np
            >>> from dpenet_cli import load
            >>> derain = load("light", device="cpu")
            >>> derain(np.full((24, 32, 3), 128, np.uint8)).shape
            (24, 32, 3)
            >>> derain(np.full((2, 24, 32, 3), 0.5, np.float32)).dtype
            dtype('float32')
        """
        clean = self._cleaner(progress)
        if isinstance(rainy, Image.Image):
            return cleaned_picture(rainy, clean)
        if isinstance(rainy, str | Path):
            return clean(read(place(rainy) if isinstance(rainy, str) else rainy).pixels)
        return cleaned_like(rainy, clean)

    def stream(self, frames: Iterable[NDArray[Depth]]) -> Iterator[NDArray[Depth]]:
        """Clean a video's frames, in order, all in the size that suits the first.

        Each is cleaned by itself, as `dpenet video --method network` does; `clean_video` asks the neighbours too.

        Args:
            frames: arrays as for a call, each a single picture; all of one kind.

        Returns:
            As many frames, each of the shape and dtype of its input. Some are taken from `frames` before they are due.

        Raises:
            DpenetError: as a call does.

        Example:
            >>> import numpy as np
            >>> from dpenet_cli import load
            >>> derain = load("light", device="cpu")
            >>> video = (np.full((24, 32), level, np.uint8) for level in (100, 101, 102))
            >>> [frame.shape for frame in derain.stream(video)]
            [(24, 32), (24, 32), (24, 32)]
        """
        waiting: deque[NDArray[Depth]] = deque()

        def opened() -> Iterator[Pixels]:
            for frame in frames:
                waiting.append(frame)
                yield to_pixels(frame)

        for clean in super().stream(opened()):
            yield like(waiting.popleft(), clean)

    def _cleaner(self, progress: ProgressCallback | None) -> Callable[[Pixels], Pixels]:
        return lambda pixels: self.clean(pixels, progress).pixels


def load(
    weights: str | Path = DEFAULT_WEIGHTS,
    options: EngineOptions | None = None,
    *,
    device: str | None = None,
    precision: str | None = None,
    backend: str | None = None,
    threads: int | None = None,
    strength: float | None = None,
    scale: float | None = None,
    tile: int | None = None,
) -> PictureDerainer:
    """Read weights and put them on a device, or on each of several: the library's door.

    Args:
        weights: a shipped name such as ``general``, a published one once it is pulled, or the path of a file.
        options: how the network is run; the defaults if None.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``, ``cuda:all`` or ``mps``. This and what follows is as in
            `EngineOptions`, which says more; None: as `options` has it.
        precision: ``auto``, ``fp32``, ``fp16`` or ``bf16``.
        backend: ``auto``, ``torch`` or ``openvino``.
        threads: CPU threads for the network.
        strength: 0..1, how much of the cleaning.
        scale: width in which the network sees a picture over its own, above 0 and at most 1.
        tile: widest strip that is worked on at a time, in pixels.

    Raises:
        WeightsError: the weights are missing or unusable.
        DeviceError: the device or precision is not available here.
        OptionError: a value means nothing, or the backend does not go with the device.

    Example:
        >>> import numpy as np
        >>> from dpenet_cli import load
        >>> derain = load("light", device="cpu", strength=0.7)
        >>> derain(np.full((24, 32, 3), 128, np.uint8)).shape  # H×W×3 RGB, uint8
        (24, 32, 3)
    """
    named: dict[str, Any] = {"device": device, "precision": precision, "backend": backend, "threads": threads}
    named |= {"strength": strength, "scale": scale, "tile": tile}
    given = {name: value for name, value in named.items() if value is not None}
    options = dataclasses.replace(options or EngineOptions(), **given)
    return PictureDerainer(load_engine(weights, options), rule_for(weights), weights, options)
