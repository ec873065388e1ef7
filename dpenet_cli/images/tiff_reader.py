"""What a TIFF file says beside its pixels, and how its 16-bit samples are put before a decoder."""

import struct
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dpenet_cli.errors import ImageReadError, ImageRefused
from dpenet_cli.images import ifd as tags
from dpenet_cli.images.exif import STRUCTURAL_TAGS, from_tiff
from dpenet_cli.images.formats import raw_refusal
from dpenet_cli.images.ifd import LONG, SHORT, DamagedError, Directory, Header, Value, numbers
from dpenet_cli.images.jpeg import iptc_of
from dpenet_cli.images.picture import Metadata

NEW_SUBFILE, SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 255, 256, 257, 258, 259, 262
STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_SIZES, PLANAR = 273, 274, 277, 278, 279, 284
TILE_HEIGHT = 323
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, PREDICTOR, TILE_WIDTH, TILE_OFFSETS, TILE_SIZES = (
    *(282, 283, 296, 317, 322),
    *(324, 325),
)
SUB_DIRECTORIES, EXTRA_SAMPLES, SAMPLE_FORMAT, XMP, IPTC, PHOTOSHOP, ICC, DNG_VERSION = (
    *(330, 338, 339, 700, 33723),
    *(34377, 34675, 50706),
)
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, CMYK = 0, 1, 2, 5
_LAB = {8, 9, 10}
_SENSOR = {32803, 34892}  # colour filter array, linear raw
_REDUCED, _TRANSPARENCY_MASK = 1, 4  # bits of NewSubfileType
UNCOMPRESSED, DEFLATED = 1, 8
_MAX_PAGES = 100


@dataclass
class Contents:
    """The first page of a TIFF file.

    Attributes:
        header, page: its structure.
        width, height, samples: size and channels.
        bits: per channel.
        photometric: what the channels mean (TIFF 6.0, tag 262).
        extra: kinds of the channels beyond the colours: 0 unspecified, 1 premultiplied alpha, 2 alpha.
        planar: 2 where each channel is stored by itself.
        orientation: 1..8.
        tile: width and height of its tiles, (0, 0) without.
        compressed: False where the samples lie there as they are.
        reduced_pages: the further pages are small copies or masks.
        metadata: as in the file; its EXIF is not yet patched.
    """

    header: Header
    page: Directory
    width: int
    height: int
    samples: int
    bits: int
    photometric: int
    extra: tuple[int, ...]
    planar: int
    orientation: int
    tile: tuple[int, int]
    compressed: bool
    reduced_pages: bool = False
    metadata: Metadata = field(default_factory=Metadata)


def parse(data: bytes, what: str) -> Contents:
    """Read the directories.

    Raises:
        ImageReadError: they are damaged, or say twice how the samples lie.
        ImageRefused: camera raw, several pages, or samples that are not 1 to 8 or 16 bits of grey, RGB or CMYK.
    """
    try:
        header = tags.read_header(data)
        pages = _pages(data, header)
    except DamagedError as error:
        raise ImageReadError(what, f"its structure is damaged ({error})", "Copy it again from its source.") from error
    order, page = header.order, pages[0]
    if _is_raw(data, header, page):
        raise raw_refusal(what)
    layout = [entry.tag for entry in page.entries if entry.tag in STRUCTURAL_TAGS and entry.tag < XMP]
    if len(layout) > len(set(layout)):
        twice = min(tag for tag in layout if layout.count(tag) > 1)
        raise ImageReadError(what, f"it has tag {twice} more than once", "Save it anew with a picture editor.")
    if sum(not _is_reduced(other, order) for other in pages) > 1 or (_is_reduced(page, order) and len(pages) > 1):
        raise ImageRefused(
            what,
            f"it has {len(pages)} pages, and only one could be cleaned",
            "Split it into one file per page, with ImageMagick for example: `magick in.tif page-%d.tif`.",
        )
    bits = page.get(BITS)
    orientation = page.number(ORIENTATION, order, 1) or 1
    extra = page.get(EXTRA_SAMPLES)
    contents = Contents(
        header=header,
        page=page,
        width=page.number(WIDTH, order, 0) or 0,
        height=page.number(HEIGHT, order, 0) or 0,
        samples=page.number(SAMPLES, order, 1) or 1,
        bits=max((bits.numbers(order) if bits else ()) or (1,)),
        photometric=page.number(PHOTOMETRIC, order, BLACK_IS_ZERO) or 0,
        extra=extra.numbers(order) if extra else (),
        planar=page.number(PLANAR, order, 1) or 1,
        orientation=orientation if orientation in range(1, 9) else 1,
        tile=(page.number(TILE_WIDTH, order, 0) or 0, page.number(TILE_HEIGHT, order, 0) or 0),
        compressed=page.number(COMPRESSION, order, UNCOMPRESSED) != UNCOMPRESSED,
        reduced_pages=len(pages) > 1,
        metadata=_metadata(data, header, page),
    )
    _refuse_unusual(contents, what)
    if _is_cut_off(data, contents):
        raise ImageReadError(what, "its pixels are cut off", "Copy it again from its source.")
    return contents


