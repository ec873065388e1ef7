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


class Counters(NamedTuple):
    """What the counters of a transport stream's packets tell.

    Attributes:
        breaks: places where packets are missing or others were joined, by the bytes at which the one behind begins.
        tables: bytes at which packets with the table of programs begin, rising.
    """

    breaks: tuple[Break, ...] = ()
    tables: tuple[int, ...] = ()

    def restarts(self) -> tuple[int, ...]:
        """Bytes at which all that is there begins anew at once, as where one recording was put behind another."""
        ends = [item.at for item in self.breaks]
        places = []
        for tables in (item for item in self.breaks if item.pid == _TABLES):
            near = self.breaks[bisect_right(ends, tables.before) : bisect_right(ends, tables.at + _REACH)]
            others = [item for item in near if item.pid != _TABLES and item.before < tables.at]
            if others and all(item.fresh and item.at > tables.at - _HEAD for item in others):
                places.append(tables.at)
        return tuple(places)

    def restart_between(self, before: int, at: int) -> int | None:
        """The byte behind one and up to another at which a recording begins, to judge by any counter; None if none.

        In a few pictures' time some counters, that of the tables among them, may by chance go on as if nothing had
        been. So this is the table of programs across which most of them break.
        """
        near = self.breaks[bisect_right(self.breaks, before, key=lambda item: item.at) :]
        near = near[: bisect_right(near, at + _REACH, key=lambda item: item.at)]
        places = self.tables[bisect_right(self.tables, before) : bisect_right(self.tables, at)]
        across = [sum(item.fresh and item.before < place <= item.at for item in near) for place in places]
        return places[across.index(max(across))] if any(across) else None


def count_packets(path: Path) -> Counters:
    """Follow the counters of a transport stream; there are none in files of another kind.

    A packet's counter is one more than that of the packet before it with the same number (PID), modulo 16; it may be
    sent twice, stands still where there is no payload, and may jump where the stream says so.
    """
    with path.open("rb") as file:
        head = file.read(192 * 5)
        length = next(
            (n for n, at in _LENGTHS.items() if len(head) >= 5 * n and set(head[at : 5 * n : n]) == {_SYNC}), 0
        )
        if not length:
            return Counters()
        file.seek(0)
        last: dict[int, tuple[int, int]] = {}
        found: list[Break] = []
        tables: list[int] = []
        begin = 0
        while len(data := file.read(_CHUNK * length)) >= length:
            rows = np.frombuffer(data[: len(data) // length * length], np.uint8).reshape(-1, length)
            positions = begin + length * np.arange(len(rows))
            found += _breaks_in(rows[:, _LENGTHS[length] :], positions, last)
            tables += positions[_numbers(rows[:, _LENGTHS[length] :]) == _TABLES].tolist()
            begin += len(data)
    return Counters(tuple(sorted(found, key=lambda item: item.at)), tuple(tables))


def _numbers(packets: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The number of each of n×188 packets."""
    return (packets[:, 1] & 0x1F).astype(np.int64) << 8 | packets[:, 2]


def _breaks_in(
    packets: NDArray[np.uint8], positions: NDArray[np.int64], last: dict[int, tuple[int, int]]
) -> Iterator[Break]:
    """Breaks in n×188 packets; `last` holds each PID's counter and position from one call to the next."""
    number = _numbers(packets)
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
