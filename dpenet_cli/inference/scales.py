"""Pictures of any number of megapixels, looked at in the size in which their streaks are as wide as the network knows.

Small looks at windows of the picture in several sizes (`dpenet_cli.inference.looks`) tell which one that is
(`dpenet_cli.inference.scale_rule`); then the network sees the picture in that size (`dpenet_cli.inference.resizing`).
"""

import itertools
import logging
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import overload

import cv2
import numpy as np
from PIL import Image

from dpenet_cli.arrays import Pixels, to_8_bits
from dpenet_cli.inference.backend import ProgressCallback
from dpenet_cli.inference.derainer import as_pixels, check_pixels
from dpenet_cli.inference.looks import SMALL, Look, Looks, Window, look, plan_windows
from dpenet_cli.inference.multi_gpu import Engine, load_engine
from dpenet_cli.inference.resizing import clean_at
from dpenet_cli.inference.scale_evidence import Evidence
from dpenet_cli.inference.scale_rule import Choice, Cleaned, ScaleRule, rule_for
from dpenet_cli.options import DEFAULT_WEIGHTS, EngineOptions

log = logging.getLogger(__name__)

_MARGIN = 2.0
"""Decibels that half the size of a small picture must promise: their streaks are seldom wide, and there are few of
them to judge by. 73 pictures of the benchmark's sets are then all seen in their own size."""

MIN_SIDE = 128
"""Width and height in pixels from which on looks tell anything; smaller pictures are seen in their own size."""


