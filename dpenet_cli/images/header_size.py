"""How large a picture is, upright, from the head of its file alone: nothing is decoded, and little is read."""

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
from dpenet_cli.images import boxes, exif
from dpenet_cli.images.formats import format_of
from dpenet_cli.images.pixels import DECODING_ERRORS
from dpenet_cli.options import ImageFormat

_HEAD_BYTES = 2**16
"""Enough for the boxes before the pixels of AVIF and HEIC files, and for most headers of the others."""

_FIRST_BYTES = 2**12
"""Enough for JPEG and PNG files without a thumbnail."""

_PLUGINS: dict[ImageFormat, Callable[[BinaryIO], ImageFile]] = {
    ImageFormat.JPEG: JpegImageFile,
    ImageFormat.PNG: PngImageFile,
    ImageFormat.BMP: BmpImageFile,
    ImageFormat.TIFF: TiffImageFile,
}

_EXIF = b"Exif\0\0"

_FRAME_HEADERS = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""JPEG's markers SOF0 to SOF15; three numbers among them mean something else."""

_SIDEWAYS = frozenset({5, 6, 7, 8})
"""Orientations in which width and height change places."""


def header_size(path: Path) -> tuple[int, int] | None:
    """Width and height in pixels, as the picture is shown; None where its head does not say them.

    Args:
        path: a file.
    """
    try:
        # Without a buffer, and little at first: opening takes most of the time already.
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - twice as fast as the path's own
            return _size(file, str(path))
    except (DpenetError, *DECODING_ERRORS):  # cleaning it would say what is wrong, and nobody asks for that now
        return None


def _size(file: BinaryIO, what: str) -> tuple[int, int] | None:
    head = file.read(_FIRST_BYTES)
    image_format = format_of(head, what)
    quick = {ImageFormat.JPEG: _jpeg, ImageFormat.PNG: _png}.get(image_format)
    if quick and (size := quick(head) or quick(head := head + file.read(_HEAD_BYTES))):
        return size
    if image_format is ImageFormat.WEBP:
        return _webp(file)
    if image_format in _PLUGINS:
        return _by_pillow(file, image_format)
    return _boxed(head + file.read(_HEAD_BYTES))


def _jpeg(head: bytes) -> tuple[int, int] | None:
    """From segment to segment: a tenth of the time that Pillow takes. None where the frame's header lies further on."""
    orientation, at = None, 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        marker, length = head[at + 1], int.from_bytes(head[at + 2 : at + 4], "big")
        if marker == 0xE1 and orientation is None and head[at + 4 : at + 10] == _EXIF:
            orientation = exif.orientation(head[at + 10 : at + 2 + length])
        if marker in _FRAME_HEADERS:
            height, width = struct.unpack_from(">HH", head, at + 5)
            return _turned(width, height, orientation)
        at += 2 + length
    return None


def _png(head: bytes) -> tuple[int, int] | None:
    """From chunk to chunk, up to the pixels; None where they lie further on."""
    size: tuple[int, int] | None = None
    orientation, at = None, 8
    while at + 8 <= len(head):
        length, kind = struct.unpack_from(">I4s", head, at)
        if kind == b"IHDR" and at + 16 <= len(head):
            size = struct.unpack_from(">II", head, at + 8)
        elif kind == b"eXIf":
            orientation = exif.orientation(head[at + 8 : at + 8 + length])
        elif kind == b"IDAT":
            return _turned(*size, orientation) if size else None
        at += 12 + length
    return None


def _by_pillow(file: BinaryIO, image_format: ImageFormat) -> tuple[int, int]:
    """The plugin itself is asked: `Image.open` would try others first, and refuse the largest."""
    file.seek(0)
    image = _PLUGINS[image_format](file)
    width, height = image.size
    if isinstance(image, TiffImageFile):
        # Pillow turns the size of a TIFF as it opens it.
        return width, height
    block = image.info.get("exif", b"").removeprefix(_EXIF)
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
            orientation = exif.orientation(file.read(min(length, _HEAD_BYTES)).removeprefix(_EXIF))
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
    """AVIF and HEIC: the size of the main picture, of whatever tiles it is made."""
    found = boxes.main_size(head)
    if found is None:
        return None
    width, height, quarters = found
    return _turned(width, height, 6 if quarters % 2 else None)


def _turned(width: int, height: int, orientation: int | None) -> tuple[int, int]:
    return (height, width) if orientation in _SIDEWAYS else (width, height)
