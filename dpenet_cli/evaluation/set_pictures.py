"""The pictures of sets and of training folders, read: in every format that is cleaned, and in two ways more.

Sets also come as PPM, which nobody photographs in; and what is learnt from or scored needs no more than the pixels that
every program shows, so that CMYK without a colour profile, which is not cleaned, is read plainly here.
"""

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from PIL.PpmImagePlugin import PpmImageFile

from dpenet_cli.arrays import Pixels8
from dpenet_cli.errors import DatasetError, ImageError, ImageReadError
from dpenet_cli.images.pixels import COPY_AGAIN, DECODING_ERRORS, PILLOW_RULES, NoProfileError
from dpenet_cli.images.reading import read
from dpenet_cli.options import MAX_PIXELS

_NETPBM = re.compile(
    rb"P[2356](?:\s+|#[^\r\n]*[\r\n])+(\d+)(?:\s+|#[^\r\n]*[\r\n])+(\d+)(?:\s+|#[^\r\n]*[\r\n])+(\d+)\s"
)
"""Head of a portable grey or colour map: width, height, highest value (netpbm.sourceforge.net/doc/ppm.html)."""

_HEAD_BYTES = 1024


def read_picture(path: Path) -> Pixels8:
    """Read a picture as H×W×3 uint8 RGB, upright; its values are not converted.

    Raises:
        DatasetError: the file cannot be read, or has more than 8 bits a channel.
        DpenetError: something that is needed for it is not installed.
    """
    try:
        if head := _netpbm_head(path):
            return _read_netpbm(path, head)
        picture = read(path)
    except NoProfileError:
        return _read_plainly(path)
    except ImageError as error:
        step = "Replace the file or leave it out."
        raise DatasetError(str(path), f"it cannot be read: {error.why}", step) from error
    if (bits := picture.coding.source_bits or picture.bits) > 8:
        raise _too_deep(path, bits)
    return picture.pixels.astype(np.uint8, copy=False)


def _too_deep(path: Path, bits: int) -> DatasetError:
    why = f"it has {bits} bits a channel, and sets are read as pictures of 8 bits"
    return DatasetError(str(path), why, "Convert it yourself, or leave it out.")


def _netpbm_head(path: Path) -> re.Match[bytes] | None:
    """Width, height and highest value, if the file is a PPM or PGM."""
    try:
        with path.open("rb") as file:
            return _NETPBM.match(file.read(_HEAD_BYTES))
    except OSError:  # what reads all of it says why
        return None


def _read_netpbm(path: Path, head: re.Match[bytes]) -> Pixels8:
    width, height, highest = map(int, head.groups())
    if highest > 255:
        raise _too_deep(path, highest.bit_length())
    if not 0 < width * height <= MAX_PIXELS:
        raise ImageReadError(str(path), f"its header says {width}×{height} pixels", COPY_AGAIN)
    return _decoded(path, PpmImageFile)


def _read_plainly(path: Path) -> Pixels8:
    """CMYK by the rule of thumb that a program without colour management goes by."""
    try:
        return _decoded(path, Image.open)  # whose size `read` has checked
    except ImageReadError as error:
        raise DatasetError(str(path), f"it cannot be read: {error.why}", "Replace the file or leave it out.") from error


def _decoded(path: Path, opened: Callable[[io.BytesIO], Image.Image]) -> Pixels8:
    try:
        with PILLOW_RULES, opened(io.BytesIO(path.read_bytes())) as image:
            upright = ImageOps.exif_transpose(image)
            return np.array(upright.convert("RGB"))
    except DECODING_ERRORS as error:
        raise ImageReadError(str(path), f"cannot be decoded ({error})", COPY_AGAIN) from error
