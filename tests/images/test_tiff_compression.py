"""TIFF compressions: those that are read, and the others by their name and number, never as damage."""

import struct
import zlib

import numpy as np
import pytest
from image_checks import PLAIN, TIFF
from pictures import photo, saved, tiff
from PIL import Image

from dpenet_cli.errors import ImageReadError, ImageRefused
from dpenet_cli.images.reading import read
from dpenet_cli.images.writing import encode

NAMED = {
    50001: "WebP, 50001",
    34927: "WebP, 34927",
    34887: "LERC, 34887",
    34661: "JBIG, 34661",
    9: "JBIG, 9",
    34715: "JBIG2, 34715",
    34712: "JPEG 2000, 34712",
    33003: "JPEG 2000, 33003",
    50002: "JPEG XL, 50002",
    52546: "JPEG XL, 52546",
    34676: "SGI LogLuv, 34676",
    32766: "NeXT, 32766",
    65000: "65000",
    60123: "60123",
}
AT_16_BITS_ONLY = {50000: "Zstandard, 50000", 34925: "LZMA, 34925", 7: "JPEG, 7", 4: "CCITT Group 4, 4"}
STEP = "Save it with LZW, Deflate or no compression"


def _compressed(number: int, bits: int, samples: int = 1, body: bytes = bytes(64)) -> bytes:
    entries = {256: 16, 257: 16, 258: bits, 259: number, 262: 2 if samples == 3 else 1, 277: samples, 278: 16}
    entries |= {279: len(body), 273: 8 + 2 + 12 * 9 + 4}
    rows = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    return b"II*\0" + struct.pack("<LH", 8, len(entries)) + rows + bytes(4) + body


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("number", NAMED)
def test_a_compression_that_is_not_read_is_named(
    number: int, bits: int, samples: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ImageRefused) as caught:
        read(_compressed(number, bits, samples))
    assert f"its compression ({NAMED[number]}) is not read" in str(caught.value)
    assert STEP in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("number", AT_16_BITS_ONLY)
def test_what_is_read_at_8_bits_alone_is_no_damage_at_16(number: int) -> None:
    with pytest.raises(ImageRefused) as caught:
        read(_compressed(number, 16))
    assert f"its compression ({AT_16_BITS_ONLY[number]}) is not read" in str(caught.value)
    assert STEP in str(caught.value)


@pytest.mark.parametrize(
    "compression", ["raw", "tiff_lzw", "packbits", "tiff_adobe_deflate", "tiff_deflate", "lzma", "zstd", "jpeg"]
)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_what_was_read_at_8_bits_is_read(compression: str, mode: str) -> None:
    image = Image.fromarray(photo()).convert(mode)
    settings = {"quality": 100} if compression == "jpeg" else {}
    pixels = read(saved(image, "TIFF", compression=compression, **settings)).pixels
    expected = np.asarray(image.convert("RGB"))
    assert np.abs(pixels.astype(int) - expected).max() <= (40 if compression == "jpeg" else 0)


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_fax_is_read(compression: str) -> None:
    image = Image.fromarray(photo()).convert("1")
    picture = read(saved(image, "TIFF", compression=compression))
    np.testing.assert_array_equal(picture.pixels[..., 0], np.asarray(image.convert("L")))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_what_was_read_at_16_bits_is_read(compression: str | None) -> None:
    deep = photo(deep=True)
    np.testing.assert_array_equal(read(tiff(deep, photometric="rgb", compression=compression)).pixels, deep)
    old = read(_compressed(32946, 16, 3, zlib.compress(photo(16, 16, deep=True).astype("<u2").tobytes())))
    np.testing.assert_array_equal(old.pixels, photo(16, 16, deep=True))
    written, _ = encode(old, TIFF, PLAIN)
    np.testing.assert_array_equal(read(written).pixels, old.pixels)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("number", [5, 8, 32946])
def test_damage_is_still_called_so(number: int, bits: int, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ImageReadError) as caught:
        read(_compressed(number, bits, body=b"\xff\x13\x57" * 20))
    assert "is not read" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
