"""What is found and is no input: systems' folders, what is excluded, and products of earlier runs."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import dpenet, touch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dpenet_cli.batch.planning import plan_pictures, plan_videos
from dpenet_cli.errors import InputError, OptionError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(*inputs, plan=plan_pictures, **options):
    return {job.source.as_posix() for job in plan([*inputs], "out/", **options).jobs}


def told(*inputs, plan=plan_pictures, **options):
    return plan([*inputs], "out/", **options).notices


NAS = (
    "nas/2024/IMG_1.jpg",
    "nas/2024/@eaDir/IMG_1.jpg/SYNOPHOTO_THUMB_XL.jpg",
    "nas/recycle/mine.jpg",
    "nas/#recycle/old.jpg",
    "nas/$Recycle.Bin/S-1-5/R1.JPG",
    "nas/SYSTEM VOLUME INFORMATION/x.png",
    "nas/lost+found/note.txt",
    "nas/@Recently-Snapshot/note.txt",
)


def test_folders_of_systems_are_left_out_and_told_once():
    touch(*NAS)
    assert found("nas") == {"nas/2024/IMG_1.jpg", "nas/recycle/mine.jpg"}
    (notice,) = told("nas")
    assert notice.startswith("4 file(s) left out, in folders of the system (#recycle, $Recycle.Bin, @eaDir, SYSTEM")
    assert "lost+found" not in notice  # nothing of ours is in it
    assert found("nas/#recycle") == {"nas/#recycle/old.jpg"}
    assert found("nas/#recycle/*.jpg") == {"nas/#recycle/old.jpg"}
    assert found("nas/*") == {"nas/2024/IMG_1.jpg", "nas/recycle/mine.jpg"}
    assert found("nas/**/*.jpg") == {"nas/2024/IMG_1.jpg", "nas/recycle/mine.jpg"}


def test_excluded_names_and_paths():
    touch("in/a.jpg", "in/a-old.jpg", "in/2024/b.jpg", "in/2024/deep/c.jpg", "in/deep/2024/d.jpg", "in/2024.jpg")
    everything = found("in")
    assert len(everything) == 6
    for patterns, left, count in (
        (["2024"], {"in/a.jpg", "in/a-old.jpg", "in/2024.jpg"}, 3),
        (["in/2024"], {"in/a.jpg", "in/a-old.jpg", "in/2024.jpg", "in/deep/2024/d.jpg"}, 2),
        (["2024/deep"], everything - {"in/2024/deep/c.jpg"}, 1),
        (["./2024/*.jpg"], everything - {"in/2024/b.jpg", "in/2024/deep/c.jpg"}, 2),
        (["*-old*", "b.jpg"], everything - {"in/a-old.jpg", "in/2024/b.jpg"}, 2),
        (["a.jpg/"], everything, None),  # a folder of this name
        (["deep/"], everything - {"in/2024/deep/c.jpg", "in/deep/2024/d.jpg"}, 2),
    ):
        assert found("in", exclude=patterns) == left, patterns
        notices = told("in", exclude=patterns)
        assert (f"--exclude left out {count} file(s)" in notices) is (count is not None)
    assert found("in/*.jpg", exclude=["*-old*"]) == {"in/a.jpg", "in/2024.jpg"}
    assert told("in", exclude=["2023", "2024"])[-1] == "--exclude 2023: nothing that was found has this name"
    assert found("in/a.jpg", exclude=["a.jpg"]) == {"in/a.jpg"}  # named itself
    with pytest.raises(InputError, match="no pictures in this folder; --exclude left out 6"):
        found("in", exclude=["*"])
    with pytest.raises(InputError, match="all that matches this pattern was left out"):
        found("in/*.jpg", exclude=["*"])
    for empty in ("", "/"):
        with pytest.raises(OptionError):
            found("in", exclude=[empty])


def test_products_of_earlier_runs_are_no_inputs():
    touch("p/a.jpg", "p/a-derained.jpg", "p/a-derained.png", "p/a-derained-compare.jpg", "p/b.png", "p/b-preview.png")
    touch("p/b-preview-1m23.5s.png", "p/b.png-compare.jpg", "p/in/c.jpg", "p/in-derained/c.jpg", "p/in-compare/c.jpg")
    ours = found("p")
    assert ours == {"p/a.jpg", "p/b.png", "p/in/c.jpg"}
    assert told("p")[0].startswith("8 file(s) left out: results, before/after pictures or previews of earlier runs")
    assert found("p/*") == ours
    assert found("p/*.jpg") == {"p/a.jpg"}
    # A name alone makes nothing ours.
    touch(
        "q/x-derained.jpg",
        "q/y-compare.jpg",
        "q/y-compare.png",
        "q/y.png",
        "q/z-previews.jpg",
        "q/z.jpg",
        "q/-derained.jpg",
    )
    assert found("q") == {
        f"q/{name}" for name in ("-derained.jpg", "x-derained.jpg", "y-compare.png", "y.png", "z-previews.jpg", "z.jpg")
    }


def test_what_is_named_itself_is_cleaned_and_told():
    touch("a.jpg", "a-derained.jpg", "b-derained.jpg", "in/c.jpg", "in-derained/c.jpg")
    assert found("a-derained.jpg", "b-derained.jpg") == {"a-derained.jpg", "b-derained.jpg"}
    assert told("a-derained.jpg", "b-derained.jpg") == [
        "a-derained.jpg: by its name it was made by dpenet, of a; it is cleaned once more"
    ]
    assert found("in-derained") == {"in-derained/c.jpg"}


def test_products_of_videos():
    touch("v/a.mp4", "v/a-derained.mp4", "v/a-preview.mp4", "v/b.avi", "v/b-derained.mkv", "v/c-derained.mp4")
    assert found("v", plan=plan_videos) == {"v/a.mp4", "v/b.avi", "v/c-derained.mp4"}


def test_the_record_names_results_wherever_they_lie():
    touch("all/a.jpg", "all/clean/a.jpg", "all/clean/deep/b.jpg", "all/clean/mine.jpg")
    rows = [{"output": name, "run": "1", "bytes": 0, "changed": 0, "sha256": ""} for name in ("a.jpg", "deep/b.jpg")]
    Path("all/clean/.dpenet.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert found("all") == {"all/a.jpg", "all/clean/mine.jpg"}
    assert found("all/clean/deep/*.jpg", "all/a.jpg") == {"all/a.jpg"}
    assert found("all/clean") == {"all/clean/mine.jpg"}
    Path("all/clean/mine.jpg").unlink()
    assert found("all/clean") == {"all/clean/a.jpg", "all/clean/deep/b.jpg"}  # nothing else can be meant
    assert "nothing but results of earlier runs" in told("all/clean")[0]


PARTS = st.sampled_from(["a", "2024", "@eaDir", "#recycle", "old", "lost+found"])


@given(trees=st.sets(st.lists(PARTS, max_size=3).map("/".join), max_size=6), pattern=st.sampled_from(["old", "2024/a"]))
def test_every_file_is_an_input_or_counted(trees, pattern, tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    for tree in trees:
        (root / "in" / tree).mkdir(parents=True, exist_ok=True)
        (root / "in" / tree / "x.jpg").touch()
    if not trees:
        return
    try:
        plan = plan_pictures([str(root / "in")], root / "out", exclude=[pattern])
        kept, text = len(plan.jobs), " ".join(plan.notices)
    except InputError as error:
        kept, text = 0, error.why
    words = text.split()
    counted = [int(word) for word, after in pairwise(words) if after.startswith("file(s)")]
    assert kept + sum(counted) == len(trees)


def test_options_of_the_command(tiny_weights):
    for name in (*NAS, "nas/a.jpg"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        if name.lower().endswith("jpg"):
            Image.new("RGB", (24, 16)).save(name, "JPEG")
    run = ("derain", "nas", "--dry-run", "--weights", tiny_weights)
    plain = dpenet(*run)
    assert plain.returncode == 0
    assert plain.stderr.count("left out") == 1
    excluded = dpenet(*run, "--exclude", "2024", "--exclude", "a.jpg")
    assert "nas/recycle/mine.jpg" in excluded.stdout + excluded.stderr
    assert "--exclude left out 3 file(s)" in excluded.stderr
    listed = dpenet("derain", "--files-from", "list", "--exclude", "x", "-o", "out")
    assert (listed.returncode, "Leave the files out of the list" in listed.stderr) == (2, True)
    assert dpenet("video", "nas", "--exclude", "").returncode == 2
