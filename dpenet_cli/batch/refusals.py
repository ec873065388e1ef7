"""Whether a picture's result could be written, asked before the network has worked for nothing."""

import errno
import os
from pathlib import Path

from dpenet_cli.batch.outcomes import write_error
from dpenet_cli.errors import DpenetError, ImageWriteError
from dpenet_cli.images.format_limits import check
from dpenet_cli.images.formats import format_for
from dpenet_cli.images.picture import Picture
from dpenet_cli.options import ImageFormat, PictureOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.system.storage import Place, unwritable


def result_format(picture: Picture, target: Place | None, options: PictureOptions) -> ImageFormat:
    """The format of a result: the one that was asked for, by option or by name, or its source's."""
    return options.image_format or (target and format_for(target)) or picture.format


def refusal(job: Job, picture: Picture, options: PictureOptions) -> DpenetError | None:
    """Why a picture's result could not be written, as far as can be told without writing; None where nothing is."""
    try:
        check(picture, result_format(picture, job.target, options))
    except DpenetError as error:
        return error
    for path in (job.target, job.compare):
        if path is None:
            continue
        if why := unwritable(path.parent):
            step = "Choose another output folder, one that you may write to."
            return ImageWriteError(str(path), f"it cannot be written ({why})", step)
        if isinstance(path, Path) and path.is_dir():
            return write_error(path, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
    return None