class ScaledDerainer:
    """An engine that looks at each picture in the size that suits its rain.

    Calling it is safe from several threads.

    Args:
        engine: the network on its device, or on several.
        rule: tells the size; it belongs to the network's weights.
        scale: width that the network sees over the picture's, above 0 and at most 1; None lets the rule decide.
        strength: the engine's own, 0..1.

    Attributes:
        at_once: pictures that are cleaned at the same time.
        on_gpu: whether the CPU's cores are free for other work while a picture is cleaned.
        description: device and precision, for a person.
    """

    def __init__(self, engine: Engine, rule: ScaleRule, scale: float | None = None, strength: float = 1.0) -> None:
        self.engine = engine
        self.at_once = engine.at_once
        self.on_gpu = engine.on_gpu
        self._rule = rule
        self._scale = scale
        self._strength = strength

    @property
    def description(self) -> str:
        """Device and precision, for a person."""
        return self.engine.description

    @overload
    def __call__(self, rainy: Image.Image, progress: ProgressCallback | None = None) -> Image.Image: ...

    @overload
    def __call__(self, rainy: Pixels, progress: ProgressCallback | None = None) -> Pixels: ...

    def __call__(self, rainy: Pixels | Image.Image, progress: ProgressCallback | None = None) -> Pixels | Image.Image:
        """Clean one picture.

        Args:
            rainy: H×W×3 RGB array, uint8 or uint16; or a Pillow picture of mode RGB.
            progress: told the share of the picture that is done, 0..1.

        Returns:
            The same kind, shape and dtype; the input is left as it was.

        Raises:
            DpenetError: as `Derainer` does.

        Example:
            >>> import numpy as np
            >>> from dpenet_cli.inference.scales import load
            >>> load("light")(np.full((24, 32, 3), 128, np.uint8)).shape
            (24, 32, 3)
        """
        if isinstance(rainy, Image.Image):
            return Image.fromarray(self.clean(as_pixels(rainy), progress).pixels)
        return self.clean(rainy, progress).pixels

    def stream(self, frames: Iterable[Pixels]) -> Iterator[Pixels]:
        """Clean a video's frames, in order, all in the size that suits the first.

        Args:
            frames: H×W×3 RGB arrays, uint8 or uint16.

        Raises:
            DpenetError: as `Derainer` does.
        """
        rest = iter(frames)
        first = next(rest, None)
        if first is None:
            return
        check_pixels(first)
        scale = self.choose([first]).scale
        frames = itertools.chain([first], rest)
        if scale == 1:
            yield from self.engine.stream(frames)
        else:
            yield from (clean_at(self.engine, frame, scale) for frame in frames)

    def clean(self, rainy: Pixels, progress: ProgressCallback | None = None, *, skip_dry: bool = False) -> Cleaned:
        """Clean one picture, and tell how it was looked at.

        Args:
            rainy: H×W×3 RGB, uint8 or uint16.
            progress: told the share of the picture that is done, 0..1.
            skip_dry: give a picture without rain back as it is.

        Raises:
            DpenetError: as `Derainer` does.
        """
        check_pixels(rainy)
        looks_tell = min(rainy.shape[:2]) >= MIN_SIDE and self._strength > 0
        if not looks_tell or (self._scale is not None and not skip_dry):
            scale = self._scale or 1.0
            return Cleaned(clean_at(self.engine, rainy, scale, progress), Choice(scale), self._used(rainy))
        choice, clean = self._choose(rainy, progress)
        log.info("%s (telling took %.1f%% of the work that its own size would take)", choice, 100 * choice.looked)
        if skip_dry and choice.dry:
            return Cleaned(rainy, choice, self._used(rainy))
        if self._scale is not None and self._scale != choice.scale:
            choice, clean = choice._replace(scale=self._scale, gains={}), None
        if clean is None:
            clean = clean_at(self.engine, rainy, choice.scale, progress)
        return Cleaned(clean, choice, self._used(rainy))

    def used_for(self, *, deep: bool) -> dict[str, str]:
        """What pictures of 8 bits, or of more, are run with, as `Derainer.used_for` tells it."""
        return self.engine.used_for(np.uint16 if deep else np.uint8)

    def _used(self, rainy: Pixels) -> dict[str, str]:
        return self.used_for(deep=rainy.dtype == np.uint16)

    def look_around(self, rainy: Pixels) -> tuple[Choice, list[Look]]:
        """In which size one large picture is seen, and what the network removes there at full strength, here and there.

        Args:
            rainy: H×W×3 RGB, uint8 or uint16, of at least `SMALL` pixels.

        Returns:
            The choice, and the looks in the nearest size that was looked at, one for each window.

        Raises:
            DpenetError: as `Derainer` does.
        """
        looks = look(self.engine, rainy, plan_windows(*rainy.shape[:2]))
        choice = self._decided(looks, rainy)
        if self._scale is not None:
            choice = choice._replace(scale=self._scale, gains={})
        return choice, looks[min(looks, key=lambda scale: abs(math.log(scale / choice.scale)))]

    def choose(self, pictures: Iterable[Pixels]) -> Choice:
        """Decide once for several pictures of one rain, such as frames of a scene.

        Small ones are seen in their own size: that is 1 then.

        Raises:
            DpenetError: as `Derainer` does.
        """
        if self._scale is not None or self._strength == 0:
            return Choice(self._scale or 1.0)
        evidence, seen, looked = Evidence(), 0, 0
        for picture in pictures:
            if picture.shape[0] * picture.shape[1] < SMALL:
                continue
            looks = look(self.engine, picture, plan_windows(*picture.shape[:2]))
            evidence.add(looks)
            seen += picture.shape[0] * picture.shape[1]
            looked += _pixels(looks)
        return self._rule.decide(evidence)._replace(looked=looked / max(seen, 1))

    def _choose(self, rainy: Pixels, progress: ProgressCallback | None) -> tuple[Choice, Pixels | None]:
        """Decide for one picture; and the clean picture, where that came out on the way."""
        height, width = rainy.shape[:2]
        if height * width >= SMALL:
            return self._decided(look(self.engine, rainy, plan_windows(height, width)), rainy), None
        # A small picture's look in its own size is the whole of it, which is its result where that size wins.
        clean = self.engine(rainy, progress, strength=1.0)
        even = Window(0, 0, height // 2 * 2, width // 2 * 2)
        residual = cv2.subtract(to_8_bits(clean), to_8_bits(rainy), dtype=cv2.CV_32F)[: even.bottom, : even.right]
        looks = {1.0: [Look(even, np.asarray(residual, np.float32))]}
        looks |= look(self.engine, rainy, {0.5: [even]})
        choice = self._decided(looks, rainy, _MARGIN)
        choice = choice._replace(looked=choice.looked - 1)  # the whole of it is no look but the work itself
        return choice, clean if choice.scale == 1 and self._strength == 1 else None

    def _decided(self, looks: Looks, rainy: Pixels, margin: float = 0.0) -> Choice:
        evidence = Evidence()
        evidence.add(looks)
        looked = _pixels(looks) / (rainy.shape[0] * rainy.shape[1])
        return self._rule.decide(evidence, margin)._replace(looked=looked)


def _pixels(looks: Looks) -> int:
    """Pixels that the network saw."""
    return sum(each.residual.shape[0] * each.residual.shape[1] for some in looks.values() for each in some)


def load(weights: str | Path = DEFAULT_WEIGHTS, options: EngineOptions | None = None) -> ScaledDerainer:
    """Read weights and put them on a device, or on each of several. `dpenet_cli.load` does it for other programs.

    Args:
        weights: a shipped name such as ``general``, a published one once it is pulled, or the path of a file.
        options: how the network is run; the defaults if None.

    Raises:
        WeightsError: the weights are missing or unusable.
        DeviceError: the device or precision is not available here.
        OptionError: the device's name means nothing, or the backend does not go with it.

    Example:
        >>> import numpy as np
        >>> from dpenet_cli.inference.scales import load
        >>> derain = load("light")
        >>> derain(np.full((24, 32, 3), 128, np.uint8)).shape  # H×W×3 RGB, uint8 or uint16
        (24, 32, 3)
    """
    options = options or EngineOptions()
    engine = load_engine(weights, options)
    return ScaledDerainer(engine, rule_for(weights), options.scale, options.strength)
