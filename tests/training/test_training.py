import dataclasses
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from conftest import scene
from PIL import Image
from typer.testing import CliRunner

from dpenet_cli.cli.train import train as train_command
from dpenet_cli.errors import DatasetError, OptionError, TrainingError
from dpenet_cli.network.checkpoints import load_model, read_card
from dpenet_cli.network.model import DPENet, DPENetConfig
from dpenet_cli.training import trainer
from dpenet_cli.training.data import TrainingPicture, load_pictures
from dpenet_cli.training.events import Evaluated, Event, Finished, Prepared, Preparing, Progress, Skipped
from dpenet_cli.training.init import LIGHT, first_network
from dpenet_cli.training.loader import BatchLoader, PixelStore
from dpenet_cli.training.losses import general_loss
from dpenet_cli.training.options import GENERAL_MIX, Recipe, TrainOptions
from dpenet_cli.training.run import resume, train
from dpenet_cli.training.schedule import learning_rate

CPU = torch.device("cpu")


def store(folder: Path, pictures: dict[str, np.ndarray]) -> str:
    for name, picture in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / name)
    return str(folder)


@pytest.fixture
def clean(tmp_path: Path) -> str:
    return store(tmp_path / "clean", {f"{seed}.png": scene(seed)[:120, :130] for seed in range(6)})


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    rainy = {f"input/{seed}.png": np.minimum(scene(seed)[:60, :70], 235) + 20 for seed in range(10, 18)}
    return store(tmp_path / "pairs", rainy | {f"target/{seed}.png": scene(seed)[:60, :70] for seed in range(10, 18)})


def small(*data: str, **changes: Any) -> TrainOptions:
    own = {"steps": 6, "batch": 2, "crop": 32, "light": True, "validation": 2, "device": "cpu", "threads": 1}
    return TrainOptions.for_recipe(changes.pop("recipe", Recipe.GENERAL), data, **(own | changes))


def stored(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def assert_same(a: Any, b: Any, where: str = "") -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            if key != "seconds":
                assert_same(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    else:
        assert a == b, where


def ignore(_: Event) -> None:
    pass


def test_a_run_leaves_weights_log_grid_and_curve(tmp_path: Path, clean: str, pairs: str) -> None:
    events: list[Event] = []
    out = tmp_path / "run"
    assert train(out, small(clean, pairs, evaluate_every=3), events.append) == "done"
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


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no terminals that hang up here")
@pytest.mark.parametrize("nohup", [False, True])
def test_a_terminal_that_is_closed_costs_nothing(tmp_path: Path, clean: str, pairs: str, *, nohup: bool) -> None:
    def hang_up(event: Event) -> None:
        if isinstance(event, Evaluated) and event.step == 4:
            signal.raise_signal(signal.SIGHUP)

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)
    try:
        reason = train(tmp_path / "run", small(clean, pairs, evaluate_every=4), hang_up)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert reason == ("done" if nohup else "interrupted")
    assert nohup or stored(tmp_path / "run")["position"]["step"] == 4


@pytest.mark.parametrize("recipe", list(Recipe))
def test_interrupted_and_resumed_is_bit_identical(tmp_path: Path, clean: str, pairs: str, recipe: Recipe) -> None:
    options = small(clean, pairs, recipe=recipe, evaluate_every=4)
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


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path: Path, clean: str) -> None:
    options = small(clean, checkpoint_seconds=0.0, evaluate_every=100)
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
    tmp_path: Path, clean: str, monkeypatch: pytest.MonkeyPatch, checkpoint_seconds: float
) -> None:
    out = tmp_path / "run"
    train(out, small(clean), ignore, max_minutes=0)
    before = (out / "checkpoint.pt").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        for name in ("write_choice", "write_options", "forget_after"):  # it fills up while the run goes on
            patch.setattr(f"dpenet_cli.training.checkpoint.RunFolder.{name}", lambda *_: None)
        patch.setattr("dpenet_cli.system.atomic.os.fsync", full)
        with pytest.raises(TrainingError, match=r"No space left.*--resume"):
            resume(out, {"checkpoint_seconds": checkpoint_seconds}, ignore)
    assert (out / "checkpoint.pt").read_bytes() == before
    assert not list(out.glob(".dpenet-*"))
    assert resume(out, {}, ignore) == "done"


