"""A block as a plain function of a band and its state, without any runtime."""

import pytest
import torch
from conftest import lively_model
from hypothesis import given, settings
from hypothesis import strategies as st

from dpenet_cli.inference.block_streaming import StreamedBlock, steps_of, weights_of
from dpenet_cli.network.model import WHOLE, DPENetConfig

MODEL = lively_model(DPENetConfig(channels=4, n_ddrb=2, n_erpab=1))
BLOCKS = [MODEL.r2net.ddrb[1], MODEL.drnet.erpab[0]]
GREY_LEVEL = 1 / 255


class Noting:
    """A `BlockSchedule` that notes the layers as they are called."""

    def __init__(self):
        self.layers = []

    def conv(self, layer, rows, *, rectify=False):
        self.layers.append(layer)
        return WHOLE.conv(layer, rows, rectify=rectify)

    def align(self, earlier, like):
        return earlier


@pytest.mark.parametrize("block", BLOCKS, ids=["DDRB", "ERPAB"])
def test_weights_are_in_the_order_of_the_calls(block):
    schedule = Noting()
    block(torch.zeros(1, 4, 9, 9), schedule)
    called = [each for layer in schedule.layers for each in (layer.weight, layer.bias) if each is not None]
    assert all(found is expected for found, expected in zip(weights_of(block), called, strict=True))


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 130),
    width=st.integers(1, 20),
    rows=st.integers(1, 70),
    above=st.integers(0, 69),
    block=st.sampled_from(BLOCKS),
)
def test_a_block_on_bands_equals_itself_on_the_whole(height, width, rows, above, block):
    """The first band begins up to a band above the picture, the last one ends below it."""
    radius = block.radius
    steps = steps_of(block, 4)
    picture = torch.rand(1, height, width, 4)
    state = [torch.zeros(1, each.rows, width, each.channels) for each in steps.state]
    buffer = torch.zeros(1, steps.above + rows, width, 4)
    begin = -min(above, rows - 1)
    results = []
    with torch.inference_mode():
        expected = block(picture.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        for top in range(begin, height + radius, rows):
            first, behind = max(top, 0), min(max(top + rows, 0), height)
            band = torch.zeros(1, rows, width, 4)
            band[:, first - top : max(behind, first) - top] = picture[:, first:behind]
            buffer = torch.cat([buffer[:, rows:], band], dim=1)
            inputs = [buffer[:, steps.above - each.above : buffer.shape[1] - each.below] for each in steps.inputs]
            places = torch.arange(top - 2 * radius, top + rows)
            inside = ((places >= 0) & (places < height)).float().reshape(1, 1, -1, 1)
            out, *state = StreamedBlock(block, steps)(inside, *inputs, *weights_of(block), *state)
            assert out.shape == band.shape
            assert [(each.shape[1], each.shape[3]) for each in state] == [tuple(each) for each in steps.state]
            results.append(out)
    banded = torch.cat(results, dim=1)[:, radius - begin :][:, :height]
    assert (banded - expected).abs().max() <= 1e-3 * GREY_LEVEL
