"""Which formats there are: by suffix (for folders and output names) and by content (for reading).

Nothing heavy is imported here.
"""

from pathlib import PurePath

from dpenet_cli.errors import ImageReadError, ImageRefused
from dpenet_cli.options import ImageFormat

SUFFIXES = {
    ".jpg": ImageFormat.JPEG,
    ".jpeg": ImageFormat.JPEG,
    ".jpe": ImageFormat.JPEG,
    ".jfif": ImageFormat.JPEG,
    ".mpo": ImageFormat.JPEG,
    ".png": ImageFormat.PNG,
    ".webp": ImageFormat.WEBP,
    ".tif": ImageFormat.TIFF,
    ".tiff": ImageFormat.TIFF,
    ".bmp": ImageFormat.BMP,
    ".dib": ImageFormat.BMP,
    ".avif": ImageFormat.AVIF,
    ".heic": ImageFormat.HEIC,
    ".heif": ImageFormat.HEIC,
    ".hif": ImageFormat.HEIC,
}
"""Format of each suffix, lower case with its dot."""

PICTURE_SUFFIXES = frozenset(SUFFIXES)
"""Suffixes of the files that are taken for pictures when a folder is searched."""

RAW_SUFFIXES = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef"}
    | {".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"}
)
"""Suffixes of sensor data straight from a camera, which are told about rather than passed over in silence."""

_RAW_HEADERS = (b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW", b"FOVb", b"\0MRM", b"II\x1a\0\0\0HEAPCCDR")
"""Olympus (three), Panasonic, Fujifilm, Sigma, Minolta, old Canon; DNG, NEF, CR2, ARW and PEF are TIFFs inside."""

_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_CONTAINER_BRANDS = {b"mif1", b"msf1"}  # say only "pictures in boxes"; the compatible brands say which


def format_for(path: PurePath) -> ImageFormat | None:
    """The format that a file of this name is written in, by its suffix in any case, or None."""
    return SUFFIXES.get(path.suffix.lower())


def raw_refusal(what: str) -> ImageRefused:
    """The error for sensor data straight from a camera."""
    return ImageRefused(
        what,
        "this is camera raw, sensor data that its maker's software must develop first",
        "Export it as a 16-bit TIFF and clean that.",
    )


def format_of(data: bytes, what: str) -> ImageFormat:
    """The format of a file by its first bytes; camera raw inside a TIFF is found later, from its tags.

    Args:
        data: the whole file, or at least its first 64 bytes.
        what: the file's name, for the errors.

    Raises:
        ImageReadError: empty, or not a picture in a format that is read here.
        ImageRefused: camera raw, a GIF or a video.
    """
    if not data:
        raise ImageReadError(what, "the file is empty", "Copy it again from its source.")
    if data.startswith(_RAW_HEADERS):
        raise raw_refusal(what)
    if data.startswith((b"GIF87a", b"GIF89a")):
        raise ImageRefused(
            what,
            "GIF pictures have a palette of 256 colours and often several frames",
            "Save a single frame as PNG, or an animation as a video for `dpenet video`.",
        )
    for magic, image_format in (
        (b"\xff\xd8\xff", ImageFormat.JPEG),
        (b"\x89PNG\r\n\x1a\n", ImageFormat.PNG),
        (b"II*\0", ImageFormat.TIFF),
        (b"MM\0*", ImageFormat.TIFF),
        (b"II+\0", ImageFormat.TIFF),  # BigTIFF
        (b"MM\0+", ImageFormat.TIFF),
        (b"BM", ImageFormat.BMP),
    ):
        if data.startswith(magic):
            return image_format
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ImageFormat.WEBP
    if data[4:8] == b"ftyp" and len(data) >= 16:
        return _boxed_format(data, what)
    raise ImageReadError(
        what,
        "its content is not a picture in a format that dpenet reads",
        "Give a JPEG, PNG, WebP, TIFF, BMP, AVIF or HEIC file.",
    )


def _boxed_format(data: bytes, what: str) -> ImageFormat:
    """AVIF or HEIC, told apart by the brands of the ``ftyp`` box (ISO/IEC 14496-12)."""
    size = min(int.from_bytes(data[:4], "big"), len(data), 1024)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, size, 4))]
    if brands[0] == b"crx ":
        raise raw_refusal(what)  # Canon CR3
    known = brands if brands[0] in _CONTAINER_BRANDS else brands[:1]
    if _AVIF_BRANDS.intersection(known):
        return ImageFormat.AVIF
    if _HEIC_BRANDS.intersection(known) or brands[0] in _CONTAINER_BRANDS:
        return ImageFormat.HEIC
    raise ImageRefused(what, "this is a video, or another file in its kind of container", "Give it to `dpenet video`.")
