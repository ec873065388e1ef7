"""The package as users get it: a wheel that carries its weights and its sample, and a typed, silent library."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def unpacked_wheel(tmp_path_factory):
    """What an installer puts into site-packages, far from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_is_complete_and_nothing_more(unpacked_wheel):
    names = {path.relative_to(unpacked_wheel).as_posix() for path in unpacked_wheel.rglob("*") if path.is_file()}
    needed = ("py.typed", "weights/general.safetensors", "weights/general.md", "sample/rainy.jpg", "__main__.py")
    needed += ("weights/SHA256SUMS", "sample/demo/coffee.jpg", "evaluation/page.css", "evaluation/page.js")
    needed += ("guide/formats.md", "guide/videos.md", "guide/weights.md")
    needed += ("guide/benchmark.md", "guide/speed.md", "guide/training.md", "guide/fine-tuning.md")
    assert names >= {f"dpenet_cli/{name}" for name in needed}
    assert {name.split("/")[0] for name in names} == {"dpenet_cli", "dpenet-0.1.0.dist-info"}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pth")]


def test_the_default_weights_are_found_outside_the_checkout(unpacked_wheel, tmp_path):
    code = (
        "import numpy as np, dpenet_cli\n"
        "from dpenet_cli.network.weights_files import find_weights\n"
        f"assert dpenet_cli.__file__.startswith({str(unpacked_wheel)!r})\n"
        f"assert str(find_weights('general')).startswith({str(unpacked_wheel)!r})\n"
        "assert dpenet_cli.load()(np.zeros((20, 20, 3), np.uint8)).shape == (20, 20, 3)\n"
    )
    run = [sys.executable, "-c", code]
    result = subprocess.run(
        run,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(unpacked_wheel)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout + result.stderr == ""  # the library is silent