def _is_cut_off(data: bytes, contents: Contents) -> bool:
    """Whether strips or tiles lie outside the file: libtiff would say so on stderr."""
    for offsets_tag, sizes_tag in ((STRIP_OFFSETS, STRIP_SIZES), (TILE_OFFSETS, TILE_SIZES)):
        offsets, sizes = contents.page.get(offsets_tag), contents.page.get(sizes_tag)
        if offsets and sizes:
            pairs = zip(offsets.numbers(contents.header.order), sizes.numbers(contents.header.order), strict=False)
            if any(offset + size > len(data) for offset, size in pairs):
                return True
    return False


def _pages(data: bytes, header: Header) -> list[Directory]:
    pages = [tags.read_directory(data, header, header.first)]
    seen = {header.first}
    while pages[-1].next and pages[-1].next not in seen and len(pages) < _MAX_PAGES:
        seen.add(pages[-1].next)
        pages.append(tags.read_directory(data, header, pages[-1].next))
        if sum(len(entry.value or b"") for page in pages for entry in page.entries) > 2 * len(data):
            raise DamagedError("its pages say the same bytes many times")
    return pages


def _is_reduced(page: Directory, order: str) -> bool:
    kind = page.number(NEW_SUBFILE, order, 0) or 0
    return bool(kind & (_REDUCED | _TRANSPARENCY_MASK)) or page.number(SUBFILE, order) == 2


def _is_raw(data: bytes, header: Header, page: Directory) -> bool:
    if data[8:10] == b"CR" or page.get(DNG_VERSION) or page.number(PHOTOMETRIC, header.order) in _SENSOR:
        return True
    inner = page.get(SUB_DIRECTORIES)  # NEF, ARW and DNG keep the sensor's data here, a preview in front
    for offset in inner.numbers(header.order)[:10] if inner else ():
        try:
            below = tags.read_directory(data, header, offset)
        except DamagedError:
            continue
        if below.number(PHOTOMETRIC, header.order) in _SENSOR:
            return True
    return False


def _metadata(data: bytes, header: Header, page: Directory) -> Metadata:
    def value(tag: int) -> bytes | None:
        entry = page.get(tag)
        return (entry.value or None) if entry else None

    unit = {2: 1.0, 3: 2.54}.get(page.number(RESOLUTION_UNIT, header.order, 2) or 0)
    across, down = (
        entry.rational(header.order) if entry else None for entry in (page.get(X_RESOLUTION), page.get(Y_RESOLUTION))
    )
    return Metadata(
        exif=from_tiff(data, header, page),
        icc=value(ICC),
        xmp=value(XMP),
        iptc=value(IPTC) or iptc_of(value(PHOTOSHOP) or b""),
        dpi=(across * unit, down * unit) if unit and across and down else None,
    )


