"""Pictures that the network looks at in another size, and which size that is."""

import cv2
import numpy as np
import pytest
from conftest import lively_model
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import photo
from PIL import Image
from tiles import FixedTiles

from dpenet_cli.errors import ImageError, WeightsError
from dpenet_cli.inference.backend import TileSize
from dpenet_cli.inference.derainer import Derainer
from dpenet_cli.inference.looks import SMALL, plan_windows
from dpenet_cli.inference.resizing import clean_at, shrunk
from dpenet_cli.inference.scale_evidence import FEATURES, RAIN_FEATURES, Evidence
from dpenet_cli.inference.scale_rule import Choice, ScaleRule, rule_for, rule_path
from dpenet_cli.inference.scales import ScaledDerainer
from dpenet_cli.network.model import DPENetConfig
from dpenet_cli.network.weights_files import shipped_names
from dpenet_cli.options import EngineOptions


class Darker:
    """An engine that takes a share of the light away, and counts what it is shown."""

    at_once, on_gpu, description = 1, False, "drawn"

    def __init__(self, share: float = 0.1) -> None:
        self.share = share
        self.shown: list[tuple[tuple[int, ...], float | None]] = []

    def used_for(self, dtype):
        return {"device": "drawn", "backend": "torch", "precision": "fp32"}

    def __call__(self, rainy, progress=None, *, strength=None, precision_of=None):
        self.shown.append((rainy.shape, strength))
        if progress:
            progress(1.0)
        left = 1 - self.share * (1.0 if strength is None else strength)
        return np.rint(rainy * left).astype(rainy.dtype)


class Faint(Darker):
    """An engine that changes everything by less than half a grey level, up and down."""

    def __call__(self, rainy, progress=None, *, strength=None, precision_of=None):
        assert rainy.dtype == np.uint16
        change = np.random.default_rng(0).integers(-80, 81, rainy.shape)
        return np.clip(rainy + change, 0, 65535).astype(np.uint16)


def rule(constant: float, least_light: float = 0.0, rain: float = 1.0) -> ScaleRule:
    """A rule that gains so many decibels with every halving, and finds rain everywhere or nowhere."""
    return ScaleRule((constant, *[0.0] * (len(FEATURES) - 1)), least_light, (rain, *[0.0] * (len(RAIN_FEATURES) - 1)))


shapes = st.one_of(st.tuples(st.integers(1, 90), st.integers(1, 90)), st.sampled_from([(1, 5000), (5000, 1), (1, 1)]))


