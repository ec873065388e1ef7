"""PNG files whose damage the pixels do not need: read, named, and the same at 8 and at 16 bits."""

import itertools
import struct
import zlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from image_checks import PLAIN, PNG, pil
from pictures import chunk, deep_png, exif_block, photo, saved, wide_profile, with_chunks
from PIL import Image

from dpenet_cli.errors import ImageReadError
from dpenet_cli.images.picture import Picture
from dpenet_cli.images.png_chunks import chunks
from dpenet_cli.images.reading import read
from dpenet_cli.images.writing import encode

HEADER = "damaged parts of its header are left out"


def _packed(colour: int, bits: int, rows: np.ndarray, palette: bytes = b"") -> bytes:
    """A PNG file without filters; the rows hold bytes."""
    header = chunk(b"IHDR", struct.pack(">LLBBBBB", 8, len(rows), bits, colour, 0, 0, 0))
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    body = (chunk(b"PLTE", palette) if palette else b"") + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + body


_RNG = np.random.default_rng(5)
PALETTE = _RNG.integers(0, 256, (16, 3), dtype=np.uint8)
_INDEXES = _RNG.integers(0, 16, (6, 8), dtype=np.uint8)
_GREY, _RGB, _RGBA = (_RNG.integers(0, 256, (6, 8, n), dtype=np.uint8) for n in (1, 3, 4))
_DEEP_GREY, _DEEP_RGB, _DEEP_RGBA = (_RNG.integers(0, 65536, (6, 8, n)).astype(np.uint16) for n in (1, 3, 4))

FILES = {
    "grey": (_packed(0, 8, _GREY), np.repeat(_GREY, 3, 2)),
    "palette": (_packed(3, 8, _INDEXES, PALETTE.tobytes()), PALETTE[_INDEXES]),
    "rgb": (_packed(2, 8, _RGB), _RGB),
    "rgba": (_packed(6, 8, _RGBA), _RGBA[..., :3]),
    "grey16": (deep_png(_DEEP_GREY), np.repeat(_DEEP_GREY, 3, 2)),
    "rgb16": (deep_png(_DEEP_RGB), _DEEP_RGB),
    "rgba16": (deep_png(_DEEP_RGBA), _DEEP_RGBA[..., :3]),
}
"""Each a file and the pixels of its IDAT."""

TRANSPARENT = {"grey": b"\0\x07", "palette": b"\0\x80", "rgb": bytes(6), "grey16": b"\0\x07", "rgb16": bytes(6)}

BODIES = {
    b"gAMA": struct.pack(">L", 45455),
    b"cHRM": struct.pack(">8L", *range(31270, 31278)),
    b"sRGB": b"\0",
    b"cICP": b"\x01\x0d\0\x01",
    b"iCCP": b"wide\0\0" + zlib.compress(wide_profile()),
    b"eXIf": exif_block(6),
    b"bKGD": b"",  # by colour type
    b"pHYs": struct.pack(">LLB", 2835, 2835, 1),
    b"tIME": b"\x07\xea\x01\x01\0\0\0",
    b"tEXt": b"Comment\0edited by hand",
    b"zTXt": b"Comment\0\0" + zlib.compress(b"edited by hand"),
    b"iTXt": b"Comment\0\0\0\0\0edited by hand",
    b"ruNk": b"something of a program's own",
}
BACKGROUNDS = {"grey": 2, "palette": 1, "rgb": 6, "rgba": 6, "grey16": 2, "rgb16": 6, "rgba16": 6}


def _broken(kind: bytes, body: bytes, how: str) -> bytes:
    """A chunk with a wrong checksum or length, or one byte less than its data should have."""
    whole = chunk(kind, body)
    if how == "checksum":
        return whole[:-4] + bytes(4)
    if how == "short":
        return chunk(kind, body[:-1])
    length = {"beyond 31 bits": 0xF0000000, "beyond the file": 10**6, "into the next": len(body) + 9, "zero": 0}[how]
    return struct.pack(">L", length) + whole[4:]


def _place(data: bytes, extra: bytes, place: str) -> bytes:
    at = data.index(b"IDAT") - 4 if place == "before" else len(data) - 12
    return data[:at] + extra + data[at:]


