"""``kill -9`` at any moment of any command: what has its final name is whole, inputs are untouched, the rerun is exact.

Each command is killed at random moments, and before each of its changes to the file system in turn: a few of them in
every test run, all of them behind the marker ``long``, where DPENET_KILL_ROUNDS says how many random moments there are.
"""

import hashlib
import json
import logging
import os
import random
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import H264_AAC, SOUND, ffmpeg
from PIL import Image
from preloaded import Command, die_before_change, gone_within

from dpenet_cli.network import pretrained
from dpenet_cli.network.checkpoints import load_model
from dpenet_cli.network.pretrained import MIRROR_VARIABLE, PretrainedWeights

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")

log = logging.getLogger(__name__)

Contents = dict[str, object]
"""What lies in a folder: names, and something that is equal if and only if the files are as good as each other."""


def checksums(folder: Path) -> Contents:
    """Every file that is not a temporary one, or a record, which has times in it."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".dpenet.jsonl"]
    names = [path.relative_to(folder).as_posix() for path in paths]
    found = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in zip(names, paths, strict=True)}
    return {name: digest for name, digest in found.items() if ".part" not in name}


@dataclass
class Scene:
    """A command that is to be killed.

    Attributes:
        inputs: a folder that must never change.
        command: the arguments, for an output folder.
        contents: what an output folder holds; it fails where a file is not whole.
        again: the arguments that go on, where they are others.
        prelude: of the command's process.
        environment: of the command, for an output folder.
        parts: whether a killed run may have made files that another run makes differently, and that are looked at only
            for wholeness until the end.
    """

    inputs: Path
    command: Callable[[Path], list[object]]
    contents: Callable[[Path], Contents] = checksums
    again: Callable[[Path], list[object]] | None = None
    environment: Callable[[Path], dict[str, str]] = field(default=lambda out: {})
    prelude: Callable[..., None] = die_before_change
    parts: bool = False

    def start(self, out: Path, number: int = 0, tally: Path | None = None) -> Command:
        arguments = self.again(out) if self.again else self.command(out)
        return Command(
            *arguments,
            log=out.with_name(out.name + ".log"),
            prelude=self.prelude,
            given=(number, str(out), str(tally) if tally else None),
            environment=self.environment(out),
        )


class Rounds:
    """A scene with its uninterrupted run, and rounds of killing it."""

    def __init__(self, scene: Scene, folder: Path) -> None:
        self.scene, self.folder = scene, folder
        self.before = checksums(scene.inputs)
        self.count = 0
        self.leftovers = self.killed = 0
        whole, tally = folder / "whole", folder / "tally"
        command = scene.start(whole, 0, tally)
        assert command.wait() == 0, command.log.read_text()
        started = time.monotonic()  # of another run: the first one of all waits for the libraries
        assert scene.start(folder / "timed").wait() == 0
        self.seconds = time.monotonic() - started
        self.changes = len(tally.read_bytes())
        self.expected = scene.contents(whole)
        assert self.expected

    def kill(self, *moments: float | int) -> None:
        """One round: killed at these moments in turn (seconds, or the number of a change), then finished."""
        out = self.folder / f"round-{self.count}"
        self.count += 1
        for moment in moments:
            if isinstance(moment, int):
                code = self.scene.start(out, moment).wait()
            else:
                code = self.scene.start(out).kill_after(moment)
            told = f"killed at {moments}: {out.with_name(out.name + '.log').read_text()}"
            assert code in (0, -9), told
            self.killed += code == -9
            found = self.scene.contents(out) if out.exists() else {}
            assert found.keys() <= self.expected.keys(), told
            if not self.scene.parts:
                assert all(found[name] == self.expected[name] for name in found), told
            assert checksums(self.scene.inputs) == self.before, told
            assert gone_within(str(out), 5), told
            self.leftovers += sum(".part" in path.name for path in out.rglob("*"))
        command = self.scene.start(out)
        assert command.wait() == 0, (moments, command.log.read_text())
        assert self.scene.contents(out) == self.expected, moments
        assert checksums(self.scene.inputs) == self.before
        assert not [path for path in out.rglob("*") if ".part" in path.name], moments
        shutil.rmtree(out)

    def at_changes(self, numbers: list[int]) -> None:
        for number in numbers:
            self.kill(number)

    def at_random(self, count: int, seed: int) -> None:
        """Moments anywhere, some runs killed more than once."""
        rng = random.Random(seed)
        for _ in range(count):
            self.kill(*(rng.uniform(0, self.seconds) for _ in range(rng.choice([1, 1, 2, 3]))))


@pytest.fixture
def pictures(tmp_path: Path, tiny_weights: Path) -> Scene:
    """Pictures of several formats, with before/after pictures."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    rng = np.random.default_rng(5)
    for index, name in enumerate(["a.png", "b.jpg", "deep/c.webp", "deep/d.tif", "e.bmp", "f.png"]):
        pixels = rng.integers(0, 256, (40, 50 + index, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    own = ["--weights", tiny_weights, "--threads", 1, "--precision", "fp32", "--compare"]
    return Scene(folder, lambda out: ["derain", folder, "-o", out, *own])


@pytest.fixture
def film(tmp_path: Path, tiny_weights: Path) -> Scene:
    """A clip with sound, in four segments."""
    folder = tmp_path / "films"
    folder.mkdir()
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=48x32:r=25", *SOUND, "-t", 0.8, *H264_AAC, folder / "a.mp4")
    own = ["--weights", tiny_weights, "--threads", 1, "--precision", "fp32", "--checkpoint", "0.2"]
    return Scene(folder, lambda out: ["video", folder, "-o", out, *own])


def run_contents(folder: Path) -> Contents:
    """A training run's files, without the times in them."""
    found: Contents = {}
    for path in sorted(folder.iterdir()):
        name = path.name
        if name.endswith(".part"):
            continue
        if name.endswith(".safetensors"):
            found[name] = digest(load_model(path).state_dict())
        elif name == "checkpoint.pt":
            stored = torch.load(path, weights_only=True)
            for clock in ("seconds", "clock"):
                stored["position"].pop(clock)
            found[name] = digest(stored)
        elif name.endswith(".png"):
            with Image.open(path) as image:
                image.load()
                found[name] = image.size if name == "curve.png" else hashlib.sha256(image.tobytes()).hexdigest()
        elif name == "log.jsonl":
            found[name] = "grows"
        elif name == ".lock":
            found[name] = path.read_bytes()
        else:
            found[name] = json.loads(path.read_text())
    return found


def digest(value: object) -> str:
    """Of numbers, tensors, lists and dictionaries of them."""
    if isinstance(value, torch.Tensor):
        return hashlib.sha256(value.numpy().tobytes()).hexdigest()
    if isinstance(value, dict):
        return digest([f"{key}:{digest(item)}" for key, item in value.items()])
    if isinstance(value, list | tuple):
        return hashlib.sha256("".join(map(digest, value)).encode()).hexdigest()
    return hashlib.sha256(repr(value).encode()).hexdigest()


@pytest.fixture
def training(tmp_path: Path, tiny_weights: Path) -> Scene:
    """Four steps on two pictures, a checkpoint after each, looked at twice."""
    folder = tmp_path / "clean"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for index in range(4):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        coarse.resize((72, 54), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    own = ["--init", tiny_weights, "--steps", 4, "--batch", 1, "--crop", 32, "--validation", 1, "--threads", 1]
    own += ["--checkpoint-seconds", 0.001, "--evaluate-every", 2, "--device", "cpu", "--precision", "fp32"]

    def command(out: Path) -> list[object]:
        if (out / "options.json").exists():
            return ["train", "--resume", "-o", out]
        return ["train", "--data", folder, "-o", out, *own]

    return Scene(folder, command, run_contents, parts=True)


CONTENT = random.Random(1).randbytes(300_000)


class Slow(BaseHTTPRequestHandler):
    """Sends the file piece by piece, and counts downloads that were cut: the other side was killed."""

    cut = 0
    pause = 0.01  # seconds, thirty times

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        try:
            for start in range(0, len(CONTENT), 10_000):
                self.wfile.write(CONTENT[start : start + 10_000])
                time.sleep(self.pause)
        except OSError:
            Slow.cut += 1

    def log_message(self, *arguments: object) -> None:
        pass


def small_publication(number: int, folder: str, tally: str | None = None) -> None:
    """Prelude: published weights of 300 kB, and `die_before_change`."""
    pretrained.FILE_BYTES = len(CONTENT)
    name = "published-rain100l"
    pretrained.PRETRAINED[name] = PretrainedWeights(name, "a.pth", hashlib.sha256(CONTENT).hexdigest(), "Rain100L")
    die_before_change(number, folder, tally)


@pytest.fixture
def download(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Published weights from a server on loopback."""
    if request.node.get_closest_marker("long"):
        monkeypatch.setattr(Slow, "pause", 0.07)  # most random moments fall into the download
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "nothing").mkdir()
    address = f"http://127.0.0.1:{server.server_port}"

    def environment(out: Path) -> dict[str, str]:
        return {MIRROR_VARIABLE: address, "XDG_CACHE_HOME": str(out), "no_proxy": "127.0.0.1"}

    Slow.cut = 0
    yield Scene(
        tmp_path / "nothing",
        lambda out: ["weights", "pull", "published-rain100l"],
        environment=environment,
        prelude=small_publication,
    )
    server.shutdown()
    server.server_close()
    log.info("%d downloads were cut", Slow.cut)


SCENES = ["pictures", "film", "training", "download"]


@pytest.mark.parametrize("name", SCENES)
def test_kill_dash_nine(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    rounds = Rounds(request.getfixturevalue(name), tmp_path)
    rounds.at_changes(random.Random(1).sample(range(1, rounds.changes + 1), 3))
    rounds.at_random(2, seed=2)


@pytest.mark.long
@pytest.mark.parametrize("name", SCENES)
def test_kill_dash_nine_everywhere(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    rounds = Rounds(request.getfixturevalue(name), tmp_path)
    rounds.at_changes(list(range(1, rounds.changes + 1)))
    rounds.at_random(int(os.environ.get("DPENET_KILL_ROUNDS", "100")), seed=1)
    counts = (rounds.changes, rounds.count, rounds.killed, rounds.leftovers)
    log.info("%s: %d changes, %d rounds, %d runs killed, %d temporary files", name, *counts)
