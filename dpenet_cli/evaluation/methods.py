"""Weights as methods to score: loaded, named, and with what their networks cost."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dpenet_cli.arrays import Pixels8
from dpenet_cli.evaluation.benchmark import Method, NetworkCost
from dpenet_cli.inference.derainer import Derainer
from dpenet_cli.network.checkpoints import load_model
from dpenet_cli.network.model import DPENet
from dpenet_cli.options import EngineOptions


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
        derainer = Derainer.load(file, engine)
        cost = network_cost(load_model(file))
        methods.append(Method(method_name, _eight_bits(derainer), cost, derainer.description))
    return methods


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


def _eight_bits(derainer: Derainer) -> Callable[[Pixels8], Pixels8]:
    """The engine as a function of 8-bit pictures; it keeps their depth."""
    return lambda rainy: np.asarray(derainer(rainy), np.uint8)
