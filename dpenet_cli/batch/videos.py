"""Many videos, one after the other; one bad video never stops the rest."""

import dataclasses
import hashlib
import math
import shutil
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpenet_cli import __version__
from dpenet_cli.batch.decisions import Decisions
from dpenet_cli.batch.outcomes import Outcome, Report, Status, error_of, input_gone, unexpected, write_error
from dpenet_cli.batch.plans import BadInput
from dpenet_cli.batch.record import of_file
from dpenet_cli.errors import DpenetError, StorageError, VideoReadError, VideoWriteError
from dpenet_cli.options import EngineOptions, VideoMethod, VideoOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.system.storage import local
from dpenet_cli.video.deraining import clean_video
from dpenet_cli.video.estimate import Estimate, estimate
from dpenet_cli.video.over_time import Shares
from dpenet_cli.video.restoration import Restoration, restoration
from dpenet_cli.video.video_task import VideoTask, damage, prepare, with_scales
from dpenet_cli.video.work_folder import remove_stored_work

if TYPE_CHECKING:
    from dpenet_cli.inference.scales import ScaledDerainer

_ROOM = 2**20
"""Bytes without which a disk is full: no segment is smaller."""

_NOTHING = 0.001
"""Share of the picture that is next to nothing."""


class VideoBatch:
    """Every video of a plan in turn, through one network that is loaded when the first needs it, if the method does.

    Args:
        options: how each is cleaned.
        engine: how the network is run.
        weights: their name or path.
        report: told what goes on.
        decisions: which results are to be made; None for those that are missing or older than their sources.
        network: gives the network with these weights and options where it is loaded already.
    """

    def __init__(
        self,
        options: VideoOptions,
        engine: EngineOptions,
        weights: str,
        report: Report,
        decisions: Decisions | None = None,
        *,
        network: "Callable[[], ScaledDerainer] | None" = None,
    ) -> None:
        self._options = options
        self._decisions = decisions or Decisions(overwrite=options.overwrite)
        self._engine_options = engine
        self._weights = weights
        self._report = report
        self._network = network
        self._engine: ScaledDerainer | None = None

    @property
    def description(self) -> str:
        """Device and precision of the network, for a person; empty before it was needed."""
        return self._engine.description if self._engine else ""

    def run(self, jobs: Iterable[Job | BadInput], *, dry: bool) -> Generator[Outcome]:
        """Clean every video, or only look at it and tell what would be done; yield one outcome each, in order.

        Args:
            jobs: what to do, and what cannot be done.
            dry: look and plan alone.
        """
        for job in jobs:
            if isinstance(job, BadInput):
                yield Outcome(job.source, None, Status.FAILED, job.error)
            else:
                outcome = self._one(job, dry=dry)
                yield outcome if job.root is None else dataclasses.replace(outcome, root=str(job.root))

    def _one(self, job: Job, *, dry: bool) -> Outcome:
        """Clean one video; whatever is wrong with it is its own."""
        source, target = str(job.source), str(job.target)
        whole = self._options.preview is None  # a preview is made anew each time, and no record is kept of it
        if whole and not (todo := self._decisions.todo(job)).outputs:
            if not dry:  # a crash between the result and the end of the run can leave its segments behind
                remove_stored_work(local(job.target))
            return Outcome(source, target, Status.SKIPPED, None, todo.notices)
        try:
            return self._cleaned(job, dry=dry)
        except Exception as failure:  # noqa: BLE001 - whatever one video does, the others go on
            return Outcome(source, target, Status.FAILED, _error_of(job, failure))

    def _cleaned(self, job: Job, *, dry: bool) -> Outcome:
        """Clean one video.

        Raises:
            Exception: whatever is wrong with it.
        """
        started = time.perf_counter()
        source, target = str(job.source), str(job.target)
        self._report.stage("looking at every frame")
        task = prepare(job, self._options)
        self._tell(task)
        if dry:
            return Outcome(source, target, Status.PLANNED, None, task.notices, _shown_size(task), **_facts(task))
        task = self._looked_at(task)
        identity = self._identity(task)
        expected = estimate(task, self._restoration(task), identity)
        self._report.note(f"{source}: {_outlook(task, expected)}")
        cleaner = self._restoration(task)

        def made(result: Path) -> None:
            if self._options.preview is None:
                self._decisions.made(job, of_file(result))

        notices = clean_video(task, cleaner, identity, self._frames_told(source, task.frames), made)
        notices = (*task.notices, *notices, *told(cleaner.shares, self._options.method))
        # Damaged input: the result is there (DONE), yet the error makes the exit code 1, unless the user allowed it.
        error = damaged = damage(task)
        if damaged is not None and self._options.allow_damaged:
            error, notices = None, (*notices, damaged.why)
        seconds = time.perf_counter() - started
        shares = cleaner.shares.to_json() if cleaner.shares else None
        used = self._engine.used_for(deep=any(plan.reading.deep for plan in task.plans)) if self._engine else None
        outcome = Outcome(source, target, Status.DONE, error, notices, _shown_size(task), seconds, shares, used=used)
        return dataclasses.replace(outcome, **_facts(task))

    def _tell(self, task: VideoTask) -> None:
        """What is decided, before the work starts."""
        source, target = task.source, task.target
        if source.suffix.lower() != target.suffix.lower():
            self._report.note(f"{source}: the result is a {target.suffix} file")
        for notice in task.notices:
            self._report.note(f"{source}: {notice}")
        for detail in task.details:
            self._report.detail(f"{source}: {detail}")

    def _looked_at(self, task: VideoTask) -> VideoTask:
        """The same with the sizes in which the network sees its scenes, where it is asked at all."""
        if self._options.method is VideoMethod.TEMPORAL or self._engine_options.strength == 0:
            return task
        scaled = self._load()
        self._report.stage("looking at the size of the streaks")
        task = with_scales(task, lambda frames: scaled.choose(frames).scale, self._engine_options.scale)
        for index, scenes in task.scenes.items():
            sizes = ", ".join(f"{scale:.3g}" for scale in dict.fromkeys(scenes.scales))
            scenes_told = f"{len(scenes.scales)} scene(s), seen at {sizes} of their size"
            self._report.detail(f"{task.source}: stream {index}: {scenes_told}")
        return task

    def _restoration(self, task: VideoTask) -> Restoration:
        """What cleans the frames of a video."""
        method, strength = self._options.method, self._engine_options.strength
        engine = None if method is VideoMethod.TEMPORAL else self._load().engine
        levels = min(plan.stream.colour.reference_white for plan in task.plans)
        return restoration(method, engine, strength, fast=self._options.fast, levels=levels)

    def _identity(self, task: VideoTask) -> str:
        """What the result depends on: unfinished work goes on only with the same."""
        options = f"{self._options.method}{' fast' if self._options.fast else ''}"
        how = f"dpenet {__version__} {options} strength {self._engine_options.strength}"
        if self._options.method is VideoMethod.TEMPORAL:
            return how
        from dpenet_cli.network.weights_files import find_weights

        engine = self._load()
        content = hashlib.sha256(Path(find_weights(self._weights)).read_bytes()).hexdigest()
        # The sizes that were decided on, and not how: another rule may decide otherwise.
        sizes = {stream: scenes.scales for stream, scenes in task.scenes.items()}
        return f"{content} {'gpu' if engine.on_gpu else 'cpu'} {self.description} {how} sizes {sizes}"

    def _load(self) -> "ScaledDerainer":
        if self._engine is None:
            self._report.stage(f"loading the network ({self._weights})")
            from dpenet_cli.inference.select import hint

            if self._network is not None and as_asked(self._engine_options, self._options.method):
                self._engine = self._network()
            else:
                self._engine = load_for(self._weights, self._engine_options, self._options.method)
            self._report.detail(f"{self._weights} on {self.description}")
            self._report.advice(hint(self._engine_options))
        return self._engine

    def _frames_told(self, source: str, total: int) -> Callable[[int], None]:
        """What counts the frames that are done, and tells how many a second were cleaned by this run."""
        first: tuple[float, int] | None = None

        def tell(done: int) -> None:
            nonlocal first
            now = time.perf_counter()
            first = first or (now, done)  # frames of an earlier run are done before the first call
            began, before = first
            self._report.frames(source, done, total, (done - before) / (now - began) if done > before else 0.0)

        return tell


