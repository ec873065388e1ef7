"""Whatever a picture's file holds is in the result byte for byte, or named in a notice."""

import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

import pictures
import pytest
from image_checks import AVIF, BMP, JPEG, PNG, TIFF, WEBP
from pictures import chunk, photo, saved, segment, tiff

from dpenet_cli.images.reading import read
from dpenet_cli.images.writing import encode
from dpenet_cli.options import ImageFormat, SaveOptions

RESULTS = [JPEG, PNG, WEBP, TIFF, BMP, AVIF]
PIXELS = photo(16, 24)
BLOCK = pictures.exif_block(1, size=(24, 16))
XMP = pictures.XMP % 1
PROFILE = pictures.wide_profile()


class Kind(NamedTuple):
    """A kind of metadata.

    Attributes:
        part: what it adds to the file.
        trace: bytes of it that are in a result that holds it, in the file or in what is read of it again.
        word: stands in the notice of a result that does not.
        damaged: the part, damaged.
        damaged_trace: its trace then; None where it must be named.
    """

    part: object
    trace: bytes
    word: str
    damaged: object = None
    damaged_trace: bytes | None = None


def resources(*pairs: tuple[int, bytes]) -> bytes:
    return b"".join(
        b"8BIM" + struct.pack(">HHL", code, 0, len(body)) + body + b"\0" * (len(body) % 2) for code, body in pairs
    )


