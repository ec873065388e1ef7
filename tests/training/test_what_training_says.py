"""What a run says and leaves: before it starts, as it stops, and in its files."""

import csv
import io
import math
import signal
from pathlib import Path

import numpy as np
import pytest
from conftest import store
from training_runs import ignore, small, stored

from dpenet_cli.errors import DatasetError, OptionError, TrainingError, WeightsError
from dpenet_cli.network.checkpoints import load_model, read_card
from dpenet_cli.training.events import Evaluated, Event, Finished, Outlook, Preparing, Stopping
from dpenet_cli.training.options import CropStage
from dpenet_cli.training.outlook import pixels_to_learn
from dpenet_cli.training.run import resume, train
from dpenet_cli.training.run_folder import RunFolder
from dpenet_cli.training.table import as_csv


def test_a_stop_before_the_first_evaluation_leaves_best_weights(tmp_path: Path, photos: str) -> None:
    seen: list[Event] = []
    run = tmp_path / "run"
    options = small(photos, steps=2, evaluate_every=100, validation=1, csv=True)
    assert train(run, options, seen.append, max_minutes=0) == "out of time"
    card = read_card(run / "best.safetensors")
    assert (card.name, card.provenance["step"]) == ("run", 1)
    assert card.scores["validation"]["pictures"] == 1
    load_model(run / "best.safetensors")
    finished = seen[-1]
    assert isinstance(finished, Finished)
    assert finished.folder == str(run)
    assert finished.written[:3] == ["best.safetensors", "last.safetensors", "checkpoint.pt"]
    assert set(finished.written) == {path.name for path in run.iterdir()} - {".lock", "data.json", "options.json"}
    # The run itself knows nothing of it: the first of its own evaluations is the best so far.
    assert stored(run)["position"]["evaluated"] == -1
    resume(run, {}, seen.append)
    evaluated = [event for event in seen if isinstance(event, Evaluated)]
    assert [(event.step, event.best) for event in evaluated] == [(1, True), (2, True)]


def test_a_stop_after_an_evaluation_takes_no_time_for_another(tmp_path: Path, photos: str) -> None:
    seen: list[Event] = []

    def stop(event: Event) -> None:
        seen.append(event)
        if isinstance(event, Evaluated):
            signal.raise_signal(signal.SIGTERM)

    assert train(tmp_path / "run", small(photos, evaluate_every=1), stop) == "interrupted"
    assert sum(isinstance(event, Evaluated) for event in seen) == 1


def test_a_second_request_leaves_the_last_evaluation_out(
    tmp_path: Path, photos: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(*_: object) -> None:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("dpenet_cli.training.products.validate", twice)
    before = signal.getsignal(signal.SIGINT)
    run = tmp_path / "run"
    assert train(run, small(photos, evaluate_every=100), ignore, max_minutes=0) == "out of time"
    assert signal.getsignal(signal.SIGINT) is before
    assert not (run / "best.safetensors").exists()
    assert read_card(run / "last.safetensors").provenance["step"] == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_stored_of_a_run_that_is_interrupted_as_it_reads(
    tmp_path: Path, photos: str, number: signal.Signals
) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, Preparing):
            signal.raise_signal(number)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "runs/run", small(photos), interrupt)
    assert not (tmp_path / "runs").exists()


def test_the_step_that_a_signal_waits_for_is_told_at_once(tmp_path: Path, photos: str) -> None:
    seen: list[Event] = []

    def stop(event: Event) -> None:
        seen.append(event)
        if isinstance(event, Evaluated) and event.step == 2:
            signal.raise_signal(signal.SIGINT)

    assert train(tmp_path / "run", small(photos, steps=50, evaluate_every=2, validation=1), stop) == "interrupted"
    (stopping,) = [event for event in seen if isinstance(event, Stopping)]
    assert stopping.step in {2, 3}
    assert stored(tmp_path / "run")["position"]["step"] in {2, 3}


def test_weights_to_go_on_from_are_scored_first_and_best_is_never_worse(
    tmp_path: Path, photos: str, tiny_weights: Path
) -> None:
    seen: list[Event] = []
    options = small(photos, init=str(tiny_weights), light=False, learning_rate=1e-9, steps=2, evaluate_every=1)
    train(tmp_path / "mine", options, seen.append)
    evaluated = [event for event in seen if isinstance(event, Evaluated)]
    assert [event.step for event in evaluated] == [0, 1, 2]
    best = max(evaluated, key=lambda event: event.blend)
    card = read_card(tmp_path / "mine/best.safetensors")
    assert card.name == "mine"
    assert card.scores["validation"]["blend"] == pytest.approx(best.blend)


