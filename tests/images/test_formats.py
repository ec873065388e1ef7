"""AVIF and HEIC, and files of every format that are refused, for something would be lost."""

import io
from pathlib import Path

import cv2
import numpy as np
import pictures
import pytest
import tifffile
from conftest import heavy_imports
from image_checks import AVIF, HEIC, JPEG, PLAIN, PNG, again, pil
from pictures import camera_jpeg, photo, saved, tiff
from PIL import Image, ImageOps

from dpenet_cli.errors import ImageReadError, ImageRefused, ImageWriteError
from dpenet_cli.images import exif
from dpenet_cli.images.formats import format_for
from dpenet_cli.images.picture import Picture
from dpenet_cli.images.reading import read
from dpenet_cli.images.writing import encode
from dpenet_cli.options import ImageFormat


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


def test_heic_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(ImageRefused, match=r"pip install \"pillow-heif>="):
        read(b"\0\0\0\x18ftypheic" + bytes(100))
    with pytest.raises(ImageWriteError, match='pip install "pillow-heif>='):
        encode(Picture(photo(), None, False, PNG), HEIC, PLAIN)


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


@pytest.mark.parametrize(
    "data",
    [
        tiff(photo().astype(np.float32), photometric="rgb"),
        tiff(photo()[..., 0].astype(np.int32)),
        tiff(photo()[..., 0].astype(np.uint32)),
        tiff(photo(), photometric="cielab"),
        tiff(photo(deep=True, channels=4), photometric="separated"),
        tiff(photo()[..., 0], photometric="cfa"),
        tiff(photo(), photometric="rgb", extratags=[(50706, "B", 4, b"\1\4\0\0", True)]),
        b"II*\0\x10\0\0\0CR\2\0" + bytes(90),
        b"FUJIFILMCCD-RAW " + bytes(90),
        b"\0\0\0\x18ftypcrx " + bytes(90),
    ],
)
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


def test_telling_formats_apart_imports_nothing_heavy() -> None:
    assert heavy_imports("dpenet_cli.images.formats") == set()
