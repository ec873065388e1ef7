"""``dpenet doctor``: what this machine gives dpenet, to be pasted into a bug report. The home folder is written ~."""

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from dpenet_cli import __version__
from dpenet_cli.cli.console import one_line, table_console
from dpenet_cli.cli.json_lines import with_schema
from dpenet_cli.errors import DpenetError
from dpenet_cli.options import EngineOptions
from dpenet_cli.system.packages import NEEDED, package_error, pip_install

_PACKAGES = (
    "torch",
    "numpy",
    "opencv-python",
    "opencv-python-headless",
    "pillow",
    "pillow-heif",
    "safetensors",
    "imageio-ffmpeg",
    "av",
    "filelock",
    "platformdirs",
    "typer",
    "rich",
    "openvino",
    "onnx",
    "onnxruntime",
    "fsspec",
    "s3fs",
    "ray",
)
"""All that the project declares for its users, those of the extras too, and what can stand in for one of them."""

_ENCODERS = (
    "libx264",
    "libx265",
    "libvpx-vp9",
    "libaom-av1",
    "libsvtav1",
    "ffv1",
    "prores_ks",
    "h264_nvenc",
    "hevc_nvenc",
    "av1_nvenc",
    "h264_videotoolbox",
    "hevc_videotoolbox",
    "h264_qsv",
    "h264_vaapi",
)
"""Those worth knowing about; ffmpeg has hundreds."""

_BF16 = ("amx_bf16", "avx512_bf16")

Facts = dict[str, Any]


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout, instead of a table.")] = False,
) -> None:
    """Tell versions, devices, the precision chosen and why, ffmpeg, and where weights and data are looked for.

    Nothing is sent anywhere: paste it into a bug report yourself.
    """
    facts = gather()
    if as_json:
        typer.echo(json.dumps(with_schema(facts), indent=2))
        return
    console = table_console()
    for section, rows in facts.items():
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        entries = rows.items() if isinstance(rows, dict) else (("-", row) for row in rows)
        for key, value in entries:
            told = one_line(", ".join(value) if isinstance(value, list) else value)
            table.add_row(f"  {key}", Text(told))  # as it stands: brackets are no markup
        console.print(section, style="bold")
        console.print(table)


def gather() -> Facts:
    """All that is told, section by section; every value is a string, a list of strings or a dictionary of them."""
    facts: Facts = {
        "versions": _versions(),
        "packages": _packages(),
        "machine": _told(_machine),
        "engine": _told(_device),
        "ffmpeg": _ffmpeg(),
        "weights": _told(_weights),
        "data": _told(_data),
        "environment": {name: os.environ[name] for name in _variables()} or {"-": "nothing is set"},
        "to be faster": _told(_advice),
    }
    return {section: _without_home(rows) for section, rows in facts.items()}


def _told(section: Callable[[], Facts | list[str]]) -> Facts | list[str]:
    """A section, or which package keeps it from being told."""
    try:
        return section()
    except (ImportError, OSError) as error:
        if (about_package := package_error(error)) is None:
            raise
        return [f"not told: {about_package}"]


def _packages() -> Facts:
    """Which of the packages that are needed do not load here, and what to do about it."""
    found: Facts = {}
    for name in NEEDED:
        try:
            importlib.import_module(name)
        except (ImportError, OSError) as error:
            about_package = package_error(error, name)
            found[name] = f"{about_package.why}. {about_package.next_step}" if about_package else str(error)
    return found or {"-": "all load"}


def _versions() -> Facts:
    found: Facts = {"dpenet": __version__, "python": f"{platform.python_version()} ({sys.executable})"}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _machine() -> Facts:
    from dpenet_cli.system.cores import processor, usable_cores
    from dpenet_cli.system.devices import cpu_has_bf16

    facts: Facts = {
        "system": platform.platform(),
        "processor": processor(),
        "cores": f"{usable_cores()} of {os.cpu_count()} usable",
        "bf16 in hardware": "yes" if cpu_has_bf16() else f"no (neither of {', '.join(_BF16)})",
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        facts["memory"] = f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1e9:.1f} GB"
    return facts


def _device() -> Facts:
    import torch

    from dpenet_cli.inference.derainer import Derainer
    from dpenet_cli.inference.select import is_installed

    cuda = [
        f"cuda:{index} {torch.cuda.get_device_name(index)}, "
        f"{torch.cuda.get_device_properties(index).total_memory / 1e9:.1f} GB"
        for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    ]
    facts: Facts = {
        "CUDA devices": cuda or ["none" + ("; this PyTorch is built without CUDA" if not torch.version.cuda else "")],
        "Apple GPU": "yes" if torch.backends.mps.is_available() else "no",
        "threads": str(torch.get_num_threads()),
        "backends": ["torch", "openvino" if is_installed() else "openvino is not installed"],
    }
    try:
        engine = Derainer.load()
    except DpenetError as error:
        return facts | {"chosen": f"nothing works: {error}"}
    return facts | {"chosen": f"{engine.description}: {_reason(engine.description)}"}