def test_a_loss_that_is_no_number_is_skipped(tmp_path: Path, clean: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(100))

    def sometimes(stages: Any, target: torch.Tensor) -> torch.Tensor:
        loss = general_loss(stages, target)
        return loss * math.nan if next(calls) in {0, 1} else loss

    monkeypatch.setattr(trainer, "general_loss", sometimes)
    events: list[Event] = []
    train(tmp_path / "run", small(clean), events.append)
    skipped = [event for event in events if isinstance(event, Skipped)]
    assert [event.step for event in skipped] == [0, 1]
    assert Path(skipped[0].pictures[0]).parent == Path(clean)
    assert stored(tmp_path / "run")["optimizer"]["state"][0]["step"] == 4
    assert all(torch.isfinite(value).all() for value in stored(tmp_path / "run")["model"].values())


def test_many_losses_that_are_no_numbers_are_an_error(
    tmp_path: Path, clean: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "general_loss", lambda stages, _: stages.restored.sum() * math.inf)
    with pytest.raises(TrainingError, match=r"step 9: 10 losses in a row .*\.png"):
        train(tmp_path / "run", small(clean, steps=30), ignore)


def test_the_network_learns(tmp_path: Path, clean: str) -> None:
    events: list[Event] = []
    train(tmp_path / "run", small(clean, steps=40, ema=0.0, validation=0), events.append)
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    losses = [entry["loss"] for entry in log if entry["event"] == "progress"]
    start = general_loss(DPENet(DPENetConfig(n_ddrb=5))(torch.zeros(1, 3, 32, 32)), torch.zeros(1, 3, 32, 32))
    assert math.isfinite(float(start.detach()))
    assert losses[-1] < losses[0] or len(losses) == 1


def test_training_starts_from_given_weights(tmp_path: Path, clean: str) -> None:
    train(tmp_path / "run", small(clean, light=False, init="general", steps=1, learning_rate=1e-9, ema=0.0), ignore)
    start, end = load_model("general").state_dict(), load_model(tmp_path / "run/last.safetensors").state_dict()
    assert all(torch.allclose(start[key], end[key], atol=1e-7) for key in start)


def test_a_light_network_starts_from_every_second_block(clean: str) -> None:
    whole, light = load_model("general"), first_network(small(clean, init="general"))
    assert light.config == LIGHT
    assert light.training
    assert all(parameter.requires_grad for parameter in light.parameters())
    for position, block in enumerate(light.r2net.ddrb):
        for key, value in block.state_dict().items():
            assert torch.equal(value, whole.r2net.ddrb[2 * position].state_dict()[key])
    for key, value in whole.state_dict().items():
        if "ddrb" not in key:
            assert torch.equal(light.state_dict()[key], value)


def test_a_light_network_cannot_start_from_another_width(clean: str, tiny_weights: Path) -> None:
    with pytest.raises(OptionError, match="1 DDRBs and 1 ERPABs of 4 channels"):
        first_network(small(clean, init=str(tiny_weights)))


def test_symmetric_crops_are_those_of_numpy() -> None:
    pictures = [torch.arange(h * w * 3).reshape(h, w, 3).remainder(251).to(torch.uint8) for h, w in ((20, 30), (9, 8))]
    gallery = PixelStore(pictures, CPU)
    places = torch.tensor([[3, 5, t, u, m] for t in (0, 1) for u in (0, 1) for m in (0, 1)])
    crops = gallery.crops(torch.zeros(8, dtype=torch.long), places, 7)
    assert crops.is_contiguous(memory_format=torch.channels_last)
    cut = pictures[0][3:10, 5:12].numpy()
    for crop, (_, _, transposed, upside_down, mirrored) in zip(crops, places.tolist(), strict=True):
        turned = cut.transpose(1, 0, 2) if transposed else cut
        # Index arithmetic flips the source's rows and columns: before the transposition, in numpy's terms.
        flipped = cut[::-1] if upside_down else cut
        flipped = flipped[:, ::-1] if mirrored else flipped
        turned = flipped.transpose(1, 0, 2) if transposed else flipped
        assert np.array_equal((crop * 255).round().permute(1, 2, 0).numpy(), turned)
    assert len({crop.numpy().tobytes() for crop in crops}) == 8
    whole = gallery.crops(torch.tensor([1]), torch.tensor([[1, 0, 0, 0, 0]]), 8)
    assert np.array_equal((whole[0] * 255).round().permute(1, 2, 0).numpy(), pictures[1][1:9].numpy())


