"""A picture on disk, checked by the tools of others: exiftool, tifffile, Pillow, OpenCV."""

import io
import json
import shutil
import struct
import subprocess
import threading
import warnings
from pathlib import Path

import cv2
import numpy as np
import pictures
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import SAMPLES, camera_jpeg, chunk, deep_png, photo, saved, tiff, with_chunks
from PIL import Image, ImageOps

from dpenet_cli.arrays import to_8_bits
from dpenet_cli.errors import DpenetError, ImageReadError, ImageRefused, ImageWriteError
from dpenet_cli.images import exif
from dpenet_cli.images.compare import side_by_side
from dpenet_cli.images.formats import format_for
from dpenet_cli.images.ifd import DamagedError
from dpenet_cli.images.jpeg_tables import gentle_tables
from dpenet_cli.images.picture import Metadata, Picture, with_pixels
from dpenet_cli.images.pixels import decode_16_bit
from dpenet_cli.images.reading import read
from dpenet_cli.images.writing import encode, luma
from dpenet_cli.options import ImageFormat, SaveOptions

PLAIN = SaveOptions()
JPEG, PNG, WEBP, TIFF, BMP, AVIF, HEIC = (
    ImageFormat(n) for n in ["jpeg", "png", "webp", "tiff", "bmp", "avif", "heic"]
)
needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not on PATH")


def again(picture: Picture, image_format: ImageFormat, options: SaveOptions = PLAIN) -> tuple[bytes, Picture]:
    data, _ = encode(picture, image_format, options)
    return data, read(data)


def exiftool(data: bytes, tmp_path: Path, suffix: str) -> dict[str, object]:
    path = tmp_path / f"out.{suffix}"
    path.write_bytes(data)
    out = subprocess.run(["exiftool", "-json", "-G1", "-n", "-a", str(path)], capture_output=True, check=True)
    return json.loads(out.stdout)[0]


def pil(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


# pixels in every depth and arrangement


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


@pytest.mark.parametrize("how", [
    {}, {"byteorder": ">"}, {"compression": "zlib", "predictor": True}, {"compression": "zlib"}, {"tile": (32, 32)},
    {"tile": (32, 32), "compression": "zlib", "predictor": True, "byteorder": ">"}, {"rowsperstrip": 5},
    {"bigtiff": True}, {"planarconfig": "separate"},
    {"planarconfig": "separate", "compression": "zlib", "predictor": True},
])  # fmt: skip
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
    )  # fmt: skip
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


# direction and metadata


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


# JPEG


def test_jpeg_is_as_fine_as_its_source() -> None:
    for subsampling, name in ((0, "4:4:4"), (1, "4:2:2"), (2, "4:2:0")):
        source = saved(photo(), "JPEG", quality=97, subsampling=subsampling, progressive=subsampling == 1)
        data, _ = encode(read(source), JPEG, PLAIN)
        before, after = pil(source), pil(data)
        assert [c[1:3] for c in after.layer] == [c[1:3] for c in before.layer], name
        assert bool(after.info.get("progressive")) == (subsampling == 1)
        for table in after.quantization:
            assert all(a <= b for a, b in zip(after.quantization[table], before.quantization[table], strict=True))
    coarse = saved(photo(), "JPEG", quality=30)
    after = pil(encode(read(coarse), JPEG, PLAIN)[0])
    reference = pil(saved(photo(), "JPEG", quality=92))
    assert after.quantization == reference.quantization
    assert gentle_tables(((1,) * 64,)) == [[1] * 64]
    fresh = pil(encode(read(saved(photo(), "PNG")), JPEG, PLAIN)[0])
    assert fresh.quantization == pil(saved(photo(), "JPEG", quality=95)).quantization
    assert [c[1:3] for c in fresh.layer] == [(1, 1)] * 3
    asked = pil(encode(read(coarse), JPEG, SaveOptions(quality=40))[0])
    assert asked.quantization == pil(saved(photo(), "JPEG", quality=40)).quantization


