"""A pool of workers on a Ray cluster, and the rows on their way: who is lost is made good, and no row with it."""

import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from dpenet_cli.batch.outcomes import Outcome, Report
from dpenet_cli.batch.ray_connection import Place, in_short, is_alive, nobody
from dpenet_cli.batch.ray_messages import Voices
from dpenet_cli.batch.ray_rows import Row, Task, broke_down, error_of_row, outcome_of, row_of
from dpenet_cli.batch.ray_worker import Needs, Worker
from dpenet_cli.errors import StorageError

_BATCH_SECONDS = 3.0
"""Work that a worker is given at a time: enough that handing it over costs nothing, little enough to lose."""

_BATCHES_A_SECOND = 200
"""Most batches that are handed out in a second, over all workers: with very many, each gets more at a time."""

_LARGEST_BATCH = 500

_DEATHS = 3
"""Workers that die over one row, alone, until it is the row's fault."""

_LOOK_SECONDS = 2.0
"""Between two looks at how videos go."""

_WAITING_SECONDS = 20.0
"""Time without any worker after which the user is told what is being waited for."""

_PATIENCE = 60.0
"""Seconds in which workers must end what they write when they are told to stop."""


@dataclass
class _Seat:
    """A worker, and the batches that it has, the first of them in work.

    Attributes:
        actor: it.
        batches: by what Ray answers for each.
        ready: its machine sees what it must, and its network is loaded.
        alone: what it has in work is a row that a worker was lost with.
        machine: its machine's name, once it has been ready.
        node: its machine's identity in the cluster.
    """

    actor: Any
    batches: dict[Any, list[Row]] = field(default_factory=dict)
    ready: bool = False
    alone: bool = False
    machine: str = ""
    node: str = ""


