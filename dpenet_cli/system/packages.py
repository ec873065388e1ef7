"""Packages: the line that installs one, and what it means when one is missing or does not load.

Nothing here names the extras of this package, as in ``dpenet[ray]``: a clone is not installed under that name, and an
index of packages may not have it. What an extra stands for can be installed anywhere.
"""

import re
from types import TracebackType

from dpenet_cli.errors import PackageError

EXTRAS = {
    "heic": ("pillow-heif>=0.22",),
    "cloud": ("fsspec>=2024.6", "s3fs>=2024.6"),
    "openvino": ("openvino>=2026.0",),
    "ray": ("ray[data]>=2.60,<3",),
    "export": ("onnx>=1.18", "onnxruntime>=1.22"),
}
"""The extras of pyproject.toml, but for that of developers, and what they stand for."""

NEEDED = {
    "torch": "torch>=2.10",
    "typer": "typer>=0.16",
    "rich": "rich>=13.7",
    "numpy": "numpy>=1.26",
    "cv2": "opencv-python>=4.12",
    "imageio_ffmpeg": "imageio-ffmpeg>=0.5.1",
    "av": "av>=18",
    "PIL": "pillow>=11.3",
    "safetensors": "safetensors>=0.5",
    "filelock": "filelock>=4",
    "platformdirs": "platformdirs>=4.12",
}
"""What pyproject.toml asks for, by the names under which it is imported."""

_DEBIAN = {
    "libxcb.so.1": "libxcb1",
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libX11.so.6": "libx11-6",
    "libSM.so.6": "libsm6",
    "libICE.so.6": "libice6",
    "libXext.so.6": "libxext6",
    "libXrender.so.1": "libxrender1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libgomp.so.1": "libgomp1",
    "libstdc++.so.6": "libstdc++6",
    "libgcc_s.so.1": "libgcc-s1",
}
"""Packages of Debian and Ubuntu, by the libraries in them."""

_LIBRARY = re.compile(r"(lib[\w+.-]+\.so[.\d]*): cannot open shared object file")

HEADLESS = "pip uninstall -y opencv-python && pip install opencv-python-headless"
"""Puts the build of OpenCV that opens no windows, and needs no X libraries, in the place of the other."""


def pip_install(extra: str) -> str:
    """The line that installs what an extra stands for, in a clone as anywhere else."""
    return "pip install " + " ".join(f'"{requirement}"' for requirement in EXTRAS[extra])


def package_error(error: BaseException, module: str = "") -> PackageError | None:
    """What a user should know of an exception that one of the needed packages raised as it was imported.

    Args:
        error: an exception that was caught.
        module: what was imported, if that is known.

    Returns:
        The error to tell; None if it is about something else.
    """
    if not isinstance(error, ImportError | OSError):
        return None
    named = _root(error.name) if isinstance(error, ImportError) else ""
    if isinstance(error, ModuleNotFoundError) and named in NEEDED:
        return PackageError(_name(named), "this package is not installed", f'Run: pip install "{NEEDED[named]}"')
    module = _being_imported(error.__traceback__) or (named if named in NEEDED else module)
    if module not in NEEDED:
        return None
    return PackageError(_name(module), f"this package does not load here ({error})", _next_step(module, str(error)))


def _next_step(module: str, told: str) -> str:
    library = _LIBRARY.search(told)
    package = library and _DEBIAN.get(library[1])
    install = f"Install the system's package for it ({package} on Debian and Ubuntu)" if package else ""
    if module == "cv2":
        headless = f"{HEADLESS} (it does without X libraries)"
        return f"{install}, or run: {headless}." if install else f"Run: {headless}."
    again = f'pip install --force-reinstall "{NEEDED[module]}"'
    if module == "torch":
        again = "install PyTorch again, as pytorch.org/get-started/locally shows"
        return f"{install}, or {again}." if install else f"{again[0].upper()}{again[1:]}."
    return f"{install}, or run: {again}" if install else f"Run: {again}"


def _being_imported(trace: TracebackType | None) -> str:
    """The needed package whose own module was running, as it is once, while it is imported; empty if none was."""
    while trace is not None:
        name = _root(trace.tb_frame.f_globals.get("__name__"))
        if name in NEEDED and trace.tb_frame.f_code.co_name == "<module>":
            return name
        trace = trace.tb_next
    return ""


def _root(name: str | None) -> str:
    return (name or "").partition(".")[0]


def _name(module: str) -> str:
    """What a package is called by those who install it."""
    return re.split(r"[<>=]", NEEDED[module])[0]
