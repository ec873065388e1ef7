"""Words that are no command, files that another command takes, and the examples that each help ends with."""

import re
import shlex

import pytest
import typer.main
from conftest import dpenet, picture, store
from typer.testing import CliRunner

from dpenet_cli.batch.outcomes import Status
from dpenet_cli.batch.pictures import run
from dpenet_cli.batch.planning import plan_pictures, plan_videos
from dpenet_cli.cli.app import app
from dpenet_cli.images import exif
from dpenet_cli.images.reading import read
from dpenet_cli.images.software import SOFTWARE
from dpenet_cli.inference.scale_rule import Choice, Cleaned
from dpenet_cli.options import PictureOptions, SaveOptions


def said(*words):
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 2
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.output).split())


@pytest.fixture
def folders(tmp_path, monkeypatch):
    for name in ("films/a.mp4", "photos/a.jpg", "both/a.JPG", "both/b.mp4", "empty/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["photo.jpg"], "dpenet derain photo.jpg"),
        (["*.HEIC", "-o", "out/"], "dpenet derain '*.HEIC' -o out/"),
        (["my [1].dng"], "dpenet derain 'my [1].dng'"),
        (["dashcam.MP4"], "dpenet video dashcam.MP4"),
        (["s3://bucket/photos/"], "dpenet derain s3://bucket/photos/"),
        (["-"], "dpenet derain -"),
        (["films"], "dpenet video films"),
        (["photos"], "dpenet derain photos"),
        (["both"], "dpenet derain both"),
        (["empty"], "dpenet derain empty"),
        (["help"], "dpenet --help"),
    ],
    ids=str,
)
def test_a_file_or_a_folder_instead_of_a_command(folders, words, meant):
    assert f"No such command {words[0]!r}. Did you mean `{meant}`?" in said(*words)


def test_other_words_are_told_as_before(folders):
    assert "Did you mean 'derain'?" in said("derian", "photo.jpg")
    assert said("nonsense").endswith("No such command 'nonsense'.")


def leaves(group, words=("dpenet",)):
    for name, command in group.commands.items():
        yield (*words, name), command
        if hasattr(command, "commands"):
            yield from leaves(command, (*words, name))


GROUP = typer.main.get_command(app)


@pytest.mark.parametrize(("words", "command"), list(leaves(GROUP)), ids=str)
def test_each_help_ends_with_an_example_that_is_understood(words, command):
    examples = re.findall(r"Example: (dpenet .*)", command.epilog)
    assert examples
    for example in examples:
        assert len(example) <= 70  # of 80 columns
        assert shlex.split(example)[: len(words)] == list(words)
        group, rest = GROUP, shlex.split(example)[1:]
        while hasattr(group, "commands"):
            name = rest.pop(0)
            group = group.commands[name]
        group.make_context(name, rest)


def test_files_of_the_other_command_are_named_with_it(folders):
    for command, inputs, told in (
        ("video", ["photos/a.jpg"], "this command cleans videos, not pictures. Run: dpenet derain photos/a.jpg"),
        ("derain", ["films/a.mp4"], "this command cleans pictures, not videos. Run: dpenet video films/a.mp4"),
        ("derain", ["films"], "there are no pictures in this folder, but 1 video. Run: dpenet video films"),
        ("video", ["photos"], "there are no videos in this folder, but 1 picture. Run: dpenet derain photos"),
        ("video", ["photos/a.jpg", "both/a.JPG"], "photos/a.jpg, both/a.JPG: this command cleans videos, not pictures"),
    ):
        result = dpenet(command, *inputs)
        assert result.returncode == 2
        assert told in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_what_is_passed_over_in_a_folder_is_one_line(folders):
    plan = plan_pictures(["both"])
    assert [job.source.name for job in plan.jobs] == ["a.JPG"]
    assert plan.notices == ["both: 1 video passed over, for which there is another command: dpenet video both"]


