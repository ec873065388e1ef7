"""A run on a cluster: rows go out a few hands ahead of the workers, and outcomes come back, whoever is lost."""

import queue
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from typing import Any

from dpenet_cli.batch.outcomes import Outcome, Report
from dpenet_cli.batch.ray_connection import Place, nobody
from dpenet_cli.batch.ray_messages import Voices
from dpenet_cli.batch.ray_process import RayGoneError, RayProcess
from dpenet_cli.batch.ray_rows import Row, Task, error_of_row, outcome_of, row_of
from dpenet_cli.errors import StorageError

_HAND_SECONDS = 3.0
"""Work that a worker is given at a time: enough that handing it over costs nothing, little enough to wait for."""

_HANDS_A_SECOND = 50
"""Most hands in a second, over all workers: with very many, each gets more at a time."""

_LARGEST_HAND = 500

_AHEAD = 4
"""Hands for each worker that are on their way: Ray has twice as many at hand as there are workers, and what waits for
a worker that is lost holds nobody up."""

_ROUND = 30_000
"""Hands after which a new round is begun: Ray Data keeps four kilobytes for each."""

_LOOK_SECONDS = 1.0
"""Between two looks at the ledger."""

_WAITING_SECONDS = 60.0
"""Time without any worker after which the user is told what is being waited for."""

_PATIENCE = 60.0
"""Seconds in which workers must end what they write when they are told to stop."""


