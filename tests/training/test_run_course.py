"""How runs end: by a plan, by the clock, when told to; and runs whose processes share the steps."""

import itertools
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import command
from training_runs import assert_same, ignore, small, stored

from dpenet_cli.errors import OptionError, TrainingError
from dpenet_cli.network.checkpoints import load_model
from dpenet_cli.training import parallel
from dpenet_cli.training.events import Ending, Evaluated, Event, Finished, Prepared, Progress
from dpenet_cli.training.run import end, resume, train
from dpenet_cli.training.validation import ValidationResult


@pytest.fixture(autouse=True)
def _a_report_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpenet_cli.training.throughput._REPORT_SECONDS", 0.0)


def planned(photos: str, **changes: Any) -> Any:
    """A run whose crops grow: steps of four crops of 32, then of two of 48."""
    return small(photos, **({"crop": None, "batch": None, "plan": "32:4:1,48:2:1", "validation": 0} | changes))


def test_crops_grow_and_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, photos: str) -> None:
    options = planned(photos, steps=6)
    events: list[Event] = []
    train(tmp_path / "whole", options, events.append)
    crops = [event.crops_per_second > 0 for event in events if isinstance(event, Progress)]
    assert len(crops) == 6

    def interrupt(event: Event) -> None:
        if isinstance(event, Progress) and event.step == 3:
            signal.raise_signal(signal.SIGTERM)

    assert train(tmp_path / "parts", options, interrupt) == "interrupted"
    assert resume(tmp_path / "parts", {}, ignore) == "done"
    assert_same(stored(tmp_path / "parts"), stored(tmp_path / "whole"))