def examples(count: int) -> list[TrainingPicture]:
    found = []
    for seed in range(count):
        picture = np.minimum(scene(seed), 200)
        found.append(TrainingPicture(str(seed), str(seed), picture, picture + 10))
    return found


def test_both_halves_of_a_pair_are_cut_at_the_same_place() -> None:
    feed = BatchLoader(examples(3), small("x", mix={"pairs": 1.0}, batch=8), CPU)
    batch = feed.batch(0)
    assert torch.allclose(batch.rainy - batch.clean, torch.full_like(batch.clean, 10 / 255), atol=1e-6)


def test_batches_depend_on_seed_step_and_process_alone() -> None:
    options = small("x", batch=4)
    feed, again = BatchLoader(examples(3), options, CPU), BatchLoader(examples(3), options, CPU)
    again.batch(0)
    assert torch.equal(feed.batch(5).rainy, again.batch(5).rainy)
    assert not torch.equal(feed.batch(5).clean, feed.batch(6).clean)
    assert not torch.equal(feed.batch(5).clean, BatchLoader(examples(3), options, CPU, rank=1, world=2).batch(5).clean)


def test_the_mixture_has_its_weights() -> None:
    feed = BatchLoader(examples(3), small("x", batch=200, mix={"pairs": 1.0, "dry": 3.0}), CPU)
    batch = feed.batch(0)
    dry = (batch.rainy == batch.clean).flatten(1).all(dim=1).float().mean()
    assert float(dry) == pytest.approx(0.75, abs=0.1)


@pytest.mark.parametrize("world", [1, 2])
def test_in_the_paper_s_recipe_each_picture_has_its_turn_once_an_epoch(world: int) -> None:
    options = small("x", recipe=Recipe.PAPER, batch=2, steps=0)
    feeds = [BatchLoader(examples(5), options, CPU, rank, world) for rank in range(world)]
    epochs = []
    for epoch in range(2):
        steps = range(epoch * feeds[0].steps_per_epoch, (epoch + 1) * feeds[0].steps_per_epoch)
        epochs.append([name for step in steps for feed in feeds for name in feed.batch(step).names])
    assert sorted(epochs[0][:5]) == sorted(epochs[1][:5]) == ["0", "1", "2", "3", "4"]
    assert epochs[0] != epochs[1]
    assert len(epochs[0]) == (5 if world == 1 else 8)


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


def test_the_published_recipe_is_the_published_one() -> None:
    options = TrainOptions.for_recipe(Recipe.PAPER, ("x",))
    assert (options.batch, options.crop, options.epochs, options.learning_rate) == (18, 128, 100, 1e-3)
    assert (options.clip, options.ema, options.warmup, options.symmetries) == (0, 0, 0, False)
    assert options.precision == "fp32"


def test_validation_backgrounds_are_never_trained_on(tmp_path: Path, clean: str, pairs: str) -> None:
    mirrored = {f"{seed}-again.jpg": np.ascontiguousarray(scene(seed)[:120, :130][:, ::-1]) for seed in range(6)}
    again = store(tmp_path / "again", mirrored)
    found = load_pictures(small(clean, again, pairs, validation=4))
    aside = {Path(check.name).stem.split("-")[0] for check in found.checks}
    trained = {Path(example.name).stem.split("-")[0] for example in found.examples}
    assert len(found.checks) == 4
    assert found.choice.twins
    assert not aside & trained
    assert load_pictures(small(clean, again, pairs, validation=4), found.choice).choice == found.choice


