"""What no result holds is named: rarer things than those that each format has one of."""

import io
import struct
import zlib

import numpy as np
import pictures
import pytest
import tifffile
from image_checks import AVIF, BMP, HEIC, JPEG, PNG, TIFF, WEBP
from pictures import chunk, photo, saved, segment, tiff, with_chunks
from PIL import Image

from dpenet_cli.images import boxes
from dpenet_cli.images.picture import Metadata, Picture
from dpenet_cli.images.reading import read
from dpenet_cli.images.writing import encode
from dpenet_cli.options import ImageFormat, SaveOptions

PLAIN = saved(photo(), "JPEG")


def names(data: bytes) -> tuple[str, ...]:
    return read(data).metadata.left_out


def told(data: bytes, image_format: ImageFormat) -> str:
    picture = read(data)
    return "; ".join(picture.notices + encode(picture, image_format, SaveOptions())[1])


def test_segments_between_scans_and_bytes_behind_the_end() -> None:
    progressive = saved(photo(), "JPEG", progressive=True)
    second = progressive.index(b"\xff\xda", progressive.index(b"\xff\xda") + 2)
    within = segment(0xFE, b"a late comment") + segment(0xE4, b"a late segment")
    data = progressive[:second] + within + progressive[second:]
    assert names(data) == ("COM segment between scans", "APP4 segment between scans")
    assert names(PLAIN + b"a few bytes") == ("bytes behind its end",)
    assert names(PLAIN + bytes(40) + b"\xff" * 20) == ()
    assert read(PLAIN + b"many bytes" * 20).notices[0].startswith("only the main picture is kept")
    assert names(PLAIN + b"many bytes" * 20) == ()


def test_pixels_that_are_not_square() -> None:
    jfif = PLAIN[:13] + struct.pack(">BHH", 0, 2, 1) + PLAIN[18:]
    assert names(jfif) == ("the shape of its pixels",)
    assert names(PLAIN[:13] + struct.pack(">BHH", 0, 3, 3) + PLAIN[18:]) == ()
    for ratio, expected in ((2, ("the shape of its pixels",)), (1, ())):
        png = with_chunks(saved(photo(), "PNG"), chunk(b"pHYs", struct.pack(">LLB", ratio, 1, 0)))
        assert names(png) == expected
        file = tiff(photo(), photometric="rgb", resolution=(ratio, 1), resolutionunit=1)
        assert names(file) == expected


def test_a_resolution_goes_with_exif_that_has_the_same() -> None:
    for dpi, expected in ((200, "WebP has no place for resolution"), (300, ""), (72, "")):
        data = saved(photo(), "JPEG", dpi=(dpi, dpi), exif=b"Exif\0\0" + pictures.exif_block(1))
        assert told(data, WEBP).startswith(expected)
        assert bool(told(data, WEBP)) == bool(expected)
    assert "resolution" in told(saved(photo(), "JPEG", dpi=(300, 300)), WEBP)


