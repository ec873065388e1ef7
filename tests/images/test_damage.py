"""Limits, damaged files, threads and missing libraries."""

import struct
import threading
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_checks import BMP, PLAIN, TIFF
from pictures import SAMPLES, camera_jpeg, chunk, deep_png, photo, saved, tiff
from PIL import Image

from dpenet_cli.errors import DpenetError, ImageReadError
from dpenet_cli.images.pixels import decode_16_bit
from dpenet_cli.images.reading import read
from dpenet_cli.images.writing import encode


@pytest.mark.parametrize(
    "data",
    [
        camera_jpeg(),
        saved(photo(), "PNG"),
        saved(photo(), "WEBP"),
        saved(photo(), "BMP"),
        saved(photo(), "AVIF"),
        saved(photo(), "TIFF"),
        deep_png(photo(deep=True)),
        tiff(photo(deep=True), photometric="rgb"),
    ],
)
def test_too_large_is_said_before_decoding(data: bytes) -> None:
    with pytest.raises(ImageReadError, match=r"--max-pixels 3072"):
        read(data, max_pixels=3071)
    assert read(data, max_pixels=3072).pixels.shape == (48, 64, 3)


def test_pillows_own_limit_does_not_interfere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF"):
            read(saved(photo(), name))
    assert Image.MAX_IMAGE_PIXELS == 10
    claim = saved(photo(), "PNG")
    claim = claim[:8] + chunk(b"IHDR", struct.pack(">LLBBBBB", 60000, 60000, 8, 2, 0, 0, 0)) + claim[33:]
    with pytest.raises(ImageReadError, match="3,600,000,000"):
        read(claim)


@pytest.mark.parametrize("kind", SAMPLES)
def test_truncated_files_fail_as_our_errors(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = SAMPLES[kind]
    for part in (1, 9, 13, 40, len(data) // 3, len(data) // 2, len(data) - len(data) // 8):
        with pytest.raises(ImageReadError):
            read(data[:part])
    assert capfd.readouterr() == ("", "")


@given(st.sampled_from(sorted(SAMPLES)), st.randoms(use_true_random=False))
@settings(max_examples=250, deadline=None)
def test_damage_never_raises_anything_else(kind: str, random: object) -> None:
    data = bytearray(SAMPLES[kind])
    for _ in range(random.randint(1, 12)):
        data[random.randrange(min(len(data), 700))] = random.randrange(256)
    try:
        picture = read(bytes(data), max_pixels=1_000_000)
    except DpenetError:
        return
    encode(picture, TIFF, PLAIN)


def test_files_that_are_no_pictures(tmp_path: Path) -> None:
    for data in (b"", b"hello, rain\n", b"\xff\xd8\xff", bytes(1000), b"BM"):
        with pytest.raises(ImageReadError):
            read(data)
    with pytest.raises(ImageReadError, match="nowhere"):
        read(tmp_path / "nowhere.png")
    path = tmp_path / "höhe 雨.png"
    path.write_bytes(saved(photo(), "BMP"))
    assert read(path).format is BMP


def test_reading_in_threads_leaves_no_trace() -> None:
    limit, level, filters = Image.MAX_IMAGE_PIXELS, cv2.utils.logging.getLogLevel(), list(warnings.filters)
    deep = photo(deep=True)
    failures: list[object] = []

    def work() -> None:
        failures.extend(n for n in range(10) if not np.array_equal(read(deep_png(deep)).pixels, deep))
        failures.extend(n for n in range(10) if read(camera_jpeg()).bits != 8)

    threads = [threading.Thread(target=work) for _ in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not failures
    assert (Image.MAX_IMAGE_PIXELS, cv2.utils.logging.getLogLevel(), warnings.filters) == (limit, level, filters)


def test_a_missing_system_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    real = builtins.__import__

    def without_gl(name: str, *rest: object, **more: object) -> object:
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without_gl)
    with pytest.raises(DpenetError, match=r"libGL\.so\.1.*libgl1.*headless"):
        decode_16_bit(deep_png(photo(deep=True)), "x")