@given(shape=shapes, scale=st.floats(0.02, 1.0), deep=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_what_the_network_leaves_alone_stays_bit_for_bit(shape, scale, deep, seed):
    rng = np.random.default_rng(seed)
    dtype, peak = (np.uint16, 65535) if deep else (np.uint8, 255)
    rainy = rng.integers(0, peak + 1, (*shape, 3)).astype(dtype)
    assert np.array_equal(clean_at(Darker(0.0), rainy, scale), rainy)
    if shrunk(rainy, scale).shape != rainy.shape:
        assert np.array_equal(clean_at(Faint(), rainy, scale), rainy)


@given(shape=st.tuples(st.integers(30, 400), st.integers(30, 120)), scale=st.floats(0.1, 0.97), deep=st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_residual_is_enlarged_and_the_picture_is_not(shape, scale, deep):
    """Bands of rows, against OpenCV on the whole residual: the same cubic interpolation, however it is cut."""
    rainy = photo(*shape, deep=deep)
    result = clean_at(Darker(0.2), rainy, scale)
    small = shrunk(rainy, scale)
    unit = 1 if deep else 257
    if small.shape == rainy.shape:
        return
    wide = small.astype(np.uint16) * (1 if deep else 257)
    residual = np.rint(wide * 0.8).astype(np.uint16).astype(np.float32) - wide
    whole = cv2.resize(residual, shape[::-1], interpolation=cv2.INTER_CUBIC)
    sure = np.clip(np.abs(whole) / 257 * 2 - 1, 0, 1)
    expected = np.clip(rainy + whole * sure / unit, 0, np.iinfo(rainy.dtype).max)
    assert result.dtype == rainy.dtype
    assert np.abs(result - expected).max() <= 0.5 + 0.05 * (deep + 1) * 2


def test_below_half_a_level_nothing_changes_and_above_there_is_no_step():
    """A ramp of residuals from 0 to 2 grey levels on a flat 16-bit picture: what is applied rises without a jump."""

    class Ramp(Darker):
        def __call__(self, rainy, progress=None, *, strength=None, precision_of=None):
            return rainy - np.linspace(0, 514, rainy.shape[1]).astype(np.uint16)[None, :, None]

    flat = np.full((64, 2056, 3), 30000, np.uint16)
    change = 30000 - clean_at(Ramp(), flat, 0.5)[32, :, 0].astype(int)
    level = np.linspace(0, 2, 2056)
    assert (change[level < 0.49] == 0).all()
    assert (np.diff(change) <= 4).all()
    assert np.allclose(change[level > 1.1], 257 * level[level > 1.1], atol=2)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("scale", [0.5, 0.35])
def test_tiles_change_nothing_in_any_size(scale, deep):
    model = lively_model(DPENetConfig(channels=4, n_ddrb=1, n_erpab=1))
    rainy = photo(150, 210, deep=deep)
    results = [
        clean_at(Derainer(FixedTiles(model, TileSize(*size)), EngineOptions(device="cpu")), rainy, scale)
        for size in ((1000, 1000), (16, 8))
    ]
    difference = np.abs(results[0].astype(int) - results[1])
    assert difference.max() <= 1  # where fp32's last digit tips the rounding
    assert difference.mean() < 0.01


def test_the_look_at_a_small_picture_is_its_result_where_its_own_size_wins():
    engine, rainy = Darker(), photo(200, 300)
    cleaned = ScaledDerainer(engine, rule(-1.0)).clean(rainy)
    assert engine.shown == [((200, 300, 3), 1.0), ((100, 150, 3), 1.0)]
    assert cleaned.choice.scale == 1.0
    assert np.array_equal(cleaned.pixels, Darker()(rainy))


def test_a_small_picture_at_part_of_the_strength_is_cleaned_at_that():
    engine, rainy = Darker(), photo(200, 300)
    cleaned = ScaledDerainer(engine, rule(-1.0), strength=0.5).clean(rainy)
    assert engine.shown[-1] == ((200, 300, 3), None)  # the engine's own strength
    assert cleaned.choice.scale == 1.0


def test_a_small_picture_is_seen_in_half_of_its_size_at_least():
    engine = Darker()
    cleaned = ScaledDerainer(engine, rule(3.0)).clean(photo(200, 300))
    assert cleaned.choice.scale == 0.5
    assert engine.shown[-1] == ((100, 150, 3), None)


def test_a_large_picture_is_looked_at_in_windows_and_then_seen_once():
    engine, rainy = Darker(), photo(1000, 1201)
    assert rainy.shape[0] * rainy.shape[1] >= SMALL
    cleaned = ScaledDerainer(engine, rule(1.0)).clean(rainy)
    windows = [w for some in plan_windows(1000, 1201).values() for w in some]
    assert len(engine.shown) == len(windows) + 1
    assert cleaned.choice.scale == 1 / 8
    assert cleaned.choice.at_the_limit
    assert 0 < cleaned.choice.looked < 0.2
    assert engine.shown[-1] == ((125, 150, 3), None)


def test_where_next_to_nothing_is_removed_a_picture_is_seen_in_its_own_size():
    cleaned = ScaledDerainer(Darker(0.001), rule(3.0, least_light=2.0)).clean(photo(200, 300))
    assert cleaned.choice.scale == 1.0


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (127, 300), (300, 127)])
def test_what_is_too_small_to_tell_is_seen_in_its_own_size(shape):
    engine = Darker()
    cleaned = ScaledDerainer(engine, rule(1.0, rain=-1.0)).clean(photo(*shape), skip_dry=True)
    assert engine.shown == [((*shape, 3), None)]
    assert cleaned.choice == Choice(1.0)


def test_dry_pictures_are_left_alone_if_asked():
    engine, rainy = Darker(), photo(200, 300)
    cleaned = ScaledDerainer(engine, rule(-1.0, rain=-1.0)).clean(rainy, skip_dry=True)
    assert cleaned.pixels is rainy
    assert cleaned.choice.dry
    cleaned = ScaledDerainer(engine, rule(-1.0, rain=-1.0)).clean(rainy)
    assert cleaned.choice.dry
    assert np.array_equal(cleaned.pixels, engine(rainy))
    assert not ScaledDerainer(engine, rule(-1.0, rain=1.0)).clean(rainy).choice.dry


def test_a_size_that_is_given_is_taken_without_a_look():
    engine = Darker()
    cleaned = ScaledDerainer(engine, rule(1.0), 0.25).clean(photo(1200, 1000))
    assert engine.shown == [((300, 250, 3), None)]
    assert cleaned.choice == Choice(0.25)
    assert ScaledDerainer(engine, rule(1.0), 0.25).clean(photo(1200, 1000), skip_dry=True).choice.scale == 0.25


def test_nothing_happens_at_strength_0():
    rainy = photo(200, 300)
    scaled = ScaledDerainer(
        Derainer(FixedTiles(lively_model(DPENetConfig(4, 1, 1)), TileSize(99, 99)), EngineOptions(strength=0.0)),
        rule(1.0),
        None,
        0.0,
    )
    assert np.array_equal(scaled(rainy), rainy)