def test_excluded_and_small_pictures_are_left_out(tmp_path: Path, clean: str) -> None:
    test = store(tmp_path / "test", {"input/a.png": scene(3)[:, ::-1], "target/a.png": scene(3)[:, ::-1]})
    tiny = store(tmp_path / "tiny", {"t.png": scene(90)[:20, :200]})
    found = load_pictures(small(clean, tiny, exclude=(test,), validation=0))
    assert [Path(name).name for name in found.choice.excluded] == ["3.png"]
    assert [Path(name).name for name in found.choice.too_small] == ["t.png"]
    assert len(found.examples) == 5
    with pytest.raises(DatasetError, match="nothing is left: 1 too small"):
        load_pictures(small(tiny))


def test_options_travel_through_json_and_refuse_nonsense(tmp_path: Path) -> None:
    options = TrainOptions.for_recipe(Recipe.PAPER, ("a", "b"), exclude=("c",), mix={"thin": 1.0})
    (tmp_path / "options.json").write_text(options.to_json())
    assert TrainOptions.read(tmp_path / "options.json") == options
    for wrong in ({"batch": 0}, {"mix": {"hail": 1.0}}, {"mix": {"thin": 0.0}}, {"ema": 1.0}, {"learning_rate": -1.0}):
        with pytest.raises(OptionError):
            TrainOptions.for_recipe(Recipe.GENERAL, ("a",), **wrong)
    with pytest.raises(TrainingError, match="it holds no run"):
        TrainOptions.read(tmp_path / "nothing.json")
    (tmp_path / "options.json").write_text("{}")
    with pytest.raises(TrainingError, match="no options of a run"):
        TrainOptions.read(tmp_path / "options.json")


NUMBERS = [
    *("steps", "epochs", "batch", "crop", "learning_rate", "warmup", "clip", "ema", "seed", "threads", "validation"),
    *("evaluate_every", "checkpoint_seconds"),
]


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_of_a_run_is_checked(tmp_path: Path, name: str) -> None:
    numbers = {field.name for field in dataclasses.fields(TrainOptions) if re.search("int|float", str(field.type))}
    assert numbers - {"mix"} == set(NUMBERS)
    for wrong in (math.nan, math.inf, -math.inf, -1, "1", True):
        with pytest.raises(OptionError, match=name.replace("_", "-")):
            TrainOptions(data=("a",), **{name: wrong})
    with pytest.raises(OptionError, match="mix"):
        TrainOptions(data=("a",), mix={"thin": 1.0, "dense": wrong})


@pytest.mark.parametrize(
    "wrong",
    [
        *({"mix": {"thin": math.nan}}, {"mix": {"thin": math.inf}}, {"mix": {"thin": 1.0, "dry": -1.0}}, {"mix": "x"}),
        *({"mix": {"thin": 1e308, "dry": 1e308}}, {"data": "a"}, {"data": (1,)}, {"exclude": ["c"]}, {"light": 1}),
        *({"clean_side": "top"}, {"recipe": "best"}, {"precision": "fp16"}, {"device": None}, {"seed": 2**63}),
        *({"learning_rate": 0}, {"init": 3}, {"compile": "no"}),
    ],
)
def test_wrong_kinds_of_choices_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        TrainOptions(**{"data": ("a",)} | wrong)


def test_a_run_whose_data_were_wrong_can_be_started_again(tmp_path: Path, clean: str) -> None:
    with pytest.raises(DatasetError):
        train(tmp_path / "run", small(str(tmp_path / "nowhere")), ignore)
    assert train(tmp_path / "run", small(clean, steps=1), ignore) == "done"
    log = (tmp_path / "run/log.jsonl").read_text().splitlines()
    assert sum("reading pictures" in line for line in log) == 1


def test_a_run_is_neither_overwritten_nor_changed_nor_fed_other_pictures(tmp_path: Path, clean: str) -> None:
    out = tmp_path / "run"
    train(out, small(clean), ignore, max_minutes=0)
    with pytest.raises(TrainingError, match="it holds a run"):
        train(out, small(clean), ignore)
    with pytest.raises(OptionError, match="batch"):
        resume(out, {"batch": 3}, ignore)
    store(Path(clean), {"new.png": scene(40)})
    with pytest.raises(TrainingError, match="the pictures are not those"):
        resume(out, {}, ignore)
    (Path(clean) / "new.png").unlink()
    (out / "checkpoint.pt").write_bytes((out / "checkpoint.pt").read_bytes()[:5000])
    with pytest.raises(TrainingError, match="cannot go on from it"):
        resume(out, {}, ignore)