def as_asked(engine: EngineOptions, method: VideoMethod) -> bool:
    """Whether a method wants the network as these options have it; `auto` scales its change by itself, with time's."""
    return method is not VideoMethod.AUTO or engine.strength == 1


def load_for(weights: str, engine: EngineOptions, method: VideoMethod) -> "ScaledDerainer":
    """The network as a method asks for it.

    Raises:
        DpenetError: it cannot be loaded.
    """
    from dpenet_cli.inference.scales import load

    return load(weights, engine if as_asked(engine, method) else dataclasses.replace(engine, strength=1.0))


def _facts(task: VideoTask) -> dict[str, Any]:
    """What programs are told of a video: its frames, and what encodes it."""
    encoders = dict.fromkeys(plan.encoding.encoder for plan in task.plans)
    return {"frames": task.frames, "encoder": ", ".join(encoders)}


def _error_of(job: Job, failure: Exception) -> DpenetError:
    """What went wrong with a video, for its owner."""
    if isinstance(failure, VideoReadError):
        return input_gone(job) or error_of(job, failure)
    if isinstance(failure, VideoWriteError) and _is_full(
        local(job.target).parent
    ):  # of which ffmpeg says what it likes
        return StorageError(str(job.target), failure.why, "Free some space; the same command goes on from here.")
    if isinstance(failure, DpenetError):
        return error_of(job, failure)
    if isinstance(failure, OSError):
        return error_of(job, write_error(job.target, failure))
    if isinstance(failure, MemoryError):
        advice = "Close other programs, or set --tile to something small; the same command goes on from here."
        return VideoReadError(str(job.source), "memory ran out", advice)
    return unexpected(str(job.source), failure)


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < _ROOM
    except OSError:
        return False


