"""Machines come and go while thousands of pictures are cleaned on a Ray cluster, and nothing is lost.

Two machines are two raylets on this one. DPENET_RAY_PICTURES says how many pictures there are.
"""

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from conftest import command, dpenet
from PIL import Image

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
from ray.cluster_utils import Cluster

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc"),
]

log = logging.getLogger(__name__)

COUNT = int(os.environ.get("DPENET_RAY_PICTURES", "2000"))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small pictures, all different, in folders."""
    folder = tmp_path_factory.mktemp("many") / "photos"
    rng = np.random.default_rng(3)
    for number in range(COUNT):
        path = folder / f"{number % 20}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)).save(path)
    return folder


@pytest.fixture(scope="module")
def plain(photographs: Path) -> dict[str, str]:
    """What one machine makes of them, without Ray: SHA-256 by name."""
    out = photographs.parent / "plain"
    result = dpenet("derain", photographs, "-o", out, "--fast", "-q", timeout=1800)
    assert result.returncode == 0, result.stderr
    return digests(out)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster of one machine, with one core."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.png")
    }


class Run:
    """A run on the cluster, in a process of its own."""

    def __init__(self, address: str, photographs: Path, folder: Path) -> None:
        self.out, self.report = folder / "out", folder / "report.jsonl"
        arguments = ["derain", photographs, "-o", self.out, "--fast", "--report", self.report, "--ray", address]
        self._command = [command(), *map(str, arguments)]
        self._log = folder / "log"
        self.start()

    def start(self) -> None:
        with self._log.open("a") as out:
            self.process = subprocess.Popen(self._command, stdout=out, stderr=out, start_new_session=True)

    def wait_for(self, count: int) -> None:
        """Until so many pictures are there."""
        deadline = time.monotonic() + 600
        while sum(1 for _ in self.out.rglob("*.png")) < count:
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)

    def end(self) -> None:
        assert self.process.wait(900) == 0, self.said()
        log.info("%s", self.said().splitlines()[-1])

    def said(self) -> str:
        return self._log.read_text()[-3000:]

    def workers(self) -> list[int]:
        """Processes that clean on any machine of this test's cluster."""
        machines = {pid for pid, (name, parent) in processes().items() if name == "raylet" and parent == os.getpid()}
        named = {pid for pid, (name, parent) in processes().items() if parent in machines}
        return [pid for pid in named if command_line(pid).startswith(b"ray::MapWorker")]


def processes() -> dict[int, tuple[str, int]]:
    """Name and parent of each process of this machine."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            name, rest = path.read_text().split("(", 1)[1].rsplit(")", 1)
            found[int(path.parent.name)] = name, int(rest.split()[1])
    return found


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has just ended
        return b""


def assert_nothing_is_lost(run: Run, plain: dict[str, str], statuses: set[str]) -> Counter[str]:
    """Every output is whole and as one machine makes it, the report complete, and the record too."""
    assert digests(run.out) == plain
    assert not list(run.out.rglob("*.part"))
    merged = run.report.with_name("merged.jsonl")
    result = dpenet("report", "merge", run.report, "-o", merged)
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in merged.read_text().splitlines()]
    assert len(rows) == len({row["source"] for row in rows}) == len({row["output"] for row in rows}) == COUNT
    counts = Counter(row["status"] for row in rows)
    log.info("%s rows, %s", sum(1 for _ in run.report.open()), dict(counts))
    assert set(counts) <= statuses
    entries = [json.loads(line) for path in run.out.glob(".dpenet*.jsonl") for line in path.read_text().splitlines()]
    assert {each["output"]: each["sha256"] for each in entries if "output" in each} == plain
    return counts


def test_workers_are_killed(cluster: Cluster, photographs: Path, plain: dict[str, str], tmp_path: Path) -> None:
    cluster.add_node(num_cpus=1)
    run = Run(cluster.address, photographs, tmp_path)
    for count in COUNT // 8, COUNT // 4, COUNT // 2:
        run.wait_for(count)
        victims = run.workers()
        log.info("killing %s of %s", victims[0], victims)
        os.kill(victims[0], signal.SIGKILL)
    run.end()
    assert_nothing_is_lost(run, plain, {"done"})
    assert len(run.report.read_text().splitlines()) == COUNT


def test_a_machine_goes(cluster: Cluster, photographs: Path, plain: dict[str, str], tmp_path: Path) -> None:
    second = cluster.add_node(num_cpus=1)
    run = Run(cluster.address, photographs, tmp_path)
    run.wait_for(COUNT // 4)
    cluster.remove_node(second, allow_graceful=False)
    run.end()
    assert_nothing_is_lost(run, plain, {"done"})


def test_a_machine_comes(cluster: Cluster, photographs: Path, plain: dict[str, str], tmp_path: Path) -> None:
    run = Run(cluster.address, photographs, tmp_path)
    run.wait_for(COUNT // 8)
    cluster.add_node(num_cpus=1)
    run.end()
    assert "2 worker(s) on 2 machine(s)" in run.said()
    assert_nothing_is_lost(run, plain, {"done"})


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_the_driver_goes(
    how: signal.Signals, cluster: Cluster, photographs: Path, plain: dict[str, str], tmp_path: Path
) -> None:
    cluster.add_node(num_cpus=1)
    run = Run(cluster.address, photographs, tmp_path)
    run.wait_for(COUNT // 4)
    os.killpg(run.process.pid, how)
    assert run.process.wait(120) == (-how if how is signal.SIGKILL else 130), run.said()
    there = sum(1 for _ in run.out.rglob("*.png"))
    assert there < COUNT, "it was too fast to be interrupted"
    told = sum(json.loads(line)["status"] == "done" for line in run.report.read_text().splitlines())
    log.info("%d pictures were there, %d in the report", there, told)
    if how is signal.SIGINT:
        assert told == there
        assert "the same command goes on from here" in run.said()
    run.start()
    run.end()
    assert_nothing_is_lost(run, plain, {"done", "skipped"})


def test_ray_itself_goes(photographs: Path, plain: dict[str, str], tmp_path: Path) -> None:
    run = Run("local", photographs, tmp_path)
    run.wait_for(COUNT // 4)
    running = processes()
    (raylet,) = [
        pid
        for pid, (name, parent) in running.items()
        if name == "raylet" and running.get(parent, ("", 0))[1] == run.process.pid
    ]
    os.kill(raylet, signal.SIGTERM)
    assert run.process.wait(120) == 75, run.said()
    assert "the same command goes on from here" in run.said()
    run.start()
    run.end()
    assert_nothing_is_lost(run, plain, {"done", "skipped"})
