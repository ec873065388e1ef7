"""Locks that keep a second run out."""

import multiprocessing
from pathlib import Path

from dpenet_cli.system.locks import BlockedError, hold


def hold_and_say(path: Path, said: "multiprocessing.Queue[str]") -> None:
    try:
        held = hold(path)
    except BlockedError:
        said.put("blocked")
    else:
        said.put("held" if held else "no such locks")


def test_a_held_lock_keeps_another_process_out_until_it_is_released(tmp_path):
    context = multiprocessing.get_context("spawn")
    said = context.Queue()

    def ask() -> str:
        other = context.Process(target=hold_and_say, args=(tmp_path / ".lock", said))
        other.start()
        other.join(60)
        return said.get(timeout=60)

    held = hold(tmp_path / ".lock")
    assert ask() == "blocked"
    held.release()
    assert ask() == "held"