def _refuse_unusual(contents: Contents, what: str) -> None:
    order = contents.header.order
    why = None
    kind = contents.page.number(SAMPLE_FORMAT, order, 1)
    if contents.photometric in _LAB:
        why = "its colours are CIE L*a*b*"
    elif kind == 3:
        why = f"its values are {contents.bits}-bit floating-point numbers"
    elif kind not in (1, 4):
        why = "its values are signed or complex numbers"
    elif contents.bits not in (1, 2, 4, 8, 16):
        why = f"it has {contents.bits} bits per channel"
    elif contents.bits == 16 and (
        contents.photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB)
        or contents.samples not in ((3, 4) if contents.photometric == RGB else (1, 2))
    ):
        why = "it has 16 bits per channel and is neither grey nor RGB"
    elif contents.samples > 4 and contents.photometric != CMYK:
        why = f"it has {contents.samples} channels"
    if why:
        raise ImageRefused(what, why, "Export it as an RGB or grey TIFF of 8 or 16 bits per channel.")


def decodable(data: bytes, contents: Contents, plane: int | None = None) -> bytes:
    """The file with another first directory, from which a decoder reads plain samples in stored order.

    Without the orientation, so that no decoder applies it. For 16 bits also without the meaning of the channels:
    grey with alpha, which OpenCV reduces to 8 bits, becomes one channel of twice the width, and one plane of a file
    whose channels are stored apart, which OpenCV confuses, becomes a file of its own.

    Args:
        data: the file.
        contents: of the file.
        plane: the channel to be read from a file whose channels are stored apart.
    """
    header, order = contents.header, contents.header.order
    values = {e.tag: (e.tag, e.kind, e.count, e.value) for e in reversed(contents.page.entries) if e.value}
    # As they were understood and checked, in the one way that no decoder understands differently.
    values[WIDTH] = numbers(WIDTH, LONG, order, contents.width)
    values[HEIGHT] = numbers(HEIGHT, LONG, order, contents.height)
    values.pop(ORIENTATION, None)
    values.pop(SUB_DIRECTORIES, None)
    if contents.bits == 16:
        single = plane is not None or contents.samples <= 2
        if single:
            values[SAMPLES] = numbers(SAMPLES, SHORT, order, 1)
            values[BITS] = numbers(BITS, SHORT, order, 16)
            values[PHOTOMETRIC] = numbers(PHOTOMETRIC, SHORT, order, BLACK_IS_ZERO)
            values[PLANAR] = numbers(PLANAR, SHORT, order, 1)
            values.pop(EXTRA_SAMPLES, None)
            values.pop(SAMPLE_FORMAT, None)
        if plane is not None:
            for tag in (STRIP_OFFSETS, STRIP_SIZES, TILE_OFFSETS, TILE_SIZES):
                _take_plane(values, tag, plane, contents.samples)
        elif contents.samples == 2:
            for tag in (WIDTH, TILE_WIDTH):
                entry = contents.page.number(tag, order)
                if entry:
                    values[tag] = numbers(tag, LONG, order, 2 * entry)
            values.pop(PREDICTOR, None)  # undone by `unpredicted`: it would look one value back, not one pixel
    return _redirected(data, header, list(values.values()))


def _take_plane(values: dict[int, tuple[int, int, int, bytes]], tag: int, plane: int, planes: int) -> None:
    if tag in values:
        _, kind, count, value = values[tag]
        each = count // planes
        size = len(value) // count
        values[tag] = (tag, kind, each, value[plane * each * size : (plane + 1) * each * size])


def _redirected(data: bytes, header: Header, values: list[Value]) -> bytes:
    """The file with this directory behind it, and its header pointing there."""
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
        behind = tags.table(values, header.order, at)
        start = data[:4] + struct.pack(f"{header.order}L", at)
    return b"".join([start, memoryview(data)[len(start) :], padding, behind])


def unpredicted(samples: NDArray[np.uint16], contents: Contents, what: str) -> NDArray[np.uint16]:
    """Undo horizontal differencing (predictor 2) of grey with alpha, H×W×2, which `decodable` had hidden."""
    order = contents.header.order
    predictor = contents.page.number(PREDICTOR, order, 1)
    if predictor == 1 or not contents.compressed:
        return samples
    if predictor != 2:
        raise ImageRefused(what, f"it uses predictor {predictor}", "Export it as an uncompressed 16-bit TIFF.")
    width = contents.page.number(TILE_WIDTH, order) or contents.width
    for left in range(0, contents.width, width):
        part = samples[:, left : left + width]
        np.cumsum(part, axis=1, dtype=np.uint16, out=part)
    return samples
