"""What cannot be written is found before the network runs."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import as_cleaner
from pictures import deep_png, saved
from PIL import Image, features
from typer.testing import CliRunner

from dpenet_cli.batch.outcomes import Outcome, Status
from dpenet_cli.batch.pictures import run
from dpenet_cli.batch.planning import plan_pictures
from dpenet_cli.cli.app import app
from dpenet_cli.errors import ImageWriteError
from dpenet_cli.images.format_limits import check
from dpenet_cli.images.picture import Coding, Picture
from dpenet_cli.images.reading import read
from dpenet_cli.inference.scales import ScaledDerainer
from dpenet_cli.options import ImageFormat, PictureOptions
from dpenet_cli.system.outputs import Job

JPEG, WEBP, AVIF, HEIC, PNG, BMP = map(ImageFormat, ("jpeg", "webp", "avif", "heic", "png", "bmp"))
LIMITS = [(JPEG, 65_500, 1), (WEBP, 16_383, 1), (AVIF, 32_768, 1), (HEIC, 65_528, 32), (HEIC, 4_216, 31)]


def begun(pixels: np.ndarray, target: Path, options: PictureOptions, **saved: object) -> tuple[Outcome, int]:
    """What became of one PNG, and how often the network was called for it."""
    source = target.parent / "source.png"
    Image.fromarray(pixels).save(source, **saved)
    calls = []
    clean = as_cleaner(lambda rainy: calls.append(rainy.shape) or rainy)
    (outcome,) = run([Job(source, target)], clean, options)
    return outcome, len(calls)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize(("image_format", "longest", "short"), LIMITS)
def test_the_longest_side_of_each_format(
    tmp_path: Path, image_format: ImageFormat, longest: int, short: int, upright: bool, turned: bool
) -> None:
    if image_format is HEIC:
        pytest.importorskip("pillow_heif", reason="HEIC needs the extra heic")
    exif = Image.Exif()
    exif[0x0112] = 6 if turned else 1
    target, options = tmp_path / f"result.{image_format.value}", PictureOptions(image_format=image_format)
    for long in (longest, longest + 1):
        pixels = np.zeros((long, short) if upright else (short, long), np.uint8)
        shown = (short, long) if upright is not turned else (long, short)
        outcome, calls = begun(pixels, target, options, exif=exif)
        assert outcome.size == shown
        if long == longest:
            assert (outcome.status, calls) == (Status.DONE, 1)
            assert read(target).pixels.shape == (shown[1], shown[0], 3)
            target.unlink()
        else:
            assert (outcome.status, calls) == (Status.FAILED, 0)
            assert f"{shown[0]}×{shown[1]}" in outcome.error.what
            assert str(longest) in outcome.error.why
            assert not target.exists()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("image_format", [JPEG, BMP])
def test_one_pixel_that_lets_something_through(tmp_path: Path, image_format: ImageFormat, bits: int) -> None:
    target, options = tmp_path / f"result.{image_format.value}", PictureOptions(image_format=image_format)
    most = 2**bits - 1
    for least in (most - 1, most):
        samples = np.full((6, 8, 4), most, np.uint8 if bits == 8 else np.uint16)
        samples[5, 7, 3] = least
        calls = []
        clean = as_cleaner(lambda rainy, calls=calls: calls.append(rainy.shape) or rainy)
        source = tmp_path / "source.png"
        source.write_bytes(saved(samples, "PNG") if bits == 8 else deep_png(samples))
        (outcome,) = run([Job(source, target)], clean, options)
        assert outcome.size == (8, 6)
        if least == most:
            assert (outcome.status, len(calls)) == (Status.DONE, 1)
            assert any("had none in use" in notice for notice in outcome.notices)
        else:
            assert (outcome.status, calls) == (Status.FAILED, [])
            assert "cannot hold transparency" in outcome.error.why
            assert not target.exists()


def test_a_format_whose_package_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    outcome, calls = begun(np.zeros((6, 8, 3), np.uint8), tmp_path / "a.heic", PictureOptions(image_format=HEIC))
    assert (outcome.status, calls, outcome.size) == (Status.FAILED, 0, (8, 6))
    assert 'pip install "pillow-heif>=' in outcome.error.next_step
    monkeypatch.setattr(features, "check", lambda name: name != "avif")
    outcome, calls = begun(np.zeros((6, 8, 3), np.uint8), tmp_path / "a.avif", PictureOptions(image_format=AVIF))
    assert (outcome.status, calls) == (Status.FAILED, 0)
    assert "built without AVIF" in outcome.error.why


@pytest.mark.parametrize(
    "words",
    [
        ["photos", "-o", "out/", "--format", "heic"],
        ["photos", "-o", "out/", "--format", "heic", "--dry-run"],
        ["photos/a.png", "-o", "a.heic"],
        ["photos/a.png", "-o", "a.HEIC", "--json"],
        ["photos/a.png", "--format", "heic"],
        ["--files-from", "list.txt", "-o", "out/", "--format", "heic"],
        ["photos/a.png", "-o", "-", "--format", "heic"],
        ["-", "-o", "a.heic"],
    ],
)
def test_a_package_that_is_missing_is_told_once_before_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_weights: Path, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for name in "abc":
        Image.new("RGB", (8, 6)).save(f"photos/{name}.png")
    Path("list.txt").write_text("photos/a.png\nphotos/b.png\n")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(ScaledDerainer, "__init__", lambda *_, **__: pytest.fail("the network was loaded"))
    result = CliRunner().invoke(app, ["derain", *words, "--device", "cpu", "--weights", str(tiny_weights)])
    assert isinstance(result.exception, ImageWriteError)  # which `main` tells once, with exit code 2
    assert "pillow-heif, which writes it, is not installed" in str(result.exception)
    assert 'pip install "pillow-heif>=' in result.exception.next_step
    assert result.stdout == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["list.txt", "photos"]


def test_other_formats_do_not_ask_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_weights: Path) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    words = ["derain", str(tmp_path / "a.png"), "-o", str(tmp_path / "b.webp"), "--weights", str(tiny_weights)]
    assert CliRunner().invoke(app, [*words, "--device", "cpu"]).exit_code == 0


@pytest.mark.parametrize(("image_format", "side"), [(BMP, 40_000), (ImageFormat.TIFF, 40_000)])
def test_four_gigabytes_are_found_without_any(image_format: ImageFormat, side: int) -> None:
    fits = np.broadcast_to(np.zeros(3, np.uint8), (side, 35_000, 3))
    check(Picture(fits, None, False, PNG, coding=Coding(compressed=False)), image_format)
    pixels = np.broadcast_to(np.zeros(3, np.uint8), (side, side, 3))
    with pytest.raises(ImageWriteError, match="cannot hold 4 GiB"):
        check(Picture(pixels, None, False, PNG, coding=Coding(compressed=False)), image_format)


@pytest.mark.parametrize("in_the_way", ["a file where its folder is to be", "a folder of its name"])
def test_a_place_that_cannot_be_written_to(tmp_path: Path, in_the_way: str) -> None:
    folder = tmp_path / "photos/trip"
    folder.mkdir(parents=True)
    for path in (folder / "a.png", tmp_path / "photos/b.png"):
        Image.new("RGB", (8, 6)).save(path)
    out = tmp_path / "out"
    if in_the_way == "a folder of its name":
        (out / "trip/a.png").mkdir(parents=True)
    else:
        out.mkdir()
        (out / "trip").write_text("a file")
    calls = []
    clean = as_cleaner(lambda rainy: calls.append(rainy.shape) or rainy)
    outcomes = list(run(plan_pictures([str(tmp_path / "photos")], out).jobs, clean, PictureOptions()))
    failed = next(outcome for outcome in outcomes if outcome.status is Status.FAILED)
    assert failed.source == str(folder / "a.png")
    assert "it cannot be written" in failed.error.why
    assert failed.size == (8, 6)
    assert len(calls) == 1  # for the other one
    assert (out / "b.png").is_file()


@pytest.mark.parametrize("options", [["-o", "x.webp"], ["--format", "webp", "-o", "out/"]])
def test_the_command_tells_the_size_of_what_it_did_not_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_weights: Path, options: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (16_384, 8)).save("panorama.png")
    monkeypatch.setattr(ScaledDerainer, "clean", lambda *_, **__: pytest.fail("the network was called"))
    command = ["derain", "panorama.png", *options, "--json", "--device", "cpu", "--weights", str(tiny_weights)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    line = json.loads(result.stdout.splitlines()[0])
    assert (line["width"], line["height"], line["status"]) == (16_384, 8, "failed")
    assert "16383" in line["error"]["why"]


def test_a_pipe_asks_before_it_cleans_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_weights: Path) -> None:
    Image.new("RGBA", (8, 6), (1, 2, 3, 254)).save(tmp_path / "a.png")
    monkeypatch.setattr(ScaledDerainer, "clean", lambda *_, **__: pytest.fail("the network was called"))
    monkeypatch.setattr(sys, "stdin", sys.__stdin__)
    command = ["derain", str(tmp_path / "a.png"), "-o", "-", "--format", "jpeg", "--weights", str(tiny_weights)]
    result = CliRunner().invoke(app, [*command, "--device", "cpu"])
    assert result.exit_code == 1
    assert "JPEG cannot hold transparency" in result.stderr
