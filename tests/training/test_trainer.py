import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from training_runs import small, stored

from dpenet_cli.errors import TrainingError
from dpenet_cli.network.checkpoints import load_model, read_card
from dpenet_cli.network.model import DPENetConfig
from dpenet_cli.training import setup, trainer
from dpenet_cli.training.events import Evaluated, Event, Finished, Prepared, Preparing, Progress, Skipped, WentBack
from dpenet_cli.training.init import initial_network
from dpenet_cli.training.losses import general_loss
from dpenet_cli.training.options import TrainOptions
from dpenet_cli.training.run import train


def test_a_run_leaves_weights_log_grid_and_curve(tmp_path: Path, photos: str, pairs: str) -> None:
    events: list[Event] = []
    out = tmp_path / "run"
    assert train(out, small(photos, pairs, evaluate_every=3), events.append) == "done"
    kinds = [type(event) for event in events]
    assert kinds[:3] == [Preparing, Preparing, Prepared]
    assert kinds[-1] is Finished
    assert kinds.count(Evaluated) == 2
    last_progress = [event for event in events if isinstance(event, Progress)][-1]
    assert math.isfinite(last_progress.loss)
    assert 0 <= last_progress.waiting < 1
    assert last_progress.steps == last_progress.step == 6
    assert last_progress.crops_per_second > 0
    assert load_model(out / "best.safetensors").config == DPENetConfig(n_ddrb=5)
    card = read_card(out / "last.safetensors")
    assert card.provenance["options"]["seed"] == 1234
    assert card.scores["validation"]["protocol"] == "y-uint8"
    assert [json.loads(line)["event"] for line in (out / "log.jsonl").read_text().splitlines()][-1] == "finished"
    assert Image.open(out / "grid.png").size == (3 * 192, 2 * 192)
    assert Image.open(out / "curve.png").size[0] > 300


def test_a_loss_that_is_no_number_is_skipped(tmp_path: Path, photos: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(100))

    def sometimes(stages: Any, target: torch.Tensor, **weights: float) -> torch.Tensor:
        loss = general_loss(stages, target, **weights)
        return loss * math.nan if next(calls) in {0, 1} else loss

    monkeypatch.setattr(setup, "general_loss", sometimes)
    events: list[Event] = []
    train(tmp_path / "run", small(photos, validation=0), events.append)
    skipped = [event for event in events if isinstance(event, Skipped)]
    assert [event.step for event in skipped] == [0, 1]
    assert Path(skipped[0].pictures[0]).parent == Path(photos)
    assert stored(tmp_path / "run")["optimizer"]["state"][0]["step"] == 4
    assert all(torch.isfinite(value).all() for value in stored(tmp_path / "run")["model"].values())


def test_many_losses_that_are_no_numbers_are_an_error(
    tmp_path: Path, photos: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "general_loss", lambda stages, _, **__: stages.restored.sum() * math.inf)
    events: list[Event] = []
    with pytest.raises(TrainingError, match=r"step 29: 10 losses in a row .*\.png .*also after .* 2 times"):
        train(tmp_path / "run", small(photos, steps=40, validation=0), events.append)
    returns = [event for event in events if isinstance(event, WentBack)]
    assert [(event.step, event.to_step, event.learning_rate) for event in returns] == [(9, 0, 5e-4), (19, 0, 2.5e-4)]
    fresh, last = initial(small(photos)), load_model(tmp_path / "run/last.safetensors").state_dict()
    assert all(torch.equal(last[name], value) for name, value in fresh.items())


def initial(options: TrainOptions) -> dict[str, torch.Tensor]:
    """The weights of step 0."""
    torch.manual_seed(options.seed)
    return initial_network(options).state_dict()


def test_a_gradient_that_explodes_brings_back_the_last_good_weights(
    tmp_path: Path, photos: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(1000))

    def explodes(stages: Any, target: torch.Tensor, **weights: float) -> torch.Tensor:
        loss = general_loss(stages, target, **weights)
        call = next(calls)
        return loss * 1e6 if 60 <= call < 70 else loss  # as when SSIM's gradient is wrong

    monkeypatch.setattr(setup, "general_loss", explodes)
    monkeypatch.setattr(trainer, "_KEEP_EVERY", 20)
    events: list[Event] = []
    train(tmp_path / "run", small(photos, steps=75, batch=1, crop=16, validation=0), events.append)
    (went_back,) = [event for event in events if isinstance(event, WentBack)]
    assert (went_back.step, went_back.to_step, went_back.learning_rate) == (65, 41, 5e-4)
    assert "the gradient explodes" in went_back.why
    assert stored(tmp_path / "run")["position"]["rate_factor"] < 1
    assert all(torch.isfinite(value).all() for value in stored(tmp_path / "run")["model"].values())


def test_validation_scores_dry_and_structured_pictures_and_chooses_by_the_blend(tmp_path: Path, photos: str) -> None:
    events: list[Event] = []
    train(tmp_path / "run", small(photos, evaluate_every=3), events.append)
    for event in (event for event in events if isinstance(event, Evaluated)):
        assert event.blend == pytest.approx(
            0.8 * event.psnr + 0.1 * min(event.dry_psnr, 50) + 0.1 * min(event.structure_psnr, 50)
        )
        assert event.dry_psnr != event.structure_psnr
    blends = [event.blend for event in events if isinstance(event, Evaluated)]
    assert stored(tmp_path / "run")["position"]["best_psnr"] == max(blends)
    scores = read_card(tmp_path / "run/best.safetensors").scores["validation"]
    assert scores["blend"] == max(blends)
    assert {"dry_psnr", "structure_psnr"} <= scores.keys()


def test_the_network_learns(tmp_path: Path, photos: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpenet_cli.training.throughput._REPORT_SECONDS", 0.0)  # a report a step
    events: list[Event] = []
    train(tmp_path / "run", small(photos, steps=40, batch=4, ema=0.0, validation=0, mix={"thin": 1.0}), events.append)
    losses = [event.loss for event in events if isinstance(event, Progress)]
    assert len(losses) == 40
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
