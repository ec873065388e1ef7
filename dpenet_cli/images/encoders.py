"""Channels into the bytes of each format, as gently as the source was compressed."""

import dataclasses
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from dpenet_cli.errors import ImageWriteError
from dpenet_cli.images import exif, jpeg, png, png_16_bit, tiff_writer
from dpenet_cli.images.jpeg_tables import gentle_tables
from dpenet_cli.images.picture import Coding, Metadata, Samples
from dpenet_cli.options import ImageFormat


@dataclass(frozen=True)
class EncodeRequest:
    """What an encoder gets: channels (H×W×C) and metadata that its format holds, the source's coding, and a quality."""

    samples: Samples
    metadata: Metadata
    coding: Coding
    quality: int | None


def _image(samples: Samples) -> Image.Image:
    return Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else np.ascontiguousarray(samples))


_JPEG_FRESH = 95
_WEBP_FRESH = 95
_HEVC_AV1_FRESH = 90
"""Default qualities for pictures that come from another format."""


def _sampling(work: EncodeRequest) -> str:
    """The source's chroma subsampling; that of a given quality, and none at the default, where it had no JPEG's."""
    factors = work.coding.subsampled
    if factors and len(factors) == 3:
        known = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0"}
        plain = factors[1:] == ((1, 1), (1, 1))
        return known.get(factors[0], "4:4:4") if plain else "4:4:4"  # what Pillow cannot write loses nothing as 4:4:4
    return "4:4:4" if work.quality is None or work.quality >= 90 else "4:2:0"


def _encode_jpeg(work: EncodeRequest) -> bytes:
    settings: dict[str, Any] = {"optimize": True, "progressive": work.coding.progressive}
    grey = work.samples.shape[2] == 1
    if not grey:
        settings["subsampling"] = _sampling(work)
    tables = work.coding.jpeg_tables
    if work.quality is None and tables:
        settings["qtables"] = gentle_tables(tables)[: 1 if grey else 2]
    else:
        settings["quality"] = work.quality or _JPEG_FRESH
    if work.metadata.dpi:
        settings["dpi"] = tuple(min(round(value), 65535) for value in work.metadata.dpi)
    return jpeg.with_metadata(_saved(_image(work.samples), "JPEG", settings), work.metadata)


def _saved(image: Image.Image, name: str, settings: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **settings)
    return file.getvalue()


def _encode_png(work: EncodeRequest) -> bytes:
    of_16_bits = work.samples.dtype == np.uint16
    encoded = png_16_bit.encode(work.samples) if of_16_bits else _saved(_image(work.samples), "PNG", {})
    return png.with_metadata(encoded, work.metadata)


def _encode_tiff(work: EncodeRequest) -> bytes:
    extra = 0 if work.coding.plain_extra else 2
    return tiff_writer.encode(work.samples, work.metadata, compressed=work.coding.compressed, extra=extra)


def _encode_bmp(work: EncodeRequest) -> bytes:
    dpi = work.metadata.dpi
    return _saved(_image(work.samples), "BMP", {"dpi": dpi} if dpi else {})


def _kept(metadata: Metadata) -> dict[str, bytes]:
    """Metadata as the settings of Pillow and pillow-heif."""
    named = {"exif": metadata.exif, "icc_profile": metadata.icc, "xmp": metadata.xmp}
    return {name: value for name, value in named.items() if value}


def _encode_webp(work: EncodeRequest) -> bytes:
    settings: dict[str, Any] = {"exact": True, **_kept(work.metadata)}  # exact: keep colours under full transparency
    if work.quality is None and work.coding.lossless:
        settings["lossless"] = True
    else:
        settings["quality"] = work.quality or _WEBP_FRESH
    return _saved(_image(_as_rgb(work.samples)), "WEBP", settings)


def _as_rgb(samples: Samples) -> Samples:
    """Grey repeated as RGB, for encoders that know no grey (with alpha)."""
    return samples[..., [0, 0, 0, 1][: samples.shape[2] + 2]] if samples.shape[2] <= 2 else samples


def _encode_avif(work: EncodeRequest) -> bytes:
    metadata = work.metadata
    if metadata.exif:
        metadata = dataclasses.replace(metadata, exif=exif.without_orientation(metadata.exif))
    settings: dict[str, Any] = {"quality": work.quality or _HEVC_AV1_FRESH, **_kept(metadata)}
    grey = work.samples.shape[2] == 1
    if not grey:
        settings["subsampling"] = work.coding.chroma or ("4:2:0" if _sampling(work) == "4:2:0" else "4:4:4")
    return _saved(_image(work.samples if grey else _as_rgb(work.samples)), "AVIF", settings)


def _encode_heic(work: EncodeRequest) -> bytes:
    try:
        import pillow_heif
    except ImportError as error:
        raise ImageWriteError(
            "a HEIC picture", "pillow-heif, which writes it, is not installed", 'Run `pip install "dpenet[heic]"`.'
        ) from error
    image = _image(work.samples)
    file = pillow_heif.from_bytes(image.mode, image.size, image.tobytes())
    chroma = work.coding.chroma or "4:2:0"  # other chroma takes a profile that phones do not decode
    out = io.BytesIO()
    file.save(out, subsampling=chroma, quality=work.quality or _HEVC_AV1_FRESH, **_kept(work.metadata))
    return out.getvalue()


ENCODERS: dict[ImageFormat, Callable[[EncodeRequest], bytes]] = {
    ImageFormat.JPEG: _encode_jpeg,
    ImageFormat.PNG: _encode_png,
    ImageFormat.TIFF: _encode_tiff,
    ImageFormat.BMP: _encode_bmp,
    ImageFormat.WEBP: _encode_webp,
    ImageFormat.AVIF: _encode_avif,
    ImageFormat.HEIC: _encode_heic,
}
