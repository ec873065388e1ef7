"""``dpenet train`` as a user runs it: the installed command, clean pictures in, weights that ``derain`` takes out."""

import json
import math
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from conftest import command, dpenet, store
from typer.testing import CliRunner

from dpenet_cli.cli.train import train as train_command
from dpenet_cli.cli.train_display import Display
from dpenet_cli.errors import DatasetError, OptionError
from dpenet_cli.network.checkpoints import read_card
from dpenet_cli.training import events
from dpenet_cli.training.options import GENERAL_MIX, TrainOptions
from dpenet_cli.training.run_folder import RunFolder

SMALL = ["--steps", "4", "--batch", "2", "--crop", "32", "--validation", "1", "--threads", "1"]


@pytest.fixture
def app():
    """The command alone, to be run in this process."""
    found = typer.Typer()
    found.command()(train_command)
    return found


def test_from_pictures_to_weights_to_a_clean_picture(tmp_path, photos):
    run = tmp_path / "runs/first"
    result = dpenet("train", "--data", photos, "-o", run, "--light", *SMALL)
    assert result.returncode == 0, result.stderr
    assert "done at step 4" in result.stderr
    assert {"best.safetensors", "last.safetensors", "log.jsonl", "grid.png", "curve.png"} <= {
        path.name for path in run.iterdir()
    }
    events = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert events[-1]["event"] == "finished"
    cleaned = dpenet(
        "derain", Path(photos) / "0.png", "-o", tmp_path / "out.png", "--weights", run / "best.safetensors"
    )
    assert cleaned.returncode == 0, cleaned.stderr


@pytest.mark.parametrize("name", ["best.safetensors", "log.jsonl"])
def test_a_new_run_replaces_no_files_of_others(tmp_path, photos, name):
    run = tmp_path / "run"
    run.mkdir()
    (run / name).write_bytes(b"mine")
    result = dpenet("train", "--data", photos, "-o", run, "--light", *SMALL)
    assert result.returncode == 2
    assert name in result.stderr
    assert "exists already" in result.stderr
    assert [(path.name, path.read_bytes()) for path in run.iterdir()] == [(name, b"mine")]


def test_a_run_goes_on_and_wrong_usage_exits_with_two(tmp_path, photos, app):
    run = tmp_path / "run"
    assert dpenet("train", "--data", photos, "-o", run, "--light", *SMALL).returncode == 0
    again = dpenet("train", "--data", photos, "-o", run, "--light", *SMALL)
    assert again.returncode == 2
    assert "--resume" in again.stderr
    resumed = dpenet("train", "--resume", "-o", run, "--steps", "6", "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout.splitlines()[-1])["step"] == 6
    numbers = [("--learning-rate", "nan"), ("--max-minutes", "nan"), ("--max-minutes", "inf"), ("--mix", "thin=nan")]
    numbers += [("--max-minutes", "-1"), ("--checkpoint-seconds", "-1"), ("--seed", "-1"), ("--evaluate-every", "-1")]
    for option, value in numbers:
        result = CliRunner().invoke(app, ["--data", photos, "-o", str(tmp_path / "z"), option, value])
        assert result.exit_code == 2 or isinstance(result.exception, OptionError), option
        assert option[2:] in f"{result.stderr} {result.exception}"
        assert not (tmp_path / "z").exists()
    assert isinstance(CliRunner().invoke(app, ["-o", str(tmp_path / "x")]).exception, OptionError)
    result = dpenet("train", "--data", tmp_path / "none", "-o", tmp_path / "y")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_a_run_that_was_stopped_in_time_goes_on(tmp_path, photos, app):
    runner = CliRunner()
    out = str(tmp_path / "run")
    wanted = ["--batch", "2", "--crop", "32", "--light", "--validation", "1", "--steps", "4", "--mix", "thin=1,dry=1"]
    first = runner.invoke(
        app, ["--data", photos, "-o", out, *wanted, "--device", "cpu", "--threads", "1", "--max-minutes", "0", "--json"]
    )
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout.splitlines()[-1])["reason"] == "out of time"
    second = runner.invoke(app, ["--resume", "-o", out])
    assert second.exit_code == 0, second.output
    assert "going on from step 1" in second.stderr
    assert "done at step 4" in second.stderr
    assert TrainOptions.read(Path(out) / "options.json").mix == {"thin": 1.0, "dry": 1.0}
    for wrong in (
        ["-o", out],
        ["--data", photos, "--resume", "-o", out],
        ["--data", photos, "-o", out, "--mix", "thin"],
    ):
        assert isinstance(runner.invoke(app, wrong).exception, OptionError)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--plan-minutes", "1", "--max-minutes", "1"], "Leave one of them out"),
        (["--plan-minutes", "1", "--steps", "9"], "plan the run too"),
        (["--plan-minutes", "1", "--epochs", "9"], "plan the run too"),
        (["--plan-minutes", "0"], "a time to train in"),
        (["--plan", "64:4:1", "--crop", "64"], "how large crops"),
        (["--plan", "64x4"], "side:batch:share"),
        (["--decay-from", "now"], "Give --resume"),
        (["--decay-from", "soon"], "neither a share nor now"),
        (["--decay-from", "1"], "a share of the run"),
        (["--structure", "2"], "a share lies in 0..1"),
    ],
)
def test_wrong_courses_are_wrong_usage(tmp_path, photos, app, arguments, why):
    result = CliRunner().invoke(app, ["--data", photos, "-o", str(tmp_path / "run"), *arguments])
    assert isinstance(result.exception, OptionError)
    assert why in str(result.exception)
    assert not (tmp_path / "run").exists()


