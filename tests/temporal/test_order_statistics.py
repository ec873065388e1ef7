"""Quantiles by compare and exchange, against sorting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpenet_cli.temporal.order_statistics import order_statistic


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("count", range(1, 8))
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), levels=st.sampled_from([2, 5, 256]))
def test_every_rank_is_what_sorting_gives(dtype, count, seed, levels):
    values = np.random.default_rng(seed).integers(0, levels, (count, 7, 33, 3))
    pictures = list((values * 0.37 if dtype is np.float32 else values).astype(dtype))
    before = np.array(pictures)
    for rank in range(count):
        found = order_statistic(pictures, rank)
        assert found.dtype == dtype
        assert (found == np.sort(before, axis=0)[rank]).all()
        found[:] = 1  # a picture of its own
    assert (np.array(pictures) == before).all()
