"""Previews: where they go, what they may replace, and what they show."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpenet_cli.batch.previews import View, check_preview, preview_path, preview_picture
from dpenet_cli.errors import InputError
from dpenet_cli.inference.region import Region
from dpenet_cli.inference.scales import load
from dpenet_cli.options import EngineOptions, Precision

NAMES = [
    (None, "a-preview.png"),
    (83, "a-preview-1m23s.png"),
    ("1/2", "a-preview-0m0.5s.png"),
    (3723, "a-preview-1h2m3s.png"),
]


@pytest.mark.parametrize(("time", "name"), NAMES)
def test_names(tmp_path, time, name):
    source, seconds = tmp_path / "a.b", None if time is None else Fraction(time)
    assert preview_path(source, None, time=seconds) == tmp_path / name
    assert preview_path(source, tmp_path, time=seconds) == tmp_path / name
    assert preview_path(source, Path("new"), is_folder=True, time=seconds) == Path("new") / name
    assert preview_path(source, Path("look.PNG"), time=seconds) == Path("look.PNG")
    with pytest.raises(InputError, match=r"look\.png"):
        preview_path(source, Path("look.jpg"), time=seconds)


def test_an_earlier_preview_is_replaced_and_no_other_file(tmp_path, rainy_photo, tiny_weights):
    source, target = tmp_path / "a.png", tmp_path / "a-preview.png"
    Image.fromarray(rainy_photo).save(source)
    engine = load(tiny_weights, EngineOptions(precision=Precision.FP32, threads=1))
    clean = engine.clean(rainy_photo).pixels
    check_preview(target, source, overwrite=False)
    shown = preview_picture(source, target, engine, View((0.0, 0.5, 1.0)), 10**8)
    assert (shown.box, shown.found) == ((0, 0, 120, 90), False)
    canvas = np.asarray(Image.open(target)).astype(int)
    assert canvas.shape == (30 + 90, 4 * 120 + 3 * 8, 3)
    panels = [canvas[30:, left : left + 120] for left in range(0, 4 * 128, 128)]
    for panel, expected in zip(panels[::3], (rainy_photo, clean), strict=True):
        assert np.array_equal(panel, expected)
    assert np.array_equal(panels[1], rainy_photo)
    assert np.abs(panels[2] - (rainy_photo + clean.astype(int)) / 2).max() <= 0.5
    check_preview(target, source, overwrite=False)
    preview_picture(source, target, engine, View((1.0,), Region.parse("10,20,30,40")), 10**8)
    assert Image.open(target).size == (2 * 30 + 8, 40 + 30)
    Image.open(target).save(target)  # somebody edited it
    with pytest.raises(InputError, match="it exists already"):
        check_preview(target, source, overwrite=False)
    check_preview(target, source, overwrite=True)
    with pytest.raises(InputError, match="it is an input"):
        check_preview(source, source, overwrite=True)
