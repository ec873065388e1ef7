"""Every row of a run on a cluster has one outcome, and only those fail over which workers die; Ray is played here."""

from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from dpenet_cli.batch.outcomes import Outcome, Status
from dpenet_cli.batch.ray_connection import Place
from dpenet_cli.batch.ray_pool import Pool
from dpenet_cli.batch.ray_rows import Row, Task, outcome_row
from dpenet_cli.batch.ray_worker import Needs
from dpenet_cli.options import EngineOptions, PictureOptions
from dpenet_cli.system.outputs import Job


class Silent:
    """A report that nobody reads."""

    def note(self, text: str) -> None:
        pass

    detail = advice = stage = note

    def frames(self, source: str, done: int, total: int, speed: float) -> None:
        pass


class LostError(Exception):
    """A worker is lost, and all that was asked of it."""


class Method:
    """A method of a worker; what it answers is found when the driver waits."""

    def __init__(self, ray: "PlayedRay", actor: "Actor", name: str) -> None:
        self.ray, self.actor, self.name = ray, actor, name

    def options(self, **_: object) -> "Method":
        return self

    def remote(self, *given: object) -> int:
        answer = next(self.ray.numbers)
        self.actor.asked.append((answer, self.name, given))
        self.ray.actors[answer] = self.actor
        return answer


class Actor:
    """A worker; ``asked`` is what it has not begun."""

    def __init__(self, ray: "PlayedRay") -> None:
        self.asked: list[tuple[int, str, tuple]] = []
        for name in ("ready", "clean", "stop", "close", "meanwhile"):
            setattr(self, name, Method(ray, self, name))


class PlayedRay:
    """Ray at its worst: a worker that dies takes the answers with it that it has given since the driver last looked."""

    exceptions = SimpleNamespace(RayError=LostError)

    def __init__(self, deadly: set[int], seconds: float) -> None:
        self.deadly = {f"{number}.png" for number in deadly}
        self.seconds = seconds
        self.numbers = count()
        self.actors: dict[int, Actor] = {}
        self.answers: dict[int, Any] = {}
        self.tries: list[str] = []

    def remote(self, **_: object):
        return lambda _worker: SimpleNamespace(remote=lambda *_wants: Actor(self))

    def wait(self, asked: list[int], num_returns: int = 1, timeout: float = 0) -> tuple[list[int], list[int]]:
        for actor in dict.fromkeys(self.actors[answer] for answer in asked):
            self.work(actor)
        there = [answer for answer in asked if answer in self.answers]
        return there[:num_returns], []

    def work(self, actor: Actor) -> None:
        begun, actor.asked = actor.asked, []
        answers: dict[int, Any] = {}
        for answer, name, values in begun:
            if name == "clean":
                rows = values[0]
                self.tries += [Path(row["source"]).name for row in rows]
                if self.deadly & {Path(row["source"]).name for row in rows}:
                    answers = dict.fromkeys((answer for answer, *_ in begun), LostError("it was killed"))
                    break
                done = [Outcome(row["source"], row["target"], Status.DONE) for row in rows]
                told = {"rows": list(map(outcome_row, done)), "seconds": self.seconds * len(rows), "messages": []}
            else:
                told = {"machine": "one", "node": "1", "description": "CPU", "error": None, "messages": []}
            answers[answer] = told
        self.answers |= answers

    def get(self, answer: int) -> Any:
        if isinstance(self.answers[answer], Exception):
            raise self.answers[answer]
        return self.answers[answer]

    def nodes(self) -> list[dict[str, object]]:
        return [{"NodeID": "1", "Alive": True}]

    def kill(self, _actor: Actor) -> None:
        pass


@given(
    rows=st.integers(0, 60),
    deadly=st.sets(st.integers(0, 59), max_size=4),
    workers=st.integers(1, 4),
    seconds=st.sampled_from([0.001, 0.5, 2.0, 10.0]),
)
@example(rows=12, deadly={7}, workers=1, seconds=2.0)  # two batches at a worker, of one row each
def test_only_what_kills_workers_fails(rows: int, deadly: set[int], workers: int, seconds: float) -> None:
    ray = PlayedRay(deadly, seconds)
    task = Task("general", EngineOptions(), PictureOptions(), None)
    jobs = [Job(Path(f"/in/{number}.png"), Path(f"/out/{number}.png")) for number in range(rows)]
    pool = Pool(ray, task, Needs((), (), (), None, None), Place(1, 0, workers, 1), Silent(), grows=False)
    outcomes = list(pool.outcomes(Row(job, (job.target,)) for job in jobs))
    assert sorted(outcome.source for outcome in outcomes) == sorted(str(job.source) for job in jobs)
    failed = {outcome.source for outcome in outcomes if outcome.status is Status.FAILED}
    assert failed == {f"/in/{number}.png" for number in deadly if number < rows}
    assert all(ray.tries.count(name) >= 3 for name in ray.deadly if int(name.removesuffix(".png")) < rows)
