"""The engine: exact at any tile size, and what it does when memory runs out or numbers overflow."""

import doctest
import logging
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, lively_model, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiles import FixedTiles, untiled

import dpenet_cli
from dpenet_cli import EngineOptions, Precision
from dpenet_cli.batch.outcomes import Status
from dpenet_cli.batch.pictures import run
from dpenet_cli.batch.planning import plan_pictures
from dpenet_cli.errors import DeviceError, ImageError, WeightsError
from dpenet_cli.inference import derainer, scales
from dpenet_cli.inference.backend import NonFinite, OutOfMemory, TileSize
from dpenet_cli.inference.derainer import Derainer
from dpenet_cli.inference.row_streaming import RowStream
from dpenet_cli.inference.scale_rule import rule_for
from dpenet_cli.inference.scales import ScaledDerainer
from dpenet_cli.inference.tiling import plan
from dpenet_cli.inference.torch import TorchBackend
from dpenet_cli.network.model import DPENetConfig
from dpenet_cli.options import PictureOptions

MODEL = lively_model(DPENetConfig(channels=4, n_ddrb=2, n_erpab=1))
DEEP = lively_model(DPENetConfig(channels=3))  # the paper's depth, so its 181 pixels
GREY_LEVEL = 1 / 255
PACKAGE = Path(dpenet_cli.__file__).parent


def test_far_context_matters_in_the_test_network():
    """If it did not, no test here could find a halo that is too small."""
    rainy = picture(60, 150)
    changed = rainy.copy()
    changed[:, 0] = 255 - changed[:, 0]
    radius = MODEL.receptive_radius
    reach = np.abs(untiled(MODEL, rainy) - untiled(MODEL, changed)).max(axis=(0, 2))
    assert reach[radius - 8 : radius + 1].max() > 1e-3
    assert reach[radius + 1 :].max() == 0


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 130),
    width=st.integers(1, 130),
    columns=st.integers(1, 140),
    rows=st.integers(1, 140),
    dtype=st.sampled_from([np.uint8, np.uint16]),
)
def test_tiled_equals_untiled(height, width, columns, rows, dtype):
    rainy = picture(height, width, dtype)
    engine = Derainer(FixedTiles(MODEL, TileSize(columns, rows)), EngineOptions(precision=Precision.FP32))
    tiled = engine(rainy)
    reference = untiled(MODEL, rainy)
    slack = 1e-3 * np.iinfo(dtype).max / 255  # a thousandth of an 8-bit grey level
    # an integer may only differ from the rounded reference where that lies within the slack of a half
    assert np.abs(tiled - reference).max() <= 0.5 + slack


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 90), width=st.integers(1, 40), rows=st.integers(1, 100), n=st.integers(1, 2))
def test_bands_equal_the_whole_in_floats(height, width, rows, n):
    tensor = torch.rand(n, 3, height, width)
    stream = RowStream(height)
    below = torch.cat([tensor, torch.zeros(n, 3, MODEL.receptive_radius, width)], dim=2)
    with torch.inference_mode():
        out = []
        for top in range(0, below.shape[2], rows):
            stream.begin_band()
            out.append(MODEL(below[:, :, top : top + rows], stream).restored)
        banded = torch.cat(out, dim=2)
        assert banded.shape == tensor.shape
        assert (banded - MODEL(tensor).restored).abs().max() <= 1e-3 * GREY_LEVEL


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 1500), (1500, 1), (200, 30), (31, 700)])
def test_odd_shapes_at_the_papers_depth(height, width):
    rainy = picture(height, width)
    for size in (TileSize(256, 8), TileSize(100, 33), TileSize(10000, 10000)):
        tiled = Derainer(FixedTiles(DEEP, size), EngineOptions(precision=Precision.FP32))(rainy)
        assert np.abs(tiled - untiled(DEEP, rainy)).max() <= 0.5 + 1e-3


def test_bands_hold_memory_that_does_not_grow_with_height():
    def most_bytes(height):
        stream = RowStream(height)
        sizes = []
        with torch.inference_mode():
            for _ in range(0, height + MODEL.receptive_radius, 8):
                stream.begin_band()
                MODEL(torch.rand(1, 3, 8, 16), stream)
                sizes.append(sum(t.untyped_storage().nbytes() for t in stream._state if t is not None))
        return max(sizes)

    assert most_bytes(2000) == most_bytes(200)


