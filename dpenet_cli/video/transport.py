"""MPEG transport streams number their packets: a break in the numbers is damage, or a place where files were joined."""

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_SYNC = 0x47
_LENGTHS = {188: 0, 192: 4}
"""Bytes a packet, and where its sync byte stands: plain, and with the time stamp of Blu-ray and AVCHD cameras."""

_CHUNK = 20_000
"""Packets looked at at once: 4 MB."""

_TABLES, _PADDING = 0, 0x1FFF
"""Numbers (PID) of the packets that hold the table of programs, with which every recording begins, and of filling."""

_HEAD = 4 * 192
"""Bytes of other tables that may stand before it."""

_REACH = 2**20
"""Bytes behind it in which the others are looked for."""


class Break(NamedTuple):
    """A place where the packets of one number do not follow each other.

    Attributes:
        pid: their number; -1 where the packets themselves are lost.
        before, at: bytes at which the packet before and the one behind begin.
        fresh: whether the one behind begins something new: a picture, a table.
    """

    pid: int
    before: int
    at: int
    fresh: bool


def breaks(path: Path) -> tuple[Break, ...]:
    """Places where packets of a transport stream are missing or others were joined; none for files of another kind.

    A packet's counter is one more than that of the packet before it with the same number (PID), modulo 16; it may be
    sent twice, stands still where there is no payload, and may jump where the stream says so.
    """
    with path.open("rb") as file:
        head = file.read(192 * 5)
        length = next(
            (n for n, at in _LENGTHS.items() if len(head) >= 5 * n and set(head[at : 5 * n : n]) == {_SYNC}), 0
        )
        if not length:
            return ()
        file.seek(0)
        last: dict[int, tuple[int, int]] = {}
        found: list[Break] = []
        begin = 0
        while len(data := file.read(_CHUNK * length)) >= length:
            rows = np.frombuffer(data[: len(data) // length * length], np.uint8).reshape(-1, length)
            positions = begin + length * np.arange(len(rows))
            found += _breaks_in(rows[:, _LENGTHS[length] :], positions, last)
            begin += len(data)
    return tuple(sorted(found, key=lambda item: item.at))


def _breaks_in(
    packets: NDArray[np.uint8], positions: NDArray[np.int64], last: dict[int, tuple[int, int]]
) -> Iterator[Break]:
    """Breaks in n×188 packets; `last` holds each PID's counter and position from one call to the next."""
    number = (packets[:, 1] & 0x1F).astype(int) << 8 | packets[:, 2]
    counts = (packets[:, 3] & 0x10) > 0
    announced = ((packets[:, 3] & 0x20) > 0) & (packets[:, 4] > 0) & ((packets[:, 5] & 0x80) > 0)
    counter = (packets[:, 3] & 0x0F).astype(int)
    fresh = (packets[:, 1] & 0x40) > 0
    in_step = packets[:, 0] == _SYNC
    if not in_step.all():
        lost = int(positions[np.argmin(in_step)])
        yield Break(-1, lost, lost, fresh=False)
    for pid in np.unique(number[in_step & counts]):
        if pid == _PADDING:
            continue
        rows = np.flatnonzero(in_step & counts & (number == pid))
        value, where = last.get(int(pid), (counter[rows[0]], int(positions[rows[0]])))
        values = np.concatenate(([value], counter[rows]))
        places = np.concatenate(([where], positions[rows]))
        for step in np.flatnonzero((np.diff(values) % 16 > 1) & ~announced[rows]):
            yield Break(int(pid), int(places[step]), int(places[step + 1]), bool(fresh[rows[step]]))
        last[int(pid)] = int(values[-1]), int(places[-1])


def restarts(found: tuple[Break, ...]) -> tuple[int, ...]:
    """Bytes at which all that is there begins anew at once, as where one recording was put behind another."""
    ends = [item.at for item in found]
    places = []
    for tables in (item for item in found if item.pid == _TABLES):
        near = found[bisect_right(ends, tables.before) : bisect_right(ends, tables.at + _REACH)]
        others = [item for item in near if item.pid != _TABLES and item.before < tables.at]
        if others and all(item.fresh and item.at > tables.at - _HEAD for item in others):
            places.append(tables.at)
    return tuple(places)
