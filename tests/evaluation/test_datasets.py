import itertools
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import store, textured
from pictures import camera_jpeg, deep_png, photo, saved, tiff, wide_profile
from PIL import Image, ImageOps

from dpenet_cli.errors import DatasetError
from dpenet_cli.evaluation.datasets import (
    CLEAN_FOLDERS,
    RAINY_FOLDERS,
    Layout,
    holds_set,
    open_dataset,
    split_backgrounds,
)
from dpenet_cli.evaluation.set_pictures import read_picture
from dpenet_cli.evaluation.side_by_side import Side

DATA = os.environ.get("DPENET_TEST_DATA")


def store_blank(path: Path) -> None:
    store(path, np.zeros((8, 8, 3), np.uint8))


def names(folder: Path) -> list[tuple[str, str]]:
    return [(pair.rainy.name, pair.clean.name) for pair in open_dataset(folder).pairs]


def test_two_folders_pair_by_name_whatever_the_suffix(tmp_path: Path) -> None:
    for name in ("input/b.png", "input/a.png", "target/a.jpg", "target/b.jpg"):
        store_blank(tmp_path / name)
    assert names(tmp_path) == [("a.png", "a.jpg"), ("b.png", "b.jpg")]
    assert open_dataset(tmp_path).layout is Layout.FOLDERS


def test_several_rains_share_a_background(tmp_path: Path) -> None:
    for name in ("rainy_image/901_1.jpg", "rainy_image/901_2.jpg", "rainy_image/90_1.jpg"):
        store_blank(tmp_path / name)
    store_blank(tmp_path / "ground_truth/901.jpg")
    store_blank(tmp_path / "ground_truth/90.jpg")
    assert names(tmp_path) == [("901_1.jpg", "901.jpg"), ("901_2.jpg", "901.jpg"), ("90_1.jpg", "90.jpg")]
    assert len({pair.background for pair in open_dataset(tmp_path).pairs}) == 2


@pytest.mark.parametrize("folder", ["rainy/", ""])
def test_norain_pairs_with_rain(tmp_path: Path, folder: str) -> None:
    for number in ("001", "010"):
        store_blank(tmp_path / f"{folder}rain-{number}.png")
        store_blank(tmp_path / f"norain-{number}.png")
    assert names(tmp_path) == [("rain-001.png", "norain-001.png"), ("rain-010.png", "norain-010.png")]


@pytest.mark.parametrize("clean_side", list(Side))
def test_side_by_side_pictures_are_told_from_others(tmp_path: Path, clean_side: Side) -> None:
    rng = np.random.default_rng(0)
    for number in range(4):
        clean = textured(number, 64, 80)
        streaks = (rng.random((64, 80, 1)) > 0.9) * 90
        rainy = (clean + streaks).clip(0, 255).astype(np.uint8)
        halves = [clean, rainy] if clean_side is Side.LEFT else [rainy, clean]
        store(tmp_path / "both" / f"{number}.png", np.hstack(halves))
        store(tmp_path / "plain" / f"{number}.png", np.hstack([clean, textured(number + 50, 64, 80)]))
    found = open_dataset(tmp_path / "both")
    assert found.layout is Layout.SIDE_BY_SIDE
    assert {pair.clean_side for pair in found.pairs} == {clean_side}
    rainy, clean = found.pairs[3].load()
    assert np.array_equal(clean, textured(3, 64, 80))
    assert rainy.mean() > clean.mean()
    assert open_dataset(tmp_path / "plain").layout is Layout.CLEAN


def test_pictures_without_partner_are_named(tmp_path: Path) -> None:
    for name in ("input/a.png", "input/lonely.png", "target/a.png", "target/left.png"):
        store_blank(tmp_path / name)
    with pytest.raises(DatasetError, match=r"2 pictures have no partner.*lonely\.png.*left\.png"):
        open_dataset(tmp_path)


