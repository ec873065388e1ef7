import signal
from pathlib import Path

import pytest
from conftest import scene, store
from training_runs import assert_same, ignore, small, stored

from dpenet_cli.errors import DatasetError, OptionError, TrainingError
from dpenet_cli.network.checkpoints import load_model, read_card
from dpenet_cli.training import trainer
from dpenet_cli.training.events import Evaluated, Event
from dpenet_cli.training.init import LIGHT
from dpenet_cli.training.options import Recipe
from dpenet_cli.training.run import resume, train


@pytest.mark.parametrize("recipe", list(Recipe))
def test_interrupted_and_resumed_is_bit_identical(tmp_path: Path, photos: str, pairs: str, recipe: Recipe) -> None:
    options = small(photos, pairs, recipe=recipe, evaluate_every=4)
    train(tmp_path / "whole", options, ignore)

    def interrupt(event: Event) -> None:
        if isinstance(event, Evaluated) and event.step == 4:
            signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    assert train(tmp_path / "parts", options, ignore, max_minutes=0) == "out of time"
    assert stored(tmp_path / "parts")["position"]["step"] == 1
    assert read_card(tmp_path / "parts/last.safetensors").provenance["step"] == 1
    assert load_model(tmp_path / "parts/last.safetensors").config == LIGHT
    assert resume(tmp_path / "parts", {}, interrupt) == "interrupted"
    assert stored(tmp_path / "parts")["position"]["step"] == 4
    assert resume(tmp_path / "parts", {}, ignore) == "done"
    assert signal.getsignal(signal.SIGTERM) is before
    assert_same(stored(tmp_path / "parts"), stored(tmp_path / "whole"))
    one, other = (load_model(tmp_path / name / "best.safetensors").state_dict() for name in ("whole", "parts"))
    assert_same(one, other)


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path: Path, photos: str) -> None:
    options = small(photos, checkpoint_seconds=0.0, evaluate_every=100)
    train(tmp_path / "whole", options, ignore)

    class Killed(BaseException):
        pass

    def kill(event: Event) -> None:
        if isinstance(event, trainer.Saved) and event.step == 3:
            raise Killed

    with pytest.raises(Killed):
        train(tmp_path / "killed", options, kill)
    with (tmp_path / "killed" / "log.jsonl").open("a") as log:
        log.write('{"event": "progress", "step": 5, "loss": 1.0}\n{"event": "prog')
    assert resume(tmp_path / "killed", {}, ignore) == "done"
    assert_same(stored(tmp_path / "killed"), stored(tmp_path / "whole"))
    assert "1.0}" not in (tmp_path / "killed" / "log.jsonl").read_text()  # of steps that were taken again


@pytest.mark.parametrize("checkpoint_seconds", [0.0, 1000.0])  # the checkpoint, or the weights, are what fails
def test_a_full_disk_leaves_the_checkpoint_before_it(
    tmp_path: Path, photos: str, monkeypatch: pytest.MonkeyPatch, checkpoint_seconds: float
) -> None:
    out = tmp_path / "run"
    train(out, small(photos), ignore, max_minutes=0)
    before = (out / "checkpoint.pt").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        for name in ("write_selection", "write_options", "drop_events_after"):  # it fills up while the run goes on
            patch.setattr(f"dpenet_cli.training.run_folder.RunFolder.{name}", lambda *_: None)
        patch.setattr("dpenet_cli.system.atomic.os.fsync", full)
        with pytest.raises(TrainingError, match=r"No space left.*--resume"):
            resume(out, {"checkpoint_seconds": checkpoint_seconds}, ignore)
    assert (out / "checkpoint.pt").read_bytes() == before
    assert not list(out.glob(".dpenet-*"))
    assert resume(out, {}, ignore) == "done"


def test_a_run_whose_data_were_wrong_can_be_started_again(tmp_path: Path, photos: str) -> None:
    with pytest.raises(DatasetError):
        train(tmp_path / "run", small(str(tmp_path / "nowhere")), ignore)
    assert train(tmp_path / "run", small(photos, steps=1), ignore) == "done"
    log = (tmp_path / "run/log.jsonl").read_text().splitlines()
    assert sum("reading pictures" in line for line in log) == 1


def test_a_run_is_neither_overwritten_nor_changed_nor_fed_other_pictures(tmp_path: Path, photos: str) -> None:
    out = tmp_path / "run"
    train(out, small(photos), ignore, max_minutes=0)
    with pytest.raises(TrainingError, match="it holds a run"):
        train(out, small(photos), ignore)
    with pytest.raises(OptionError, match="batch"):
        resume(out, {"batch": 3}, ignore)
    store(Path(photos) / "new.png", scene(40))
    with pytest.raises(TrainingError, match="the pictures, or the streak layers, are not those"):
        resume(out, {}, ignore)
    (Path(photos) / "new.png").unlink()
    (out / "checkpoint.pt").write_bytes((out / "checkpoint.pt").read_bytes()[:5000])
    with pytest.raises(TrainingError, match="cannot go on from it"):
        resume(out, {}, ignore)
