"""Inputs to jobs: what is found, what it is named, and what is refused before any work."""

import os
from pathlib import Path

import pytest
from conftest import touch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpenet_cli.batch.planning import plan_pictures, plan_videos
from dpenet_cli.errors import ImageRefused, InputError
from dpenet_cli.options import ImageFormat


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pairs(batch):
    return [(job.source.as_posix(), job.target.as_posix()) for job in batch.jobs]


def test_names_beside_the_input(here):
    touch("a.jpg", "photos/b.PNG", "photos/deep/c.webp", "photos/note.txt", "noext")
    assert pairs(plan_pictures(["a.jpg"])) == [("a.jpg", "a-derained.jpg")]
    assert pairs(plan_pictures(["noext"])) == [("noext", "noext-derained")]
    assert pairs(plan_pictures(["photos/"])) == [
        ("photos/b.PNG", "photos-derained/b.PNG"),
        ("photos/deep/c.webp", "photos-derained/deep/c.webp"),
    ]


def test_names_in_an_output_folder(here):
    touch("a.jpg", "photos/b.png", "photos/deep/c.webp")
    assert pairs(plan_pictures(["photos", "a.jpg"], Path("clean"))) == [
        ("photos/b.png", "clean/b.png"),
        ("photos/deep/c.webp", "clean/deep/c.webp"),
        ("a.jpg", "clean/a.jpg"),
    ]


def test_a_single_picture_may_name_its_output(here):
    touch("a.jpg", "b.jpg")
    assert pairs(plan_pictures(["a.jpg"], Path("out/x.png"))) == [("a.jpg", "out/x.png")]
    Path("folder.png").mkdir()
    assert pairs(plan_pictures(["a.jpg"], Path("folder.png"))) == [("a.jpg", "folder.png/a.jpg")]
    with pytest.raises(InputError, match="several pictures"):
        plan_pictures(["a.jpg", "b.jpg"], Path("x.png"))
    with pytest.raises(InputError, match="its name says png"):
        plan_pictures(["a.jpg"], Path("x.png"), ImageFormat.JPEG)


def test_the_folder_one_stands_in(here):
    touch("photos/a.jpg")
    os.chdir("photos")
    assert pairs(plan_pictures(["."])) == [("a.jpg", (here / "photos-derained/a.jpg").as_posix())]


def test_formats_change_suffixes_only_where_needed(here):
    touch("a.JPEG", "b.png", "c.tiff", "d.mpo")
    batch = plan_pictures(["a.JPEG", "b.png", "c.tiff"], Path("o"), ImageFormat.JPEG)
    assert [job.target.name for job in batch.jobs] == ["a.JPEG", "b.jpg", "c.jpg"]
    assert plan_pictures(["b.png"], Path("o"), ImageFormat.TIFF).jobs[0].target.name == "b.tif"
    assert plan_pictures(["d.mpo"], Path("o")).jobs[0].target.name == "d.jpg"


def test_what_exists_is_never_a_pattern(here):
    touch("a[1].jpg", "a1.jpg", "b1.jpg", "b2.jpg")
    assert pairs(plan_pictures(["a[1].jpg"])) == [("a[1].jpg", "a[1]-derained.jpg")]
    assert [source for source, _ in pairs(plan_pictures(["b?.jpg"]))] == ["b1.jpg", "b2.jpg"]


def test_products_of_named_inputs_are_left_out(here):
    touch("a.jpg", "b.jpg", "a-derained.jpg", "a-derained-compare.jpg", "c-derained.jpg")
    batch = plan_pictures(sorted(map(str, Path().glob("*.jpg"))), compare=True)
    assert [source for source, _ in pairs(batch)] == ["a.jpg", "b.jpg", "c-derained.jpg"]
    assert "2 input(s) left out" in batch.notices[-1]


def test_the_output_folder_is_not_an_input(here):
    touch("photos/a.jpg", "photos/clean/a.jpg", "photos/clean/deep/b.jpg")
    assert pairs(plan_pictures(["photos"], Path("photos/clean"))) == [("photos/a.jpg", "photos/clean/a.jpg")]


def test_hidden_files_are_left_out_and_raw_files_told(here):
    touch("photos/a.jpg", "photos/._a.jpg", "photos/.thumbnails/a.jpg", "photos/a.CR2", "photos/b.nef")
    batch = plan_pictures(["photos"])
    assert [source for source, _ in pairs(batch)] == ["photos/a.jpg"]
    assert batch.notices == ["photos: 2 camera raw file(s) left out; export them as 16-bit TIFFs to clean them"]


