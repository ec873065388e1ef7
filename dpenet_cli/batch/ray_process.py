"""Ray in a process of its own, beside the command: what it says does not get onto the terminal, nor what ends it here.

Ray's core ends its process at once, without a word and with exit code 1, when the part of Ray on this machine goes.
Here that is the end of a pipe, and the command tells what it knows, finishes its report, and asks to be started again.
"""

import os
import queue
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from dpenet_cli.batch.ray_connection import LOCAL, Place, alive, check_machines, connected, in_short, places
from dpenet_cli.batch.ray_ledger import Ledger
from dpenet_cli.batch.ray_needs import Needs
from dpenet_cli.batch.ray_rows import Task, error_of_row, error_row
from dpenet_cli.batch.ray_stream import Round, on_this_machine
from dpenet_cli.batch.ray_worker import Worker
from dpenet_cli.errors import DpenetError

_PATIENCE = 30.0
"""Seconds in which the process must end when there is nothing to do for it any more."""


class RayGoneError(Exception):
    """Ray has ended, or Ray Data has; what is known of why."""


class RayProcess:
    """The process, as the command speaks with it.

    Args:
        address: of the cluster, from `check_address`.
        task: what is to be done with rows.
        needs: what each machine must have.
        worker: what does it.
    """

    def __init__(self, address: str, task: Task, needs: Needs, worker: type[Worker]) -> None:
        self.answers: queue.SimpleQueue[Mapping[str, Any] | Exception] = queue.SimpleQueue()
        self._replies: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._asked = 0
        context = get_context("spawn")
        self._line, line = context.Pipe()
        wants = (line, address, task, needs, worker)
        self._process = context.Process(target=_serve, args=wants, name="ray", daemon=True)
        self._process.start()
        line.close()
        threading.Thread(target=self._listen, name="ray", daemon=True).start()

    def place(self, stage: Callable[[str], None]) -> Place:
        """Wait until all machines have been looked at; what workers take of them.

        Args:
            stage: told what goes on.

        Raises:
            DpenetError: there is no such cluster, or its machines cannot do it.
            RayGoneError: Ray has ended.
        """
        while not isinstance(told := self._reply(0), Place):
            stage(told)
        return told

    def add(self, number: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Hand out rows, from `row_of`."""
        self._send("add", number, list(rows))

    def end(self, *, wait: bool = False) -> None:
        """There are no more, and nobody waits for one; after waiting, there may be others."""
        self._send("end", wait)

    def ask(self, name: str, *given: Any) -> Any:
        """Ask the ledger: what its method of this name answers.

        Raises:
            RayGoneError: Ray has ended.
        """
        self._asked += 1  # an interrupted question is answered as well, and not to be taken for the next one's answer
        self._send("ask", self._asked, name, given)
        return self._reply(self._asked)

    def machines(self) -> list[str]:
        """Identities of the machines that may do work.

        Raises:
            RayGoneError: Ray has ended.
        """
        self._asked += 1
        self._send("machines", self._asked)
        return list(self._reply(self._asked))

    def close(self) -> None:
        """Leave the cluster."""
        self._send("close")
        self._process.join(_PATIENCE)
        self._process.kill()

    def _send(self, *told: Any) -> None:
        with suppress(OSError):  # it has ended, which whoever waits for an answer is told
            self._line.send(told)

    def _reply(self, asked: int) -> Any:
        while True:
            reply = self._replies.get()
            if isinstance(reply, Exception):
                self._replies.put(reply)  # for whoever asks again
                raise reply
            if reply[0] == asked:
                return reply[1]

    def _listen(self) -> None:
        error: Exception = RayGoneError("Ray on this machine has ended")
        with suppress(EOFError, OSError):
            while True:
                kind, told = self._line.recv()
                if kind == "answer":
                    self.answers.put(told)
                elif kind == "reply":
                    self._replies.put(told)
                else:
                    error = error_of_row(told) if kind == "error" else RayGoneError(told)
                    break
        self.answers.put(error)
        self._replies.put(error)


class _Service:
    """What the process does.

    Args:
        line: to the command.
        ray: the connected module.
        task: what is to be done with rows.
        needs: what each machine must have.
        worker: what does it.
        grows: machines may come.
    """

    def __init__(
        self, line: Connection, ray: Any, task: Task, needs: Needs, worker: type[Worker], *, grows: bool
    ) -> None:
        self._line = line
        self._lock = threading.Lock()
        self._ray = ray
        self._place = place = places(ray, task.engine)
        self.say("reply", (0, "looking at the machines"))
        needs = needs._replace(machines=place.machines > 1)
        check_machines(ray, needs, place)
        self._ledger = on_this_machine(ray, Ledger, _is_alive)
        threads = task.engine.threads if place.gpus else place.cpus
        self._begin = partial(
            Round,
            worker,
            (task, needs, threads),
            self._ledger,
            place,
            self.say,
            grows=grows,
            ahead=1 if task.for_videos else 2,
        )
        self._round: Round | None = None
        self.say("reply", (0, place))

    def say(self, kind: str, told: Any) -> None:
        """Tell the command: an ``answer`` of a worker, a ``reply`` to a question, or why it has ``failed``."""
        with self._lock, suppress(OSError):  # it has gone, which is found out where it is listened to
            self._line.send((kind, told))

    def serve(self) -> None:
        """Do what the command asks for, until it leaves.

        Raises:
            EOFError: it has gone.
        """
        while (asked := self._line.recv())[0] != "close":
            getattr(self, "_" + asked[0])(*asked[1:])
        self._ray.kill(self._ledger)
        if self._round is not None:
            self._round.close(1.0)

    def _add(self, number: int, rows: list[Mapping[str, Any]]) -> None:
        self._round = self._round or self._begin()
        self._round.add(number, rows)

    def _end(self, wait: bool) -> None:
        if self._round is not None:
            self._round.end()
        if self._round is not None and wait:
            self._round.close(_PATIENCE)
            self._round = None

    def _ask(self, asked: int, name: str, given: tuple[Any, ...]) -> None:
        self.say("reply", (asked, self._ray.get(getattr(self._ledger, name).remote(*given))))

    def _machines(self, asked: int) -> None:
        self.say("reply", (asked, [node["NodeID"] for node in alive(self._ray, self._place)]))


def _serve(line: Connection, address: str, task: Task, needs: Needs, worker: type[Worker]) -> None:
    """The whole life of the process; Ctrl-C, which reaches it as well, is the command's to answer."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: None)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    with suppress(EOFError, OSError):
        try:
            with connected(address) as ray:
                _Service(line, ray, task, needs, worker, grows=address != LOCAL).serve()
        except DpenetError as error:
            line.send(("error", error_row(error)))
        except EOFError:
            raise
        except Exception as error:  # noqa: BLE001 - Ray's are many
            line.send(("failed", in_short(error)))


def _is_alive(node: str) -> bool:
    import ray

    return any(each["NodeID"] == node for each in alive(ray))