def test_a_run_by_the_clock_ends_in_time_and_decayed(
    tmp_path: Path, photos: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = itertools.count(100, 1)  # a clock that goes on by one second each time that someone looks
    clock = SimpleNamespace(monotonic=lambda: float(next(seconds)), perf_counter=time.perf_counter)
    monkeypatch.setattr("dpenet_cli.training.trainer.time", clock)
    events: list[Event] = []
    options = planned(photos, plan_minutes=1.0)
    assert train(tmp_path / "run", options, events.append) == "done"
    progress = [event for event in events if isinstance(event, Progress)]
    assert progress[-1].learning_rate < 0.05 * options.learning_rate
    assert len(progress) > 15
    assert [event.seconds_left for event in progress] == sorted((e.seconds_left for e in progress), reverse=True)
    assert 40 < progress[0].seconds_left < 60
    assert progress[-1].seconds_left == 0
    assert max(event.learning_rate for event in progress) > 0.9 * options.learning_rate
    assert stored(tmp_path / "run")["position"]["clock"] == pytest.approx(60, abs=3)
    assert next(event for event in events if isinstance(event, Prepared)).steps == 0
    with pytest.raises(OptionError, match="max-minutes"):
        resume(tmp_path / "run", {}, ignore, max_minutes=1)
    # More time goes on with the same run; the clock goes on too.
    assert resume(tmp_path / "run", {"plan_minutes": 1.2}, ignore) == "done"
    assert stored(tmp_path / "run")["position"]["step"] > progress[-1].step
    with pytest.raises(OptionError, match="planned by the clock"):
        resume(tmp_path / "run", {"steps": 9}, ignore)
    train(tmp_path / "steps", planned(photos, steps=1), ignore)
    with pytest.raises(OptionError, match="planned by steps"):
        resume(tmp_path / "steps", {"plan_minutes": 1.0}, ignore)


def test_evaluations_take_a_tenth_of_a_run_by_the_clock_at_most(
    tmp_path: Path, photos: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def look() -> float:
        nonlocal now
        now += 1.0
        return now

    def slow(*_: object) -> ValidationResult:
        nonlocal now
        now += 10.0
        return ValidationResult(30.0, 0.9, 20.0, 40.0, 40.0, 32.0, 1, b"")

    monkeypatch.setattr(
        "dpenet_cli.training.trainer.time", SimpleNamespace(monotonic=look, perf_counter=time.perf_counter)
    )
    monkeypatch.setattr("dpenet_cli.training.products.validate", slow)
    events: list[Event] = []
    train(tmp_path / "run", small(photos, plan_minutes=5.0, batch=1, crop=16), events.append)
    evaluated = [event.step for event in events if isinstance(event, Evaluated)]
    assert 2 <= len(evaluated) <= 4  # and not twenty
    assert evaluated[-1] == next(event.step for event in events if isinstance(event, Finished))


def test_a_run_at_work_is_told_to_end_and_so_is_one_that_was_stopped(tmp_path: Path, photos: str) -> None:
    options = planned(photos, steps=1000)
    events: list[Event] = []

    def tell(event: Event) -> None:
        events.append(event)
        if isinstance(event, Progress) and event.step == 10:
            assert end(tmp_path / "told")  # as another process would: it finds the run at work

    assert train(tmp_path / "told", options, tell) == "done"
    (ending,) = [event for event in events if isinstance(event, Ending)]
    assert (ending.step, ending.steps) == (11, 14)
    assert [event.step for event in events if isinstance(event, Finished)] == [14]
    rates = [event.learning_rate for event in events if isinstance(event, Progress)]
    assert rates[-1] < 0.4 * max(rates)

    def interrupt(event: Event) -> None:
        if isinstance(event, Progress) and event.step == 11:
            signal.raise_signal(signal.SIGTERM)

    assert train(tmp_path / "stopped", options, interrupt) == "interrupted"
    assert not end(tmp_path / "stopped")
    assert resume(tmp_path / "stopped", {}, ignore) == "done"
    assert not (tmp_path / "stopped/.end").exists()
    assert_same(stored(tmp_path / "stopped"), stored(tmp_path / "told"))
    # One that has ended has nothing left to end, and is not trained on.
    assert not end(tmp_path / "stopped")
    assert resume(tmp_path / "stopped", {}, ignore) == "done"
    assert stored(tmp_path / "stopped")["position"]["step"] == 14
    with pytest.raises(TrainingError, match="it holds no run"):
        end(tmp_path / "nothing")


def test_processes_share_the_steps_of_a_run_on_a_cpu_exactly(tmp_path: Path, photos: str, pairs: str) -> None:
    options = small(photos, pairs, threads=2, batch=3, steps=4, validation=0, evaluate_every=9)
    events: list[Event] = []
    train(tmp_path / "whole", options, events.append)
    assert "2 processes of one thread each" in next(e for e in events if isinstance(e, Prepared)).hardware
    assert train(tmp_path / "parts", options, ignore, max_minutes=0) == "out of time"
    assert resume(tmp_path / "parts", {}, ignore) == "done"
    assert_same(stored(tmp_path / "parts"), stored(tmp_path / "whole"))
    assert not (tmp_path / "whole/.pixels").exists()
    assert torch.get_num_threads() == 2  # this process has its threads again
    one, other = (load_model(tmp_path / name / "last.safetensors").state_dict() for name in ("whole", "parts"))
    assert_same(one, other)


def test_a_process_that_dies_ends_the_run_with_a_reason_and_the_checkpoint_stays(
    tmp_path: Path, photos: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    helpers: list[subprocess.Popen[bytes]] = []
    start = parallel._start_helper

    def spy(*arguments: Any) -> subprocess.Popen[bytes]:
        helpers.append(start(*arguments))
        return helpers[-1]

    def kill(event: Event) -> None:
        if isinstance(event, Progress) and event.step == 2:
            helpers[0].kill()

    monkeypatch.setattr(parallel, "_start_helper", spy)
    options = small(photos, threads=2, steps=1000, checkpoint_seconds=0.0)
    with pytest.raises(TrainingError, match=r"has ended.*--resume"):
        train(tmp_path / "run", options, kill)
    assert helpers[0].wait(timeout=10) != 0
    assert stored(tmp_path / "run")["position"]["step"] >= 1
    with pytest.raises(TrainingError, match="of tests"):  # nobody waits for processes of a run that never began
        train(tmp_path / "other", options, fail)
    assert all(helper.poll() is not None for helper in helpers)


@pytest.mark.skipif(sys.platform != "linux", reason="children are found in /proc")
def test_no_process_outlives_a_run_that_is_killed_before_they_met(tmp_path: Path, photos: str) -> None:
    arguments = ["train", "--data", photos, "-o", tmp_path / "run", "--light", "--steps", "100000", "--batch", "2"]
    arguments += ["--crop", "32", "--validation", "0", "--threads", "2", "--device", "cpu", "--json"]
    with subprocess.Popen([command(), *map(str, arguments)], stdout=subprocess.DEVNULL) as run:
        try:
            children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
            until = time.monotonic() + 60
            while not (found := children.read_text().split()) and time.monotonic() < until:
                time.sleep(0.02)
        finally:
            run.kill()
    (helper,) = found
    while Path(f"/proc/{helper}").exists() and "Z" not in Path(f"/proc/{helper}/stat").read_text().split()[2]:
        assert time.monotonic() < until + 60
        time.sleep(0.1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_a_run_on_a_gpu_takes_graphs_through_growing_crops_and_goes_on(tmp_path: Path, photos: str) -> None:
    options = planned(photos, steps=40, device="cuda", threads=None, learning_rate=2e-3)
    events: list[Event] = []

    def interrupt(event: Event) -> None:
        events.append(event)
        if isinstance(event, Progress) and event.step == 15:
            signal.raise_signal(signal.SIGTERM)

    assert train(tmp_path / "run", options, interrupt) == "interrupted"
    assert resume(tmp_path / "run", {}, events.append) == "done"
    losses = [event.loss for event in events if isinstance(event, Progress)]
    assert len(losses) == 40
    assert sum(losses[-8:]) < sum(losses[:8])
    assert all(torch.isfinite(value).all() for value in stored(tmp_path / "run")["model"].values())
    # It goes on without the GPU too: how the optimiser is run is the machine's business.
    assert resume(tmp_path / "run", {"device": "cpu", "threads": 1, "steps": 42}, ignore) == "done"


def fail(_: Event) -> None:
    """A report that cannot be given."""
    raise TrainingError("report", "it fails, for the sake of tests", "")