def app(marker: int, payload: bytes, word: str, trace: bytes | None = None, damaged: bytes | None = None) -> Kind:
    """A segment, and the same with 8 bytes in its middle inverted, unless it is told how it is damaged."""
    middle = max(len(payload) // 2, 12)
    spoilt = payload[:middle] + bytes(255 - value for value in payload[middle : middle + 8]) + payload[middle + 8 :]
    other = spoilt if damaged is None else damaged
    rest = other if trace is None else None
    return Kind(segment(marker, payload), trace or payload, word, segment(marker, other), rest)


IPTC_BLOCK = resources((0x0404, pictures.IPTC))
XMP_START, EXTENSION = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
JPEG_KINDS = {
    "EXIF": app(0xE1, b"Exif\0\0" + BLOCK, "EXIF", pictures.MAKER_NOTE, b"Exif\0\0" + b"II*\0\xff\xff\xff\0"),
    "XMP": app(0xE1, XMP_START + XMP, "XMP", XMP, XMP_START + b"<x:xmp")._replace(damaged_trace=b"<x:xmp"),
    "extended XMP": app(0xE1, EXTENSION + bytes(40) + b"a long packet's second half", "extended XMP"),
    "second XMP": app(0xE1, XMP_START + b"another", "a second XMP packet|XMP", b"another", XMP_START + b"\xff\xff"),
    "infrared": app(0xE1, b"FLIR\0\1\0\0thermal data of a camera", "APP1"),
    "profile": app(0xE2, b"ICC_PROFILE\0\1\1" + PROFILE, "profile", PROFILE, b"ICC_PROFILE\0\2\3" + PROFILE[:100]),
    "other pictures": app(0xE2, b"MPF\0II*\0\x08\0\0\0" + bytes(20), "only the main picture"),
    "FlashPix": app(0xE2, b"FPXR\0\0 some old camera's", "APP2"),
    "gain map": app(0xE2, b"urn:iso:std:iso:ts:21496:-1\0" + bytes(8), "APP2"),
    "IPTC": app(0xED, b"Photoshop 3.0\0" + IPTC_BLOCK, "IPTC", pictures.IPTC, b"Photoshop 3.0\0" + IPTC_BLOCK[:9]),
    "paths": app(0xED, b"Photoshop 3.0\0" + resources((0x07D0, b"a clipping path")), "Photoshop's resources"),
    "Adobe colours": app(0xED, b"Adobe_CM\0\2", "APP13"),
    "JUMBF": app(0xEB, b"JP\0\1\0\0\0\1" + bytes(30), "content credentials"),
    "HDR": app(0xEB, b"HDR_RI ver=11", "APP11"),
    "save for web": app(0xEC, b"Ducky\0\1\0\4\0\0\0\x3c\0\0", "APP12"),
    "comment": app(0xFE, b"a wet street", "comments", damaged=b"a w\x01t street"),
    **{
        f"APP{n}": app(0xE0 + n, b"some maker's own %d" % n, f"APP{n} segment")
        for n in (0, 3, 4, 5, 6, 7, 8, 9, 10, 14, 15)
    },
}


JPEG_KINDS["second XMP"] = JPEG_KINDS["second XMP"]._replace(damaged_trace=b"\xff\xff")


def a_jpeg(parts: list[bytes]) -> bytes:
    plain = saved(PIXELS, "JPEG", quality=90)
    at = 4 + int.from_bytes(plain[4:6], "big")
    return plain[:at] + b"".join(parts) + plain[at:]


def spoilt(kind: bytes, body: bytes) -> bytes:
    """A chunk whose checksum is wrong."""
    return chunk(kind, body)[:-1] + bytes([chunk(kind, body)[-1] ^ 1])


def piece(kind: bytes, body: bytes, trace: bytes | None = None, word: str = "") -> Kind:
    """A chunk, and the same with a wrong checksum."""
    return Kind(chunk(kind, body), trace or body, word or kind.decode(), spoilt(kind, body))


def raw_profile(name: bytes, body: bytes) -> bytes:
    text = b"\n%s\n%8d\n%s\n" % (name, len(body), body.hex().encode())
    return b"Raw profile type " + name + b"\0\0" + zlib.compress(text)


CORNERS = struct.pack(">8L", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
ICON = resources((0x07D0, b"a path"), (0x0404, pictures.IPTC))
PNG_KINDS = {
    "EXIF": piece(b"eXIf", BLOCK, pictures.MAKER_NOTE, "EXIF"),
    "profile": piece(b"iCCP", b"wide\0\0" + zlib.compress(PROFILE), PROFILE, "profile"),
    "resolution": Kind(
        chunk(b"pHYs", struct.pack(">LLB", 7874, 7874, 1)), b"200", "resolution", spoilt(b"pHYs", bytes(9))
    ),
    "XMP": piece(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + XMP, XMP, "XMP"),
    "text": piece(b"tEXt", b"Title\0Rain", word="text"),
    "packed text": piece(b"zTXt", b"Story\0\0" + zlib.compress(b"long"), word="text"),
    "other text": piece(b"iTXt", b"Author" + bytes(5) + "Jürgen".encode(), word="text"),
    "IPTC": piece(b"zTXt", raw_profile(b"8bim", ICON), pictures.IPTC, "IPTC"),
    "gamma": piece(b"gAMA", struct.pack(">L", 100000), word="colour"),
    "primaries": piece(b"cHRM", CORNERS, word="colour"),
    "screen": piece(b"mDCV", bytes(range(24)), word="colour"),
    "light": piece(b"cLLI", bytes(range(8)), word="colour"),
    "background": piece(b"bKGD", b"\0\1\0\2\0\3"),
    "offset": piece(b"oFFs", struct.pack(">llB", 3, 4, 0), word="PNG"),
    "scale": piece(b"sCAL", b"\1 1.0\0 2.0"),
    "calibration": piece(b"pCAL", b"name\0" + bytes(10)),
    "stereo": piece(b"sTER", b"\0"),
    "signature": piece(b"dSIG", b"signed"),
    "credentials": piece(b"caBX", b"\0\0\0\x10jumb", word="C2PA"),
    "unknown, to be copied": piece(b"vpAg", b"some program's own", word="PNG"),
    "unknown, not to be copied": piece(b"xyZW", b"of the pixels as they were"),
    "one frame of an animation": piece(b"acTL", struct.pack(">LL", 1, 0)),
    "its control": piece(b"fcTL", struct.pack(">LLLLLHHBB", 0, 24, 16, 0, 0, 1, 1, 0, 0)),
    "a frame that is not shown": piece(b"fdAT", bytes(20)),
}


def a_png(parts: list[bytes]) -> bytes:
    return pictures.with_chunks(saved(PIXELS, "PNG"), *parts)


def riff(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<L", len(body)) + body + b"\0" * (len(body) % 2)


WEBP_KINDS = {
    "profile": Kind((b"ICCP", PROFILE, 0x20), PROFILE, "profile", (b"ICCP", b"no profile", 0x20), b"no profile"),
    "EXIF": Kind((b"EXIF", BLOCK, 0x08), pictures.MAKER_NOTE, "EXIF", (b"EXIF", b"II*\0\xff\xff\xff\0", 0x08)),
    "XMP": Kind((b"XMP ", XMP, 0x04), XMP, "XMP", (b"XMP ", b"<x:xmp", 0x04), b"<x:xmp"),
    "unknown": Kind((b"C2PA", b"signed", 0), b"signed", "C2PA"),
    "another": Kind((b"abcd", b"own", 0), b"own", "abcd"),
}


def a_webp(parts: list[tuple[bytes, bytes, int]]) -> bytes:
    picture = saved(PIXELS, "WEBP", lossless=True)[12:]
    flags = sum({flag for *_, flag in parts})
    head = bytes([flags, 0, 0, 0]) + (23).to_bytes(3, "little") + (15).to_bytes(3, "little")
    inner = riff(b"VP8X", head) + b"".join(riff(kind, body) for kind, body, _ in parts if kind == b"ICCP") + picture
    inner += b"".join(riff(kind, body) for kind, body, _ in parts if kind != b"ICCP")
    return b"RIFF" + struct.pack("<L", len(inner) + 4) + b"WEBP" + inner


def tag(number: int, kind: str, value: object, word: str, trace: bytes, damaged: object = None) -> Kind:
    count = len(value) if isinstance(value, bytes | tuple) else 1
    other = None if damaged is None else (number, kind, len(damaged), damaged, True)
    return Kind((number, kind, count, value, True), trace, word, other, damaged if number == 34675 else None)


TIFF_KINDS = {
    "artist": tag(315, "s", b"Ms. Rain\0", "EXIF", b"Ms. Rain"),
    "geography": tag(34737, "s", b"WGS 84|\0", "EXIF", b"WGS 84|"),
    "a maker's own": tag(65001, "B", b"\1\2\3some bytes", "EXIF", b"\1\2\3some bytes"),
    "XMP": tag(700, "B", XMP, "XMP", XMP),
    "IPTC": tag(33723, "B", pictures.IPTC, "IPTC", pictures.IPTC),
    "profile": tag(34675, "B", PROFILE, "profile", PROFILE, b"no profile at all"),
    "Photoshop's": tag(34377, "B", resources((0x07D0, b"a path")), "Photoshop's resources", b"a path", b"8BIM\7\xd0"),
    "layers": tag(37724, "B", b"Adobe Photoshop Document Data Block", "layers", b"Document Data Block"),
    "halftone": tag(321, "H", (1, 254), "halftone", b"\1\0\xfe\0"),
    "response": tag(291, "H", (7, 9), "grey response", b"\7\0\x09\0"),
}


def a_tiff(parts: list[tuple[object, ...]]) -> bytes:
    return tiff(PIXELS, photometric="rgb", extratags=parts, metadata=None, software=False)


FORMATS: dict[str, tuple[Callable[[list], bytes], dict[str, Kind]]] = {
    "jpeg": (a_jpeg, JPEG_KINDS),
    "png": (a_png, PNG_KINDS),
    "webp": (a_webp, WEBP_KINDS),
    "tiff": (a_tiff, TIFF_KINDS),
}


def lost(data: bytes, wanted: dict[str, tuple[bytes | None, str]], image_format: ImageFormat) -> list[str]:
    """Kinds of which neither the trace is in the result nor the word in a notice."""
    picture = read(data)
    result, notices = encode(picture, image_format, SaveOptions())
    back = read(result).metadata
    there = [result, back.icc or b"", back.xmp or b"", back.iptc or b"", back.exif or b"", *back.comments]
    there += [str(round(value)).encode() for value in back.dpi or ()]
    told = "; ".join(picture.notices + notices).replace(
        "colours were converted", "colours were converted by their profile"
    )
    return [
        name
        for name, (trace, word) in wanted.items()
        if not (trace is not None and any(trace in place for place in there))
        and not any(each in told for each in word.split("|"))
    ]


@pytest.mark.parametrize("image_format", RESULTS)
@pytest.mark.parametrize("source", FORMATS)
def test_every_kind_is_there_or_named(source: str, image_format: ImageFormat) -> None:
    build, kinds = FORMATS[source]
    wanted = {name: (kind.trace, kind.word) for name, kind in kinds.items()}
    assert lost(build([kind.part for kind in kinds.values()]), wanted, image_format) == []


@pytest.mark.parametrize(("source", "without"), [(source, name) for source in FORMATS for name in FORMATS[source][1]])
def test_the_others_are_there_or_named_without_each(source: str, without: str) -> None:
    build, kinds = FORMATS[source]
    rest = {name: kind for name, kind in kinds.items() if name != without}
    wanted = {name: (kind.trace, kind.word) for name, kind in rest.items()}
    data = build([kind.part for kind in rest.values()])
    assert lost(data, wanted, ImageFormat(source)) == []
    assert lost(data, wanted, PNG if source != "png" else JPEG) == []


@pytest.mark.parametrize(
    ("source", "name"), [(s, name) for s in FORMATS for name, kind in FORMATS[s][1].items() if kind.damaged is not None]
)
def test_what_is_damaged_is_there_or_named(source: str, name: str) -> None:
    build, kinds = FORMATS[source]
    kind = kinds[name]
    others = {other: (kinds[other].trace, kinds[other].word) for other in kinds if other != name}
    data = build([kind.damaged if other == name else kinds[other].part for other in kinds])
    word = kind.damaged[4:8].decode() if source == "png" else kind.word
    for image_format in (ImageFormat(source), PNG if source != "png" else JPEG, WEBP):
        assert lost(data, others | {name: (kind.damaged_trace, word)}, image_format) == []
    alone = build([kind.damaged])
    for image_format in (ImageFormat(source), BMP):
        assert lost(alone, {name: (kind.damaged_trace, word)}, image_format) == []


@pytest.mark.parametrize("source", FORMATS)
def test_nothing_is_told_where_nothing_is_lost_or_asked_for(source: str) -> None:
    build, kinds = FORMATS[source]
    plain = read(build([]))
    assert plain.notices == ()
    for image_format in RESULTS:
        assert encode(plain, image_format, SaveOptions())[1] == ()
    full = read(build([kind.part for kind in kinds.values()]))
    told = "; ".join(encode(full, ImageFormat(source), SaveOptions(strip_metadata=True))[1])
    assert "left out" not in told
