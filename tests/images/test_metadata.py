"""Direction, EXIF, XMP, IPTC and colour profiles, checked by exiftool and Pillow."""

import io
import struct
import warnings
from pathlib import Path

import numpy as np
import pictures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_checks import AVIF, HEIC, JPEG, PLAIN, PNG, TIFF, WEBP, again, exiftool, needs_exiftool, pil
from pictures import camera_jpeg, chunk, deep_png, photo, saved, tiff, with_chunks
from PIL import Image, ImageOps

from dpenet_cli.images import exif
from dpenet_cli.images.compare import side_by_side
from dpenet_cli.images.ifd import DamagedError
from dpenet_cli.images.picture import Metadata, Picture
from dpenet_cli.images.reading import read
from dpenet_cli.images.writing import encode
from dpenet_cli.options import ImageFormat, SaveOptions


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_orientation_comes_out_upright(orientation: int, order: str) -> None:
    pixels = photo()
    block = pictures.exif_block(orientation, order)
    expected = np.asarray(ImageOps.exif_transpose(pil(saved(pixels, "PNG", exif=block))))
    sources = [saved(pixels, "PNG", exif=block), saved(pixels, "WEBP", lossless=True, exif=block)]
    sources.append(tiff(pixels, photometric="rgb", extratags=[(274, "H", 1, orientation, True)], byteorder=order))
    for source in sources:
        np.testing.assert_array_equal(read(source).pixels, expected)
    deep = photo(deep=True)
    turned = np.asarray(expected).shape
    for source in (
        deep_png(deep, chunk(b"eXIf", block)),
        tiff(deep, photometric="rgb", extratags=[(274, "H", 1, orientation, True)], byteorder=order),
    ):
        assert read(source).pixels.shape == turned
    picture = read(camera_jpeg(orientation, order))
    assert picture.pixels.shape == turned
    data, _ = encode(picture, JPEG, PLAIN)
    result = pil(data)
    tags = result.getexif()
    assert tags[0x0112] == 1
    assert (tags.get_ifd(0x8769)[0xA002], tags.get_ifd(0x8769)[0xA003]) == result.size
    assert b'tiff:Orientation="1"' in result.info["xmp"]
    assert b"THUMBNAIL" not in data


@needs_exiftool
@pytest.mark.parametrize("image_format", [JPEG, PNG, TIFF, WEBP, AVIF, HEIC])
def test_what_a_camera_wrote_is_still_there(image_format: ImageFormat, tmp_path: Path) -> None:
    if image_format is HEIC:
        pytest.importorskip("pillow_heif")
    data, notices = encode(read(camera_jpeg(6)), image_format, PLAIN)
    tags = exiftool(data, tmp_path, image_format.value)
    assert tags["IFD0:Artist"] == "Jürgen Müller"
    assert tags["ExifIFD:DateTimeOriginal"] == "2024:05:06 07:08:09"
    assert tags["GPS:GPSLatitude"] == pytest.approx(47.0 + 30 / 60 + 12.34 / 3600)
    assert tags.get("IFD0:Orientation", 1) == 1
    assert tags["XMP-dc:Source"] == "the archive"
    assert tags["XMP-tiff:Orientation"] == 1
    assert tags["ICC_Profile:ProfileDescription"] == "wide"
    assert tags.get("ExifTool:Warning", "[minor]").startswith("[minor]")  # it does not know our made-up maker note
    assert not [name for name in tags if "IFD1" in name]
    assert pictures.MAKER_NOTE in data or image_format is PNG
    if image_format in (JPEG, PNG, TIFF):
        assert tags["IPTC:Caption-Abstract"] == "rain in town."
        assert not any("IPTC" in notice for notice in notices)
    else:
        assert any("IPTC" in notice for notice in notices)
    if image_format in (JPEG, TIFF):
        assert 300 in (tags.get("JFIF:XResolution"), tags.get("IFD0:XResolution"))
    if image_format in (JPEG, PNG):
        assert "a wet street" in tags.values()
    back = read(data)
    assert back.metadata.icc == pictures.wide_profile()


