"""Files from strangers: a clear error or a whole result, in bounded time and memory, and never a traceback."""

import importlib.util
import io
import json
import os
import random
import resource
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from clips import SOUND, clip, dav, ffmpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import SAMPLES, camera_jpeg, chunk, photo, saved, segment, tiff, with_chunks
from PIL import Image
from preloaded import Command

from dpenet_cli.errors import DatasetError, DpenetError, ImageError, VideoError, VideoWriteError
from dpenet_cli.evaluation.datasets import pair_folders, read_picture
from dpenet_cli.images.reading import read
from dpenet_cli.images.writing import encode
from dpenet_cli.options import ImageFormat, SaveOptions, VideoOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.video.containers import VIDEO_SUFFIXES
from dpenet_cli.video.video_task import VideoTask, prepare
from dpenet_cli.video.work_folder import WorkFolder

Entry = tuple[int, int, int, int]
"""Tag, kind, count, and the value or where it lies."""


def tiff_file(pages: list[list[Entry]], body: bytes = b"", loop: bool = False) -> bytes:
    """A TIFF file of directories one behind the other, with whatever entries; the body comes last."""
    sizes = [2 + 12 * len(entries) + 4 for entries in pages]
    starts = [8 + sum(sizes[:index]) for index in range(len(pages))]
    data = b"II*\0" + struct.pack("<L", 8)
    for index, entries in enumerate(pages):
        following = starts[index + 1] if index + 1 < len(pages) else (8 if loop else 0)
        data += struct.pack("<H", len(entries))
        data += b"".join(struct.pack("<HHLL", *entry) for entry in entries) + struct.pack("<L", following)
    return data + body


def grey(width: int, height: int, **changes: int) -> list[Entry]:
    """The entries of an uncompressed or deflated grey picture in one strip."""
    values = {
        256: width,
        257: height,
        258: 8,
        259: 1,
        262: 1,
        273: 200,
        277: 1,
        278: height,
        279: width * height & 0xFFFFFFFF,
    }
    values |= {int(tag[1:]): value for tag, value in changes.items()}
    return [(tag, 4, 1, value) for tag, value in sorted(values.items()) if value >= 0]


def png(width: int, height: int, *extra: bytes, depth: int = 8, colour: int = 0, rows: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<LLLLllHHLLLLLL", 100, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def boxed(data: bytes, width: int, height: int) -> bytes:
    """An AVIF or HEIC file whose size (``ispe``) lies."""
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">LL", width, height) + data[at + 8 :]


ZEROS = zlib.compress(bytes(60 << 20), 9)  # 60 MiB in 60 kB
SMALL_TIFF = bytes(range(200)) * 2


def bombs() -> dict[str, bytes]:
    """Small files that ask for a lot."""
    found = {
        "png claims 10 gigapixels": png(100_000, 100_000, rows=ZEROS),
        "png claims 225 megapixels of 16 bits": png(15_000, 15_000, depth=16, colour=6, rows=ZEROS[:1000]),
        "png claims 2³¹ columns": png(2**31 - 1, 1, rows=ZEROS),
        "png without columns": png(0, 5),
        "png profile": with_chunks(saved(photo(), "PNG"), chunk(b"iCCP", b"x\0\0" + ZEROS)),
        "png texts": with_chunks(saved(photo(), "PNG"), *[chunk(b"zTXt", b"Raw profile type exif\0\0" + ZEROS)] * 400),
        "png xmp": with_chunks(saved(photo(), "PNG"), *[chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + ZEROS)] * 400),
        "png rows beyond its size": png(4, 4, rows=ZEROS),
        "tiff claims 10 gigapixels": tiff_file([grey(100_000, 100_000)], SMALL_TIFF),
        "tiff with huge tiles": tiff_file(
            [grey(8, 8, t322=2**31 - 16, t323=2**31 - 16, t324=200, t325=64, t273=-1, t279=-1)], SMALL_TIFF
        ),
        "tiff with large tiles of 16 bits": tiff_file(
            [grey(8, 8, t258=16, t322=60_000, t323=60_000, t324=200, t325=64, t273=-1, t279=-1)], SMALL_TIFF
        ),
        "tiff strip unfolds": tiff_file([grey(8, 8, t259=8, t279=len(ZEROS))], bytes(100) + ZEROS),
        "tiff strip of 4 GB": tiff_file([grey(8, 8, t279=2**32 - 1)], SMALL_TIFF),
        "tiff with a loop": tiff_file([grey(8, 8), grey(8, 8)], SMALL_TIFF, loop=True),
        "tiff with counts of 2³²": tiff_file([[*grey(8, 8), (700, 1, 2**32 - 1, 8)]], SMALL_TIFF),
        "tiff of one value, a hundred thousand times": tiff_file(
            [[(40_000 + n, 1, 1_000_000, 8) for n in range(900)] for _ in range(100)], bytes(100_000)
        ),
        "tiff without columns": tiff_file([grey(0, 8)], SMALL_TIFF),
        "webp claims 268 megapixels": b"RIFF\0\0\0\0WEBPVP8X\n\0\0\0\0\0\0\0\xfe\x3f\0\xfe\x3f\0VP8 \4\0\0\0\0\0\0\0",
        "bmp claims 2³¹ columns": b"BM"
        + struct.pack("<LLLLLLHHLLLLLL", 100, 0, 54, 40, 2**31 - 1, 9, 1, 24, 0, 0, 0, 0, 0, 0),
        "bmp with negative sizes": b"BM"
        + struct.pack("<LLLLllHHLLLLLL", 100, 0, 54, 40, -8, -8, 1, 24, 0, 0, 0, 0, 0, 0),
        "avif claims 2³¹ columns": boxed(saved(photo(), "AVIF"), 2**31 - 1, 2**31 - 1),
        "a page description that calls itself a picture": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "jpeg of 5,000 scans": scans(5_000),
        "jpeg with an exif bomb": exif_bomb(),
        "jpeg with a loop in its exif": looped_exif(),
    }
    small = saved(photo(), "JPEG")
    at = small.index(b"\xff\xc0") + 5
    found["jpeg claims 4 gigapixels"] = small[:at] + b"\xff\xff\xff\xff" + small[at + 4 :]
    return found


def scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    data = saved(np.zeros((1500, 2000, 3), np.uint8), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + b"\xff\xd9"


def exif_bomb() -> bytes:
    block = tiff_file([[(40_000 + n, 1, 60_000, 8) for n in range(900)] for _ in range(4)], bytes(10_000))
    return camera_jpeg()[:2] + segment(0xE1, b"Exif\0\0" + block[:65_000]) + saved(photo(), "JPEG")[2:]


def looped_exif() -> bytes:
    pages = [[(0x8769, 4, 1, 8), (0x8825, 4, 1, 8), (0xA005, 4, 1, 8), (0x0112, 3, 1, 6)]]
    return camera_jpeg()[:2] + segment(0xE1, b"Exif\0\0" + tiff_file(pages, loop=True)) + saved(photo(), "JPEG")[2:]


def read_under_limits(folder: str) -> None:
    """Prelude: read every file of a folder with little memory and time, and say how each ended; then end."""
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    resource.setrlimit(resource.RLIMIT_CPU, (25, 25))  # of all files together
    for path in sorted(Path(folder).iterdir()):
        try:
            read(path)
            how = "whole"
        except ImageError as error:
            how = error.why
        sys.stdout.write(f"= {path.name}: {how}\n")  # libraries of C write lines of their own
    raise SystemExit


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits are Linux's")
def test_bombs_end_in_errors_within_bounds(tmp_path: Path) -> None:
    folder = tmp_path / "bombs"
    folder.mkdir()
    corpus = bombs()
    for name, data in corpus.items():
        assert len(data) < 30_000_000, name
        (folder / name).write_bytes(data)
    command = Command(log=tmp_path / "log", prelude=read_under_limits, given=(str(folder),))
    code, said = command.wait(), (tmp_path / "log").read_text()
    assert code == 0, said
    ends = dict(line[2:].split(": ", 1) for line in said.splitlines() if line.startswith("= "))
    assert ends.keys() == corpus.keys(), said
    whole = {name for name, how in ends.items() if how == "whole"}
    assert whole == {
        "png rows beyond its size",
        "jpeg with an exif bomb",
        "jpeg with a loop in its exif",
        "tiff with counts of 2³²",
    }
    assert "MemoryError" not in said
    assert "200 scans" in ends["jpeg of 5,000 scans"]
    assert "many times" in ends["tiff of one value, a hundred thousand times"]


SIDE = 6000
MOST = 10_000  # pixels


def two_sizes() -> dict[str, bytes]:
    """Small files that say two sizes, one of which is far beyond `MOST`."""
    small, large = (struct.pack(">LL", side, side) for side in (8, SIDE))
    grey_large = zlib.compress(bytes((SIDE + 1) * SIDE), 9)
    deep_large = zlib.compress(bytes((2 * SIDE + 1) * SIDE), 9)
    found = {}
    for bits, rows in (8, grey_large), (16, deep_large):
        rest = bytes([bits, 0, 0, 0, 0])
        first = png(SIDE, SIDE, depth=bits, rows=rows)
        found[f"png {bits}, second header behind the pixels"] = with_last(first, chunk(b"IHDR", small + rest))
        found[f"png {bits}, smaller one last"] = png(SIDE, SIDE, chunk(b"IHDR", small + rest), depth=bits, rows=rows)
        found[f"png {bits}, smaller one first"] = png(8, 8, chunk(b"IHDR", large + rest), depth=bits, rows=rows)
        body = zlib.compress(bytes(bits // 8 * SIDE * SIDE), 9)
        for tag in 256, 257:
            sizes = {256: SIDE, 257: SIDE} | {tag: 8}
            entries = grey(sizes[256], sizes[257], t258=bits, t259=8, t279=len(body))
            for where in 0, 1:
                twice = sorted([*entries, (tag, 4, 1, SIDE)], key=lambda entry: entry[0])
                at = next(index for index, entry in enumerate(twice) if entry[0] == tag)
                if where:
                    twice[at], twice[at + 1] = twice[at + 1], twice[at]
                found[f"tiff {bits}, tag {tag} twice, {where}"] = tiff_file([twice], bytes(60) + body)
        tiles = grey(8, 8, t258=bits, t259=8, t322=SIDE // 16 * 16, t323=SIDE // 16 * 16, t324=200, t325=len(body))
        tiles = [entry for entry in tiles if entry[0] not in (273, 278, 279)]
        found[f"tiff {bits}, a large tile"] = tiff_file([tiles], bytes(60) + body)
    frame = b"\xff\xc0"
    jpeg = saved(Image.new("L", (SIDE, SIDE)), "JPEG")
    at = jpeg.index(frame)
    end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    other = jpeg[at : at + 5] + struct.pack(">HH", 8, 8) + jpeg[at + 9 : end]
    found["jpeg, smaller one last"] = jpeg[:end] + other + jpeg[end:]
    found["jpeg, smaller one first"] = jpeg[:at] + other + jpeg[at:]
    webp = saved(Image.new("RGB", (SIDE, SIDE)), "WEBP", quality=1)
    canvas = b"VP8X\n\0\0\0\0\0\0\0" + bytes([7, 0, 0, 7, 0, 0])
    for name, body in ("first", canvas + webp[12:]), ("last", webp[12:] + canvas):
        found[f"webp, canvas {name}"] = b"RIFF" + struct.pack("<L", len(body) + 4) + b"WEBP" + body
    found["avif, small box around a large picture"] = boxed(
        saved(Image.new("RGB", (SIDE, SIDE)), "AVIF", speed=10), 64, 64
    )
    if importlib.util.find_spec("pillow_heif"):
        found["heic, small box around a large picture"] = boxed(heic(np.zeros((SIDE, SIDE, 3), np.uint8)), 64, 64)
    return found


def with_last(data: bytes, *chunks: bytes) -> bytes:
    """A PNG file with chunks before its end."""
    return data[:-12] + b"".join(chunks) + data[-12:]


def read_and_weigh(folder: str) -> None:
    """Prelude: read every file of a folder, and say how each ended and how many MB more than before it took."""
    for data in [*SAMPLES.values(), tiff(photo(), photometric="rgb", tile=(32, 32), compression="zlib")]:
        read(data)
    for path in sorted(Path(folder).iterdir()):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            read(path, max_pixels=MOST)
            how = "whole"
        except ImageError:
            how = "refused"
        more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
        sys.stdout.write(f"= {path.name}: {how}, {more}\n")
    raise SystemExit


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measures as Linux does")
def test_no_decoder_goes_by_a_size_that_was_not_checked(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    corpus = two_sizes()
    for name, data in corpus.items():
        (folder / name).write_bytes(data)
    command = Command(log=tmp_path / "log", prelude=read_and_weigh, given=(str(folder),))
    code, said = command.wait(), (tmp_path / "log").read_text()
    assert code == 0, said
    lines = said.splitlines()
    assert all(line.startswith("= ") for line in lines), said
    ends = {name: rest.split(", ") for name, rest in (line[2:].rsplit(": ", 1) for line in lines)}
    assert ends.keys() == corpus.keys()
    assert {name for name, (how, _) in ends.items() if how != "refused"} == set()
    assert {name: more for name, (_, more) in ends.items() if int(more) > 20} == {}


def deep(*chunks: bytes, rows: bytes = bytes((2 * 8 + 1) * 8), stream: bytes = b"", colour: int = 0) -> bytes:
    """A 16-bit PNG file of 8×8 pixels with chunks behind its header."""
    return png(8, 8, *chunks, depth=16, colour=colour, rows=stream or zlib.compress(rows))


def damaged(kind: bytes, body: bytes) -> bytes:
    return chunk(kind, body)[:-4] + b"oops"


DEEP = {
    "text": (deep(damaged(b"tEXt", b"a\0b")), True),
    "profile": (deep(chunk(b"iCCP", b"x\0\0oops")), True),
    "palette": (deep(chunk(b"PLTE", b"12345")), True),
    "significant bits": (deep(chunk(b"sBIT", b"\x63")), True),
    "transparency": (deep(chunk(b"tRNS", b"1")), True),
    "gamma": (deep(chunk(b"gAMA", bytes(4)), chunk(b"cHRM", bytes(32))), True),
    "animation": (deep(chunk(b"acTL", b"1")), True),
    "more rows": (deep(rows=bytes(1000)), True),
    "more behind the stream": (deep(stream=zlib.compress(bytes(136)) + b"more"), True),
    "no checksum": (deep(stream=zlib.compress(bytes(136))[:-4]), True),
    "wrong checksum": (deep(stream=zlib.compress(bytes(136))[:-4] + b"oops"), False),
    "fewer rows": (deep(rows=bytes(100)), False),
    "no stream": (deep(stream=b"oops"), False),
    "unknown filter": (deep(rows=bytes([9]) * 136), False),
}


@pytest.mark.parametrize("name", DEEP)
def test_libpng_says_nothing(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    data, readable = DEEP[name]
    try:
        picture = read(data)
    except ImageError:
        assert not readable
    else:
        assert readable
        assert picture.pixels.shape == (8, 8, 3)
        assert not picture.pixels.any()
    assert capfd.readouterr() == ("", "")


ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
"""The passes of an interlaced PNG: first column and row, steps across and down."""


def test_interlaced_deep_png(capfd: pytest.CaptureFixture[str]) -> None:
    for width, height in (1, 1), (5, 3), (8, 8), (13, 17):
        pixels = np.arange(width * height, dtype=np.uint16).reshape(height, width) * 99
        rows = b""
        for left, top, across, down in ADAM7:
            part = pixels[top::down, left::across]
            rows += b"".join(b"\0" + row.astype(">u2").tobytes() for row in part if part.size)
        header = chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, 16, 0, 0, 0, 1))
        data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
        assert np.array_equal(read(data).pixels[..., 0], pixels)
    assert capfd.readouterr() == ("", "")


# damage in bulk, in this process


def heic(pixels: np.ndarray | None = None) -> bytes:
    heif = pytest.importorskip("pillow_heif")
    out = io.BytesIO()
    heif.from_pillow(Image.fromarray(photo() if pixels is None else pixels)).save(out)
    return out.getvalue()


MORE = {
    "camera": camera_jpeg(6),
    "bigtiff": tiff(photo(deep=True), bigtiff=True, photometric="rgb", compression="zlib", predictor=True),
    "planes": tiff(np.moveaxis(photo(deep=True), -1, 0), photometric="rgb", planarconfig="separate"),
    "tiles": tiff(photo(deep=True), tile=(32, 32), photometric="rgb", compression="zlib", predictor=True),
}


@pytest.mark.parametrize("kind", [*SAMPLES, *MORE, "heic"])
def test_every_kind_of_damage_is_an_error_of_ours_or_harmless(kind: str) -> None:
    data = heic() if kind == "heic" else (SAMPLES | MORE)[kind]
    rng = random.Random(kind)
    cuts = {*range(70), *(rng.randrange(len(data)) for _ in range(40)), *range(len(data) - 12, len(data))}
    damaged = [data[:cut] for cut in sorted(cuts)] + [data + bytes(7), data[1:], data[::-1], bytes(len(data))]
    for _ in range(120):
        copy = bytearray(data)
        for _ in range(rng.choice([1, 1, 3, 20])):
            copy[rng.randrange(rng.choice([min(300, len(copy)), len(copy)]))] = rng.choice(
                [0, 255, 128, rng.randrange(256)]
            )
        damaged.append(bytes(copy))
    for content in damaged:
        try:
            picture = read(content, max_pixels=2_000_000)
        except DpenetError:
            continue
        encode(picture, ImageFormat.TIFF, SaveOptions())


def test_content_counts_not_the_name(tmp_path: Path) -> None:
    for name, kind in ("a.png", "jpeg"), ("a.jpg", "tiff16"), ("a.tif", "webp"), ("a.heic", "png"):
        (tmp_path / name).write_bytes(SAMPLES[kind])
        assert read(tmp_path / name).format == read(SAMPLES[kind]).format


def test_a_page_description_among_a_set_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    bad = tmp_path / "a.png"
    bad.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_picture(bad)
    assert not (tmp_path / "ran").exists()


# videos


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("clips")
    found = {}
    with_sound = (("mp4", "libx264"), ("mkv", "libx264"), ("avi", "mpeg4"), ("ts", "mpeg2video"), ("flv", "flv"))
    for ending, codec in (*with_sound, ("nut", "mpeg4")):
        path = folder / f"a.{ending}"
        ffmpeg(*("-f", "lavfi", "-i", "testsrc=s=64x48:r=25", *SOUND, "-t", 0.4, "-ar", 44100, "-c:v", codec, path))
        found[ending] = path.read_bytes()
    for ending, codec in ("h264", "libx264"), ("hevc", "libx265"), ("mjpeg", "mjpeg"):
        pixels = ["-pix_fmt", "yuvj420p" if ending == "mjpeg" else "yuv420p"]
        found[ending] = clip(folder / f"a.{ending}", "-f", ending, *pixels, codec=codec).read_bytes()
    found["dav"] = dav(folder / "a.dav", [found["h264"], *[found["mjpeg"]] * 3]).read_bytes()
    return found


def look(data: bytes, ending: str, folder: Path) -> VideoTask | VideoError:
    """What is decided about a video, or why nothing could be."""
    source = folder / f"hostile.{ending}"
    source.write_bytes(data)
    try:
        return prepare(Job(source, folder / "clean.mkv"), VideoOptions())
    except VideoError as error:
        return error


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi", "ts", "flv", "nut", "h264", "hevc", "mjpeg", "dav"])
def test_damaged_videos(clips: dict[str, bytes], ending: str, tmp_path: Path) -> None:
    rng, data = random.Random(ending), clips[ending]
    for _ in range(50):
        copy = bytearray(data if rng.random() < 0.6 else data[: rng.randrange(len(data))])
        for _ in range(rng.choice([1, 2, 8, 40]) if copy else 0):
            place = rng.randrange(rng.choice([min(600, len(copy)), len(copy)]))
            copy[place if rng.random() < 0.6 else -1 - place] = rng.choice([0, 255, 127, 128, rng.randrange(256)])
        result = look(bytes(copy), ending, tmp_path)
        assert isinstance(result, VideoTask) or "hostile" in result.what


@pytest.mark.parametrize("ending", sorted(suffix[1:] for suffix in VIDEO_SUFFIXES))
def test_a_video_of_any_name_opens_no_other_file(ending: str, tmp_path: Path) -> None:
    """Scripts that name a file are refused under every name that videos have, and what they name stays unread."""
    named = clip(tmp_path / "named.mp4", frames=2)
    os.utime(named, (1, 1))
    scripts = (
        f"ffconcat version 1.0\nfile '{named}'\n",
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{named}\n#EXT-X-ENDLIST\n",
        f"[playlist]\nFile1={named}\n",
        f"<?xml version='1.0'?><MPD><BaseURL>file://{named}</BaseURL></MPD>",
        str(named),
    )
    for script in scripts:
        result = look(script.encode(), ending, tmp_path)
        assert isinstance(result, VideoError), script
        assert "hostile" in result.what
    assert named.stat().st_atime == 1


def patched(data: bytes, name: bytes, offset: int, value: bytes) -> bytes:
    """An MP4 file with other bytes at a place in its first box of a name; offset 0 is the first byte of its content."""
    at = data.index(name) + 4 + offset
    return data[:at] + value + data[at + len(value) :]


def test_headers_that_lie(clips: dict[str, bytes], tmp_path: Path) -> None:
    mp4, huge = clips["mp4"], b"\x7f\xff\xff\xff"
    for name, offset in (
        ("tkhd", 76),
        ("mvhd", 16),
        ("mdhd", 16),
        ("mdhd", 12),
        ("stsz", 8),
        ("stts", 4),
        ("stts", 8),
        ("stco", 4),
    ):
        result = look(patched(mp4, name.encode(), offset, huge), "mp4", tmp_path)
        if isinstance(result, VideoTask):  # what is counted counts, not what is claimed
            assert result.frames <= 10, name
            assert (result.plans[0].stream.width, result.plans[0].stream.height) == (64, 48)
    unknown = look(mp4.replace(b"avc1", b"zzz1"), "mp4", tmp_path)
    assert "no moving picture" in str(unknown)
    wide = look(patched(mp4, b"avc1", 24, b"\xff\xff\xff\xff"), "mp4", tmp_path)
    assert isinstance(wide, VideoError) or wide.plans[0].stream.width == 64


# manifests and names


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["0-00000.mkv", "../../outside.mkv", "/etc/passwd", "0-00001.mkv", "result.mp4", "", "a\0b"])


@settings(max_examples=120, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=60),
        JSON.map(lambda value: json.dumps(value).encode()),
        st.dictionaries(NAMES, JSON, max_size=4).map(
            lambda f: json.dumps({"identity": {"a": 1}, "finished": f}).encode()
        ),
        st.just(b"[" * 100_000),
        st.just(b'{"identity": {"a": 1}, "finished": {"0-00000.mkv": Infinity}}'),
    )
)
def test_any_manifest_is_believed_in_nothing_that_is_not_there(tmp_path_factory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("manifest")
    outside = folder.parent / "outside.mkv"
    outside.write_bytes(b"mine")
    place = WorkFolder(folder / "b.mp4", {"a": 1})
    (folder / "b.mp4.part").mkdir()
    (folder / "b.mp4.part/manifest.json").write_bytes(content)
    (folder / "b.mp4.part/holiday.mkv").write_bytes(b"mine too")
    with place:
        assert place.finished_segments(0) == 0
        assert not place.resumed
    assert outside.read_bytes() == b"mine"
    assert (folder / "b.mp4.part/holiday.mkv").read_bytes() == b"mine too"


@pytest.mark.parametrize("name", ["", "/0-00000.mkv", "/manifest.json", "/lock", "/result.mp4"])
def test_links_where_unfinished_work_should_be_are_not_followed(tmp_path: Path, name: str) -> None:
    valuable = tmp_path / "valuable"
    part = tmp_path / "b.mp4.part"
    if name:
        part.mkdir()
        valuable.write_bytes(b"mine")
    else:
        valuable.mkdir()
    Path(f"{part}{name}").symlink_to(valuable)
    with pytest.raises(VideoWriteError, match="link"), WorkFolder(tmp_path / "b.mp4", {}):
        pass
    assert valuable.is_dir() or valuable.read_bytes() == b"mine"


PICTURE_NAMES = st.one_of(
    st.text(st.sampled_from("0123_-abnorigt "), min_size=1, max_size=7),
    st.builds(
        lambda *parts: "".join(parts),
        *map(st.sampled_from, (["", "rain-", "norain-", "rainy ", "no"], ["1", "2", "001"], ["", "_1", "_22", "gt"])),
    ),
)


@settings(max_examples=150, deadline=None)
@given(rainy=st.sets(PICTURE_NAMES, max_size=6), clean=st.sets(PICTURE_NAMES, max_size=6), partial=st.booleans())
def test_pairs_are_told_by_name_or_not_at_all(
    tmp_path_factory, rainy: set[str], clean: set[str], partial: bool
) -> None:
    folder = tmp_path_factory.mktemp("pairs")
    for side, names in ("input", rainy), ("target", clean):
        (folder / side).mkdir()
        for name in names:
            (folder / side / f"{name}.png").touch()
    try:
        found = pair_folders(folder / "input", folder / "target", partial=partial)
    except DatasetError:
        return
    assert {pair.rainy.stem for pair in found.pairs} | {path.stem for path in found.unpaired} >= rainy
    assert not found.unpaired or partial
    for pair in found.pairs:
        key = shared_part(pair.rainy.stem)
        assert shared_part(pair.clean.stem) in {key, key.rpartition("_")[0] if key[-1].isdigit() else key}, pair


def shared_part(stem: str) -> str:
    """What the names of a pair have in common, written down once more: ``norain-7``, ``rainy 7`` and ``7gt`` give 7."""
    if stem.endswith("gt") and stem[-3:-2].isdigit():
        stem = stem[:-2]
    for prefix in ("norainy", "norain", "rainy", "rain"):
        rest = stem.removeprefix(prefix)
        if rest != stem and rest:
            return rest[1:] if rest[0] in "-_ " and len(rest) > 1 else rest
    return stem
