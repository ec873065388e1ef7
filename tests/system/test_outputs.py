"""The one rule for files that a command writes."""

from pathlib import Path

import pytest

from dpenet_cli.errors import InputError, OptionError
from dpenet_cli.system.outputs import Output, check_outputs, file_key


def test_what_would_lose_a_file_is_refused(tmp_path):
    rainy, there, folder = tmp_path / "rainy.png", tmp_path / "there.png", tmp_path / "folder"
    rainy.touch()
    there.touch()
    folder.mkdir()
    new = Output(tmp_path / "new.png", "a")
    check_outputs([new], [rainy])
    refused = {
        "it is an input": [Output(rainy, "a")],
        "both a and b": [new, Output(tmp_path / "folder/../new.png", "b")],
        "exists already.*--overwrite": [Output(there, "a")],
        "a folder, a pipe or a device": [Output(folder, "a")],
    }
    for why, outputs in refused.items():
        with pytest.raises(InputError, match=why):
            check_outputs(outputs, [rainy])
    check_outputs([Output(there, "a")], [rainy], overwrite=True)
    check_outputs([Output(there, "a", redone=True)], [rainy])
    with pytest.raises(OptionError, match="Take another"):
        check_outputs([Output(there, "a")], [], elsewhere="Take another", kind=OptionError)


def test_paths_are_compared_as_the_file_system_does(tmp_path, monkeypatch):
    link = tmp_path / "link.png"
    link.symlink_to(tmp_path / "a.png")
    assert file_key(link) == file_key(tmp_path / "a.png")
    assert file_key(Path("A.png")) != file_key(Path("a.png"))
    monkeypatch.setattr("sys.platform", "darwin")
    assert file_key(Path("A.png")) == file_key(Path("a.png"))
