"""The house: imports run one way, names are public on purpose, torch comes late."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dpenet_cli

PACKAGE = Path(dpenet_cli.__file__).parent
ORDER = re.findall(r"^    (\w+)  +\S", dpenet_cli.__doc__, re.MULTILINE)


def room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "dpenet_cli":
                found |= {alias.name for alias in node.names if not alias.name.startswith("__")}
            elif node.module and node.module.startswith("dpenet_cli."):
                found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("dpenet_cli.")}
    return found


MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent != PACKAGE or not path.name.startswith("__")]


def test_the_map_names_every_room_once():
    assert sorted(ORDER) == sorted({room(path) for path in MODULES})
    assert len(ORDER) == len(set(ORDER))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_up_the_map(path):
    here = ORDER.index(room(path))
    for name in imports(path):
        assert ORDER.index(name) <= here, f"{path.name} imports {name}, which comes later"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_only_the_command_line_prints(path):
    if room(path) == "cli":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{path}:{node.lineno}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            assert not any(name.split(".")[0] in {"typer", "rich"} for name in names), f"{path}:{node.lineno}"


def test_public_names_are_there():
    for name in dpenet_cli.__all__:
        assert getattr(dpenet_cli, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        dpenet_cli.nonsense  # noqa: B018


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["derain", "--help"],
        ["derain", "--dry-run", "."],
        ["video", "--help"],
        ["weights", "pull", "--help"],
        ["benchmark", "--help"],
        ["doctor", "--help"],
        ["export", "--help"],
    ],
)
def test_torch_is_not_imported_before_it_is_needed(arguments, tmp_path):
    code = (
        "import sys; sys.argv = ['dpenet', *sys.argv[1:]]\n"
        "from dpenet_cli.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'cv2', 'av', 'safetensors', 'openvino', 'onnx'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr


def commands(group):
    """Every command with its name, those of groups within the group too."""
    for name, command in group.commands.items():
        yield name, command
        if hasattr(command, "commands"):
            yield from commands(command)


def test_every_command_and_option_has_help():
    typer_main = importlib.import_module("typer.main")
    group = typer_main.get_command(importlib.import_module("dpenet_cli.cli").app)
    for name, command in commands(group):
        assert command.help, name
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{name} {parameter.name}"


def test_docstrings_of_public_names():
    for path in MODULES:
        module = ast.parse(path.read_text(encoding="utf-8"))
        classes = [node for node in module.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
        for node in [module, *module.body, *(member for owner in classes for member in owner.body)]:
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                name = getattr(node, "name", path.name)
                overload = any(getattr(d, "id", "") == "overload" for d in getattr(node, "decorator_list", []))
                assert name.startswith("_") or overload or ast.get_docstring(node), f"{path}: {name} has no docstring"
