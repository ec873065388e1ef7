"""What a run lets others see: nothing through the network, nothing in foreign folders, nothing half-written."""

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from clips import H264_AAC, SOUND, ffmpeg
from pictures import camera_jpeg, deep_png, photo
from PIL import Image
from preloaded import Command

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at Linux's system calls and modes")


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Pictures that go through every library, clean ones to train on, and a clip."""
    folder = tmp_path / "inputs"
    (folder / "clean").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(camera_jpeg(6))
    (folder / "b.png").write_bytes(deep_png(photo(deep=True)))
    Image.fromarray(photo()).save(folder / "c.webp")
    pytest.importorskip("pillow_heif").from_pillow(Image.fromarray(photo())).save(folder / "d.heic")
    for index in range(4):
        Image.fromarray(photo(54, 72, seed=index)).save(folder / f"clean/{index}.png")
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=48x32:r=25", *SOUND, "-t", 0.4, *H264_AAC, folder / "a.mp4")
    return folder


def commands(inputs: Path, out: Path, weights: Path) -> list[str]:
    """One of each, as a shell has them."""
    own = f"--weights {weights} --threads 1"
    small = "--steps 2 --batch 1 --crop 32 --validation 1 --threads 1"
    return [
        f"derain {inputs} -o {out}/pictures --compare {own}",
        f"video {inputs} -o {out}/videos {own}",
        f"train --data {inputs}/clean -o {out}/run --init {weights} {small}",
        f"benchmark --dataset demo --weights {weights} --report {out}/page.html --csv {out}/table.csv",
        "doctor",
        "weights list",
    ]


ALL_IN_ONE = """
import shlex, sys
from dpenet_cli.cli.app import main
expected, *lines = sys.argv[1:]
for line in lines:
    sys.argv = ["dpenet", *shlex.split(line)]
    try:
        main()
    except SystemExit as end:
        assert int(end.code or 0) == int(expected), line
"""


def system_calls(lines: list[str], tmp_path: Path, code: int = 0, **environment: str) -> list[str]:
    """The calls that open files for writing, change folders, or touch the network, of commands and their children.

    They run in one process, and end with an exit code, as somebody with a home of their own, not as a CI.
    """
    if not shutil.which("strace"):
        pytest.skip("strace, which tells what the libraries do too, is not installed")
    for name in ("home", "tmp"):
        (tmp_path / name).mkdir(exist_ok=True)
    plain = {name: value for name, value in os.environ.items() if name not in {"CI"} and "proxy" not in name.lower()}
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):  # which PyTorch sets for this very process
        plain.pop(name, None)
    plain |= {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp"), "PYTHONDONTWRITEBYTECODE": "1"}
    files = "openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,link,linkat,symlink,symlinkat"
    watch = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", f"trace={files},truncate,socket,connect,sendto"]
    command = [*watch, "-o", str(tmp_path / "calls"), sys.executable, "-c", ALL_IN_ONE, str(code), *lines]
    done = subprocess.run(
        command, env=plain | environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200
    )
    if "PTRACE" in done.stderr:
        pytest.skip("processes cannot be traced here")
    assert done.returncode == 0, done.stderr
    return (tmp_path / "calls").read_text(errors="replace").splitlines()


def written(calls: list[str], cwd: Path) -> set[Path]:
    """Every path that was made, removed, renamed or opened for writing, in or out of what there is afterwards."""
    changes = re.compile(
        r"\d+ +(open(at)?\(.*(O_WRONLY|O_RDWR|O_CREAT)|(creat|mkdir|rename|unlink|link|symlink|truncate)\w*\()"
    )
    names = [name for call in calls if changes.match(call) for name in re.findall(r'"((?:[^"\\]|\\.)*)"', call)]
    return {cwd / name for name in names}


def test_nothing_is_written_elsewhere_and_nothing_is_sent(inputs, tmp_path, tiny_weights):
    out = tmp_path / "out"
    calls = system_calls(commands(inputs, out, tiny_weights), tmp_path)
    assert not [call for call in calls if re.search(r"AF_INET|AF_PACKET|AF_NETLINK", call)]
    cache = tmp_path / "home/.cache"
    changed = written(calls, tmp_path)
    assert {out / "pictures/a.jpg", out / "videos/a.mp4", out / "run/best.safetensors", out / "page.html"} <= changed
    allowed = (out, cache / "dpenet", Path("/dev"), Path("/proc"))
    elsewhere = {path for path in changed - {cache} if not any(path.is_relative_to(folder) for folder in allowed)}
    assert not elsewhere
    assert not list((tmp_path / "tmp").iterdir())
    assert {path.name for path in (out / "pictures").iterdir() if "compare" not in path.name} >= {"a.jpg", "b.png"}


class Refusing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *arguments: object) -> None:
        pass


def test_pull_connects_to_the_address_it_shows_and_no_other(tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        calls = system_calls(
            ["weights pull published-rain100l"],
            tmp_path,
            1,
            DPENET_WEIGHTS_URL=f"http://127.0.0.1:{server.server_port}",
        )
    finally:
        server.shutdown()
        server.server_close()
    reached = [call for call in calls if "connect(" in call and "AF_INET" in call]
    assert len(reached) == 1
    assert f"htons({server.server_port})" in reached[0]
    assert "127.0.0.1" in reached[0]


def watch_modes(umask: int, tally: str) -> None:
    """Prelude: note the mode of whatever is temporary, at every change to a file system and at every encoder."""
    os.umask(umask)
    import dpenet_cli.system.atomic

    dpenet_cli.system.atomic._UMASK = umask  # which is read as the module is imported, long ago in this process
    notes = os.open(tally, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(path: Path) -> None:
        if ".part" in str(path) and path.exists():
            part = next(p for p in (path, *path.parents) if p.name.endswith(".part"))
            line = json.dumps([str(part), stat.S_IMODE(part.stat().st_mode)])
            os.write(notes, line.encode() + b"\n")

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in {"os.chmod", "os.rename"}:
            note(Path(os.fsdecode(str(arguments[0]))))
        elif event == "subprocess.Popen":
            for word in arguments[1]:
                note(Path(str(word).removeprefix("file:")).parent)

    sys.addaudithook(hook)


@pytest.mark.parametrize("umask", [0, 0o022])
def test_what_is_temporary_is_its_owners_alone(inputs, tmp_path, tiny_weights, umask):
    seen: dict[str, set[int]] = {}
    for line in commands(inputs, tmp_path / "out", tiny_weights)[:3]:
        process = Command(
            *shlex.split(line), log=tmp_path / "log", prelude=watch_modes, given=(umask, str(tmp_path / "modes"))
        )
        assert process.wait() == 0, (tmp_path / "log").read_text()
    for path, mode in map(json.loads, (tmp_path / "modes").read_text().splitlines()):
        seen.setdefault(path, set()).add(mode)
    folders = {path for path in seen if path.endswith(".mp4.part")}
    assert folders
    assert len(seen) > 15
    for path, modes in seen.items():
        # A file gets the mode of its final name in the instant before it gets the name itself.
        assert modes <= ({0o700} if path in folders else {0o600, 0o666 & ~umask}), path
        assert path in folders or 0o600 in modes, path
    assert stat.S_IMODE((tmp_path / "out/pictures/a.jpg").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((tmp_path / "out/videos/a.mp4").stat().st_mode) == 0o666 & ~umask
