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
    synthesis   rain and the camera's own degradations, drawn
    evaluation  metrics, sets, benchmark, speed
    training    pictures, crops, losses, the loop, resume
    guide       longer texts than README's, as Markdown pages
    cli         the command line

The library's door, loaded when first touched:

    >>> from dpenet_cli import load
    >>> clean = load()(image)  # H×W×3 RGB, uint8 or uint16
"""

import logging
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Derainer", "DpenetError", "EngineOptions", "Precision", "__version__", "load"]

if TYPE_CHECKING:
    from dpenet_cli.errors import DpenetError
    from dpenet_cli.inference.derainer import Derainer
    from dpenet_cli.inference.scales import load
    from dpenet_cli.options import EngineOptions, Precision

logging.getLogger(__name__).addHandler(logging.NullHandler())  # the library is silent unless its user listens


def __getattr__(name: str) -> Any:
    """Import a public name when it is first touched: `--help` and `--version` do without torch."""
    import importlib

    homes = {"Derainer": "inference.derainer", "load": "inference.scales", "DpenetError": "errors"}
    homes |= {"EngineOptions": "options", "Precision": "options"}
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{homes[name]}"), name)