def test_bad_inputs_do_not_stop_the_others(here):
    touch("a.jpg", "x.cr2")
    Path("empty").mkdir()
    os.mkfifo("pipe.jpg")
    os.symlink("nowhere.jpg", "link.jpg")
    batch = plan_pictures(["a.jpg", "gone.jpg", "*.gif", "empty", "pipe.jpg", "link.jpg", "x.cr2"])
    assert len(batch.jobs) == 1
    assert [bad.source for bad in batch.bad] == ["gone.jpg", "*.gif", "empty", "pipe.jpg", "link.jpg"]
    for bad, why in zip(batch.bad, ["no such", "no file matches", "no pictures", "a pipe", "nowhere"], strict=True):
        assert why in bad.error.why
    assert batch.notices == ["1 camera raw file(s) left out; export them as 16-bit TIFFs to clean them"]
    (bad,) = plan_pictures(["x.cr2"]).bad  # by itself it was meant
    assert isinstance(bad.error, ImageRefused)


def test_link_loops_end(here):
    touch("photos/a.jpg", "photos/sub/b.jpg")
    os.symlink("..", "photos/sub/up")
    os.symlink(here / "photos/a.jpg", "photos/link.jpg")
    assert [source for source, _ in pairs(plan_pictures(["photos"]))] == [
        "photos/a.jpg",
        "photos/link.jpg",
        "photos/sub/b.jpg",
    ]


def test_an_input_is_never_an_output(here):
    touch("a.jpg", "photos/a.jpg", "photos/b.jpg")
    for inputs, output in [
        (["a.jpg"], "."),
        (["a.jpg"], "a.jpg"),
        (["photos"], "photos"),
        (["a.jpg", "photos"], "photos"),
    ]:
        with pytest.raises(InputError, match="it is an input"):
            plan_pictures(inputs, Path(output))
    os.symlink("photos", "alias")
    with pytest.raises(InputError, match="it is an input"):
        plan_pictures(["photos"], Path("alias"))


def test_two_inputs_for_one_output_are_found_first(here):
    touch("x/a.jpg", "y/a.jpg", "z/a.png")
    for inputs, image_format in [(["x", "y"], None), (["x/a.jpg", "y/a.jpg"], None), (["x", "z"], ImageFormat.PNG)]:
        with pytest.raises(InputError, match="both"):
            plan_pictures(inputs, Path("clean"), image_format)


def test_compare_pictures_of_namesakes_keep_the_suffix(here):
    touch("w/b.jpg", "w/b.png", "w/c.jpg")
    names = [job.compare.as_posix() for job in plan_pictures(["w"], Path("clean"), compare=True).jobs]
    assert names == [f"clean-compare/{name}" for name in ("b.jpg-compare.jpg", "b.png-compare.jpg", "c-compare.jpg")]


def test_compare_pictures_have_a_folder_of_their_own(here):
    touch("w/x/b.jpg", "out/keep")
    compared = lambda inputs, output=None: plan_pictures(inputs, output, compare=True).jobs[0].compare  # noqa: E731
    assert compared(["w"]) == Path("w-derained-compare/x/b-compare.jpg")
    assert compared(["w"], "out/") == compared(["w/x/b.jpg"], "out").parent / "x/b-compare.jpg"
    assert compared(["w/x/b.jpg"]) == Path("w/x/b-derained-compare.jpg")
    assert compared(["w/x/b.jpg"], "y.png") == Path("y-compare.jpg")
    os.chdir("out")
    assert compared(["../w"], ".") == here / "out-compare/x/b-compare.jpg"
    # Not on another disk, and not above a whole one.
    assert compared(["../w"], "/dev/shm/") == Path("/dev/shm/x/b-compare.jpg")
    (here / "out-compare").write_bytes(b"a file")
    with pytest.raises(InputError, match="out-compare"):
        compared(["../w"], ".")


