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
NO_ROOMS = {"__init__.py", "__main__.py", "dpenet.py"}
MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name not in NO_ROOMS]


def listed(docstring: str) -> list[str]:
    """The names of a map, in order."""
    return re.findall(r"^    (\w+)  +\S", docstring, re.MULTILINE)


ROOMS = listed(dpenet_cli.__doc__)
FILES = {
    room: listed(
        ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8")), clean=False)
    )
    for room in ROOMS
    if (PACKAGE / room).is_dir()
}
ORDER = [f"{room}.{name}" if name else room for room in ROOMS for name in FILES.get(room, [""])]
"""Every file of the package, from the first to read to the last."""


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imports(path: Path) -> set[str]:
    """The files of the package that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            if module == "dpenet_cli" or module.startswith("dpenet_cli."):
                inside = module.removeprefix("dpenet_cli").lstrip(".")
                names = [f"{inside}.{alias.name}".lstrip(".") for alias in node.names]
                found |= {name if name in ORDER else inside for name in names if not name.startswith("__")}
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("dpenet_cli.") for alias in node.names if "dpenet_cli." in alias.name}
    return found


def test_the_maps_name_every_file_once():
    assert sorted(ORDER) == sorted(dotted(path) for path in MODULES)


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_imports_point_up_the_maps(path):
    here = ORDER.index(dotted(path))
    for name in imports(path):
        assert name in ORDER, f"{dotted(path)} imports {name}, which is no file: import from where a thing is"
        assert ORDER.index(name) < here, f"{dotted(path)} imports {name}, which comes later"


@pytest.mark.parametrize("room", FILES)
def test_a_package_imports_nothing_by_itself(room):
    """Importing a light file of it must not drag in a heavy one, nor a name hide a file."""
    assert not imports(PACKAGE / room / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_only_the_command_line_prints(path):
    if dotted(path).startswith("cli."):
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
        ["derain", "--dry-run", ".", "--ray"],
        ["video", "--help"],
        ["benchmark", "--help"],
        ["train", "--help"],
        ["weights", "--help"],
        ["weights", "list", "--help"],
        ["weights", "show", "--help"],
        ["weights", "pull", "--help"],
        ["weights", "verify", "--help"],
        ["weights", "convert", "--help"],
        ["doctor", "--help"],
        ["guide", "--help"],
        ["guide"],
        ["guide", "videos"],
        ["export", "--help"],
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(arguments, tmp_path):
    code = (
        "import sys; sys.argv = ['dpenet', *sys.argv[1:]]\n"
        "from dpenet_cli.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "late = {'torch', 'numpy', 'PIL', 'cv2', 'av', 'safetensors', 'openvino', 'onnx', 'fsspec', 'ray'}\n"
        "heavy = late & set(sys.modules)\n"
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
    group = typer_main.get_command(importlib.import_module("dpenet_cli.cli.app").app)
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
