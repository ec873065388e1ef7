"""Pictures that are damaged, odd or not what they claim, through the installed command: exit code, words and bytes."""

import hashlib
import io
import json
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import command, dpenet
from pictures import chunk, deep_png, photo, saved, segment, tiff, wide_profile
from PIL import Image

PROFILE = wide_profile()


def _png(kind: bytes, body: bytes, *, checksum: bool = False) -> bytes:
    """A picture of RGB with one odd chunk in front of its pixels, with a right checksum or a wrong one."""
    plain = saved(photo(), "PNG")
    odd = chunk(kind, body)
    return plain[:33] + (odd if checksum else odd[:-4] + b"\0\0\0\1") + plain[33:]


def _jpeg(*parts: tuple[int, int, bytes]) -> bytes:
    plain = saved(photo(), "JPEG")
    segments = b"".join(segment(0xE2, b"ICC_PROFILE\0" + bytes([n, of]) + body) for n, of, body in parts)
    return plain[:20] + segments + plain[20:]


def _tiff_of(compression: int, bits: int, body: bytes) -> bytes:
    entries = {256: 16, 257: 16, 258: bits, 259: compression, 262: 1, 277: 1, 278: 16, 279: len(body), 273: 122}
    rows = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    return b"II*\0" + struct.pack("<LH", 8, len(entries)) + rows + bytes(4) + body


PARTS = {
    "numbered-from-0": [(0, 1, PROFILE)],
    "says-two-parts-has-one": [(1, 2, PROFILE)],
    "two-parts-from-0": [(0, 2, PROFILE[:294]), (1, 2, PROFILE[294:])],
    "same-part-twice": [(1, 2, PROFILE[:294]), (1, 2, PROFILE[:294]), (2, 2, PROFILE[294:])],
    "part-missing": [(1, 2, PROFILE[:294])],
}


def test_damaged_headers_and_profiles_in_parts(tmp_path: Path, tiny_weights: Path) -> None:
    pictures = {
        "profile.png": _png(b"iCCP", b"wide\0\0" + zlib.compress(PROFILE)),
        "short-phys.png": _png(b"pHYs", b"\0\0\x0b", checksum=True),
        "text.png": _png(b"tEXt", b"Comment\0edited by hand"),
        "transparent-colour.png": _png(b"tRNS", bytes(6)),
        "deep-text.png": deep_png(photo(deep=True), chunk(b"tEXt", b"Comment\0edited by hand")[:-4] + b"\0\0\0\1"),
    }
    pictures |= {f"{name}.jpg": _jpeg(*parts) for name, parts in PARTS.items()}
    (tmp_path / "in").mkdir()
    for name, data in pictures.items():
        (tmp_path / "in" / name).write_bytes(data)
    out = tmp_path / "out"
    result = dpenet("derain", ".", "-o", out, "--strength", 0, "--json", "--weights", tiny_weights, cwd=tmp_path / "in")
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    notices = {Path(row["input"]).name: row["notices"] for row in rows if "input" in row}
    damaged = "damaged parts of its header are left out"
    assert notices["profile.png"] == [f"{damaged} (iCCP: its colour profile)"]
    assert notices["short-phys.png"] == [f"{damaged} (pHYs)"]
    assert notices["text.png"] == notices["deep-text.png"] == [f"{damaged} (tEXt)"]
    assert notices["transparent-colour.png"] == [f"{damaged} (tRNS: its transparency)"]
    for name in pictures:
        if name.endswith(".png") and "deep" not in name:
            np.testing.assert_array_equal(np.asarray(Image.open(out / name)), photo())
    for name in PARTS:
        icc = Image.open(out / f"{name}.jpg").info.get("icc_profile")
        if name == "part-missing":
            assert icc is None
            assert len(notices[f"{name}.jpg"]) == 1
            assert "colour profile" in notices[f"{name}.jpg"][0]
        else:
            assert hashlib.sha256(icc).digest() == hashlib.sha256(PROFILE).digest()
            assert notices[f"{name}.jpg"] == []


