"""Pictures made for the tests, in every kind of file, built without the code under test."""

import io
import struct
import zlib

import numpy as np
import tifffile
from PIL import Image, ImageCms

Entry = tuple[int, int, int, bytes]
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"'
    b' tiff:Orientation="%d" dc:source="the archive"/></rdf:RDF></x:xmpmeta>'
)
IPTC = b"\x1c\x02\x00\x00\x02\x00\x04" + b"\x1c\x02\x78\x00\x0drain in town." + b"\x1c\x02\x19\x00\x04rain"
MAKER_NOTE = b"CAMERA\0\0" + bytes(range(64))
THUMBNAIL = b"\xff\xd8THUMBNAIL-OF-THE-RAINY-PICTURE" * 8 + b"\xff\xd9"


def photo(height: int = 48, width: int = 64, *, deep: bool = False, channels: int = 3, seed: int = 3) -> np.ndarray:
    """Smooth shapes with a little noise, no two corners alike."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = [np.sin(x / (7 + c)) + np.cos(y / (5 + 2 * c)) + x / width * (c + 1) for c in range(channels)]
    values = np.stack(planes, axis=-1) + rng.normal(0, 0.02, (height, width, channels))
    values = (values - values.min()) / (values.max() - values.min())
    return (values * 65535).round().astype(np.uint16) if deep else (values * 255).round().astype(np.uint8)


def _table(entries: list[Entry], order: str, base: int, following: int = 0) -> bytes:
    rows, body, at = struct.pack(order + "H", len(entries)), b"", base + 6 + 12 * len(entries)
    for tag, kind, count, value in sorted(entries):
        field = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(order + "L", at + len(body))
        if len(value) > 4:
            body += value + b"\0" * (len(value) % 2)
        rows += struct.pack(order + "HHL", tag, kind, count) + field
    return rows + struct.pack(order + "L", following) + body


def exif_block(
    orientation: int = 1, order: str = "<", size: tuple[int, int] = (64, 48), thumbnail: bool = True
) -> bytes:
    """A camera's EXIF: artist in UTF-8, dates, GPS, a maker note, and a thumbnail in IFD1."""

    def short(tag: int, value: int) -> Entry:
        return tag, 3, 1, struct.pack(order + "H", value)

    def long(tag: int, value: int) -> Entry:
        return tag, 4, 1, struct.pack(order + "L", value)

    def text(tag: int, value: str) -> Entry:
        raw = value.encode() + b"\0"
        return tag, 2, len(raw), raw

    def fractions(tag: int, *values: int) -> Entry:
        return tag, 5, len(values), b"".join(struct.pack(order + "LL", value, 100) for value in values)

    block = (b"II*\0" if order == "<" else b"MM\0*") + bytes(4)
    exif = [text(0x9003, "2024:05:06 07:08:09"), fractions(0x829A, 2), (0x927C, 7, len(MAKER_NOTE), MAKER_NOTE)]
    exif += [long(0xA002, size[0]), long(0xA003, size[1])]
    exif_at, block = len(block), block + _table(exif, order, len(block))
    gps = [text(1, "N"), fractions(2, 4700, 3000, 1234), text(3, "E"), fractions(4, 800, 1500, 4321)]
    gps_at, block = len(block), block + _table(gps, order, len(block))
    first = [text(0x010F, "Raincam"), text(0x013B, "Jürgen Müller"), short(0x0112, orientation)]
    first += [fractions(0x011A, 30000), fractions(0x011B, 30000), short(0x0128, 2)]
    first += [long(0x8769, exif_at), long(0x8825, gps_at)]
    length = len(_table(first, order, len(block)))
    at = len(block)
    block += _table(first, order, at, at + length if thumbnail else 0)
    if thumbnail:
        inner = [short(0x0103, 6), long(0x0201, len(block) + 6 + 36), long(0x0202, len(THUMBNAIL))]
        block += _table(inner, order, len(block)) + THUMBNAIL
    return block[:4] + struct.pack(order + "L", at) + block[8:]


def saved(image: Image.Image | np.ndarray, name: str, **settings: object) -> bytes:
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, name, **settings)
    return file.getvalue()


def tiff(samples: np.ndarray, **settings: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, samples, **settings)
    return file.getvalue()


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def camera_jpeg(orientation: int = 1, order: str = "<", pixels: np.ndarray | None = None, **settings: object) -> bytes:
    """A JPEG with everything a file can carry."""
    pixels = photo() if pixels is None else pixels
    encoded = saved(pixels, "JPEG", **{"quality": 90, "dpi": (300, 300), **settings})
    block = exif_block(orientation, order, pixels.shape[1::-1])
    resources = b"8BIM\x04\x0c\0\0" + struct.pack(">L", len(THUMBNAIL)) + THUMBNAIL  # Photoshop's thumbnail
    resources += b"8BIM\x04\x04\0\0" + struct.pack(">L", len(IPTC)) + IPTC + b"\0" * (len(IPTC) % 2)
    extra = segment(0xE1, b"Exif\0\0" + block) + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP % orientation)
    extra += segment(0xE2, b"ICC_PROFILE\0\x01\x01" + wide_profile()) + segment(0xED, b"Photoshop 3.0\0" + resources)
    extra += segment(0xFE, b"a wet street")
    at = 4 + int.from_bytes(encoded[4:6], "big")
    return encoded[:at] + extra + encoded[at:]


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _s15(value: float) -> bytes:
    return struct.pack(">l", round(value * 65536))


