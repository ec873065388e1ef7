"""What made each result: told apart from other weights' and from a person's, whatever crashed in between."""

import json
import os
import shutil
from pathlib import Path

import pytest

from dpenet_cli.batch.decisions import (
    CHANGED_SINCE,
    MADE_OTHERWISE,
    NOT_OURS,
    Decisions,
    Todo,
    asked_of_pictures,
    asked_of_videos,
)
from dpenet_cli.batch.record import Record, Standing, of_data, of_file
from dpenet_cli.batch.shards import Shard
from dpenet_cli.options import EngineOptions, PictureOptions, Precision, Runtime, SaveOptions, VideoMethod, VideoOptions
from dpenet_cli.system.line_file import LineFile, read_lines
from dpenet_cli.system.outputs import Job

ASKED = {"weights": "a", "strength": 1.0}
OTHER = {"weights": "b", "strength": 1.0}


def make(record: Record, target: Path, data: bytes) -> None:
    """As a run does: entered, then written."""
    record.add(target, of_data(data, 0))
    target.write_bytes(data)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "deep").mkdir()
    return tmp_path


def standing(root, name="deep/a.jpg", asked=ASKED, shard=None):
    record = Record(root, asked, shard)
    try:
        return record.known(root / name).standing
    finally:
        record.close()


def test_a_result_is_ours_theirs_or_changed(root):
    record = Record(root, ASKED)
    assert record.known(root / "deep/a.jpg").standing is Standing.UNKNOWN
    make(record, root / "deep/a.jpg", b"result")
    assert record.known(root / "deep/a.jpg").standing is Standing.OURS
    record.close()
    assert standing(root) is Standing.OURS
    assert standing(root, asked=OTHER) is Standing.ASKED_DIFFERENTLY
    assert standing(root, asked=dict(reversed(ASKED.items()))) is Standing.OURS  # whatever the order
    assert standing(root, "deep/b.jpg") is Standing.UNKNOWN
    (root / "deep/a.jpg").write_bytes(b"by hand")
    assert standing(root) is Standing.CHANGED
    (root / "deep/a.jpg").write_bytes(b"edited")  # as long as the result
    assert standing(root) is Standing.CHANGED
    (root / "deep/a.jpg").unlink()
    assert standing(root) is Standing.UNKNOWN


def test_a_copy_on_another_disk_is_still_ours(root, tmp_path_factory):
    record = Record(root, ASKED)
    make(record, root / "deep/a.jpg", b"result")
    record.close()
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(root, copy, dirs_exist_ok=True)
    os.utime(copy / "deep/a.jpg", (1, 1))
    assert standing(copy) is Standing.OURS


def test_a_crash_anywhere_makes_nobody_elses_file_of_a_result(root):
    """Entered and not written: what is there is what an earlier run made."""
    record = Record(root, ASKED)
    make(record, root / "deep/a.jpg", b"result")
    record.add(root / "deep/a.jpg", of_data(b"the next", 0))
    record.close()
    assert standing(root) is Standing.OURS
    (root / "deep/a.jpg").write_bytes(b"the next")
    assert standing(root) is Standing.OURS


@pytest.mark.parametrize("rest", [b'{"output": "deep/b.jpg", "ru', b"\xff\xfe\n", b"[]\n", b'{"output": 5}\n', b"\n"])
def test_broken_lines_say_nothing(root, rest):
    record = Record(root, ASKED)
    make(record, root / "deep/a.jpg", b"result")
    record.close()
    with (root / ".dpenet.jsonl").open("ab") as file:
        file.write(rest)
    assert standing(root) is Standing.OURS
    record = Record(root, ASKED)
    make(record, root / "deep/b.jpg", b"another")
    record.close()
    assert standing(root, "deep/b.jpg") is Standing.OURS


def test_each_part_has_a_file_of_its_own_and_reads_those_that_it_needs(root):
    for number, name in ((1, "deep/a.jpg"), (2, "deep/b.jpg")):
        record = Record(root, ASKED, Shard(number, 2))
        make(record, root / name, name.encode())
        record.close()
    assert sorted(path.name for path in root.glob(".dpenet*")) == [".dpenet-1-of-2.jsonl", ".dpenet-2-of-2.jsonl"]
    assert standing(root) is standing(root, "deep/b.jpg") is Standing.OURS
    assert standing(root, shard=Shard(3, 5)) is Standing.OURS  # cut anew
    assert standing(root, shard=Shard(1, 2)) is Standing.OURS
    assert standing(root, shard=Shard(2, 2)) is Standing.FOREIGN  # another part's, of the same cut


def test_a_record_that_cannot_be_read_leaves_it_to_the_dates(root):
    (root / ".dpenet.jsonl").mkdir()
    assert standing(root) is Standing.UNKNOWN


