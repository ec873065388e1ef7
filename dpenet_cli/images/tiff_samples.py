"""A TIFF file put before a decoder: with a first directory that says what was checked, in a way that none misreads."""

import struct

import numpy as np
from numpy.typing import NDArray

from dpenet_cli.errors import ImageRefused
from dpenet_cli.images import ifd, pixels, tiff_tags
from dpenet_cli.images.ifd import LONG, SHORT, Header, Value, numbers
from dpenet_cli.images.picture import Samples
from dpenet_cli.images.tiff_reader import TiffPage


def decode_16_bit(data: bytes, page: TiffPage, what: str) -> Samples:
    """The samples of a file of 16 bits per channel.

    Args:
        data: the file.
        page: its first page.
        what: the file's name, for the errors.

    Returns:
        H×W×C uint16; C is 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha, not turned upright.

    Raises:
        ImageReadError: its pixels are damaged.
        ImageRefused: a predictor that is not known here.
    """
    shape = (page.height, page.width)
    if page.planar == 2 and page.samples > 1:
        planes = [
            pixels.decode_16_bit(decodable(data, page, plane), what).reshape(shape) for plane in range(page.samples)
        ]
        samples = np.stack(planes, axis=2)
    else:
        decoded = pixels.decode_16_bit(decodable(data, page), what)
        if page.samples == 2:
            samples = _unpredicted(decoded.reshape(*shape, 2), page, what)
        elif page.samples == 1:
            samples = decoded.reshape(*shape, 1)
        else:
            samples = decoded[..., [2, 1, 0, 3][: page.samples]]  # from BGR(A)
    if page.photometric == tiff_tags.WHITE_IS_ZERO:
        samples[..., 0] = 65535 - samples[..., 0]
    return samples


def decodable(data: bytes, page: TiffPage, plane: int | None = None) -> bytes:
    """The file with another first directory, from which a decoder reads plain samples in stored order.

    Args:
        data: the file.
        page: its first page.
        plane: the channel to be read from a file whose channels are stored apart.
    """
    order = page.header.order
    values = {e.tag: (e.tag, e.kind, e.count, e.value) for e in reversed(page.directory.entries) if e.value}
    # The size as it was understood and checked, in the one way that no decoder understands differently.
    values[tiff_tags.WIDTH] = numbers(tiff_tags.WIDTH, LONG, order, page.width)
    values[tiff_tags.HEIGHT] = numbers(tiff_tags.HEIGHT, LONG, order, page.height)
    values.pop(tiff_tags.ORIENTATION, None)  # it is applied here, and not by some decoders, too
    values.pop(tiff_tags.SUB_DIRECTORIES, None)
    if page.bits == 16 and (plane is not None or page.samples <= 2):
        _as_one_channel(values, page, plane)
    return _redirected(data, page.header, list(values.values()))


def _as_one_channel(values: dict[int, Value], page: TiffPage, plane: int | None) -> None:
    """Let 16-bit samples pass for grey ones, whose meaning no decoder applies."""
    order = page.header.order
    values[tiff_tags.SAMPLES] = numbers(tiff_tags.SAMPLES, SHORT, order, 1)
    values[tiff_tags.BITS] = numbers(tiff_tags.BITS, SHORT, order, 16)
    values[tiff_tags.PHOTOMETRIC] = numbers(tiff_tags.PHOTOMETRIC, SHORT, order, tiff_tags.BLACK_IS_ZERO)
    values[tiff_tags.PLANAR] = numbers(tiff_tags.PLANAR, SHORT, order, 1)
    values.pop(tiff_tags.EXTRA_SAMPLES, None)
    values.pop(tiff_tags.SAMPLE_FORMAT, None)
    if plane is not None:  # OpenCV confuses channels that are stored apart: each becomes a file of its own
        for tag in (tiff_tags.STRIP_OFFSETS, tiff_tags.STRIP_SIZES, tiff_tags.TILE_OFFSETS, tiff_tags.TILE_SIZES):
            _take_plane(values, tag, plane, page.samples)
    elif page.samples == 2:  # OpenCV reduces grey with alpha to 8 bits: it becomes one channel of twice the width
        for tag in (tiff_tags.WIDTH, tiff_tags.TILE_WIDTH):
            width = page.directory.number(tag, order)
            if width:
                values[tag] = numbers(tag, LONG, order, 2 * width)
        # A decoder would now look one value back instead of one pixel: `_unpredicted` does it instead.
        values.pop(tiff_tags.PREDICTOR, None)


def _take_plane(values: dict[int, Value], tag: int, plane: int, planes: int) -> None:
    """Of the strips or tiles of all planes, which follow each other, leave those of one."""
    if tag in values:
        _, kind, count, value = values[tag]
        each = count // planes
        size = len(value) // count
        values[tag] = (tag, kind, each, value[plane * each * size : (plane + 1) * each * size])


def _redirected(data: bytes, header: Header, values: list[Value]) -> bytes:
    """The file with this directory behind it, and its header pointing there.

    Args:
        data: the file, all of which stays where it is, so that offsets hold.
        header: its header.
        values: the entries of the directory.
    """
    padding = bytes(-len(data) % 2)
    at = len(data) + len(padding)
    if header.big:
        rows, body = [struct.pack(f"{header.order}Q", len(values))], bytearray()
        values_at = at + 8 + 20 * len(values) + 8
        for tag, kind, count, value in sorted(values, key=lambda value: value[0]):
            stored = value.ljust(8, b"\0")
            if len(value) > 8:
                stored = struct.pack(f"{header.order}Q", values_at + len(body))
                body += value
            rows.append(struct.pack(f"{header.order}HHQ", tag, kind, count) + stored)
        behind = b"".join(rows) + bytes(8) + bytes(body)
        start = data[:8] + struct.pack(f"{header.order}Q", at)
    else:
        behind = ifd.table(values, header.order, at)
        start = data[:4] + struct.pack(f"{header.order}L", at)
    return b"".join([start, memoryview(data)[len(start) :], padding, behind])


def _unpredicted(samples: NDArray[np.uint16], page: TiffPage, what: str) -> NDArray[np.uint16]:
    """Undo horizontal differencing (predictor 2) of grey with alpha, H×W×2, which `decodable` has hidden."""
    order = page.header.order
    predictor = page.directory.number(tiff_tags.PREDICTOR, order, 1)
    if predictor == 1 or not page.compressed:
        return samples
    if predictor != 2:
        raise ImageRefused(what, f"it uses predictor {predictor}", "Export it as an uncompressed 16-bit TIFF.")
    width = page.directory.number(tiff_tags.TILE_WIDTH, order) or page.width
    for left in range(0, page.width, width):  # differences begin anew in every tile
        part = samples[:, left : left + width]
        np.cumsum(part, axis=1, dtype=np.uint16, out=part)
    return samples