@needs_exiftool
@pytest.mark.parametrize("source", [TIFF, PNG])
@pytest.mark.parametrize("target", [JPEG, TIFF, PNG])
def test_metadata_survive_two_conversions_at_sixteen_bits(
    source: ImageFormat, target: ImageFormat, tmp_path: Path
) -> None:
    start = read(camera_jpeg(3))
    deep = Picture(photo(deep=True), None, False, PNG, start.metadata)
    _, picture = again(deep, source)
    tags = exiftool(encode(picture, target, PLAIN)[0], tmp_path, target.value)
    assert tags["IFD0:Artist"] == "Jürgen Müller"
    assert tags["GPS:GPSLatitudeRef"] == "N"
    assert tags["ExifIFD:DateTimeOriginal"] == "2024:05:06 07:08:09"
    assert tags["IPTC:Caption-Abstract"] == "rain in town."
    assert tags["XMP-dc:Source"] == "the archive"
    assert tags["ICC_Profile:ProfileDescription"] == "wide"


def test_strip_leaves_nothing_and_keeps_colours() -> None:
    picture = read(camera_jpeg(1, quality=98))
    data, notices = encode(picture, PNG, SaveOptions(strip_metadata=True))
    for trace in (b"Raincam", b"archive", b"rain in town", b"eXIf", b"iCCP", b"pHYs", b"street"):
        assert trace not in data
    assert any("sRGB" in notice for notice in notices)
    import PIL.ImageCms as Cms

    source = Cms.ImageCmsProfile(io.BytesIO(pictures.wide_profile()))
    expected = Cms.profileToProfile(Image.fromarray(picture.pixels), source, Cms.createProfile("sRGB"), 1)
    assert np.abs(np.asarray(pil(data)).astype(int) - np.asarray(expected)).max() <= 2
    plain = read(saved(photo(), "PNG", icc_profile=pictures.srgb_profile()))
    data, notices = encode(plain, PNG, SaveOptions(strip_metadata=True))
    np.testing.assert_array_equal(np.asarray(pil(data)), photo())
    assert b"iCCP" not in data
    assert notices == ()
    deep = Picture(photo(deep=True), None, False, PNG, picture.metadata)
    data, notices = encode(deep, PNG, SaveOptions(strip_metadata=True))
    assert b"iCCP" in data
    assert any("profile stays" in notice for notice in notices)


def test_png_text_and_colour_chunks_travel_between_pngs() -> None:
    gamma, text = chunk(b"gAMA", struct.pack(">L", 100000)), chunk(b"tEXt", b"Title\0Rain")
    hexed = b"\nexif\n%8d\n%s\n" % (len(b := pictures.exif_block(6)), b.hex().encode())
    source = with_chunks(saved(photo(), "PNG"), gamma, text, chunk(b"tEXt", b"Raw profile type exif\0" + hexed))
    picture = read(source)
    assert picture.pixels.shape == (64, 48, 3)
    data, notices = encode(picture, PNG, PLAIN)
    assert notices == ()
    assert gamma in data
    assert text in data
    assert b"Raw profile type exif" not in data
    assert pil(data).getexif()[0x0112] == 1
    _, notices = encode(picture, JPEG, PLAIN)
    assert any("PNG text" in notice and "colour" in notice for notice in notices)


def test_damaged_exif_is_dropped_with_a_notice() -> None:
    picture = read(saved(photo(), "PNG", exif=b"II*\0\xff\xff\xff\0rubbish"))
    assert picture.metadata.exif is None
    assert any("EXIF" in notice for notice in picture.notices)


def repeating_exif(order: str) -> bytes:
    """Two values that are the same bytes, which the block holds twice with its thumbnail and once without."""
    block = bytearray(pictures.exif_block(6, order))
    for tag in (0x010F, 0x013B):
        struct.pack_into(order + "LL", block, block.index(struct.pack(order + "HH", tag, 2)) + 4, 300, 8)
    return bytes(block)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("image_format", [JPEG, PNG, WEBP, TIFF, AVIF])
def test_exif_that_cannot_be_carried_is_dropped_and_the_picture_written(image_format: ImageFormat, order: str) -> None:
    block = repeating_exif(order)
    notice = "its EXIF is damaged and is left out"
    for source in (
        saved(photo(), "WEBP", exif=block),
        saved(photo(), "PNG", exif=block),
        camera_jpeg()[:2] + pictures.segment(0xE1, b"Exif\0\0" + block) + saved(photo(), "JPEG")[2:],
    ):
        picture = read(source)
        assert (picture.metadata.exif, picture.notices) == (None, (notice,))
        assert picture.pixels.shape == (64, 48, 3)
        assert again(picture, image_format)[1].pixels.shape == (64, 48, 3)
    _, notices = encode(Picture(photo(), None, False, PNG, Metadata(exif=b"II*\0\xff\xff\xff\0")), image_format, PLAIN)
    assert notices == (notice,)