def test_previews_are_planned_as_results_are(here):
    touch("a.avi", "b.mp4", "b-derained.mp4", "c.avi", "c.mkv", "d.mp4", "d-preview.mp4")
    batch = plan_videos(["a.avi", "b.mp4", "b-derained.mp4"], preview=True)
    assert pairs(batch) == [("a.avi", "a-preview.mkv"), ("b.mp4", "b-preview.mp4")]
    assert pairs(plan_videos(["b.mp4"], "look.mp4", preview=True)) == [("b.mp4", "look.mp4")]
    with pytest.raises(InputError, match="both"):
        plan_videos(["c.avi", "c.mkv"], preview=True, overwrite=True)
    with pytest.raises(InputError, match=r"d-preview\.mp4: it exists already"):
        plan_videos(["d.mp4"], preview=True)
    assert len(plan_videos(["d.mp4"], preview=True, overwrite=True).jobs) == 1
    Path("a-preview.mkv").symlink_to("nowhere")
    with pytest.raises(InputError, match="it exists already"):
        plan_videos(["a.avi"], preview=True)
    Path("b-preview.mp4").mkdir()
    with pytest.raises(InputError, match="it is a folder"):
        plan_videos(["b.mp4"], preview=True, overwrite=True)


def test_empty_names_are_refused(here):
    touch("a.jpg")
    for inputs, output in [([""], None), (["a.jpg"], "")]:
        with pytest.raises(InputError, match="names nothing"):
            plan_pictures(inputs, output)


def test_a_trailing_slash_makes_a_folder(here):
    touch("a.jpg")
    assert pairs(plan_pictures(["a.jpg"], "out.png/")) == [("a.jpg", "out.png/a.jpg")]


def test_bad_entries_of_a_folder_are_told(here):
    touch("photos/a.jpg")
    os.symlink("nowhere.jpg", "photos/link.jpg")
    os.mkfifo("photos/pipe.png")
    batch = plan_pictures(["photos"])
    assert len(batch.jobs) == 1
    assert {Path(bad.source).name for bad in batch.bad} == {"link.jpg", "pipe.png"}


def test_folders_that_cannot_be_read_are_told(here, monkeypatch):
    touch("photos/a.jpg", "photos/closed/b.jpg")
    scandir = os.scandir

    def closed(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)  # the tests may run as root, whom no mode bits stop
    batch = plan_pictures(["photos"])
    assert len(batch.jobs) == 1
    assert "Permission denied" in batch.bad[0].error.why


def test_the_same_picture_twice_is_one_job(here):
    touch("photos/a.jpg")
    assert len(plan_pictures(["photos/a.jpg", "./photos/a.jpg"]).jobs) == 1
    assert len(plan_pictures(["photos", "photos/a.jpg"], Path("clean")).jobs) == 1


NAME = st.text(st.sampled_from("ab[]*?!é -"), min_size=1, max_size=4).map(lambda stem: stem.strip() or "x")


@settings(max_examples=60, deadline=None)
@given(names=st.lists(st.tuples(NAME, NAME, st.sampled_from([".jpg", ".png", ".txt"])), min_size=1, max_size=8))
def test_any_tree_is_mirrored_completely_and_only_once(tmp_path_factory, names):
    root = tmp_path_factory.mktemp("tree")
    expected = set()
    for folder, stem, suffix in names:
        path = root / "in" / folder / (stem + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        if suffix != ".txt":
            expected.add(path)
    if not expected:
        with pytest.raises(InputError, match="no pictures"):
            plan_pictures([str(root / "in")], root / "out")
        return
    batch = plan_pictures([str(root / "in")], root / "out")
    assert {job.source for job in batch.jobs} == expected
    assert len(batch.jobs) == len(expected)
    for job in batch.jobs:
        assert job.target.relative_to(root / "out") == job.source.relative_to(root / "in")
    assert not batch.bad


@pytest.mark.parametrize(
    ("name", "output", "compare"),
    [("x" * 247 + ".jpg", None, False), ("x" * 238 + ".jpg", None, True), ("a.jpg", "é" * 128, False)],
)
def test_names_that_become_too_long_are_found_first(here, name, output, compare):
    touch(name, "b.jpg")
    batch = plan_pictures([name, "b.jpg"], output, compare=compare)
    assert len(batch.jobs) == (output is None)
    assert {bad.source for bad in batch.bad} == ({name} if output is None else {name, "b.jpg"})
    assert "too long" in batch.bad[0].error.why
    assert "-o" in batch.bad[0].error.next_step


def test_names_that_just_fit_are_cleaned(here):
    touch("x" * 242 + ".jpg", "ü" * 121 + ".jpg")
    batch = plan_pictures(["x" * 242 + ".jpg", "ü" * 121 + ".jpg"])
    assert (len(batch.jobs), batch.bad) == (2, [])
    for job in batch.jobs:
        job.target.touch()