TWO_PROCESSES = """
import sys, torch
sys.path[:0] = {path!r}
from test_training import CPU, examples, small
from dpenet_cli.training.losses import general_loss
from dpenet_cli.network.model import DPENet, DPENetConfig
from dpenet_cli.training.loader import BatchLoader
from dpenet_cli.training.parallel import joined
torch.set_num_threads(1)
with joined(CPU) as processes:
    torch.manual_seed(7)
    model = DPENet(DPENetConfig(n_ddrb=2, n_erpab=1))
    batch = BatchLoader(examples(4), small("x"), CPU, processes.rank, processes.world).batch(3)
    network = processes.wrap(model)
    general_loss(network(batch.rainy), batch.clean).backward()
    if processes.first:
        torch.save([p.grad for p in model.parameters()], {out!r})
"""


def test_two_processes_give_the_gradients_of_one_with_twice_the_batch(tmp_path: Path) -> None:
    out = str(tmp_path / "gradients.pt")
    folders = [Path(__file__).parents[1], Path(__file__).parent, Path(trainer.__file__).parents[2]]
    script = TWO_PROCESSES.format(path=[str(folder) for folder in folders], out=out)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    own = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    children = [
        subprocess.Popen([sys.executable, "-c", script], env=os.environ | own | {"RANK": rank, "LOCAL_RANK": rank})
        for rank in ("0", "1")
    ]
    try:
        assert [child.wait(timeout=60) for child in children] == [0, 0]
    finally:
        for child in children:
            child.kill()
    torch.manual_seed(7)
    model = DPENet(DPENetConfig(n_ddrb=2, n_erpab=1))
    batches = [BatchLoader(examples(4), small("x"), CPU, rank, 2).batch(3) for rank in (0, 1)]
    rainy, target = (torch.cat([batch[part] for batch in batches]) for part in (0, 1))
    general_loss(model(rainy), target).backward()
    for parameter, theirs in zip(model.parameters(), torch.load(out), strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, theirs, rtol=1e-4, atol=1e-6)
        assert float(theirs.abs().sum()) > 0


def test_the_command(tmp_path: Path, clean: str) -> None:
    app = typer.Typer()
    app.command()(train_command)
    runner = CliRunner()
    out = str(tmp_path / "run")
    wanted = ["--batch", "2", "--crop", "32", "--light", "--validation", "1", "--steps", "4", "--mix", "thin=1,dry=1"]
    first = runner.invoke(app, ["--data", clean, "-o", out, *wanted, "--device", "cpu", "--max-minutes", "0", "--json"])
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout.splitlines()[-1])["reason"] == "out of time"
    second = runner.invoke(app, ["--resume", "-o", out])
    assert second.exit_code == 0, second.output
    assert "going on from step 1" in second.stderr
    assert "done at step 4" in second.stderr
    assert TrainOptions.read(Path(out) / "options.json").mix == {"thin": 1.0, "dry": 1.0}
    for wrong in (["-o", out], ["--data", clean, "--resume", "-o", out], ["--data", clean, "-o", out, "--mix", "thin"]):
        assert isinstance(runner.invoke(app, wrong).exception, OptionError)


def test_every_option_of_the_command_has_help_and_a_panel() -> None:
    app = typer.Typer()
    app.command()(train_command)
    for parameter in typer.main.get_command(app).params:
        if parameter.name != "help" and not parameter.name.startswith(("install", "show")):
            assert parameter.help, parameter.name
            assert parameter.rich_help_panel, parameter.name
    assert all(name in CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output for name in GENERAL_MIX)


def test_help_does_without_torch() -> None:
    code = "import dpenet_cli.cli.train, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_chosen_side_concerns_side_by_side_pictures_alone(tmp_path: Path, clean: str) -> None:
    picture = np.minimum(scene(70), 200)
    both = store(tmp_path / "both", {f"{n}.png": np.hstack([picture, picture + 30]) for n in range(3)})
    found = load_pictures(small(clean, both, clean_side="right", validation=0, crop=100)).examples
    assert [example.rainy is None for example in found] == [True] * 6 + [False] * 3
    assert float(found[-1].clean.mean()) > float(found[-1].rainy.mean())
