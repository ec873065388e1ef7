"""What happens around a run: full and closed folders, files that vanish, odd names, no home, two runs at once."""

import ctypes
import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from clips import clean as clean_clip
from clips import clip, planes
from conftest import as_cleaner, command
from PIL import Image
from preloaded import Command

from dpenet_cli.batch import picture_files
from dpenet_cli.batch.outcomes import Status, outdated
from dpenet_cli.batch.pictures import run
from dpenet_cli.batch.planning import plan_pictures
from dpenet_cli.errors import VideoReadError, VideoWriteError
from dpenet_cli.options import PictureOptions, VideoOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.video.deraining import clean_video
from dpenet_cli.video.estimate import estimate
from dpenet_cli.video.frames import EachFrame
from dpenet_cli.video.probe import probe
from dpenet_cli.video.stream_copy import Window, copied_packets
from dpenet_cli.video.video_task import prepare

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts and looks at /proc")


def make_pictures(folder: Path, count: int = 4, **names: str) -> Path:
    """Pictures of noise, each of some 7 kB."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(count)
    for index in range(count):
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_pictures(tmp_path / "photos")


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return clip(tmp_path / "a.mp4", frames=20)


@pytest.fixture
def go(tmp_path: Path, tiny_weights: Path) -> Callable[..., tuple[int, str]]:
    """Run a subcommand on the tiny network; its exit code and all that it said, which is never a traceback."""

    def start(subcommand: str, *arguments: object, **options: object) -> tuple[int, str]:
        own = ["--weights", tiny_weights, "--threads", 1] if subcommand in {"derain", "video"} else []
        process = Command(subcommand, *arguments, *own, log=tmp_path / "log", **options)
        code, said = process.wait(), (tmp_path / "log").read_text(errors="surrogateescape")
        assert "Traceback" not in said, said
        return code, said

    return start


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a small file system; called again, with other options."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = False

    def mount(options: str) -> Path:
        nonlocal mounted
        options = f"remount,{options}" if mounted else options
        result = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=False)
        if result.returncode:
            pytest.skip("file systems cannot be mounted here")
        mounted = True
        return folder

    yield mount
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


def training(photos: Path, out: Path, *more: object) -> list[object]:
    small = ["--steps", 4, "--batch", 1, "--crop", 32, "--validation", 0, "--threads", 1, "--checkpoint-seconds", 0.001]
    return ["train", "--data", photos, "-o", out, *small, *more]


def temporary(folder: Path) -> list[Path]:
    return list(folder.rglob(".dpenet-*"))


# disks and permissions


def test_a_full_disk(go, disk, photos):
    out = disk("size=20k")  # of which a page is the record's
    code, said = go("derain", photos, "-o", out)
    assert code == 75
    assert "ended early: 2 done, 1 failed" in said
    assert "1 left; the same command goes on from here" in said
    assert said.count("No space left on device") == 1
    assert "Free some space" in said
    assert sorted(path.name for path in out.glob("[!.]*")) == ["0.png", "1.png"]
    disk("size=1m")
    assert "2 done, 2 skipped" in go("derain", photos, "-o", out)[1]


def test_a_full_disk_stops_a_video_which_goes_on_later(go, film, tmp_path):
    video = ["video", film, "-o", tmp_path / "b.mp4", "--crf", 1, "--checkpoint", "0.4"]
    code, said = go(*video, prelude=limit_files, given=(6000,))
    assert code == 1
    assert f"error  {film}: " in said
    assert "free space" in said
    assert not (tmp_path / "b.mp4").exists()
    assert go(*video)[0] == 0
    assert len(planes(tmp_path / "b.mp4")) == 20
    assert not (tmp_path / "b.mp4.part").exists()


def limit_files(size: int) -> None:
    """Prelude: no file grows beyond so many bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_full_disk_stops_training_and_is_told(go, photos, tmp_path, tiny_weights):
    arguments = training(photos, tmp_path / "run", "--init", tiny_weights)
    code, said = go(*arguments, prelude=limit_files, given=(20_000,))
    assert code == 2
    assert "File too large" in said
    assert "--resume" in said
    assert not temporary(tmp_path)
    assert go("train", "--resume", "-o", tmp_path / "run")[0] == 0


def test_folders_that_are_read_only(go, disk, photos, film):
    out = disk("size=1m")
    disk("ro")
    code, said = go("derain", photos, "-o", out)
    assert (code, said.count("Read-only file system")) == (2, 1)  # before the first picture
    for arguments in (
        ["derain", photos / "0.png", "-o", out / "new/x.png"],
        ["video", film, "-o", out / "b.mp4"],
        training(photos, out / "run"),
    ):
        code, said = go(*arguments)
        assert code in (1, 2)
        assert "Read-only file system" in said
        assert str(out) in said


def obey_modes() -> None:
    """Prelude: root without the right to pass over modes (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH), or any home."""
    libc = ctypes.CDLL(None)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, twice
    assert libc.capget(header, sets) == 0
    for index in (0, 1):
        sets[index] &= ~0b110
    assert libc.capset(header, sets) == 0
    os.environ.clear()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_permission_denied(go, photos, film, tmp_path):
    closed = make_pictures(tmp_path / "closed", 1)
    for path in (photos / "1.png", closed, closed / "0.png"):
        os.chown(path, 54321, 54321)
        path.chmod(0o700)
    rights = {"prelude": obey_modes}
    code, said = go("derain", photos, closed, closed / "0.png", "-o", tmp_path / "out", **rights)
    assert code == 1
    assert "3 done, 3 failed" in said, said
    for path in (photos / "1.png", closed, closed / "0.png"):
        assert any(f"{path}: " in line and "Permission denied" in line for line in said.splitlines()), path
    for arguments in (["derain", photos], ["video", film]):
        code, said = go(*arguments, "-o", f"{closed}/", **rights)
        assert code == 2
        assert "results cannot be written there (Permission denied)" in said


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_video_that_may_not_be_read_is_named(go, film, tmp_path):
    os.chown(film, 54321, 54321)
    film.chmod(0o700)
    code, said = go("video", film, "-o", tmp_path / "b.mp4", prelude=obey_modes)
    assert code == 1
    assert f"error  {film}: it cannot be read (Permission denied)" in said
    assert "b.mp4" not in said


# what vanishes or changes on the way


def cleaned(photos: Path, network: Callable[[Path], None]) -> list:
    """Outcomes of one picture, whose file something happens to while it is cleaned."""
    batch = plan_pictures([str(photos / "0.png")])

    def clean(pixels: np.ndarray) -> np.ndarray:
        network(photos / "0.png")
        return pixels

    return list(run(batch.jobs, as_cleaner(clean), PictureOptions()))


def test_a_picture_that_is_removed_while_it_is_cleaned(photos):
    (outcome,) = cleaned(photos, Path.unlink)
    assert outcome.status is Status.DONE
    assert Path(outcome.target).exists()


@pytest.mark.parametrize("dated", [None, 1e9])
def test_a_picture_that_is_replaced_while_it_is_cleaned_is_told_and_redone(photos, dated):
    def replace(path: Path) -> None:
        shutil.copy(photos / "1.png", photos / "new.tmp")
        (photos / "new.tmp").replace(path)
        if dated is not None:
            os.utime(path, (dated, dated))

    (outcome,) = cleaned(photos, replace)
    assert outcome.status is Status.FAILED
    assert "replaced or changed" in outcome.error.why
    assert outdated(Job(photos / "0.png", Path(outcome.target)))
    (again,) = run([Job(photos / "0.png", Path(outcome.target))], as_cleaner(lambda pixels: pixels), PictureOptions())
    assert again.status is Status.DONE
    assert np.array_equal(np.asarray(Image.open(outcome.target)), np.asarray(Image.open(photos / "1.png")))


def test_a_video_that_is_replaced_or_removed_while_it_is_cleaned(film, tmp_path):
    kept = film.read_bytes()

    def replace(frames):
        yield from frames
        (tmp_path / "new").write_bytes(kept)
        (tmp_path / "new").replace(film)

    with pytest.raises(VideoReadError, match="replaced or changed"):
        clean_clip(film, tmp_path / "b.mp4", replace)
    assert not (tmp_path / "b.mp4").exists()
    assert clean_clip(film, tmp_path / "b.mp4").frames == 20

    def remove(frames):
        yield from frames
        film.unlink()

    with pytest.raises(VideoReadError, match="No such file"):
        clean_clip(film, tmp_path / "c.mp4", remove)
    assert not (tmp_path / "c.mp4").exists()


@pytest.mark.parametrize("takes_its_place", [None, Path.mkdir])
def test_a_video_that_vanishes_on_the_way_is_named(film, tmp_path, takes_its_place):
    """While the pace is measured, and at each step behind that."""
    work = prepare(Job(film, tmp_path / "b.mp4"), VideoOptions())

    def remove(frames):
        yield from frames
        film.unlink()
        if takes_its_place is not None:
            takes_its_place(film)

    assert estimate(work, EachFrame(remove), "a test").frames == 20
    with pytest.raises(VideoReadError, match=r"a\.mp4: it cannot be (read|opened)"):
        clean_video(work, EachFrame(iter), "a test")
    with pytest.raises(VideoReadError, match=r"a\.mp4: it cannot be (read|opened)"):
        prepare(Job(film, tmp_path / "b.mp4"), VideoOptions())
    assert not (tmp_path / "b.mp4").exists()


def test_a_video_that_cannot_be_read_while_it_is_put_together_is_named(film):
    class Lost:
        streams = (None,)

        def demux(self, streams):
            raise av.FFmpegError(errno.EIO, "Input/output error")

    with pytest.raises(VideoReadError, match=r"a\.mp4: it cannot be read to its end \(Input/output error\)"):
        list(copied_packets(Lost(), probe(film), {0: None}, Window()))


def test_an_output_folder_that_is_removed_on_the_way(photos, film, tmp_path):
    jobs = plan_pictures([str(photos)], tmp_path / "out").jobs
    seen = []

    def clean(pixels: np.ndarray) -> np.ndarray:
        seen.append(pixels)
        if len(seen) == 3:
            (tmp_path / "out").rename(tmp_path / "elsewhere")  # at once, whatever is being written
        return pixels

    outcomes = list(run(jobs, as_cleaner(clean), PictureOptions()))
    assert (tmp_path / "out/3.png").exists()
    assert {outcome.status for outcome in outcomes} <= {Status.DONE, Status.FAILED}

    def remove(frames):
        for count, frame in enumerate(frames):
            if count == 15:
                (tmp_path / "b.mp4.part").rename(tmp_path / "away")
            yield frame

    with pytest.raises(VideoWriteError, match=r"b\.mp4\.part.*(it is gone|No such file)"):
        clean_clip(film, tmp_path / "b.mp4", remove)


# names


NAMES = ["-dash", "quo'te\"", "new\nline", "a b", "☔🌧", "[bold]", "x" * 246, "%d", "a:b", "$(rm)"]