def wide_profile() -> bytes:
    """A matrix profile with the primaries of Adobe RGB (1998), gamma 2.2, D50-adapted (ICC.1:2001-04)."""
    colorants = {b"rXYZ": (0.60974, 0.31111, 0.01947), b"gXYZ": (0.20528, 0.62567, 0.06087)}
    colorants |= {b"bXYZ": (0.14919, 0.06322, 0.74457), b"wtpt": (0.9642, 1.0, 0.8249)}
    curve = b"curv" + bytes(4) + struct.pack(">LH", 1, round(2.2 * 256)) + bytes(2)
    tags = {tag: b"XYZ " + bytes(4) + b"".join(map(_s15, xyz)) for tag, xyz in colorants.items()}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    tags[b"desc"] = b"desc" + bytes(4) + struct.pack(">L", 5) + b"wide\0" + bytes(4 + 4 + 2 + 1 + 67 + 2)
    tags[b"cprt"] = b"text" + bytes(4) + b"none\0" + bytes(3)
    return _profile(b"RGB ", b"mntr", tags)


def grey_profile(gamma: float = 1.0) -> bytes:
    curve = b"curv" + bytes(4) + struct.pack(">LH", 1, round(gamma * 256)) + bytes(2)
    white = b"XYZ " + bytes(4) + _s15(0.9642) + _s15(1.0) + _s15(0.8249)
    desc = b"desc" + bytes(4) + struct.pack(">L", 5) + b"grey\0" + bytes(4 + 4 + 2 + 1 + 67 + 2)
    return _profile(b"GRAY", b"mntr", {b"desc": desc, b"wtpt": white, b"kTRC": curve})


def cmyk_profile() -> bytes:
    """The plainest ink profile: a lookup table of 2⁴ corners into CIE L*a*b*, R = (1 - C)(1 - K) and so on."""
    lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    corners = []
    for index in range(16):
        c, m, y, k = (index >> 3 & 1, index >> 2 & 1, index >> 1 & 1, index & 1)
        rgb = tuple(255 * (1 - ink) * (1 - k) for ink in (c, m, y))
        light, a, b = lab.apply(Image.new("RGB", (1, 1), rgb)).getpixel((0, 0))
        corners.append(bytes([light, a, b]))
    ramp = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + b"".join(map(_s15, (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    table += ramp * 4 + b"".join(corners) + ramp * 3
    desc = b"desc" + bytes(4) + struct.pack(">L", 4) + b"ink\0" + bytes(4 + 4 + 2 + 1 + 67 + 2)
    white = b"XYZ " + bytes(4) + _s15(0.9642) + _s15(1.0) + _s15(0.8249)
    return _profile(b"CMYK", b"prtr", {b"desc": desc, b"wtpt": white, b"A2B0": table}, b"Lab ")


def _profile(space: bytes, kind: bytes, tags: dict[bytes, bytes], connection: bytes = b"XYZ ") -> bytes:
    body, index, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        index += name + struct.pack(">LL", at + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    size = at + len(body)
    header = struct.pack(">L4sL4s4s4s", size, b"test", 0x02400000, kind, space, connection)
    header += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header += _s15(0.9642) + _s15(1.0) + _s15(0.8249)
    return header.ljust(128, b"\0") + struct.pack(">L", len(tags)) + index + body


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


def deep_png(samples: np.ndarray, *extra: bytes) -> bytes:
    """A PNG of 16 bits, H×W×C, without filters, with extra chunks."""
    height, width, channels = samples.shape
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, 16, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def with_chunks(png: bytes, *extra: bytes) -> bytes:
    return png[:33] + b"".join(extra) + png[33:]


SAMPLES = {
    "jpeg": camera_jpeg(6),
    "png": with_chunks(saved(photo(), "PNG"), chunk(b"eXIf", exif_block(6))),
    "png16": deep_png(photo(deep=True)),
    "webp": saved(photo(), "WEBP", exif=exif_block(6)),
    "tiff": tiff(photo(), photometric="rgb", compression="zlib"),
    "tiff16": tiff(photo(deep=True), photometric="rgb"),
    "bmp": saved(photo(), "BMP"),
    "avif": saved(photo(), "AVIF"),
}
