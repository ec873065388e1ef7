"""What a worker of a cluster does with its rows: the very code that runs without one.

Nothing heavy is imported before the number of threads is set, which OpenMP reads once.
"""

import contextlib
import dataclasses
import logging
import os
import platform
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dpenet_cli import __version__
from dpenet_cli.batch.decisions import Decisions, Todo
from dpenet_cli.batch.outcomes import Outcome
from dpenet_cli.batch.ray_rows import Task, error_row, job_of, outcome_row
from dpenet_cli.batch.record import Entries, Written
from dpenet_cli.errors import DpenetError, InputError, StorageError
from dpenet_cli.network.weights_files import digest_of
from dpenet_cli.options import PictureOptions, VideoMethod, VideoOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.system.storage import Place

if TYPE_CHECKING:
    from dpenet_cli.batch.pictures import Clean
    from dpenet_cli.batch.videos import VideoBatch


class Needs(NamedTuple):
    """What must be the same on every machine that works.

    Attributes:
        inputs: folders that must be there.
        files: files that must be there, with their sizes in bytes.
        outputs: folders that must be there, to which results go.
        weights: name or path of the weights; None where no network is run.
        digest: their SHA-256.
        machines: whether several machines write into one output folder.
    """

    inputs: tuple[str, ...]
    files: tuple[tuple[str, int], ...]
    outputs: tuple[str, ...]
    weights: str | None
    digest: str | None
    machines: bool = False


def lacking(needs: Needs) -> DpenetError | None:
    """What this machine lacks to do its part, or None."""
    here = platform.node()
    step = "Put inputs and results on storage that every machine of the cluster has under the same path."
    for folder in (*needs.inputs, *needs.outputs):
        if not os.path.isdir(folder):  # noqa: PTH112 - false, not an error, where permission is missing
            return InputError(folder, f"the machine {here} does not see this folder", step)
    for name, size in needs.files:
        try:
            if Path(name).stat().st_size == size:
                continue
            why = f"the machine {here} sees another file there"
        except OSError as error:
            why = f"the machine {here} does not see this file ({error.strerror or error})"
        return InputError(name, why, step)
    if needs.weights is None:
        return None
    try:
        if digest_of(needs.weights) == needs.digest:
            return None
    except DpenetError as error:
        return type(error)(error.what, f"on the machine {here}: {error.why}", error.next_step)
    why = f"the machine {here} has other weights under this name"
    return InputError(needs.weights, why, "Install the same dpenet on every machine of the cluster.")


def look(needs: Needs) -> tuple[str, dict[str, str] | None]:
    """The version of dpenet on a machine, and what the machine lacks, as a row."""
    error = lacking(needs)
    return __version__, None if error is None else error_row(error)


class Told(Decisions):
    """What is to be written is decided where the run was started; here results are only entered in the record."""

    def __init__(self, task: Task, machine: str | None) -> None:
        super().__init__(None)
        self._task = task
        self._machine = machine
        self._outputs: dict[Place, tuple[Place, ...]] = {}
        self._entries: dict[Place, Entries] = {}
        self._entries_lock = threading.Lock()

    def take(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Job]:
        """The jobs of rows; what is to be written for each is remembered until it is asked for."""
        for row in rows:
            job, self._outputs[job.target] = job_of(row)
            yield job

    def todo(self, job: Job) -> Todo:
        """What is to be done for a job."""
        return Todo(self._outputs.pop(job.target, ()))

    def made(self, job: Job, written: Written) -> None:
        """Enter a job's result in the record, if there is one.

        Raises:
            OSError: as the system reports it.
        """
        if self._task.asked is None or job.root is None:
            return
        with self._entries_lock:
            if job.root not in self._entries:
                self._entries[job.root] = Entries(job.root, self._task.asked, self._task.shard, self._machine)
        self._entries[job.root].add(job.target, written)

    def close(self) -> None:
        """Close the records."""
        for entries in self._entries.values():
            entries.close()
        self._entries.clear()


