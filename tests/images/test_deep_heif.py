"""HEIC and AVIF of 8, 10 and 12 bits, in grey and in colour, with and without alpha and profile."""

import io
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from image_checks import AVIF, HEIC, PLAIN, again
from pictures import grey_profile, saved, wide_profile
from PIL import Image

from dpenet_cli.images.picture import Picture
from dpenet_cli.images.reading import read
from dpenet_cli.images.writing import encode
from dpenet_cli.options import ImageFormat

KINDS = {"grey": 1, "grey and alpha": 2, "RGB": 3, "RGBA": 4}
BITS = [8, 10, 12]
HEIGHT, WIDTH = 48, 66  # rows that no decoder lays out without a rest


def _values(channels: int, bits: int) -> np.ndarray:
    """Smooth ramps over the whole range, H×W×C, of which grey and alpha differ."""
    across, down = np.arange(WIDTH) / (WIDTH - 1), np.arange(HEIGHT)[:, None] / (HEIGHT - 1)
    ramps = [across + 0 * down, down + 0 * across, 1 - across + 0 * down, 0.5 + down / 2 + 0 * across]
    chosen = {1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]
    return np.stack([np.round(ramps[n] * ((1 << bits) - 1)) for n in chosen], axis=-1).astype(np.uint16)


def _heic(values: np.ndarray, bits: int, icc: bytes | None, monkeypatch: pytest.MonkeyPatch) -> bytes:
    heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    monkeypatch.setattr(heif.options, "SAVE_HDR_TO_12_BIT", bits == 12)
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[values.shape[2]]
    raw = (values << (16 - bits)).astype("<u2") if bits > 8 else values.astype(np.uint8)
    image = heif.from_bytes(f"{mode};16" if bits > 8 else mode, (WIDTH, HEIGHT), raw.tobytes())
    out = io.BytesIO()
    image.save(out, quality=-1, chroma=444, **({"icc_profile": icc} if icc else {}))
    return out.getvalue()


def _plane(values: np.ndarray, bits: int) -> bytes:
    return values.astype("<u2" if bits > 8 else np.uint8).tobytes()


def _avif(values: np.ndarray, bits: int, folder: Path) -> bytes:
    """Through ffmpeg, whose streams are the colours and the alpha; RGB is stored as it is, as GBR."""
    channels = values.shape[2]
    deep = f"{bits}le" if bits > 8 else ""
    colours = values[..., :1] if channels <= 2 else values[..., [1, 2, 0]]
    planes = [(f"gray{deep}" if channels <= 2 else f"gbrp{deep}", _plane(np.moveaxis(colours, 2, 0), bits))]
    if channels in (2, 4):
        planes.append((f"gray{deep}", _plane(values[..., -1], bits)))
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y"]
    for number, (kind, body) in enumerate(planes):
        (folder / f"{number}.raw").write_bytes(body)
        command += ["-f", "rawvideo", "-pix_fmt", kind, "-s", f"{WIDTH}x{HEIGHT}", "-i", str(folder / f"{number}.raw")]
    command += [word for number in range(len(planes)) for word in ("-map", str(number))]
    command += ["-color_range", "pc", "-c:v", "libaom-av1", "-cpu-used", "8", "-crf", "0", "-aom-params", "lossless=1"]
    result = subprocess.run([*command, "-frames:v", "1", str(folder / "a.avif")], check=False, capture_output=True)
    if result.returncode:
        pytest.skip(f"this ffmpeg writes no such AVIF: {result.stderr.decode()[-200:]}")
    return (folder / "a.avif").read_bytes()


def _check(picture: Picture, values: np.ndarray, bits: int, tolerance: float) -> None:
    channels = values.shape[2]
    expected = values * (255 / ((1 << bits) - 1))
    colours = expected[..., :1] if channels <= 2 else expected[..., :3]
    assert picture.bits == 8
    assert picture.grey == (channels <= 2)
    assert np.abs(picture.pixels - colours).max() <= tolerance
    assert (picture.alpha is not None) == (channels in (2, 4))
    if picture.alpha is not None:
        assert np.abs(picture.alpha - expected[..., -1]).max() <= 1
    depth = [notice for notice in picture.notices if "bits per channel became 8" in notice]
    assert depth == ([f"{bits} bits per channel became 8"] if bits > 8 else [])


@pytest.mark.parametrize("profiled", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", BITS)
def test_heic_of_every_depth(bits: int, kind: str, profiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    values = _values(KINDS[kind], bits)
    icc = (grey_profile() if kind == "grey" else wide_profile()) if profiled else None
    picture = read(_heic(values, bits, icc, monkeypatch))
    # Grey is stored as it is; colours go through YCbCr, which rounds.
    _check(picture, values, bits, 1 if KINDS[kind] <= 2 else 4)
    assert picture.metadata.icc == icc
    _, back = again(picture, HEIC)
    assert back.grey == picture.grey
    assert (back.alpha is None) == (picture.alpha is None)
    if not picture.grey or picture.alpha is None:
        assert back.metadata.icc == icc


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", BITS)
def test_avif_of_every_depth(bits: int, kind: str, tmp_path: Path) -> None:
    values = _values(KINDS[kind], bits)
    picture = read(_avif(values, bits, tmp_path))
    _check(picture, values, bits, 1)
    _, back = again(picture, AVIF)
    assert back.grey or kind != "grey"
    assert (back.alpha is None) == (picture.alpha is None)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_avif_with_a_profile(mode: str) -> None:
    icc = grey_profile() if mode == "L" else wide_profile()
    samples = _values({"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}[mode], 8).astype(np.uint8)
    image = Image.fromarray(samples[..., 0] if mode == "L" else samples, mode)
    picture = read(saved(image, "AVIF", icc_profile=icc, quality=100))
    assert picture.metadata.icc == icc
    assert np.abs(picture.pixels.astype(int) - samples[..., : 3 if len(mode) > 2 else 1]).mean() < 3


@pytest.mark.parametrize("image_format", [HEIC, AVIF])
def test_colours_that_happen_to_be_grey_stay_colours_in_a_file_of_colours(image_format: ImageFormat) -> None:
    if image_format is HEIC:
        pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    grey = np.repeat(_values(1, 8).astype(np.uint8), 3, axis=2)
    data, _ = encode(Picture(grey, np.full(grey.shape[:2], 9, np.uint8), False, HEIC), image_format, PLAIN)
    assert not read(data).grey
