"""A Ray cluster: joined or started, quiet, and looked at: what its machines have, and what they must have in common."""

import contextlib
import itertools
import logging
import os
import re
import signal
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from dpenet_cli import __version__
from dpenet_cli.batch.plans import BadInput
from dpenet_cli.batch.ray_needs import Needs, look, runs_network
from dpenet_cli.batch.ray_rows import Task, error_of_row
from dpenet_cli.errors import DpenetError, InputError, OptionError, StorageError
from dpenet_cli.network.weights_files import digest_of
from dpenet_cli.options import ALL_CUDA, EngineOptions
from dpenet_cli.system.atomic import TEMPORARY_PREFIX, TEMPORARY_SUFFIX, lock
from dpenet_cli.system.cores import usable_cores
from dpenet_cli.system.outputs import Job
from dpenet_cli.system.packages import pip_install
from dpenet_cli.system.storage import whole_name

LOCAL, AUTO = "local", "auto"
"""A cluster that is started on this machine, and the one that this machine belongs to."""

_HOST_AND_PORT = re.compile(r"(\[[0-9a-fA-F:]+\]|[\w.-]+):([0-9]{1,5})")

_SECONDS_TO_CONNECT = 10

_LOOKED_AT = 1000
"""Inputs whose folders every machine must see before the work starts; a list may have any number."""

_THREADS = 4
"""CPU threads of a worker where nothing else is asked for: the network gains less from each one more."""

_SECONDS_TO_LOOK = 120
"""Seconds that a machine has to answer before the work starts."""


class Place(NamedTuple):
    """What each worker takes of its machine.

    Attributes:
        cpus: cores.
        gpus: GPUs, 0 or 1.
        workers: workers that fit into the cluster as it is.
        machines: machines on which they fit.
    """

    cpus: int
    gpus: int
    workers: int
    machines: int


def check_address(text: str) -> str:
    """The value of ``--ray``, if it is one.

    Raises:
        OptionError: it is neither a cluster's address nor ``auto`` nor ``local``.
    """
    if text in {LOCAL, AUTO} or _HOST_AND_PORT.fullmatch(text):
        return text
    if text.startswith("ray://"):
        why = "Ray Data does not run through Ray's client"
        raise OptionError(f"--ray {text}", why, "Run dpenet on a machine of the cluster, with --ray auto.")
    why = "it is no address of a Ray cluster: host:port, auto (the cluster of this machine) or local"
    raise OptionError(f"--ray {text}", why, "To start Ray on this machine, write --ray local, or --ray as the last.")


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """The module ``ray``, connected.

    Args:
        address: from `check_address`.

    Raises:
        OptionError: Ray is not installed, or no cluster answers there.
    """
    # Read when Ray is imported. Nothing is sent home, and no CUDA device is hidden from a process that asked for none.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # a thread that asks for something after the end starts no other Ray
    if address == LOCAL:  # else Ray's workers stand back behind every other program, which dpenet without it does not
        os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        import pyarrow as pa  # noqa: F401 - Ray Data needs it
        import ray
    except ImportError as error:
        step = f"Install it on every machine: {pip_install('ray')}"
        raise OptionError("--ray", f"Ray is not installed here ({error})", step) from error
    ours = signal.getsignal(signal.SIGTERM)
    started: dict[str, Any] = {"num_cpus": usable_cores(), "include_dashboard": False} if address == LOCAL else {}
    try:
        if given := _HOST_AND_PORT.fullmatch(address):  # Ray itself would try for minutes
            socket.create_connection((given[1].strip("[]"), int(given[2])), _SECONDS_TO_CONNECT).close()
        ray.init(address=address, logging_level=logging.CRITICAL, log_to_driver=False, **started)
    except (ImportError, OSError, OverflowError, RuntimeError, ValueError) as error:
        why = f"no Ray cluster can be reached there ({' '.join(str(error).split())[:200]})"
        step = "Start one with: ray start --head, and on each other machine: ray start --address HOST:PORT."
        raise OptionError(f"--ray {address}", why, step) from error
    finally:
        if ours is not None:
            signal.signal(signal.SIGTERM, ours)  # Ray's own would end this process at once
    try:
        yield ray
    finally:
        ray.shutdown()