class _Messages(logging.Handler):
    """What is said meanwhile, until it is fetched; a `Report` of videos, too.

    Args:
        verbose: every decision is told.
        stopped: once it is set, the work in hand ends as after Ctrl-C.
    """

    def __init__(self, *, verbose: bool, stopped: threading.Event) -> None:
        super().__init__()
        self._verbose = verbose
        self._stopped = stopped
        self._texts: list[tuple[str, str]] = []
        self.frames_done = (0, 0, 0.0)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what the library logs: warnings as notes, the rest as details."""
        (self.note if record.levelno >= logging.WARNING else self.detail)(record.getMessage())

    def note(self, text: str) -> None:
        """Keep what the user should know."""
        self._texts.append(("note", text))

    def advice(self, text: str) -> None:
        """Leave out what would help the person at this machine: nobody is."""

    def detail(self, text: str) -> None:
        """Keep what those want who asked for everything."""
        if self._verbose:
            self._texts.append(("detail", text))

    def stage(self, text: str) -> None:  # noqa: ARG002 - what is going on now is old when it gets there
        """Stop here, if that was asked for."""
        self.look()

    def frames(self, source: str, done: int, total: int, speed: float) -> None:  # noqa: ARG002 - the others' are told too
        """Note how far the current video is."""
        self.frames_done = done, total, speed
        self.look()

    def look(self, _share: float = 0.0) -> None:
        """Stop here, if that was asked for.

        Raises:
            KeyboardInterrupt: it was.
        """
        if self._stopped.is_set():
            raise KeyboardInterrupt

    def fetch(self) -> list[tuple[str, str]]:
        """What was said since the last time: kind and text of each."""
        texts, self._texts = self._texts, []
        return texts


class Worker:
    """One engine, and what it is asked to do; on a cluster, an actor.

    Args:
        task: what is the same for all rows.
        needs: what the machine must have.
        threads: CPU threads for everything in this process; None on a GPU, where Ray has set them.
    """

    def __init__(self, task: Task, needs: Needs, threads: int | None) -> None:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the command does
        if threads is not None:
            os.environ["OMP_NUM_THREADS"] = str(threads)
            import cv2

            cv2.setNumThreads(threads)
        self._task = dataclasses.replace(task, engine=dataclasses.replace(task.engine, threads=threads))
        self._needs = needs
        self._stopped = threading.Event()
        self._messages = _Messages(verbose=task.verbose, stopped=self._stopped)
        self._told = Told(task, platform.node() if needs.machines else None)
        self._engine: tuple[Clean, PictureOptions] | None = None
        self._batch: VideoBatch | None = None
        self._description = ""
        logger = logging.getLogger("dpenet_cli")
        logger.addHandler(self._messages)
        logger.setLevel(logging.INFO if task.verbose else logging.WARNING)

    def ready(self) -> dict[str, Any]:
        """Look whether this machine can do its part, and load the network; tell what came of it."""
        try:
            error = lacking(self._needs)
            if error is None and not self._task.for_videos:
                self._load()
        except DpenetError as failure:
            error = failure
        return {
            "machine": platform.node(),
            "node": _node(),
            "description": self._description,
            "error": None if error is None else error_row(error),
            "messages": self._messages.fetch(),
        }

    def clean(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Clean what rows name; give a row for each that was begun, seconds in all, and what was said.

        After `stop`, what was being written is finished, and the rest is not begun.
        """
        started = time.monotonic()
        jobs = self._told.take(rows)
        outcomes = self._videos(jobs) if self._task.for_videos else self._pictures(jobs)
        done = []
        with contextlib.suppress(KeyboardInterrupt):
            for outcome in outcomes:
                done.append(outcome_row(outcome))
                if isinstance(outcome.error, StorageError):
                    self._stopped.set()  # the others would fail as well
        return {"rows": done, "seconds": time.monotonic() - started, "messages": self._messages.fetch()}

    def stop(self) -> None:
        """End the work in hand as Ctrl-C does, and begin no other."""
        self._stopped.set()

    def meanwhile(self) -> dict[str, Any]:
        """How far the current video is, and what was said; asked while `clean` is at work."""
        return {"frames": self._messages.frames_done, "messages": self._messages.fetch()}

    def close(self) -> None:
        """Flush the records to the disk."""
        self._told.close()

    def _pictures(self, jobs: Iterator[Job]) -> Iterator[Outcome]:
        from dpenet_cli.batch.pictures import run

        clean, options = self._load()
        return run(self._until_stopped(jobs), clean, options, self._told)

    def _videos(self, jobs: Iterator[Job]) -> Iterator[Outcome]:
        from dpenet_cli.batch.videos import VideoBatch

        task = self._task
        assert isinstance(task.options, VideoOptions)
        if self._batch is None:
            self._batch = VideoBatch(task.options, task.engine, task.weights, self._messages, self._told)
        return self._batch.run(self._until_stopped(jobs), dry=False)

    def _until_stopped(self, jobs: Iterator[Job]) -> Iterator[Job]:
        for job in jobs:
            self._messages.look()
            yield job

    def _load(self) -> "tuple[Clean, PictureOptions]":
        if self._engine is None:
            from dpenet_cli.batch.pictures import suited_to
            from dpenet_cli.inference.scales import load

            assert isinstance(self._task.options, PictureOptions)
            derainer = load(self._task.weights, self._task.engine)
            self._description = derainer.description
            clean = partial(derainer.clean, progress=self._messages.look)
            self._engine = clean, suited_to(derainer, self._task.options)
        return self._engine


def _node() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())


def runs_network(task: Task) -> bool:
    """Whether a network is run at all."""
    return not (isinstance(task.options, VideoOptions) and task.options.method is VideoMethod.TEMPORAL)
