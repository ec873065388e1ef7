"""Reports: a row for each input, merged to one, gone back to where something failed."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpenet_cli.batch.outcomes import Outcome, Status
from dpenet_cli.batch.reports import FailedInputs, ReportFile, merge
from dpenet_cli.errors import ImageReadError, InputError

ASKED = {"weights": "abc", "strength": 1.0}


def row(source, status, output=None, time="", **more):
    return {"source": source, "output": output, "root": None, "status": status, "time": time} | more


def write(path, *rows):
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_row_says_everything(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = ReportFile(Path("r.jsonl"), ASKED, "general")
    used = {"device": "cpu", "backend": "torch", "precision": "fp32"}
    done = Outcome("a.jpg", "out/a.jpg", Status.DONE, size=(4, 3), seconds=1.23456, scale=0.5, root="out", used=used)
    report.add(done)
    report.add(Outcome("b.jpg", None, Status.FAILED, ImageReadError("b.jpg", "it is cut off", "Copy it again.")))
    report.close()
    done, failed = rows(Path("r.jsonl"))
    assert done.pop("time")
    assert done == {
        "schema": 1,
        "source": str(tmp_path / "a.jpg"),
        "output": str(tmp_path / "out/a.jpg"),
        "root": str(tmp_path / "out"),
        "status": "done",
        "reason": None,
        "next_step": None,
        "width": 4,
        "height": 3,
        "seconds": 1.235,
        "scale": 0.5,
        "frames": None,
        "encoder": None,
        "notices": [],
        "weights": "abc",
        "weights_name": "general",
        "device": "cpu",
        "backend": "torch",
        "precision": "fp32",
        "options": {"strength": 1.0},
    }
    assert (failed["output"], failed["reason"], failed["next_step"]) == (None, "it is cut off", "Copy it again.")


def test_a_report_is_appended_to_and_nothing_else_is(tmp_path):
    path = tmp_path / "r.jsonl"
    for _ in range(2):
        report = ReportFile(path, ASKED)
        report.add(Outcome("a.jpg", None, Status.SKIPPED))
        report.close()
    assert len(rows(path)) == 2
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff photo")
    with pytest.raises(InputError, match="is no report"):
        ReportFile(tmp_path / "photo.jpg", ASKED)
    assert (tmp_path / "photo.jpg").read_bytes() == b"\xff\xd8\xff photo"
    with pytest.raises(InputError, match="cannot be written"):
        ReportFile(tmp_path, ASKED)


def test_the_later_row_counts_wherever_it_stands(tmp_path):
    one = write(
        tmp_path / "1",
        row("a", "failed", "x/a", time="2026-11-01"),
        row("b", "done", "x/b", time="2026-11-01", seconds=2),
        row("c", "done", "x/c", time="2026-11-03"),
        row("d", "failed", time="2026-11-01"),
        row("e", "failed", "x/e", time="2026-11-01"),
    )
    two = write(
        tmp_path / "2",
        row("a", "done", "x/a", time="2026-11-02"),
        row("b", "skipped", "x/b", time="2026-11-02"),
        row("c", "failed", "x/c", time="2026-11-02"),
        row("d", "done", "x/d", time="2026-11-02"),
        row("e", "skipped", "x/e", time="2026-11-02"),
    )
    for order in ([one, two], [two, one]):
        merged = merge(order, tmp_path / "all")
        assert merged.counts == {"done": 4, "skipped": 1}
        assert merged.broken == 0
        found = {each["source"]: each["status"] for each in rows(tmp_path / "all")}
        assert found == {"a": "done", "b": "done", "c": "done", "d": "done", "e": "skipped"}
    assert merge([tmp_path / "all"], tmp_path / "again").counts == {"done": 4, "skipped": 1}
    assert (tmp_path / "again").read_bytes() == (tmp_path / "all").read_bytes()


def test_one_source_may_have_two_results(tmp_path):
    report = write(tmp_path / "1", row("a", "done", "x/1"), row("a", "failed", "x/2"))
    assert merge([report], tmp_path / "all").counts == {"done": 1, "failed": 1}
    assert [(each.source, each.output) for each in FailedInputs(report)] == [("a", "x/2")]


def test_what_is_no_row_is_counted_and_a_cut_one_is_ended(tmp_path):
    path = tmp_path / "1"
    path.write_bytes(
        b'[]\n\n{"source": 5, "status": "done"}\n{"source": "a", "status": "eaten"}\n'
        b'{"source": "a", "status": "done", "output": 5}\n' + json.dumps(row("b", "done")).encode()
    )
    merged = merge([path], tmp_path / "all")
    assert merged == ({"done": 1}, 4)
    assert (tmp_path / "all").read_bytes().endswith(b"}\n")
    path.write_bytes(b"photo")
    with pytest.raises(InputError, match="no rows"):
        FailedInputs(path)
    with pytest.raises(InputError, match="cannot be read"):
        merge([tmp_path / "missing"], tmp_path / "all")


@given(
    events=st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["done", "failed", "skipped", "dry"])),
        min_size=1,
        max_size=12,
    ),
    cuts=st.sets(st.integers(1, 11)),
)
def test_merging_files_is_reading_one(events, cuts, tmp_path_factory):
    """However the rows are spread over files, the same one counts for each input."""
    folder = tmp_path_factory.mktemp("reports")
    every = [row(name, status, f"x/{name}", time=f"{time:03}") for time, (name, status) in enumerate(events)]
    files = []
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(every)], strict=True):
        files.append(write(folder / f"{begin}", *every[begin:end]))
    merged = merge(files, folder / "all")
    expected = {}
    for each in every:
        known = expected.get(each["source"])
        if known is None or each["status"] != "skipped" or known["status"] == "failed":
            expected[each["source"]] = each
    assert {each["source"]: each for each in rows(folder / "all")} == expected
    assert sum(merged.counts.values()) == len(expected)
