"""Which runtime serves: PyTorch anywhere, OpenVINO on x86 processors where it is installed.

OpenVINO serves pictures of up to half a megapixel. It can slide down larger ones in bands too, but its
graphs for that take gigabytes where PyTorch's bands take one, so it does that only when it is asked for by name.

Measured at 512×512 against PyTorch in the same precision and run: 2.2 times as fast in fp32 on an AMD EPYC with AVX2,
2.4 times on a Xeon with AMX, and 3.5 times in bf16 there. On other processors nobody has measured it, so there it
serves only when it is asked for.
"""

import importlib.util
import logging
import platform
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from dpenet_cli.backends import Backend, Pixels, TileSize
from dpenet_cli.backends.openvino import WHOLE_PIXELS, OpenVINOBackend
from dpenet_cli.backends.torch import TorchBackend, cpu_has_bf16, resolve_device
from dpenet_cli.errors import DeviceError, OptionError
from dpenet_cli.model import DPENet
from dpenet_cli.options import EngineOptions, Precision, Runtime

_MEASURED = frozenset({"x86_64", "amd64"})

log = logging.getLogger(__name__)


def choose(model: DPENet, options: EngineOptions) -> tuple[Backend, Callable[[], Backend] | None]:
    """Put a network on the runtime that was asked for, or on the fastest that is here.

    Returns:
        The backend; and what makes another one should the first fail at its work, if the choice was left to us.

    Raises:
        DeviceError: the device, the precision or the runtime is not available here.
        OptionError: the device's name means nothing, or the runtime does not go with it.
    """
    torch_backend = partial(TorchBackend, model, options.device, options.precision, options.threads)
    if options.backend is Runtime.OPENVINO:
        if resolve_device(options.device).type != "cpu":
            where = f"device {options.device}"
            raise OptionError(f"backend openvino on {where}", "it runs on the CPU here", "Add --device cpu.")
        return OpenVINOBackend(model, options.precision, options.threads), None
    if options.backend is Runtime.AUTO and would_help(options) and is_installed():
        try:
            small = OpenVINOBackend(model, options.precision, options.threads)
            return BySize(small, torch_backend()), torch_backend
        except (DeviceError, RuntimeError) as error:
            log.warning("OpenVINO is installed but does not work here, so PyTorch serves: %s", error)
    return torch_backend(), None


class BySize:
    """Two backends of one device and precision: one for small pictures, one for the others.

    Args:
        small: takes pictures of up to `WHOLE_PIXELS`, whole.
        large: takes all others.
    """

    def __init__(self, small: Backend, large: Backend) -> None:
        self._small = small
        self._large = large
        self.on_gpu = large.on_gpu
        self.receptive_radius = large.receptive_radius
        self.description = f"cpu, OpenVINO or PyTorch by size, {small.precision_for(np.dtype(np.uint8))}"

    def precision_for(self, dtype: np.dtype[np.generic]) -> Precision:
        """As both have it."""
        return self._small.precision_for(dtype)

    def tile_size(self, height: int, width: int, precision: Precision, columns: int | None) -> TileSize:
        """What suits the backend that takes such a picture."""
        backend = self._small if height * width <= WHOLE_PIXELS else self._large
        return backend.tile_size(height, width, precision, columns)

    def clean(self, strip: Pixels, band_rows: int, precision: Precision, strength: float) -> Iterator[Pixels]:
        """Let the backend clean it that takes such a strip; in bands, that is the one for large pictures."""
        height, width = strip.shape[:2]
        whole = band_rows >= height and height * width <= WHOLE_PIXELS
        return (self._small if whole else self._large).clean(strip, band_rows, precision, strength)


def would_help(options: EngineOptions) -> bool:
    """Whether OpenVINO is known to be faster for these options on this machine."""
    if resolve_device(options.device).type != "cpu" or platform.machine().lower() not in _MEASURED:
        return False
    in_hardware = options.precision is not Precision.BF16 or cpu_has_bf16()
    return in_hardware and options.precision is not Precision.FP16


def is_installed() -> bool:
    """Whether OpenVINO is here; it is not imported for that."""
    return importlib.util.find_spec("openvino") is not None


def missing_extra(options: EngineOptions) -> str:
    """What to install to be faster, in one line; nothing where nothing is known to help."""
    if options.backend is not Runtime.AUTO or is_installed() or not would_help(options):
        return ""
    return 'OpenVINO would make pictures of up to half a megapixel twice as fast: pip install "dpenet[openvino]"'