@given(st.binary(max_size=200), st.sampled_from(["<", ">"]), st.integers(0, 400), st.integers(0, 400))
@settings(max_examples=300, deadline=None)
def test_the_exif_patcher_stands_any_block(noise: bytes, order: str, at: int, cut: int) -> None:
    block = bytearray(pictures.exif_block(6, order))
    block[at : at + len(noise)] = noise
    for hostile in (bytes(block), bytes(block[:cut]), noise, b"II*\0\x08\0\0\0" + noise):
        exif.orientation(hostile)
        try:
            patched = exif.upright(hostile, 48, 64)
        except DamagedError:
            continue
        assert len(patched) <= len(hostile)
        assert exif.is_sound(patched)
        assert exif.orientation(patched) in (None, 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tags = Image.Exif()
            tags.load(b"Exif\0\0" + patched)
            assert tags.get(0x0112, 1) == 1


@pytest.mark.parametrize("image_format", [JPEG, PNG, TIFF, WEBP, AVIF, HEIC])
@pytest.mark.parametrize("alpha", [False, True])
def test_a_grey_profile_goes_with_grey_pixels_alone(image_format: ImageFormat, alpha: bool) -> None:
    if alpha and image_format is JPEG:
        pytest.skip("JPEG has no transparency")
    if image_format is HEIC:
        pytest.importorskip("pillow_heif")
    grey = np.full((32, 32, 2 if alpha else 1), 55, np.uint8)
    picture = read(saved(grey if alpha else grey[..., 0], "PNG", icc_profile=pictures.grey_profile()))
    data, notices = encode(picture, image_format, PLAIN)
    back = read(data)
    if image_format in (JPEG, PNG, TIFF) or (image_format is HEIC and not alpha):
        assert (back.grey, back.metadata.icc) == (True, pictures.grey_profile())
        assert notices == ()
    else:
        assert back.metadata.icc is None
        assert notices == ("colours were converted to sRGB",)
        assert np.abs(back.pixels.astype(int) - 128).max() <= 2  # 55/255 as light is 128/255 in sRGB


@pytest.mark.parametrize("image_format", [JPEG, PNG, TIFF, WEBP, AVIF])
@pytest.mark.parametrize("profile", [pictures.grey_profile(), pictures.cmyk_profile()])
def test_a_profile_for_other_pixels_is_left_out_and_told(image_format: ImageFormat, profile: bytes) -> None:
    picture = Picture(photo(), None, False, PNG, Metadata(icc=profile))
    data, notices = encode(picture, image_format, PLAIN)
    assert read(data).metadata.icc is None
    assert notices == ("the colour profile is damaged or does not fit, and is left out",)


def test_the_sheet_of_before_and_after_has_a_profile_that_fits() -> None:
    grey = read(saved(np.full((32, 32), 55, np.uint8), "PNG", icc_profile=pictures.grey_profile()))
    sheet = pil(side_by_side(grey, grey))
    assert sheet.mode == "RGB"
    assert "icc_profile" not in sheet.info
    assert np.abs(np.asarray(sheet).astype(int)[:, :28] - 128).max() <= 2
    wrong = Picture(photo(), None, False, PNG, Metadata(icc=pictures.grey_profile()))
    sheet = pil(side_by_side(wrong, wrong))
    assert "icc_profile" not in sheet.info
    assert np.abs(np.asarray(sheet).astype(int)[:, :64] - photo()).mean() < 3
    wide = read(camera_jpeg())
    assert pil(side_by_side(wide, wide)).info["icc_profile"] == pictures.wide_profile()


def test_large_profiles_are_split_and_joined() -> None:
    profile = pictures.wide_profile() + bytes(range(256)) * 600
    _, back = again(Picture(photo(), None, False, PNG, Metadata(icc=profile)), JPEG)
    assert back.metadata.icc == profile
