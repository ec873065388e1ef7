"""How large a picture is, upright, from the head of its file alone: nothing is decoded, and little is read."""

import io
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from dpenet_cli.errors import DpenetError
from dpenet_cli.images import exif
from dpenet_cli.images.formats import format_of
from dpenet_cli.images.pixels import DECODING_ERRORS
from dpenet_cli.options import ImageFormat

_HEAD_BYTES = 2**16
"""Enough for the boxes before the pixels of AVIF and HEIC files, and for most headers of the others."""

_PLUGINS: dict[ImageFormat, Callable[[BinaryIO], ImageFile]] = {
    ImageFormat.JPEG: JpegImageFile,
    ImageFormat.PNG: PngImageFile,
    ImageFormat.BMP: BmpImageFile,
    ImageFormat.TIFF: TiffImageFile,
}

_ISPE = re.compile(rb"ispe\0\0\0\0(.{8})", re.DOTALL)
_IROT = re.compile(rb"irot(.)", re.DOTALL)

_SIDEWAYS = frozenset({5, 6, 7, 8})
"""Orientations in which width and height change places."""


def header_size(path: Path) -> tuple[int, int] | None:
    """Width and height in pixels, as the picture is shown; None where its head does not say them.

    Args:
        path: a file.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            image_format = format_of(head, str(path))
            if image_format is ImageFormat.WEBP:
                return _webp(file)
            if image_format in _PLUGINS:
                return _by_pillow(file, head, image_format)
            return _boxed(head)
    except (DpenetError, *DECODING_ERRORS):  # cleaning it would say what is wrong, and nobody asks for that now
        return None


def _by_pillow(file: BinaryIO, head: bytes, image_format: ImageFormat) -> tuple[int, int]:
    """The plugin itself is asked: `Image.open` would try others first, and refuse the largest."""
    plugin = _PLUGINS[image_format]
    # The head is in memory already; only a header that is longer is read from the file.
    try:
        image = plugin(io.BytesIO(head)) if image_format is not ImageFormat.TIFF else plugin(file)
    except DECODING_ERRORS:
        file.seek(0)
        image = plugin(file)
    width, height = image.size
    if isinstance(image, TiffImageFile):
        # Pillow turns the size of a TIFF as it opens it.
        return width, height
    block = image.info.get("exif", b"").removeprefix(b"Exif\0\0")
    return _turned(width, height, exif.orientation(block) if block else None)


def _webp(file: BinaryIO) -> tuple[int, int] | None:
    """From chunk to chunk (RFC 9649): the first says the size, and one behind the pixels may turn it."""
    size, orientation, at = None, None, 12
    while True:
        file.seek(at)
        kind, length = struct.unpack("<4sI", file.read(8).ljust(8, b"\0"))
        if not length:
            break
        if kind == b"EXIF":
            orientation = exif.orientation(file.read(min(length, _HEAD_BYTES)).removeprefix(b"Exif\0\0"))
        elif kind in {b"VP8X", b"VP8L", b"VP8 "} and size is None:
            body = file.read(10).ljust(10, b"\0")
            if kind == b"VP8X":
                size = int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
            elif kind == b"VP8L":
                packed = int.from_bytes(body[1:5], "little")
                size = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
            else:
                width, height = struct.unpack_from("<HH", body, 6)
                size = width & 0x3FFF, height & 0x3FFF
        at += 8 + length + length % 2
    return size and _turned(*size, orientation)


def _boxed(head: bytes) -> tuple[int, int] | None:
    """AVIF and HEIC: the largest picture that the properties name; tiles, thumbnails and depth maps are smaller."""
    sizes = [struct.unpack(">II", match[1]) for match in _ISPE.finditer(head)]
    if not sizes:
        return None
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    turned = _IROT.search(head)
    return _turned(width, height, 6 if turned and turned[1][0] % 2 else None)


def _turned(width: int, height: int, orientation: int | None) -> tuple[int, int]:
    return (height, width) if orientation in _SIDEWAYS else (width, height)
