"""Parts of a batch: every file is in one, whatever comes later, and a launcher's words are taken as it means them."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpenet_cli.batch.planning import plan_pictures
from dpenet_cli.batch.shards import Shard, parse_shard, unasked
from dpenet_cli.errors import InputError, OptionError

NAMES = st.binary(min_size=1).filter(lambda name: 0 not in name).map(os.fsdecode)
"""What the system may call a file: bytes, valid UTF-8 or not."""


@given(relative=NAMES, count=st.integers(1, 50))
def test_every_file_is_in_one_part(relative, count):
    assert sum(Shard(number, count).holds(relative) for number in range(1, count + 1)) == 1


def test_parts_are_the_same_everywhere_and_much_alike():
    """The hash is a part of what other machines and later versions rely on."""
    names = [f"2026/11/IMG_{number:04}.jpg" for number in range(4000)]
    parts = [sum(Shard(number, 8).holds(name) for name in names) for number in range(1, 9)]
    assert sum(parts) == 4000
    assert all(440 < part < 560 for part in parts)
    assert [Shard(number, 3).holds("deep/a.jpg") for number in (1, 2, 3)] == [True, False, False]


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        ("3/8", {}, (3, 8)),
        ("1/1", {"RANK": "5", "WORLD_SIZE": "9"}, (1, 1)),
        ("auto", {"RANK": "0", "WORLD_SIZE": "4"}, (1, 4)),
        ("auto", {"RANK": "3", "WORLD_SIZE": "4"}, (4, 4)),
        ("auto/4", {"JOB_COMPLETION_INDEX": "3"}, (4, 4)),
        ("auto/8", {"SLURM_ARRAY_TASK_ID": "8", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_COUNT": "8"}, (8, 8)),
        ("auto", {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_COUNT": "3"}, (1, 3)),
        (
            "auto",
            {
                "SLURM_ARRAY_TASK_ID": "14",
                "SLURM_ARRAY_TASK_MIN": "10",
                "SLURM_ARRAY_TASK_STEP": "2",
                "SLURM_ARRAY_TASK_COUNT": "4",
            },
            (3, 4),
        ),
    ],
)
def test_parts_by_what_launchers_say(text, environment, expected):
    assert parse_shard(text, environment) == Shard(*expected)


@pytest.mark.parametrize(
    ("text", "environment", "reason"),
    [
        ("0/3", {}, "counted from 1"),
        ("4/3", {}, "counted from 1"),
        ("3", {}, "neither"),
        ("-1/3", {}, "neither"),
        ("auto/x", {}, "neither"),
        ("auto", {}, "no launcher"),
        ("auto", {"RANK": "1"}, "no launcher"),
        ("auto", {"JOB_COMPLETION_INDEX": "1"}, "not of how many"),
        ("auto/2", {"JOB_COMPLETION_INDEX": "2"}, "counted from 1"),
        ("auto/4", {"RANK": "1", "WORLD_SIZE": "8"}, "runs 8 tasks, not 4"),
        ("auto", {"RANK": "1", "WORLD_SIZE": "8", "JOB_COMPLETION_INDEX": "1"}, "several launchers"),
        # A list of tasks, --array=1,5,6: the fifth of three does not exist.
        (
            "auto",
            {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_COUNT": "3"},
            "part 5 of 3",
        ),
        (
            "auto",
            {
                "SLURM_ARRAY_TASK_ID": "5",
                "SLURM_ARRAY_TASK_MIN": "1",
                "SLURM_ARRAY_TASK_STEP": "3",
                "SLURM_ARRAY_TASK_COUNT": "3",
            },
            "part 0 of 3",
        ),
    ],
)
def test_parts_that_do_not_exist(text, environment, reason):
    with pytest.raises(OptionError) as error:
        parse_shard(text, environment)
    assert reason in str(error.value)


def test_a_launcher_that_nobody_listens_to_is_told():
    assert unasked({}) is None
    assert unasked({"RANK": "0", "WORLD_SIZE": "1"}) is None
    assert "task 2 of 4" in unasked({"RANK": "1", "WORLD_SIZE": "4"})
    assert "--shard auto/N" in unasked({"JOB_COMPLETION_INDEX": "0"})


@given(files=st.sets(st.from_regex(r"[a-z]{1,3}(/[a-z]{1,3})?\.(jpg|png)", fullmatch=True), max_size=15))
def test_parts_together_are_the_whole(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    (folder / "pipe.jpg").unlink(missing_ok=True)
    (folder / "nowhere.jpg").symlink_to(folder / "missing")
    whole = plan_pictures([str(folder)], folder.with_name("out"), compare=True)
    parts = [plan_pictures([str(folder)], folder.with_name("out"), compare=True, shard=Shard(n, 3)) for n in (1, 2, 3)]
    assert sorted(job for part in parts for job in part.jobs) == sorted(whole.jobs)
    assert [bad.source for part in parts for bad in part.bad] == [str(folder / "nowhere.jpg")]


def test_what_was_named_and_is_not_there_is_every_parts_failure(tmp_path):
    """A share that one machine lacks must not look like a part without any file."""
    (tmp_path / "a.jpg").touch()
    for number in (1, 2):
        shard = Shard(number, 2)
        with pytest.raises(InputError, match="no such file"):
            plan_pictures([str(tmp_path / "share")], Path("out"), shard=shard)
        plan = plan_pictures([str(tmp_path / "share"), str(tmp_path / "a.jpg")], Path("out"), shard=shard)
        assert len(plan.bad) == 1