def test_colours_that_only_a_png_describes() -> None:
    corners = struct.pack(">8L", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
    wide = struct.pack(">8L", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
    gamma = chunk(b"gAMA", struct.pack(">L", 45455))
    lost = "JPEG has no place for PNG colour chunks: left out"
    for extra, expected in (
        ([gamma, chunk(b"cHRM", corners)], ""),
        ([gamma, chunk(b"cHRM", wide)], lost),
        ([chunk(b"sRGB", b"\0"), chunk(b"cHRM", wide)], ""),
        ([chunk(b"sRGB", b"\0"), chunk(b"cLLI", bytes(8))], lost),
        ([chunk(b"cICP", b"\x0c\x0d\0\1"), chunk(b"sRGB", b"\0")], lost),
        ([chunk(b"cICP", b"\x01\x0d\0\1")], ""),
    ):
        assert told(with_chunks(saved(photo(), "PNG"), *extra), JPEG) == expected


def test_second_and_damaged_ones_of_a_png() -> None:
    def packed(keyword: bytes, body: bytes) -> bytes:
        text = b"\n%s\n%8d\n%s\n" % (b"x", len(body), body.hex().encode())
        return chunk(b"zTXt", keyword + b"\0\0" + zlib.compress(text))

    xmp = chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + pictures.XMP % 1)
    spoilt = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0rubbish")
    exif, other = pictures.exif_block(1), pictures.exif_block(1, size=(1, 2))
    iptc = (
        b"8BIM\x04\x04\0\0" + struct.pack(">L", len(pictures.IPTC)) + pictures.IPTC + b"\0" * (len(pictures.IPTC) % 2)
    )
    icc = zlib.compress(pictures.wide_profile())
    for extra, expected in (
        ([xmp, xmp], ("a second XMP",)),
        ([spoilt], ("XMP that is damaged",)),
        ([chunk(b"eXIf", exif), packed(b"Raw profile type exif", exif)], ()),
        ([chunk(b"eXIf", exif), packed(b"Raw profile type exif", other)], ("a second EXIF",)),
        ([chunk(b"eXIf", exif), chunk(b"eXIf", exif)], ("a second EXIF block",)),
        ([packed(b"Raw profile type iptc", iptc)], ()),
        ([packed(b"Raw profile type iptc", iptc), packed(b"Raw profile type 8bim", iptc)], ()),
        ([chunk(b"zTXt", b"Raw profile type icc\0\0rubbish")], ("colour profile that is damaged",)),
        ([chunk(b"iCCP", b"a\0\0" + icc)] * 2, ("a second colour profile",)),
        ([chunk(b"tIME", bytes(7)), chunk(b"sBIT", bytes(3)), chunk(b"iDOT", bytes(28))], ()),
    ):
        assert names(with_chunks(saved(photo(), "PNG"), *extra)) == expected
    assert names(saved(photo(), "PNG") + b"more") == ("bytes behind its end",)
    assert names(saved(photo(), "PNG") + bytes(9)) == ()


def test_webp_chunks_that_its_header_does_not_announce() -> None:
    data = saved(photo(), "WEBP", exif=pictures.exif_block(1), xmp=pictures.XMP % 1)
    assert names(data) == ()
    at = data.index(b"VP8X") + 8
    assert names(data[:at] + bytes([data[at] & ~0x0C]) + data[at + 1 :]) == ("EXIF", "XMP")
    twice = data + b"EXIF" + struct.pack("<L", 8) + b"II*\0\x08\0\0\0"
    assert names(twice[:4] + struct.pack("<L", len(twice) - 8) + twice[8:]) == ("a second EXIF",)
    assert names(data + b"more") == ("bytes behind its end",)


def bmp(space: bytes, profile: bytes = b"", corners: bytes = bytes(48)) -> bytes:
    """An RGB picture of 2×2 with the longest of headers."""
    pixels = bytes(range(16))
    head = struct.pack("<LllHHLLllLL", 124, 2, 2, 1, 24, 0, 16, 0, 0, 0, 0) + bytes(16) + space[::-1] + corners
    head += struct.pack("<LLLL", 4, 124 + 16 if profile else 0, len(profile), 0)
    body = head + pixels + profile
    return b"BM" + struct.pack("<LHHL", 14 + len(body), 0, 0, 14 + 124) + body


def test_colours_of_bmp() -> None:
    assert names(bmp(b"sRGB")) == ()
    assert names(bmp(b"MBED", pictures.wide_profile())) == ("colour profile",)
    assert names(bmp(bytes(4), corners=bytes(range(48)))) == ("its colours' own primaries and gamma",)
    assert names(bmp(b"sRGB") + b"more") == ("bytes behind its end",)
    assert "colour profile" in told(bmp(b"MBED", pictures.wide_profile()), BMP)
    for mode in ("RGB", "RGBA", "L", "1", "P"):
        assert names(saved(Image.fromarray(photo()).convert(mode), "BMP", dpi=(300, 300))) == ()


def test_what_is_damaged_or_twice_in_a_tiff() -> None:
    order, entry = "<", struct.Struct("<HHLL")

    def changed(data: bytes, tag: int, *values: int) -> bytes:
        at = data.index(struct.pack(order + "H", tag), struct.unpack_from("<L", data, 4)[0])
        return data[:at] + entry.pack(*values) + data[at + 12 :]

    extra = [(315, "s", 9, b"Ms. Rain\0", True), (65001, "B", 9, b"whatever\1", True)]
    data = tiff(photo(), photometric="rgb", extratags=extra, metadata=None, software=False)
    assert names(data) == ()
    outside = changed(data, 65001, 65001, 1, 9, 2**31)
    assert names(outside) == ("TIFF tag 65001",)
    assert "TIFF tag 65001" in told(outside, TIFF)
    assert names(changed(data, 65001, 315, 2, 4, 0x61616161)) == ("TIFF tag 315",)
    assert names(changed(data, 65001, 65001, 13, 1, 8)) == ("TIFF tag 65001",)
    assert names(changed(data, 315, 700, 1, 9, 2**31)) == ("XMP that is damaged",)
    for tag, label in ((34665, "EXIF"), (34853, "GPS")):
        assert names(changed(data, 65001, tag, 4, 1, 2**30)) == (f"{label} that is damaged",)


def test_pictures_below_a_tiff() -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(photo(), photometric="rgb", subifds=1, metadata=None)
        writer.write(photo(24, 32), photometric="rgb", subfiletype=1, metadata=None)
    assert names(file.getvalue()) == ("further pictures in sub-directories",)


def test_exif_tags_that_a_tiff_does_not_take_over() -> None:
    block = bytearray(pictures.exif_block(1))
    at = block.index(struct.pack("<HH", 0x013B, 2))
    struct.pack_into("<L", block, at + 8, 2**31)  # the artist's name lies outside
    picture = Picture(photo(), None, False, JPEG, Metadata(exif=bytes(block)))
    assert encode(picture, TIFF, SaveOptions())[1] == ("left out, for no result holds it: EXIF tag 315",)
    assert encode(picture, PNG, SaveOptions())[1] == ()
    struct.pack_into("<HHLL", block, at, 700, 1, 4, 0x3E2F783C)  # a packet in EXIF itself
    picture = Picture(photo(), None, False, JPEG, Metadata(exif=bytes(block)))
    assert encode(picture, TIFF, SaveOptions())[1] == ("left out, for no result holds it: EXIF tag 700",)


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">L", 8 + len(body)) + kind + body