def test_layers_that_are_not_there_are_an_error(tmp_path, photos, app):
    arguments = ["--data", photos, "-o", str(tmp_path / "run"), *SMALL, "--layers"]
    for folder in (tmp_path / "nowhere", tmp_path):
        error = CliRunner().invoke(app, [*arguments, str(folder)]).exception
        assert isinstance(error, DatasetError)
        assert "streak layers" in str(error)


def test_the_recipe_s_options_reach_the_run_and_it_is_told_to_end(tmp_path, photos, app):
    out, layers = tmp_path / "run", tmp_path / "layers"
    store(layers / "a.png", np.full((50, 60, 3), 90, np.uint8))
    wanted = ["--plan", "32:2:1,48:1:1", "--steps", "20", "--layers", str(layers), "--pack", str(tmp_path / "p.pack")]
    wanted += ["--structure", "0.5", "--structure-dry", "1", "--decay-from", "0.5", "--light", "--validation", "1"]
    runner = CliRunner()
    first = runner.invoke(app, ["--data", photos, "-o", str(out), *wanted, "--threads", "1", "--max-minutes", "0"])
    assert first.exit_code == 0, first.output
    options = TrainOptions.read(out / "options.json")
    assert (options.structure, options.structure_dry, options.decay_from) == (0.5, 1, 0.5)
    assert [stage.side for stage in options.stages] == [32, 48]
    assert (tmp_path / "p.pack").stat().st_size > 6 * 120 * 130 * 3
    second = runner.invoke(app, ["--resume", "-o", str(out), "--decay-from", "now"])
    assert second.exit_code == 0, second.output
    said = " ".join(second.stderr.split())
    assert "step 1: asked to end" in said
    assert "done at step 2" in said
    assert "dry " in said
    assert "blend " in said


def test_a_run_at_work_is_told_to_end_by_another_process(tmp_path, photos, app):
    out = tmp_path / "run"
    runner = CliRunner()
    first = runner.invoke(app, ["--data", photos, "-o", str(out), "--light", *SMALL, "--max-minutes", "0"])
    assert first.exit_code == 0, first.output
    with RunFolder(out).locked():  # as the run at work has it
        told = runner.invoke(app, ["--resume", "-o", str(out), "--decay-from", "now"])
        assert told.exit_code == 0, told.output
        assert "will end, in a fifth of the time" in " ".join(told.stderr.split())
        told = runner.invoke(app, ["--resume", "-o", str(out), "--decay-from", "now", "--json"])
        assert json.loads(told.stdout)["event"] == "asked to end"
    assert RunFolder(out).asked_to_end()


