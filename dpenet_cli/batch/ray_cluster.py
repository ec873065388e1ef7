"""Many pictures or videos on many machines, through Ray: rows of paths to a pool of actors, rows of outcomes back.

Whether a result is there already is decided where the run was started, by one record and one clock, a few rows ahead
of the workers. Memory is flat in the number of rows: what is held are the rows on their way.
"""

import itertools
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from dpenet_cli.batch.decisions import Decisions, Todo
from dpenet_cli.batch.outcomes import Outcome, Report
from dpenet_cli.batch.plans import BadInput, Jobs
from dpenet_cli.batch.ray_connection import needs_of, nobody
from dpenet_cli.batch.ray_flow import Flow
from dpenet_cli.batch.ray_process import RayGoneError, RayProcess
from dpenet_cli.batch.ray_rows import Row, Task
from dpenet_cli.batch.ray_worker import Worker
from dpenet_cli.options import VideoOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.system.storage import local

_AHEAD, _TOGETHER = 8, 64
"""Threads that look whether results are there, and rows that one looks at in one go: a network file system takes a
millisecond for each."""


class RayRun:
    """One run on a cluster.

    Args:
        address: of the cluster, from `check_address`.
        task: what is to be done with rows.
        decisions: which outputs are to be written.
        report: told what goes on.
    """

    def __init__(self, address: str, task: Task, decisions: Decisions, report: Report) -> None:
        self._address = address
        self._task = task
        self._decisions = decisions
        self._report = report
        self._flow: Flow | None = None

    @property
    def description(self) -> str:
        """What computed, for a person; empty before it was needed."""
        return self._flow.description if self._flow else ""

    def outcomes(self, jobs: Jobs) -> Generator[Outcome]:
        """Clean everything, and yield one outcome each, as they come; Ray is started when the first row needs it.

        After a `StorageError` what is being written is finished, and no more is begun.

        Raises:
            DpenetError: there is no such cluster, or its machines cannot do it.
            KeyboardInterrupt: there was one, in here or thrown in, after the outcomes of what was written meanwhile.
        """
        decided = self._decided(jobs)
        for first in decided:
            if isinstance(first, Outcome):
                yield first
                continue
            self._report.stage("starting Ray")
            ray = RayProcess(self._address, self._task, needs_of(jobs, self._task), Worker)
            try:
                self._flow = Flow(ray, self._task, ray.place(self._report.stage), self._report)
                yield from self._flow.outcomes(itertools.chain([first], decided))
            except RayGoneError as error:
                raise nobody(str(error), gone=False) from error
            finally:
                ray.close()

    def _decided(self, jobs: Iterable[Job | BadInput]) -> Iterator[Outcome | Row]:
        """What is to be done, and the outcomes of what cannot be or is done, in order; a few looked at ahead."""
        rest = iter(jobs)
        ahead: deque[Future[list[Outcome | Row]]] = deque()
        with ThreadPoolExecutor(_AHEAD, "decide") as pool:
            while some := list(itertools.islice(rest, _TOGETHER)):
                ahead.append(pool.submit(self._decide_all, some))
                if len(ahead) > _AHEAD:
                    yield from ahead.popleft().result()
            while ahead:
                yield from ahead.popleft().result()

    def _decide_all(self, some: list[Job | BadInput]) -> list[Outcome | Row]:
        return [self._decide(planned) for planned in some]

    def _decide(self, planned: Job | BadInput) -> Outcome | Row:
        from dpenet_cli.batch.pictures import not_begun

        if isinstance(planned, BadInput):
            return not_begun(planned, Todo(()))
        options = self._task.options
        if isinstance(options, VideoOptions) and options.preview is not None:  # made anew each time
            return Row(planned, (planned.target,))
        todo = self._decisions.todo(planned)
        if todo.outputs:
            return Row(planned, todo.outputs)
        if self._task.for_videos:
            from dpenet_cli.video.work_folder import remove_stored_work

            remove_stored_work(local(planned.target))
        return not_begun(planned, todo)