def test_what_pillow_itself_loses_of_a_jpeg_is_kept() -> None:
    """Every comment, the first XMP packet and its extensions, profile parts in any place, IPTC in two segments."""
    profile, iptc = pictures.wide_profile(), pictures.IPTC * 20
    parts = enumerate([profile[:100], profile[100:]], start=1)
    numbered = [pictures.segment(0xE2, b"ICC_PROFILE\0" + bytes([n, 2]) + part) for n, part in parts]
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">L", len(iptc)) + iptc
    extension = b"http://ns.adobe.com/xmp/extension/\0" + bytes(40) + b"more"
    before = [numbered[1], *(pictures.segment(0xFE, comment) for comment in (b"one", b"two"))]
    before += [pictures.segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet) for packet in (b"first", b"second")]
    before += [pictures.segment(0xE1, extension)]
    before += [pictures.segment(0xED, b"Photoshop 3.0\0" + part) for part in (resource[:99], resource[99:])]
    plain = saved(photo(), "JPEG")
    frame, scan = plain.index(b"\xff\xc0"), plain.index(b"\xff\xda")
    data = plain[:frame] + b"".join(before) + plain[frame:scan] + numbered[0] + plain[scan:]
    metadata = read(data).metadata
    assert metadata == Metadata(
        icc=profile, xmp=b"first", xmp_extension=(extension,), iptc=iptc, comments=(b"one", b"two"), dpi=metadata.dpi
    )
    assert read(encode(read(data), JPEG, PLAIN)[0]).metadata == metadata


def test_a_jpeg_has_the_resolution_of_its_own_header_alone() -> None:
    plain = saved(photo(), "JPEG")
    assert read(plain).metadata.dpi is None
    assert read(saved(photo(), "JPEG", exif=pictures.exif_block())).metadata.dpi is None
    centimetres = bytearray(saved(photo(), "JPEG", dpi=(100, 50)))
    centimetres[13] = 2
    assert read(bytes(centimetres)).metadata.dpi == (254, 127)


def test_a_jpeg_of_twelve_bits_is_refused() -> None:
    data = bytearray(camera_jpeg())
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(ImageRefused, match="12 bits per channel"):
        read(bytes(data))


def test_rotated_half_chroma_is_kept_whole() -> None:
    picture = read(camera_jpeg(6, subsampling=1))
    after = pil(encode(picture, JPEG, PLAIN)[0])
    assert [c[1:3] for c in after.layer] == [(1, 1)] * 3


def test_camera_files_of_several_pictures_give_a_plain_jpeg() -> None:
    image, small = Image.fromarray(photo()), Image.fromarray(photo(24, 32))
    source = saved(image, "MPO", save_all=True, append_images=[small], exif=pictures.exif_block(6))
    assert pil(source).format == "MPO"
    picture = read(source)
    assert picture.format is JPEG
    assert len([n for n in picture.notices if "main picture" in n]) == 1
    data, _ = encode(picture, JPEG, PLAIN)
    assert pil(data).format == "JPEG"
    assert b"MPF\0" not in data
    assert read(camera_jpeg() + b"\0\0\0\x18ftypmp42" + bytes(200) + b"x").notices
    assert not read(camera_jpeg() + bytes(500)).notices


def test_a_gain_map_is_no_longer_promised() -> None:
    xmp = b'<a hdrgm:Version="1.0" dc:x="y"><Container:Directory><b/></Container:Directory></a>'
    encoded = saved(photo(), "JPEG", xmp=xmp)
    assert read(encoded).metadata.xmp == xmp
    assert read(encoded + saved(photo(24, 32), "JPEG")).metadata.xmp == b'<a dc:x="y"></a>'


def test_what_is_too_long_for_a_jpeg_is_said() -> None:
    picture = read(saved(photo(), "PNG", exif=pictures.exif_block() + b"x" * 70000))
    data, notices = encode(picture, JPEG, PLAIN)
    assert any("too long" in notice and "EXIF" in notice for notice in notices)
    assert "exif" not in pil(data).info
    long = read(with_chunks(saved(photo(), "PNG"), chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + b"x" * 70000)))
    assert any("XMP" in notice for notice in encode(long, JPEG, PLAIN)[1])


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


# other formats


@pytest.mark.parametrize("image_format", [AVIF, HEIC])
def test_avif_and_heic(image_format: ImageFormat) -> None:
    if image_format is HEIC:
        pytest.importorskip("pillow_heif")
    pixels = photo(96, 128)
    for alpha in (None, photo(96, 128, channels=1)[..., 0]):
        picture = Picture(pixels, alpha, False, PNG)
        _, back = again(picture, image_format)
        assert back.format is image_format
        assert 10 * np.log10(255**2 / np.square(back.pixels - pixels.astype(float)).mean()) > 36
        if alpha is not None:
            assert np.abs(back.alpha.astype(int) - alpha).mean() < 4
    turned = read(camera_jpeg(6))
    _, back = again(turned, image_format)
    assert back.pixels.shape == turned.pixels.shape


