"""JPEG files: their tables, their headers, and what rides along in them."""

import dataclasses
import struct

import pictures
import pytest
from image_checks import JPEG, PLAIN, pil
from pictures import camera_jpeg, chunk, photo, saved, with_chunks
from PIL import Image

from dpenet_cli.errors import ImageRefused
from dpenet_cli.images.jpeg_tables import gentle_tables
from dpenet_cli.images.picture import Metadata
from dpenet_cli.images.reading import read
from dpenet_cli.images.writing import encode
from dpenet_cli.options import SaveOptions


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
        icc=profile,
        xmp=b"first",
        xmp_extension=(extension,),
        iptc=iptc,
        comments=(b"one", b"two"),
        dpi=metadata.dpi,
        left_out=("a second XMP packet",),
    )
    assert read(encode(read(data), JPEG, PLAIN)[0]).metadata == dataclasses.replace(metadata, left_out=())


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
