"""The data of a run, for all of its processes: the first does what takes long, the others find its results."""

import contextlib
from collections.abc import Callable
from pathlib import Path

from dpenet_cli.training.data import DataSelection, TrainingData, load_data
from dpenet_cli.training.options import TrainOptions
from dpenet_cli.training.parallel import Processes


def load_for_all(
    options: TrainOptions,
    earlier: DataSelection | None,
    processes: Processes,
    shared_pixels: Path,
    report: Callable[[str], None],
) -> TrainingData:
    """Read the pictures, in every process of a run.

    Args:
        options: of the run.
        earlier: what the run left out when it began, or None for a new one.
        processes: this one among those of the run.
        shared_pixels: file that processes of one machine keep the pixels in; it is gone when they are.
        report: called with what is about to be done.

    Raises:
        DatasetError: as `load_data`.
    """
    # Processes of one machine look at one copy of the pixels.
    own_pack = shared_pixels if processes.shared and options.pack is None else None
    data: TrainingData | None = None
    try:
        if processes.first:
            if own_pack is not None:
                own_pack.unlink(missing_ok=True)  # of a run that was killed
            data = load_data(options, earlier, report, own_pack)
            earlier = data.selection
        earlier = processes.object_from_first(earlier)
        if data is None:
            data = load_data(options, earlier, pack=own_pack)
        processes.barrier()
    finally:  # also of data that will not do, and of Ctrl-C
        if own_pack is not None and processes.first:
            with contextlib.suppress(OSError):  # Windows removes no file that is mapped; the next run does
                own_pack.unlink(missing_ok=True)
    return data
