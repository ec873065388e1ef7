"""What a TIFF file says beside its pixels, from its directories."""

from dataclasses import dataclass, field

from dpenet_cli.errors import ImageReadError, ImageRefused
from dpenet_cli.images import ifd, tiff_tags
from dpenet_cli.images.exif import STRUCTURAL_TAGS, from_tiff
from dpenet_cli.images.formats import raw_refusal
from dpenet_cli.images.ifd import DamagedError, Directory, Header
from dpenet_cli.images.jpeg import iptc_of
from dpenet_cli.images.limits import DEFLATE_RATIO, check_room
from dpenet_cli.images.picture import Metadata

_LAB = {8, 9, 10}
_SENSOR = {32803, 34892}  # colour filter array, linear raw
_REDUCED, _TRANSPARENCY_MASK = 1, 4  # bits of NewSubfileType
_MAX_PAGES = 100
_READ_AT_16_BITS = {tiff_tags.UNCOMPRESSED, 5, tiff_tags.DEFLATED, tiff_tags.PACKED_BITS, tiff_tags.OLD_DEFLATED}
_READ = _READ_AT_16_BITS | {2, 3, 4, 6, 7, 32771, 32809, 34925, 50000}
"""Compressions that OpenCV's libtiff and Pillow's read here; others that they may know are not in every build."""

_RATIOS = {
    tiff_tags.UNCOMPRESSED: 1,
    tiff_tags.DEFLATED: DEFLATE_RATIO,
    tiff_tags.OLD_DEFLATED: DEFLATE_RATIO,
    tiff_tags.PACKED_BITS: 64,  # two bytes stand for 128
}
"""Bytes that come out of one at most; the other compressions know no such number, or none that is small."""


