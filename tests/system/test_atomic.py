"""Files that appear whole or not at all, with the permissions of what they replace."""

import os
import stat
import time
from pathlib import Path

import pytest

from dpenet_cli.system import atomic
from dpenet_cli.system.atomic import lock, name_too_long, remove_leftovers, write_whole


def test_what_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    write_whole(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_go_unless_another_run_writes_them(tmp_path):
    (tmp_path / ".dpenet-left.part").write_bytes(b"half")
    (tmp_path / ".dpenet-link.part").symlink_to(tmp_path / "nowhere")
    with (tmp_path / ".dpenet-busy.part").open("wb") as busy:
        assert lock(busy)
        remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".dpenet-busy.part", ".dpenet-link.part"]


def test_where_files_cannot_be_locked_leftovers_go_by_their_age(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "lock", lambda _: None)  # as on Windows
    left = tmp_path / ".dpenet-left.part"
    left.write_bytes(b"half")
    remove_leftovers(tmp_path)
    assert left.exists()
    os.utime(left, (time.time() - 7200, time.time() - 7200))
    remove_leftovers(tmp_path)
    assert not left.exists()


def test_another_group_may_do_no_more_than_everybody(tmp_path, monkeypatch):
    """Where the group of what is replaced cannot be given to what replaces it."""
    new, path = tmp_path / "new", tmp_path / "old"
    new.touch()
    path.touch()
    path.chmod(0o664)
    found = path.stat()
    other = os.stat_result((*found[:5], found.st_gid + 1, *found[6:]))
    monkeypatch.setattr(Path, "stat", lambda self, **_: other if self == path else os.stat(self))

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "chown", refuse)
    atomic.take_over_mode(new, path)
    assert stat.S_IMODE(os.stat(new).st_mode) == 0o644


def test_windows_counts_letters_and_not_bytes(monkeypatch):
    monkeypatch.setattr("sys.platform", "win32")
    assert not name_too_long(Path("é" * 255))
    assert name_too_long(Path("é" * 256))
