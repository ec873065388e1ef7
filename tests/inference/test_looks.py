"""Where a picture is looked at, and what a look gives."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dpenet_cli.inference.looks import (
    LARGE,
    SCALES,
    SHARE_LARGE,
    SHARE_SMALL,
    SMALL,
    look,
    plan_windows,
)
from dpenet_cli.inference.resizing import shrunk, small_size


@given(height=st.integers(128, 9000), width=st.integers(128, 9000), side=st.none() | st.sampled_from([48, 64, 112]))
@settings(max_examples=300, deadline=None)
def test_windows_lie_in_the_picture_on_whole_pixels_of_every_size(height, width, side):
    windows = plan_windows(height, width, side=side)
    assert 1.0 in windows
    for scale, some in windows.items():
        pixel = round(1 / scale)
        for top, left, bottom, right in some:
            assert 0 <= top < bottom <= height
            assert 0 <= left < right <= width
            assert top % 8 == left % 8 == 0
            assert (bottom - top) % pixel == (right - left) % pixel == 0


@given(height=st.integers(600, 9000), width=st.integers(600, 9000))
@example(height=700, width=8385)  # seen whole in an eighth, which ends 4 rows early
@settings(max_examples=300, deadline=None)
def test_the_looks_cost_no_more_than_their_share_and_lie_one_inside_the_other(height, width):
    area = height * width
    if area < SMALL:
        return
    windows = plan_windows(height, width)
    assert tuple(windows) == SCALES
    looked = sum((w.bottom - w.top) * (w.right - w.left) * scale**2 for scale, some in windows.items() for w in some)
    assert looked <= area * (SHARE_LARGE if area >= LARGE else SHARE_SMALL) * 1.001
    for scale in SCALES[:-1]:
        inside = [any(coarse.contains(fine) for coarse in windows[scale / 2]) for fine in windows[scale]]
        assert all(inside)


def test_the_largest_pictures_are_looked_at_all_over():
    """Rain in any ninth of a picture meets a window in every size."""
    height, width = 3000, 4000
    for scale, some in plan_windows(height, width).items():
        assert len(some) == 9 or scale == SCALES[-1]
        for row in range(3):
            for column in range(3):
                middle = (2 * row + 1) * height // 6, (2 * column + 1) * width // 6
                assert any(w.top <= middle[0] < w.bottom and w.left <= middle[1] < w.right for w in some)


@pytest.mark.parametrize("deep", [False, True])
def test_a_look_is_what_the_network_changes_in_a_shrunk_window(deep):
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 256, (1100, 1300, 3), dtype=np.uint8)
    seen = []

    def network(rainy, *, strength):
        assert strength == 1.0
        assert rainy.dtype == np.uint8
        seen.append(rainy)
        return np.where(rainy >= 7, rainy - 7, rainy).astype(np.uint8)

    windows = plan_windows(1100, 1300)
    looks = look(network, picture.astype(np.uint16) * 257 if deep else picture, windows)
    assert [each.window for some in looks.values() for each in some] == [w for some in windows.values() for w in some]
    for scale, some in looks.items():
        for each in some:
            top, left, bottom, right = each.window
            pixel = round(1 / scale)
            part = picture[top:bottom, left:right].astype(np.float64)
            mean = part.reshape(part.shape[0] // pixel, pixel, part.shape[1] // pixel, pixel, 3).mean(axis=(1, 3))
            small = seen.pop(0)
            assert np.abs(small - mean).max() <= 0.5 + 1e-6
            expected = np.where(small >= 7, -7, 0)
            assert np.array_equal(each.residual, expected)


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    scale=st.floats(0.02, 1.0),
    dtype=st.sampled_from([np.uint8, np.uint16]),
)
@settings(max_examples=100, deadline=None)
def test_shrinking_keeps_flat_pictures_flat(height, width, scale, dtype):
    flat = np.full((height, width, 3), 77, dtype)
    small = shrunk(flat, scale)
    assert small.shape == (*small_size(height, width, scale), 3)
    assert small.dtype == dtype
    assert (small == 77).all()