def _reason(description: str) -> str:
    """Why `auto` chose that device and precision."""
    if description.startswith("cuda"):
        return "the first CUDA device, in half precision, which its tensor cores are made for"
    if description.startswith("mps"):
        return "no CUDA device; the Apple GPU, in fp32"
    if "OpenVINO" in description:
        return f"no GPU; OpenVINO is faster than PyTorch; {_reason_of_precision(description)}"
    return f"no GPU; {_reason_of_precision(description)}"


def _reason_of_precision(description: str) -> str:
    if description.endswith("bf16"):
        return "this processor multiplies bf16 in hardware, which is faster than fp32"
    return "this processor has no bf16 in hardware, so that bf16 would be slower than fp32"


def _ffmpeg() -> Facts:
    try:
        import imageio_ffmpeg

        path = imageio_ffmpeg.get_ffmpeg_exe()
        banner, listed = (_output(path, option) for option in ("-version", "-encoders"))
    except (ImportError, RuntimeError, OSError, subprocess.SubprocessError) as error:
        return {"path": f"none that works: {error}", "encoders": ["none"]}
    names = {line.split()[1] for line in listed.splitlines() if len(line.split()) > 1}
    built = [name for name in _ENCODERS if name in names]
    version = banner.splitlines()[0].split(" Copyright")[0] if banner else "unknown"
    return {"path": path, "version": version, "encoders built in": built or ["none of those we look for"]}


def _output(path: str, option: str) -> str:
    command = [path, "-hide_banner", option]
    run = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True, stdin=subprocess.DEVNULL)  # noqa: S603
    return run.stdout


def _weights() -> Facts:
    from dpenet_cli.network.pretrained import PRETRAINED
    from dpenet_cli.network.weights_files import shipped_names, weights_folder
    from dpenet_cli.system.user_dirs import cache_folder

    facts: Facts = {"ours": f"{weights_folder()}: {', '.join(shipped_names()) or 'none, the installation is damaged'}"}
    try:
        pulled = [name for name, each in PRETRAINED.items() if each.path.is_file()]
        return facts | {"published": f"{cache_folder() / 'weights'}: {', '.join(pulled) or 'none pulled'}"}
    except DpenetError as error:
        return facts | {"published": str(error)}


def _data() -> Facts:
    from dpenet_cli.evaluation.set_folders import data_roots, open_test_set
    from dpenet_cli.evaluation.test_sets import BENCHMARK_SETS

    try:
        roots = data_roots()
    except DpenetError as error:
        return {"looked for under": [str(error)]}
    found = []
    for known in BENCHMARK_SETS.values():
        try:
            found.append(f"{known.name} ({len(open_test_set(known, partial=True).pairs)} of {known.pairs} pairs)")
        except DpenetError:
            continue  # not there
    return {"looked for under": [str(root) for root in roots], "sets found": found or ["none; demo needs none"]}


def _variables() -> list[str]:
    """The environment's settings that change what dpenet does; no proxies, which may hold passwords."""
    prefixes = ("DPENET_", "OMP_", "MKL_", "CUDA_VISIBLE", "PYTORCH_", "XDG_CACHE", "XDG_DATA_HOME")
    return sorted(name for name in os.environ if name.startswith(prefixes))


def _advice() -> list[str]:
    import torch

    from dpenet_cli.inference.select import hint

    advice = [text] if (text := hint(EngineOptions())) else []
    if shutil.which("nvidia-smi") and not torch.version.cuda:
        advice.append("there is an NVIDIA driver, but this PyTorch is built without CUDA: install PyTorch's CUDA build")
    if torch.version.cuda and not torch.cuda.is_available():
        advice.append("this PyTorch is built for CUDA but sees no device: check the driver (nvidia-smi)")
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if limit.isdecimal() and int(limit) < (os.cpu_count() or 1):
        advice.append(f"OMP_NUM_THREADS={limit} leaves cores unused: unset it, or use --threads")
    if os.environ.get("OMP_WAIT_POLICY", "").upper() == "ACTIVE":
        advice.append("OMP_WAIT_POLICY is ACTIVE: threads that spin are slow where other programs run")
    if importlib.util.find_spec("pillow_heif") is None:
        advice.append(f"for HEIC pictures, not for speed: {pip_install('heic')}")
    return advice or ["nothing that we know of; `dpenet benchmark --speed` tells how fast it is"]


def _without_home(value: Any) -> Any:
    """Paths below the home folder begin with ~: they would tell the user's name."""
    if isinstance(value, dict):
        return {key: _without_home(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_home(item) for item in value]
    home = os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where there is none
    return value.replace(home, "~") if len(home) > 1 else value
