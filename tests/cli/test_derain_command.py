"""``dpenet derain`` as a user runs it: the installed command, real files, exit codes, streams."""

import io
import json
import os
import pty
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import command, dpenet
from PIL import Image

from dpenet_cli import EngineOptions, Precision, load
from dpenet_cli.system.atomic import lock


@pytest.fixture
def photos(tmp_path, rainy_photo):
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    Image.fromarray(rainy_photo).save(folder / "a.png")
    Image.fromarray(rainy_photo[::-1]).save(folder / "b.jpg", quality=95)
    Image.fromarray(rainy_photo[:, ::-1]).save(folder / "deep/c d.webp", lossless=True)
    return folder


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


def lines(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_folder_is_cleaned_and_mirrored(photos, tiny_weights, rainy_photo):
    result = dpenet("derain", "photos/", "--weights", tiny_weights, "--precision", "fp32", cwd=photos.parent)
    assert result.returncode == 0, result.stderr
    assert "3 done" in result.stderr
    clean = photos.parent / "photos-derained"
    assert sorted(p.relative_to(clean).as_posix() for p in clean.rglob("[!.]*.*")) == [
        "a.png",
        "b.jpg",
        "deep/c d.webp",
    ]
    engine = load(tiny_weights, EngineOptions(precision=Precision.FP32))
    assert np.array_equal(pixels(clean / "a.png"), engine(rainy_photo))
    assert np.array_equal(pixels(clean / "deep/c d.webp"), engine(np.ascontiguousarray(rainy_photo[:, ::-1])))


def test_done_work_is_skipped_until_the_source_changes(photos, tiny_weights):
    run = ["derain", photos, "-o", photos.parent / "clean", "--weights", tiny_weights]
    assert "3 done" in dpenet(*run).stderr
    kept = (photos.parent / "clean/a.png").stat().st_mtime_ns
    again = dpenet(*run)
    assert again.returncode == 0
    assert "3 skipped" in again.stderr
    os.utime(photos / "b.jpg", (time.time() + 5, time.time() + 5))
    (photos.parent / "clean/deep/c d.webp").unlink()
    third = dpenet(*run)
    assert "2 done, 1 skipped" in third.stderr
    assert (photos.parent / "clean/a.png").stat().st_mtime_ns == kept
    assert "3 done" in dpenet(*run, "--overwrite").stderr


def test_one_bad_file_does_not_stop_the_rest(photos, tiny_weights):
    (photos / "bad.jpg").write_bytes((photos / "b.jpg").read_bytes()[:200])
    (photos / "text.png").write_text("not a picture")
    result = dpenet("derain", photos, "gone.jpg", "-o", photos.parent / "clean", "--weights", tiny_weights)
    assert result.returncode == 1
    assert "3 done, 3 failed" in result.stderr
    for name in ("bad.jpg", "text.png", "gone.jpg"):
        assert sum("error" in line and name in line for line in result.stderr.splitlines()) == 1
    assert not (photos.parent / "clean/bad.jpg").exists()
    assert result.stdout == ""


def test_json_lines(photos, tiny_weights):
    (photos / "text.png").write_text("not a picture")
    result = dpenet("derain", photos, "-o", photos.parent / "clean", "--weights", tiny_weights, "--json")
    assert result.returncode == 1
    *inputs, last = lines(result)
    by_name = {Path(line["input"]).name: line for line in inputs}
    assert by_name["a.png"]["status"] == "done"
    assert (by_name["a.png"]["width"], by_name["a.png"]["height"]) == (120, 90)
    assert by_name["a.png"]["output"].endswith("clean/a.png")
    assert by_name["text.png"]["status"] == "failed"
    assert set(by_name["text.png"]["error"]) == {"what", "why", "next_step"}
    assert (last["summary"]["done"], last["summary"]["failed"], last["summary"]["left"]) == (3, 1, 0)


def test_dry_run_writes_nothing_and_tells(photos, tiny_weights):
    assert dpenet("derain", photos, "--dry-run", "--weights", "no-such-weights").returncode == 2
    result = dpenet("derain", photos, "--dry-run", "--weights", tiny_weights)
    assert result.returncode == 0
    assert result.stdout.count("planned") == 3
    assert not (photos.parent / "photos-derained").exists()
    planned = lines(dpenet("derain", photos, "--dry-run", "--json"))
    assert [line["status"] for line in planned[:-1]] == ["planned"] * 3


def test_quiet_says_nothing_and_verbose_says_more(photos, tiny_weights):
    run = ["derain", photos, "-o", photos.parent / "clean", "--weights", tiny_weights, "--overwrite"]
    quiet = dpenet(*run, "-q")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    assert "cpu" in dpenet(*run, "-v").stderr


@pytest.mark.parametrize(
    "wrong",
    [
        ["--strength", "2"],
        ["--tile", "0"],
        ["--tile", "big"],
        ["--device", "cuda:77"],
        ["--device", "nonsense"],
        ["--weights", "nonsense"],
        ["--format", "gif"],
        ["--quality", "0"],
        ["--max-pixels", "0"],
        ["--nonsense"],
    ],
)
def test_wrong_usage_exits_with_two(photos, wrong):
    result = dpenet("derain", photos, *wrong)
    assert result.returncode == 2
    assert result.stderr
    assert "Traceback" not in result.stderr
    assert not (photos.parent / "photos-derained").exists()


def test_the_input_is_never_overwritten(photos, tiny_weights):
    before = (photos / "a.png").read_bytes()
    result = dpenet("derain", photos, "-o", photos, "--overwrite", "--weights", tiny_weights)
    assert result.returncode == 2
    assert "it is an input" in result.stderr
    assert (photos / "a.png").read_bytes() == before


def test_pipes(photos, tiny_weights, rainy_photo, tmp_path):
    run = ["derain", "-", "--weights", tiny_weights, "--precision", "fp32"]
    source = (photos / "a.png").read_bytes()
    piped = subprocess.run([command(), *map(str, run)], input=source, capture_output=True, check=True)
    (tmp_path / "out.png").write_bytes(piped.stdout)
    expected = load(tiny_weights, EngineOptions(precision=Precision.FP32))(rainy_photo)
    assert np.array_equal(pixels(tmp_path / "out.png"), expected)
    assert piped.stderr == b""
    to_file = subprocess.run([command(), *map(str, run), "-o", tmp_path / "x.bmp"], input=source, check=True)
    assert to_file.returncode == 0
    assert np.array_equal(pixels(tmp_path / "x.bmp"), expected)
    assert dpenet("derain", photos / "a.png", "-o", "-", "--json").returncode == 2
    bad = subprocess.run([command(), *map(str, run)], input=b"junk", capture_output=True, check=False)
    assert (bad.returncode, bad.stdout) == (1, b"")


def test_pipes_keep_files_and_tell_what_they_changed(photos, tiny_weights, tmp_path):
    run = [command(), "derain", "-", "--weights", str(tiny_weights)]
    kept = (photos / "a.png").read_bytes()
    for more, why in ([], b"it is an input"), (["--overwrite"], b"it is an input"):
        with (photos / "a.png").open("rb") as stdin:
            result = subprocess.run(
                [*run, "-o", photos / "a.png", *more], stdin=stdin, capture_output=True, check=False
            )
        assert result.returncode == 2
        assert why in result.stderr
    assert (photos / "a.png").read_bytes() == kept
    existing = subprocess.run([*run, "-o", photos / "b.jpg"], input=kept, capture_output=True, check=False)
    assert existing.returncode == 2
    assert b"it exists" in existing.stderr
    network = tmp_path / "mine.safetensors"
    shutil.copy(tiny_weights, network)
    own = [command(), "derain", "-", "--weights", network, "-o", network, "--format", "png", "--overwrite"]
    over_weights = subprocess.run(own, input=kept, capture_output=True, check=False)
    assert (over_weights.returncode, network.read_bytes()) == (2, tiny_weights.read_bytes())
    palette = io.BytesIO()
    Image.open(photos / "a.png").convert("P").save(palette, "PNG")
    told = subprocess.run(
        [*run, "-o", tmp_path / "new/p.png"], input=palette.getvalue(), capture_output=True, check=True
    )
    assert b"palette" in told.stderr
    wrong = subprocess.run([*run, "-o", tmp_path / "p.png", "--format", "jpeg"], input=kept, check=False)
    assert wrong.returncode == 2


def test_failures_are_named_by_their_picture(photos, tiny_weights):
    Image.new("RGBA", (20, 20), (10, 20, 30, 40)).save(photos / "clear.png")
    result = dpenet("derain", photos / "clear.png", "--format", "jpeg", "--weights", tiny_weights, "--json")
    assert result.returncode == 1
    assert "clear.png" in lines(result)[0]["error"]["what"]
    assert "clear.png" in next(line for line in result.stderr.splitlines() if "error" in line)


def test_a_source_from_the_future_is_done_once(photos, tiny_weights):
    os.utime(photos / "a.png", (time.time() + 1e7, time.time() + 1e7))
    run = ["derain", photos / "a.png", "--weights", tiny_weights]
    assert "1 done" in dpenet(*run).stderr
    assert "1 skipped" in dpenet(*run).stderr


def test_leftovers_are_removed_unless_another_run_writes_them(photos, tiny_weights):
    out = photos.parent / "clean"
    out.mkdir()
    (out / ".dpenet-left.part").write_bytes(b"half")
    (out / ".dpenet-link.part").symlink_to(photos / "a.png")
    with (out / ".dpenet-busy.part").open("wb") as busy:
        assert lock(busy)
        dpenet("derain", photos / "a.png", "-o", out, "--weights", tiny_weights)
    assert sorted(path.name for path in out.iterdir()) == [
        ".dpenet-busy.part",
        ".dpenet-link.part",
        ".dpenet.jsonl",
        "a.png",
    ]


def test_a_huge_file_is_refused_before_it_is_read(photos, tiny_weights):
    huge = photos / "huge.png"
    with huge.open("wb") as file:
        file.write((photos / "a.png").read_bytes())
        file.truncate(6 * 2**30)  # sparse: it takes no room
    result = dpenet("derain", huge, "--weights", tiny_weights)
    assert result.returncode == 1
    assert "more than a picture" in result.stderr


def test_strength_zero_keeps_the_pixels(photos, tiny_weights, rainy_photo):
    dpenet("derain", photos / "a.png", "-o", photos / "z.png", "--strength", "0", "--weights", tiny_weights)
    assert np.array_equal(pixels(photos / "z.png"), rainy_photo)


def test_tiles_change_nothing(photos, tiny_weights):
    for name, tile in [("one", "auto"), ("two", "32")]:
        how = ["--tile", tile, "--weights", tiny_weights, "--precision", "fp32"]
        result = dpenet("derain", photos / "a.png", "-o", photos / f"{name}.png", *how)
        assert result.returncode == 0
    difference = pixels(photos / "one.png").astype(int) - pixels(photos / "two.png")
    assert np.abs(difference).max() <= 1
    assert np.count_nonzero(difference) <= 3


def test_compare_shows_before_and_after(photos, tiny_weights, rainy_photo):
    out = photos.parent / "clean"
    assert dpenet("derain", photos / "a.png", "-o", out, "--compare", "--weights", tiny_weights).returncode == 0
    sheet = pixels(photos.parent / "clean-compare/a-compare.jpg").astype(int)
    assert sorted(path.name for path in out.iterdir()) == [".dpenet.jsonl", "a.png"]
    height, width = rainy_photo.shape[:2]
    assert sheet.shape == (height, 2 * width + 8, 3)
    assert np.abs(sheet[:, :width] - rainy_photo).mean() < 4
    assert np.abs(sheet[:, -width:] - pixels(out / "a.png")).mean() < 4


def test_a_comparison_that_is_missing_needs_no_network(photos, tiny_weights):
    run = ["derain", photos / "a.png", "-o", photos.parent / "clean", "--compare", "--weights", tiny_weights]
    result, sheet = photos.parent / "clean/a.png", photos.parent / "clean-compare/a-compare.jpg"
    sheet.parent.mkdir()
    sheet.write_bytes(b"somebody's own")
    assert dpenet(*run).returncode == 0
    assert (pixels(result).shape, sheet.read_bytes()) == (pixels(photos / "a.png").shape, b"somebody's own")
    # One that an earlier version put beside its result counts.
    sheet.rename(result.with_name(sheet.name))
    assert "1 skipped" in dpenet(*run).stderr
    result.with_name(sheet.name).unlink()
    Image.fromarray(255 - pixels(result)).save(result)
    touched_up = result.read_bytes()
    told = dpenet(*run)
    assert told.returncode == 0
    assert "its before/after picture was missing; its result stays as it was" in told.stderr
    assert " on cpu" not in told.stderr  # nothing was loaded
    assert result.read_bytes() == touched_up
    assert np.abs(pixels(sheet)[:, -pixels(result).shape[1] :].astype(int) - pixels(result)).mean() < 4
    # A result of another size shows nothing beside its source.
    sheet.unlink()
    Image.fromarray(pixels(result)[:-1]).save(result)
    told = dpenet(*run)
    assert (told.returncode, "it does not have the size" in told.stderr, sheet.exists()) == (1, True, False)
    assert "1 done" in dpenet(*run, "--overwrite").stderr
    assert pixels(result).shape == pixels(photos / "a.png").shape


def test_large_pictures_are_refused_clearly(photos, tiny_weights):
    result = dpenet("derain", photos / "a.png", "--max-pixels", "1000", "--weights", tiny_weights)
    assert result.returncode == 1
    assert "--max-pixels" in result.stderr


def test_format_and_quality(photos, tiny_weights):
    out = photos.parent / "clean"
    for quality in (20, 95):
        how = ["--format", "jpg", "--quality", quality, "--weights", tiny_weights]
        dpenet("derain", photos / "a.png", "-o", out / str(quality), *how)
    small, large = (out / "20/a.jpg").stat().st_size, (out / "95/a.jpg").stat().st_size
    assert small < large / 2
    assert Image.open(out / "20/a.jpg").format == "JPEG"


def test_permissions_of_outputs_follow_the_umask(photos, tiny_weights):
    out = photos.parent / "clean"
    dpenet("derain", photos / "a.png", "-o", out, "--weights", tiny_weights, umask=0o027)
    assert stat.S_IMODE((out / "a.png").stat().st_mode) == 0o640
    assert sorted(path.name for path in out.iterdir()) == [".dpenet.jsonl", "a.png"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444])
