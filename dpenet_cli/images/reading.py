"""A picture from a file: all of its bytes, once its head and its size are a picture's, and then their decoder."""

import io
import os
from pathlib import Path, PurePath
from typing import BinaryIO

from dpenet_cli.errors import DpenetError, ImageReadError, StorageError
from dpenet_cli.images.decoders import DECODERS
from dpenet_cli.images.formats import RAW_SUFFIXES, format_of, raw_refusal
from dpenet_cli.images.picture import Picture
from dpenet_cli.images.pixels import COPY_AGAIN, DECODING_ERRORS, PILLOW_RULES
from dpenet_cli.options import MAX_PIXELS
from dpenet_cli.system.storage import Place, state
from dpenet_cli.system.stores import StoreError, fetch
from dpenet_cli.system.urls import StorePath


def read(source: Place | bytes | BinaryIO, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read one picture. May be called from several threads.

    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("LA", (3, 2), (99, 0)).save(file, "PNG")
    >>> picture = read(file.getvalue())
    >>> picture.pixels.shape, picture.pixels.dtype.name, picture.grey, picture.alpha.max().item()
    ((2, 3, 3), 'uint8', True, 0)

    Args:
        source: a file's path or an object's URL, its bytes, or a stream such as standard input.
        max_pixels: width times height that is decoded at most; checked before anything is decoded.

    Returns:
        The picture, upright, at its own bit depth, with its metadata.

    Raises:
        ImageReadError: it cannot be read or decoded, or is larger than ``max_pixels``.
        ImageRefused: reading it would silently lose something (frames, pages, sensor data, HDR).
        StorageError: the store that it is in does not answer.
        DpenetError: something that is needed for it is not installed.
    """
    what = str(source) if isinstance(source, PurePath) else "the picture"
    if isinstance(source, PurePath) and source.suffix.lower() in RAW_SUFFIXES:
        raise raw_refusal(what)
    data = source if isinstance(source, bytes) else _content(source, what, max_pixels)
    image_format = format_of(data, what)
    try:
        with PILLOW_RULES:
            return DECODERS[image_format](data, what, max_pixels)
    except DpenetError:
        raise
    except DECODING_ERRORS as error:
        why = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
        raise ImageReadError(what, f"cannot be decoded ({why})", COPY_AGAIN) from error


_HEAD_BYTES = 1024
"""Enough of a file to tell its format."""

_PIECE = 1 << 20
"""Bytes that are asked for at a time where nobody knows how many there are."""

_BYTES_PER_PIXEL, _PLAIN_BYTES = 8, 2**26
"""A file of 16-bit RGBA without compression takes 8 bytes a pixel; previews and metadata come on top."""


def _content(source: Place | BinaryIO, what: str, max_pixels: int, expected: int = 0) -> bytes:
    """All of a source, once its first bytes and its size are those of a picture of at most so many pixels.

    Args:
        source: where it is.
        what: its name, for the errors.
        max_pixels: the limit.
        expected: bytes that it should have, if that is known.
    """
    largest = _PLAIN_BYTES + _BYTES_PER_PIXEL * max_pixels
    try:
        if isinstance(source, Path):
            with source.open("rb") as file:
                format_of(file.read(_HEAD_BYTES), what)
                file.seek(0)
                size = os.fstat(file.fileno()).st_size
                _check_bytes(size, largest, what, max_pixels)
                return _content(file, what, max_pixels, size)
        if isinstance(source, StorePath):
            _check_bytes(state(source).size, largest, what, max_pixels)  # before it is fetched
            source = io.BytesIO(fetch(source))
        head = source.read(_HEAD_BYTES)
        format_of(head, what)
        data = _up_to(largest + 1, head, source, expected)
    except StoreError as error:
        kind = StorageError if error.is_away else ImageReadError
        raise kind(what, f"cannot be read ({error.strerror})", error.step) from error
    except OSError as error:
        raise ImageReadError(
            what, f"cannot be read ({error.strerror or error})", "Check its name and permissions."
        ) from error
    _check_bytes(len(data), largest, what, max_pixels, whole=False)
    return data


def _up_to(most: int, head: bytes, source: BinaryIO, expected: int) -> bytes:
    """What a source holds behind its head, up to so many bytes, in memory of its own size and not of the limit's."""
    # To read `most` bytes at once would reserve them before the first is there.
    parts, room, piece = [head], most - len(head), max(expected, _PIECE)
    while room > 0 and (part := source.read(min(piece, room))):
        parts.append(part)
        room -= len(part)
    return b"".join(parts)


def _check_bytes(size: int, largest: int, what: str, max_pixels: int, *, whole: bool = True) -> None:
    if size > largest:
        why = f"{size:,} bytes are more than a picture of {max_pixels:,} pixels takes"
        enough = f"`--max-pixels {-(-(size - _PLAIN_BYTES) // _BYTES_PER_PIXEL)}`"  # known where the whole size is
        raise ImageReadError(what, why, f"If you trust it, give {enough if whole else 'a larger `--max-pixels`'}.")