class Flow:
    """One run on a cluster.

    Args:
        ray: the process of Ray.
        task: what is to be done with rows.
        place: what each worker takes of its machine.
        report: told what goes on.
    """

    def __init__(self, ray: RayProcess, task: Task, place: Place, report: Report) -> None:
        self._ray = ray
        self._task = task
        self._place = place
        self._voices = Voices(report)
        self._of_round = 0
        self._hands: dict[int, list[Row]] = {}
        self._count = 0
        self._exhausted = False
        self._settled: list[int] = []
        self._ready: deque[Outcome] = deque()
        self._seconds_each: float | None = None
        self._workers: dict[str, Mapping[str, Any]] = {}
        self._left_out: set[str] = set()
        self._news: Mapping[str, Any] = {}
        self._looked = self._idle_since = time.monotonic()

    @property
    def description(self) -> str:
        """What computes, for a person."""
        engines = [each["description"] for each in self._workers.values() if each["description"]]
        machines = len({each["node"] for each in self._workers.values()})
        return f"{len(self._workers)} worker(s) on {machines} machine(s)" + (f" ({engines[-1]})" if engines else "")

    def outcomes(self, rows: Iterator[Outcome | Row]) -> Generator[Outcome]:
        """Do everything, and yield one outcome each, as they come, those that are there already among them.

        After a `StorageError` what is being written is finished, and no more is begun.

        Raises:
            DpenetError: no worker can be had.
            KeyboardInterrupt: there was one, in here or thrown in, after the outcomes of what was written meanwhile.
        """
        try:
            while True:
                yield from self._hand_out(rows)
                if self._exhausted and not self._hands:
                    return
                self._answers()
                while self._ready:
                    outcome = self._ready.popleft()
                    yield outcome
                    if isinstance(outcome.error, StorageError):
                        yield from self._stopped()
                        return
        except KeyboardInterrupt:
            yield from self._stopped()
            raise
        except RayGoneError as error:
            raise nobody(str(error), gone=bool(self._workers)) from error
        finally:
            self._dismiss()

    def _hand_out(self, rows: Iterator[Outcome | Row]) -> Iterator[Outcome]:
        """Give out so many hands that no worker waits for one; outcomes that are found on the way come out."""
        while not self._exhausted and len(self._hands) < _AHEAD * max(self._place.workers, len(self._workers), 1):
            if self._of_round == _ROUND:
                self._ray.end(wait=not self._hands)
                if self._hands:
                    return
                self._of_round = 0
            hand = yield from self._next_hand(rows)
            if hand:
                self._count += 1
                self._of_round += 1
                self._hands[self._count] = hand
                self._ray.add(self._count, (row_of(row.job, row.outputs) for row in hand))
        if self._exhausted:
            self._ray.end()

    def _next_hand(self, rows: Iterator[Outcome | Row]) -> Generator[Outcome, None, list[Row]]:
        size = 1
        if not self._task.for_videos and self._seconds_each is not None:
            seconds = max(_HAND_SECONDS, len(self._workers) / _HANDS_A_SECOND)
            size = min(max(int(seconds / max(self._seconds_each, 1e-6)), 1), _LARGEST_HAND)
        hand: list[Row] = []
        while len(hand) < size and not self._exhausted:
            row = next(rows, None)
            if row is None:
                self._exhausted = True
            elif isinstance(row, Outcome):
                yield row
            else:
                hand.append(row)
        return hand

    def _answers(self) -> None:
        """Wait for an answer, a second at most, and take all that are there."""
        with suppress(queue.Empty):
            answer = self._ray.answers.get(timeout=_LOOK_SECONDS)
            while True:
                if isinstance(answer, Exception):
                    raise answer
                self._settle(answer)
                answer = self._ray.answers.get_nowait()
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self._look()

    def _settle(self, answer: Mapping[str, Any]) -> None:
        """Take the outcomes of a hand; one that was answered before has none."""
        hand = self._hands.pop(answer["number"], None)
        if hand is None:
            return
        self._settled.append(answer["number"])
        if answer["rows"]:
            each = answer["seconds"] / len(answer["rows"])
            self._seconds_each = each if self._seconds_each is None else 0.7 * self._seconds_each + 0.3 * each
        jobs = {str(row_of(row.job, ())["target"]): row.job for row in hand}
        self._ready.extend(outcome_of(row, jobs[row["target"]]) for row in answer["rows"])

    def _look(self) -> None:
        """Hear what the workers have said, and who has come."""
        settled, self._settled = self._settled, []
        self._news = self._ray.ask("look", settled)
        self._looked = time.monotonic()
        self._voices.tell(self._news["messages"])
        self._voices.frames([frames for frames in self._news["frames"] if frames[1]])
        for told in self._news["came"]:
            self._seat(told)
        if self._news["there"]:
            self._idle_since = self._looked
        elif self._looked - self._idle_since > _WAITING_SECONDS:
            gpu = " and a GPU" if self._place.gpus else ""
            self._voices.note(
                f"waiting for the cluster: no machine has {self._place.cpus} free core(s){gpu} for a worker"
            )

    def _seat(self, told: Mapping[str, Any]) -> None:
        """A worker has come, or cannot work where it is."""
        if told["error"] is None:
            self._workers[told["worker"]] = told
            self._left_out.discard(told["node"])
            self._voices.engine(told["description"])
            return
        self._workers.pop(told["worker"], None)
        self._left_out.add(told["node"])
        error = error_of_row(told["error"])
        if not self._workers and self._left_out.issuperset(self._ray.machines()):
            raise error
        self._voices.note(f"a machine is left out: {error.what}: {error.why}")

    def _stopped(self) -> Iterator[Outcome]:
        """Tell the workers to stop, as Ctrl-C does, and yield the outcomes of what they finish."""
        deadline = time.monotonic() + _PATIENCE
        with suppress(RayGoneError):  # then there is nobody who writes
            self._ray.ask("stop")
            while self._hands and time.monotonic() < deadline:
                self._look()
                if not self._news["working"]:
                    break
                time.sleep(_LOOK_SECONDS / 10)
            for number, told in self._ray.ask("rest").items():
                self._settle({"number": number, "rows": told, "seconds": 0.0})
        while self._ready:
            yield self._ready.popleft()

    def _dismiss(self) -> None:
        """End the workers, their records flushed."""
        deadline = time.monotonic() + _PATIENCE
        with suppress(RayGoneError):
            self._ray.ask("stop")
            self._ray.ask("end")
            self._look()
            while self._news["there"] and time.monotonic() < deadline:
                time.sleep(_LOOK_SECONDS / 10)
                self._look()
