"""Lists of inputs: every form of them, what is wrong in a row, and jobs that are never held."""

import json
import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpenet_cli.batch.key_table import KeyTable
from dpenet_cli.batch.listed import ListedJobs, Where
from dpenet_cli.batch.manifests import Manifest, Row
from dpenet_cli.batch.naming import VIDEOS, pictures
from dpenet_cli.batch.plans import BadInput
from dpenet_cli.batch.shards import Shard
from dpenet_cli.errors import InputError
from dpenet_cli.system.outputs import Job

PICTURES = pictures(None)
FOLDER = Where(Path("out"), Path())


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows_of(data: bytes) -> list[Row]:
    Path("list").write_bytes(data)
    with Manifest("list") as rows:
        assert [row.source for row in rows] == [row.source for row in rows]  # again and again
        return list(rows)


def listed(*rows, medium=PICTURES, where=FOLDER, shard=None):
    Path("list.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    with Manifest("list.jsonl") as manifest:
        jobs = ListedJobs(manifest, medium, where, shard)
        found = list(jobs)
        assert len(found) == len(jobs)
        return found


@given(names=st.lists(st.text(st.characters(exclude_characters="\0\n\r", codec="utf-8"), min_size=1)))
def test_names_survive_every_form(names, tmp_path_factory):
    os.chdir(tmp_path_factory.mktemp("list"))
    encoded = [name.encode() for name in names]
    json_rows = b"".join(json.dumps({"source": name}).encode() + b"\n" for name in names)
    assert [row.source for row in rows_of(json_rows)] == names
    if encoded:
        assert [row.source for row in rows_of(b"\0".join(encoded) + b"\0")] == names
        if not names[0].startswith(("{", "\ufeff")):
            assert [row.source for row in rows_of(b"\n".join(encoded))] == names
            assert [row.source for row in rows_of(b"\r\n".join(encoded) + b"\r\n")] == names


def test_forms_of_lists(here):
    assert rows_of(b"") == rows_of(b"\n\n") == []
    assert [row.source for row in rows_of("\ufeffä.jpg\n".encode())] == ["ä.jpg"]
    assert [row.source for row in rows_of(b"\xff.jpg\n")] == [os.fsdecode(b"\xff.jpg")]
    assert [row.source for row in rows_of(b"{curly}.jpg\nb.jpg")] == ["{curly}.jpg", "b.jpg"]
    assert rows_of(b'{"source": "a.jpg", "output": "b.png", "more": 1}') == [Row(1, "a.jpg", "b.png")]
    with pytest.raises(InputError, match="UTF-16"):
        rows_of("a.jpg\n".encode("utf-16"))
    with pytest.raises(InputError, match="longer than any path"):
        rows_of(b"x" * 5_000_000)
    with pytest.raises(InputError, match="cannot be read"):
        Manifest("missing")


def test_rows_that_are_none_name_their_number(here):
    rows = rows_of(b'{"source": "a.jpg"}\n{"source": 5}\n[]\n{"output": "x"}\n{broken\n{"source": "b.jpg"}\n')
    assert [(row.number, row.error is None) for row in rows] == [
        (1, True),
        (2, False),
        (3, False),
        (4, False),
        (5, False),
        (6, True),
    ]
    assert "row 3" in rows[2].error.what


def test_a_pipe_is_read_more_than_once(here):
    reader, writer = os.pipe()
    os.write(writer, b"a.jpg\nb.jpg\n")
    os.close(writer)
    with Manifest(f"/dev/fd/{reader}") as rows:
        assert [row.source for row in rows] == [row.source for row in rows] == ["a.jpg", "b.jpg"]
    os.close(reader)


def test_where_results_go(here):
    found = listed(
        {"source": "deep/a.jpg"},
        {"source": "c.mpo"},
        {"source": "/elsewhere/b.jpg", "output": "x/y.png"},
        {"source": str(here / "d.jpg")},
    )
    assert [(job.target.as_posix(), job.relative, job.root) for job in found] == [
        ("out/deep/a.jpg", "deep/a.jpg", Path("out")),
        ("out/c.jpg", "c.jpg", Path("out")),
        ("out/x/y.png", "x/y.png", Path("out")),
        ("out/d.jpg", "d.jpg", Path("out")),
    ]
    (job,) = listed({"source": "deep/a.jpg"}, where=Where(None, Path()))
    assert (job.target.as_posix(), job.root) == ("deep/a-derained.jpg", None)
    (job,) = listed({"source": "p/q/a.jpg"}, where=Where(Path("out"), Path("p"), compare=True))
    assert (job.target.as_posix(), job.compare.as_posix()) == ("out/q/a.jpg", "out-compare/q/a.jpg-compare.jpg")
    (job,) = listed({"source": "a.avi"}, medium=VIDEOS)
    assert job.target == Path("out/a.mkv")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"source": "../a.jpg"}, "does not lie below"),
        ({"source": "/elsewhere/a.jpg"}, "does not lie below"),
        ({"source": "a.jpg", "output": "../b.jpg"}, "no name of a file below"),
        ({"source": "a.jpg", "output": "x/../../b.jpg"}, "no name of a file below"),
        ({"source": "a.jpg", "output": "/tmp/b.jpg"}, "no name of a file below"),
        ({"source": "a.jpg", "output": "deep/"}, "no name of a file below"),
        ({"source": "a.jpg", "output": "."}, "no name of a file below"),
        ({"source": "a.cr2"}, "raw"),
        ({"source": "x" * 300 + ".jpg"}, "too long"),
    ],
)
def test_a_row_that_cannot_be_done_is_its_own_failure(here, row, reason):
    good = {"source": "good.jpg"}
    found = listed(row, good)
    assert isinstance(found[0], BadInput)
    assert reason in str(found[0].error)
    assert isinstance(found[1], Job)