FIXED = [b"gAMA", b"cHRM", b"sRGB", b"cICP", b"pHYs", b"tIME", b"bKGD"]
LENGTHS = ["beyond 31 bits", "beyond the file", "into the next", "zero"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["checksum", "short", *LENGTHS])
def test_damaged_chunks_that_the_pixels_do_not_need(name: str, how: str) -> None:
    data, pixels = FILES[name]
    bodies = BODIES | {b"bKGD": bytes(BACKGROUNDS[name])}
    if name in TRANSPARENT:
        bodies[b"tRNS"] = TRANSPARENT[name]
    for (kind, body), place in itertools.product(bodies.items(), ("before", "behind")):
        fixed = kind in FIXED or (kind == b"tRNS" and name != "palette")
        if how == "short" and not fixed:
            continue  # one byte less of what has no fixed size may be whole
        picture = read(_place(data, _broken(kind, body, how), place))
        np.testing.assert_array_equal(picture.pixels, pixels, err_msg=f"{kind} {place}")
        (notice,) = (notice for notice in picture.notices if notice.startswith(HEADER))
        assert kind.decode() in notice
        assert ("colour profile" in notice) == (kind == b"iCCP")
        assert ("transparency" in notice) == (kind == b"tRNS")
        assert (picture.alpha is not None) == ("rgba" in name)
        written, _ = encode(picture, PNG, PLAIN)
        assert kind not in written or kind == b"tEXt"


@pytest.mark.parametrize("name", FILES)
def test_what_stands_beside_a_damaged_chunk_is_kept(name: str) -> None:
    data, pixels = FILES[name]
    for how in ("checksum", *LENGTHS):
        beside = chunk(b"pHYs", struct.pack(">LLB", 5000, 6000, 1)) + _broken(b"tEXt", b"a\0b", how)
        beside += chunk(b"tEXt", b"Author\0someone") + chunk(b"gAMA", struct.pack(">L", 50000))
        picture = read(_place(data, beside, "before"))
        np.testing.assert_array_equal(picture.pixels, pixels)
        assert picture.metadata.png == ((b"tEXt", b"Author\0someone"),)
        assert picture.metadata.png_colour == ((b"gAMA", struct.pack(">L", 50000)),)
        assert picture.metadata.dpi == (127, 152.4)
        assert sum(notice.startswith(HEADER) for notice in picture.notices) == 1


@pytest.mark.parametrize("name", FILES)
def test_several_damaged_chunks_are_all_named(name: str) -> None:
    data, pixels = FILES[name]
    extra = _broken(b"tIME", BODIES[b"tIME"], "checksum") + _broken(b"zTXt", BODIES[b"zTXt"], "checksum")
    extra += _broken(b"ruNk", BODIES[b"ruNk"], "beyond the file")
    picture = read(_place(data, extra, "before"))
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert f"{HEADER} (ruNk, tIME, zTXt)" in picture.notices


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"IDAT"])
def test_what_decides_the_pixels_must_be_whole(name: str, kind: bytes) -> None:
    data, _ = FILES[name]
    if kind not in data:
        return
    at = data.index(kind) - 4
    size = int.from_bytes(data[at : at + 4], "big")
    wrong = data[: at + 8 + size] + bytes(4) + data[at + 12 + size :]
    long = data[:at] + b"\0\1\0\0" + data[at + 4 :]
    for damaged in (wrong, long, data[:at] + data[at + 12 + size :]):
        with pytest.raises(ImageReadError):
            read(damaged)


@pytest.mark.parametrize("name", FILES)
def test_the_end_is_not_needed_for_the_pixels(name: str) -> None:
    data, pixels = FILES[name]
    for damaged in (data[:-12], data[:-1], data[:-4] + bytes(4)):
        picture = read(damaged)
        np.testing.assert_array_equal(picture.pixels, pixels)
        assert f"{HEADER} (IEND)" in picture.notices
    assert not [notice for notice in read(data + bytes(99)).notices if HEADER in notice]


def test_a_palette_that_only_suggests_is_not_needed() -> None:
    data, pixels = FILES["rgb"]
    picture = read(_place(data, _broken(b"PLTE", PALETTE.tobytes(), "checksum"), "before"))
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert f"{HEADER} (PLTE)" in picture.notices


def test_a_picture_inside_a_damaged_chunk_is_not_taken_for_the_picture() -> None:
    inner = saved(photo(8, 8), "PNG")
    for name in ("rgb", "rgb16"):
        data, pixels = FILES[name]
        picture = read(_place(data, _broken(b"tEXt", b"preview\0" + inner, "checksum"), "before"))
        np.testing.assert_array_equal(picture.pixels, pixels)


def test_a_profile_that_cannot_be_unfolded_is_named() -> None:
    for name in ("rgb", "rgb16"):
        picture = read(_place(FILES[name][0], chunk(b"iCCP", b"wide\0\0" + b"no deflate"), "before"))
        assert picture.metadata.icc is None
        assert f"{HEADER} (iCCP: its colour profile)" in picture.notices


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0no deflate"),
        (b"zTXt", b"Raw profile type iptc\0\0no deflate"),
        (b"tEXt", b"Raw profile type exif\0\nexif\n 4\nzzzz"),
    ],
)
def test_metadata_that_cannot_be_unfolded_are_named(kind: bytes, body: bytes) -> None:
    for name in ("rgb", "rgb16"):
        data, pixels = FILES[name]
        picture = read(_place(data, chunk(kind, body), "behind"))
        np.testing.assert_array_equal(picture.pixels, pixels)
        assert f"{HEADER} ({kind.decode()})" in picture.notices


