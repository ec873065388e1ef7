"""The ledger of a run on a cluster: what each worker has in hand, what came of it, and whether to go on.

Ray gives a hand of rows whose worker was lost to a new one, for ever. The ledger is what that one asks first: which
of the rows are done, and which one took its worker with it. One ledger serves all workers of a run, as an actor on the
machine where the run was started, and goes with it.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_HEARD = 5.0
"""Seconds without a word after which a worker is not waited for."""

_WORDS_A_SECOND = 500
"""Most words from workers in a second, over all of them: with very many, each says more at a time."""


@dataclass
class _Hand:
    """Rows that a worker takes in one go.

    Attributes:
        outcomes: what came of each, by its place among them, as rows.
        deaths: workers that died over each.
        life: of the worker that took it last, from its start to its end.
        node: the identity of that worker's machine.
        alone: the row that is in work, where rows are done one by one.
        finished: all that will come of it has been told.
    """

    outcomes: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    deaths: dict[int, int] = field(default_factory=dict)
    life: str = ""
    node: str = ""
    alone: int | None = None
    finished: bool = False


class Ledger:
    """What workers tell, and the driver asks for; calls come one at a time.

    Args:
        is_alive: whether a machine, by its identity, is still a part of the cluster.
    """

    def __init__(self, is_alive: Callable[[str], bool]) -> None:
        self._is_alive = is_alive
        self._hands: dict[int, _Hand] = {}
        self._heard: dict[str, float] = {}
        self._frames: dict[str, tuple[int, int, float]] = {}
        self._came: list[Mapping[str, Any]] = []
        self._messages: list[tuple[str, str]] = []
        self._stopped = False
        self._ended = False

    def hello(self, told: Mapping[str, Any]) -> None:
        """A worker is there: ``worker``, ``node``, ``description``, ``error`` and ``messages``."""
        self._heard[told["worker"]] = time.monotonic()
        self._came.append(told)
        self._messages.extend(told["messages"])

    def take(self, worker: str, life: str, node: str, number: int, size: int) -> dict[str, Any]:
        """A worker begins a hand of `size` rows; tell what is known of them.

        ``outcomes`` by place, ``deaths`` by place, and whether the rows are to be done ``alone``, one by one: a worker
        was lost with them, and may have died over the second of two before the answer for the first was on its way.
        """
        hand = self._hands.setdefault(number, _Hand())
        if hand.life and not hand.finished and hand.life != life:
            left = [place for place in range(size) if place not in hand.outcomes]
            blamed = hand.alone if hand.alone is not None else left[0] if len(left) == 1 else None
            if blamed is not None and self._is_alive(hand.node):  # else the machine took the worker with it
                hand.deaths[blamed] = hand.deaths.get(blamed, 0) + 1
        alone = bool(hand.life)
        hand.life, hand.node, hand.alone, hand.finished = life, node, None, False
        self._heard[worker] = time.monotonic()
        return {"outcomes": hand.outcomes, "deaths": hand.deaths, "alone": alone, "stopped": self._stopped}

    def begin(self, number: int, place: int, outcomes: Mapping[int, Mapping[str, Any]]) -> None:
        """A row of a hand is begun, alone, after the outcomes of others."""
        hand = self._hands.setdefault(number, _Hand())
        hand.outcomes.update(outcomes)
        hand.alone = place

    def finish(self, number: int, outcomes: Mapping[int, Mapping[str, Any]]) -> None:
        """All that will come of a hand."""
        hand = self._hands.setdefault(number, _Hand())
        hand.outcomes.update(outcomes)
        hand.finished = True

    def tell(
        self,
        worker: str,
        number: int | None,
        outcomes: Mapping[int, Mapping[str, Any]],
        messages: Iterable[tuple[str, str]],
        frames: tuple[int, int, float],
    ) -> dict[str, Any]:
        """What a worker says while it works; answered whether to stop, whether the run has ended, when to say more."""
        self._heard[worker] = time.monotonic()
        self._messages.extend(messages)
        self._frames[worker] = frames
        if number is not None and number in self._hands:
            self._hands[number].outcomes.update(outcomes)
        pause = max(1.0, len(self._heard) / _WORDS_A_SECOND)
        return {"stopped": self._stopped, "ended": self._ended, "pause": pause}

    def bye(self, worker: str) -> None:
        """A worker has flushed its records to the disk."""
        self._heard.pop(worker, None)
        self._frames.pop(worker, None)

    def look(self, settled: Iterable[int]) -> dict[str, Any]:
        """What is new to the driver, and what goes on.

        Workers that ``came``, ``messages`` and ``frames``; how many hands are in work (``working``), and how many
        workers are there (``there``).

        Args:
            settled: hands whose outcomes the driver has, which are forgotten.
        """
        for number in settled:
            self._hands.pop(number, None)
        now = time.monotonic()
        news = {"came": self._came, "messages": self._messages, "frames": list(self._frames.values())}
        self._came, self._messages = [], []
        working = sum(bool(hand.life) and not hand.finished for hand in self._hands.values())
        return news | {"working": working, "there": sum(now - heard < _HEARD for heard in self._heard.values())}

    def rest(self) -> dict[int, list[Mapping[str, Any]]]:
        """Outcomes, as rows, of all hands that are not forgotten."""
        return {number: list(hand.outcomes.values()) for number, hand in self._hands.items()}

    def stop(self) -> None:
        """No row is begun any more; what is being written is finished."""
        self._stopped = True

    def end(self) -> None:
        """There are no more rows: workers flush their records."""
        self._ended = True
