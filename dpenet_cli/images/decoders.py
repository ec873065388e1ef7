"""The bytes of each format into a picture: may it be decoded, its pixels turned upright, its metadata patched."""

import dataclasses
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from dpenet_cli.errors import ImageReadError, ImageRefused
from dpenet_cli.images import (
    boxes,
    exif,
    jpeg,
    left_out,
    png,
    png_16_bit,
    previews,
    tiff_left_out,
    tiff_reader,
    tiff_samples,
    webp_avif,
)
from dpenet_cli.images.ifd import DamagedError
from dpenet_cli.images.limits import DEFLATE_RATIO, check_room, check_same, check_size
from dpenet_cli.images.picture import DAMAGED_EXIF, Coding, Metadata, Picture, Samples
from dpenet_cli.images.pixels import COPY_AGAIN, decode, unmultiplied, upright
from dpenet_cli.options import ImageFormat
from dpenet_cli.system.packages import pip_install


def _finish(
    samples: Samples,
    image_format: ImageFormat,
    metadata: Metadata,
    *,
    orientation: int = 1,
    coding: Coding | None = None,
    notices: list[str],
) -> Picture:
    """Turn the samples, patch what the metadata say of their direction and size, and part colours from alpha.

    Args:
        samples: H×W×C as decoded; C is 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.
        image_format: the file's format.
        metadata: as the file has them.
        orientation: 1..8, how the picture has to be turned (EXIF).
        coding: how the file was compressed.
        notices: what its owner should know already.
    """
    samples = upright(samples, orientation)
    height, width, channels = samples.shape
    if metadata.exif:
        try:
            metadata = dataclasses.replace(metadata, exif=exif.upright(metadata.exif, width, height))
        except DamagedError:
            notices = [*notices, DAMAGED_EXIF]
            metadata = dataclasses.replace(metadata, exif=None)
    if metadata.xmp and orientation != 1:
        metadata = dataclasses.replace(metadata, xmp=exif.upright_xmp(metadata.xmp))
    bare = previews.xmp_without_thumbnails(metadata.xmp or b"")
    if bare != (metadata.xmp or b""):
        metadata = dataclasses.replace(metadata, xmp=bare, left_out=(*metadata.left_out, previews.THUMBNAIL))
    if metadata.dpi and orientation >= 5:
        metadata = dataclasses.replace(metadata, dpi=metadata.dpi[::-1])
    alpha = np.ascontiguousarray(samples[..., -1]) if channels in (2, 4) else None
    if channels <= 2:
        pixels = np.repeat(samples[..., :1], 3, axis=2)
    else:
        pixels = samples if channels == 3 else np.ascontiguousarray(samples[..., :3])
    return Picture(
        pixels, alpha, channels <= 2, image_format, metadata, coding or Coding(), tuple(dict.fromkeys(notices))
    )


def _decode_jpeg(data: bytes, what: str, max_pixels: int) -> Picture:
    with jpeg.open_header(data, what) as image:
        header = jpeg.parse(image, data, what)
        check_room(image.size, image.width * image.height, header.most_pixels, data, what)
        check_size(*image.size, max_pixels, what)  # by the decoder's own account; two accounts were refused
        cmyk = image.mode == "CMYK"
        metadata = dataclasses.replace(header.metadata, left_out=tuple(left_out.of_jpeg(image, header, data)))
        samples, notices = decode(image, metadata.icc, what)
    orientation = (exif.orientation(metadata.exif) if metadata.exif else None) or 1
    notices += header.losses
    if header.extras:
        notices.append("only the main picture is kept, not the previews, gain map, other frames or video in its file")
        if metadata.xmp:
            metadata = dataclasses.replace(metadata, xmp=exif.xmp_without_extras(metadata.xmp))
    if header.signed:
        notices.append("its content credentials (C2PA) are left out: they vouch for the unchanged picture")
    coding = Coding(progressive=header.progressive, exif_in_parts=header.exif_in_parts)
    if cmyk:  # it comes out as sRGB, so that neither its profile nor its tables mean anything any more
        metadata = dataclasses.replace(metadata, icc=None)
    else:
        tables, factors = header.tables, header.factors
        if orientation >= 5:  # rows become columns, in a table's frequencies and in the sampling, too
            factors = tuple((down, across) for across, down in factors)
            tables = tuple(tuple(np.reshape(table, (8, 8)).T.ravel().tolist()) if table else () for table in tables)
        coding = dataclasses.replace(coding, jpeg_tables=tuple(filter(None, tables)), subsampled=factors)
    return _finish(samples, ImageFormat.JPEG, metadata, orientation=orientation, coding=coding, notices=notices)