def test_what_results_depend_on():
    base = asked_of_pictures("general", EngineOptions(), PictureOptions())
    same = EngineOptions(device="cpu", precision=Precision.FP32, tile=64, threads=1, backend=Runtime.TORCH)
    assert asked_of_pictures("general", same, PictureOptions(overwrite=True, workers=3)) == base
    for engine, options in (
        (EngineOptions(strength=0.5), PictureOptions()),
        (EngineOptions(scale=0.5), PictureOptions()),
        (EngineOptions(), PictureOptions(SaveOptions(quality=80))),
        (EngineOptions(), PictureOptions(SaveOptions(strip_metadata=True))),
        (EngineOptions(), PictureOptions(SaveOptions(tag="dpenet"))),
        (EngineOptions(), PictureOptions(skip_dry=True)),
    ):
        assert asked_of_pictures("general", engine, options) != base
    assert asked_of_pictures("light", EngineOptions(), PictureOptions()) != base
    film = asked_of_videos("general", EngineOptions(), VideoOptions())
    json.dumps(film)
    assert asked_of_videos("general", same, VideoOptions(allow_damaged=True)) == film
    temporal = VideoOptions(method=VideoMethod.TEMPORAL)
    assert "weights" not in asked_of_videos("no-such-weights", EngineOptions(), temporal)
    assert asked_of_videos("general", EngineOptions(), VideoOptions(start=1, end=2)) != film


@pytest.fixture
def job(root):
    source = root / "source.jpg"
    source.write_bytes(b"rain")
    os.utime(source, (1000, 1000))
    return Job(source, root / "deep/a.jpg", root / "a-compare.jpg", root, "source.jpg")


def todo(job, asked=ASKED, **choices):
    decisions = Decisions(asked, **choices)
    try:
        return decisions.todo(job)
    finally:
        decisions.close()


def test_what_is_still_to_be_done(job, root):
    both = (job.target, job.compare)
    assert todo(job) == Todo(both)
    decisions = Decisions(ASKED)
    decisions.made(job, of_data(b"result", 0))
    job.target.write_bytes(b"result")
    decisions.close()
    assert todo(job) == Todo((job.compare,))
    job.compare.touch()
    assert todo(job) == todo(job, None) == todo(job, redo_changed=True) == Todo(())
    assert todo(job, overwrite=True) == Todo(both)
    # Asked differently: kept unless that is asked for, and told.
    assert todo(job, OTHER) == Todo((), (MADE_OTHERWISE,))
    assert todo(job, OTHER, redo_changed=True) == Todo(both)
    # Without a record, dates decide.
    assert todo(job, None) == Todo(())
    # The source is newer: redone, however it was made.
    later = job.target.stat().st_mtime + 100
    os.utime(job.source, (later, later))
    assert todo(job, OTHER) == todo(job) == Todo(both)
    # A person changed the result: it is nobody's to replace.
    job.target.write_bytes(b"by hand")
    assert todo(job) == todo(job, redo_changed=True) == Todo((), (CHANGED_SINCE,))
    assert todo(job, overwrite=True) == Todo(both)
    os.utime(job.source, (1000, 1000))
    assert todo(job, OTHER) == Todo(())
    # What earlier versions put beside the result counts.
    job.compare.rename(job.target.with_name(job.compare.name))
    assert todo(job, OTHER) == Todo(())


def test_a_file_that_nobody_made_is_not_replaced(job, root):
    """It lies among the results, and is older than the source of the one that would go there."""
    job.target.write_bytes(b"somebody's own")
    os.utime(job.target, (500, 500))
    both = (job.target, job.compare)
    assert todo(job) == Todo(both)  # no record: dates decide
    decisions = Decisions(ASKED)
    decisions.made(job._replace(target=root / "deep/b.jpg"), of_data(b"result", 0))
    decisions.close()
    assert todo(job) == todo(job, redo_changed=True) == Todo((), (NOT_OURS,))
    assert todo(job, overwrite=True) == Todo(both)
    os.utime(job.target, (2000, 2000))
    assert todo(job) == Todo((job.compare,))
    job.target.unlink()
    assert todo(job) == Todo(both)


def test_a_file_is_told_by_what_is_in_it(tmp_path):
    (tmp_path / "a").write_bytes(b"result")
    told = of_file(tmp_path / "a")
    assert told._replace(changed=0) == of_data(b"result", 0)


def test_lines_of_several_writers_do_not_mix(tmp_path):
    path = tmp_path / "deep/lines"
    first, second = LineFile(path), LineFile(path)
    for number in range(50):
        (first if number % 2 else second).add({"number": number, "text": "ä\udcff" * number})
    first.close()
    second.close()
    assert [row["number"] for _, _, row in read_lines(path)] == list(range(50))
    with path.open("rb") as file:
        for place, line, _ in read_lines(path):
            file.seek(place)
            assert file.readline() == line
