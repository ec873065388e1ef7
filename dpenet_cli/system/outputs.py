"""The one rule for files that a command writes, asked before it starts to work.

Never over an input, never two to one file, and never over what is there unless that was asked for.
"""

import os
import sys
from collections.abc import Iterable
from typing import NamedTuple

from dpenet_cli.errors import DpenetError, InputError
from dpenet_cli.system.storage import Place, is_no_file, is_there
from dpenet_cli.system.stores import same_store
from dpenet_cli.system.urls import StorePath


class Job(NamedTuple):
    """One picture or video to clean.

    Attributes:
        source: where it is.
        target: where the result goes.
        compare: where the before/after picture goes, if one is wanted.
        root: the output folder that all results go to, which keeps a record of them; None beside single files.
        relative: path of the source below the folder that was named, with ``/``, or its name: what decides its shard.
    """

    source: Place
    target: Place
    compare: Place | None = None
    root: Place | None = None
    relative: str = ""


class Output(NamedTuple):
    """A file that is going to be written.

    Attributes:
        path: where.
        writer: what is written to it, as the user named it: an input, an option.
        redone: it may be there already; whoever writes it goes by its date.
    """

    path: Place
    writer: str
    redone: bool = False


def check_outputs(
    outputs: Iterable[Output],
    inputs: Iterable[Place],
    *,
    overwrite: bool = False,
    elsewhere: str = "Choose another name",
    apart: str = "Choose two names.",
    kind: type[DpenetError] = InputError,
) -> None:
    """Refuse what would lose a file.

    Args:
        outputs: all that the command is going to write.
        inputs: all that it reads.
        overwrite: the user asked for files to be replaced.
        elsewhere: the next step for an output whose name is taken, without a full stop.
        apart: the next step for two outputs of one name.
        kind: class of the error.

    Raises:
        DpenetError: of the class `kind`. An output is an input, or two are one file, or there is something already.
    """
    read = {file_key(path) for path in inputs}
    writers: dict[str, str] = {}
    for path, writer, redone in outputs:
        key = file_key(path)
        if key in read:
            raise kind(str(path), "it is an input, and the output would replace it", f"{elsewhere}.")
        if key in writers:
            raise kind(str(path), f"both {writers[key]} and {writer} would be written to it", apart)
        writers[key] = writer
        if redone or not is_there(path):
            continue
        if is_no_file(path):
            raise kind(str(path), "it is a folder, a pipe or a device", f"{elsewhere}.")
        if not overwrite:
            raise kind(str(path), "it exists already", f"{elsewhere}, or add --overwrite.")


def file_key(path: Place | str, *, followed: bool = False) -> str:
    """A path as the file system or the store compares it; macOS and Windows do not tell upper from lower case.

    Args:
        path: the path.
        followed: its links are followed already.
    """
    if isinstance(path, StorePath):
        return same_store(path)
    text = os.path.normcase(path if followed else os.path.realpath(path))
    return text.casefold() if sys.platform == "darwin" else text
