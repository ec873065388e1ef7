"""Pixels in every depth and arrangement, checked by tifffile, Pillow and OpenCV."""

import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pictures
import pytest
import tifffile
from image_checks import AVIF, BMP, HEIC, JPEG, PLAIN, PNG, TIFF, WEBP, again, pil
from pictures import camera_jpeg, chunk, deep_png, photo, saved, tiff, with_chunks
from PIL import Image

from dpenet_cli.arrays import to_8_bits
from dpenet_cli.errors import ImageRefused, ImageWriteError
from dpenet_cli.images.picture import Picture, with_pixels
from dpenet_cli.images.reading import read
from dpenet_cli.images.writing import encode, luma
from dpenet_cli.options import ImageFormat


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("image_format", [PNG, TIFF])
def test_sixteen_bits_stay(channels: int, image_format: ImageFormat) -> None:
    samples = photo(deep=True, channels=channels)
    picture = read(deep_png(samples))
    assert picture.bits == 16
    assert picture.grey == (channels <= 2)
    np.testing.assert_array_equal(picture.pixels, samples[..., :3] if channels > 2 else samples[..., [0, 0, 0]])
    data, back = again(picture, image_format)
    np.testing.assert_array_equal(back.pixels, picture.pixels)
    if channels in (2, 4):
        np.testing.assert_array_equal(back.alpha, samples[..., -1])
    if image_format is TIFF:
        np.testing.assert_array_equal(tifffile.imread(io.BytesIO(data)), samples.squeeze())
    elif channels != 2:
        theirs = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        ours = samples.squeeze() if channels == 1 else samples[..., [2, 1, 0, 3][:channels]]
        np.testing.assert_array_equal(theirs, ours)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"byteorder": ">"},
        {"compression": "zlib", "predictor": True},
        {"compression": "zlib"},
        {"tile": (32, 32)},
        {"tile": (32, 32), "compression": "zlib", "predictor": True, "byteorder": ">"},
        {"rowsperstrip": 5},
        {"bigtiff": True},
        {"planarconfig": "separate"},
        {"planarconfig": "separate", "compression": "zlib", "predictor": True},
    ],
)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("deep", [True, False])
def test_tiff_in_many_arrangements(how: dict[str, object], channels: int, deep: bool) -> None:
    samples = photo(deep=deep, channels=channels)
    how = {"planarconfig": "contig", **how, "photometric": "rgb" if channels > 2 else "minisblack"}
    if channels in (2, 4):
        how["extrasamples"] = ["unassalpha"]
    if channels == 1:
        how.pop("planarconfig")
    stored = np.moveaxis(samples, -1, 0) if how.get("planarconfig") == "separate" else samples
    if not deep and channels == 2 and how.get("planarconfig") == "separate":
        pytest.skip("Pillow has no such arrangement")
    picture = read(tiff(stored.squeeze() if channels == 1 else stored, **how))
    np.testing.assert_array_equal(picture.pixels, samples[..., :3] if channels > 2 else samples[..., [0, 0, 0]])
    if channels in (2, 4):
        np.testing.assert_array_equal(picture.alpha, samples[..., -1])
    _, back = again(picture, TIFF)
    np.testing.assert_array_equal(back.pixels, picture.pixels)
    assert back.coding.compressed == ("compression" in how)