def test_turned_avif_and_heic_are_turned_once() -> None:
    heif = pytest.importorskip("pillow_heif")
    block = pictures.exif_block(6)
    upright = ImageOps.exif_transpose(pil(saved(photo(), "PNG", exif=block)))
    out = io.BytesIO()
    heif.from_pillow(Image.fromarray(photo())).save(out, exif=b"Exif\0\0" + block, quality=95)
    for source in (saved(photo(), "AVIF", exif=block, quality=95), out.getvalue()):
        picture = read(source)
        assert picture.pixels.shape == (64, 48, 3)
        assert np.abs(picture.pixels.astype(int) - np.asarray(upright)).mean() < 8
        assert exif.orientation(picture.metadata.exif) in (1, None)


def test_ten_bits_are_told_about() -> None:
    heif = pytest.importorskip("pillow_heif")
    out = io.BytesIO()
    heif.from_bytes("RGB;16", (64, 48), photo(deep=True).tobytes()).save(out, quality=90)
    assert any("10 bits" in notice for notice in read(out.getvalue()).notices)
    ok, data = cv2.imencode(".avif", (photo(deep=True) >> 6), [cv2.IMWRITE_AVIF_DEPTH, 10])
    if ok:
        assert any("10 bits" in notice for notice in read(data.tobytes()).notices)


@pytest.mark.parametrize("name", ["PNG", "WEBP", "AVIF", "GIF"])
def test_animations_are_refused(name: str) -> None:
    frames = [Image.fromarray(photo(seed=seed)) for seed in (1, 2)]
    with pytest.raises(ImageRefused, match="dpenet video"):
        read(saved(frames[0], name, save_all=True, append_images=frames[1:]))


def test_pages_are_refused_unless_they_are_small_copies() -> None:
    with pytest.raises(ImageRefused, match="Split"):
        read(tiff(np.stack([photo(), photo()]), photometric="rgb"))
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(photo(), photometric="rgb")
        writer.write(photo(24, 32), photometric="rgb", subfiletype=1)
    picture = read(file.getvalue())
    np.testing.assert_array_equal(picture.pixels, photo())
    assert any("small copies" in notice for notice in picture.notices)


@pytest.mark.parametrize("data", [
    tiff(photo().astype(np.float32), photometric="rgb"), tiff(photo()[..., 0].astype(np.int32)),
    tiff(photo()[..., 0].astype(np.uint32)), tiff(photo(), photometric="cielab"),
    tiff(photo(deep=True, channels=4), photometric="separated"),
    tiff(photo()[..., 0], photometric="cfa"),
    tiff(photo(), photometric="rgb", extratags=[(50706, "B", 4, b"\1\4\0\0", True)]),
    b"II*\0\x10\0\0\0CR\2\0" + bytes(90), b"FUJIFILMCCD-RAW " + bytes(90), b"\0\0\0\x18ftypcrx " + bytes(90),
])  # fmt: skip
def test_what_would_lose_something_is_refused(data: bytes) -> None:
    with pytest.raises((ImageRefused, ImageReadError)) as caught:
        read(data)
    assert caught.value.next_step


def test_raw_names(tmp_path: Path) -> None:
    path = tmp_path / "a.NEF"
    path.write_bytes(tiff(photo(), photometric="rgb"))
    with pytest.raises(ImageRefused, match="16-bit TIFF"):
        read(path)
    path.write_bytes(b"sensor")
    with pytest.raises(ImageRefused, match="16-bit TIFF"):
        read(path)
    assert format_for(Path("ä.JPEG")) is JPEG
    assert format_for(Path("a.txt")) is None


# limits and damage


@pytest.mark.parametrize("data", [
    camera_jpeg(), saved(photo(), "PNG"), saved(photo(), "WEBP"), saved(photo(), "BMP"), saved(photo(), "AVIF"),
    saved(photo(), "TIFF"), deep_png(photo(deep=True)), tiff(photo(deep=True), photometric="rgb"),
])  # fmt: skip
def test_too_large_is_said_before_decoding(data: bytes) -> None:
    with pytest.raises(ImageReadError, match=r"--max-pixels 3072"):
        read(data, max_pixels=3071)
    assert read(data, max_pixels=3072).pixels.shape == (48, 64, 3)


