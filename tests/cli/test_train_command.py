"""``dpenet train`` as a user runs it: the installed command, clean pictures in, weights that ``derain`` takes out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from conftest import dpenet
from typer.testing import CliRunner

from dpenet_cli.cli.train import _Display
from dpenet_cli.cli.train import train as train_command
from dpenet_cli.errors import OptionError
from dpenet_cli.training import events
from dpenet_cli.training.options import GENERAL_MIX, TrainOptions

SMALL = ["--steps", "4", "--batch", "2", "--crop", "32", "--validation", "1", "--threads", "1"]


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
    assert [(path.name, path.read_bytes()) for path in run.iterdir() if path.name != ".lock"] == [(name, b"mine")]


def test_a_run_goes_on_and_wrong_usage_exits_with_two(tmp_path, photos):
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
        result = dpenet("train", "--data", photos, "-o", tmp_path / "z", option, value)
        assert result.returncode == 2, option
        assert option[2:] in result.stderr
        assert not (tmp_path / "z").exists()
    for wrong in (["-o", tmp_path / "x"], ["--data", tmp_path / "none", "-o", tmp_path / "y"]):
        result = dpenet("train", *wrong)
        assert result.returncode == 2
        assert "Traceback" not in result.stderr


def test_a_run_that_was_stopped_in_time_goes_on(tmp_path, photos):
    app = typer.Typer()
    app.command()(train_command)
    runner = CliRunner()
    out = str(tmp_path / "run")
    wanted = ["--batch", "2", "--crop", "32", "--light", "--validation", "1", "--steps", "4", "--mix", "thin=1,dry=1"]
    first = runner.invoke(
        app, ["--data", photos, "-o", out, *wanted, "--device", "cpu", "--max-minutes", "0", "--json"]
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


def test_every_option_of_the_command_has_help_and_a_panel():
    app = typer.Typer()
    app.command()(train_command)
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
        (events.Skipped(4, ["a", "b", "c", "d"]), "step 4 skipped: its loss is not a number (a, b, c …)"),
        (events.Finished(5, "done", 2.0), "done at step 5, 2"),
        (events.Saved(5), ""),
    ],
)
def test_every_event_is_said_in_words(capsys, event, said):
    with _Display(as_json=False) as display:
        display.show(event)
    printed = capsys.readouterr().err
    assert said in printed
    assert said or not printed


def test_help_does_without_torch():
    code = "import dpenet_cli.cli.train, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