def test_tiff_lzw_and_white_is_zero() -> None:
    samples = photo(deep=True)
    ok, data = cv2.imencode(".tif", samples[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    assert ok
    np.testing.assert_array_equal(read(data.tobytes()).pixels, samples)
    for deep in (True, False):
        grey = photo(deep=deep, channels=1)[..., 0]
        picture = read(tiff(np.iinfo(grey.dtype).max - grey, photometric="miniswhite"))
        np.testing.assert_array_equal(picture.pixels[..., 0], grey)


def test_premultiplied_alpha_is_divided_out() -> None:
    colours, alpha = photo(deep=True).astype(float), photo(deep=True, channels=1).astype(float)
    alpha = np.maximum(alpha, 20000)
    stored = np.concatenate([np.round(colours * alpha / 65535), alpha], axis=2).astype(np.uint16)
    picture = read(tiff(stored, photometric="rgb", extrasamples=["assocalpha"]))
    assert np.abs(picture.pixels - colours).max() <= 2
    assert any("multiplied" in notice for notice in picture.notices)


@pytest.mark.parametrize("image_format", [PNG, TIFF, WEBP])
def test_transparency_and_the_colours_under_it_stay(image_format: ImageFormat) -> None:
    samples = photo(channels=4)
    samples[:20, :, 3] = 0
    picture = read(saved(samples, "WEBP", lossless=True, exact=True))
    assert picture.coding.lossless
    _, back = again(picture, image_format)
    np.testing.assert_array_equal(back.pixels, samples[..., :3])
    np.testing.assert_array_equal(back.alpha, samples[..., 3])


@pytest.mark.parametrize("image_format", [JPEG, BMP])
def test_transparency_has_no_place_in_jpeg_and_bmp(image_format: ImageFormat) -> None:
    with pytest.raises(ImageWriteError, match="png, webp or tiff"):
        encode(read(saved(photo(channels=4), "PNG")), image_format, PLAIN)
    opaque = photo(channels=4)
    opaque[..., 3] = 255
    _, notices = encode(read(saved(opaque, "PNG")), image_format, PLAIN)
    assert any("transparency" in notice for notice in notices)


def test_sixteen_bits_are_rounded_for_eight_bit_formats() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    np.testing.assert_array_equal(to_8_bits(values), np.rint(values / 257))
    data, notices = encode(read(deep_png(photo(deep=True))), BMP, PLAIN)
    assert np.abs(np.asarray(pil(data)) * 257.0 - photo(deep=True)).max() <= 128.5
    assert any("16 bits" in notice for notice in notices)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_luma_of_grey_is_the_value(dtype: type) -> None:
    values = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(-1, 256, 1)
    np.testing.assert_array_equal(luma(np.repeat(values, 3, axis=2)), values[..., 0])
    colours = photo()
    expected = np.rint(colours @ np.array([0.299, 0.587, 0.114]))
    assert np.abs(luma(colours).astype(float) - expected).max() <= 1


@pytest.mark.parametrize("image_format", [JPEG, PNG, TIFF, BMP, AVIF, HEIC])
def test_grey_stays_grey(image_format: ImageFormat) -> None:
    if image_format is HEIC:
        pytest.importorskip("pillow_heif")
    picture = read(saved(photo(channels=1)[..., 0], "PNG"))
    assert picture.grey
    data, back = again(picture, image_format)
    assert back.grey
    if image_format in (PNG, TIFF, BMP):
        np.testing.assert_array_equal(back.pixels, picture.pixels)
        assert pil(data).mode == "L"


def test_two_colours_and_palettes() -> None:
    image = Image.fromarray(photo(channels=1)[..., 0])
    picture = read(saved(image.convert("1"), "PNG"))
    assert picture.grey
    assert set(np.unique(picture.pixels)) == {0, 255}
    assert "grey" in picture.notices[0]
    colours = Image.fromarray(photo()).quantize(40)
    picture = read(saved(colours, "PNG"))
    np.testing.assert_array_equal(picture.pixels, np.asarray(colours.convert("RGB")))
    assert "palette" in picture.notices[0]
    picture = read(saved(colours, "PNG", transparency=bytes(range(0, 240, 6))))
    np.testing.assert_array_equal(picture.alpha, np.arange(0, 240, 6)[np.asarray(colours)])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("deep", [True, False])
def test_a_transparent_colour_becomes_alpha(channels: int, deep: bool) -> None:
    samples = photo(deep=deep, channels=channels)
    key = struct.pack(f">{channels}H", *map(int, samples[5, 7]))
    plain = deep_png(samples) if deep else saved(samples.squeeze(), "PNG")
    picture = read(with_chunks(plain, chunk(b"tRNS", key)))
    expected = np.where((samples == samples[5, 7]).all(axis=2), 0, 65535 if deep else 255)
    np.testing.assert_array_equal(picture.alpha, expected)
    np.testing.assert_array_equal(picture.pixels[..., :channels], samples)


def test_cmyk_needs_its_profile() -> None:
    inks = Image.merge(
        "CMYK", [Image.fromarray(np.ascontiguousarray(p)) for p in np.moveaxis(photo(channels=4), -1, 0)]
    )
    for name in ("JPEG", "TIFF"):
        with pytest.raises(ImageRefused, match="CMYK"):
            read(saved(inks, name))
        picture = read(
            saved(inks, name, icc_profile=pictures.cmyk_profile(), **({"quality": 98} if name == "JPEG" else {}))
        )
        assert picture.metadata.icc is None
        assert any("CMYK" in notice for notice in picture.notices)
    white = Image.new("CMYK", (16, 16), (0, 0, 0, 0))
    for name in ("JPEG", "TIFF"):
        assert read(saved(white, name, icc_profile=pictures.cmyk_profile())).pixels.min() > 245
    cyan = read(saved(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "TIFF", icc_profile=pictures.cmyk_profile()))
    assert np.abs(cyan.pixels[0, 0].astype(int) - (0, 255, 255)).max() < 20


def test_with_pixels_keeps_the_rest() -> None:
    picture = read(camera_jpeg())
    other = with_pixels(picture, 255 - picture.pixels)
    assert other.metadata is picture.metadata
    with pytest.raises(ValueError, match="new pixels"):
        with_pixels(picture, picture.pixels[1:])


def test_too_large_for_a_format() -> None:
    strip = Picture(np.zeros((2, 17000, 3), np.uint8), None, False, PNG)
    with pytest.raises(ImageWriteError, match="WebP"):
        encode(strip, WEBP, PLAIN)


def test_real_photographs(data: Path) -> None:
    for path in sorted((data / "eval" / "real").glob("*.*"))[:5]:
        picture = read(path)
        np.testing.assert_array_equal(picture.pixels, np.asarray(Image.open(path).convert("RGB")))
        _, back = again(picture, picture.format)
        assert 10 * np.log10(255**2 / max(np.square(back.pixels - picture.pixels.astype(float)).mean(), 1e-9)) > 38
