"""MPEG transport streams number their packets: a gap is damage that a decoder often hides."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_SYNC = 0x47
_LENGTHS = {188: 0, 192: 4}
"""Bytes a packet, and where its sync byte stands: plain, and with the time stamp of Blu-ray and AVCHD cameras."""

_CHUNK = 20_000
"""Packets looked at at once: 4 MB."""

_PADDING = 0x1FFF


def gaps(path: Path) -> int:
    """Places where packets of a transport stream are missing; 0 for files of another kind.

    A packet's counter is one more than that of the packet before it with the same number (PID), modulo 16; it may be
    sent twice, stands still where there is no payload, and may jump where the stream says so.
    """
    with path.open("rb") as file:
        head = file.read(192 * 5)
        length = next(
            (n for n, at in _LENGTHS.items() if len(head) >= 5 * n and set(head[at : 5 * n : n]) == {_SYNC}), 0
        )
        if not length:
            return 0
        file.seek(0)
        last: dict[int, int] = {}
        found = 0
        while len(data := file.read(_CHUNK * length)) >= length:
            rows = np.frombuffer(data[: len(data) // length * length], np.uint8).reshape(-1, length)
            found += _gaps_in(rows[:, _LENGTHS[length] :], last)
    return found


def _gaps_in(packets: NDArray[np.uint8], last: dict[int, int]) -> int:
    """Gaps in n×188 packets; `last` holds each PID's counter from one call to the next."""
    number = (packets[:, 1] & 0x1F).astype(int) << 8 | packets[:, 2]
    counts = (packets[:, 3] & 0x10) > 0
    announced = ((packets[:, 3] & 0x20) > 0) & (packets[:, 4] > 0) & ((packets[:, 5] & 0x80) > 0)
    counter = (packets[:, 3] & 0x0F).astype(int)
    in_step = packets[:, 0] == _SYNC
    found = int((~in_step).any())
    for pid in np.unique(number[in_step & counts]):
        if pid == _PADDING:
            continue
        chosen = in_step & counts & (number == pid)
        values = counter[chosen]
        before = np.concatenate(([last.get(int(pid), values[0])], values[:-1]))
        steps = (values - before) % 16
        found += int(((steps > 1) & ~announced[chosen]).sum())
        last[int(pid)] = int(values[-1])
    return found
