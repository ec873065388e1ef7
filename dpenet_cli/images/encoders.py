"""Channels into the bytes of each format, as gently as the source was compressed."""

import dataclasses
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

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


def _sampling(request: EncodeRequest) -> str:
    """The source's chroma subsampling; that of a given quality, and none at the default, where it had no JPEG's."""
    factors = request.coding.subsampled
    if factors and len(factors) == 3:
        known = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0"}
        plain = factors[1:] == ((1, 1), (1, 1))
        return known.get(factors[0], "4:4:4") if plain else "4:4:4"  # what Pillow cannot write loses nothing as 4:4:4
    return "4:4:4" if request.quality is None or request.quality >= 90 else "4:2:0"


def _encode_jpeg(request: EncodeRequest) -> bytes:
    settings: dict[str, Any] = {"optimize": True, "progressive": request.coding.progressive}
    grey = request.samples.shape[2] == 1
    if not grey:
        settings["subsampling"] = _sampling(request)
    tables = request.coding.jpeg_tables
    if request.quality is None and tables:
        settings["qtables"] = gentle_tables(tables)[: 1 if grey else 2]
    else:
        settings["quality"] = request.quality or _JPEG_FRESH
    if request.metadata.dpi:
        settings["dpi"] = tuple(min(round(value), 65535) for value in request.metadata.dpi)
    return jpeg.with_metadata(_saved(_image(request.samples), "JPEG", settings), request.metadata)


def _saved(image: Image.Image, name: str, settings: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **settings)
    return file.getvalue()


def _encode_png(request: EncodeRequest) -> bytes:
    of_16_bits = request.samples.dtype == np.uint16
    encoded = png_16_bit.encode(request.samples) if of_16_bits else _saved(_image(request.samples), "PNG", {})
    return png.with_metadata(encoded, request.metadata)


def _encode_tiff(request: EncodeRequest) -> bytes:
    extra = 0 if request.coding.plain_extra else 2
    return tiff_writer.encode(request.samples, request.metadata, compressed=request.coding.compressed, extra=extra)


def _encode_bmp(request: EncodeRequest) -> bytes:
    dpi = request.metadata.dpi
    return _saved(_image(request.samples), "BMP", {"dpi": dpi} if dpi else {})


def _settings(metadata: Metadata) -> dict[str, bytes]:
    """Metadata as Pillow and pillow-heif take them."""
    named = {"exif": metadata.exif, "icc_profile": metadata.icc, "xmp": metadata.xmp}
    return {name: value for name, value in named.items() if value}


def _encode_webp(request: EncodeRequest) -> bytes:
    # Exact: colours under full transparency are kept.
    settings: dict[str, Any] = {"exact": True, **_settings(request.metadata)}
    if request.quality is None and request.coding.lossless:
        settings["lossless"] = True
    else:
        settings["quality"] = request.quality or _WEBP_FRESH
    return _saved(_image(_as_rgb(request.samples)), "WEBP", settings)


def _as_rgb(samples: Samples) -> Samples:
    """Grey repeated as RGB, for encoders that know no grey (with alpha)."""
    return samples[..., [0, 0, 0, 1][: samples.shape[2] + 2]] if samples.shape[2] <= 2 else samples


def _encode_avif(request: EncodeRequest) -> bytes:
    metadata = request.metadata
    if metadata.exif:
        metadata = dataclasses.replace(metadata, exif=exif.without_orientation(metadata.exif))
    settings: dict[str, Any] = {"quality": request.quality or _HEVC_AV1_FRESH, **_settings(metadata)}
    grey = request.samples.shape[2] == 1
    if not grey:
        settings["subsampling"] = request.coding.chroma or ("4:2:0" if _sampling(request) == "4:2:0" else "4:4:4")
    return _saved(_image(request.samples if grey else _as_rgb(request.samples)), "AVIF", settings)


def _encode_heic(request: EncodeRequest) -> bytes:
    import pillow_heif

    image = _image(request.samples)
    file = pillow_heif.from_bytes(image.mode, image.size, image.tobytes())
    chroma = request.coding.chroma or "4:2:0"  # other chroma takes a profile that phones do not decode
    out = io.BytesIO()
    file.save(out, subsampling=chroma, quality=request.quality or _HEVC_AV1_FRESH, **_settings(request.metadata))
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