def test_pillows_own_limit_does_not_interfere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF"):
            read(saved(photo(), name))
    assert Image.MAX_IMAGE_PIXELS == 10
    claim = saved(photo(), "PNG")
    claim = claim[:8] + chunk(b"IHDR", struct.pack(">LLBBBBB", 60000, 60000, 8, 2, 0, 0, 0)) + claim[33:]
    with pytest.raises(ImageReadError, match="3,600,000,000"):
        read(claim)


@pytest.mark.parametrize("kind", SAMPLES)
def test_truncated_files_fail_as_our_errors(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = SAMPLES[kind]
    for part in (1, 9, 13, 40, len(data) // 3, len(data) // 2, len(data) - len(data) // 8):
        with pytest.raises(ImageReadError):
            read(data[:part])
    assert capfd.readouterr() == ("", "")


@given(st.sampled_from(sorted(SAMPLES)), st.randoms(use_true_random=False))
@settings(max_examples=250, deadline=None)
def test_damage_never_raises_anything_else(kind: str, random: object) -> None:
    data = bytearray(SAMPLES[kind])
    for _ in range(random.randint(1, 12)):
        data[random.randrange(min(len(data), 700))] = random.randrange(256)
    try:
        picture = read(bytes(data), max_pixels=1_000_000)
    except DpenetError:
        return
    encode(picture, TIFF, PLAIN)


def test_files_that_are_no_pictures(tmp_path: Path) -> None:
    for data in (b"", b"hello, rain\n", b"\xff\xd8\xff", bytes(1000), b"BM"):
        with pytest.raises(ImageReadError):
            read(data)
    with pytest.raises(ImageReadError, match="nowhere"):
        read(tmp_path / "nowhere.png")
    path = tmp_path / "höhe 雨.png"
    path.write_bytes(saved(photo(), "BMP"))
    assert read(path).format is BMP


def test_reading_in_threads_leaves_no_trace() -> None:
    limit, level, filters = Image.MAX_IMAGE_PIXELS, cv2.utils.logging.getLogLevel(), list(warnings.filters)
    deep = photo(deep=True)
    failures: list[object] = []

    def work() -> None:
        failures.extend(n for n in range(10) if not np.array_equal(read(deep_png(deep)).pixels, deep))
        failures.extend(n for n in range(10) if read(camera_jpeg()).bits != 8)

    threads = [threading.Thread(target=work) for _ in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not failures
    assert (Image.MAX_IMAGE_PIXELS, cv2.utils.logging.getLogLevel(), warnings.filters) == (limit, level, filters)


def test_a_missing_system_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    real = builtins.__import__

    def without_gl(name: str, *rest: object, **more: object) -> object:
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without_gl)
    with pytest.raises(DpenetError, match=r"libGL\.so\.1.*libgl1.*headless"):
        decode_16_bit(deep_png(photo(deep=True)), "x")


def test_heic_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(ImageRefused, match=r"pip install \"dpenet\[heic\]\""):
        read(b"\0\0\0\x18ftypheic" + bytes(100))
    with pytest.raises(ImageWriteError, match=r"dpenet\[heic\]"):
        encode(Picture(photo(), None, False, PNG), HEIC, PLAIN)


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


@pytest.mark.parametrize("chroma", ["4:2:0", "4:4:4"])
@pytest.mark.parametrize("image_format", [AVIF, HEIC])
def test_chroma_sampling_of_avif_and_heic_stays(image_format: ImageFormat, chroma: str) -> None:
    out = io.BytesIO()
    if image_format is HEIC:
        heif = pytest.importorskip("pillow_heif")
        heif.from_pillow(Image.fromarray(photo())).save(out, subsampling=chroma)
    else:
        Image.fromarray(photo()).save(out, "AVIF", subsampling=chroma)
    picture = read(out.getvalue())
    assert picture.coding.chroma == chroma
    assert again(picture, image_format)[1].coding.chroma == chroma


def test_heic_from_other_formats_has_the_chroma_that_phones_decode() -> None:
    pytest.importorskip("pillow_heif")
    assert again(Picture(photo(), None, False, PNG), HEIC)[1].coding.chroma == "4:2:0"