def test_a_replaced_output_keeps_its_permissions(photos, tiny_weights, mode):
    out = photos.parent / "a.png"
    out.write_bytes(b"mine alone")
    out.chmod(mode)
    result = dpenet("derain", photos / "a.png", "-o", out, "--overwrite", "--weights", tiny_weights, umask=0o022)
    assert result.returncode == 0, result.stderr
    assert out.read_bytes() != b"mine alone"
    assert stat.S_IMODE(out.stat().st_mode) == mode


def test_a_target_that_cannot_be_written_is_one_failure(photos, tiny_weights):
    out = photos.parent / "clean"
    (out / "a.png").mkdir(parents=True)
    result = dpenet("derain", photos, "-o", out, "--weights", tiny_weights)
    assert result.returncode == 1
    assert "2 done, 1 failed" in result.stderr
    assert not list(out.glob(".dpenet-*"))


def test_a_full_disk_leaves_no_half_file(photos, tiny_weights):
    out = photos.parent / "clean"
    out.mkdir()
    script = f"ulimit -f 1; exec {command()} derain {photos} -o {out} --format bmp --weights {tiny_weights}"
    result = subprocess.run(["bash", "-c", f"trap '' XFSZ; {script}"], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "3 failed" in result.stderr
    assert "Traceback" not in result.stderr
    assert [p.name for p in out.rglob("*") if p.is_file()] == [".dpenet.jsonl"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_goes_on_where_it_was(tmp_path, tiny_weights, rainy_photo, number):
    photos, out = tmp_path / "photos", tmp_path / "clean"
    photos.mkdir()
    large = Image.fromarray(rainy_photo).resize((1200, 900))
    for index in range(12):
        large.save(photos / f"{index:02}.png", compress_level=0)
    run = [command(), "derain", str(photos), "-o", str(out), "--weights", str(tiny_weights), "--json"]
    process = subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()  # the first picture is done
    process.send_signal(number)
    rest, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    summary = json.loads(rest.splitlines()[-1])["summary"]
    assert summary["interrupted"]
    assert summary["left"] > 0
    assert "the same command goes on" in errors
    assert "Traceback" not in errors
    finished = sorted(out.glob("*.png"))
    assert 1 <= len(finished) < 12
    assert summary["done"] == len(finished)
    assert not list(out.glob(".dpenet-*"))
    for path in finished:
        Image.open(path).load()
    again = lines(subprocess.run(run, capture_output=True, text=True, check=True))
    assert again[-1]["summary"]["skipped"] == len(finished)
    assert again[-1]["summary"]["done"] == 12 - len(finished)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="a signal that Windows lacks")
def test_nohup_is_respected(tmp_path, tiny_weights, rainy_photo):
    large = Image.fromarray(rainy_photo).resize((600, 450))
    for index in range(4):
        large.save(tmp_path / f"{index}.png", compress_level=0)
    run = [command(), "derain", str(tmp_path), "--weights", str(tiny_weights), "--json"]
    nohup = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    process = subprocess.Popen([sys.executable, "-c", nohup, *run], stdout=subprocess.PIPE, text=True)
    process.stdout.readline()  # the first picture is done
    process.send_signal(signal.SIGHUP)
    rest, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert json.loads(rest.splitlines()[-1])["summary"]["done"] == 4


def on_a_terminal(*arguments):
    """All that a terminal is sent."""
    leader, follower = pty.openpty()
    terminal = os.environ | {"TERM": "xterm", "COLUMNS": "80"}
    process = subprocess.Popen([command(), *arguments], stderr=follower, stdout=follower, close_fds=True, env=terminal)
    os.close(follower)
    seen = b""
    while True:
        try:
            chunk = os.read(leader, 4096)
        except OSError:
            break
        if not chunk:
            break
        seen += chunk
    os.close(leader)
    assert process.wait() == 0
    return seen.decode()


def test_a_terminal_sees_a_bar_and_a_summary(photos, tiny_weights):
    seen = on_a_terminal("derain", photos, "--weights", tiny_weights)
    assert "cleaning" in seen
    assert "3 done" in seen


@pytest.mark.parametrize(("option", "begin"), [("--dry-run", "["), ("--json", '{"schema"')])
def test_no_bar_stands_before_a_line_on_a_terminal(photos, tiny_weights, option, begin):
    seen = on_a_terminal("derain", photos, "--weights", tiny_weights, option)
    told = [line for line in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", seen).split("\n") if begin in line]
    assert len(told) >= 3
    assert all(line.startswith(begin) for line in told), told


def test_odd_names_and_locales(tmp_path, tiny_weights, rainy_photo):
    photos = tmp_path / "with space"
    photos.mkdir()
    names = ["-dash.png", "quo'te\".png", "new\nline.png", "雨.png", "☔.png", "[bold]x.png", "x" * 246 + ".png"]
    for name in names:
        Image.fromarray(rainy_photo).save(photos / name)
    shutil.copy(photos / "雨.png", os.fsencode(photos) + b"/\xff\xfe.png")
    result = dpenet(
        "derain", photos, "-o", tmp_path / "out", "--weights", tiny_weights, env=os.environ | {"LC_ALL": "C"}
    )
    assert result.returncode == 0, result.stderr
    assert "8 done" in result.stderr
    assert set(os.listdir(os.fsencode(tmp_path / "out"))) - {b".dpenet.jsonl"} == set(os.listdir(os.fsencode(photos)))
    assert "[bold]x.png" in result.stderr
    as_json = dpenet("derain", photos, "-o", tmp_path / "out", "--json")
    assert as_json.returncode == 0
    assert len(lines(as_json)) == 9
    dashed = dpenet("derain", "--weights", tiny_weights, "-o", "d.png", "--", "-dash.png", cwd=photos)
    assert dashed.returncode == 0


def test_a_closed_pipe_ends_it_quietly(photos, tiny_weights):
    script = f"{command()} derain {photos} --json --weights {tiny_weights} | head -n 1"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert json.loads(result.stdout)["status"] == "done"
    assert "Traceback" not in result.stderr


def test_help_and_version():
    bare = dpenet()
    assert "derain" in bare.stdout + bare.stderr
    assert dpenet("--version").stdout.startswith("dpenet ")
    assert "--strength" in dpenet("derain", "--help").stdout
    assert "_DPENET_COMPLETE" in dpenet("--show-completion", "bash").stdout


COUNT_PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""A process starts with its parent's peak to its name, so the parent must be a small one."""


def peak_bytes(tmp_path, photo, size, *options):
    """Peak memory of one run from a JPEG to a JPEG, as the kernel counts it."""
    Image.fromarray(photo).resize(size).save(tmp_path / "large.jpg", quality=92)
    files = [tmp_path / "large.jpg", "-o", tmp_path / "clean.jpg", "--overwrite"]
    run = [sys.executable, "-c", COUNT_PEAK, command(), "derain", *files, "--device", "cpu", "-q", *options]
    told = subprocess.run(run, capture_output=True, text=True, check=True)
    assert Image.open(tmp_path / "clean.jpg").size == size
    return int(told.stdout) * 1024  # Linux counts in KiB


@pytest.mark.long
def test_a_24_megapixel_photograph_needs_less_than_1500_megabytes(tmp_path, rainy_photo, tiny_weights):
    """What the network holds grows with the width alone, what the pixels take does not depend on the network.

    So the shipped weights on a low picture of that width, and twice half of the other rows through a network that takes
    no time, bound the peak of the shipped weights on the whole picture, which takes minutes on a small machine.
    """
    network = peak_bytes(tmp_path, rainy_photo, (6000, 240))  # rows enough for all blocks to keep theirs at once
    low, high = (peak_bytes(tmp_path, rainy_photo, (6000, height), "--weights", tiny_weights) for height in (100, 2050))
    assert high - low > 1950 * 6000 * 3  # the rows are there
    assert network + 2 * (high - low) < 1.5e9
