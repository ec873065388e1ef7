"""Files that cannot hold the size that they claim, honest ones that can, and what reading them reserves."""

import io
import re
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from pictures import chunk, deep_png, photo, saved, tiff
from PIL import Image

from dpenet_cli.errors import ImageReadError
from dpenet_cli.images.reading import read

ENORMOUS = 10**30


def _bmp(width: int, height: int, bits: int, body: bytes, header: int = 40) -> bytes:
    if header == 12:
        fields = struct.pack("<LHHHH", 12, width, height, 1, bits)
    else:
        fields = struct.pack("<LllHHLLllLL", 40, width, height, 1, bits, 0, 0, 0, 0, 0, 0)
    palette = (b"\0\1\2\0" if header == 40 else b"\0\1\2") * (1 << bits) if bits <= 8 else b""
    start = 14 + len(fields) + len(palette)
    return b"BM" + struct.pack("<LHHL", start + len(body), 0, 0, start) + fields + palette + body


def _tiff(width: int, height: int, bits: int, samples: int, body: bytes, **changes: int) -> bytes:
    """Directory first, pixels behind it."""
    entries = {256: width, 257: height, 258: bits, 259: 1, 262: 2 if samples == 3 else 1, 277: samples}
    entries |= {278: height, 279: len(body)} | {int(tag[1:]): value for tag, value in changes.items()}
    entries[273] = 8 + 2 + 12 * (len(entries) + 1) + 4
    rows = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    return b"II*\0" + struct.pack("<LH", 8, len(entries)) + rows + bytes(4) + body


