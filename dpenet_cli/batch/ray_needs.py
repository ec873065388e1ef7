"""What every machine of a cluster must have to do its part, and what one lacks."""

import os
import platform
from pathlib import Path
from typing import NamedTuple

from dpenet_cli import __version__
from dpenet_cli.batch.ray_rows import Task, error_row
from dpenet_cli.errors import DpenetError, InputError
from dpenet_cli.network.weights_files import digest_of
from dpenet_cli.options import VideoMethod, VideoOptions


class Needs(NamedTuple):
    """What must be the same on every machine that works.

    Attributes:
        inputs: folders that must be there.
        files: files that must be there, with their sizes in bytes.
        outputs: folders that must be there, to which results go.
        weights: name or path of the weights; None where no network is run.
        digest: their SHA-256.
        machines: whether several machines write into one output folder.
    """

    inputs: tuple[str, ...]
    files: tuple[tuple[str, int], ...]
    outputs: tuple[str, ...]
    weights: str | None
    digest: str | None
    machines: bool = False


def lacking(needs: Needs) -> DpenetError | None:
    """What this machine lacks to do its part, or None."""
    here = platform.node()
    step = "Put inputs and results on storage that every machine of the cluster has under the same path."
    for folder in (*needs.inputs, *needs.outputs):
        if not os.path.isdir(folder):  # noqa: PTH112 - false, not an error, where permission is missing
            return InputError(folder, f"the machine {here} does not see this folder", step)
    for name, size in needs.files:
        try:
            if Path(name).stat().st_size == size:
                continue
            why = f"the machine {here} sees another file there"
        except OSError as error:
            why = f"the machine {here} does not see this file ({error.strerror or error})"
        return InputError(name, why, step)
    if needs.weights is None:
        return None
    try:
        if digest_of(needs.weights) == needs.digest:
            return None
    except DpenetError as error:
        return type(error)(error.what, f"on the machine {here}: {error.why}", error.next_step)
    why = f"the machine {here} has other weights under this name"
    return InputError(needs.weights, why, "Install the same dpenet on every machine of the cluster.")


def look(needs: Needs) -> tuple[str, dict[str, str] | None]:
    """The version of dpenet on a machine, and what the machine lacks, as a row."""
    error = lacking(needs)
    return __version__, None if error is None else error_row(error)


def runs_network(task: Task) -> bool:
    """Whether a network is run at all."""
    return not (isinstance(task.options, VideoOptions) and task.options.method is VideoMethod.TEMPORAL)