def test_several_pictures_are_decided_on_together():
    engine = Darker()
    choice = ScaledDerainer(engine, rule(1.0)).choose([photo(1000, 1201), photo(1000, 1201, seed=4)])
    assert choice.scale == 1 / 8
    assert len(engine.shown) == 2 * sum(map(len, plan_windows(1000, 1201).values()))


def test_a_rule_survives_its_file(tmp_path):
    path = tmp_path / "a.scales.json"
    fitted = ScaleRule(tuple(np.linspace(-1, 1, len(FEATURES)).tolist()), 1.25, tuple(range(len(RAIN_FEATURES))))
    fitted.save(path)
    assert ScaleRule.load(path) == fitted


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"features": [], "rain_features": [], "coefficients": [], "rain": [], "least_light": 1}', "\xff"],
)
def test_a_damaged_rule_is_named(tmp_path, text):
    path = tmp_path / "a.scales.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(WeightsError, match=r"a\.scales\.json"):
        ScaleRule.load(path)


def test_weights_without_a_rule_take_that_of_the_default_ones(tiny_weights):
    assert rule_for(tiny_weights) == rule_for("general")


def test_a_rule_beside_weights_is_theirs(tmp_path, tiny_weights):
    path = tmp_path / "own.safetensors"
    path.write_bytes(tiny_weights.read_bytes())
    rule(3.0).save(tmp_path / "own.scales.json")
    assert rule_for(path) == rule(3.0)


def test_the_default_weights_have_a_rule_of_their_own():
    assert rule_path("general").is_file()
    for weights in shipped_names():
        assert len(rule_for(weights).coefficients) == len(FEATURES)


def test_evidence_of_several_windows_is_that_of_one_as_large():
    """Sums add up: two halves say what the whole says, but for the differences across the cut."""
    rng = np.random.default_rng(2)
    engine = Darker(0.3)
    picture = cv2.GaussianBlur(rng.integers(0, 256, (256, 512, 3), dtype=np.uint8), (0, 0), 3)
    from dpenet_cli.inference.looks import Window, look

    halves = [Window(0, 0, 256, 256), Window(0, 256, 256, 512)]
    both, whole = Evidence(), Evidence()
    both.add(look(engine, picture, {1.0: halves, 0.5: halves}))
    whole.add(look(engine, picture, {1.0: [Window(0, 0, 256, 512)], 0.5: [Window(0, 0, 256, 512)]}))
    assert np.allclose(both.features(1.0), whole.features(1.0), atol=0.06)


def test_a_stream_is_seen_in_the_size_of_its_first_frame():
    engine = Darker()
    engine.stream = lambda frames: map(engine, frames)
    frames = [photo(1000, 1201), photo(1000, 1201, seed=4)]
    results = list(ScaledDerainer(engine, rule(1.0)).stream(iter(frames)))
    assert engine.shown[-2:] == [((125, 150, 3), None)] * 2
    assert np.array_equal(results[1], clean_at(Darker(), frames[1], 1 / 8))
    engine.shown.clear()
    assert len(list(ScaledDerainer(engine, rule(1.0)).stream(iter([photo(), photo()])))) == 2
    assert engine.shown == [((48, 64, 3), None)] * 2  # too small to be looked at
    assert not list(ScaledDerainer(engine, rule(1.0)).stream(iter([])))


def test_pillow_pictures_and_what_is_no_picture():
    scaled = ScaledDerainer(Darker(), rule(3.0))
    picture = Image.fromarray(photo(200, 300))
    assert np.array_equal(np.asarray(scaled(picture)), scaled(photo(200, 300)))
    with pytest.raises(ImageError, match="RGB"):
        scaled(picture.convert("L"))
    for wrong in (np.zeros((200, 300), np.uint8), np.zeros((200, 300, 3)), np.zeros((200, 300, 4), np.uint8)):
        with pytest.raises(ImageError, match="needed"):
            scaled(wrong)


def test_a_size_in_which_the_rain_is_not_seen_is_never_taken():
    """An engine that darkens large pictures and leaves small ones alone, under a rule that loves small sizes."""

    class Sharp(Darker):
        def __call__(self, rainy, progress=None, *, strength=None, precision_of=None):
            fine = rainy.std() > 60  # noise is averaged away where a picture is shrunk
            return Darker(0.2 if fine else 0.0)(rainy, strength=strength)

    noise = np.random.default_rng(5).integers(0, 256, (1000, 1200, 3), dtype=np.uint8)
    assert ScaledDerainer(Sharp(), rule(1.0)).clean(noise).choice.scale == 1.0
    assert ScaledDerainer(Darker(0.2), rule(1.0)).clean(noise).choice.scale == 1 / 8
