"""TIFF files written: 8 or 16 bits, deflated or not, around an EXIF block that keeps its bytes and place."""

import zlib

import numpy as np

from dpenet_cli.errors import ImageWriteError
from dpenet_cli.images import ifd, tiff_tags
from dpenet_cli.images.exif import STRUCTURAL_TAGS, first_directory
from dpenet_cli.images.ifd import LONG, SHORT, Value, numbers
from dpenet_cli.images.picture import Metadata, Samples

_STRIP_BYTES = 1 << 18
_LARGEST = 2**32 - 1


def encode(samples: Samples, metadata: Metadata, *, compressed: bool, extra: int) -> bytes:
    """A TIFF file in strips, deflated with horizontal differencing or as it is.

    It begins with the EXIF block, which is a TIFF structure without a picture: so every offset in it stays right, those
    in maker notes too. Only its first directory is written anew, behind it.

    Args:
        samples: H×W×C; C is 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha; uint8 or uint16.
        metadata: EXIF, XMP, IPTC, ICC and DPI are stored.
        compressed: deflate or not.
        extra: what a second or fourth channel is: 2 alpha, 0 unspecified.

    Raises:
        ImageWriteError: it would take 4 GiB or more.
    """
    block = bytearray(metadata.exif or ifd.blank("<"))
    order = ifd.read_header(block).order
    values: list[Value] = []
    if metadata.exif:
        _, old = first_directory(metadata.exif)
        replaced = STRUCTURAL_TAGS - {ifd.EXIF_POINTER, ifd.GPS_POINTER}
        if metadata.dpi:
            replaced |= {tiff_tags.X_RESOLUTION, tiff_tags.Y_RESOLUTION, tiff_tags.RESOLUTION_UNIT}
        values += ifd.carried(old, replaced)
    rows = max(1, _STRIP_BYTES // (samples.shape[1] * samples.shape[2] * samples.itemsize))
    strips = [_strip(samples[top : top + rows], order, compressed) for top in range(0, samples.shape[0], rows)]
    values += _described(samples, order, rows, compressed, extra)
    values += _carried(metadata, order)
    # The strips lie behind the table, which says where they lie. Its length does not depend on the offsets in it, so it
    # is made twice: the first one tells how long it is.
    sizes = [len(strip) for strip in strips]
    at = len(block) + len(block) % 2  # directories begin on even offsets (TIFF 6.0)
    start = at
    for _ in range(2):
        offsets = [start, *(start + np.cumsum(sizes[:-1])).tolist()]
        if offsets[-1] + sizes[-1] > _LARGEST:
            raise ImageWriteError("the result", "a TIFF file cannot hold 4 GiB", "Write a PNG instead.")
        lying = [
            numbers(tiff_tags.STRIP_OFFSETS, LONG, order, *offsets),
            numbers(tiff_tags.STRIP_SIZES, LONG, order, *sizes),
        ]
        table = ifd.table([*values, *lying], order, at)
        start = at + len(table)
    block += bytes(at - len(block))
    ifd.set_first(block, order, at)
    return b"".join([block, table, *strips])


def _described(samples: Samples, order: str, rows: int, compressed: bool, extra: int) -> list[Value]:
    height, width, channels = samples.shape
    values = [
        numbers(tiff_tags.WIDTH, LONG, order, width),
        numbers(tiff_tags.HEIGHT, LONG, order, height),
        numbers(tiff_tags.BITS, SHORT, order, *[samples.itemsize * 8] * channels),
        numbers(tiff_tags.COMPRESSION, SHORT, order, tiff_tags.DEFLATED if compressed else tiff_tags.UNCOMPRESSED),
        numbers(tiff_tags.PHOTOMETRIC, SHORT, order, tiff_tags.BLACK_IS_ZERO if channels <= 2 else tiff_tags.RGB),
        numbers(tiff_tags.ORIENTATION, SHORT, order, 1),
        numbers(tiff_tags.SAMPLES, SHORT, order, channels),
        numbers(tiff_tags.ROWS_PER_STRIP, LONG, order, rows),
        numbers(tiff_tags.PLANAR, SHORT, order, 1),
    ]
    if compressed:
        values.append(numbers(tiff_tags.PREDICTOR, SHORT, order, 2))
    if channels in (2, 4):
        values.append(numbers(tiff_tags.EXTRA_SAMPLES, SHORT, order, extra))
    return values


def _carried(metadata: Metadata, order: str) -> list[Value]:
    values: list[Value] = []
    if metadata.dpi:
        values += [ifd.rational(tiff_tags.X_RESOLUTION, order, metadata.dpi[0])]
        values += [ifd.rational(tiff_tags.Y_RESOLUTION, order, metadata.dpi[1])]
        values += [numbers(tiff_tags.RESOLUTION_UNIT, SHORT, order, 2)]
    if metadata.xmp:
        values.append((tiff_tags.XMP, 1, len(metadata.xmp), metadata.xmp))
    if metadata.iptc:
        values.append((tiff_tags.IPTC, 7, len(metadata.iptc), metadata.iptc))
    if metadata.icc:
        values.append((tiff_tags.ICC, 7, len(metadata.icc), metadata.icc))
    return values


def _strip(rows: Samples, order: str, compressed: bool) -> bytes:
    ordered = np.dtype(rows.dtype).newbyteorder("<" if order == "<" else ">")
    if not compressed:
        return rows.astype(ordered).tobytes()
    differences = rows.copy()
    differences[:, 1:] -= rows[:, :-1]  # from pixel to pixel, modulo 2^8 or 2^16: predictor 2 (TIFF 6.0, section 14)
    return zlib.compress(differences.astype(ordered).tobytes(), 6)
