"""The folders for caches and data stay where version 0.1.0 had them, on each system."""

import itertools
import os
import sys
from pathlib import Path

import platformdirs.macos
import platformdirs.unix
import platformdirs.windows
import pytest

from dpenet_cli.errors import OptionError
from dpenet_cli.system import user_dirs

CLASSES = {
    "linux": platformdirs.unix.Unix,
    "darwin": platformdirs.macos.MacOS,
    "win32": platformdirs.windows.Windows,
}
VARIABLES = ("XDG_CACHE_HOME", "XDG_DATA_HOME", "LOCALAPPDATA")


def places_of_0_1_0(system: str, home: Path) -> tuple[Path, Path]:
    """The cache and the data folder, by the rule of version 0.1.0."""

    def absolute(variable: str) -> Path | None:
        value = os.environ.get(variable, "")
        return Path(value) if value and Path(value).is_absolute() else None

    if system == "win32":
        local = absolute("LOCALAPPDATA") or home / "AppData" / "Local"
        return local / "dpenet" / "Cache", local / "dpenet" / "Data"
    if system == "darwin":
        return home / "Library" / "Caches" / "dpenet", home / "Library" / "Application Support" / "dpenet"
    cache = absolute("XDG_CACHE_HOME") or home / ".cache"
    data = absolute("XDG_DATA_HOME") or home / ".local" / "share"
    return cache / "dpenet", data / "dpenet"


@pytest.fixture(params=CLASSES)
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Another system, as far as these folders go, and a home in it."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(platformdirs, "PlatformDirs", CLASSES[request.param])
    # What Windows itself says; whether it is an absolute path is not for this system to tell.
    monkeypatch.setattr(platformdirs.windows, "get_win_folder", lambda _: str(tmp_path / "home/AppData/Local"))
    monkeypatch.setattr(sys, "platform", request.param)
    return request.param


@pytest.mark.parametrize("values", list(itertools.product([None, "", "relative", "/named"], repeat=3)))
def test_folders_are_those_of_version_0_1_0(system, tmp_path, monkeypatch, values):
    for name, value in zip(VARIABLES, values, strict=True):
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    expected = places_of_0_1_0(system, tmp_path / "home")
    assert (user_dirs.cache_folder(), user_dirs.data_folder()) == expected
    assert not (tmp_path / "home").exists()


def test_without_a_home_the_next_step_is_told(homeless, monkeypatch):
    for folder in (user_dirs.cache_folder, user_dirs.data_folder):
        with pytest.raises(OptionError, match="Set HOME"):
            folder()
    monkeypatch.setenv("XDG_CACHE_HOME", "/named")
    assert user_dirs.cache_folder() == Path("/named/dpenet")


def test_without_a_home_the_compilers_keep_their_folders(homeless, monkeypatch):
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    user_dirs.keep_compilers_tidy()
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ
    monkeypatch.setenv("XDG_CACHE_HOME", "/named")
    user_dirs.keep_compilers_tidy()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/named/dpenet/compiled/inductor"