def test_compressions_that_are_not_read_take_one_line_each(tmp_path: Path, tiny_weights: Path) -> None:
    names = {"webp": (50001, 8, "WebP, 50001"), "jxl": (50002, 16, "JPEG XL, 50002"), "unknown": (65000, 8, "65000")}
    for name, (number, bits, _) in names.items():
        (tmp_path / f"{name}.tif").write_bytes(_tiff_of(number, bits, b"RIFF\x1a\0\0\0WEBPVP8L" + bytes(30)))
    (tmp_path / "damaged.tif").write_bytes(_tiff_of(5, 8, b"\xff\x13\x57" * 20))  # libtiff has words for it
    (tmp_path / "text.png").write_bytes(deep_png(photo(deep=True), chunk(b"tEXt", b"a\0b")[:-4] + bytes(4)))
    files = [f"{name}.tif" for name in (*names, "damaged")]
    arguments = [*files, "text.png", "-o", "out/", "--quiet", "--weights", tiny_weights]
    result = dpenet("derain", *arguments, cwd=tmp_path)
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    assert len(lines) == 4
    assert lines[-1].startswith("error  damaged.tif: ") or lines[0].startswith("error  damaged.tif: ")
    for name, (_, _, said) in names.items():
        step = "Save it with LZW, Deflate or no compression."
        assert f"error  {name}.tif: its compression ({said}) is not read. {step}" in lines
    assert [path.name for path in (tmp_path / "out").glob("[!.]*")] == ["text.png"]


HUGE = {
    "huge.bmp": b"BM"
    + struct.pack("<LHHLLllHHLLllLL", 58, 0, 0, 54, 40, 3_000_000, 2_000_000, 1, 24, *[0] * 6)
    + b"1234",
    "huge.png": b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">LLBBBBB", 2_000_000, 3_000_000, 8, 2, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(bytes(100)))
    + chunk(b"IEND", b""),
    "huge.tif": tiff(np.zeros((4, 4), np.uint8)),
}


def _claimed(data: bytes, across: int, down: int) -> bytes:
    """A TIFF file whose header says another size."""
    changed = bytearray(data)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        for tag, value in ((256, across), (257, down), (278, down)):
            entry = file.pages[0].tags[tag]
            struct.pack_into("<HL", changed, entry.offset + 2, 4, 1)
            struct.pack_into("<L", changed, entry.offset + 8, value)
    return bytes(changed)


def test_sizes_that_no_file_could_hold_are_damage_with_any_limit(tmp_path: Path, tiny_weights: Path) -> None:
    resource = pytest.importorskip("resource", reason="limits of memory are POSIX's")
    folder = tmp_path / "in"
    folder.mkdir()
    for name, data in HUGE.items():
        (folder / name).write_bytes(_claimed(data, 60000, 60000) if name.endswith("tif") else data)
    (tmp_path / "good.png").write_bytes(saved(photo(), "PNG"))
    own = ["--strength", 0, "--weights", tiny_weights, "--threads", 1, "--quiet"]
    for limit in ([], ["--max-pixels", 6_000_000_000_000]):
        result = dpenet("derain", ".", "-o", tmp_path / "out", *own, *limit, cwd=folder)
        assert result.returncode == 1
        lines = result.stderr.splitlines()
        assert len(lines) == 3
        for name, size in (
            ("huge.bmp", "3000000×2000000"),
            ("huge.png", "2000000×3000000"),
            ("huge.tif", "60000×60000"),
        ):
            (line,) = (line for line in lines if name in line)
            assert "damaged" in line
            assert size in line
            assert f"{(folder / name).stat().st_size} bytes" in line
            assert "--max-pixels" not in line
    arguments = ["-", *own, "--max-pixels", 3_600_000_000]

    def narrow() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (12 << 30, 12 << 30))  # the limit's pixels would take 29 GB

    with (tmp_path / "good.png").open("rb") as stdin:
        piped = subprocess.run(
            [command(), "derain", *map(str, arguments)],
            stdin=stdin,
            capture_output=True,
            check=False,
            preexec_fn=narrow,
        )
    assert piped.returncode == 0, piped.stderr
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(piped.stdout))), photo())


def test_grey_heic_of_ten_bits(tmp_path: Path, tiny_weights: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    values = np.tile(np.linspace(0, 1023, 64).round().astype(np.uint16), (48, 1))
    image = heif.from_bytes("L;16", (64, 48), (values << 6).astype("<u2").tobytes())
    image.save(tmp_path / "grey10.heic", quality=-1)
    arguments = ["grey10.heic", "-o", "out/", "--strength", 0, "--weights", tiny_weights]
    result = dpenet("derain", *arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "note   grey10.heic: 10 bits per channel became 8" in result.stderr.splitlines()
    written = heif.open_heif(tmp_path / "out/grey10.heic")
    assert written.mode == "L"
    shown = np.frombuffer(written.data, np.uint8).reshape(48, -1)[:, :64]
    assert np.abs(shown - values * (255 / 1023)).max() <= 4  # the encoder's own loss
