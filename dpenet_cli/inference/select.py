"""Which backend serves: from a network and a user's options to PyTorch anywhere, OpenVINO on x86 where it is installed.

Measured at 512×512 against PyTorch in the same precision and run: 2.2 times as fast in fp32 on an AMD EPYC with AVX2,
2.4 times on a Xeon with AMX, and 3.5 times in bf16 there. On other processors nobody has measured it, so there it
serves only when it is asked for.
"""

import importlib.util
import logging
import platform
from collections.abc import Callable
from functools import partial

import torch

from dpenet_cli.errors import DeviceError, OptionError
from dpenet_cli.inference.backend import Backend
from dpenet_cli.inference.openvino import OpenVINOBackend
from dpenet_cli.inference.torch import TorchBackend
from dpenet_cli.network.model import DPENet
from dpenet_cli.options import ALL_CUDA, EngineOptions, Precision, Runtime
from dpenet_cli.system.devices import cpu_has_bf16, resolve_device, resolve_devices
from dpenet_cli.system.packages import pip_install

_MEASURED = frozenset({"x86_64", "amd64"})

log = logging.getLogger(__name__)


def select_backend(model: DPENet, options: EngineOptions) -> tuple[Backend, Callable[[], Backend] | None]:
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
    if options.backend is Runtime.AUTO and openvino_is_faster(options) and is_installed():
        try:
            return OpenVINOBackend(model, options.precision, options.threads), torch_backend
        except (DeviceError, RuntimeError) as error:
            log.warning("OpenVINO is installed but does not work here, so PyTorch serves: %s", error)
    return torch_backend(), None


def openvino_is_faster(options: EngineOptions) -> bool:
    """Whether OpenVINO is known to be faster for these options on this machine."""
    if resolve_devices(options.device)[0].type != "cpu" or platform.machine().lower() not in _MEASURED:
        return False
    in_hardware = options.precision is not Precision.BF16 or cpu_has_bf16()
    return in_hardware and options.precision is not Precision.FP16


def is_installed() -> bool:
    """Whether OpenVINO is here; it is not imported for that."""
    return importlib.util.find_spec("openvino") is not None


def hint(options: EngineOptions) -> str:
    """What to install or to ask for to be faster, in one line; nothing where nothing is known to help."""
    if options.device in {"auto", "cuda"} and torch.cuda.device_count() > 1:
        count = torch.cuda.device_count()
        return f"{count} CUDA devices are here, and one of them is used: --device {ALL_CUDA} uses all"
    if options.backend is not Runtime.AUTO or is_installed() or not openvino_is_faster(options):
        return ""
    return f"OpenVINO would be twice as fast: {pip_install('openvino')}"
