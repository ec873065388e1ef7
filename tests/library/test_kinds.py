"""Arrays and pictures of every kind: in one dtype and shape, out the same; what is none is told as what it is."""

import doctest

import numpy as np
import pytest
from conftest import picture
from PIL import Image

from dpenet_cli import DpenetError, load
from dpenet_cli.errors import ImageError, ImageReadError, OptionError
from dpenet_cli.library import derain, kinds


@pytest.fixture(scope="module")
def tiny(tiny_weights):
    return load(tiny_weights, device="cpu", precision="fp32", backend="torch", threads=1)


def grey(height, width, dtype=np.uint8):
    return picture(height, width, dtype)[..., 0]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_is_cleaned_as_the_same_in_three_channels(tiny, dtype):
    given = grey(20, 31, dtype)
    kept = given.copy()
    clean = tiny(given)
    assert (clean.shape, clean.dtype) == (given.shape, dtype)
    assert np.array_equal(given, kept)
    as_rgb = tiny(np.repeat(given[..., None], 3, axis=2)).astype(int)
    assert np.abs(clean - as_rgb @ np.array([0.299, 0.587, 0.114])).max() <= 0.5 + 1e-6
    assert np.array_equal(tiny(given[..., None]), clean[..., None])


def test_floats_are_cleaned_as_16_bits(tiny):
    deep = picture(20, 31, np.uint16)
    given = (deep / 65535).astype(np.float32)
    clean = tiny(given)
    assert clean.dtype == np.float32
    assert np.abs(clean - tiny(deep) / 65535).max() < 1e-6
    assert 0 <= clean.min() <= clean.max() <= 1


def test_what_does_not_change_keeps_its_bits():
    given = np.random.default_rng(3).random((9, 7, 3), np.float32)
    assert np.array_equal(kinds.cleaned_like(given, np.copy), given)
    assert np.array_equal(kinds.cleaned_like(given[..., 0], np.copy), given[..., 0])


def test_each_picture_of_a_batch_is_cleaned_by_itself(tiny):
    batch = np.stack([picture(20, 31, seed=seed) for seed in range(3)])
    clean = tiny(batch)
    assert clean.shape == batch.shape
    for before, after in zip(batch, clean, strict=True):
        assert np.array_equal(tiny(before), after)
    assert tiny(batch[..., :1]).shape == (3, 20, 31, 1)


def test_any_view_is_a_picture(tiny):
    given = picture(40, 62)[::-2, ::2]
    assert np.array_equal(tiny(given), tiny(given.copy()))


@pytest.mark.parametrize("mode", ["RGB", "L", "I;16"])
def test_pillow_pictures_keep_their_mode(tiny, mode):
    pixels = {"RGB": picture(20, 31), "L": grey(20, 31), "I;16": grey(20, 31, np.uint16)}[mode]
    clean = tiny(Image.fromarray(pixels))
    assert clean.mode == mode
    assert np.array_equal(np.asarray(clean), tiny(pixels))


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "Path"])
def test_a_path_gives_the_pixels_of_its_picture(tiny, tmp_path, kind):
    Image.fromarray(picture(20, 31)).save(tmp_path / "a.png")
    assert np.array_equal(tiny(kind(tmp_path / "a.png")), tiny(picture(20, 31)))
    with pytest.raises(ImageReadError, match=r"b\.png: cannot be read"):
        tiny(kind(tmp_path / "b.png"))


FLOATS = np.full((4, 5, 3), 0.5, np.float32)


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (FLOATS.astype(np.float64), r'array 4×5×3 float64: uint8, uint16 or float32 .*astype\("float32"\)'),
        (FLOATS.astype(np.int64), "array 4×5×3 int64: uint8, uint16 or float32 .* is needed. Convert it first"),
        (FLOATS > 0, "array 4×5×3 bool: uint8, uint16 or float32"),
        (FLOATS * np.nan, r"some of its values are not numbers \(NaN\)"),
        (FLOATS * np.inf, "its values run from inf to inf, and float32 pictures from 0 to 1"),
        (FLOATS * 255, "from 127.5 to 127.5, and float32 pictures from 0 to 1. Divide by"),
        (FLOATS - 1, "from -0.5 to -0.5, and float32 pictures from 0 to 1. Use numpy.clip"),
        (np.zeros((0, 5, 3), np.uint8), "array 0×5×3 uint8: it has no pixels"),
        (np.zeros((0, 4, 5, 3), np.uint8), "array 0×4×5×3 uint8: it has no pixels"),
        (np.zeros((4, 5, 4), np.uint8), "H×W×3 RGB, .* is needed. Leave out the transparency"),
        (np.zeros((3, 4, 5), np.uint8), "H×W×3 RGB, .* is needed. Put the channels last"),
        (np.zeros(5, np.uint8), "H×W×3 RGB, .* is needed. Rows come first"),
        (np.uint8(5)[...], "H×W×3 RGB, .* is needed. Rows come first"),
        ([[1, 2], [3, 4]], "a list: a picture is a NumPy array, a Pillow picture or the path of one"),
        (None, "a NoneType: a picture is"),
        (Image.new("CMYK", (5, 4)), r'picture of mode CMYK: RGB, L or I;16 is needed. Use .convert\("RGB"\)'),
        (Image.new("RGB", (0, 4)), "it has no pixels"),
    ],
)
def test_what_is_no_picture_is_told(tiny, bad, told):
    with pytest.raises(ImageError, match=told):
        tiny(bad)


def test_one_bad_value_in_a_batch_is_found_before_any_is_cleaned():
    batch = np.stack([FLOATS, FLOATS])
    batch[1, 2, 3, 0] = np.nan
    with pytest.raises(ImageError, match="NaN"):
        kinds.cleaned_like(batch, lambda _: pytest.fail("cleaned"))


def test_frames_come_back_as_they_went_in(tiny):
    frames = [FLOATS[..., 0] * share for share in (0.2, 0.4, 0.6)]
    for before, after in zip(frames, tiny.stream(iter(frames)), strict=True):
        assert np.allclose(after, tiny(before), atol=1e-6)
    with pytest.raises(ImageError, match="a frame is a single picture"):
        list(tiny.stream([np.stack(frames)[..., None]]))
    assert list(tiny.stream([])) == []


def test_keywords_are_the_options(tiny_weights):
    engine = load(tiny_weights, device="cpu", precision="fp32", backend="torch", threads=1, strength=0.0, scale=0.5)
    assert (engine.weights, engine.options.threads, engine.options.scale) == (tiny_weights, 1, 0.5)
    given = picture(20, 31)
    assert np.array_equal(engine(given), given)  # strength 0
    again = load(tiny_weights, engine.options, strength=1.0)
    assert again.options.strength == 1
    assert again.options.threads == 1
    for wrong in ({"device": "gpu9"}, {"precision": "fp8"}, {"backend": "onnx"}, {"threads": 0}, {"strength": 2}):
        with pytest.raises(OptionError):
            load(tiny_weights, **wrong)
    with pytest.raises(DpenetError):
        load("no-such-weights")


@pytest.mark.parametrize("module", [kinds, derain], ids=lambda module: module.__name__)
def test_examples_in_docstrings(module):
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed
