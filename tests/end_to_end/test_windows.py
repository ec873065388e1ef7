"""What Windows lacks is done without: the commands in a process from which it was taken away.

It shows that nothing asks for what is not there. How Windows itself behaves, it cannot show.
"""

import errno
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import clip
from filelock import FileLock
from PIL import Image

from dpenet_cli.errors import TrainingError, VideoWriteError
from dpenet_cli.options import VideoCodec
from dpenet_cli.training.run_folder import RunFolder
from dpenet_cli.video.encoder import EncoderProcess, Encoding, find_ffmpeg
from dpenet_cli.video.safe_open import shell_line
from dpenet_cli.video.work_folder import WorkFolder

LIKE_WINDOWS = """
import importlib, os, pkgutil, signal, sys, sysconfig, zoneinfo

sysconfig.get_config_vars()  # what is foreign looks at the real system first
import asyncio, av, cv2, filelock, imageio_ffmpeg, rich.progress, torch, typer.testing, urllib.request
from PIL import Image

try:
    import openvino
except ImportError:
    pass

for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for name in ("fchmod", "chown", "fork", "getuid", "killpg", "pathconf", "sched_getaffinity", "setsid", "sysconf"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGHUP", "SIGKILL", "SIGPIPE", "SIGALRM"):
    if hasattr(signal, name):
        delattr(signal, name)
sys.platform = "win32"

import dpenet_cli

for module in pkgutil.walk_packages(dpenet_cli.__path__, "dpenet_cli."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)

from dpenet_cli.cli.app import app

app(sys.argv[1:])
"""


@pytest.fixture
def go(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", find_ffmpeg())  # imageio-ffmpeg asks Windows how to look for one

    def start(*arguments: object) -> str:
        words = [sys.executable, "-c", LIKE_WINDOWS, *map(str, arguments)]
        result = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
        assert result.returncode == 0, result.stderr
        return result.stdout + result.stderr

    return start


def test_pictures_videos_and_training(go, tmp_path, tiny_weights):
    photos = tmp_path / "photos"
    photos.mkdir()
    rng = np.random.default_rng(1)
    for name in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(photos / name)
    tiny = ["--weights", tiny_weights, "--threads", 1]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".dpenet-young.part").touch()  # nobody can tell whose it is
    assert "2 done" in go("derain", photos, "-o", tmp_path / "out", *tiny)
    names = [".dpenet-young.part", ".dpenet.jsonl", "a.png", "b.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    go("video", clip(tmp_path / "a.mp4", frames=5), "-o", tmp_path / "b.mp4", *tiny)
    assert (tmp_path / "b.mp4").is_file()
    assert not (tmp_path / "b.mp4.part").exists()
    small = ["--steps", 1, "--batch", 1, "--crop", 32, "--validation", 0, "--threads", 1, "--init", tiny_weights]
    go("train", "--data", photos, "-o", tmp_path / "run", *small)
    assert (tmp_path / "run" / "best.safetensors").is_file()
    assert str(tmp_path / "local") in go("doctor")


@pytest.fixture(params=["training", "video"])
def work(request, tmp_path):
    """What a run does with its folder."""
    if request.param == "training":
        return RunFolder(tmp_path / "run").locked
    return lambda: WorkFolder(tmp_path / "b.mp4", {})


def test_a_second_run_is_kept_out(work, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with work(), pytest.raises((TrainingError, VideoWriteError), match="another run is"), work():
        pass
    with work():
        pass


def test_a_killed_run_keeps_nobody_out(work, tmp_path):
    with work():
        (lock,) = [path for path in tmp_path.rglob("*lock") if path.is_file()]
    script = "import sys, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print(flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", script, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    holder.stdout.readline()
    with pytest.raises((TrainingError, VideoWriteError), match="another run is"), work():
        pass
    holder.kill()
    holder.communicate()
    with work():
        pass


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "no locks"), OSError(errno.ENOSYS, ""), NotImplementedError()])
def test_where_nothing_can_be_locked_a_run_goes_on(work, monkeypatch, error):
    def refuse(self):
        raise error

    monkeypatch.setattr(FileLock, "_acquire", refuse)
    with work():
        pass


def test_what_is_left_of_a_stored_video_is_gone(tmp_path, monkeypatch):
    """The lock is given back first: Windows removes no file that is open."""
    monkeypatch.setattr(sys, "platform", "win32")
    unlink = Path.unlink
    with WorkFolder(tmp_path / "b.mp4", {}) as place:
        lock = place._lock

        def only_closed(path, **options):
            assert path.name != "lock" or not lock.is_locked
            unlink(path, **options)

        monkeypatch.setattr(Path, "unlink", only_closed)
        (place.path / "result.mp4").write_bytes(b"film")
        place.store(place.path / "result.mp4", tmp_path / "b.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["b.mp4"]


def test_an_encoder_is_in_a_process_group_of_its_own(monkeypatch, tmp_path):
    """Windows has no sessions, and Ctrl-C would end the encoder before what it was given is safe."""
    asked = {}

    def started(*arguments: object, **options: object) -> None:
        asked.update(options)
        raise OSError(2, "not here")

    monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 512, raising=False)
    monkeypatch.setattr(subprocess, "Popen", started)
    encoding = Encoding(VideoCodec.H264, False, None, None, 48, 32, Fraction(25), False, False, "yuv420p", "null")
    with pytest.raises(VideoWriteError, match="not here"):
        EncoderProcess(encoding, tmp_path / "a.mkv")
    assert asked["creationflags"] == 512


def test_a_command_to_copy_is_quoted_for_its_shell(monkeypatch):
    words = ["C:\\my programs\\ffmpeg.exe", "-i", "a b.mkv"]
    assert shell_line(words) == "'C:\\my programs\\ffmpeg.exe' -i 'a b.mkv'"
    monkeypatch.setattr(sys, "platform", "win32")
    assert shell_line(words) == '"C:\\my programs\\ffmpeg.exe" -i "a b.mkv"'
