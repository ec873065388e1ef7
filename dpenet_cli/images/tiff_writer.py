"""TIFF files written: 8 or 16 bits, deflated or not, around an EXIF block that keeps its bytes and place."""

import io
import zlib

import numpy as np

from dpenet_cli.errors import ImageWriteError
from dpenet_cli.images import ifd as tags
from dpenet_cli.images import tiff_reader
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
    block = bytearray(metadata.exif or tags.blank("<"))
    order = tags.read_header(block).order
    values: list[Value] = []
    if metadata.exif:
        _, old = first_directory(metadata.exif)
        pointers = {tags.EXIF_POINTER, tags.GPS_POINTER}
        dropped = STRUCTURAL_TAGS - pointers
        dropped |= (
            {tiff_reader.X_RESOLUTION, tiff_reader.Y_RESOLUTION, tiff_reader.RESOLUTION_UNIT}
            if metadata.dpi
            else frozenset()
        )
        kept = {e.tag: e for e in reversed(old.entries) if e.value and e.tag not in dropped}
        values += [(e.tag, e.kind, e.count, e.value) for e in kept.values() if e.value]
    rows = max(1, _STRIP_BYTES // (samples.shape[1] * samples.shape[2] * samples.itemsize))
    strips = [_strip(samples[top : top + rows], order, compressed) for top in range(0, samples.shape[0], rows)]
    values += _described(samples, order, rows, compressed, extra)
    values += _carried(metadata, order)
    sizes = [len(strip) for strip in strips]
    start = len(block) + len(block) % 2
    for _ in range(2):  # the table's length does not depend on the offsets in it, so the second pass is exact
        offsets = [start, *(start + np.cumsum(sizes[:-1])).tolist()]
        if offsets[-1] + sizes[-1] > _LARGEST:
            raise ImageWriteError("the result", "a TIFF file cannot hold 4 GiB", "Write a PNG instead.")
        placed = [
            numbers(tiff_reader.STRIP_OFFSETS, LONG, order, *offsets),
            numbers(tiff_reader.STRIP_SIZES, LONG, order, *sizes),
        ]
        at = len(block) + len(block) % 2
        table = tags.table([*values, *placed], order, at)
        start = at + len(table)
    block += bytes(at - len(block))
    tags.set_first(block, order, at)
    out = io.BytesIO()
    out.writelines([block, table, *strips])
    return out.getvalue()


def _described(samples: Samples, order: str, rows: int, compressed: bool, extra: int) -> list[Value]:
    height, width, channels = samples.shape
    values = [
        numbers(tiff_reader.WIDTH, LONG, order, width),
        numbers(tiff_reader.HEIGHT, LONG, order, height),
        numbers(tiff_reader.BITS, SHORT, order, *[samples.itemsize * 8] * channels),
        numbers(
            tiff_reader.COMPRESSION, SHORT, order, tiff_reader.DEFLATED if compressed else tiff_reader.UNCOMPRESSED
        ),
        numbers(tiff_reader.PHOTOMETRIC, SHORT, order, tiff_reader.BLACK_IS_ZERO if channels <= 2 else tiff_reader.RGB),
        numbers(tiff_reader.ORIENTATION, SHORT, order, 1),
        numbers(tiff_reader.SAMPLES, SHORT, order, channels),
        numbers(tiff_reader.ROWS_PER_STRIP, LONG, order, rows),
        numbers(tiff_reader.PLANAR, SHORT, order, 1),
    ]
    if compressed:
        values.append(numbers(tiff_reader.PREDICTOR, SHORT, order, 2))
    if channels in (2, 4):
        values.append(numbers(tiff_reader.EXTRA_SAMPLES, SHORT, order, extra))
    return values


def _carried(metadata: Metadata, order: str) -> list[Value]:
    values: list[Value] = []
    if metadata.dpi:
        values += [tags.rational(tiff_reader.X_RESOLUTION, order, metadata.dpi[0])]
        values += [tags.rational(tiff_reader.Y_RESOLUTION, order, metadata.dpi[1])]
        values += [numbers(tiff_reader.RESOLUTION_UNIT, SHORT, order, 2)]
    if metadata.xmp:
        values.append((tiff_reader.XMP, 1, len(metadata.xmp), metadata.xmp))
    if metadata.iptc:
        values.append((tiff_reader.IPTC, 7, len(metadata.iptc), metadata.iptc))
    if metadata.icc:
        values.append((tiff_reader.ICC, 7, len(metadata.icc), metadata.icc))
    return values


def _strip(rows: Samples, order: str, compressed: bool) -> bytes:
    ordered = np.dtype(rows.dtype).newbyteorder("<" if order == "<" else ">")
    if not compressed:
        return rows.astype(ordered).tobytes()
    differences = rows.copy()
    differences[:, 1:] -= rows[:, :-1]
    return zlib.compress(differences.astype(ordered).tobytes(), 6)
