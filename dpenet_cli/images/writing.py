"""A picture into the bytes of a file: as gently compressed as it came, with everything that the format can hold."""

import contextlib
import dataclasses
import struct

import numpy as np

from dpenet_cli.arrays import BAND, to_8_bits
from dpenet_cli.errors import DpenetError, ImageWriteError
from dpenet_cli.images import exif, format_limits, icc_profiles, jpeg, left_out, png, previews, tiff_left_out, tiff_tags
from dpenet_cli.images.encoders import ENCODERS, EncodeRequest
from dpenet_cli.images.format_limits import OPAQUE_ONLY
from dpenet_cli.images.ifd import DamagedError
from dpenet_cli.images.picture import DAMAGED_EXIF, Metadata, Picture, Samples
from dpenet_cli.images.pixels import PILLOW_RULES
from dpenet_cli.images.software import with_software
from dpenet_cli.images.writers import NAMES
from dpenet_cli.options import ImageFormat, SaveOptions

_SIXTEEN_BITS = {ImageFormat.PNG, ImageFormat.TIFF}

_HOLDS: dict[ImageFormat, frozenset[str]] = {
    ImageFormat.JPEG: frozenset({"exif", "icc", "xmp", "xmp_extension", "iptc", "dpi", "comments"}),
    ImageFormat.PNG: frozenset({"exif", "icc", "xmp", "iptc", "dpi", "comments", "png", "png_colour"}),
    ImageFormat.TIFF: frozenset({"exif", "icc", "xmp", "iptc", "dpi"}),
    ImageFormat.WEBP: frozenset({"exif", "icc", "xmp"}),
    ImageFormat.AVIF: frozenset({"exif", "icc", "xmp"}),
    ImageFormat.HEIC: frozenset({"exif", "icc", "xmp"}),
    ImageFormat.BMP: frozenset({"dpi"}),
}
"""What of `Metadata` each format has a place for."""

_LABELS = {
    "exif": "EXIF",
    "xmp": "XMP",
    "xmp_extension": "extended XMP",
    "iptc": "IPTC",
    "comments": "comments",
    "png": "PNG text",
    "png_colour": "PNG colour chunks",
    "dpi": "resolution",
}

_USUAL_RESOLUTIONS = {72, 96}  # what programs write who know none

_ENCODING_ERRORS = (OSError, ValueError, TypeError, OverflowError, RuntimeError, MemoryError, struct.error)


def encode(picture: Picture, image_format: ImageFormat, options: SaveOptions) -> tuple[bytes, tuple[str, ...]]:
    """Compress a picture.

    >>> import numpy as np
    >>> grey = Picture(np.full((2, 3, 3), 99, np.uint8), None, grey=True, format=ImageFormat.PNG)
    >>> data, notices = encode(grey, ImageFormat.TIFF, SaveOptions())
    >>> data[:2], notices
    (b'II', ())

    Args:
        picture: its pixels and everything else; nothing of it is changed.
        image_format: the result's format.
        options: quality, and whether metadata are left out.

    Returns:
        The file's bytes, and what its owner should know of this step.

    Raises:
        ImageWriteError: the format cannot hold the picture (transparency, size), or nothing here writes the format;
            `format_limits.check` tells that before anything is done for a picture.
    """
    format_limits.check(picture, image_format)
    notices: list[str] = []
    name = NAMES[image_format]
    samples, metadata = _prepared(picture, image_format, options, notices)
    metadata = _fitting(metadata, image_format, notices, long_exif=picture.coding.exif_in_parts)
    if options.tag is not None:
        metadata = _tagged(metadata, image_format, options.tag, notices)
    notices += previews.still_shown(metadata)
    try:
        with PILLOW_RULES:
            data = ENCODERS[image_format](EncodeRequest(samples, metadata, picture.coding, options.quality))
    except DpenetError:
        raise
    except _ENCODING_ERRORS as error:
        height, width = samples.shape[:2]
        raise ImageWriteError(
            f"the result of {width}×{height} pixels",
            f"cannot be written as {name} ({str(error) or type(error).__name__})",
            "Choose another format: PNG and TIFF hold every size.",
        ) from error
    return data, tuple(dict.fromkeys(notices))


def _prepared(
    picture: Picture, image_format: ImageFormat, options: SaveOptions, notices: list[str]
) -> tuple[Samples, Metadata]:
    """The channels that are written, H×W×C, in the depth and colours that the format and the options ask for."""
    name = NAMES[image_format]
    alpha = picture.alpha
    if alpha is not None and image_format in OPAQUE_ONLY:
        notices.append(f"{name} has no transparency; the picture had none in use")
        alpha = None
    samples: Samples = luma(picture.pixels)[..., None] if picture.grey else picture.pixels
    if picture.bits == 16 and image_format not in _SIXTEEN_BITS:
        notices.append(f"16 bits per channel became 8, for {name} holds no more")
        samples = to_8_bits(samples)
        alpha = None if alpha is None else to_8_bits(alpha)
    metadata = picture.metadata
    if options.strip_metadata:
        colours = () if metadata.icc else metadata.png_colour  # those describe the colours, like a profile
        metadata = Metadata(icc=metadata.icc, png_colour=colours)
    if metadata.icc and (options.strip_metadata or "icc" not in _HOLDS[image_format]):
        samples, metadata = _without_profile(samples, metadata, notices)
    if metadata.icc and not icc_profiles.fits(metadata.icc, grey=picture.grey and _keeps_grey(image_format, alpha)):
        samples, metadata = _without_profile(samples, metadata, notices)
    if alpha is not None:
        samples = np.concatenate([samples, alpha[..., None]], axis=2)
    return samples, metadata