def items(*kinds: tuple[int, bytes, bytes], links: tuple[bytes, ...] = (), properties: tuple[bytes, ...] = ()) -> bytes:
    """The boxes of a file of items, the first of which is its picture and has all properties."""
    listed = b"".join(
        box(b"infe", b"\2\0\0\0", struct.pack(">HH", number, 0), kind, b"\0", content + b"\0" if content else b"")
        for number, kind, content in kinds
    )
    places = struct.pack(">LHB", 1, kinds[0][0], len(properties)) + bytes(range(1, len(properties) + 1))
    meta = box(b"hdlr", bytes(24)) + box(b"pitm", bytes(4), struct.pack(">H", kinds[0][0]))
    meta += box(b"iinf", bytes(4), struct.pack(">H", len(kinds)), listed) + box(b"iref", bytes(4), *links)
    meta += box(b"iprp", box(b"ipco", *properties), box(b"ipma", bytes(4), places))
    return box(b"ftyp", b"heic") + box(b"meta", bytes(4), meta) + box(b"mdat", b"pixels")


def link(kind: bytes, source: int, *targets: int) -> bytes:
    return box(kind, struct.pack(f">HH{len(targets)}H", source, len(targets), *targets))


RDF = b"application/rdf+xml"
FULL = Metadata(exif=b"II*\0", xmp=b"<x>")