def test_odd_names_of_videos(go, film, tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    for name in NAMES:
        shutil.copy(film, films / f"{name}.mp4")
    code, said = go("video", films, "-o", tmp_path / "out")
    assert code == 0, said
    assert {path.name for path in (tmp_path / "out").iterdir()} == {".dpenet.jsonl", *(f"{name}.mp4" for name in NAMES)}


@pytest.mark.parametrize("length", [250, 251, 255])
def test_the_longest_names_of_videos(go, film, tmp_path, length):
    """Their folders for unfinished work have shorter names, which the next run finds again."""
    name = "é" * 100 + "x" * (length - 204) + ".mp4"
    long = film.rename(tmp_path / name)
    command = ["video", long, "-o", f"{tmp_path}/out/", "--crf", 1, "--checkpoint", "0.4"]
    assert go(*command, prelude=limit_files, given=(6000,))[0] == 1
    (part,) = (tmp_path / "out").iterdir()
    assert part.name.endswith(".part")
    assert list(part.glob("*.mkv"))
    code, said = go(*command, "-v")
    assert code == 0, said
    assert "goes on at frame" in said
    assert {path.name for path in (tmp_path / "out").iterdir()} == {".dpenet.jsonl", name}
    code, said = go("video", long)
    assert code == 1
    assert "too long" in said
    assert f"{long}: " in said


def test_a_locale_without_letters(film, tmp_path, tiny_weights, rainy_photo):
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    folder = tmp_path / "höhe 雨"
    folder.mkdir()
    raw = os.fsencode(folder)
    shutil.copy(tiny_weights, folder / "gewöhnlich.safetensors")
    Image.fromarray(rainy_photo).save(folder / "a.png")
    shutil.copy(folder / "a.png", raw + b"/\xff\xfe.png")
    shutil.copy(film, folder / "☔.mp4")
    shutil.copy(film, raw + b"/\xff\xfe.mp4")
    for subcommand, target in (("derain", b"out"), ("video", b"film")):
        arguments = [
            command(),
            subcommand,
            raw,
            "-o",
            raw + b"/" + target,
            "--weights",
            raw + b"/gew\xc3\xb6hnlich.safetensors",
        ]
        result = subprocess.run(arguments, env=os.environ | plain, capture_output=True, check=False)
        assert result.returncode == 0, result.stderr
        assert b"2 done" in result.stderr
        assert result.stderr.isascii()
    assert sorted(os.listdir(raw + b"/out")) == [b".dpenet.jsonl", b"a.png", b"\xff\xfe.png"]
    assert sorted(os.listdir(raw + b"/film")) == [b".dpenet.jsonl", "☔.mp4".encode(), b"\xff\xfe.mp4"]


def test_links_in_a_circle_and_things_that_are_no_files(go, photos, tmp_path):
    (tmp_path / "circle").symlink_to("circle")
    (photos / "loop.png").symlink_to("loop.png")
    (photos / "up").symlink_to(photos)
    os.mkfifo(photos / "pipe.jpg")
    code, said = go("derain", photos, "/dev/zero", tmp_path / "circle", "-o", tmp_path / "out")
    assert code == 1
    assert "4 done, 4 failed" in said
    for path in (photos / "loop.png", photos / "pipe.jpg", "/dev/zero", tmp_path / "circle"):
        assert sum(line.startswith(f"error  {path}: ") for line in said.splitlines()) == 1
    code, said = go("derain", photos / "0.png", "-o", tmp_path / "circle/x")
    assert code == 2
    assert "circle" in said
    assert go("video", photos / "pipe.jpg")[0] == 2  # by its name it is for another command


def test_ten_thousand_names_are_planned_quickly_and_in_little_memory(tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for index in range(10_000):
        (folder / f"{index}.jpg").touch()
    arguments = [command(), "derain", str(folder), "--dry-run", "-o", str(tmp_path / "out")]
    measure = (  # in a small process: a child's peak begins with its parent's
        "import os, subprocess, sys; p = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)\n"
        "lines = p.stdout.read().count('planned'); _, status, usage = os.wait4(p.pid, 0)\n"
        "print(lines, status, usage.ru_maxrss)"
    )
    found = subprocess.run([sys.executable, "-c", measure, *arguments], capture_output=True, text=True, check=True)
    lines, status, peak = map(int, found.stdout.split())
    assert (lines, status) == (10_000, 0)
    assert peak < 150 * 1024  # KiB
    assert not (tmp_path / "out").exists()


# pipes


def test_readers_that_go_away(photos, film, tmp_path, tiny_weights):
    train = " ".join(map(str, training(photos, tmp_path / "run", "--init", tiny_weights)))
    script = f"{command()} {train} --json | head -n 1; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    first, code = result.stdout.splitlines()
    assert json.loads(first)["event"] == "preparing"
    assert code == "1"
    assert result.stderr == ""
    script = f"{command()} derain - --weights {tiny_weights} < {photos / '0.png'} | head -c 10 | wc -c"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (result.stdout.strip(), result.stderr) == ("10", "")


@pytest.mark.parametrize("where", ["in the network", "while it is told"])
def test_an_interrupt_still_tells_what_was_being_written(photos, tmp_path, monkeypatch, where):
    """The first picture is still being written when the second is in the network, where the interrupt comes."""
    second, store = threading.Event(), picture_files.write_whole

    def slowly(path: Path, data: bytes) -> None:
        assert second.wait(10)
        store(path, data)

    monkeypatch.setattr(picture_files, "write_whole", slowly)
    count = 0

    def clean(pixels: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        if count == 2:
            second.set()
            if where == "in the network":
                raise KeyboardInterrupt
        return pixels

    outcomes = run(plan_pictures([str(photos)], tmp_path / "out").jobs, as_cleaner(clean), PictureOptions())
    told = []

    def tell() -> None:
        for outcome in outcomes:
            told.append(outcome)
            if where == "while it is told":
                told.append(outcomes.throw(KeyboardInterrupt()))

    with pytest.raises(KeyboardInterrupt):
        tell()
    written = sorted(str(path) for path in (tmp_path / "out").iterdir())
    assert written
    assert [outcome.target for outcome in told] == written
    assert {outcome.status for outcome in told} == {Status.DONE}


def test_standard_input_without_an_end(photos, tiny_weights):
    script = f"cat {photos / '0.png'} /dev/zero | {command()} derain - --max-pixels 10000 --weights {tiny_weights}"
    result = subprocess.run(["bash", "-c", script], capture_output=True, check=False, timeout=120)
    assert result.returncode == 1
    assert b"more than a picture of 10,000 pixels takes" in result.stderr
    assert result.stdout == b""


# two runs at once


def test_two_runs_on_one_folder_of_pictures(photos, tmp_path, tiny_weights):
    own = ["--weights", tiny_weights, "--threads", 1, "--overwrite", "-o"]
    both = [Command("derain", photos, *own, tmp_path / "out", log=tmp_path / f"log{n}") for n in range(2)]
    assert [each.wait() for each in both] == [0, 0]
    assert Command("derain", photos, *own, tmp_path / "alone", log=tmp_path / "log").wait() == 0
    found, expected = ({p.name: p.read_bytes() for p in (tmp_path / n).glob("[!.]*")} for n in ("out", "alone"))
    assert found == expected


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_two_runs_on_one_video_or_one_training_folder(go, film, photos, tmp_path, tiny_weights):
    run = ["video", film, "-o", tmp_path / "b.mp4", "--weights", tiny_weights, "--checkpoint", "0.1", "--threads", 1]
    first = Command(*run, log=tmp_path / "first")
    wait_for(tmp_path / "b.mp4.part/manifest.json")
    code, said = go("video", film, "-o", tmp_path / "b.mp4")
    assert (code, "another run is working" in said) in {(1, True), (0, False)}, said
    assert first.wait() == 0
    assert len(planes(tmp_path / "b.mp4")) == 20
    first = Command(*training(photos, tmp_path / "run", "--steps", 100_000), log=tmp_path / "first")
    wait_for(tmp_path / "run/checkpoint.pt")
    code, said = go("train", "--resume", "-o", tmp_path / "run")
    assert code == 2
    assert "another run is at work" in said
    assert first.kill_after(0) == -9
