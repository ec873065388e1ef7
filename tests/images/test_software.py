"""The tag of a result: EXIF's Software names dpenet behind whoever stood there, and all else keeps its bytes."""

import struct

import numpy as np
import pictures
import pytest
from image_checks import AVIF, BMP, HEIC, JPEG, PNG, TIFF, WEBP, again, exiftool, needs_exiftool
from pictures import camera_jpeg, photo

from dpenet_cli.images import exif, ifd
from dpenet_cli.images.picture import Metadata, Picture
from dpenet_cli.images.reading import read
from dpenet_cli.images.software import SOFTWARE, with_software
from dpenet_cli.images.writing import encode
from dpenet_cli.options import SaveOptions

NAME = "dpenet 0.1.0 (general 0a1b2c3d)"
TAGGED = SaveOptions(tag=NAME)


def software(block: bytes) -> bytes:
    return exif.first_directory(block)[1].get(SOFTWARE).value


@pytest.mark.parametrize("image_format", [JPEG, PNG, TIFF, WEBP, AVIF, HEIC])
def test_a_picture_without_exif_gets_the_tag_alone(image_format):
    if image_format is HEIC:
        pytest.importorskip("pillow_heif", reason="the extra `heic` is not installed")
    plain = Picture(photo(), None, False, PNG)
    _, back = again(plain, image_format, TAGGED)
    assert software(back.metadata.exif) == NAME.encode() + b"\0"
    _, twice = again(back, image_format, TAGGED)
    assert software(twice.metadata.exif) == NAME.encode() + b"\0"
    assert encode(plain, image_format, SaveOptions())[0] != encode(plain, image_format, TAGGED)[0]


@needs_exiftool
@pytest.mark.parametrize("image_format", [JPEG, PNG, TIFF, WEBP, AVIF, HEIC])
@pytest.mark.parametrize("order", ["<", ">"])
def test_what_a_camera_wrote_is_still_there(image_format, order, tmp_path):
    if image_format is HEIC:
        pytest.importorskip("pillow_heif", reason="the extra `heic` is not installed")
    camera = read(camera_jpeg(6, order))
    plain = exiftool(encode(camera, image_format, SaveOptions())[0], tmp_path, image_format.value)
    data, _ = encode(camera, image_format, TAGGED)
    tags = exiftool(data, tmp_path, image_format.value)
    before = plain.get("IFD0:Software")
    assert tags["IFD0:Software"] == (f"{before}; {NAME}" if before else NAME)
    same = {name for name in plain if name.split(":")[0] in {"IFD0", "ExifIFD", "GPS", "InteropIFD"}}
    same -= {"IFD0:Software", "IFD0:StripOffsets", "IFD0:StripByteCounts"}
    assert {name: tags.get(name) for name in same} == {name: plain[name] for name in same}
    assert tags.get("ExifTool:Warning", "[minor]").startswith("[minor]")
    assert pictures.MAKER_NOTE in data or image_format is PNG


@pytest.mark.parametrize("order", ["<", ">"])
def test_every_byte_but_the_first_table_keeps_its_place(order):
    block = read(camera_jpeg(6, order)).metadata.exif
    tagged = with_software(block, NAME)
    assert tagged[8 : len(block)] == block[8:]
    assert tagged[:4] == block[:4]
    header, before = exif.first_directory(block)
    _, after = exif.first_directory(tagged)
    kept = [(entry.tag, entry.kind, entry.count, entry.value) for entry in after.entries if entry.tag != SOFTWARE]
    assert kept == [(e.tag, e.kind, e.count, e.value) for e in before.entries if e.tag != SOFTWARE]
    assert [entry.tag for entry in after.entries] == sorted(entry.tag for entry in after.entries)
    assert header.order == order


def test_the_software_of_others_is_not_lost():
    block = with_software(None, "Adobe Lightroom 6.0")
    assert software(with_software(block, NAME)) == f"Adobe Lightroom 6.0; {NAME}\0".encode()
    later = with_software(with_software(block, NAME), "dpenet 0.2.0 (light 00000000)")
    assert software(later).startswith(f"Adobe Lightroom 6.0; {NAME}; dpenet 0.2.0".encode())
    assert software(with_software(None, "x")) == b"x\0"  # it fits into the entry itself
    assert software(with_software(None, "naß")) == b"na\\xdf\0"


def test_stripped_metadata_leave_the_tag_alone():
    _, back = again(read(camera_jpeg(6)), JPEG, SaveOptions(strip_metadata=True, tag=NAME))
    assert [entry.tag for entry in exif.first_directory(back.metadata.exif)[1].entries] == [SOFTWARE]
    assert back.metadata.xmp is None


def test_where_there_is_no_place_it_is_told_and_nothing_else_is_lost():
    told = "no tag was written: this file has no place for it"
    plain = Picture(photo(), None, False, PNG)
    data, notices = encode(plain, BMP, TAGGED)
    assert told in notices
    assert data == encode(plain, BMP, SaveOptions())[0]
    # As long as a JPEG's segment can be: with a tag, all of it would be left out.
    value = (0x010E, 2, 65_400, b"a" * 65_399 + b"\0")
    block = bytearray(ifd.blank("<"))
    ifd.set_first(block, "<", len(block))
    block += ifd.table([value], "<", len(block))
    long = Picture(photo(), None, False, PNG, Metadata(exif=bytes(block) + bytes(65_520 - len(block))))
    data, notices = encode(long, JPEG, TAGGED)
    assert told in notices
    assert read(data).metadata.exif == long.metadata.exif
    # As many entries as a directory may have.
    entries = [(0x8000 + number, 3, 1, struct.pack("<H", number)) for number in range(ifd.MAX_ENTRIES)]
    block = bytearray(ifd.blank("<"))
    ifd.set_first(block, "<", len(block))
    block += ifd.table(entries, "<", len(block))
    with pytest.raises(ifd.DamagedError):
        with_software(bytes(block), NAME)
    _, notices = encode(Picture(photo(), None, False, PNG, Metadata(exif=bytes(block))), PNG, TAGGED)
    assert told in notices


def test_damaged_exif_makes_room_for_the_tag():
    picture = Picture(photo(), None, False, PNG, Metadata(exif=b"no exif at all"))
    data, notices = encode(picture, PNG, TAGGED)
    assert any("damaged" in notice for notice in notices)
    assert software(read(data).metadata.exif) == NAME.encode() + b"\0"
    assert np.array_equal(read(data).pixels, picture.pixels)
