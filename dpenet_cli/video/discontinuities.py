"""Recordings that were joined with ``cat``: transport and program streams whose clock starts anew on the way.

Dashcams split a drive into many .ts files, and people put them together again. A player takes the jump in its stride; a
container that keeps one clock cannot, so what lies behind a discontinuity is moved to where the recording before it
ends. The clock of the result starts at 0.
"""

import contextlib
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from dpenet_cli.video.mpegts import Continuity
from dpenet_cli.video.safe_open import open_input

_TICK = Fraction(1, 90_000)
"""Seconds a tick of both kinds of stream."""

_BACK, _FORWARD = 90_000 // 2, 10 * 90_000
"""A jump of the first video stream's clock by more ticks than these is a discontinuity: half a second back, or ten
seconds on, the measure that ffmpeg has for it too. Where the counters of a transport stream break, going back at all is
one."""

_TAIL_PICTURES = 3
"""Pictures before a discontinuity that a demuxer may call corrupt because the counters behind it do not fit."""


class Discontinuity(NamedTuple):
    """Where one recording ends and another begins.

    Attributes:
        tail: byte at which the last few pictures before it begin.
        position: byte from which everything belongs to the recording behind it.
        time: when that begins, in seconds of the one clock.
        offset: seconds that are added to every time of that recording.
    """

    tail: int
    position: int
    time: Fraction
    offset: Fraction

    def has_in_tail(self, position: int) -> bool:
        """Whether a packet is one of the last before it, by the byte at which it begins."""
        return self.tail <= position < self.position

    def lies_between(self, before: int, after: int) -> bool:
        """Whether it separates two packets of one stream, by the bytes at which they begin."""
        return before < self.position and after > self.tail


class Timeline(NamedTuple):
    """How a file's times become those of one clock.

    Attributes:
        offset: seconds that are added to every time of the first recording.
        discontinuities: where the others begin, in order.
    """

    offset: Fraction = Fraction(0)
    discontinuities: tuple[Discontinuity, ...] = ()


OWN_CLOCK = Timeline()
"""The timeline of a file that keeps its own clock."""


