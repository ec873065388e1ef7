"""What a worker of a cluster does with its rows: the very code that runs without one.

Nothing heavy is imported before the number of threads is set, which OpenMP reads once.
"""

import contextlib
import dataclasses
import logging
import os
import platform
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from dpenet_cli.batch.decisions import Decisions, Todo
from dpenet_cli.batch.outcomes import Outcome
from dpenet_cli.batch.ray_messages import Messages
from dpenet_cli.batch.ray_needs import Needs, lacking
from dpenet_cli.batch.ray_rows import Task, broke_down, error_row, job_of, outcome_row
from dpenet_cli.batch.record import Entries, Written
from dpenet_cli.errors import DpenetError, StorageError
from dpenet_cli.options import PictureOptions, VideoOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.system.storage import Place

if TYPE_CHECKING:
    from dpenet_cli.batch.pictures import Clean
    from dpenet_cli.batch.videos import VideoBatch


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


Ask = Callable[..., Any]
"""Asks the ledger: the name of a method, and what it takes."""


class Worker:
    """One engine, and what it is asked to do; an actor of Ray Data's pool holds it.

    Args:
        task: what is the same for all rows.
        needs: what the machine must have.
        threads: CPU threads for everything in this process; None on a GPU, where Ray has set them.
        ask: asks the ledger.
        here: identities of this actor and its machine.
    """

    patience = 30.0
    """Seconds until a worker leaves a machine that cannot do its part; Ray starts it again, there or elsewhere."""

    deaths = 3
    """Workers that die over one row, alone, until it is the row's fault."""

    def __init__(self, task: Task, needs: Needs, threads: int | None, ask: Ask, here: tuple[str, str]) -> None:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the command does
        if threads is not None:
            os.environ["OMP_NUM_THREADS"] = str(threads)
            import cv2

            cv2.setNumThreads(threads)
        self._task = dataclasses.replace(task, engine=dataclasses.replace(task.engine, threads=threads))
        self._ask = ask
        self._name, self._node = here
        self._life = secrets.token_hex(8)
        self._stopped = threading.Event()
        self._messages = Messages(verbose=task.verbose, stopped=self._stopped)
        self._told = Told(task, platform.node() if needs.machines else None)
        self._engine: tuple[Clean, PictureOptions] | None = None
        self._batch: VideoBatch | None = None
        self._description = ""
        self._lock = threading.Lock()
        self._number: int | None = None
        self._fresh: dict[int, dict[str, Any]] = {}
        logger = logging.getLogger("dpenet_cli")
        logger.addHandler(self._messages)
        logger.setLevel(logging.INFO if task.verbose else logging.WARNING)
        if self._cannot(needs):
            time.sleep(self.patience)
            os._exit(1)  # after an exception Ray would give up what a lost worker had in hand
        self._attend()

    def __call__(self, number: int, rows: list[Mapping[str, Any]]) -> dict[str, Any]:
        """Clean what a hand of rows names; give a row for each that was begun, and seconds in all.

        After `Ledger.stop`, what was being written is finished, and the rest is not begun.

        Args:
            number: of the hand.
            rows: from `row_of`.
        """
        started = time.monotonic()
        known = self._ask("take", self._name, self._life, self._node, number, len(rows))
        outcomes: dict[int, Mapping[str, Any]] = dict(known["outcomes"])
        if known["stopped"]:
            self._stopped.set()
        with self._lock:
            self._number, self._fresh = number, {}
        left = {place: row for place, row in enumerate(rows) if place not in outcomes}
        doing = self._alone(number, left, known["deaths"]) if known["alone"] else self._together(left)
        with contextlib.suppress(KeyboardInterrupt):
            for place, outcome in doing:
                outcomes[place] = row = outcome_row(outcome)
                with self._lock:
                    self._fresh[place] = row
                if isinstance(outcome.error, StorageError):
                    self._stopped.set()  # the others would fail as well
        with self._lock:
            self._number, self._fresh = None, {}
        self._ask("finish", number, outcomes)
        return {"number": number, "rows": list(outcomes.values()), "seconds": time.monotonic() - started}

    def __del__(self) -> None:
        if hasattr(self, "_lock"):
            self.close()

    def say(self) -> float:
        """Tell the ledger what is new, and do what it says.

        Returns:
            Seconds until there should be more to say.
        """
        with self._lock:
            number, fresh, self._fresh = self._number, self._fresh, {}
        messages, frames = self._messages.fetch(), self._messages.frames_done if number is not None else (0, 0, 0.0)
        answer = self._ask("tell", self._name, number, fresh, messages, frames)
        if answer["stopped"]:
            self._stopped.set()
        if answer["ended"]:
            self.close()
        return float(answer["pause"])

    def close(self) -> None:
        """Flush the records to the disk."""
        self._told.close()
        self._ask("bye", self._name)

    def _attend(self) -> None:
        """Speak with the ledger while there is work."""
        threading.Thread(target=_say, args=(weakref.ref(self),), daemon=True).start()

    def _cannot(self, needs: Needs) -> bool:
        """Look whether this machine can do its part, load the network, and tell what came of it."""
        try:
            error = lacking(needs)
            if error is None and not self._task.for_videos:
                self._load()
        except DpenetError as failure:
            error = failure
        told = {"worker": self._name, "node": self._node, "description": self._description}
        lacks = None if error is None else error_row(error)
        self._ask("hello", {**told, "error": lacks, "messages": self._messages.fetch()})
        return error is not None

    def _together(self, rows: Mapping[int, Mapping[str, Any]]) -> Iterator[tuple[int, Outcome]]:
        """Do rows, the next read while one is in work."""
        places = {row["target"]: place for place, row in rows.items()}
        for outcome in self._outcomes(rows.values()):
            yield places[str(outcome.target)], outcome

    def _alone(
        self, number: int, rows: Mapping[int, Mapping[str, Any]], deaths: Mapping[int, int]
    ) -> Iterator[tuple[int, Outcome]]:
        """Do rows one by one, so that the one is known over which a worker dies."""
        for place, row in rows.items():
            if deaths.get(place, 0) >= self.deaths:
                yield place, broke_down(job_of(row)[0], deaths[place], self._task)
                continue
            self._messages.look()
            with self._lock:
                fresh, self._fresh = self._fresh, {}
            self._ask("begin", number, place, fresh)
            for outcome in self._outcomes([row]):
                yield place, outcome

    def _outcomes(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Outcome]:
        jobs = self._told.take(rows)
        return self._videos(jobs) if self._task.for_videos else self._pictures(jobs)

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


def _say(found: "weakref.ref[Worker]") -> None:
    """Tell the ledger what a worker does, while there is that worker."""
    pause = 0.0
    while True:
        time.sleep(pause)
        worker = found()
        if worker is None:
            return
        pause = worker.say()
        del worker
