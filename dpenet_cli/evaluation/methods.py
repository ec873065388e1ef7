"""Weights as methods to score, of pictures and of clips: loaded, named, and with what their networks cost."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dpenet_cli.arrays import Pixels8
from dpenet_cli.evaluation.benchmark import Method, NetworkCost
from dpenet_cli.inference.derainer import Derainer
from dpenet_cli.inference.scales import ScaledDerainer, load
from dpenet_cli.network.checkpoints import load_model
from dpenet_cli.network.model import DPENet
from dpenet_cli.options import EngineOptions, VideoMethod
from dpenet_cli.video.restoration import restoration


def load_methods(weights: Sequence[str], engine: EngineOptions) -> list[Method]:
    """Load weights as methods.

    Args:
        weights: names or paths, as for `load_model`.
        engine: device, precision and threads for all of them.

    Raises:
        WeightsError: a file is missing or unusable.
        DeviceError: the device is not there, or cannot do it.
    """
    methods = []
    for method_name, file in method_names(weights).items():
        derainer = load(file, engine)
        cost = network_cost(load_model(file))
        seen = "" if engine.scale == 1 else f", --scale {engine.scale or 'auto'}"
        methods.append(Method(method_name, _eight_bits(derainer), cost, derainer.description + seen))
    return methods


class VideoMethodParts(NamedTuple):
    """What a method of clips is made of: how frames are cleaned, and by which weights, None where by none."""

    method: VideoMethod
    weights: str | None


def load_video_methods(methods: Sequence[VideoMethod], weights: Sequence[str], engine: EngineOptions) -> list[Method]:
    """Load methods of clips; weights that several of them share are loaded once.

    Args:
        methods: how frames are cleaned.
        weights: names or paths, as for `load_model`; not looked at by `temporal`.
        engine: device, precision and threads for all of them.

    Raises:
        WeightsError: a file is missing or unusable.
        DeviceError: the device is not there, or cannot do it.
    """
    derainers: dict[str, Derainer] = {}
    loaded = []
    for name, (method, file) in video_method_names(methods, weights).items():
        if file is None:
            restore = functools.partial(restoration, method, None, ahead=False)
            loaded.append(Method(name, description="no network", restoration=restore))
            continue
        if file not in derainers:
            derainers[file] = Derainer.load(file, engine)
        restore = functools.partial(restoration, method, derainers[file], ahead=False)
        cost = network_cost(load_model(file))
        loaded.append(Method(name, None, cost, derainers[file].description, restore))
    return loaded


def video_method_names(methods: Sequence[VideoMethod], weights: Sequence[str]) -> dict[str, VideoMethodParts]:
    """Methods of clips by the names they are shown under: ``general``, ``general (network)``, ``temporal``.

    `temporal` has no network, and so is one however many weights there are.
    """
    named = {}
    for method in dict.fromkeys(methods):
        if method is VideoMethod.TEMPORAL:
            named[method.value] = VideoMethodParts(method, None)
            continue
        for name, file in method_names(weights).items():
            shown = file if name == VideoMethod.TEMPORAL else name  # weights may be called so: their whole path tells
            shown = shown if method is VideoMethod.AUTO else f"{shown} ({method})"
            named[shown] = VideoMethodParts(method, file)
    return named


def method_names(weights: Sequence[str]) -> dict[str, str]:
    """Weights by the names they are shown under: files by their stem where that is unique, else as given."""
    names = dict.fromkeys(weights)
    stems = [Path(name).stem for name in names]
    return {stem if stems.count(stem) == 1 else name: name for name, stem in zip(names, stems, strict=True)}


def network_cost(model: DPENet) -> NetworkCost:
    """Count parameters, and multiply-adds a pixel: every convolution has stride 1 and keeps the size."""
    parameters = dict(model.named_parameters())
    macs = sum(parameter.numel() for parameter in parameters.values() if parameter.ndim == 4)
    return NetworkCost(sum(parameter.numel() for parameter in parameters.values()), macs)


def _eight_bits(derainer: ScaledDerainer) -> Callable[[Pixels8], Pixels8]:
    """The engine as a function of 8-bit pictures; it keeps their depth."""
    return lambda rainy: np.asarray(derainer(rainy), np.uint8)
