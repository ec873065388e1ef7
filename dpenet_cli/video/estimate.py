"""What a video will take, measured before the work starts."""

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass

from dpenet_cli.arrays import Pixels
from dpenet_cli.errors import VideoWriteError
from dpenet_cli.options import VideoCodec
from dpenet_cli.video.deraining import CleanStream, VideoTask, identity, source
from dpenet_cli.video.segments import WorkFolder
from dpenet_cli.video.stream_plan import StreamPlan

_TRIED_FRAMES, _MOST_FRAMES, _TRIED_SECONDS = 2, 64, 2.0
"""Frames on which the network's pace is measured, behind the first: so many at least, and at most; and for how long."""


@dataclass(frozen=True)
class Estimate:
    """What a video will take.

    Attributes:
        seconds_a_frame: measured, of the network.
        frames: that are still to be cleaned.
        seconds: for them.
        bytes_needed: on the output's disk while working: the segments that are not there yet, and the file that is made
            of all of them.
        bytes_free: there now, and what unfinished work gives back.
    """

    seconds_a_frame: float
    frames: int
    seconds: float
    bytes_needed: int
    bytes_free: int


def estimate(work: VideoTask, clean: CleanStream, engine: str) -> Estimate:
    """Clean the first frames of each stream that has some left, and throw them away. Arguments as `clean_video`'s.

    Raises:
        VideoWriteError: the disk does not have the space.
        DpenetError: reading or cleaning failed.
    """
    seconds, left, needed = 0.0, 0, work.seen[0]
    place = WorkFolder(work.job.target, identity(work, engine))
    for strand in work.strands:
        done, held = place.promised(strand.footage.index)
        remaining = max(strand.frames - done, 0)
        needed += held + 2 * _guess_bytes(strand, remaining)
        if not remaining:
            continue
        wanted = range(strand.first, min(strand.first + 1 + _MOST_FRAMES, strand.stop))
        each = _pace(clean, (frame.image for frame in source(work, strand, wanted)))
        seconds, left = seconds + each * remaining, left + remaining
    folder = next(folder for folder in work.job.target.absolute().parents if folder.exists())
    free = shutil.disk_usage(folder).free + place.left_over()
    if free < needed:
        why = f"about {needed / 1e6:.1f} MB are needed while working, and {free / 1e6:.1f} MB are free"
        raise VideoWriteError(str(work.job.target), why, "Free some space, or name another output with -o.")
    return Estimate(seconds / max(left, 1), left, seconds, needed, free)


def _pace(clean: CleanStream, frames: Iterable[Pixels]) -> float:
    """Seconds a frame; the first takes longer than those that follow, and counts only if it is the only one."""
    times = [time.perf_counter()]
    for _ in clean(frames):
        times.append(time.perf_counter())
        if len(times) > 1 + _TRIED_FRAMES and times[-1] - times[1] >= _TRIED_SECONDS:
            break
    first = min(1, len(times) - 2)
    return (times[-1] - times[first]) / (len(times) - 1 - first)


def _guess_bytes(strand: StreamPlan, frames: int) -> int:
    """The size of so many frames by experience: half a bit a pixel for CRF 18, ten for lossless."""
    bits = 10.0 if strand.encoding.codec is VideoCodec.FFV1 else 0.5
    return int(strand.encoding.width * strand.encoding.height * frames * bits / 8)