@settings(max_examples=200, deadline=None)
@given(width=st.integers(1, 5000), tile=st.integers(1, 6000), halo=st.integers(0, 200))
def test_strips_cover_the_picture_once_with_their_halo(width, tile, halo):
    cut = plan(width, tile=tile, halo=halo)
    edge = 0
    for strip in cut.strips:
        assert strip.left == edge
        assert 1 <= strip.right - strip.left <= tile
        assert strip.start == max(0, strip.left - halo)
        assert strip.stop == min(width, strip.right + halo)
        edge = strip.right
    assert edge == width
    assert (cut.overhead == 1.0) == (width <= tile or halo == 0)
    assert round(cut.overhead * width) <= width + 2 * halo * (len(cut.strips) - 1)


def test_strength():
    rainy = picture(50, 70)
    full = Derainer(FixedTiles(MODEL, TileSize(99, 16)), EngineOptions())(rainy)
    none = Derainer(FixedTiles(MODEL, TileSize(99, 16)), EngineOptions(strength=0.0))(rainy)
    half = Derainer(FixedTiles(MODEL, TileSize(99, 16)), EngineOptions(strength=0.5))(rainy)
    almost = Derainer(FixedTiles(MODEL, TileSize(20, 16)), EngineOptions(strength=1e-9))(rainy)
    assert np.array_equal(none, rainy)
    assert none is not rainy
    assert np.array_equal(almost, rainy)
    inside = (full > 0) & (full < 255)  # elsewhere the float was clamped
    assert np.abs(half.astype(float) - (full.astype(float) + rainy) / 2)[inside].max() <= 1.0


def test_kind_of_picture_is_kept():
    engine = Derainer(FixedTiles(MODEL, TileSize(64, 16)), EngineOptions())
    for dtype in (np.uint8, np.uint16):
        rainy = picture(20, 30, dtype)
        before = rainy.copy()
        clean = engine(rainy)
        assert (clean.shape, clean.dtype) == (rainy.shape, rainy.dtype)
        assert np.array_equal(rainy, before)
    view = picture(40, 60)[::-2, ::2]
    assert np.array_equal(engine(view), engine(view.copy()))
    pil = engine(Image.fromarray(picture(20, 30)))
    assert np.array_equal(np.asarray(pil), engine(picture(20, 30)))
    assert engine(np.zeros((0, 5, 3), np.uint8)).shape == (0, 5, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((5, 5), np.uint8),
        np.zeros((5, 5, 4), np.uint8),
        np.zeros((5, 5, 3), np.float32),
        [[1, 2, 3]],
        Image.new("L", (5, 5)),
    ],
)
def test_other_kinds_are_refused(wrong):
    with pytest.raises(ImageError):
        Derainer(FixedTiles(MODEL, TileSize(64, 16)), EngineOptions())(wrong)


class Short(FixedTiles):
    """A device whose memory holds strips of so many columns, halo included."""

    def __init__(self, model, size, limit):
        super().__init__(model, size)
        self.limit = limit
        self.tried = []

    def clean(self, strip, band_rows, precision, strength):
        self.tried.append(strip.shape[1])
        blocks = super().clean(strip, band_rows, precision, strength)
        if strip.shape[1] > self.limit:
            yield next(blocks) // 2  # wrong pixels that must not survive
            raise OutOfMemory("tried too much")
        yield from blocks


def test_out_of_memory_halves_the_tile_says_so_and_goes_on(caplog):
    rainy = picture(60, 400)
    backend = Short(MODEL, TileSize(400, 60), limit=200)
    engine = Derainer(backend, EngineOptions())
    with caplog.at_level(logging.WARNING, "dpenet_cli"):
        clean = engine(rainy)
    assert np.abs(clean - untiled(MODEL, rainy)).max() <= 0.5 + 1e-3
    assert [record.getMessage() for record in caplog.records][-1].endswith("tiles of 100×8 pixels")
    backend.tried.clear()
    engine(rainy)
    assert max(backend.tried) <= 200  # found out once, remembered


def test_memory_for_no_tile_at_all_is_an_error():
    engine = Derainer(Short(MODEL, TileSize(400, 60), limit=0), EngineOptions())
    with pytest.raises(DeviceError, match="smallest tile"):
        engine(picture(60, 400))


