"""The devices of a machine by their names on the command line, and what its processor computes with."""

from pathlib import Path

import torch

from dpenet_cli.errors import DeviceError, OptionError
from dpenet_cli.options import ALL_CUDA


def cpu_has_bf16() -> bool:
    """Whether this processor multiplies bf16 in hardware (AMX or AVX-512 BF16), so that it is faster than fp32."""
    wanted = ("amx_bf16", "avx512_bf16")
    capabilities = getattr(torch.cpu, "get_capabilities", None)  # newer than the oldest PyTorch we support
    if capabilities is not None:
        found = capabilities()
        return any(found.get(name, False) for name in wanted)
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split())
    except OSError:  # not Linux: fp32 is right everywhere
        return False
    return any(name in words for name in wanted)


def resolve_devices(name: str) -> list[torch.device]:
    """Turn a device's name into the devices that it stands for: ``cuda:all`` into every CUDA device, others into one.

    Raises:
        DeviceError: the device is not available here.
        OptionError: there is no such name.
    """
    if name != ALL_CUDA:
        return [resolve_device(name)]
    resolve_device("cuda")
    return [torch.device("cuda", index) for index in range(torch.cuda.device_count())]


def resolve_device(name: str) -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` into a device that is here.

    Raises:
        DeviceError: the device is not available here.
        OptionError: the name is not one of the above.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda:0")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in {"cpu", "cuda", "mps"} or (index and (kind != "cuda" or not index.isdecimal())):
        raise OptionError(f"device {name!r}", "there is no such device", "Use auto, cpu, cuda, cuda:N or mps.")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(index or 0) >= count:
            why = f"PyTorch sees {count} CUDA device(s) here" + _cuda_hint()
            raise DeviceError(f"device {name!r}", why, "Use --device auto, or install a CUDA build of PyTorch.")
        return torch.device("cuda", int(index or 0))
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device 'mps'", "PyTorch sees no Apple GPU here", "Use --device auto.")
    return torch.device(kind)


def _cuda_hint() -> str:
    return ", and this PyTorch is built without CUDA" if torch.version.cuda is None else ""