def told(shares: Shares | None, method: VideoMethod) -> tuple[str, ...]:
    """Where the pictures came from, at the end."""
    if shares is None or not shares.frames:
        return ()
    words = []
    if method is VideoMethod.AUTO:
        percent = math.floor(100 * shares.temporal)  # 100% would leave nothing for the network
        rest = ", the network looked at the rest" if shares.network_tiles else ""
        words.append(f"{percent}% of the picture came from neighbouring frames{rest}")
    if shares.changed / shares.frames + shares.network_tiles / shares.tiles < _NOTHING:
        words.append("next to nothing was changed: its frames show no rain. If you see some, try --method network")
    return tuple(words)


def _outlook(task: VideoTask, expected: Estimate) -> str:
    """What the work will take, before it starts."""
    done = task.frames - expected.frames
    frames = f"{task.frames} frames" + (f", {done} of them done" if done else "")
    finish = time.strftime("%H:%M", time.localtime(time.time() + expected.seconds))
    rate = f", {expected.seconds_per_frame:.2f} s each: done by about {finish}" if expected.frames else ""
    needed, free = expected.bytes_needed / 1e6, expected.bytes_free / 1e9
    return f"{frames}{rate}; needs up to {needed:.1f} MB of the {free:.1f} GB that are free"


def _shown_size(task: VideoTask) -> tuple[int, int]:
    """Width and height of the first stream as it is shown, in pixels."""
    plan = task.plans[0]
    width, height = plan.stream.width, plan.stream.height
    return (height, width) if plan.orientation.sideways else (width, height)
