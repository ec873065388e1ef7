import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_runs import small

from dpenet_cli.errors import OptionError
from dpenet_cli.training.checkpoint import RunPosition
from dpenet_cli.training.options import GENERAL_PLAN, CropStage, Recipe, TrainOptions
from dpenet_cli.training.schedule import Schedule


def rates(schedule: Schedule, steps: int, **position: Any) -> list[float]:
    return [schedule.learning_rate(RunPosition(step=step, **position)) for step in range(steps)]


def test_the_published_schedule_falls_in_steps() -> None:
    schedule = Schedule(small("x", recipe=Recipe.PAPER), 100)
    found = [schedule.learning_rate(RunPosition(step=epoch)) for epoch in (0, 29, 30, 49, 50, 79, 80, 99)]
    assert found == pytest.approx([1e-3, 1e-3, 2e-4, 2e-4, 4e-5, 4e-5, 8e-6, 8e-6])


def test_the_rate_rises_stays_and_falls() -> None:
    found = rates(Schedule(small("x", decay_from=0.35), 20_000), 20_000)
    assert found[0] < 1e-5
    assert found[500:7000] == pytest.approx([1e-3] * 6500)
    assert found[13_500] == pytest.approx(0.5e-3, rel=0.02)
    assert found[-1] == pytest.approx(1e-5, rel=0.01)
    assert all(a > b for a, b in itertools.pairwise(found[7001:]))


def test_runs_of_0_1_0_keep_their_cosine() -> None:
    found = rates(Schedule(small("x", decay_from=0.0), 20_000), 20_000)
    assert found.index(max(found)) == 500
    assert found[10_000] == pytest.approx(1e-3 * (0.01 + 0.99 * 0.5), rel=1e-3)


def test_a_plan_by_the_clock_always_ends_decayed() -> None:
    schedule = Schedule(small("x", plan_minutes=10), 0)
    at = {minute: schedule.learning_rate(RunPosition(step=10_000, clock=60.0 * minute)) for minute in (1, 3, 6, 9.99)}
    assert at[1] == at[3] == 1e-3
    assert at[6] == pytest.approx(1e-3 * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * 0.25 / 0.65))))
    assert at[9.99] == pytest.approx(1e-5, rel=0.01)
    assert not schedule.finished(RunPosition(step=5, clock=599.0))
    assert schedule.finished(RunPosition(step=5, clock=600.0))
    assert schedule.steps(RunPosition(step=50, clock=350.0, seconds=250.0)) == 100  # 50 more in the 250 s that are left
    assert schedule.seconds_left(RunPosition(step=50, clock=350.0, seconds=250.0)) == 250
    assert schedule.seconds_left(RunPosition(step=50, clock=601.0)) == 0
    assert schedule.steps(RunPosition()) == 0
    # However few steps there are, warming up takes a twentieth of the time at most.
    assert schedule.learning_rate(RunPosition(step=1, clock=30.0)) == 1e-3


@given(st.integers(5, 100_000), st.booleans())
def test_a_run_that_is_told_to_end_does_so_in_a_fifth_of_its_time(at: int, by_clock: bool) -> None:
    options = small("x", plan_minutes=10_000.0 if by_clock else None, plan=None)
    schedule = Schedule(options, 600_000)
    field = "clock" if by_clock else "step"
    position = RunPosition(**{"step": 600} | {field: at})
    before = schedule.learning_rate(position)
    schedule.end(position)
    assert schedule.learning_rate(position) == pytest.approx(before)
    after = [RunPosition(**vars(position) | {field: at + share * at / 5}) for share in (0.5, 0.99, 1.0)]
    assert [schedule.finished(each) for each in after] == [False, False, True]
    falling = [schedule.learning_rate(each) for each in after]
    assert before * 0.6 > falling[0] > falling[1] >= falling[2] > 0
    assert falling[2] == pytest.approx(0.01 * before)


def test_crops_grow_and_a_run_that_is_told_to_end_takes_the_largest() -> None:
    options = TrainOptions.for_recipe(Recipe.GENERAL, ("x",), steps=100)
    assert options.plan == GENERAL_PLAN
    schedule = Schedule(options, 100)
    sides = [schedule.stage(RunPosition(step=step)).side for step in range(100)]
    assert sides == [128] * 30 + [192] * 30 + [256] * 40
    assert schedule.stage(RunPosition(step=3, ending_from=2.0)).side == 256
    pixels = [stage.side**2 * stage.batch for stage in options.stages]
    assert max(pixels) < 1.05 * min(pixels)


def test_the_rate_after_a_return_to_earlier_weights_is_half() -> None:
    schedule = Schedule(small("x"), 20_000)
    assert schedule.learning_rate(RunPosition(step=3000, rate_factor=0.5)) == 0.5e-3


def test_plans_are_read_and_crop_and_batch_stand_for_the_whole_run() -> None:
    options = TrainOptions(data=("x",), plan="64:4:1,96:2:3")
    assert options.stages == (CropStage(64, 4, 0.25), CropStage(96, 2, 0.75))
    whole = TrainOptions.for_recipe(Recipe.GENERAL, ("x",), crop=64)
    assert whole.stages == (CropStage(64, 32, 1.0),)
    assert TrainOptions.for_recipe(Recipe.PAPER, ("x",)).stages == (CropStage(128, 18, 1.0),)
    with pytest.raises(OptionError, match="how large crops"):
        TrainOptions.for_recipe(Recipe.GENERAL, ("x",), crop=64, plan="64:4:1")


@pytest.mark.parametrize(
    "plan", ["", "64", "64:4", "64:4:x", "8:4:1", "64:0:1", "64:4:0", "64:4:nan", "64:4:inf", "64:4:-1", "64:4:1,"]
)
def test_wrong_plans_are_refused(plan: str) -> None:
    with pytest.raises(OptionError, match="plan"):
        TrainOptions(data=("x",), plan=plan)