def test_items_of_heic_and_avif() -> None:
    alpha = box(b"auxC", bytes(4), b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")
    for data, expected in (
        (items((1, b"hvc1", b"")), []),
        (items((1, b"grid", b""), (2, b"hvc1", b""), links=(link(b"dimg", 1, 2, 2),)), []),
        (items((1, b"hvc1", b""), (2, b"hvc1", b""), links=(link(b"thmb", 2, 1),)), []),
        (items((1, b"hvc1", b""), (2, b"hvc1", b"")), [boxes.OTHERS]),
        (items((1, b"hvc1", b""), (2, b"hvc1", b""), links=(link(b"auxl", 2, 1),)), [boxes.OTHERS]),
        (items((1, b"hvc1", b""), (2, b"Exif", b""), (3, b"mime", RDF), links=(link(b"cdsc", 2, 1),)), []),
        (items((1, b"hvc1", b""), (2, b"Exif", b""), (3, b"Exif", b"")), ["a second EXIF"]),
        (items((1, b"hvc1", b""), (2, b"mime", b"text/plain")), ["text/plain item"]),
        (items((1, b"hvc1", b""), (2, b"abcd", b"")), ["abcd item"]),
        (items((1, b"hvc1", b""), properties=(box(b"ispe", bytes(12)), box(b"clli", bytes(4)))), ["its light levels"]),
        (items((1, b"hvc1", b""), properties=(box(b"pasp", struct.pack(">LL", 2, 1)),)), ["the shape of its pixels"]),
        (items((1, b"hvc1", b""), properties=(box(b"pasp", struct.pack(">LL", 1, 1)), alpha)), []),
        (items((1, b"hvc1", b"")) + box(b"uuid", boxes.C2PA), ["content credentials (C2PA)"]),
        (items((1, b"hvc1", b"")) + box(b"mpvd", b"a video"), ["mpvd box"]),
    ):
        assert boxes.of_boxes(data, FULL, cropped=True) == expected
    both = items((1, b"hvc1", b""), (2, b"Exif", b""), (3, b"mime", RDF))
    assert boxes.of_boxes(both, Metadata(), cropped=True) == ["EXIF that is damaged", "XMP that is damaged"]
    crop = items((1, b"av01", b""), properties=(box(b"clap", bytes(32)),))
    assert boxes.of_boxes(crop, FULL, cropped=False) == ["its crop"]
    for end in range(len(both)):
        boxes.of_boxes(both[:end], FULL, cropped=True)


@pytest.mark.parametrize("image_format", [AVIF, HEIC])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_whole_files_of_avif_and_heic_lose_nothing(image_format: ImageFormat, channels: int) -> None:
    if image_format is HEIC:
        pytest.importorskip("pillow_heif", reason="HEIC needs the extra heic")
    samples = photo(channels=channels)
    grey = channels == 1
    pixels = np.repeat(samples, 3, axis=2) if grey else np.ascontiguousarray(samples[..., :3])
    alpha = np.ascontiguousarray(samples[..., 3]) if channels == 4 else None
    metadata = Metadata(
        exif=pictures.exif_block(1), icc=None if grey else pictures.wide_profile(), xmp=pictures.XMP % 1
    )
    data, notices = encode(Picture(pixels, alpha, grey, PNG, metadata), image_format, SaveOptions())
    assert notices == ()
    picture = read(data)
    assert (picture.notices, picture.metadata.left_out) == ((), ())
    assert pictures.MAKER_NOTE in picture.metadata.exif
    assert picture.metadata.xmp == pictures.XMP % 1
    damaged = data.replace(b"Exif", b"Exyf", 1)  # the type of its item
    assert "Exyf item" in told(damaged, PNG)
    assert told(data + box(b"mpvd", b"a video of the moment"), PNG).endswith("mpvd box")
