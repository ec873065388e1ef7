"""Long runs: memory, open files and threads stay flat however much there is to do.

DPENET_SOAK_PICTURES and DPENET_SOAK_FRAMES say how much that is.
"""

import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from clips import H264_AAC, ffmpeg
from conftest import command
from PIL import Image

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc"),
]

log = logging.getLogger(__name__)

EVERY = 0.1
"""Seconds between two looks."""


class Look(NamedTuple):
    """What a process holds: resident memory in MB, open files, threads."""

    seconds: float
    memory: float
    files: int
    threads: int


def watch(arguments: list[object], tmp_path: Path) -> list[Look]:
    """Run the command to its end and look at it all the while."""
    looks = []
    started = time.monotonic()
    with (tmp_path / "log").open("w") as out:
        process = subprocess.Popen([command(), *map(str, arguments)], stdout=out, stderr=out)
        here = Path(f"/proc/{process.pid}")
        while process.poll() is None:
            try:
                pages = int((here / "statm").read_text().split()[1])
                files, threads = (len(os.listdir(here / name)) for name in ("fd", "task"))
                looks.append(Look(time.monotonic() - started, pages * 4096 / 1e6, files, threads))
            except OSError:  # it has just ended
                break
            time.sleep(EVERY)
        assert process.wait() == 0, (tmp_path / "log").read_text()[-2000:]
    return looks


def assert_flat(looks: list[Look], what: str) -> None:
    """The last third holds no more than the second, but for the noise of an allocator."""
    third = len(looks) // 3
    assert third > 10, "it was too short to tell"
    middle, last = looks[third : 2 * third], looks[2 * third :]
    for name, allowed in ("memory", 8.0), ("files", 1.0), ("threads", 1.0):
        before, after = (float(np.median([getattr(look, name) for look in part])) for part in (middle, last))
        highest = max(getattr(look, name) for look in looks)
        log.info(
            "%s: %s %.0f, then %.0f, at most %.0f, over %.0f s", what, name, before, after, highest, last[-1].seconds
        )
        assert after <= before + allowed, name


def test_thousands_of_pictures(tmp_path: Path, tiny_weights: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(2)
    kinds = ["png", "jpg", "webp", "tif", "bmp"]
    for kind in kinds:
        Image.fromarray(rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)).save(tmp_path / f"a.{kind}")
    count = int(os.environ.get("DPENET_SOAK_PICTURES", "5000"))
    for index in range(count):
        kind = kinds[index % len(kinds)]
        shutil.copy(tmp_path / f"a.{kind}", folder / f"{index}.{kind}")
    run = ["derain", folder, "-o", tmp_path / "out", "--weights", tiny_weights, "--threads", 1, "-q"]
    assert_flat(watch(run, tmp_path), f"{count} pictures")
    assert len(list((tmp_path / "out").iterdir())) == count


def test_a_long_clip(tmp_path: Path, tiny_weights: Path) -> None:
    frames = int(os.environ.get("DPENET_SOAK_FRAMES", "9000"))
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x48:r=25", "-frames:v", frames, *H264_AAC, tmp_path / "a.mp4")
    run = ["video", tmp_path / "a.mp4", "-o", tmp_path / "b.mp4", "--weights", tiny_weights, "--threads", 1, "-q"]
    assert_flat(watch(run, tmp_path), f"{frames} frames")
    assert (tmp_path / "b.mp4").stat().st_size > 0