def test_what_a_shell_makes_of_a_pattern_is_no_failure(folders, tiny_weights):
    for name in ("b.CR3", "b.AAE", "c.MP4", "d.mp4", "e.MP4", "f.MP4"):
        (folders / "both" / name).touch()
    store(folders / "both/a.JPG", picture(20, 30))
    named = [f"both/{path.name}" for path in sorted((folders / "both").iterdir())]
    result = dpenet("derain", *named, "films", "-o", "out", "--weights", tiny_weights)
    assert result.returncode == 0, result.stderr
    for told in (
        "5 videos passed over, for which there is another command: dpenet video both/*.mp4 both/*.MP4",
        "1 camera raw file(s) left out; export them as 16-bit TIFFs to clean them",
        "1 file(s) passed over that are no pictures: both/b.AAE",
        "films: there are no pictures in this folder, but 1 video. Run: dpenet video films",
    ):
        assert [line for line in result.stderr.splitlines() if told in line], told
    plan = plan_videos([*named, "films"])
    assert [job.source.name for job in plan.jobs] == ["b.mp4", "c.MP4", "d.mp4", "e.MP4", "f.MP4", "a.mp4"]
    assert plan.notices == [
        "1 picture passed over, for which there is another command: dpenet derain both/a.JPG",
        "2 file(s) passed over that are no videos: both/b.AAE, both/b.CR3",
    ]
    assert not plan.bad


def test_where_a_pattern_leaves_nothing_one_line_says_what_takes_it(folders):
    for number in range(9):
        (folders / f"films/my film {number}.MP4").touch()
    result = dpenet("derain", *(f"films/{path.name}" for path in sorted((folders / "films").iterdir())))
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        "error  films/a.mp4, films/my film 0.MP4, films/my film 1.MP4 and 7 more: this command cleans pictures, not "
        "videos. Run: dpenet video films/*.mp4 films/*.MP4"
    ]


def test_what_is_missing_or_of_no_known_kind_stays_a_failure_among_others(folders):
    (folders / "both/what.xyz").touch()
    plan = plan_pictures(["both/a.JPG", "both/b.mp4", "both/c.jpg", "both/what.xyz", "empty"])
    assert [job.source.name for job in plan.jobs] == ["a.JPG", "what.xyz"]
    assert [bad.source for bad in plan.bad] == ["both/c.jpg", "empty"]
    assert plan.notices == ["1 video passed over, for which there is another command: dpenet video both/b.mp4"]


def test_a_list_names_its_rows_of_the_other_kind(folders, tiny_weights):
    (folders / "list.txt").write_text("photos/a.jpg\nfilms/a.mp4\n")
    store(folders / "photos/a.jpg", picture(20, 30))
    result = dpenet("derain", "--files-from", "list.txt", "-o", "out", "--weights", tiny_weights)
    assert result.returncode == 1
    assert "films/a.mp4: this command cleans pictures, not videos. Run: dpenet video films/a.mp4" in result.stderr
    assert (folders / "out/photos/a.jpg").is_file()


def software(path):
    return exif.first_directory(read(path).metadata.exif)[1].get(SOFTWARE).value


def test_a_tag_is_an_option_that_results_depend_on(folders, tiny_weights):
    store(folders / "photos/a.png", picture(20, 30))
    (folders / "photos/a.jpg").unlink()
    command = ["derain", "photos", "-o", "out", "--weights", tiny_weights]
    tagged = dpenet(*command, "--tag")
    assert tagged.returncode == 0, tagged.stderr
    assert re.fullmatch(rb"dpenet [\d.]+ \(tiny [0-9a-f]{8}\)\0", software(folders / "out/a.png"))
    assert "1 skipped" in dpenet(*command, "--tag").stderr
    kept = dpenet(*command)
    assert "made with other weights or options" in kept.stderr
    dpenet(*command, "--redo-changed", "-q")
    assert read(folders / "out/a.png").metadata.exif is None


def test_a_picture_that_is_left_alone_is_not_tagged(folders):
    store(folders / "photos/a.jpg", picture(20, 30))
    before = (folders / "photos/a.jpg").read_bytes()
    options = PictureOptions(SaveOptions(tag="dpenet"), skip_dry=True)
    plan = plan_pictures(["photos"], "out")
    (outcome,) = run(plan.jobs, lambda rainy, *, skip_dry: Cleaned(rainy, Choice(1.0, dry=True)), options)
    assert outcome.status is Status.DRY
    assert (folders / "out/a.jpg").read_bytes() == before