def test_two_inputs_for_one_output_are_found_before_the_work(here):
    with pytest.raises(InputError, match=r"both a\.jpg and b\.jpg would be written"):
        listed({"source": "a.jpg", "output": "x.jpg"}, {"source": "b.jpg", "output": "./x.jpg"})
    with pytest.raises(InputError, match="it is an input"):
        listed({"source": "out/b.jpg", "output": "c.jpg"}, {"source": "a.jpg", "output": "b.jpg"})
    with pytest.raises(InputError, match="it is an input"):
        listed({"source": "a.jpg"}, where=Where(Path(), Path()))
    # In any part, whoever else does the two.
    for number in (1, 2, 3):
        with pytest.raises(InputError, match="would be written"):
            listed(
                {"source": "a.jpg", "output": "x.jpg"},
                {"source": "b.jpg", "output": "x.jpg"},
                shard=Shard(number, 3),
            )


def test_the_same_row_again_is_one_job(here):
    (here / "linked").symlink_to(here)
    found = listed({"source": "a.jpg"}, {"source": "b.jpg"}, {"source": "./a.jpg"}, {"source": "a.jpg"})
    assert [job.source.name for job in found] == ["a.jpg", "b.jpg"]
    found = listed({"source": "a.jpg", "output": "1.jpg"}, {"source": "linked/a.jpg", "output": "1.jpg"})
    assert len(found) == 1
    assert len(listed({"source": "a.jpg", "output": "1.jpg"}, {"source": "a.jpg", "output": "2.jpg"})) == 2


@given(count=st.integers(1, 6))
def test_parts_of_a_list_together_are_the_list(count, tmp_path_factory):
    os.chdir(tmp_path_factory.mktemp("list"))
    rows = [{"source": f"{n}.jpg"} for n in range(20)] + [{"source": "../out.jpg"}]
    whole = listed(*rows)
    parts = [planned for number in range(1, count + 1) for planned in listed(*rows, shard=Shard(number, count))]
    key = lambda planned: str(planned.source)  # noqa: E731
    assert [key(planned) for planned in sorted(parts, key=key)] == sorted(map(key, whole))


@given(texts=st.lists(st.text(max_size=2), max_size=60))
def test_equal_keys_are_found(texts):
    with KeyTable() as table:
        for tag, text in enumerate(texts):
            table.add(text, tag)
        found = sorted(table.groups())
    expected = {}
    for tag, text in enumerate(texts):
        expected.setdefault(text, []).append(tag)
    assert found == sorted(tags for tags in expected.values() if len(tags) > 1)


def test_memory_is_flat_in_the_length_of_a_list(here):
    """A list ten times as long takes no more memory, to plan and to go through."""

    def peak(count):
        with Path("long").open("w") as file:
            file.writelines(f"{number % 100}/{number}.jpg\n" for number in range(count))
        tracemalloc.start()
        with Manifest("long") as rows:
            assert sum(1 for _ in ListedJobs(rows, PICTURES, FOLDER)) == count
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(100)  # what is imported and cached
    assert peak(20_000) < peak(2_000) + 16_000_000  # 20,000 jobs would take 40 MB
