"""MPEG transport streams count their packets: a break in the counters is damage, or a place where files were joined."""

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_SYNC_BYTE = 0x47

_PACKET_LENGTHS = {188: 0, 192: 4}
"""Bytes a packet, and where its sync byte stands: plain, and with the time stamp of Blu-ray and AVCHD cameras."""

_CHUNK = 20_000
"""Packets looked at at once: 4 MB."""

_PAT_PID, _NULL_PID = 0, 0x1FFF
"""The packet identifier of the program association table, with which every recording begins, and that of filling."""

_BEFORE_PAT = 4 * 192
"""Bytes of other tables that may stand before the program association table with which a recording begins."""

_AFTER_PAT = 2**20
"""Bytes behind that table in which the recording's other streams are looked for."""


class CounterBreak(NamedTuple):
    """A place where the packets of one identifier do not follow each other.

    Attributes:
        pid: their packet identifier; -1 where the packets themselves are lost.
        before, at: bytes at which the packet before and the one behind begin.
        unit_start: whether the one behind begins something new: a picture, a table.
    """

    pid: int
    before: int
    at: int
    unit_start: bool


class Continuity(NamedTuple):
    """What the continuity counters of a transport stream tell.

    Attributes:
        breaks: places where packets are missing or others were joined, by the bytes at which the one behind begins.
        pat_positions: bytes at which packets with the program association table begin, rising.
    """

    breaks: tuple[CounterBreak, ...] = ()
    pat_positions: tuple[int, ...] = ()

    def restarts(self) -> tuple[int, ...]:
        """Bytes at which all that is there begins anew at once, as where one recording was put behind another."""
        ends = [item.at for item in self.breaks]
        restarts = []
        for table in (item for item in self.breaks if item.pid == _PAT_PID):
            # Every other stream that breaks across this table must do so at the start of a unit, and not before it:
            # packets that got lost leave a stream in the middle of one.
            near = self.breaks[bisect_right(ends, table.before) : bisect_right(ends, table.at + _AFTER_PAT)]
            others = [item for item in near if item.pid != _PAT_PID and item.before < table.at]
            if others and all(item.unit_start and item.at > table.at - _BEFORE_PAT for item in others):
                restarts.append(table.at)
        return tuple(restarts)

    def restart_between(self, before: int, at: int) -> int | None:
        """The byte behind one and up to another at which a recording begins, to judge by any counter; None if none.

        In a few pictures' time some counters, that of the tables among them, may by chance go on as if nothing had
        been. So this is the program association table across which most of them break.
        """
        near = self.breaks[bisect_right(self.breaks, before, key=lambda item: item.at) :]
        near = near[: bisect_right(near, at + _AFTER_PAT, key=lambda item: item.at)]
        tables = self.pat_positions[bisect_right(self.pat_positions, before) : bisect_right(self.pat_positions, at)]
        across = [sum(item.unit_start and item.before < table <= item.at for item in near) for table in tables]
        return tables[across.index(max(across))] if any(across) else None


def check_continuity(path: Path) -> Continuity:
    """Follow the continuity counters of a transport stream; there are none in files of another kind.

    A packet's counter is one more than that of the packet before it with the same identifier, modulo 16; it may be
    sent twice, stands still where there is no payload, and may jump where the stream says so.
    """
    with path.open("rb") as file:
        length = _packet_length(file.read(192 * 5))
        if not length:
            return Continuity()
        file.seek(0)
        last: dict[int, tuple[int, int]] = {}
        breaks: list[CounterBreak] = []
        pat_positions: list[int] = []
        begin = 0
        while len(data := file.read(_CHUNK * length)) >= length:
            # A last packet that is not whole is left out.
            rows = np.frombuffer(data[: len(data) // length * length], np.uint8).reshape(-1, length)  # n×188 or n×192
            packets = rows[:, _PACKET_LENGTHS[length] :]  # n×188, sync byte first
            positions = begin + length * np.arange(len(rows))  # n
            breaks += _breaks_in(packets, positions, last)
            pat_positions += positions[_pids(packets) == _PAT_PID].tolist()
            begin += len(data)
    return Continuity(tuple(sorted(breaks, key=lambda item: item.at)), tuple(pat_positions))


def _packet_length(head: bytes) -> int:
    """Bytes a packet, where the first five begin with the sync byte; 0 if this is no transport stream."""
    for length, sync_at in _PACKET_LENGTHS.items():
        if len(head) >= 5 * length and set(head[sync_at : 5 * length : length]) == {_SYNC_BYTE}:
            return length
    return 0


def _pids(packets: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The packet identifier of each of n×188 packets: 13 bits."""
    return (packets[:, 1] & 0x1F).astype(np.int64) << 8 | packets[:, 2]


def _breaks_in(
    packets: NDArray[np.uint8], positions: NDArray[np.int64], last: dict[int, tuple[int, int]]
) -> Iterator[CounterBreak]:
    """Breaks in n×188 packets.

    Args:
        packets: whole packets in their order, n×188.
        positions: bytes at which they begin.
        last: counter and position of each identifier's last packet; kept from one call to the next.
    """
    # ISO/IEC 13818-1, 2.4.3.2: the bits of the packet's header, one number a packet.
    pid = _pids(packets)  # n
    has_payload = (packets[:, 3] & 0x10) > 0
    # An adaptation field (byte 3) that is not empty (byte 4) may announce a discontinuity (byte 5).
    announced = ((packets[:, 3] & 0x20) > 0) & (packets[:, 4] > 0) & ((packets[:, 5] & 0x80) > 0)
    counter = (packets[:, 3] & 0x0F).astype(int)
    unit_start = (packets[:, 1] & 0x40) > 0
    in_step = packets[:, 0] == _SYNC_BYTE
    # Bytes are missing: from there on rows are no packets. One break says so; what they seem to count is not looked at.
    if not in_step.all():
        lost = int(positions[np.argmin(in_step)])
        yield CounterBreak(-1, lost, lost, unit_start=False)
    for number in np.unique(pid[in_step & has_payload]):
        if number == _NULL_PID:  # filling is not counted
            continue
        rows = np.flatnonzero(in_step & has_payload & (pid == number))  # k of n
        # The last packet of the chunk before stands in front; the very first one of all follows itself.
        before = last.get(int(number), (counter[rows[0]], int(positions[rows[0]])))
        counters = np.concatenate(([before[0]], counter[rows]))  # k+1
        places = np.concatenate(([before[1]], positions[rows]))  # k+1
        # A step of 1 is the next packet, of 0 the same one sent twice.
        for step in np.flatnonzero((np.diff(counters) % 16 > 1) & ~announced[rows]):
            yield CounterBreak(int(number), int(places[step]), int(places[step + 1]), bool(unit_start[rows[step]]))
        last[int(number)] = int(counters[-1]), int(places[-1])