def test_every_option_of_the_command_has_help_and_a_panel(app):
    for parameter in typer.main.get_command(app).params:
        if parameter.name != "help" and not parameter.name.startswith(("install", "show")):
            assert parameter.help, parameter.name
            assert parameter.rich_help_panel, parameter.name
    assert all(name in CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output for name in GENERAL_MIX)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (events.Preparing(0, "reading pictures"), "reading pictures …"),
        (events.Prepared(2, 9, 1, 2, 3, ["a/[x].png"], [], [], 4.0, "cpu", 1.0), "1 left out, as they share a backg"),
        (events.Prepared(2, 9, 1, 2, 3, ["a/[x].png"], [], [], 4.0, "cpu", 1.0), "[x].png\ngoing on from step 2"),
        (
            events.Progress(1, 9, 0.5, 0.001, 2.0, 0.25, 1.0, 4.0),
            "step 1 of 9 · loss 0.5000 · 2.0 crops/s · waiting 25",
        ),
        (events.Evaluated(3, 30.0, 0.9, 25.0, True, 1.0), "30.00 dB / 0.9000 (input 25.00 dB), the best so far"),
        (
            events.Evaluated(3, 30.0, 0.9, 25.0, False, 1.0, 45.1, 44.2, 32.93),
            "(input 25.00 dB), dry 45.10 dB, structure 44.20 dB, blend 32.93 dB; 1",
        ),
        (
            events.WentBack(9, 4, "it [x] explodes", 5e-4),
            "step 9: it [x] explodes; back to the weights of step 4, at half",
        ),
        (events.Ending(10, 12), "step 10: asked to end; the rate falls from here, to about step 12"),
        (events.Skipped(4, ["a", "b", "c", "d"]), "step 4 skipped: its loss is not a number (a, b, c …)"),
        (events.Finished(5, "done", 2.0), "done at step 5, 2"),
        (
            events.Finished(5, "interrupted", 2.0, "my runs/a", ["best.safetensors", "checkpoint.pt"]),
            "in my runs/a: best.safetensors, checkpoint.pt\nto go on: dpenet train --resume -o 'my runs/a'\n"
            "to use it: dpenet derain photos/ --weights 'my runs/a/best.safetensors'",
        ),
        (events.Stopping(5), "stopping after this step; Ctrl-C again ends at once"),
        (
            events.Outlook(0, 60_000, 53 * 86400.0, 99, 24),
            "60000 steps take about 53 days on this machine. A night is ",
        ),
        (events.Outlook(0, 60_000, 53 * 86400.0, 99, 24), "--plan-minutes 600, or about --steps 470; "),
        (events.Outlook(0, 900, 7200.0, 99, 24), "900 steps take about 2 h 0 min on this machine"),
        (events.Outlook(0, 900, math.nan, 99, 24), ""),
        (events.Outlook(0, 900, math.nan, 3, 0), "3 pictures are few: the network learns them by heart. Give 50 or"),
        (
            events.Outlook(0, 900, math.nan, 3, 0),
            "--init general --learning-rate 0.0001 --steps 300 (dpenet guide fine",
        ),
        (events.Outlook(0, 900, math.nan, 3, 0), "none is left to validate on, so best.safetensors is simply the last"),
        (events.Outlook(9, 900, math.nan, 3, 0), ""),  # it was told when the run began
        (
            events.Prepared(0, 9, 1, 2, 3, [], [], ["t"] * 30, 4.0, "cpu", 1.0),
            f"30 left out, as they are smaller than a crop: {'t, ' * 20}and 10 more",
        ),
        (
            events.Prepared(
                0,
                9,
                1,
                2,
                3,
                [],
                [],
                [],
                4.0,
                "cpu",
                1.0,
                {f"a/input/{n}.png": "it is empty" for n in range(3000)},
                {"a/target/1.png": "a/input/1.png"},
            ),
            "3000 left out, as they cannot be learnt from: input/0.png (it is empty); "
            "input/1.png (it is empty; with it goes target/1.png); input/2",
        ),
        (events.Saved(5), ""),
    ],
)
def test_every_event_is_said_in_words(capsys, event, said):
    with Display(as_json=False) as display:
        display.show(event)
    printed = capsys.readouterr().err
    assert said in printed
    assert said or not printed


def test_bad_files_are_told_to_people_and_programs(tmp_path, photos, app):
    for name in ("bad.png", "worse.jpg"):
        (Path(photos) / name).write_bytes(b"")
    arguments = ["train", "--data", photos, "-o", tmp_path / "run", "--light", *SMALL, "--steps", "1", "--json"]
    refused = dpenet(*arguments)
    assert refused.returncode == 2
    lines = [line for line in refused.stderr.splitlines() if line.startswith("error")]
    assert len(lines) == 1
    assert "photos/bad.png (it is empty); photos/worse.jpg (it is empty). Mend or remove them" in lines[0]
    bad = {str(Path(photos) / name): "it is empty" for name in ("bad.png", "worse.jpg")}
    assert json.loads(refused.stdout.splitlines()[-1]) == {"schema": 1, "event": "refused", "bad": bad}
    assert not (tmp_path / "run").exists()
    done = CliRunner().invoke(app, [*map(str, arguments[1:]), "--skip-bad"])
    assert done.exit_code == 0, done.output
    (prepared,) = [line for line in map(json.loads, done.stdout.splitlines()) if line["event"] == "prepared"]
    assert prepared["bad"] == json.loads((tmp_path / "run/data.json").read_text())["bad"] == bad


def test_ctrl_c_stops_after_the_step_with_weights_to_use(tmp_path, photos):
    run = tmp_path / "run"
    arguments = ["--light", *SMALL, "--steps", "1000000", "--evaluate-every", "1000000"]
    with subprocess.Popen(
        [command(), "train", "--data", photos, "-o", str(run), *arguments], stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stderr:
            if line.startswith("step"):
                break
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "stopping after this step" in said
    assert f"in {run}: best.safetensors, last.safetensors, checkpoint.pt" in said
    assert f"to go on: dpenet train --resume -o {run}" in said
    assert "Traceback" not in said
    assert read_card(run / "best.safetensors").name == "run"


def test_ctrl_c_while_pictures_are_read_leaves_nothing(tmp_path, photos, app, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("dpenet_cli.training.shared_data.load_data", interrupted)
    result = CliRunner().invoke(app, ["--data", photos, "-o", str(tmp_path / "run"), "--light", *SMALL])
    assert result.exit_code == 130
    assert "interrupted before its first step: nothing was written" in result.stderr
    assert not (tmp_path / "run").exists()


def test_help_does_without_torch():
    code = "import dpenet_cli.cli.train, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
