"""README's commands run as they are written."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from clips import clip
from conftest import command
from PIL import Image

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHELL = [line for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
COMMANDS = [line for line in SHELL if line.startswith("dpenet ")]


TELLING = (["weights", "list"], ["weights", "show"], ["weights", "verify"], ["doctor"], ["benchmark", "--speed"])
"""Commands that tell something and write nothing."""


@pytest.fixture
def folder(tmp_path, rainy_photo):
    (tmp_path / "photos").mkdir()
    (tmp_path / "dry-photos").mkdir()
    for number, path in enumerate(
        ("photos/a.jpg", "photos/b.jpg", "IMG_0001.jpg", "dry-photos/a.jpg", "dry-photos/b.jpg")
    ):
        Image.fromarray(np.roll(rainy_photo[:, ::-1], 31 * number, 1 - number % 2)).save(tmp_path / path)
    (tmp_path / "trip").mkdir()
    for path in ("dashcam.mp4", "trip/a.mp4"):  # two minutes in thirteen frames
        clip(tmp_path / path, source="testsrc=s=64x48:r=1/10", frames=13)
    return tmp_path


def test_there_are_commands_to_test():
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize("line", COMMANDS)
def test_usage_lines(line, folder):
    before = {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}
    if line.startswith("dpenet train"):  # as written, but not for hours
        line = line.partition("#")[0] + " --steps 2 --batch 1 --crop 32 --threads 1 --validation 1"
    line = line.replace("dpenet", command(), 1)
    result = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert {path: path.read_bytes() for path in before} == before
    if any(line.split()[1 : 1 + len(words)] == words for words in TELLING):
        assert result.stdout
        return
    made = [path for path in folder.rglob("*.*") if path.is_file() and path not in before]
    assert bool(made) != ("--dry-run" in line)


def test_the_first_command_cleans_the_sample(tmp_path):
    """The installing half is what CI and new users do; the other half runs here as it stands."""
    install, _, run = next(line for line in SHELL if line.startswith("pip install") and "derain" in line).partition(
        " && "
    )
    assert install == 'pip install ".[openvino]"'
    run = run.replace("dpenet ", f"{command()} ", 1).replace("-o clean.jpg", f"-o {tmp_path}/clean.jpg")
    subprocess.run(["bash", "-c", run], cwd=ROOT, check=True)
    rainy = np.asarray(Image.open(ROOT / "dpenet_cli/sample/rainy.jpg")).astype(int)
    clean = np.asarray(Image.open(tmp_path / "clean.jpg")).astype(int)
    assert clean.shape == rainy.shape
    assert clean.mean() < rainy.mean() - 5  # the streaks are brighter than what they hide


def test_the_library_lines(rainy_photo):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {"picture": rainy_photo}
    exec(code, names)
    assert names["clean"].shape == rainy_photo.shape


def test_linked_files_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).is_file(), target


def test_ci_runs_the_test_command():
    assert "/^# tests$/" in (ROOT / ".ci/run").read_text(encoding="utf-8")
    after = SHELL[SHELL.index("# tests") + 1]
    for part in ("pip install", "ruff check", "ruff format --check", "mypy", "pytest"):
        assert part in after
