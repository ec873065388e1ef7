"""Small copies of the rainy picture among the metadata: told where they stay, taken out where that harms nothing."""

import base64
import struct
import subprocess
from pathlib import Path

import numpy as np
import pictures
import pytest
from conftest import dpenet
from image_checks import AVIF, BMP, HEIC, JPEG, PNG, TIFF, WEBP
from pictures import chunk, photo, saved, segment, tiff, with_chunks

from dpenet_cli.images.ifd import EXIF_POINTER
from dpenet_cli.images.picture import Metadata, Picture
from dpenet_cli.images.previews import holds_jpeg, xmp_without_thumbnails
from dpenet_cli.images.reading import read
from dpenet_cli.images.writing import encode
from dpenet_cli.options import SaveOptions

PREVIEW = saved(photo(60, 80), "JPEG", quality=80)
STILL = "a preview in the maker notes still shows the rain"
IN_XMP = "a preview in its XMP still shows the rain"
PROGRESSIVE = saved(photo(60, 80), "JPEG", quality=80, progressive=True)


def block(maker_note: bytes, behind: bytes = b"") -> bytes:
    """EXIF with a maker note, and bytes behind everything."""
    inner = 8 + 2 + 12 + 4
    note_at = inner + 2 + 12 + 4
    first = struct.pack("<HHHLLL", 1, EXIF_POINTER, 4, 1, inner, 0)
    exif = struct.pack("<HHHLLL", 1, 0x927C, 7, len(maker_note), note_at, 0)
    return b"II*\0\x08\0\0\0" + first + exif + maker_note + behind


NOTE = b"MAKER\0\1\0" + struct.pack("<LL", 24, len(PREVIEW)) + bytes(8) + PREVIEW
INSIDE = block(NOTE)
OUTSIDE = block(b"MAKER\0\1\0" + struct.pack("<LL", 60, len(PREVIEW)), PREVIEW)


def sources(exif: bytes) -> dict[str, bytes]:
    plain = saved(photo(), "JPEG")
    return {
        "jpeg": plain[:2] + segment(0xE1, b"Exif\0\0" + exif) + plain[2:],
        "png": with_chunks(saved(photo(), "PNG"), chunk(b"eXIf", exif)),
        "webp": saved(photo(), "WEBP", exif=exif),
        "avif": saved(photo(), "AVIF", exif=exif),
    }


@pytest.mark.parametrize(
    "exif", [INSIDE, OUTSIDE, block(b"MAKER\0" + PROGRESSIVE)], ids=["inside", "outside", "progressive"]
)
@pytest.mark.parametrize("source", ["jpeg", "png", "webp", "avif"])
def test_a_preview_that_stays_is_told(source: str, exif: bytes) -> None:
    picture = read(sources(exif)[source])
    for image_format in (JPEG, PNG, WEBP, TIFF, AVIF):
        data, notices = encode(picture, image_format, SaveOptions())
        assert notices == (STILL,)
        if image_format is not PNG or source != "png":
            assert data.count(b"JFIF") == (2 if image_format is JPEG else 1)
        data, notices = encode(picture, image_format, SaveOptions(strip_metadata=True))
        assert notices == ()
        assert data.count(b"\xff\xd8\xff") == (image_format is JPEG)
    data, notices = encode(picture, BMP, SaveOptions())
    assert notices == ("BMP has no place for EXIF: left out",)


def test_a_preview_in_heic_and_tiff() -> None:
    picture = read(tiff(photo(), photometric="rgb", metadata=None))
    exif = read(sources(INSIDE)["jpeg"]).metadata.exif
    data, notices = encode(Picture(picture.pixels, None, False, TIFF, Metadata(exif=exif)), TIFF, SaveOptions())
    assert notices == (STILL,)
    again = read(data)  # a TIFF whose maker note holds it
    assert NOTE in again.metadata.exif
    assert encode(again, PNG, SaveOptions())[1] == (STILL,)
    pytest.importorskip("pillow_heif", reason="HEIC needs the extra heic")
    data, notices = encode(again, HEIC, SaveOptions())
    assert notices == (STILL,)
    assert encode(read(data), JPEG, SaveOptions())[1] == (STILL,)


def test_the_maker_note_keeps_its_bytes_and_the_thumbnail_goes() -> None:
    picture = read(sources(pictures.exif_block(6))["jpeg"])  # whose maker note holds no picture
    assert encode(picture, JPEG, SaveOptions())[1] == ()
    data, _ = encode(read(sources(INSIDE)["jpeg"]), JPEG, SaveOptions())
    kept = read(data).metadata.exif
    assert kept[44 : 44 + len(NOTE)] == NOTE


FRAME = PREVIEW.index(b"\xff\xc0")
SCAN = PREVIEW.index(b"\xff\xda")


