"""Parts, lists, reports and records, through the installed command: what several machines would do, on this one."""

import json
import os
import shlex
import shutil
import subprocess

import numpy as np
import pytest
from conftest import as_cleaner, command, dpenet
from PIL import Image

from dpenet_cli.batch.outcomes import Status
from dpenet_cli.batch.pictures import run
from dpenet_cli.batch.planning import plan_pictures
from dpenet_cli.errors import StorageError
from dpenet_cli.options import PictureOptions

SLURM = {
    "SLURM_ARRAY_TASK_ID": "6",
    "SLURM_ARRAY_TASK_MIN": "4",
    "SLURM_ARRAY_TASK_STEP": "2",
    "SLURM_ARRAY_TASK_COUNT": "3",
}


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(3)
    folder = tmp_path / "photos"
    for number in range(12):
        path = folder / f"{number % 3}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
    return folder


def results(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


LAUNCHERS = {
    "xargs": "seq 3 | xargs -P 2 -I I {run} --shard I/3 --report part-I.jsonl",
    "parallel": "parallel -j 2 {run} --shard {{}}/3 --report part-{{}}.jsonl ::: 1 2 3",
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_parts_side_by_side_are_the_whole(photos, tmp_path, tiny_weights, launcher):
    if shutil.which(launcher) is None:
        pytest.skip(f"there is no {launcher} here")
    own = ["--weights", tiny_weights, "--threads", 1]
    assert dpenet("derain", photos, "-o", "whole", *own, cwd=tmp_path).returncode == 0
    derain = shlex.join(map(str, [command(), "derain", photos, "-o", "clean", *own]))
    line = LAUNCHERS[launcher].format(run=derain)
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert results(tmp_path / "clean") == results(tmp_path / "whole")
    assert len(results(tmp_path / "clean")) == 12
    merged = dpenet("report", "merge", *sorted(tmp_path.glob("part-*.jsonl")), "-o", "all.jsonl", cwd=tmp_path)
    assert merged.stdout == "12 done\n"
    assert {row["output"] for row in rows(tmp_path / "all.jsonl")} == {
        str(path) for path in (tmp_path / "clean").rglob("*.png")
    }
    # Any part knows what an earlier run of all made, and the other way round.
    again = dpenet("derain", photos, "-o", "clean", *own, cwd=tmp_path)
    assert "12 skipped" in again.stderr
    assert "other weights" not in again.stderr


def test_a_launchers_words_are_heard_when_asked_for(photos, tmp_path):
    run = ["derain", photos, "-o", tmp_path / "clean", "--dry-run"]
    told = dpenet(*run, env=os.environ | SLURM)
    assert "task 2 of 3 (SLURM's array), and it cleans everything; --shard auto takes a part" in told.stderr
    assert "12 planned" in told.stderr
    parts = []
    for number in (4, 6, 8):
        part = dpenet(*run, "--shard", "auto", env=os.environ | SLURM | {"SLURM_ARRAY_TASK_ID": str(number)})
        assert f"shard {number // 2 - 1}/3: " in part.stderr
        parts += [line.split(" ", 1)[1] for line in part.stdout.splitlines()]
    assert sorted(parts) == sorted(line.split(" ", 1)[1] for line in told.stdout.splitlines())
    kubernetes = dpenet(*run, "--shard", "auto/12", env=os.environ | {"JOB_COMPLETION_INDEX": "11"})
    assert "shard 12/12: " in kubernetes.stderr


def test_an_empty_part_is_no_failure(photos, tmp_path, tiny_weights):
    source = photos / "0/0.png"
    codes = []
    for number in (1, 2):
        result = dpenet("derain", source, "--shard", f"{number}/2", "--weights", tiny_weights, "--dry-run")
        codes.append((result.returncode, "0 of 1 pictures" in result.stderr))
    assert sorted(codes) == [(0, False), (0, True)]


def test_a_list_its_report_and_what_failed(photos, tmp_path, tiny_weights):
    own = ["--weights", tiny_weights, "--threads", 1, "--report", "r.jsonl", "-o", "clean"]
    (photos / "broken.png").write_bytes(b"no picture")
    listed = [{"source": str(photos / "0/0.png"), "output": "x/first.png"}, {"source": str(photos / "broken.png")}]
    listed += [{"source": "/nowhere/a.png"}, {"no": "source"}]
    result = subprocess.run(
        [command(), "derain", "--files-from", "-", "--root", photos, *map(str, own)],
        cwd=tmp_path,
        input="".join(json.dumps(row) + "\n" for row in listed),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1, result.stderr
    assert "1 done, 3 failed" in result.stderr
    assert "standard input, row 4" in result.stderr
    assert list(results(tmp_path / "clean")) == ["x/first.png"]
    assert [row["status"] for row in rows(tmp_path / "r.jsonl")] == ["done", "failed", "failed", "failed"]

    shutil.copy(photos / "1/1.png", photos / "broken.png")  # mended
    again = dpenet("derain", "--retry-failed", "r.jsonl", *own, cwd=tmp_path)
    assert "1 done, 2 failed" in again.stderr
    assert sorted(results(tmp_path / "clean")) == ["broken.png", "x/first.png"]
    # Without its folder too: rows know where their results go.
    merged = dpenet("report", "merge", "r.jsonl", "-o", "all.jsonl", cwd=tmp_path)
    assert (merged.returncode, merged.stdout) == (1, "2 done, 2 failed\n")
    assert dpenet("report", "merge", "r.jsonl", "-o", "all.jsonl", cwd=tmp_path).returncode == 2
    (tmp_path / "good.jsonl").write_text((tmp_path / "all.jsonl").read_text().splitlines()[0] + "\n")
    none = dpenet("derain", "--retry-failed", "good.jsonl", cwd=tmp_path)
    assert (none.returncode, "nothing failed" in none.stderr) == (0, True)


def test_results_of_other_options_are_kept_and_told_until_asked_for(photos, tmp_path, tiny_weights):
    own = ["derain", photos / "0", "-o", tmp_path / "clean", "--weights", tiny_weights, "--threads", 1]
    assert "4 done" in dpenet(*own).stderr
    before = results(tmp_path / "clean")
    (tmp_path / "clean/0.png").write_bytes(before["3.png"])  # by hand
    other = dpenet(*own, "--strength", 0.5)
    assert "3 pictures: its result was made with other weights or options" in other.stderr
    assert "4 skipped" in other.stderr
    planned = dpenet(*own, "--strength", 0.5, "--redo-changed", "--dry-run")
    assert "3 planned" in " ".join(planned.stderr.split(", ")[::-1])
    redone = dpenet(*own, "--strength", 0.5, "--redo-changed")
    assert "3 done, 1 skipped" in redone.stderr
    assert "its result was changed since dpenet wrote it" in redone.stderr
    after = results(tmp_path / "clean")
    assert after["0.png"] == before["3.png"]
    assert all(after[name] != before[name] for name in ("3.png", "6.png", "9.png"))
    assert "4 done" in dpenet(*own, "--overwrite").stderr
    assert results(tmp_path / "clean") == before


def test_an_input_folder_that_goes_ends_the_run(photos, tmp_path):
    """As a share does whose server is away; one file that goes is that file's failure."""
    jobs = plan_pictures([str(photos)], tmp_path / "clean").jobs
    jobs[1].source.unlink()
    outcomes = run(jobs, as_cleaner(lambda pixels: pixels), PictureOptions())
    assert [next(outcomes).status for _ in range(2)] == [Status.DONE, Status.FAILED]
    shutil.rmtree(photos)
    last = [outcome for outcome in outcomes if outcome.status is Status.FAILED][-1]
    assert isinstance(last.error, StorageError)
    assert last.error.what == str(photos)
    photos.mkdir()  # what is left of a disk that was taken away
    (last,) = run(jobs[:1], as_cleaner(lambda pixels: pixels), PictureOptions(overwrite=True))
    assert isinstance(last.error, StorageError)
    assert "empty now" in last.error.why


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "nothing is named"),
        (["a.png", "--files-from", "b"], "different ways"),
        (["--files-from", "b", "--retry-failed", "c"], "different ways"),
        (["--files-from", "missing"], "cannot be read"),
        (["a.png", "--root", "b"], "--files-from"),
        (["a.png", "--shard", "9/3"], "counted from 1"),
        (["--files-from", os.devnull, "-o", "x.jpg"], "do not fit into one file"),
        (["-", "--shard", "1/2"], "many files"),
    ],
)
def test_wrong_use_is_told(tmp_path, arguments, reason):
    result = dpenet("derain", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert reason in result.stderr


def test_videos_have_parts_and_lists_too(tmp_path):
    for name in "abcdef":
        (tmp_path / f"{name}.mp4").touch()
    run = ["video", ".", "-o", "clean", "--method", "temporal", "--json"]
    parts = []
    for number in (1, 2):
        result = dpenet(*run, "--shard", f"{number}/2", "--report", "r.jsonl", cwd=tmp_path)
        assert result.returncode == 1
        parts += [json.loads(line)["input"] for line in result.stdout.splitlines()[:-1]]
    assert sorted(parts) == [f"{name}.mp4" for name in "abcdef"]
    again = dpenet("video", "--retry-failed", "r.jsonl", "--method", "temporal", cwd=tmp_path)
    assert "6 failed" in again.stderr
    named = dpenet("video", "--files-from", "-", "--preview", 2, cwd=tmp_path)
    assert (named.returncode, "--preview" in named.stderr) == (2, True)