def test_two_ground_truths_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("input/a.png", "target/a.png", "target/a.jpg"):
        store_blank(tmp_path / name)
    with pytest.raises(DatasetError, match="both be the ground truth"):
        open_dataset(tmp_path)


def test_what_is_no_set_says_what_lies_there(tmp_path: Path) -> None:
    (tmp_path / "bsds").mkdir()
    with pytest.raises(DatasetError, match="it holds bsds"):
        open_dataset(tmp_path)
    with pytest.raises(DatasetError, match="no such folder"):
        open_dataset(tmp_path / "nowhere")


def test_unequal_sizes_and_damaged_files_are_errors(tmp_path: Path) -> None:
    store_blank(tmp_path / "input/a.png")
    store(tmp_path / "target/a.png", np.zeros((8, 9, 3), np.uint8))
    with pytest.raises(DatasetError, match="8×8 against 9×8"):
        open_dataset(tmp_path).pairs[0].load()
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_picture(tmp_path / "bad.png")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DatasetError, match="8 bits"):
        read_picture(tmp_path / "deep.png")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("rgb.png", deep_png(photo(deep=True))),
        ("rgba.png", deep_png(photo(deep=True, channels=4))),
        ("grey.png", deep_png(photo(deep=True, channels=1))),
        ("rgb.tif", tiff(photo(deep=True), photometric="rgb")),
        ("grey.tif", tiff(photo(deep=True)[..., 0])),
    ],
)
def test_sixteen_bits_are_refused_not_cut(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DatasetError, match=rf"{name}: it has 16 bits a channel"):
        read_picture(tmp_path / name)


def test_ten_bits_are_refused_not_cut(tmp_path: Path) -> None:
    ok, data = cv2.imencode(".avif", photo(deep=True) >> 6, [cv2.IMWRITE_AVIF_DEPTH, 10])
    if not ok:
        pytest.skip("this OpenCV writes no AVIF")
    (tmp_path / "a.avif").write_bytes(data.tobytes())
    with pytest.raises(DatasetError, match="it has 10 bits a channel"):
        read_picture(tmp_path / "a.avif")


@pytest.mark.parametrize("name", ["a.webp", "a.tif", "a.bmp", "a.avif", "a.dib", "a.jfif"])
def test_sets_are_read_in_every_format_that_is_cleaned(tmp_path: Path, name: str) -> None:
    kind = {"dib": "BMP", "jfif": "JPEG", "tif": "TIFF"}.get(name[2:], name[2:].upper())
    data = saved(photo(), kind, **({"lossless": True} if kind == "WEBP" else {}))
    (tmp_path / name).write_bytes(data)
    assert [path.name for path in open_dataset(tmp_path).clean] == [name]
    with Image.open(tmp_path / name) as image:
        expected = np.array(image.convert("RGB"))
    assert np.array_equal(read_picture(tmp_path / name), expected)


def test_pictures_are_turned_upright_and_their_colours_left_alone(tmp_path: Path) -> None:
    sideways = camera_jpeg(6)  # with the profile of a wide colour space
    (tmp_path / "a.jpg").write_bytes(sideways)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.info["icc_profile"] == wide_profile()
        expected = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(read_picture(tmp_path / "a.jpg"), expected)
    (tmp_path / "a.tif").write_bytes(tiff(photo(), photometric="rgb", extratags=[(274, "H", 1, 6, True)]))
    assert np.array_equal(read_picture(tmp_path / "a.tif"), np.rot90(photo(), -1))


