"""Packages that are missing or do not load, and the lines that install them."""

import io
import os
import re
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import command, dpenet
from rich.console import Console

from dpenet_cli.cli.console import print_error
from dpenet_cli.errors import DeviceError
from dpenet_cli.inference import openvino_ir
from dpenet_cli.system import packages
from dpenet_cli.system.packages import EXTRAS, NEEDED, package_error, pip_install

ROOT = Path(__file__).parents[2]
XCB = "libxcb.so.1: cannot open shared object file: No such file or directory"


def without(folder: Path, module: str, error: str) -> dict[str, str]:
    """An environment in which a package raises an error as it is imported."""
    (folder / f"{module}.py").write_text(f"raise {error}\n", encoding="utf-8")
    path = os.pathsep.join([str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": path}


def import_error(folder: Path, monkeypatch: pytest.MonkeyPatch, module: str, error: str) -> BaseException:
    (folder / f"{module}.py").write_text(f"raise {error}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises((ImportError, OSError)) as caught:
        __import__(module)
    return caught.value


def test_the_requirements_are_those_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: tuple(each) for name, each in project["optional-dependencies"].items() if name != "dev"}
    assert extras == EXTRAS
    assert sorted(project["dependencies"]) == sorted(NEEDED.values())


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_is_installed_by_what_it_stands_for(extra):
    line = pip_install(extra)
    assert re.fullmatch(r'pip install("[a-z0-9-]+(\[[a-z]+\])?>=[\d.]+(,<\d+)?"| )+', line)


def test_no_message_proposes_what_an_index_may_not_have():
    """No line names this package, and none is eaten as markup: it has no brackets, or is text as it stands."""
    for path in (ROOT / "dpenet_cli").rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if "pip install" in line:
                assert "dpenet[" not in line, path


def test_what_a_message_says_is_printed_with_its_brackets():
    out = io.StringIO()
    error = DeviceError("--ray", "dpenet is not there", 'Install it: pip install ".[ray]"')
    print_error(error, Console(file=out, width=400, force_terminal=True, color_system=None))
    assert 'pip install ".[ray]"' in out.getvalue()


@pytest.mark.parametrize(
    ("module", "error", "parts"),
    [
        ("cv2", f"ImportError({XCB!r})", ["libxcb1", "opencv-python-headless"]),
        ("cv2", "ImportError('numpy is of another kind')", ["opencv-python-headless"]),
        ("cv2", "ModuleNotFoundError(\"No module named 'cv2'\", name='cv2')", ['pip install "opencv-python>=']),
        ("av", "ModuleNotFoundError(\"No module named 'av'\", name='av')", ['pip install "av>=']),
        ("av", "ImportError('DLL load failed')", ['pip install --force-reinstall "av>=']),
        ("torch", f"OSError({XCB.replace('libxcb.so.1', 'libgomp.so.1')!r})", ["libgomp1", "pytorch.org"]),
        ("torch", "ModuleNotFoundError(\"No module named 'sympy'\", name='sympy')", ["sympy", "Install PyTorch again"]),
    ],
)
def test_a_package_that_does_not_load_is_told_with_what_to_do(module, error, parts, tmp_path, monkeypatch):
    told = package_error(import_error(tmp_path, monkeypatch, module, error))
    assert told is not None
    for part in parts:
        assert part in str(told)


def test_other_errors_are_left_alone(tmp_path, monkeypatch):
    assert package_error(import_error(tmp_path, monkeypatch, "somebody_elses", "ImportError('no')")) is None
    assert package_error(FileNotFoundError(2, "No such file", "a.jpg")) is None
    assert package_error(ValueError("av")) is None


def test_openvino_that_does_not_load_is_told(tmp_path, monkeypatch):
    gone = "ImportError('libopenvino.so.2640: cannot open shared object file: No such file or directory')"
    error = import_error(tmp_path, monkeypatch, "openvino", gone)
    monkeypatch.setattr(openvino_ir.importlib, "import_module", lambda _: (_ for _ in ()).throw(error))
    with pytest.raises(DeviceError, match=r'libopenvino\.so.*pip install "openvino>=.*--backend torch'):
        openvino_ir.import_openvino()


@pytest.mark.parametrize("arguments", [["video", "a.mp4"], ["benchmark", "--dataset", "demo"]])
def test_without_x_libraries_one_line_says_what_to_do(arguments, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"any")
    run = dpenet(*arguments, cwd=tmp_path, env=without(tmp_path, "cv2", f"ImportError({XCB!r})"))
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
    (line,) = run.stderr.splitlines()
    assert line.startswith("error  opencv-python: ")
    assert "libxcb1" in line
    assert packages.HEADLESS in line


def test_the_doctor_tells_it_and_the_rest(tmp_path):
    assert command()
    run = dpenet("doctor", env=without(tmp_path, "torch", "OSError('libgomp.so.1: cannot open shared object file')"))
    assert run.returncode == 0, run.stderr
    text = " ".join(run.stdout.split())
    assert "torch this package does not load here (libgomp.so.1" in text
    assert "engine - not told: torch: " in text
    assert "libx264" in text
