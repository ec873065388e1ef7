"""Hands of rows through Ray Data: from a file that grows to a pool of actors, and what came of each hand back.

``ray.data`` takes a list of everything that is to be read, not a stream. Here the list is one file on the machine where
the run was started, written a few hands ahead of the workers, and one task there follows it. If that task is lost it
reads the file again, and Ray passes over what it has had already: a line of the file is a hand, whenever it is read.
What workers do is left to Ray: where they run, that they are started again, how many there are, what each gets.
"""

import json
import logging
import os
import pickle
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from dpenet_cli.batch.ray_connection import Place, in_short
from dpenet_cli.batch.ray_worker import Worker

_POLL = 0.05
"""Seconds between two looks whether the file has grown."""

_END = "{}\n"
"""The last line of a file of hands."""

_LEAVES = 30.0
"""Seconds until an actor leaves a machine without dpenet."""

_NODE = "ray.io/node-id"

_UP = 1.0
"""Hands at an actor, on average, from which Ray Data wants more actors, where machines may come."""


class Round:
    """One data set of Ray's, whose rows are not known before.

    Args:
        worker: class of what does the work.
        wants: what each is made with.
        ledger: of the run.
        place: what each worker takes of its machine.
        say: told each ``answer`` of a worker, and why Ray Data has ``failed``.
        grows: machines may come.
        ahead: hands that an actor is given, one of them to wait.
    """

    def __init__(
        self,
        worker: type[Worker],
        wants: tuple[Any, ...],
        ledger: Any,
        place: Place,
        say: Callable[[str, Any], None],
        *,
        grows: bool,
        ahead: int,
    ) -> None:
        import ray.data
        from ray import cloudpickle

        cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]
        self._say = say
        self._folder = tempfile.TemporaryDirectory(prefix="dpenet-ray-")
        path = Path(self._folder.name) / "hands.jsonl"
        self._file = path.open("w")
        size = max(place.workers, 1)
        pool = ray.data.ActorPoolStrategy(
            min_size=size, max_size=None if grows else size, max_tasks_in_flight_per_actor=ahead
        )
        with ray.data.DataContext.current(_context()):
            hands = ray.data.from_items([{"path": str(path)}], override_num_blocks=1).map_batches(
                follow,
                batch_size=1,
                batch_format="pyarrow",
                num_cpus=0,
                label_selector={_NODE: ray.get_runtime_context().get_node_id()},
            )
            self._answers = hands.map_batches(
                Seat,
                fn_constructor_args=(pickle.dumps((worker, *wants)), ledger),
                batch_size=1,
                batch_format="pyarrow",
                compute=pool,
                num_cpus=place.cpus,
                num_gpus=place.gpus,
            )
        self._thread = threading.Thread(target=self._listen, name="ray-data", daemon=True)
        self._thread.start()

    def add(self, number: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Hand out rows, from `row_of`."""
        self._file.write(json.dumps({"number": number, "rows": list(rows)}) + "\n")
        self._file.flush()

    def end(self) -> None:
        """There are no more; what was added is done."""
        if not self._file.closed:
            self._file.write(_END)
            self._file.close()

    def close(self, patience: float) -> None:
        """End, and wait so many seconds until Ray Data has."""
        self.end()
        self._thread.join(patience)
        self._folder.cleanup()

    def _listen(self) -> None:
        """Tell what comes of each hand, and why there is an end that nobody asked for."""
        why = ""
        try:
            for table in self._answers.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                for told in table["told"]:
                    self._say("answer", json.loads(told.as_py()))
        except Exception as error:  # noqa: BLE001 - Ray's are many
            why = in_short(error)
        if why or not self._file.closed:
            self._say("failed", why or "Ray Data has ended")


class Seat:
    """What Ray Data calls in an actor; it travels as it is, and is there where dpenet is not.

    Args:
        wants: the class of what does the work, and what it is made with, pickled.
        ledger: asked and told by it.
    """

    def __init__(self, wants: bytes, ledger: Any) -> None:
        import ray

        context = ray.get_runtime_context()
        here = str(context.get_actor_id()), context.get_node_id()
        try:
            worker, *others = pickle.loads(wants)  # noqa: S301 - it comes from the driver
        except Exception as error:  # noqa: BLE001 - whatever an import may do
            why = f"dpenet does not run on the machine {platform.node()} ({error})"
            step = "Install the same dpenet there, with its extra ray."
            lacks = {"kind": "OptionError", "what": "--ray", "why": why, "next_step": step}
            told = {"worker": here[0], "node": here[1], "description": "", "error": lacks, "messages": []}
            _ask(ledger, "hello", told)
            time.sleep(_LEAVES)
            os._exit(1)
        self._worker = worker(*others, partial(_ask, ledger), here)

    def __call__(self, table: Any) -> Any:
        """One hand; what came of it."""
        import pyarrow as pa

        hand = json.loads(table["hand"][0].as_py())
        try:
            told = self._worker(hand["number"], hand["rows"])
        except Exception:
            logging.getLogger("ray").exception("a worker broke down")
            os._exit(1)  # as what kills it does: Ray Data would end the run for an exception
        return pa.table({"told": [json.dumps(told)]})


def follow(table: Any) -> Iterator[Any]:
    """The hands in a file, each when it is there, until the file says that there are no more."""
    import pyarrow as pa

    with Path(table["path"][0].as_py()).open() as file:
        line = ""
        while line != _END:
            if line.endswith("\n"):
                yield pa.table({"hand": [line]})
                line = ""
            elif not (more := file.readline()):
                time.sleep(_POLL)
            else:
                line += more


def _ask(ledger: Any, name: str, *given: Any) -> Any:
    """Ask the ledger: what its method of this name answers."""
    import ray

    return ray.get(getattr(ledger, name).remote(*given))


def on_this_machine(ray: Any, kind: type[Any], *given: Any) -> Any:
    """An actor beside the driver, which takes no place of a worker's."""
    node = {_NODE: ray.get_runtime_context().get_node_id()}
    return ray.remote(num_cpus=0, max_restarts=0, label_selector=node)(kind).remote(*given)


def _context() -> Any:
    import ray.data

    context = ray.data.DataContext.get_current().copy()
    context.target_max_block_size = 1  # each hand is a block of its own, so that it is on its way when it is there
    context.execution_no_progress_timeout_s = -1  # a long video takes hours
    context.max_consecutive_actor_init_deaths = -1  # a machine that comes later without dpenet ends no run
    context.autoscaling_config.actor_pool_util_upscaling_threshold = _UP
    return context
