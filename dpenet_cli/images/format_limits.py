"""What each format can hold of a picture, asked before anything is done for it: its size, transparency, a package."""

import numpy as np

from dpenet_cli.errors import ImageWriteError
from dpenet_cli.images.picture import Picture
from dpenet_cli.images.writers import NAMES, check_writer
from dpenet_cli.options import ImageFormat

OPAQUE_ONLY = {ImageFormat.JPEG, ImageFormat.BMP}
"""Formats without transparency."""

_LONGEST = {
    ImageFormat.JPEG: 65_500,  # libjpeg's JPEG_MAX_DIMENSION, below the 65,535 of the format
    ImageFormat.WEBP: 16_383,  # 14 bits
    ImageFormat.AVIF: 32_768,  # libavif writes 65,536 and reads no more than this
    ImageFormat.HEIC: 65_528,  # x265 writes more, which libde265 does not read
    ImageFormat.PNG: 2**31 - 1,
}
"""Pixels of either side, measured: what is written, and read again by the same libraries."""

_NARROW, _LONGEST_NARROW = 32, 4_216
"""Of a HEIC picture that is narrower than so many pixels, x265 takes no more than so many the other way."""

_FOUR_GIB = 2**32


def check(picture: Picture, image_format: ImageFormat) -> None:
    """Whether a picture can be written in a format, as far as can be told before it is compressed.

    Args:
        picture: upright; its pixels' values don't matter, those of its transparency do.
        image_format: the result's format.

    Raises:
        ImageWriteError: the format cannot hold its transparency or its size, or nothing here writes the format.
    """
    name = NAMES[image_format]
    check_writer(image_format)
    if image_format in OPAQUE_ONLY and picture.alpha is not None and not is_opaque(picture):
        raise ImageWriteError(
            f"a picture with transparency as {name}",
            f"{name} cannot hold transparency",
            "Write it as png, webp or tiff.",
        )
    height, width = picture.pixels.shape[:2]
    if why := _too_large(picture, image_format, width, height):
        raise ImageWriteError(
            f"the result of {width}×{height} pixels",
            f"cannot be written as {name} ({why})",
            "Choose another format: PNG and TIFF hold every size.",
        )


def is_opaque(picture: Picture) -> bool:
    """Whether nothing shows through, not even at one pixel."""
    alpha = picture.alpha
    return alpha is None or int(alpha.min()) == np.iinfo(alpha.dtype).max


def _too_large(picture: Picture, image_format: ImageFormat, width: int, height: int) -> str | None:
    """Why the size is one that the format or its encoder does not take, or None."""
    name, short, long = NAMES[image_format], min(width, height), max(width, height)
    if long > _LONGEST.get(image_format, long):
        return f"image size exceeds {name} limit of {_LONGEST[image_format]} pixels, in width or height"
    if image_format is ImageFormat.HEIC and short < _NARROW and long > _LONGEST_NARROW:
        return f"what is narrower than {_NARROW} pixels must not be longer than {_LONGEST_NARROW}"
    channels = 1 if picture.grey else 3
    if image_format is ImageFormat.BMP and height * (-(-width * channels // 4) * 4) + 2**11 > _FOUR_GIB:
        return "a BMP file cannot hold 4 GiB"
    plain = image_format is ImageFormat.TIFF and not picture.coding.compressed
    stored = channels + (picture.alpha is not None)
    if plain and height * width * stored * picture.bits // 8 >= _FOUR_GIB:
        return "a TIFF file cannot hold 4 GiB"
    return None