class Retimer:
    """Moves a file's packets onto one clock; each pass over the file has its own.

    Args:
        timeline: how the file's times become those of the one clock.
    """

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._positions: dict[int, int] = {}

    def retime(self, packet: Any) -> None:
        """Move a packet's times, in place."""
        offset, discontinuities = self._timeline
        if not (offset or discontinuities):
            return
        # A demuxer that splits a packet tells the position of its first part only: the others have that too.
        if packet.pos is not None and packet.pos >= 0:
            self._positions[packet.stream.index] = packet.pos
        position = self._positions.get(packet.stream.index, 0)
        passed = bisect_right(discontinuities, position, key=lambda item: item.position)
        moved = round((discontinuities[passed - 1].offset if passed else offset) / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts + moved
        packet.dts = None if packet.dts is None else packet.dts + moved


class _PacketTable(NamedTuple):
    """Every packet of sound and picture, one row each, in the order in which they lie in the file.

    Attributes:
        positions: bytes at which they begin.
        starts, ends: when they do, in ticks of the file's own clock.
        is_picture: whether each is of the first video stream.
    """

    positions: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    is_picture: NDArray[np.int64]

    def pictures_before(self, row: int) -> NDArray[np.int64]:
        """Rows of the first video stream before a row."""
        return np.flatnonzero(self.is_picture[:row])


def find_timeline(path: Path, continuity: Continuity) -> Timeline:
    """Where one recording ends and another begins, on a clock that starts at 0.

    Transport and program streams have a clock that was running before, perhaps for hours, which no player shows, and
    recorders' .dav files that of the day; other kinds of files keep their own, and cannot be joined so.

    Args:
        path: the file.
        continuity: what its packets' counters tell. Where all of them begin anew, so does a recording, be its clock as
            it may.
    """
    with open_input(path) as container:
        if container.format.name == "dhav":
            return Timeline(-_first_picture(container))
        if container.format.name not in {"mpegts", "mpeg"} or not container.streams.video:
            return OWN_CLOCK
        table = _read_packets(container)
    if not len(table.positions):
        return OWN_CLOCK
    jumps = _clock_jumps(table.positions, table.starts, table.is_picture, continuity)
    # Some recordings go on with the clock of the one before: these keep its offset, and are only told.
    bounds = sorted(jumps + _silent_restarts(table, jumps, continuity))
    jumped = {begin for _, begin in jumps}
    discontinuities: list[Discontinuity] = []
    # The first clock runs until the first jump. Its earliest packet, sound or picture, becomes 0.
    first_offset = offset = -int(table.starts[: min(jumped, default=len(table.starts))].min())
    reached = begin = tail = 0
    for last, end in [*bounds, (0, len(table.positions))]:  # the rows begin..end are one recording
        begins_at = int(table.starts[begin:end].min())
        if begin in jumped:
            offset = reached - begins_at  # it begins where the one before it ended, whatever its own clock said
        if begin:
            time = (begins_at + offset) * _TICK
            discontinuities.append(Discontinuity(tail, int(table.positions[begin]), time, offset * _TICK))
        reached = int(table.ends[begin:end].max(initial=0)) + offset
        # For the discontinuity behind this recording: where its last few pictures lie.
        pictures = table.pictures_before(last + 1)
        begin, tail = end, int(table.positions[pictures[-_TAIL_PICTURES:][0]]) if len(pictures) else 0
    return Timeline(first_offset * _TICK, tuple(discontinuities))


def _first_picture(container: Any) -> Fraction:
    """When the first picture of a recorder's file is shown, by its clock, which is that of the day."""
    for packet in _until_error(container.demux(container.streams.video)):
        if packet.pts is not None:
            return Fraction(packet.pts * packet.time_base)
    return Fraction(0)


def _read_packets(container: Any) -> _PacketTable:
    rows = array("q")
    last_position: dict[int, int] = {}
    reference = container.streams.video[0].index
    for packet in _until_error(container.demux([*container.streams.video, *container.streams.audio])):
        times = [time for time in (packet.dts, packet.pts) if time is not None]
        if not times:
            continue
        index = packet.stream.index
        if packet.pos is not None and packet.pos >= 0:  # a packet that was split has one position for all its parts
            last_position[index] = packet.pos
        *ticks, duration = [round(time * packet.time_base / _TICK) for time in (*times, packet.duration or 0)]
        # Times of decoding and of showing may differ by several pictures: a recording spans both.
        rows.extend((last_position.get(index, 0), min(ticks), max(ticks) + duration, index == reference))
    table = np.frombuffer(rows, np.int64).reshape(-1, 4) if rows else np.zeros((0, 4), np.int64)
    # A demuxer hands packets over as they are complete; a cut through the file needs them as they begin.
    table = table[np.argsort(table[:, 0], kind="stable")]
    return _PacketTable(*table.T)


def _until_error(packets: Iterator[Any]) -> Iterator[Any]:
    """Packets up to where the file cannot be read any more, which the scan will tell."""
    with contextlib.suppress(av.FFmpegError):
        yield from packets


def _clock_jumps(
    positions: NDArray[np.int64], starts: NDArray[np.int64], is_picture: NDArray[np.int64], continuity: Continuity
) -> list[tuple[int, int]]:
    """Rows of the last picture before each jump of the clock, and of the first packet of any stream behind it.

    Behind a recording of less than half a second the clock goes back by less than that: there the counters decide.
    """
    rows = np.flatnonzero(is_picture)
    steps = np.diff(starts[rows])
    jumps = []
    for place in np.flatnonzero((steps <= 0) | (steps > _FORWARD)):
        old, new = int(rows[place]), int(rows[place + 1])
        if -_BACK <= steps[place] <= 0:
            begin = continuity.restart_between(int(positions[old]), int(positions[new]))
            if begin is not None:
                jumps.append((old, int(np.searchsorted(positions, begin))))
            continue
        # Sound may begin before the picture: the first packet whose time is nearer to the new clock than to the old.
        nearer = np.abs(starts[old:new] - starts[new]) < np.abs(starts[old:new] - starts[old])
        jumps.append((old, old + int(np.argmax(nearer)) if nearer.any() else new))
    return jumps


def _silent_restarts(
    table: _PacketTable, jumps: list[tuple[int, int]], continuity: Continuity
) -> list[tuple[int, int]]:
    """As `_clock_jumps`, where all counters begin anew and the clock goes on."""
    restarts: list[tuple[int, int]] = []
    for position in continuity.restarts():
        behind = int(np.searchsorted(table.positions, position))
        before = table.pictures_before(behind)
        known = any(table.positions[last] < position <= table.positions[begin] for last, begin in (*jumps, *restarts))
        if len(before) and behind < len(table.positions) and not known:
            restarts.append((int(before[-1]), behind))
    return restarts
