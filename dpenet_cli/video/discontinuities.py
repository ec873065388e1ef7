"""Recordings that were joined with ``cat``: transport and program streams whose clock starts anew on the way.

Dashcams split a drive into many .ts files, and people put them together again. A player takes the jump in its stride; a
container that keeps one clock cannot, so what lies behind a joint is moved to where the part before it ends. The clock
of the result starts at 0.
"""

import contextlib
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpenet_cli.video.mpegts import Counters
from dpenet_cli.video.safe_open import open_input

_UNIT = Fraction(1, 90_000)
"""Seconds a tick of both kinds of stream."""

_BACK, _FORWARD = 90_000 // 2, 10 * 90_000
"""A jump of the first video stream's clock by more ticks than these is a joint: half a second back, or ten seconds on,
the measure that ffmpeg has for it too. Where the counters of a transport stream break, going back at all is one."""


_FEW = 3
"""Pictures before a joint that a demuxer may call corrupt because the counters behind it do not fit."""


class Discontinuity(NamedTuple):
    """Where one recording ends and another begins.

    Attributes:
        last: byte at which the last few pictures before it begin.
        position: byte from which everything belongs to the recording behind it.
        time: when that begins, in seconds of the one clock.
        offset: seconds that are added to every time of that recording.
    """

    last: int
    position: int
    time: Fraction
    offset: Fraction

    def is_near(self, position: int) -> bool:
        """Whether a packet is one of the last before it."""
        return self.last <= position < self.position

    def lies_between(self, before: int, after: int) -> bool:
        """Whether it separates two packets of one stream, by the bytes at which they begin."""
        return before < self.position and after > self.last


class Timeline(NamedTuple):
    """How a file's times become those of one clock.

    Attributes:
        offset: seconds that are added to every time of the first recording.
        joints: where the others begin, in order.
    """

    offset: Fraction = Fraction(0)
    joints: tuple[Discontinuity, ...] = ()


AS_IT_IS = Timeline()
"""The timeline of a file that keeps its own clock."""


class Clock:
    """Moves a file's packets onto one clock; each pass over the file has its own.

    Args:
        timeline: of the file.
    """

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._positions: dict[int, int] = {}

    def set(self, packet: Any) -> None:
        """Move a packet's times, in place."""
        offset, joints = self._timeline
        if not (offset or joints):
            return
        if packet.pos is not None and packet.pos >= 0:  # a packet that was split has one position for all its parts
            self._positions[packet.stream.index] = packet.pos
        position = self._positions.get(packet.stream.index, 0)
        passed = bisect_right(joints, position, key=lambda joint: joint.position)
        moved = round((joints[passed - 1].offset if passed else offset) / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts + moved
        packet.dts = None if packet.dts is None else packet.dts + moved


def find_timeline(path: Path, counters: Counters) -> Timeline:
    """Where one recording ends and another begins, on a clock that starts at 0.

    Transport and program streams have a clock that was running before, perhaps for hours, which no player shows; other
    kinds of files keep their own, and cannot be joined so.

    Args:
        path: the file.
        counters: of its packets. Where all of them begin anew, so does a recording, be its clock as it may.
    """
    with open_input(path) as container:
        if container.format.name not in {"mpegts", "mpeg"} or not container.streams.video:
            return AS_IT_IS
        positions, starts, ends, pictures = _packets(container)
    bounds = _jumps(positions, starts, pictures, counters)
    jumped = {begin for _, begin in bounds}
    for place in counters.restarts():
        behind = int(np.searchsorted(positions, place))
        before = np.flatnonzero(pictures[:behind])
        known = any(positions[last] < place <= positions[begin] for last, begin in bounds)
        if len(before) and behind < len(positions) and not known:
            bounds.append((int(before[-1]), behind))
    if not len(positions):
        return AS_IT_IS
    joints: list[Discontinuity] = []
    offset = -int(starts[: min(jumped, default=len(starts))].min())
    first, reached, begin = offset, 0, 0
    for last, end in [*sorted(bounds), (0, len(positions))]:
        if begin in jumped:
            offset = reached - int(starts[begin:end].min())
        if begin:
            time = int(starts[begin:end].min()) + offset
            joints.append(Discontinuity(place, int(positions[begin]), time * _UNIT, offset * _UNIT))
        reached = int(ends[begin:end].max(initial=0)) + offset
        before = np.flatnonzero(pictures[: last + 1])
        begin, place = end, int(positions[before[-_FEW:][0]]) if len(before) else 0
    return Timeline(first * _UNIT, tuple(joints))


def _packets(container: Any) -> tuple[NDArray[np.int64], ...]:
    """Position, start and end of every packet of sound and picture, and whether it is of the first video stream."""
    rows = array("q")
    held: dict[int, int] = {}
    reference = container.streams.video[0].index
    for packet in _whole(container.demux([*container.streams.video, *container.streams.audio])):
        times = [time for time in (packet.dts, packet.pts) if time is not None]
        if not times:
            continue
        index = packet.stream.index
        if packet.pos is not None and packet.pos >= 0:
            held[index] = packet.pos
        ticks = [round(time * packet.time_base / _UNIT) for time in (*times, packet.duration or 0)]
        rows.extend((held.get(index, 0), min(ticks[:-1]), max(ticks[:-1]) + ticks[-1], index == reference))
    table = np.frombuffer(rows, np.int64).reshape(-1, 4) if rows else np.zeros((0, 4), np.int64)
    table = table[np.argsort(table[:, 0], kind="stable")]
    return tuple(table.T)


def _whole(packets: Iterator[Any]) -> Iterator[Any]:
    """Packets up to where the file cannot be read any more, which the scan will tell."""
    import av

    with contextlib.suppress(av.FFmpegError):
        yield from packets


def _jumps(
    positions: NDArray[np.int64], starts: NDArray[np.int64], pictures: NDArray[np.int64], counters: Counters
) -> list[tuple[int, int]]:
    """Rows of the last picture before each jump, and of the first packet of any stream behind it.

    Behind a recording of less than half a second the clock goes back by less than that: there the counters decide.
    """
    rows = np.flatnonzero(pictures)
    steps = np.diff(starts[rows])
    found = []
    for place in np.flatnonzero((steps <= 0) | (steps > _FORWARD)):
        old, new = int(rows[place]), int(rows[place + 1])
        if -_BACK <= steps[place] <= 0:
            begin = counters.restart_between(int(positions[old]), int(positions[new]))
            if begin is not None:
                found.append((old, int(np.searchsorted(positions, begin))))
            continue
        nearer = np.abs(starts[old:new] - starts[new]) < np.abs(starts[old:new] - starts[old])
        behind = old + int(np.argmax(nearer)) if nearer.any() else new  # sound may begin before the picture
        found.append((old, behind))
    return found
