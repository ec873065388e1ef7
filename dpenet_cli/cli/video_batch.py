"""What ``dpenet video`` does with its inputs, one after the other, and what it tells meanwhile."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from dpenet_cli.batch.pictures import Outcome, Status, error_of, is_done, write_error
from dpenet_cli.batch.planning import Plan
from dpenet_cli.cli.console import BatchReport, Exit
from dpenet_cli.errors import DpenetError, VideoReadError
from dpenet_cli.options import EngineOptions, VideoOptions
from dpenet_cli.system.outputs import Job

if TYPE_CHECKING:
    from dpenet_cli.inference.multi_gpu import Engine
    from dpenet_cli.video.estimate import Estimate
    from dpenet_cli.video.video_task import VideoTask


class VideoBatch:
    """One command: every video in turn, through one engine that is loaded when the first needs it."""

    def __init__(
        self, batch: Plan, report: BatchReport, options: VideoOptions, engine: EngineOptions, weights: str
    ) -> None:
        self._batch = batch
        self._report = report
        self._options = options
        self._engine_options = engine
        self._weights = weights
        self._derainer: Engine | None = None
        self._engine = ""

    def run(self, *, dry: bool) -> Exit:
        """Clean every video, or only tell what would be done; tell the exit code."""
        for notice in self._batch.notices:
            self._report.note(notice)
        for bad in self._batch.bad:
            self._report.outcome(Outcome(bad.source, None, Status.FAILED, bad.error))
        try:
            for job in self._batch.jobs:
                self._report.outcome(self._one(job, dry=dry), plainly=dry)
        except KeyboardInterrupt:
            return self._report.finish(description=self._description, interrupted=True)
        return self._report.finish(description=self._description)

    @property
    def _description(self) -> str:
        return self._derainer.description if self._derainer else ""

    def _one(self, job: Job, *, dry: bool) -> Outcome:
        """Clean one video; whatever is wrong with it is its own."""
        source, target = str(job.source), str(job.target)
        from dpenet_cli.video.deraining import clean_video
        from dpenet_cli.video.estimate import estimate
        from dpenet_cli.video.video_task import damage, prepare
        from dpenet_cli.video.work_folder import remove_stored_work

        if not self._options.overwrite and self._options.preview is None and is_done(job):
            if not dry:
                remove_stored_work(job.target)
            return Outcome(source, target, Status.SKIPPED)
        started = time.perf_counter()
        try:
            self._report.stage("looking at every frame")
            work = prepare(job, self._options)
            self._tell(work)
            if dry:
                return Outcome(source, target, Status.PLANNED, None, work.notices, _size(work))
            derainer = self._load()
            self._report.note(_outlook(work, estimate(work, derainer.stream, self._engine)))
            notices = clean_video(work, derainer.stream, self._engine, _Progress(self._report, work))
            error = None if self._options.allow_damaged else damage(work)
            if error is None and (harm := damage(work)):
                notices += (harm.why,)
        except DpenetError as failure:
            return Outcome(source, target, Status.FAILED, error_of(job, failure))
        except OSError as failure:
            return Outcome(source, target, Status.FAILED, error_of(job, write_error(job.target, failure)))
        except MemoryError:
            advice = "Close other programs, or set --tile to something small; the same command goes on from here."
            return Outcome(source, target, Status.FAILED, VideoReadError(source, "memory ran out", advice))
        taken = time.perf_counter() - started
        return Outcome(source, target, Status.DONE, error, (*work.notices, *notices), _size(work), taken)

    def _tell(self, work: "VideoTask") -> None:
        """What is decided, before the work starts."""
        if work.job.source.suffix.lower() != work.job.target.suffix.lower():
            self._report.note(f"{work.job.source}: the result is a {work.job.target.suffix} file")
        for notice in work.notices:
            self._report.note(f"{work.job.source}: {notice}")
        for detail in work.details:
            self._report.detail(f"{work.job.source}: {detail}")

    def _load(self) -> "Engine":
        if self._derainer is None:
            import hashlib

            from dpenet_cli.inference.multi_gpu import load_engine
            from dpenet_cli.inference.select import hint
            from dpenet_cli.network.checkpoints import find_weights

            self._derainer = load_engine(self._weights, self._engine_options)
            content = hashlib.sha256(Path(find_weights(self._weights)).read_bytes()).hexdigest()
            kind = "gpu" if self._derainer.on_gpu else "cpu"
            self._engine = f"{content} {kind} {self._derainer.description} strength {self._engine_options.strength}"
            self._report.detail(f"{self._weights} on {self._derainer.description}")
            self._report.advice(hint(self._engine_options))
        return self._derainer


class _Progress:
    """Counts the frames that are done, and how many a second were cleaned by this run."""

    def __init__(self, report: BatchReport, work: "VideoTask") -> None:
        self._report = report
        self._total = work.frames
        self._begun: tuple[float, int] | None = None

    def __call__(self, done: int) -> None:
        now = time.perf_counter()
        if self._begun is None:
            self._begun = now, done
        began, before = self._begun
        speed = (done - before) / (now - began) if done > before else 0.0
        self._report.frames(done, self._total, speed)


def _outlook(work: "VideoTask", expected: "Estimate") -> str:
    """What the work will take, before it starts."""
    done = work.frames - expected.frames
    frames = f"{work.frames} frames" + (f", {done} of them done" if done else "")
    finish = time.strftime("%H:%M", time.localtime(time.time() + expected.seconds))
    pace = f", {expected.seconds_per_frame:.2f} s each: done by about {finish}" if expected.frames else ""
    return (
        f"{work.job.source}: {frames}{pace}; "
        f"needs up to {expected.bytes_needed / 1e6:.1f} MB of the {expected.bytes_free / 1e9:.1f} GB that are free"
    )


def _size(work: "VideoTask") -> tuple[int, int]:
    plan = work.plans[0]
    width, height = plan.stream.width, plan.stream.height
    return (height, width) if plan.orientation.sideways else (width, height)