class Overflowing(FixedTiles):
    """A reduced precision that overflows in the third block of rows of every strip."""

    def precision_for(self, dtype):
        return Precision.FP16

    def clean(self, strip, band_rows, precision, strength):
        for number, rows in enumerate(super().clean(strip, band_rows, Precision.FP32, strength)):
            if number == 2 and precision is Precision.FP16:
                raise NonFinite
            yield rows


def test_overflow_is_run_again_in_fp32():
    rainy = picture(120, 90)
    clean = Derainer(Overflowing(MODEL, TileSize(50, 16)), EngineOptions())(rainy)
    assert np.abs(clean - untiled(MODEL, rainy)).max() <= 0.5 + 1e-3


def test_weights_that_give_no_numbers_are_an_error():
    model = lively_model(TINY)
    model.r2net.outconv.weight.fill_(float("nan"))
    with pytest.raises(WeightsError, match="not numbers"):
        Derainer(FixedTiles(model, TileSize(64, 64)), EngineOptions())(picture(20, 20))


def test_threads_share_one_engine():
    engine = Derainer(FixedTiles(MODEL, TileSize(40, 16)), EngineOptions())
    pictures = [picture(50, 60, seed=seed) for seed in range(4)]
    expected = [engine(p) for p in pictures]
    results = [None] * len(pictures)

    def work(index):
        results[index] = engine(pictures[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(pictures))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(a, b) for a, b in zip(results, expected, strict=True))


def test_progress_rises_to_one():
    shares = []
    Derainer(FixedTiles(MODEL, TileSize(40, 16)), EngineOptions())(picture(70, 130), shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)


def test_shorter_bands_come_before_narrower_strips(caplog):
    class ShortBands(FixedTiles):
        def clean(self, strip, band_rows, precision, strength):
            if band_rows > 10:
                raise OutOfMemory
            yield from super().clean(strip, band_rows, precision, strength)

    rainy = picture(60, 20)
    engine = Derainer(ShortBands(MODEL, TileSize(400, 60)), EngineOptions())
    with caplog.at_level(logging.WARNING, "dpenet_cli"):
        assert np.abs(engine(rainy) - untiled(MODEL, rainy)).max() <= 0.5 + 1e-3
    assert caplog.records[-1].getMessage().endswith("tiles of 20×8 pixels")


def test_frames_that_go_one_by_one_are_not_taken_ahead():
    engine = Derainer(TorchBackend(MODEL, "cpu", Precision.FP32), EngineOptions())
    taken = []

    def video():
        for number in range(8):
            taken.append(number)
            yield picture(20, 30, seed=number)

    for number, frame in enumerate(engine.stream(video())):
        assert len(taken) == number + 1
        assert np.array_equal(frame, engine(picture(20, 30, seed=number)))
    assert len(taken) == 8


def package_frames():
    """The functions of the package on this thread's stack, from the outermost."""
    names, frame = [], sys._getframe()
    while frame is not None:
        if Path(frame.f_code.co_filename).is_relative_to(PACKAGE):
            names.append(frame.f_code.co_qualname)
        frame = frame.f_back
    return names[::-1]


def test_few_calls_lie_between_a_job_and_a_convolution(tmp_path, monkeypatch):
    """Each is one that a reader has to follow; PyTorch's own do not count."""
    stacks = []
    forward = torch.nn.Conv2d.forward
    monkeypatch.setattr(torch.nn.Conv2d, "forward", lambda *call: stacks.append(package_frames()) or forward(*call))
    Image.fromarray(picture(20, 30)).save(tmp_path / "rainy.png")
    engine = Derainer(TorchBackend(lively_model(TINY), "cpu", Precision.FP32), EngineOptions())
    scaled = ScaledDerainer(engine, rule_for("general"))
    (outcome,) = run(plan_pictures([str(tmp_path / "rainy.png")]).jobs, scaled.clean, PictureOptions())
    assert outcome.status is Status.DONE
    assert stacks[0][0] == "_run"
    assert len(stacks[0]) <= 11, stacks[0]
    assert max(map(len, stacks)) <= 14, max(stacks, key=len)  # in the attention of a block


@pytest.mark.parametrize("module", [derainer, scales], ids=lambda module: module.__name__)
def test_examples_in_docstrings(module):
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.attempted
    assert not result.failed
