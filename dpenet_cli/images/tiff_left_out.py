"""What a TIFF file, or an EXIF block that goes into one, holds and the result does not, by name."""

from collections.abc import Callable, Iterable

from dpenet_cli.images import ifd, tiff_tags
from dpenet_cli.images.exif import STRUCTURAL_TAGS, first_directory
from dpenet_cli.images.ifd import EXIF_POINTER, GPS_POINTER, INTEROP_POINTER, POINTER, DamagedError, Directory
from dpenet_cli.images.jpeg import iptc_of
from dpenet_cli.images.left_out import ASPECT, RESOURCES, has_other_resources
from dpenet_cli.images.picture import Metadata
from dpenet_cli.images.tiff_reader import TiffPage

_LAYERS = 37724  # Photoshop's

_TOLD = {
    tiff_tags.SUB_DIRECTORIES: "further pictures in sub-directories",
    _LAYERS: "Photoshop's layers",
    291: "grey response curve",
    321: "halftone hints",
    337: "target printer",
    343: "clip path",
    433: "clip path",
}
"""Structural tags that say more than how the samples lie."""

_POINTERS = {EXIF_POINTER: "EXIF", GPS_POINTER: "GPS", INTEROP_POINTER: "EXIF's interoperability"}
_READ = {tiff_tags.XMP: "XMP", tiff_tags.IPTC: "IPTC", tiff_tags.ICC: "colour profile"}
_RESOLUTION = {tiff_tags.X_RESOLUTION, tiff_tags.Y_RESOLUTION}


def of_tiff(data: bytes, page: TiffPage) -> list[str]:
    """Names of what is left out of a TIFF file's first page.

    Args:
        data: the file.
        page: as it was read; its metadata are not yet patched.
    """
    first, order, metadata = page.directory, page.header.order, page.metadata
    names = [_TOLD[entry.tag] for entry in first.entries if entry.tag in _TOLD]
    names += [f"{label} that is damaged" for tag, label in _READ.items() if _is_unread(first, tag)]
    resources = first.get(tiff_tags.PHOTOSHOP)
    if resources and (resources.value is None or has_other_resources(resources.value, metadata.iptc)):
        names.append(RESOURCES)
    if resources and metadata.iptc not in (iptc_of(resources.value or b""), None) and iptc_of(resources.value or b""):
        names.append("a second IPTC")
    names += _not_carried(first, STRUCTURAL_TAGS, "TIFF tag {}".format)
    across, down = (
        entry.rational(order) if entry else None
        for entry in map(first.get, (tiff_tags.X_RESOLUTION, tiff_tags.Y_RESOLUTION))
    )
    if metadata.dpi is None and across and down and across != down:
        names.append(ASPECT)
    for tag in (EXIF_POINTER, GPS_POINTER):
        names += _of_pointer(data, page, first, tag)
    return names


def _of_pointer(data: bytes, page: TiffPage, directory: Directory, tag: int) -> list[str]:
    """What is left out of the directory that a tag points at."""
    if directory.get(tag) is None:
        return []
    try:
        inner = ifd.read_directory(data, page.header, directory.number(tag, page.header.order) or 0)
    except DamagedError:
        return [f"{_POINTERS[tag]} that is damaged"]
    names = _not_carried(inner, frozenset({INTEROP_POINTER}), f"{_POINTERS[tag]} tag {{}}".format)
    return names + ([] if tag == INTEROP_POINTER else _of_pointer(data, page, inner, INTEROP_POINTER))


def _is_unread(directory: Directory, tag: int) -> bool:
    entry = directory.get(tag)
    return entry is not None and not entry.value


def _not_carried(directory: Directory, without: frozenset[int], name: Callable[[int], str]) -> list[str]:
    """Tags that `ifd.carried` leaves behind though they should go, and pointers to what stays behind."""
    kept = {(tag, value) for tag, _, _, value in ifd.carried(directory, without)}
    lost = [
        entry.tag
        for entry in directory.entries
        if entry.tag not in without and ((entry.tag, entry.value) not in kept or entry.kind == POINTER)
    ]
    return [name(tag) for tag in dict.fromkeys(lost)]


def of_exif_in_tiff(exif: bytes, metadata: Metadata) -> list[str]:
    """Names of what an EXIF block's first directory holds that is not taken over into a TIFF file's.

    Args:
        exif: the block.
        metadata: what else goes into the file.
    """
    _, first = first_directory(exif)
    elsewhere: Iterable[tuple[int, bytes | None]] = (
        (tiff_tags.XMP, metadata.xmp),
        (tiff_tags.IPTC, metadata.iptc),
        (tiff_tags.ICC, metadata.icc),
    )
    told = {*_TOLD, tiff_tags.PHOTOSHOP}
    names = [f"EXIF tag {entry.tag}" for entry in first.entries if entry.tag in told]
    for tag, kept in elsewhere:
        entry = first.get(tag)
        if entry is not None and entry.value != kept:
            names.append(f"EXIF tag {tag}")
    return names + _not_carried_in_place(first)


def _not_carried_in_place(first: Directory) -> list[str]:
    """As `_not_carried`, where pointers stay right."""
    kept = {(tag, value) for tag, _, _, value in ifd.carried(first, frozenset())}
    lost = [e.tag for e in first.entries if e.tag not in STRUCTURAL_TAGS and (e.tag, e.value) not in kept]
    return [f"EXIF tag {tag}" for tag in dict.fromkeys(lost)]