def places(ray: Any, engine: EngineOptions) -> Place:
    """What workers take of the machines of a cluster.

    Args:
        ray: the connected module.
        engine: how the network is run.

    Raises:
        OptionError: a device that the cluster lacks, or one of several by its number, which Ray decides.
    """
    if engine.device == ALL_CUDA or engine.device.startswith("cuda:"):
        why = "on a cluster every worker has one GPU, which Ray chooses"
        raise OptionError(f"device {engine.device!r}", why, "Leave it out, or use cuda or cpu.")
    nodes = [node["Resources"] for node in alive(ray)]
    with_gpu = [node for node in nodes if node.get("GPU", 0) >= 1]
    if engine.device == "cuda" and not with_gpu:
        raise OptionError("device 'cuda'", "no machine of the cluster has a GPU", "Leave --device out.")
    if with_gpu and engine.device in {"auto", "cuda"}:
        cpus = engine.threads or max(1, min(int(node.get("CPU", 0) // node["GPU"]) for node in with_gpu))
        fit = [int(min(node["GPU"], node.get("CPU", 0) // cpus)) for node in with_gpu]
        return Place(cpus, 1, sum(fit), sum(map(bool, fit)))
    with_cpu = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1]
    cpus = engine.threads or min([_THREADS, *with_cpu])
    fit = [cores // cpus for cores in with_cpu]
    return Place(cpus, 0, sum(fit), sum(map(bool, fit)))


def needs_of(jobs: Iterable[Job | BadInput], task: Task) -> Needs:
    """What every machine must have; output folders are made.

    Args:
        jobs: what is to be done.
        task: how.
    """
    inputs: dict[str, tuple[str, int]] = {}
    outputs: dict[str, None] = {}
    for job in itertools.islice(jobs, _LOOKED_AT):
        if isinstance(job, BadInput):
            continue
        if isinstance(job.source, Path):  # whether a machine reaches a store, each row will say for itself
            source = Path(whole_name(str(job.source)))
            with contextlib.suppress(OSError):  # a missing one is its own row's failure
                inputs.setdefault(str(source.parent), (str(source), source.stat().st_size))
        for folder in (job.root or job.target.parent, job.compare and job.compare.parent):
            if isinstance(folder, Path):
                outputs[whole_name(str(folder))] = None
    for name in outputs:
        with contextlib.suppress(OSError):  # which each row will say for itself
            Path(name).mkdir(parents=True, exist_ok=True)
    weights = task.weights if runs_network(task) else None
    digest = None if weights is None else digest_of(weights)
    there = tuple(name for name in outputs if Path(name).is_dir())
    return Needs(tuple(inputs), tuple(inputs.values()), there, weights, digest)


def check_machines(ray: Any, needs: Needs, place: Place) -> None:
    """Look on every machine of a cluster whether it can do its part.

    Args:
        ray: the connected module.
        needs: what each must have.
        place: what workers take; machines without that do no work.

    Raises:
        DpenetError: one lacks something.
    """
    with _seen_files(needs.outputs) as seen:
        _ask_machines(ray, needs._replace(files=(*needs.files, *seen)), place)


@contextlib.contextmanager
def _seen_files(folders: Iterable[str]) -> Iterator[list[tuple[str, int]]]:
    """A new file in each folder: a folder of the same name on another machine's own disk holds none."""
    seen: list[tuple[str, int]] = []
    with ExitStack() as closing:
        for folder in folders:
            with contextlib.suppress(OSError):  # one that cannot be written to is told by each row
                descriptor, name = tempfile.mkstemp(TEMPORARY_SUFFIX, TEMPORARY_PREFIX, folder)
                closing.callback(os.close, descriptor)
                closing.callback(Path(name).unlink, missing_ok=True)
                lock(descriptor)  # no leftover, for a run that tidies
                seen.append((name, 0))
        yield seen


def _ask_machines(ray: Any, needs: Needs, place: Place) -> None:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote = ray.remote(num_cpus=0, max_retries=0)(look)
    asked = {}
    for node in alive(ray, place):
        strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        asked[remote.options(scheduling_strategy=strategy).remote(needs)] = node["NodeManagerHostname"]
    ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=_SECONDS_TO_LOOK) if asked else ([], [])
    for answer in ready:
        machine = asked[answer]
        try:
            version, error = ray.get(answer)
        except ray.exceptions.RayError as failure:
            why = f"dpenet does not run on the machine {machine} ({in_short(failure)})"
            step = 'Install dpenet there as it is here, in a clone of it: pip install ".[ray]"'
            raise OptionError("--ray", why, step) from failure
        if version != __version__:
            why = f"the machine {machine} has dpenet {version}, and this one {__version__}"
            raise OptionError("--ray", why, "Install the same on every machine of the cluster.")
        if error is not None:
            raise error_of_row(error)
    if late:
        why = f"the machine {asked[late[0]]} did not answer within {_SECONDS_TO_LOOK} seconds"
        raise InputError("--ray", why, "Check it with: ray status.")


def alive(ray: Any, place: Place | None = None) -> list[dict[str, Any]]:
    """The machines of a cluster.

    Args:
        ray: the connected module.
        place: what workers take: machines that have nothing of the kind are left out.
    """
    kind = None if place is None else "GPU" if place.gpus else "CPU"
    nodes = [node for node in ray.nodes() if node["Alive"]]
    return [node for node in nodes if kind is None or node["Resources"].get(kind, 0) >= 1]


def nobody(why: str, *, gone: bool) -> DpenetError:
    """The error of a run that has no worker any more.

    Args:
        why: what Ray says of the last.
        gone: it had been at work.
    """
    if gone:
        step = "Start the cluster again; the same command goes on from here."
        return StorageError("--ray", f"all workers are gone ({why})", step)
    step = "Check that dpenet runs on every machine of the cluster."
    return OptionError("--ray", f"no worker can be started ({why})", step)


def in_short(error: BaseException) -> str:
    """What Ray says, in one line: of the text of an exception elsewhere, its last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
