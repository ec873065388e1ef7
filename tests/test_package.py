"""The package as users get it: a wheel that carries its weights and its sample, and a typed, silent library."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def build(kind, folder, source=ROOT):
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (built,) = folder.glob("*.tar.gz" if kind == "sdist" else "*.whl")
    return built


def unpack(wheel, folder):
    """What an installer puts into site-packages."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def unpacked_wheel(tmp_path_factory):
    """It lies far from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    return unpack(build("wheel", folder), folder / "site")


@pytest.fixture(scope="module")
def unpacked_editable(tmp_path_factory):
    folder = tmp_path_factory.mktemp("editable")
    return unpack(build("wheel:editable", folder), folder / "site")


def test_the_wheel_is_complete_and_nothing_more(unpacked_wheel):
    names = {path.relative_to(unpacked_wheel).as_posix() for path in unpacked_wheel.rglob("*") if path.is_file()}
    needed = ("py.typed", "weights/general.safetensors", "weights/general.md", "sample/rainy.jpg", "__main__.py")
    needed += ("weights/SHA256SUMS", "sample/demo/coffee.jpg", "images/page.css", "images/page.js")
    needed += ("guide/formats.md", "guide/videos.md", "guide/weights.md")
    needed += ("guide/benchmark.md", "guide/speed.md", "guide/training.md", "guide/fine-tuning.md")
    assert names >= {f"dpenet_cli/{name}" for name in needed}
    top = {"dpenet.py", "dpenet-stubs", "dpenet_cli", "dpenet-0.1.0.dist-info"}
    assert {name.split("/")[0] for name in names} == top
    assert {name for name in names if name.startswith("dpenet-stubs/")} == {"dpenet-stubs/__init__.pyi"}
    assert not [name for name in names if name.startswith("dpenet_cli/top")]
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pth")]


def test_the_default_weights_are_found_outside_the_checkout(unpacked_wheel, tmp_path):
    code = (
        "import numpy as np, dpenet, dpenet_cli, sys\n"
        "assert 'torch' not in sys.modules\n"
        "from dpenet_cli.network.weights_files import find_weights\n"
        f"assert dpenet_cli.__file__.startswith({str(unpacked_wheel)!r})\n"
        f"assert str(find_weights('general')).startswith({str(unpacked_wheel)!r})\n"
        f"assert dpenet.__file__.startswith({str(unpacked_wheel)!r})\n"
        "assert dpenet.load is dpenet_cli.load\n"
        "assert dpenet.load()(np.zeros((20, 20, 3), np.uint8)).shape == (20, 20, 3)\n"
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


def test_a_wheel_of_a_source_distribution_holds_the_same(unpacked_wheel, tmp_path):
    with tarfile.open(build("sdist", tmp_path)) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.glob("dpenet-*/")
    built = unpack(build("wheel", tmp_path, source), tmp_path / "site")
    assert {path.relative_to(built) for path in built.rglob("*")} == {
        path.relative_to(unpacked_wheel) for path in unpacked_wheel.rglob("*")
    }


def test_an_editable_install_gives_the_checkout_under_both_names(unpacked_editable, tmp_path):
    code = (
        f"import site; site.addsitedir({str(unpacked_editable)!r})\n"
        "import dpenet, dpenet_cli\n"
        "print(dpenet.__file__, dpenet_cli.__file__, sep='\\n')"
    )
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = [sys.executable, "-S", "-c", code]  # without the packages of this Python
    found = subprocess.run(run, cwd=tmp_path, env=bare, capture_output=True, text=True, check=True).stdout.split()
    assert found == [str(ROOT / "dpenet_cli/top/dpenet.py"), str(ROOT / "dpenet_cli/__init__.py")]


@pytest.mark.long
@pytest.mark.parametrize("kind", ["unpacked_wheel", "unpacked_editable"])
def test_a_program_that_uses_the_library_is_checked_against_its_types(kind, request, tmp_path):
    """In an environment of its own, with the types alone: nothing of it runs."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    packages = next((tmp_path / "venv").glob("[Ll]ib*/**/site-packages"))
    shutil.copytree(request.getfixturevalue(kind), packages, dirs_exist_ok=True)
    (tmp_path / "program.py").write_text(
        "import dpenet\n"
        "derain = dpenet.load('light', device='cpu')\n"
        "outcome = dpenet.clean_file('a.jpg', 'b.jpg', derain=derain)\n"
        "reveal_type(outcome.target)\n"
        "reveal_type(dpenet.errors.ImageError('a', 'b', 'c').why)\n"
        "reveal_type(dpenet.__version__)\n"
        "dpenet.clean_file(3, 'b.jpg')\n"
        "dpenet.nonsense\n",
        encoding="utf-8",
    )
    interpreter = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    check = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(interpreter)]
    check += ["--cache-dir", str(tmp_path / "cache"), "program.py"]
    bare = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "MYPYPATH"}}
    checked = subprocess.run(check, cwd=tmp_path, env=bare, capture_output=True, text=True, check=False)
    assert [line.split(": ", 1)[1] for line in checked.stdout.splitlines() if ": " in line] == [
        'note: Revealed type is "str | None"',
        'note: Revealed type is "str"',
        'note: Revealed type is "str"',
        'error: Argument 1 to "clean_file" has incompatible type "int"; expected "str | Path"  [arg-type]',
        'error: Module has no attribute "nonsense"  [attr-defined]',
    ]