@dataclass
class TiffPage:
    """The first page of a TIFF file.

    Attributes:
        header, directory: its structure.
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
    directory: Directory
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


def parse(data: bytes, what: str) -> TiffPage:
    """Read the directories.

    Raises:
        ImageReadError: they are damaged, or say twice how the samples lie.
        ImageRefused: camera raw, several pages, or samples that are not 1 to 8 or 16 bits of grey, RGB or CMYK.
    """
    try:
        header = ifd.read_header(data)
        pages = _pages(data, header)
    except DamagedError as error:
        raise ImageReadError(what, f"its structure is damaged ({error})", "Copy it again from its source.") from error
    order, first = header.order, pages[0]
    if _is_raw(data, header, first):
        raise raw_refusal(what)
    layout = [entry.tag for entry in first.entries if entry.tag in STRUCTURAL_TAGS and entry.tag < tiff_tags.XMP]
    if len(layout) > len(set(layout)):
        twice = min(tag for tag in layout if layout.count(tag) > 1)
        raise ImageReadError(what, f"it has tag {twice} more than once", "Save it anew with a picture editor.")
    if sum(not _is_reduced(other, order) for other in pages) > 1 or (_is_reduced(first, order) and len(pages) > 1):
        raise ImageRefused(
            what,
            f"it has {len(pages)} pages, and only one could be cleaned",
            "Split it into one file per page, with ImageMagick for example: `magick in.tif page-%d.tif`.",
        )
    bits = first.get(tiff_tags.BITS)
    orientation = first.number(tiff_tags.ORIENTATION, order, 1) or 1
    extra = first.get(tiff_tags.EXTRA_SAMPLES)
    page = TiffPage(
        header=header,
        directory=first,
        width=first.number(tiff_tags.WIDTH, order, 0) or 0,
        height=first.number(tiff_tags.HEIGHT, order, 0) or 0,
        samples=first.number(tiff_tags.SAMPLES, order, 1) or 1,
        bits=max((bits.numbers(order) if bits else ()) or (1,)),
        photometric=first.number(tiff_tags.PHOTOMETRIC, order, tiff_tags.BLACK_IS_ZERO) or 0,
        extra=extra.numbers(order) if extra else (),
        planar=first.number(tiff_tags.PLANAR, order, 1) or 1,
        orientation=orientation if orientation in range(1, 9) else 1,
        tile=(first.number(tiff_tags.TILE_WIDTH, order, 0) or 0, first.number(tiff_tags.TILE_HEIGHT, order, 0) or 0),
        compressed=_compression(first, order) != tiff_tags.UNCOMPRESSED,
        reduced_pages=len(pages) > 1,
        metadata=_metadata(data, header, first),
    )
    _refuse_unusual(page, what)
    _check_room(data, page, what)
    if _is_cut_off(data, page):
        raise ImageReadError(what, "its pixels are cut off", "Copy it again from its source.")
    return page


def _compression(directory: Directory, order: str) -> int:
    return directory.number(tiff_tags.COMPRESSION, order) or tiff_tags.UNCOMPRESSED


def _check_room(data: bytes, page: TiffPage, what: str) -> None:
    """Whether the file has the bytes that its pixels take, where the compression lets that be known."""
    ratio = _RATIOS.get(_compression(page.directory, page.header.order))
    if ratio is None:
        return
    across, down = page.tile if all(page.tile) else (page.width, max(page.height, 1))
    if page.photometric == tiff_tags.YCBCR:  # its colours may be stored for every fourth pixel only
        values, planes = 1, 1
    else:
        values, planes = (1, page.samples) if page.planar == 2 else (page.samples, 1)
    parts = -(-page.width // max(across, 1)) * -(-page.height // max(down, 1))
    needed = parts * planes * down * -(-across * values * page.bits // 8)
    starts = [
        offset
        for tag in (tiff_tags.STRIP_OFFSETS, tiff_tags.TILE_OFFSETS)
        if (entry := page.directory.get(tag))
        for offset in entry.numbers(page.header.order)
    ]
    there = max(len(data) - min(starts, default=0), 0)  # whatever lies behind the first of them may be pixels
    check_room((page.width, page.height), needed, ratio * there, data, what)


def _is_cut_off(data: bytes, page: TiffPage) -> bool:
    """Whether strips or tiles lie outside the file: libtiff would say so on stderr."""
    for offsets_tag, sizes_tag in (
        (tiff_tags.STRIP_OFFSETS, tiff_tags.STRIP_SIZES),
        (tiff_tags.TILE_OFFSETS, tiff_tags.TILE_SIZES),
    ):
        offsets, sizes = page.directory.get(offsets_tag), page.directory.get(sizes_tag)
        if offsets and sizes:
            pairs = zip(offsets.numbers(page.header.order), sizes.numbers(page.header.order), strict=False)
            if any(offset + size > len(data) for offset, size in pairs):
                return True
    return False


def _pages(data: bytes, header: Header) -> list[Directory]:
    pages = [ifd.read_directory(data, header, header.first)]
    seen = {header.first}
    while pages[-1].next and pages[-1].next not in seen and len(pages) < _MAX_PAGES:
        seen.add(pages[-1].next)
        pages.append(ifd.read_directory(data, header, pages[-1].next))
        if sum(len(entry.value or b"") for page in pages for entry in page.entries) > 2 * len(data):
            raise DamagedError("its pages say the same bytes many times")
    return pages


def _is_reduced(directory: Directory, order: str) -> bool:
    kind = directory.number(tiff_tags.NEW_SUBFILE, order, 0) or 0
    return bool(kind & (_REDUCED | _TRANSPARENCY_MASK)) or directory.number(tiff_tags.SUBFILE, order) == 2


def _is_raw(data: bytes, header: Header, directory: Directory) -> bool:
    if (
        data[8:10] == b"CR"
        or directory.get(tiff_tags.DNG_VERSION)
        or directory.number(tiff_tags.PHOTOMETRIC, header.order) in _SENSOR
    ):
        return True
    inner = directory.get(tiff_tags.SUB_DIRECTORIES)  # NEF, ARW and DNG keep the sensor's data here, a preview in front
    for offset in inner.numbers(header.order)[:10] if inner else ():
        try:
            below = ifd.read_directory(data, header, offset)
        except DamagedError:
            continue
        if below.number(tiff_tags.PHOTOMETRIC, header.order) in _SENSOR:
            return True
    return False


def _metadata(data: bytes, header: Header, directory: Directory) -> Metadata:
    def value(tag: int) -> bytes | None:
        entry = directory.get(tag)
        return (entry.value or None) if entry else None

    unit = {2: 1.0, 3: 2.54}.get(directory.number(tiff_tags.RESOLUTION_UNIT, header.order, 2) or 0)
    across, down = (
        entry.rational(header.order) if entry else None
        for entry in (directory.get(tiff_tags.X_RESOLUTION), directory.get(tiff_tags.Y_RESOLUTION))
    )
    return Metadata(
        exif=from_tiff(data, header, directory),
        icc=value(tiff_tags.ICC),
        xmp=value(tiff_tags.XMP),
        iptc=value(tiff_tags.IPTC) or iptc_of(value(tiff_tags.PHOTOSHOP) or b""),
        dpi=(across * unit, down * unit) if unit and across and down else None,
    )


def _refuse_unusual(page: TiffPage, what: str) -> None:
    order = page.header.order
    compression, why = _compression(page.directory, order), None
    if compression not in (_READ_AT_16_BITS if page.bits == 16 else _READ):
        name = tiff_tags.COMPRESSION_NAMES.get(compression)
        number = f"{name}, {compression}" if name else f"{compression}"
        why, step = f"its compression ({number}) is not read", "Save it with LZW, Deflate or no compression."
        raise ImageRefused(what, why, step)
    kind = page.directory.number(tiff_tags.SAMPLE_FORMAT, order, 1)
    if page.photometric in _LAB:
        why = "its colours are CIE L*a*b*"
    elif kind == 3:
        why = f"its values are {page.bits}-bit floating-point numbers"
    elif kind not in (1, 4):
        why = "its values are signed or complex numbers"
    elif page.bits not in (1, 2, 4, 8, 16):
        why = f"it has {page.bits} bits per channel"
    elif page.bits == 16 and (
        page.photometric not in (tiff_tags.WHITE_IS_ZERO, tiff_tags.BLACK_IS_ZERO, tiff_tags.RGB)
        or page.samples not in ((3, 4) if page.photometric == tiff_tags.RGB else (1, 2))
    ):
        why = "it has 16 bits per channel and is neither grey nor RGB"
    elif page.samples > 4 and page.photometric != tiff_tags.CMYK:
        why = f"it has {page.samples} channels"
    if why:
        raise ImageRefused(what, why, "Export it as an RGB or grey TIFF of 8 or 16 bits per channel.")