def _decode_png(data: bytes, what: str, max_pixels: int) -> Picture:
    header = png.parse(data, what)
    needed = header.height * -(-header.width * header.bits * png.CHANNELS.get(header.colour, 1) // 8)
    check_room((header.width, header.height), needed, DEFLATE_RATIO * header.packed, data, what)
    check_size(header.width, header.height, max_pixels, what)
    if header.frames > 1:
        raise _animated(what, header.frames)
    if not header.complete:
        raise ImageReadError(what, "its pixels are cut off or damaged", COPY_AGAIN)
    notices = png.damage(header)
    if header.bits == 16:
        samples = png_16_bit.decode(data, header, what)
    else:
        with PngImageFile(io.BytesIO(png.pixels_alone(data, header))) as image:
            check_same(image.size, header.width, header.height, what)
            samples, more = decode(image, header.metadata.icc, what)
            notices += more
    orientation = (exif.orientation(header.metadata.exif) if header.metadata.exif else None) or 1
    metadata = dataclasses.replace(header.metadata, left_out=tuple(left_out.of_png(data, header)))
    return _finish(samples, ImageFormat.PNG, metadata, orientation=orientation, notices=notices)


_LARGE_TILE = 1 << 22
"""Pixels of a tile that a picture of any size may have: decoders unfold each as a whole."""


def _decode_tiff(data: bytes, what: str, max_pixels: int) -> Picture:
    page = tiff_reader.parse(data, what)
    check_size(page.width, page.height, max_pixels, what)
    if page.tile[0] * page.tile[1] > max(max_pixels, _LARGE_TILE):
        raise ImageReadError(what, f"its tiles are said to be {page.tile[0]}×{page.tile[1]} pixels", COPY_AGAIN)
    metadata = dataclasses.replace(page.metadata, left_out=tuple(tiff_left_out.of_tiff(data, page)))
    coding = Coding(compressed=page.compressed)
    notices = ["its small copies or masks on further pages are left out"] if page.reduced_pages else []
    if page.bits == 16:
        samples = tiff_samples.decode_16_bit(data, page, what)
        if page.extra[:1] == (1,):
            samples = unmultiplied(samples)
    else:
        with TiffImageFile(io.BytesIO(tiff_samples.decodable(data, page))) as image:
            check_same(image.size, page.width, page.height, what)
            if image.mode == "CMYK":
                metadata = dataclasses.replace(metadata, icc=None)
            samples, more = decode(image, page.metadata.icc, what)
            notices += more
    if samples.shape[2] in (2, 4) and page.extra[:1] not in ((1,), (2,)):
        coding = dataclasses.replace(coding, plain_extra=True)
        notices.append("its fourth channel does not say what it is, and is taken as transparency")
    if page.extra[:1] == (1,):
        notices.append("colours that were stored multiplied by their transparency were divided by it")
    return _finish(samples, ImageFormat.TIFF, metadata, orientation=page.orientation, coding=coding, notices=notices)


_WIDE_BMP_HEADER = 16
"""Bytes of the oldest BMP header whose size takes 32 bits and not 16: its bits per pixel stand behind that."""


def _decode_bmp(data: bytes, what: str, max_pixels: int) -> Picture:
    with BmpImageFile(io.BytesIO(data)) as image:
        for tile in image.tile:
            if tile.codec_name == "raw" and isinstance(tile.args, tuple):  # rows as they are, of as many bytes each
                bits = int.from_bytes(data[28:30] if data[14] >= _WIDE_BMP_HEADER else data[24:26], "little")
                needed = tile.offset + tile.args[1] * (image.height - 1) + -(-image.width * bits // 8)
                check_room(image.size, needed, len(data), data, what)
        check_size(*image.size, max_pixels, what)
        dpi = image.info.get("dpi")
        samples, notices = decode(image, None, what)
    metadata = Metadata(
        dpi=(float(dpi[0]), float(dpi[1])) if dpi and min(dpi) > 0 else None, left_out=tuple(left_out.of_bmp(data))
    )
    return _finish(samples, ImageFormat.BMP, metadata, notices=notices)


def _decode_webp(data: bytes, what: str, max_pixels: int) -> Picture:
    header = webp_avif.parse_webp(data, what)
    check_size(header.width, header.height, max_pixels, what)
    with WebPImageFile(io.BytesIO(data)) as image:
        check_same(image.size, header.width, header.height, what)
        if header.animated or getattr(image, "n_frames", 1) > 1:
            raise _animated(what, getattr(image, "n_frames", 1))
        metadata = _pillow_metadata(image)
        metadata = dataclasses.replace(metadata, left_out=tuple(left_out.of_webp(data, metadata)))
        samples, notices = decode(image, metadata.icc, what)
    orientation = (exif.orientation(metadata.exif) if metadata.exif else None) or 1
    coding = Coding(lossless=header.lossless)
    return _finish(samples, ImageFormat.WEBP, metadata, orientation=orientation, coding=coding, notices=notices)


def _pillow_metadata(image: Image.Image) -> Metadata:
    block = image.info.get("exif")
    return Metadata(
        exif=block.removeprefix(b"Exif\0\0") if block else None,
        icc=image.info.get("icc_profile") or None,
        xmp=image.info.get("xmp") or None,
    )


def _animated(what: str, frames: int) -> ImageRefused:
    return ImageRefused(
        what,
        f"it is an animation of {frames} frames" if frames > 1 else "it is an animation",
        "Save a single frame as PNG, or the animation as a video for `dpenet video`.",
    )


def _decode_avif(data: bytes, what: str, max_pixels: int) -> Picture:
    header = webp_avif.parse_avif(data)
    with AvifImageFile(io.BytesIO(data)) as image:
        check_size(*image.size, max_pixels, what)
        if getattr(image, "n_frames", 1) > 1:
            raise _animated(what, getattr(image, "n_frames", 1))
        if header.sequence:
            raise _animated(what, 1)
        check_size(*header.largest, max_pixels, what)
        metadata = _pillow_metadata(image)
        notices = webp_avif.colour_notices(header.primaries, header.transfer, metadata.icc, what)
        metadata = _with_boxes(data, metadata, notices, cropped=False)
        samples, more = decode(image, metadata.icc, what)
    if header.grey and samples.shape[2] >= 3:
        samples = samples[..., [0, 3] if samples.shape[2] == 4 else [0]]
    if header.bits > 8:
        notices.append(f"{header.bits} bits per channel became 8")
    orientation = (exif.orientation(metadata.exif) if metadata.exif else None) or 1
    coding = Coding(chroma=header.chroma, source_bits=header.bits if header.bits > 8 else None)
    return _finish(samples, ImageFormat.AVIF, metadata, orientation=orientation, coding=coding, notices=notices + more)


_MAIN_ALONE = "only the main picture is kept, not the gain map, depth map or other pictures in its file"


def _with_boxes(data: bytes, metadata: Metadata, notices: list[str], *, cropped: bool) -> Metadata:
    """The metadata with the names of what is left out of an AVIF or HEIC file; of other pictures in it, a notice."""
    names = boxes.of_boxes(data, metadata, cropped=cropped)
    if boxes.OTHERS in names:
        notices.append(_MAIN_ALONE)
    return dataclasses.replace(metadata, left_out=tuple(name for name in names if name != boxes.OTHERS))


def _decode_heic(data: bytes, what: str, max_pixels: int) -> Picture:
    try:
        import pillow_heif
    except ImportError as error:
        raise ImageRefused(
            what, "HEIC pictures need pillow-heif, which is not installed", f"Run: {pip_install('heic')}"
        ) from error
    file = pillow_heif.open_heif(data, convert_hdr_to_8bit=True)
    main = file[file.primary_index]
    width, height = main.size
    check_size(width, height, max_pixels, what)
    info: dict[str, Any] = main.info
    metadata = Metadata(
        exif=info["exif"].removeprefix(b"Exif\0\0") if info.get("exif") else None,
        icc=info.get("icc_profile") or None,
        xmp=exif.upright_xmp(info["xmp"]) if info.get("xmp") else None,
    )
    nclx: dict[str, Any] = info.get("nclx_profile") or {}
    notices = webp_avif.colour_notices(
        int(nclx.get("color_primaries", 2)), int(nclx.get("transfer_characteristics", 2)), metadata.icc, what
    )
    metadata = _with_boxes(data, metadata, notices, cropped=True)
    if len(file) > 1 or info.get("depth_images") or info.get("aux"):
        notices.append(_MAIN_ALONE)
    if info["bit_depth"] > 8:
        notices.append(f"{info['bit_depth']} bits per channel became 8")
    samples, more = _heic_samples(main, metadata.icc, what)
    # libheif has turned the pixels by the container's own orientation; the one in EXIF only repeats it.
    chroma = {422: "4:2:2", 444: "4:4:4"}.get(info.get("chroma", 420), "4:2:0")
    coding = Coding(chroma=chroma, source_bits=info["bit_depth"] if info["bit_depth"] > 8 else None)
    return _finish(samples, ImageFormat.HEIC, metadata, coding=coding, notices=notices + more)


def _heic_samples(main: Any, icc: bytes | None, what: str) -> tuple[Samples, list[str]]:
    """The samples of pillow-heif's picture, 8 bits each, with its notices; grey stays grey."""
    if main.mode == "I;16":  # grey alone is not made 8 bits: its 10 or 12 stand in the upper ones of 16
        bits = main.info["bit_depth"]
        rows = np.frombuffer(main.data, "<u2").reshape(main.size[1], -1)[:, : main.size[0]]  # without the stride's rest
        most = (1 << bits) - 1
        return (((rows >> (16 - bits)).astype(np.uint32) * 255 + most // 2) // most).astype(np.uint8)[..., None], []
    image = Image.frombytes(main.mode, main.size, bytes(main.data), "raw", main.mode, main.stride)
    samples, notices = decode(image, icc, what)
    # Grey with alpha comes as RGBA. It says nothing of chroma then, which a picture in colour does.
    if main.mode == "RGBA" and not main.info.get("chroma") and (samples[..., 1:3] == samples[..., :1]).all():
        samples = samples[..., [0, 3]]
    return samples, notices


DECODERS: dict[ImageFormat, Callable[[bytes, str, int], Picture]] = {
    ImageFormat.JPEG: _decode_jpeg,
    ImageFormat.PNG: _decode_png,
    ImageFormat.WEBP: _decode_webp,
    ImageFormat.TIFF: _decode_tiff,
    ImageFormat.BMP: _decode_bmp,
    ImageFormat.AVIF: _decode_avif,
    ImageFormat.HEIC: _decode_heic,
}
"""Each takes the file's bytes, its name for the errors, and the most pixels that it may have."""