class Pool:
    """Workers for one run.

    Args:
        ray: the connected module.
        task: what is to be done with rows.
        needs: what each machine must have; one that comes later and lacks it is left out.
        place: what each worker takes of its machine.
        report: told what goes on.
        grows: machines may come: one worker more than there is room for is always wanted.
    """

    def __init__(self, ray: Any, task: Task, needs: Needs, place: Place, report: Report, *, grows: bool) -> None:
        self._ray = ray
        self._task = task
        self._voices = Voices(report)
        self._place = place
        self._grows = grows
        group = {"control": 1}  # answered while the worker is at work
        self._remote = ray.remote(
            num_cpus=place.cpus, num_gpus=place.gpus, max_restarts=-1, max_task_retries=0, concurrency_groups=group
        )(Worker)
        self._wants = (task, needs, task.engine.threads if place.gpus else place.cpus)
        self._seats: list[_Seat] = []
        self._left_out: list[Mapping[str, str]] = []
        self._asked: dict[Any, _Seat] = {}
        self._again: deque[Row] = deque()
        self._settled: deque[Outcome] = deque()
        self._exhausted = False
        self._seconds_each: float | None = None
        self._idle_since: float | None = time.monotonic()
        self._looked = time.monotonic()
        self._engine = ""

    @property
    def description(self) -> str:
        """What computes, for a person."""
        machines = len({seat.node for seat in self._seats if seat.machine})
        workers = sum(bool(seat.machine) for seat in self._seats)
        return f"{workers} worker(s) on {machines} machine(s)" + (f" ({self._engine})" if self._engine else "")

    def outcomes(self, rows: Iterator[Outcome | Row]) -> Generator[Outcome]:
        """Do everything, and yield one outcome each, as they come, those that are there already among them.

        After a `StorageError` what is being written is finished, and no more is begun.

        Raises:
            DpenetError: no worker can be had.
            KeyboardInterrupt: there was one, in here or thrown in, after the outcomes of what was written meanwhile.
        """
        for _ in range(max(self._place.workers, 1)):
            self._hire()
        try:
            while True:
                yield from self._hand_out(rows)
                if self._is_done():
                    return
                self._wait()
                for outcome in self._told_outcomes():
                    yield outcome
                    if isinstance(outcome.error, StorageError):
                        yield from self._stopped()
                        return
        except KeyboardInterrupt:
            yield from self._stopped()
            raise
        finally:
            self._dismiss()

    def _is_done(self) -> bool:
        return self._exhausted and not self._again and not any(seat.batches for seat in self._seats)

    def _hire(self) -> None:
        seat = _Seat(self._remote.remote(*self._wants))
        self._seats.append(seat)
        self._ask_ready(seat)

    def _ask_ready(self, seat: _Seat) -> None:
        """Ask until it can answer: a worker that is started again, or waits for room, does so when it is there."""
        seat.ready = False
        self._asked[seat.actor.ready.options(max_task_retries=-1).remote()] = seat

    def _hand_out(self, rows: Iterator[Outcome | Row]) -> Iterator[Outcome]:
        """Give each worker its next batch before it has done the last; outcomes that are found on the way come out.

        Rows that a worker was lost with are given alone: it may die over the second of two before the answer for the
        first is on its way, and the wrong one of them would be blamed.
        """
        slow = self._task.for_videos or self._seconds_each is None or self._seconds_each >= _BATCH_SECONDS
        for most in (1,) if slow else (1, 2):
            for seat in self._seats:
                if not seat.ready or len(seat.batches) >= most:
                    continue
                if seat.batches and (seat.alone or self._again):
                    continue
                seat.alone = bool(self._again)
                batch = yield from self._next_batch(rows)
                if not batch:
                    return
                answer = seat.actor.clean.remote([row_of(row.job, row.outputs) for row in batch])
                seat.batches[answer] = batch
                self._asked[answer] = seat

    def _next_batch(self, rows: Iterator[Outcome | Row]) -> Generator[Outcome, None, list[Row]]:
        if self._again:
            return [self._again.popleft()]
        size = 1
        if not self._task.for_videos and self._seconds_each is not None:
            seconds = max(_BATCH_SECONDS, len(self._seats) / _BATCHES_A_SECOND)
            size = min(max(int(seconds / max(self._seconds_each, 1e-6)), 1), _LARGEST_BATCH)
        batch: list[Row] = []
        while len(batch) < size and not self._exhausted:
            row = next(rows, None)
            if row is None:
                self._exhausted = True
            elif isinstance(row, Outcome):
                yield row
            else:
                batch.append(row)
        return batch

    def _wait(self) -> None:
        """Wait for an answer, and take all that are there."""
        asked = list(self._asked)
        answers, _ = self._ray.wait(asked, timeout=_LOOK_SECONDS)
        if answers:
            answers, _ = self._ray.wait(asked, num_returns=len(asked), timeout=0)
        for answer in answers:
            if answer in self._asked:  # it is not if its worker was found to be lost
                self._take(answer)
        self._look_meanwhile()
        if any(seat.ready for seat in self._seats):
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = time.monotonic()
        elif time.monotonic() - self._idle_since > _WAITING_SECONDS:
            gpu = " and a GPU" if self._place.gpus else ""
            self._voices.note(
                f"waiting for the cluster: no machine has {self._place.cpus} free core(s){gpu} for a worker"
            )

    def _take(self, answer: Any) -> None:
        seat = self._asked[answer]
        try:
            told = self._ray.get(answer)
        except self._ray.exceptions.RayError as error:
            self._make_good(seat, error)
            return
        self._voices.tell(told["messages"])
        del self._asked[answer]
        batch = seat.batches.pop(answer, None)
        if batch is None:
            self._seat(seat, told)
        else:
            self._settle(batch, told)

    def _seat(self, seat: _Seat, told: Mapping[str, Any]) -> None:
        """A worker is there: it gets work, or, where its machine lacks something, none; it keeps the room."""
        seat.machine, seat.node = told["machine"], told["node"]
        if told["error"] is None:
            seat.ready = True
            self._engine = told["description"]
            self._voices.engine(self._engine)
        else:
            seat.machine = ""
            self._left_out.append(told["error"])
            error = error_of_row(told["error"])
            if len(self._left_out) >= len(self._seats):
                raise error
            self._voices.note(f"a machine is left out: {error.what}: {error.why}")
        waiting = any(asked not in owner.batches for asked, owner in self._asked.items() if not owner.ready)
        if self._grows and not waiting and not self._exhausted:
            self._hire()

    def _settle(self, batch: list[Row], told: Mapping[str, Any]) -> None:
        """Outcomes of a batch; rows that were not begun are given out again."""
        left = {str(row_of(row.job, ())["target"]): row for row in batch}
        for each in told["rows"]:
            self._settled.append(outcome_of(each, left.pop(each["target"]).job))
        self._again.extend(left.values())
        each = told["seconds"] / len(batch)
        self._seconds_each = each if self._seconds_each is None else 0.7 * self._seconds_each + 0.3 * each

    def _make_good(self, seat: _Seat, error: Exception) -> None:
        """A worker is lost, or broke down: what it had is given out again, and it is asked for anew."""
        lost = list(seat.batches.values())
        for gone in [gone for gone, owner in self._asked.items() if owner is seat]:
            del self._asked[gone]
        seat.batches.clear()
        if not lost:  # it could not even be started
            self._seats.remove(seat)
            what = "is gone" if seat.machine else "cannot be started"
            self._voices.note(f"a worker {what} for good ({in_short(error)})")
            if not self._seats:
                raise nobody(in_short(error), gone=bool(seat.machine))
            return
        blamed, *others = lost
        if len(blamed) == 1 and is_alive(self._ray, seat.node):  # else the machine took the worker with it
            (row,) = blamed
            blamed = [row._replace(deaths=row.deaths + 1)]
            if row.deaths + 1 == _DEATHS:
                self._settled.append(broke_down(row.job, _DEATHS, in_short(error), self._task))
                blamed = []
        for batch in (blamed, *others):
            self._again.extend(batch)
        self._ask_ready(seat)

    def _told_outcomes(self) -> Iterator[Outcome]:
        while self._settled:
            yield self._settled.popleft()

    def _look_meanwhile(self) -> None:
        """How videos go, which take long, and what is said about them."""
        busy = [seat for seat in self._seats if seat.batches]
        if not self._task.for_videos or not busy or time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        asked = [seat.actor.meanwhile.options(concurrency_group="control").remote() for seat in busy]
        answers, _ = self._ray.wait(asked, num_returns=len(asked), timeout=_LOOK_SECONDS)
        frames = []
        for answer in answers:
            with suppress(self._ray.exceptions.RayError):  # it is found out where its work is waited for
                told = self._ray.get(answer)
                self._voices.tell(told["messages"])
                frames.append(told["frames"])
        self._voices.frames(frames)

    def _stopped(self) -> Iterator[Outcome]:
        """Tell the workers to stop, as Ctrl-C does, and yield the outcomes of what they finish."""
        self._tell_to_stop()
        deadline = time.monotonic() + _PATIENCE
        yield from self._told_outcomes()
        while time.monotonic() < deadline and (going := [each for seat in self._seats for each in seat.batches]):
            for answer in self._ray.wait(going, timeout=1.0)[0]:
                seat = self._asked[answer]
                batch = seat.batches.pop(answer)
                with suppress(self._ray.exceptions.RayError):
                    self._settle(batch, self._ray.get(answer))
            yield from self._told_outcomes()

    def _tell_to_stop(self) -> None:
        for seat in self._seats:
            seat.actor.stop.options(concurrency_group="control").remote()

    def _dismiss(self) -> None:
        """End the workers, their records flushed."""
        with suppress(self._ray.exceptions.RayError):
            self._tell_to_stop()
            closing = [seat.actor.close.remote() for seat in self._seats if seat.ready]
            if closing:
                self._ray.wait(closing, num_returns=len(closing), timeout=_PATIENCE)
        for seat in self._seats:
            self._ray.kill(seat.actor)
