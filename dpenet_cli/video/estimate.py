"""What a video will take, measured before the work starts."""

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass

from dpenet_cli.errors import VideoWriteError
from dpenet_cli.options import VideoCodec
from dpenet_cli.video.frames import Frame, FrameCleaner
from dpenet_cli.video.stream_plan import StreamPlan
from dpenet_cli.video.video_task import VideoTask, identity
from dpenet_cli.video.work_folder import WorkFolder

_MIN_FRAMES, _MAX_FRAMES, _SECONDS = 2, 64, 2.0
"""Frames on which the network's speed is measured, behind the first: so many at least, and at most; and for how long.
"""

_BITS_PER_PIXEL = {VideoCodec.FFV1: 10.0}
"""Of an encoded frame, by experience, where it is not half a bit, as for CRF 18."""


@dataclass(frozen=True)
class Estimate:
    """What a video will take.

    Attributes:
        seconds_per_frame: time that cleaning takes, measured.
        frames: how many are still to be cleaned.
        seconds: time for all of them.
        bytes_needed: on the output's disk while working: the segments that are not there yet, and the file that is made
            of all of them.
        bytes_free: there now, and what unfinished work gives back.
    """

    seconds_per_frame: float
    frames: int
    seconds: float
    bytes_needed: int
    bytes_free: int


def estimate(task: VideoTask, clean: FrameCleaner, engine: str) -> Estimate:
    """Clean the first frames of each stream that has some left, and throw them away. Arguments as `clean_video`'s.

    Raises:
        VideoWriteError: the disk does not have the space.
        DpenetError: reading or cleaning failed.
    """
    # The result holds what is copied too, which is not more than the source.
    seconds, left, needed = 0.0, 0, task.source_state[0] if task.media.part is None else 0
    folder = WorkFolder(task.target, identity(task, engine))
    for plan in task.plans:
        done, held = folder.recorded(plan.stream.index)
        remaining = max(plan.frames - done, 0)
        # Segments that are there are needed once more, in the result; those that are not, twice.
        needed += held + 2 * _expected_bytes(plan, remaining)
        if not remaining:
            continue
        wanted = range(plan.first, min(plan.first + 1 + _MAX_FRAMES, plan.stop))
        each = _seconds_per_frame(clean, task.frames_of(plan, wanted, clean.reach))
        seconds, left = seconds + each * remaining, left + remaining
    disk = next(parent for parent in task.target.absolute().parents if parent.exists())
    free = shutil.disk_usage(disk).free + folder.replaceable_bytes()
    if free < needed:
        why = f"about {needed / 1e6:.1f} MB are needed while working, and {free / 1e6:.1f} MB are free"
        raise VideoWriteError(str(task.target), why, "Free some space, or name another output with -o.")
    return Estimate(seconds / max(left, 1), left, seconds, needed, free)


def _seconds_per_frame(clean: FrameCleaner, frames: Iterable[Frame]) -> float:
    """The first frame takes longer than those that follow, and counts only if it is the only one."""
    times = [time.perf_counter()]
    for _ in clean(frames):
        times.append(time.perf_counter())
        if len(times) > 1 + _MIN_FRAMES and times[-1] - times[1] >= _SECONDS:
            break
    first = min(1, len(times) - 2)
    return (times[-1] - times[first]) / (len(times) - 1 - first)


def _expected_bytes(plan: StreamPlan, frames: int) -> int:
    """The size of so many encoded frames, by experience."""
    bits = _BITS_PER_PIXEL.get(plan.encoding.codec, 0.5)
    return int(plan.encoding.width * plan.encoding.height * frames * bits / 8)
