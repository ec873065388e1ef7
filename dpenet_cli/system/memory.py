"""The memory that a process or a GPU has used at most."""

import contextlib
import sys
from pathlib import Path

import torch


def reset_peak(device: torch.device) -> None:
    """Forget the highest use of memory so far, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        with contextlib.suppress(OSError):  # a container may forbid it: the peak is then the process's since its start
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # see proc(5)


def peak_bytes(device: torch.device) -> int | None:
    """The highest use of memory since `reset_peak`: allocated on CUDA, or of the process on Linux; else None."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform != "linux" or device.type != "cpu":
        return None
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None
