"""What README and the pages of the guide say: commands run as they are written, links lead somewhere, lines fit."""

import doctest
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import typer.main
from clips import clip
from conftest import command
from PIL import Image

from dpenet_cli.cli.app import app
from dpenet_cli.guide.pages import page_names, read_page

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "dpenet_cli/guide"
README = (ROOT / "README.md").read_text(encoding="utf-8")
TEXTS = {ROOT / "README.md": README} | {GUIDE / f"{name}.md": read_page(name).text for name in page_names()}


def shell_lines(text: str) -> list[str]:
    """The lines of a text's shell examples, continued ones as one, without their comments."""
    examples = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = "".join(examples).replace("\\\n", " ").splitlines()
    return [re.sub(r"\s{2,}#.*", "", line) for line in lines]


def mentions(text: str) -> list[str]:
    """Commands that stand within sentences."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return [" ".join(words.split()) for words in re.findall(r"`(dpenet [^`]+)`", prose)]


COMMANDS = sorted(
    {line for text in TEXTS.values() for line in shell_lines(text) if re.search(r"(^|&& |\| |-I I )dpenet ", line)}
)
COMMANDS = [line for line in COMMANDS if not line.startswith("pip ")]
MENTIONS = sorted({mention for text in TEXTS.values() for mention in mentions(text)})

TELLING = (
    ["weights", "list"],
    ["weights", "show"],
    ["weights", "verify"],
    ["doctor"],
    ["guide"],
    ["benchmark", "--results"],
    ["benchmark", "--dry"],
)
"""Commands that tell something and write nothing."""


@pytest.fixture(scope="session")
def inputs(tmp_path_factory, rainy_photo):
    """The files that the examples speak of."""
    folder = tmp_path_factory.mktemp("inputs")
    pictures = ("photos/a.jpg", "photos/b.jpg", "IMG_0001.jpg", "dry-photos/a.jpg", "dry-photos/b.jpg")
    pairs = ("sets/Rain100L/input/1.png", "sets/Rain100L/target/1.png", "my-method/1.png")
    for number, path in enumerate(pictures + pairs):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(rainy_photo[:, ::-1], 31 * number, 1 - number % 2)).save(folder / path)
    for path in ("dashcam.mp4", "trip/a.mp4"):  # two minutes in thirteen frames
        (folder / path).parent.mkdir(exist_ok=True)
        clip(folder / path, source="testsrc=s=64x48:r=1/10", frames=13)
    failed = {"source": "photos/a.jpg", "output": "clean/a.jpg", "root": "clean", "status": "failed", "time": "2026"}
    for name in ("monday", "tuesday"):
        (folder / f"{name}.jsonl").write_text(json.dumps(failed | {"status": "done"} if name == "tuesday" else failed))
    (folder / "DCIM").mkdir()
    for path in ("DCIM/1.ts", "DCIM/2.ts"):
        clip(folder / path)
    return folder


@pytest.fixture
def folder(tmp_path, inputs):
    return shutil.copytree(inputs, tmp_path / "work")


def test_there_are_commands_to_test():
    assert len(COMMANDS) >= 20
    assert len(MENTIONS) >= 10


@pytest.mark.parametrize("line", COMMANDS, ids=str)
def test_examples_run(line, folder):
    if "--ray" in line:
        pytest.importorskip("ray", reason="the extra `ray` is not installed")
    known = {path for path in folder.rglob("*.*") if path.is_file()}
    before = {path: path.read_bytes() for path in known if path.suffix != ".jsonl"}  # reports are appended to
    if line.startswith("dpenet train"):  # as written, but not for hours
        line += " --steps 2 --batch 1 --crop 32 --threads 1 --validation 1"
    words = line.split()[1:]
    line = re.sub(r"(?<![\w/])dpenet (?=\w)", f"{shlex.quote(command())} ", line, count=1)
    result = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert {path: path.read_bytes() for path in before} == before
    if any(words[: len(telling)] == telling for telling in TELLING):
        assert result.stdout
        return
    made = [path for path in folder.rglob("*.*") if path.is_file() and path not in known and path.name[0] != "."]
    assert bool(made) != ("--dry-run" in line)


@pytest.mark.parametrize("mention", MENTIONS)
def test_mentions_are_commands(mention):
    """Those in sentences take long or hold placeholders, so they are understood, but not run."""
    group, words = typer.main.get_command(app), shlex.split(mention)[1:]
    while words and hasattr(group, "commands"):
        name = words.pop(0)
        group = group.commands[name]
    if words:  # else a command is named, without what it works on
        group.make_context(name, words)


def test_the_first_command_cleans_the_sample(tmp_path):
    """The installing half is what CI and new users do; the other half runs here as it stands."""
    first = next(line for line in shell_lines(README) if line.startswith("pip install") and "derain" in line)
    install, _, run = first.partition(" && ")
    assert install == 'pip install ".[openvino]"'
    run = run.replace("dpenet ", f"{command()} ", 1).replace("-o clean.jpg", f"-o {tmp_path}/clean.jpg")
    subprocess.run(["bash", "-c", run], cwd=ROOT, check=True)
    rainy = np.asarray(Image.open(ROOT / "dpenet_cli/sample/rainy.jpg")).astype(int)
    clean = np.asarray(Image.open(tmp_path / "clean.jpg")).astype(int)
    assert clean.shape == rainy.shape
    assert clean.mean() < rainy.mean() - 5  # the streaks are brighter than what they hide


def test_the_library_lines(rainy_photo, folder, monkeypatch):
    monkeypatch.chdir(folder)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    example = doctest.DocTestParser().get_doctest(code, {"picture": rainy_photo}, "README", "README.md", 0)
    assert len(example.examples) >= 5
    assert doctest.DocTestRunner().run(example).failed == 0
    assert (folder / "clean.jpg").is_file()
    assert (folder / "clean.mp4").is_file()


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_linked_files_exist(path):
    for target in re.findall(r"\]\(([^)#]+)\)", TEXTS[path]):
        assert (path.parent / target).is_file(), target


def test_readme_leads_to_every_page():
    assert set(re.findall(r"\(dpenet_cli/guide/([\w-]+)\.md\)", README)) == set(page_names())


def test_readme_is_short():
    assert len(README.splitlines()) <= 160


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_lines_fit(path):
    """Rows of tables may be wide; a page's examples fit a terminal of 80 columns, with its margins."""
    for line in TEXTS[path].splitlines():
        assert len(line) <= 120 or line.startswith("|"), line
    if path.parent == GUIDE:
        for example in re.findall(r"```bash\n(.*?)```", TEXTS[path], re.DOTALL):
            assert max(map(len, example.splitlines())) <= 78, example


def test_ci_runs_the_test_command():
    assert "/^# tests$/" in (ROOT / ".ci/run").read_text(encoding="utf-8")
    lines = shell_lines(README)
    after = lines[lines.index("# tests") + 1]
    for part in ("pip install", "ruff check", "ruff format --check", "mypy", "pytest"):
        assert part in after