def _png(width: int, height: int, bits: int, colour: int, packed: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


HUGE = {
    "bmp": _bmp(3_000_000, 2_000_000, 24, b"\0\0\0\0"),
    "bmp8": _bmp(3_000_000, 2_000_000, 8, b"\0\0\0\0"),
    "png": _png(2_000_000, 3_000_000, 8, 2, zlib.compress(bytes(100))),
    "png16": _png(2_000_000, 3_000_000, 16, 2, zlib.compress(bytes(100))),
    "tiff": _tiff(60000, 60000, 8, 1, bytes(40)),
    "tiff16": _tiff(60000, 60000, 16, 3, bytes(40)),
    "tiff16 deflated": _tiff(60000, 60000, 16, 1, zlib.compress(bytes(100)), t259=8),
    "tiff packed": _tiff(60000, 60000, 8, 1, b"\x81\0" * 20, t259=32773),
    "tiff tiled": _tiff(60000, 60000, 8, 1, bytes(40), t322=256, t323=256, t324=200, t325=40),
    "jpeg": re.sub(rb"(\xff\xc0..\x08)....", b"\\1\xff\xdc\xff\xdc", saved(photo(), "JPEG"), count=1, flags=re.DOTALL),
}


@pytest.mark.parametrize("kind", HUGE)
@pytest.mark.parametrize("limit", [250_000_000, 6_000_000_000_000, ENORMOUS])
def test_what_the_file_cannot_hold_is_damage_whatever_the_limit(kind: str, limit: int, tmp_path: Path) -> None:
    data = HUGE[kind]
    (tmp_path / "a").write_bytes(data)
    for source in (data, tmp_path / "a", io.BytesIO(data)):
        tracemalloc.start()
        with pytest.raises(ImageReadError, match=rf"damaged.*\d+×\d+.*{len(data)} bytes") as caught:
            read(source, max_pixels=limit)
        assert tracemalloc.get_traced_memory()[1] < 2**23
        tracemalloc.stop()
        assert "--max-pixels" not in str(caught.value)


@pytest.mark.parametrize("header", [12, 40])
@pytest.mark.parametrize("bits", [1, 4, 8, 24, 32])
def test_a_bmp_is_measured_to_the_byte(bits: int, header: int) -> None:
    if header == 12 and bits == 32:
        pytest.skip("the oldest header knows no 32 bits")
    row = -(-5 * bits // 8)
    padded = -(-row // 4) * 4
    body = bytes(padded * 2 + row)  # the last row's padding says nothing
    assert read(_bmp(5, 3, bits, body, header)).pixels.shape == (3, 5, 3)
    with pytest.raises(ImageReadError, match="damaged"):
        read(_bmp(5, 3, bits, body[:-1], header))


@pytest.mark.parametrize(("bits", "samples"), [(1, 1), (8, 1), (16, 1), (8, 3), (16, 3)])
def test_a_tiff_without_compression_is_measured_to_the_byte(bits: int, samples: int) -> None:
    size = 7 * -(-5 * bits * samples // 8)
    assert read(_tiff(5, 7, bits, samples, bytes(size))).pixels.shape == (7, 5, 3)
    for short in (_tiff(5, 7, bits, samples, bytes(size - 1)), _tiff(5, 7, bits, samples, bytes(size))[:-1]):
        with pytest.raises(ImageReadError, match="damaged"):
            read(short)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("settings", [{"tile": (32, 48)}, {"planarconfig": "separate"}, {"rowsperstrip": 5}])
def test_tiffs_in_tiles_planes_and_strips_have_room(dtype: type, settings: dict[str, object]) -> None:
    samples = photo(deep=dtype is np.uint16)
    stored = np.moveaxis(samples, 2, 0) if "planarconfig" in settings else samples
    np.testing.assert_array_equal(read(tiff(stored, photometric="rgb", **settings)).pixels, samples)
    for compression in ("zlib", "packbits", "lzw"):
        if compression != "zlib" and not _can_write(compression):
            continue
        data = tiff(stored, photometric="rgb", compression=compression, **settings)
        np.testing.assert_array_equal(read(data).pixels, samples)


def _can_write(compression: str) -> bool:
    try:
        tiff(photo(), photometric="rgb", compression=compression)
    except (ValueError, KeyError, ImportError):  # tifffile needs imagecodecs for it
        return False
    return True


def test_a_subsampled_tiff_without_compression_is_no_damage() -> None:
    """Its colours take half of what its pixels seem to: 12 bits each. Whether it is read hangs on the decoder."""
    file = _tiff(64, 48, 8, 3, bytes([90] * 4 + [128, 128]) * (24 * 32), t262=6)
    try:
        read(file)
    except ImageReadError as error:
        said = str(error)
    else:
        said = ""
    assert "cannot hold" not in said
    with pytest.raises(ImageReadError, match="cannot hold"):
        read(_tiff(640, 480, 8, 3, bytes([90] * 4 + [128, 128]) * (24 * 32), t262=6))


def test_a_sparse_but_honest_png_is_read(tmp_path: Path) -> None:
    white = Image.new("L", (8000, 8000), 255)
    data = saved(white, "PNG", compress_level=9)
    assert len(data) < 8000 * 8000 / 800
    assert read(data).pixels.shape == (8000, 8000, 3)
    deep = deep_png(np.full((1000, 1000, 1), 65535, np.uint16))
    assert read(deep).pixels.min() == 65535
    honest = saved(Image.new("RGB", (3000, 3000), "white"), "JPEG", quality=10, progressive=True, optimize=True)
    assert read(honest).pixels.min() == 255


@pytest.mark.parametrize("name", ["PNG", "TIFF", "BMP", "JPEG", "WEBP", "AVIF"])
def test_the_advised_limit_is_enough(name: str, tmp_path: Path) -> None:
    path = tmp_path / "good"
    path.write_bytes(saved(photo(), name))
    with pytest.raises(ImageReadError) as caught:
        read(path, max_pixels=1000)
    advised = re.search(r"--max-pixels (\d+)", str(caught.value))
    assert read(path, max_pixels=int(advised[1])).pixels.shape == (48, 64, 3)
    assert read(path, max_pixels=int(advised[1]) - 1 + 10**40).pixels.shape == (48, 64, 3)


def test_the_limit_advised_for_a_long_file_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "long.png"
    path.write_bytes(saved(photo(), "PNG"))
    with path.open("r+b") as file:
        file.truncate(2**26 + 100_000)  # a hole behind the picture
    with pytest.raises(ImageReadError, match="more than a picture") as caught:
        read(path, max_pixels=4000)
    advised = re.search(r"--max-pixels (\d+)", str(caught.value))
    assert read(path, max_pixels=int(advised[1])).pixels.shape == (48, 64, 3)
    with pytest.raises(ImageReadError, match="more than a picture"):
        read(path, max_pixels=int(advised[1]) - 1)


@pytest.mark.parametrize("limit", [3_600_000_000, 2**63, ENORMOUS])
def test_a_large_limit_reserves_nothing(limit: int, tmp_path: Path) -> None:
    data = saved(photo(), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    for source in (tmp_path / "a.png", io.BytesIO(data)):
        tracemalloc.start()
        assert read(source, max_pixels=limit).pixels.shape == (48, 64, 3)
        assert tracemalloc.get_traced_memory()[1] < 2**23
        tracemalloc.stop()