def test_a_bomb_is_refused_at_any_depth_and_long_text_is_not() -> None:
    zeros = zlib.compress(bytes(8 << 20), 9)
    for name in ("rgb", "rgb16"):
        data, pixels = FILES[name]
        for bomb in (chunk(b"iCCP", b"x\0\0" + zeros), chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zeros)):
            with pytest.raises(ImageReadError, match="unfolds"):
                read(_place(data, bomb, "before"))
        text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(_RNG.bytes(2 << 20)))
        picture = read(_place(data, text, "before"))
        np.testing.assert_array_equal(picture.pixels, pixels)
        assert text in encode(picture, PNG, PLAIN)[0]


def test_sound_transparency_is_read_alike_at_8_and_16_bits() -> None:
    for name, colour in (("rgb", _RGB[2, 3]), ("rgb16", _DEEP_RGB[2, 3]), ("grey", _GREY[1, 1]), ("grey16", [7])):
        data, pixels = FILES[name]
        key = np.asarray(colour, ">u2")
        picture = read(_place(data, chunk(b"tRNS", key.tobytes()), "before"))
        np.testing.assert_array_equal(picture.pixels, pixels)
        np.testing.assert_array_equal(picture.alpha == 0, (pixels[..., : len(key)] == key).all(axis=2))
    palette = read(_place(FILES["palette"][0], chunk(b"tRNS", bytes([0, 128])), "before"))
    expected = np.where(_INDEXES == 0, 0, np.where(_INDEXES == 1, 128, 255))
    np.testing.assert_array_equal(palette.alpha, expected)


def test_many_damaged_chunks_take_no_long() -> None:
    """Each could send the search through the rest of the file."""
    bad = _broken(b"tEXt", b"IDAT" * 3, "checksum") * 20000
    data, pixels = FILES["rgb"]
    np.testing.assert_array_equal(read(_place(data, bad, "before")).pixels, pixels)
    lies = b"".join(struct.pack(">L", 100_000 - n) + b"IDAT" for n in range(20000))
    picture = saved(Image.fromarray(photo()), "PNG")
    with pytest.raises(ImageReadError):  # the search is given up
        read(with_chunks(picture, struct.pack(">L", 0xFFFFFFFF) + b"tEXt" + lies))


@given(st.sampled_from(sorted(FILES)), st.sampled_from(sorted(BODIES)), st.binary(max_size=60), st.integers(0, 2**32))
@example("palette", b"bKGD", b"\0\0\0", 64)  # leads by chance to where another chunk begins
@settings(max_examples=150, deadline=None)
def test_whatever_an_ancillary_chunk_holds(name: str, kind: bytes, body: bytes, length: int) -> None:
    """Wrong data, a wrong length and a wrong checksum: the pixels are those of the IDAT."""
    data, pixels = FILES[name]
    extra = struct.pack(">L", min(length, 2**32 - 1)) + kind + body + b"\1\2\3\4"
    for place in ("before", "behind"):
        np.testing.assert_array_equal(read(_place(data, extra, place)).pixels, pixels)


def test_the_pixels_are_those_that_pillow_reads_of_the_whole_file() -> None:
    for name in ("grey", "palette", "rgb", "rgba"):
        data, _ = FILES[name]
        picture = read(_place(data, _broken(b"tEXt", b"a\0b", "beyond the file"), "before"))
        assert isinstance(picture, Picture)
        np.testing.assert_array_equal(picture.pixels, np.asarray(pil(data).convert("RGB")))


def test_a_length_that_is_wrong_by_chance_to_another_chunk_hides_nothing() -> None:
    """Whichever chunk, or the file's end, it leads to; a whole picture inside a damaged chunk is another thing."""
    for name, (data, pixels) in FILES.items():
        for place in ("before", "behind"):
            whole = _place(data, _broken(b"tEXt", b"a\0b", "checksum"), place)
            at = whole.index(b"tEXt") - 4
            ends = [piece.end + 4 for piece in chunks(whole) if piece.start > at + 12]
            for end in ends:
                lying = whole[:at] + struct.pack(">L", end - at - 12) + whole[at + 4 :]
                np.testing.assert_array_equal(read(lying).pixels, pixels, err_msg=f"{name} {place}")
    data, pixels = FILES["rgb"]
    inside = _broken(b"abCd", FILES["grey"][0], "checksum")
    np.testing.assert_array_equal(read(_place(data, inside, "before")).pixels, pixels)