@pytest.mark.parametrize(
    "look_alike",
    [
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1" + bytes(200),
        b"\xff\xd8\xff\xe1" + bytes(range(256)) * 4,
        PREVIEW[:FRAME] + bytes(300),
        PREVIEW[: SCAN + 14] + bytes(300),
        PREVIEW[: SCAN + 14] + bytes(300) + b"\xff\xd9",
        b"\xff\xd8\xff\xd9" * 50,
        b"\xff\xd8\xff\xdb\0\2" * 50 + b"\xff\xd9",
        np.random.default_rng(1).bytes(50_000),
    ],
)
def test_bytes_that_only_look_like_a_beginning(look_alike: bytes) -> None:
    assert not holds_jpeg(block(b"MAKER\0" + look_alike))
    picture = Picture(photo(), None, False, JPEG, Metadata(exif=block(b"MAKER\0" + look_alike)))
    assert encode(picture, PNG, SaveOptions())[1] == ()


def test_a_preview_behind_many_look_alikes_and_with_a_spoilt_first_byte() -> None:
    assert holds_jpeg(b"\xff\xd8\xff\xe0" * 20 + PREVIEW)
    assert holds_jpeg(b"note" + b"\x12" + PREVIEW[1:])  # as some cameras write it


def with_thumbnail(prefix: bytes, form: str) -> bytes:
    image = base64.b64encode(PREVIEW).replace(b"\n", b"&#xA;")
    names = b'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:%s="http://ns.adobe.com/xap/1.0/g/img/"' % prefix
    inner = {
        "elements": b"<rdf:li rdf:parseType='Resource'><%s:width>80</%s:width><%s:image>%s</%s:image></rdf:li>",
        "attribute": b"<rdf:li %s:width='80' %s:height='60' %s:image='%s'/><!--%s-->",
    }[form] % (prefix, prefix, prefix, image, prefix)
    thumbnails = b"<xmp:Thumbnails><rdf:Alt>" + inner + b"</rdf:Alt></xmp:Thumbnails>"
    head, _, tail = (pictures.XMP % 1).partition(b"/></rdf:RDF>")
    return head + b" " + names + b">" + thumbnails + b"<dc:title>a street</dc:title></rdf:Description></rdf:RDF>" + tail


@pytest.mark.parametrize("form", ["elements", "attribute"])
@pytest.mark.parametrize("prefix", [b"xmpGImg", b"xapGImg"])
def test_thumbnails_in_xmp_go_and_are_named(prefix: bytes, form: str) -> None:
    packet = with_thumbnail(prefix, form)
    files = [
        with_chunks(saved(photo(), "PNG"), chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + packet)),
        saved(photo(), "WEBP", xmp=packet),
        saved(photo(), "AVIF", xmp=packet),
        tiff(photo(), photometric="rgb", extratags=[(700, "B", len(packet), packet, True)], metadata=None),
    ]
    plain = saved(photo(), "JPEG")
    files.append(plain[:2] + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet) + plain[2:])
    for file in files:
        picture = read(file)
        assert b"image" not in picture.metadata.xmp.replace(b"/g/img/", b"")
        for kept in (b"<dc:title>a street</dc:title>", b'dc:source="the archive"'):
            assert kept in picture.metadata.xmp
        for image_format in (JPEG, PNG, WEBP, TIFF):
            data, notices = encode(picture, image_format, SaveOptions())
            assert "the thumbnail in its XMP" in "".join(notices)
            assert base64.b64encode(PREVIEW)[:60] not in data
    assert xmp_without_thumbnails(pictures.XMP) == pictures.XMP


def test_pictures_in_extended_xmp_are_told() -> None:
    start = b"http://ns.adobe.com/xmp/extension/\0" + bytes(40)
    names = b'xmlns:xmpGImg="http://ns.adobe.com/xap/1.0/g/img/"'
    image = base64.b64encode(PREVIEW)
    for part, told in (
        (b"<x " + names + b"><xmpGImg:image>" + image, (IN_XMP,)),
        (b"<x GImage:Data='" + image, (IN_XMP,)),
        (b"<x crs:Sharpness='25'/>", ()),
    ):
        picture = Picture(photo(), None, False, JPEG, Metadata(xmp=pictures.XMP, xmp_extension=(start + part,)))
        assert encode(picture, JPEG, SaveOptions())[1] == told
        assert encode(picture, PNG, SaveOptions())[1] == ("PNG has no place for extended XMP: left out",)


def test_the_command_tells_it(tmp_path: Path, tiny_weights: Path) -> None:
    (tmp_path / "preview.jpg").write_bytes(sources(INSIDE)["jpeg"])
    result: subprocess.CompletedProcess[str] = dpenet(
        "derain", "preview.jpg", "-o", "out.jpg", "--strength", "0", "--weights", tiny_weights, cwd=tmp_path
    )
    assert result.returncode == 0
    assert STILL in " ".join(result.stderr.split())
    assert NOTE in (tmp_path / "out.jpg").read_bytes()
