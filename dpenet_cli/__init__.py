"""dpenet: batch image and video deraining with the full DPENet.

The rooms stand in one order, which is also the order to read them in. Each imports only from those above it, and so do
the files inside each room, as its own docstring lists them:

    errors      what a user can cause, as a tree
    options     the choices a user has
    arrays      the array types of the whole program
    system      what the machine and its user give: whole files, folders, cores, memory, devices
    network     the network and its files
    inference   how the network is run: tiles, streams, backends, the engine
    temporal    what neighbouring frames know: motion, fusion, confidence
    images      a picture on disk: pixels, depth, alpha, metadata
    video       a video on disk: streams, frames, time, colour, segments, mux
    batch       many files: discovery, planning, outcomes
    library     for programs: `load`, `clean_file`, `clean_video`
    synthesis   rain and the camera's own degradations, drawn
    evaluation  metrics, sets, benchmark, speed
    training    pictures, crops, losses, the loop, resume
    guide       longer texts than README's, as Markdown pages
    cli         the command line

The library's door, loaded when first touched:

    >>> from dpenet_cli import load
    >>> clean = load()(image)  # H×W×3 RGB or H×W grey; uint8, uint16 or float32

`import dpenet` gives the same names (`top/dpenet.py`, which is installed beside this package).
"""

import logging
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Derainer",
    "DpenetError",
    "EngineOptions",
    "Outcome",
    "PictureDerainer",
    "PictureOptions",
    "Precision",
    "SaveOptions",
    "VideoOptions",
    "__version__",
    "clean_file",
    "clean_video",
    "load",
]

if TYPE_CHECKING:
    from dpenet_cli.batch.outcomes import Outcome
    from dpenet_cli.errors import DpenetError
    from dpenet_cli.inference.derainer import Derainer
    from dpenet_cli.library.derain import PictureDerainer, load
    from dpenet_cli.library.files import clean_file, clean_video
    from dpenet_cli.options import EngineOptions, PictureOptions, Precision, SaveOptions, VideoOptions

logging.getLogger(__name__).addHandler(logging.NullHandler())  # the library is silent unless its user listens


def __getattr__(name: str) -> Any:
    """Import a public name when it is first touched: `--help` and `--version` do without torch."""
    import importlib

    homes = {"Derainer": "inference.derainer", "DpenetError": "errors", "Outcome": "batch.outcomes"}
    homes |= dict.fromkeys(("PictureDerainer", "load"), "library.derain")
    homes |= dict.fromkeys(("clean_file", "clean_video"), "library.files")
    homes |= dict.fromkeys(("EngineOptions", "PictureOptions", "Precision", "SaveOptions", "VideoOptions"), "options")
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{homes[name]}"), name)
