"""The memory that a process or a GPU has used at most, and memory that a process keeps."""

import contextlib
import ctypes
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


# The parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Let freed memory stay with the process, for work that takes and frees the same large pieces again and again.

    Otherwise every large tensor is mapped anew, and the system clears each of its pages as it is first touched: a tenth
    of the time of training on a CPU.

    Returns:
        Whether this system's allocator does so now (glibc alone is asked).
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library, such as musl
        return False
    return all(
        mallopt(name, value) for name, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 2**26))
    )
