import cv2
import numpy as np
import pytest

from dpenet_cli.training.plots import draw_curve, draw_grid, smoothed


def decoded(png: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


def blue_rows(png: bytes) -> np.ndarray:
    """For each column of the loss's panel, the mean row of its line; NaN where there is none."""
    panel = decoded(png)[:300].astype(int)
    line = panel[..., 0] - panel[..., 2] > 100
    return np.array([np.nonzero(column)[0].mean() if column.any() else np.nan for column in line.T])


def test_the_curve_falls_from_left_to_right() -> None:
    rows = blue_rows(draw_curve([(step, 2.0 - step / 100) for step in range(101)], {"rain": [(50, 30.0)]}))
    drawn = np.nonzero(~np.isnan(rows))[0]
    assert (drawn[0], drawn[-1]) == pytest.approx((30, 870), abs=6)
    assert rows[200] < rows[400] < rows[800]


@pytest.mark.parametrize("points", [[], [(0, 1.0)], [(6, 1.0)], [(2, 0.5), (4, 0.5)]])
def test_curves_of_few_or_equal_points_are_drawn(points: list[tuple[float, float]]) -> None:
    assert decoded(draw_curve(points, {"rain": points})).shape == (600, 900, 3)


def test_a_jumping_loss_is_smoothed_and_every_line_named() -> None:
    rng = np.random.default_rng(3)
    loss = [(step, 1.0 - step / 1000 + float(rng.normal(0, 0.3))) for step in range(400)]
    means = smoothed(loss, 20)
    assert [step for step, _ in means] == [step for step, _ in loss]
    assert means[0][1] == loss[0][1]
    assert means[399][1] == pytest.approx(np.mean([value for _, value in loss[380:]]))
    jumps, rest = (np.abs(np.diff([value for _, value in line])).mean() for line in (loss, means))
    assert rest < jumps / 10
    scores = {"rain": [(100, 25.0), (400, 27.0)], "dry": [(100, 40.0), (400, 41.0)], "blend": [(100, 30.0)]}
    one, other = (decoded(draw_curve(loss, scores, name)) for name in ("night run", "day run"))
    assert (one[:25] != other[:25]).any()  # the run's name
    legend = one[300:325]
    for colour in ((30, 110, 30), (0, 130, 210)):
        assert (np.abs(legend.astype(int) - colour).sum(axis=2) < 60).any()
    assert draw_curve(loss, scores, "Straße ☂")  # letters that OpenCV has not


def test_the_grid_shows_each_picture_in_its_own_colours() -> None:
    red = np.zeros((400, 50, 3), np.uint8)
    red[..., 0] = 200
    grid = decoded(draw_grid([(red, red.copy()[:20])], ["1.00 -> 2.00 dB"]))
    assert grid.shape == (192, 384, 3)
    assert grid[100, 25].tolist() == [0, 0, 200]
    assert grid[100, 100].tolist() == grid[100, 210].tolist() == [255, 255, 255]