def test_wrong_weights_are_known_before_pictures_are_read(tmp_path: Path) -> None:
    with pytest.raises(WeightsError):
        train(tmp_path / "run", small(str(tmp_path / "nowhere"), init=str(tmp_path / "none.pth")), ignore)
    assert not (tmp_path / "run").exists()


def test_refused_runs_leave_what_was_there(tmp_path: Path, photos: str) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "best.safetensors").write_bytes(b"mine")
    with pytest.raises(TrainingError, match="exists already"):
        train(run, small(photos), ignore)
    assert [path.name for path in run.iterdir()] == ["best.safetensors"]
    (run / "best.safetensors").unlink()
    (run / ".lock").touch()  # of an earlier run
    with pytest.raises(DatasetError):
        train(run, small(str(tmp_path / "nowhere")), ignore)
    assert [path.name for path in run.iterdir()] == [".lock"]
    train(run, small(photos, steps=1, validation=0), ignore)
    before = sorted(path.name for path in run.iterdir())
    with pytest.raises(TrainingError, match="it holds a run"):
        train(run, small(photos), ignore)
    with pytest.raises(OptionError):
        resume(run, {"seed": 1}, ignore)
    assert sorted(path.name for path in run.iterdir()) == before


def test_a_run_that_is_at_work_keeps_its_lock(tmp_path: Path, photos: str) -> None:
    run = tmp_path / "run"
    with RunFolder(run).locked():
        with pytest.raises(TrainingError, match="another run is at work"):
            train(run, small(photos), ignore)
        assert (run / ".lock").exists()


def test_an_absurd_time_is_known_before_the_first_step(tmp_path: Path, photos: str) -> None:
    seen: list[Event] = []
    train(tmp_path / "run", small(photos, steps=10**7, validation=0), seen.append, max_minutes=0)
    (outlook,) = [event for event in seen if isinstance(event, Outlook)]
    assert (outlook.step, outlook.steps, outlook.backgrounds, outlook.validation) == (0, 10**7, 6, 0)
    assert outlook.seconds > 3 * 24 * 3600
    seen.clear()
    resume(tmp_path / "run", {"steps": 2}, seen.append)
    (outlook,) = [event for event in seen if isinstance(event, Outlook)]
    assert (outlook.step, outlook.steps) == (1, 1)
    assert math.isnan(outlook.seconds)  # too short to be worth timing


def test_the_pixels_of_a_plan() -> None:
    stages = (CropStage(10, 4, 0.25), CropStage(20, 2, 0.75))
    assert pixels_to_learn(stages, 100, 0) == 25 * 4 * 100 + 75 * 2 * 400
    assert pixels_to_learn(stages, 100, 20) == 5 * 4 * 100 + 75 * 2 * 400
    assert pixels_to_learn(stages, 100, 90) == 10 * 2 * 400
    assert pixels_to_learn(stages, 100, 100) == 0


def test_the_table_has_a_row_a_step(tmp_path: Path, photos: str) -> None:
    options = small(photos, steps=3, evaluate_every=2, validation=1, csv=True)
    assert train(tmp_path / "run", options, ignore) == "done"
    rows = list(csv.DictReader(io.StringIO((tmp_path / "run/log.csv").read_text())))
    assert [row["step"] for row in rows][-2:] == ["2", "3"]
    assert float(rows[-1]["loss"]) > 0
    assert float(rows[-1]["blend"]) > 5
    assert rows[-1].keys() >= {"learning_rate", "crops_per_second", "seconds", "psnr", "dry_psnr", "structure_psnr"}
    resume(tmp_path / "run", {"steps": 4, "csv": False}, ignore)
    assert as_csv([]).startswith("step,loss,")
    assert as_csv([{"event": "progress", "step": 7, "loss": None}]).splitlines()[1] == "7,,,,,,,,,,"


def test_a_new_run_replaces_no_table(tmp_path: Path, photos: str) -> None:
    store(tmp_path / "run/other.png", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "run/log.csv").write_text("mine")
    with pytest.raises(TrainingError, match=r"log\.csv: it exists already"):
        train(tmp_path / "run", small(photos), ignore)
    assert (tmp_path / "run/log.csv").read_text() == "mine"
