"""One picture through a pipe: ``dpenet derain - < a.jpg > b.jpg``."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dpenet_cli.batch.naming import check_name
from dpenet_cli.batch.outcomes import unexpected, write_error
from dpenet_cli.cli.console import Exit, print_error, print_note, waiting
from dpenet_cli.errors import DpenetError, InputError
from dpenet_cli.images.formats import format_for
from dpenet_cli.images.writers import check_writer
from dpenet_cli.options import EngineOptions, PictureOptions
from dpenet_cli.system.atomic import write_whole
from dpenet_cli.system.outputs import Output, check_outputs
from dpenet_cli.system.storage import on_this_machine, place

if TYPE_CHECKING:
    from dpenet_cli.inference.scales import ScaledDerainer

PIPE = "-"
"""The name of standard input and standard output."""


def derain_pipe(
    source: str, output: str | None, weights: str, engine: EngineOptions, options: PictureOptions, *, quiet: bool
) -> Exit:
    """Clean one picture from stdin or a file, to stdout or a file.

    Args:
        source: a path, or `PIPE`.
        output: a path, or `PIPE`, which is the default.
        weights: their name or path, which the output must not replace.
        engine: how the network is run.
        options: how the result is written.
        quiet: leave out the notices.

    Raises:
        InputError: the output is a terminal, the input itself, or a file that exists.
        ImageWriteError: nothing here writes its format.
        DpenetError: the engine cannot be loaded.
    """
    target = None if output in (None, PIPE) else on_this_machine(str(output), "what comes through a pipe is stored")
    _check_ends(source, target, weights, options)
    with waiting(f"loading the network ({weights})", quiet=quiet):
        from dpenet_cli.inference.scales import load

        derainer = load(weights, engine)
    try:
        data, notices = _cleaned(source, target, derainer, options)
        _store(data, target)
    except BrokenPipeError:  # the reader has gone: Typer ends quietly
        raise
    except Exception as error:  # noqa: BLE001 - as for a picture in a folder
        print_error(error if isinstance(error, DpenetError) else unexpected(source, error))
        return Exit.SOME_FAILED
    if not quiet:
        for notice in notices:
            print_note(notice)
    return Exit.OK


def _check_ends(source: str, target: Path | None, weights: str, options: PictureOptions) -> None:
    if source == PIPE and sys.stdin is None:
        raise InputError(PIPE, "standard input is closed", "Send a picture: dpenet derain - < a.jpg > b.jpg")
    if target is None:
        if sys.stdout is None or sys.stdout.isatty():
            why = "the picture would go to the terminal"
            raise InputError(PIPE, why, "Send it on: dpenet derain - < a.jpg > b.jpg")
        return
    check_name(target, options.image_format)
    check_writer(format_for(target))
    if not target.exists():
        return
    if os.path.samestat(os.fstat(sys.stdin.fileno()), target.stat()):
        raise InputError(str(target), "it is an input, and the output would replace it", "Name another output.")
    from dpenet_cli.network.weights_files import find_weights

    check_outputs([Output(target, source)], [find_weights(weights)], overwrite=options.overwrite)


def _cleaned(
    source: str, target: Path | None, derainer: "ScaledDerainer", options: PictureOptions
) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of the cleaned picture, and what its owner should know."""
    from dpenet_cli.batch.picture_files import saved_as, told
    from dpenet_cli.batch.refusals import result_format
    from dpenet_cli.images.format_limits import check
    from dpenet_cli.images.picture import with_pixels
    from dpenet_cli.images.reading import read
    from dpenet_cli.images.writing import encode

    rainy = sys.stdin.buffer if source == PIPE else place(source)
    picture = read(rainy, max_pixels=options.max_pixels)
    image_format = result_format(picture, target, options)
    check(picture, image_format)
    cleaned = derainer.clean(picture.pixels, skip_dry=options.skip_dry)
    data, notices = encode(with_pixels(picture, cleaned.pixels), image_format, saved_as(options, cleaned.choice))
    return data, tuple(dict.fromkeys(told(cleaned.choice) + picture.notices + notices))


def _store(data: bytes, target: Path | None) -> None:
    try:
        if target is None:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, data)
    except BrokenPipeError:  # the reader has gone: Typer ends quietly
        raise
    except OSError as error:
        raise write_error(target or Path(PIPE), error) from error
