"""Parts of pictures: as they come out of the whole, and where most is removed."""

import doctest

import numpy as np
import pytest
from conftest import textured

from dpenet_cli.errors import OptionError
from dpenet_cli.inference import region as region_file
from dpenet_cli.inference.parts import SIDE, cleaned_part, cut, most_changed
from dpenet_cli.inference.region import Box, Region
from dpenet_cli.inference.scale_rule import rule_for
from dpenet_cli.inference.scales import ScaledDerainer, load
from dpenet_cli.options import EngineOptions, Precision


def derainer(weights, scale):
    return load(weights, EngineOptions(precision=Precision.FP32, threads=1, scale=scale))


@pytest.fixture
def large():
    return np.tile(textured(3, 300, 400), (3, 3, 1))[:850, :1200]


def test_a_region_in_pixels_or_percent():
    assert doctest.testmod(region_file).failed == 0
    assert Region.parse("all").of(30, 20) == Box(0, 0, 30, 20)
    assert Region.parse(" 50% , 10,100%,4").of(30, 20) == Box(15, 10, 15, 4)
    assert str(Box(1, 2, 3, 4)) == "1,2,3,4"


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "-1,0,5,5", "1e3,0,5,5", "0,0,0,9", "99,0,5,5"])
def test_what_is_no_region_is_refused(text):
    with pytest.raises(OptionError, match="--region"):
        Region.parse(text).of(30, 20)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_part_is_what_the_whole_shows_there(tiny_weights, large, scale):
    engine = derainer(tiny_weights, scale)
    whole = engine.clean(large).pixels
    for text in ("301,203,150,121", "0,0,64,48", "1100,800,100,50"):
        part = cleaned_part(engine, large, Region.parse(text))
        assert (str(part.box), part.found, part.choice.scale) == (text, False, scale)
        assert np.array_equal(part.before, cut(large, part.box))
        assert np.abs(part.after.astype(int) - cut(whole, part.box)).max() <= 1


def test_a_small_picture_is_shown_whole(tiny_weights, rainy_photo):
    part = cleaned_part(derainer(tiny_weights, 1.0), rainy_photo)
    assert part.box == Box(0, 0, 120, 90)
    assert np.array_equal(part.before, rainy_photo)


def test_most_is_changed_where_it_is(large):
    after = large.copy()
    after[300:420, 700:900] //= 2
    box = most_changed(large, after)
    assert box[2:] == (SIDE, SIDE)
    assert box.left <= 700
    assert box.left + box.width >= 900
    assert box.top <= 300
    assert box.top + box.height >= 420
    corner = large.copy()
    corner[-5:, -5:] = 255 - corner[-5:, -5:]
    box = most_changed(large, corner)
    assert (box.left + box.width, box.top + box.height) == (1200, 850)
    assert most_changed(large[:90, :120], large[:90, :120]) == Box(0, 0, 120, 90)


class Darkening:
    """Darkens what is bright, as rain is."""

    at_once, on_gpu, description = 1, False, "a test"

    def __call__(self, rainy, progress=None, **_):
        return np.minimum(rainy, np.iinfo(rainy.dtype).max // 255 * 200)


@pytest.mark.parametrize("scale", [None, 1.0, 0.3])
def test_the_part_is_where_most_light_is_removed(large, scale):
    rainy = np.minimum(large, 190)
    rainy[500:760, 830:1000] = 250
    part = cleaned_part(ScaledDerainer(Darkening(), rule_for("general"), scale), rainy)
    assert part.found
    assert part.box[2:] == (SIDE, SIDE)
    assert part.box.left + part.box.width > 1000
    assert part.before.max() == 250
    assert part.after.mean() < part.before.mean() - 5
