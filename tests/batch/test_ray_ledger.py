"""Every row of a hand has one outcome, whoever dies over it, and only those fail over which workers die."""

from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from dpenet_cli.batch.outcomes import Outcome, Status
from dpenet_cli.batch.ray_ledger import Ledger
from dpenet_cli.batch.ray_needs import Needs
from dpenet_cli.batch.ray_rows import Task, row_of
from dpenet_cli.batch.ray_worker import Worker
from dpenet_cli.options import EngineOptions, PictureOptions
from dpenet_cli.system.outputs import Job

TASK = Task("general", EngineOptions(), PictureOptions(), None)
NEEDS = Needs((), (), (), None, None)


class Died(BaseException):
    """A worker is lost, and what it has not told with it."""


class Mortal(Worker):
    """A worker that dies over some rows, and at times that are drawn; it reads one row ahead of what it has done."""

    deadly: set[str]
    times: list[int]
    tries: list[str]

    def _cannot(self, needs):
        return False

    def _attend(self):
        pass

    def __del__(self):
        pass

    def _pictures(self, jobs):
        ahead = list(jobs)
        for job, read in zip(ahead, [*ahead[1:], None], strict=True):
            for begun in filter(None, (job, read)):
                if begun.source.name in self.deadly:
                    raise Died
            self.tries.append(job.source.name)
            if self.times and len(self.tries) == self.times[0]:
                self.times.pop(0)
                raise Died
            yield Outcome(str(job.source), str(job.target), Status.DONE)


@settings(max_examples=60)
@given(
    rows=st.integers(1, 12),
    deadly=st.sets(st.integers(0, 11), max_size=3),
    times=st.lists(st.integers(1, 30), max_size=2, unique=True).map(sorted),
    tells=st.booleans(),
)
@example(rows=2, deadly={1}, times=[], tells=False)
def test_only_what_kills_workers_fails(rows: int, deadly: set[int], times: list[int], tells: bool) -> None:
    ledger = Ledger(lambda _node: True)
    Mortal.deadly, Mortal.times, Mortal.tries = {f"{number}.png" for number in deadly}, list(times), []
    jobs = [Job(Path(f"/in/{number}.png"), Path(f"/out/{number}.png")) for number in range(rows)]
    hand = [row_of(job, (job.target,)) for job in jobs]
    deaths = 0
    while True:
        worker = Mortal(TASK, NEEDS, None, lambda name, *given: getattr(ledger, name)(*given), ("worker", "node"))
        try:
            told = worker(7, hand)["rows"]
            break
        except Died:
            deaths += 1
            if tells:
                worker.say()
    assert sorted(row["target"] for row in told) == sorted(str(job.target) for job in jobs)
    failed = {row["source"] for row in told if row["status"] == "failed"}
    assert failed == {f"/in/{number}.png" for number in deadly if number < rows}
    assert deaths <= 1 + len(times) + (Worker.deaths + 1) * len(deadly)
    assert ledger.rest()[7] == told
    again = Mortal(TASK, NEEDS, None, lambda name, *given: getattr(ledger, name)(*given), ("worker", "node"))
    Mortal.tries.clear()
    assert again(7, hand)["rows"] == told  # what is done is not done twice
    assert not Mortal.tries


def test_a_machine_that_goes_blames_no_row() -> None:
    gone = set()
    ledger = Ledger(lambda node: node not in gone)
    for number in range(5):
        node = f"node {number}"
        assert not ledger.take("worker", f"life {number}", node, 1, 1)["deaths"]
        ledger.begin(1, 0, {})
        gone.add(node)
    assert ledger.take("worker", "another", "node", 1, 1)["deaths"] == {}
    ledger.begin(1, 0, {})
    assert ledger.take("worker", "another", "node", 1, 1)["deaths"] == {}  # it has it a second time, and lives
    ledger.begin(1, 0, {})
    assert ledger.take("worker", "a third", "node", 1, 1)["deaths"] == {0: 1}


def test_who_is_waited_for() -> None:
    ledger = Ledger(lambda _node: True)
    ledger.hello({"worker": "a", "node": "n", "description": "CPU", "error": None, "messages": [("note", "hello")]})
    ledger.take("a", "life", "n", 1, 2)
    assert ledger.tell("a", 1, {0: {"target": "x"}}, [("note", "more")], (5, 10, 2.0))["ended"] is False
    news = ledger.look([])
    assert (news["messages"], news["frames"]) == ([("note", "hello"), ("note", "more")], [(5, 10, 2.0)])
    assert (news["working"], news["there"], len(news["came"])) == (1, 1, 1)
    ledger.stop()
    ledger.end()
    assert ledger.take("a", "life", "n", 2, 1)["stopped"]
    ledger.finish(1, {})
    ledger.finish(2, {})
    assert ledger.rest() == {1: [{"target": "x"}], 2: []}
    ledger.bye("a")
    news = ledger.look([1, 2])
    assert (news["came"], news["messages"], news["working"], news["there"], ledger.rest()) == ([], [], 0, 0, {})
