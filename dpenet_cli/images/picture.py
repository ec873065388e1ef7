"""A picture as a value: its pixels, and everything that is needed to save it as it came."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpenet_cli.arrays import Pixels
from dpenet_cli.options import ImageFormat

Samples = NDArray[Any]
"""H×W×C uint8 or uint16: 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha."""

Chunk = tuple[bytes, bytes]
"""A PNG chunk: its type of four letters and its data."""

DAMAGED_EXIF = "its EXIF is damaged and is left out"
"""The notice of a picture whose EXIF cannot be carried on."""


@dataclass(frozen=True)
class Metadata:
    r"""What a file says about its pixels, as bytes that are passed on and not interpreted.

    Attributes:
        exif: a TIFF structure (without ``Exif\0\0``), already patched for an upright picture without thumbnail.
        icc: the colour profile.
        xmp: the XMP packet.
        xmp_extension: payloads of the APP1 segments that continue the packet (JPEG only).
        iptc: an IPTC-IIM stream.
        dpi: resolution across and down, in pixels per inch.
        comments: comments of a JPEG file, without a declared encoding (mostly UTF-8).
        png: text chunks and unknown chunks that are safe to copy (PNG only).
        png_colour: gAMA, cHRM, sRGB, cICP and their like (PNG only).
        left_out: names of what the file said beside that, and no result holds.
    """

    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None
    xmp_extension: tuple[bytes, ...] = ()
    iptc: bytes | None = None
    dpi: tuple[float, float] | None = None
    comments: tuple[bytes, ...] = ()
    png: tuple[Chunk, ...] = ()
    png_colour: tuple[Chunk, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Coding:
    """How the source was compressed, so that the result can be compressed as gently.

    Attributes:
        jpeg_tables: quantisation tables of the three components (one for grey), 64 values each, row by row.
        subsampled: the sampling factors of the components ((horizontal, vertical), …) of a JPEG, or None.
        chroma: chroma sampling of a HEIC or AVIF file, such as ``4:2:0``.
        progressive: a progressive JPEG.
        exif_in_parts: a JPEG whose EXIF takes several segments.
        lossless: a WebP without loss.
        compressed: False for a TIFF whose samples lie there as they are.
        plain_extra: the fourth channel of a TIFF did not say that it is transparency.
        source_bits: bits per channel of an AVIF or HEIC file that has more than the 8 that are decoded, or None.
    """

    jpeg_tables: tuple[tuple[int, ...], ...] = ()
    subsampled: tuple[tuple[int, int], ...] | None = None
    chroma: str | None = None
    progressive: bool = False
    exif_in_parts: bool = False
    lossless: bool = False
    compressed: bool = True
    plain_extra: bool = False
    source_bits: int | None = None


@dataclass(frozen=True)
class Picture:
    """One picture, upright.

    Attributes:
        pixels: H×W×3 RGB, uint8 0..255 or uint16 0..65535, in the colours of ``metadata.icc`` (sRGB without one).
        alpha: H×W of the same dtype, 0 = transparent, not multiplied into the pixels; or None.
        grey: it came from a grey file: the three channels are equal, and it is saved as grey.
        format: the format of the file's content, whatever its name.
        metadata: what travels with the pixels.
        coding: how the file was compressed.
        notices: what its owner should know, in sentences without a full stop.
    """

    pixels: Pixels
    alpha: Pixels | None
    grey: bool
    format: ImageFormat
    metadata: Metadata = field(default_factory=Metadata)
    coding: Coding = field(default_factory=Coding)
    notices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3 or self.pixels.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"pixels are H×W×3 uint8 or uint16, not {self.pixels.shape} {self.pixels.dtype}")
        if self.alpha is not None and (
            self.alpha.shape != self.pixels.shape[:2] or self.alpha.dtype != self.pixels.dtype
        ):
            raise ValueError(f"alpha {self.alpha.shape} {self.alpha.dtype} does not fit the pixels")

    @property
    def bits(self) -> int:
        """Bits per channel: 8 or 16."""
        return self.pixels.dtype.itemsize * 8


def with_pixels(picture: Picture, pixels: Pixels) -> Picture:
    """The same picture with other pixels.

    Args:
        picture: where everything else comes from.
        pixels: H×W×3 of the same size and dtype.

    Raises:
        ValueError: another size or dtype.
    """
    if pixels.shape != picture.pixels.shape or pixels.dtype != picture.pixels.dtype:
        raise ValueError(
            f"the new pixels are {pixels.shape} {pixels.dtype}, "
            f"the picture is {picture.pixels.shape} {picture.pixels.dtype}"
        )
    return dataclasses.replace(picture, pixels=pixels)