def _keeps_grey(image_format: ImageFormat, alpha: Samples | None) -> bool:
    """Whether the encoder writes one grey channel, not RGB; for AVIF that hangs on Pillow's version."""
    return image_format not in (ImageFormat.WEBP, ImageFormat.AVIF) and (
        image_format is not ImageFormat.HEIC or alpha is None
    )


def _without_profile(samples: Samples, metadata: Metadata, notices: list[str]) -> tuple[Samples, Metadata]:
    """Colours in sRGB, and no profile any more; or both as they were where that would cost precision."""
    icc = metadata.icc or b""
    bare = dataclasses.replace(metadata, icc=None, png_colour=())
    try:
        if samples.shape[2] == 3 and icc_profiles.is_srgb(icc):
            return samples, bare
        if samples.dtype != np.uint8:
            notices.append("the colour profile stays: 16-bit colours mean something else without it")
            return samples, metadata
        converted = icc_profiles.converted(samples, icc)
    except icc_profiles.ProfileError:
        notices.append("the colour profile is damaged or does not fit, and is left out")
        return samples, bare
    notices.append("colours were converted to sRGB")
    return converted, bare


def _fitting(metadata: Metadata, image_format: ImageFormat, notices: list[str], *, long_exif: bool) -> Metadata:
    """What of the metadata the format holds; the rest in one notice."""
    if metadata.exif and not exif.is_sound(metadata.exif):
        notices.append(DAMAGED_EXIF)
        metadata = dataclasses.replace(metadata, exif=None)
    nowhere = list(metadata.left_out)
    if metadata.exif and image_format is ImageFormat.TIFF:
        nowhere += tiff_left_out.of_exif_in_tiff(metadata.exif, metadata)
    if nowhere:
        notices.append(left_out.as_notice(nowhere))
    metadata = dataclasses.replace(metadata, left_out=())
    lost = []
    empty = Metadata()
    for name in (field.name for field in dataclasses.fields(Metadata)):
        value = getattr(metadata, name)
        if not value or name in _HOLDS[image_format]:
            continue
        if not (
            (name == "png_colour" and not png.colour_matters(metadata))
            or (name == "dpi" and (_says_resolution(metadata) or set(map(round, value)) <= _USUAL_RESOLUTIONS))
        ):
            lost.append(_LABELS[name])
        metadata = dataclasses.replace(metadata, **{name: getattr(empty, name)})
    if image_format is ImageFormat.JPEG:
        metadata, too_long = jpeg.fitting(metadata, long_exif=long_exif)
        if too_long:
            notices.append(f"too long for a JPEG file and left out: {', '.join(too_long)}")
    if lost:
        notices.append(f"{NAMES[image_format]} has no place for {', '.join(lost)}: left out")
    return metadata


def _tagged(metadata: Metadata, image_format: ImageFormat, tag: str, notices: list[str]) -> Metadata:
    """The metadata with the name of a program in EXIF's Software; without it, and told, where there is no room."""
    if "exif" in _HOLDS[image_format]:
        with contextlib.suppress(DamagedError):
            tagged = dataclasses.replace(metadata, exif=with_software(metadata.exif, tag))
            if image_format is not ImageFormat.JPEG or not jpeg.fitting(tagged)[1]:
                return tagged
    notices.append("no tag was written: this file has no place for it")
    return metadata


def _says_resolution(metadata: Metadata) -> bool:
    """Whether the EXIF block has the same resolution."""
    if not metadata.exif or not metadata.dpi:
        return False
    header, first = exif.first_directory(metadata.exif)
    said = [first.get(tag) for tag in (tiff_tags.X_RESOLUTION, tiff_tags.Y_RESOLUTION)]
    values = [entry.rational(header.order) if entry else None for entry in said]
    per_inch = 2.54 if first.number(tiff_tags.RESOLUTION_UNIT, header.order, 2) == 3 else 1.0
    return [round((value or 0) * per_inch) for value in values] == [round(value) for value in metadata.dpi]


def luma(pixels: Samples) -> Samples:
    """Rounded luma by ITU-R BT.601 (0.299, 0.587, 0.114), H×W of the same dtype; equal channels give their value."""
    result = np.empty(pixels.shape[:2], pixels.dtype)
    for top in range(0, len(pixels), BAND):
        red, green, blue = (pixels[top : top + BAND, :, channel].astype(np.uint32) for channel in range(3))
        result[top : top + BAND] = (299 * red + 587 * green + 114 * blue + 500) // 1000
    return result