@pytest.mark.parametrize("head", [b"P6 4 3 255 ", b"P6\n# by hand\n4 3\n# deep\n255\n"])
def test_portable_maps_are_read(tmp_path: Path, head: bytes) -> None:
    pixels = photo(3, 4)
    (tmp_path / "a.ppm").write_bytes(head + pixels.tobytes())
    assert np.array_equal(read_picture(tmp_path / "a.ppm"), pixels)
    (tmp_path / "a.ppm").write_bytes(b"P5 4 3 255 " + pixels[..., 0].tobytes())
    assert np.array_equal(read_picture(tmp_path / "a.ppm"), np.repeat(pixels[..., :1], 3, axis=2))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"P6 4 3 65535 " + bytes(72), "16 bits a channel"),
        (b"P6 4 3 1023 " + bytes(72), "10 bits a channel"),
        (b"P6 4 3 255 " + bytes(20), "cannot be decoded"),
        (b"P6 400000 300000 255 " + bytes(20), "400000×300000"),
        (b"no picture", "its content is not a picture in a format"),
    ],
)
def test_portable_maps_that_cannot_be_read_are_named(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "b.ppm").write_bytes(content)
    with pytest.raises(DatasetError, match=rf"b\.ppm: it .*{why}"):
        read_picture(tmp_path / "b.ppm")


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk_without_a_profile_is_read_plainly(tmp_path: Path, name: str) -> None:
    Image.fromarray(photo()).convert("CMYK").save(tmp_path / name)
    with Image.open(tmp_path / name) as image:
        expected = np.array(image.convert("RGB"))
    assert np.array_equal(read_picture(tmp_path / name), expected)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-2000])
    with pytest.raises(DatasetError, match="it cannot be read"):
        read_picture(tmp_path / name)


def test_a_bad_picture_does_not_hide_the_layout_of_the_others(tmp_path: Path) -> None:
    for number in range(3):
        clean = textured(number, 48, 64)
        store(tmp_path / f"{number}.png", np.hstack([clean, clean]))
    (tmp_path / "0.png").write_bytes(b"")
    assert open_dataset(tmp_path).layout is Layout.SIDE_BY_SIDE
    for number in (1, 2):
        (tmp_path / f"{number}.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"0\.png: it cannot be read: the file is empty"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(("rainy", "clean"), list(itertools.product(RAINY_FOLDERS, CLEAN_FOLDERS)))
def test_a_set_is_known_by_the_names_that_pair(tmp_path: Path, rainy: str, clean: str) -> None:
    store_blank(tmp_path / f"set/{rainy}/a.tif")
    assert not holds_set(tmp_path / "set")
    store_blank(tmp_path / f"set/{clean}/a.tif")
    assert names(tmp_path / "set") == [("a.tif", "a.tif")]
    assert holds_set(tmp_path / "set")
    assert not holds_set(tmp_path)


def test_the_split_is_stable_when_pictures_come_or_go() -> None:
    everything = [f"picture {number}" for number in range(100)]
    chosen = split_backgrounds(everything, 10, seed=1)
    assert len(chosen) == 10
    fewer = split_backgrounds([name for name in everything if name != everything[7]], 10, seed=1)
    assert len(chosen & fewer) >= 9
    assert split_backgrounds(everything, 10, seed=2) != chosen


@pytest.mark.skipif(not DATA, reason="DPENET_TEST_DATA is not set")
@pytest.mark.parametrize(
    ("folder", "layout", "pairs", "clean"),
    [
        ("eval/rain100l", Layout.FOLDERS, 20, 0),
        ("eval/rain1400", Layout.FOLDERS, 14, 0),
        ("train/rain800", Layout.SIDE_BY_SIDE, 600, 0),
        ("train/rain1400", Layout.FOLDERS, 42, 0),
        ("train/clean/bsds", Layout.CLEAN, 0, 346),
        ("train/clean/camvid", Layout.CLEAN, 0, 62),
        ("train/clean/urban", Layout.CLEAN, 0, 100),
        ("train/clean/sunhays", Layout.CLEAN, 0, 80),
    ],
)
def test_the_sets_in_circulation_are_recognised(folder: str, layout: Layout, pairs: int, clean: int) -> None:
    found = open_dataset(Path(str(DATA)) / folder)
    assert (found.layout, len(found.pairs), len(found.clean)) == (layout, pairs, clean)
    assert all(pair.clean_side in {None, Side.LEFT} for pair in found.pairs)  # Rain800 has its clean halves on the left
