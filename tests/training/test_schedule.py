import pytest
from training_runs import small

from dpenet_cli.training.options import Recipe
from dpenet_cli.training.schedule import learning_rate


def test_schedules() -> None:
    paper = small("x", recipe=Recipe.PAPER)
    rates = [learning_rate(paper, epoch, 100) for epoch in (0, 29, 30, 49, 50, 79, 80, 99)]
    assert rates == pytest.approx([1e-3, 1e-3, 2e-4, 2e-4, 4e-5, 4e-5, 8e-6, 8e-6])
    general = small("x")
    rates = [learning_rate(general, step, 20_000) for step in range(20_000)]
    assert max(rates) == pytest.approx(1e-3, rel=0.01)
    assert rates[0] < 1e-5
    assert rates.index(max(rates)) == 500
    assert rates[-1] == pytest.approx(1e-5, rel=0.01)
