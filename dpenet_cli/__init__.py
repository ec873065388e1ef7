"""dpenet: batch image and video deraining with the full DPENet.

The modules stand in one order, which is also the order to read them in. Each imports only from those above it:

    errors       what a user can cause, as a tree
    options      the choices a user has
    storage      files that appear whole or not at all
    outputs      what may be written where: never over an input, nor unasked over what is there
    folders      where a user's system keeps caches and data
    published    the weights that the paper's authors published, and how they are fetched
    model        the network
    tensors      weights files as tensors: the one reader
    checkpoints  weights on disk: names, the network that a file describes, the one writer
    tiling       how a picture is cut
    backends     how the network is run (PyTorch, OpenVINO)
    derainer     the engine: pictures in, clean pictures out
    fleet        several engines as one: all GPUs of a machine
    export       the network as a file for other runtimes
    images       a picture on disk: pixels, depth, alpha, metadata
    finding      the files that an argument or a folder stands for
    inputs       what the user named: files, folders, patterns, and the outputs they get
    jobs         many pictures through one engine, and the outcome of each
    video        a video on disk: streams, frames, time, colour, segments, mux
    metrics      PSNR and SSIM
    camera       what a camera adds to a picture: sensor noise, JPEG
    rain         synthetic rain: streaks, accumulation, veil
    datasets     paired sets and their layouts
    known_sets   the test sets of the field: facts, and where they lie
    demo         pairs made on the spot, for a machine without any set
    literature   what other methods published
    benchmark    scores of weights, or of results, on pairs
    report       the page that shows a benchmark
    speed        times of this machine, as ratios to the published way
    journeys     a photograph and a video from file to file, timed part by part
    backgrounds  pictures that two sets share
    losses       the published loss, and the general recipe's
    training     pictures, crops, the loop, resume, data-parallel
    cli          the command line

The library's door, loaded when first touched:

    >>> from dpenet_cli import load
    >>> clean = load()(image)  # H×W×3 RGB, uint8 or uint16
"""

import logging
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Derainer", "DpenetError", "EngineOptions", "Precision", "__version__", "load"]

if TYPE_CHECKING:
    from dpenet_cli.derainer import Derainer
    from dpenet_cli.errors import DpenetError
    from dpenet_cli.fleet import load
    from dpenet_cli.options import EngineOptions, Precision

logging.getLogger(__name__).addHandler(logging.NullHandler())  # the library is silent unless its user listens


def __getattr__(name: str) -> Any:
    """Import a public name when it is first touched: `--help` and `--version` do without torch."""
    import importlib  # noqa: PLC0415

    homes = {"Derainer": "derainer", "load": "fleet", "DpenetError": "errors"}
    homes |= {"EngineOptions": "options", "Precision": "options"}
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{homes[name]}"), name)
