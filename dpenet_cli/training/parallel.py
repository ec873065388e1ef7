"""One process, or several that share the work of each step.

torchrun starts several and says so in the environment, one for each GPU. On a CPU a run starts them itself: many
processes of one thread each train faster than one of many threads, which wait for each other hundreds of times a step.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

import dpenet_cli
from dpenet_cli.errors import DeviceError, TrainingError
from dpenet_cli.training.options import TrainOptions

_PATIENCE = timedelta(days=2)
"""How long a process waits for another. Reading data and evaluations take long; one that dies is noticed at once."""


@dataclass(frozen=True)
class Processes:
    """This process among those of the run.

    Attributes:
        rank: its number, from 0; process 0 alone writes files and reports.
        world_size: how many there are.
        device: where this one computes.
        shared: whether they share the crops of a step, as those of one CPU do; torchrun's have as many each.
    """

    rank: int
    world_size: int
    device: torch.device
    shared: bool = False

    @property
    def first(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all processes, the same in each."""
        if self.world_size > 1:
            dist.all_reduce(values, op=dist.ReduceOp.SUM)
            values /= self.world_size
        return values

    def from_first(self, *values: float) -> list[float]:
        """The first process's numbers, in each."""
        if self.world_size == 1:
            return list(values)
        shared = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return [float(value) for value in shared.tolist()]

    def object_from_first(self, content: Any) -> Any:
        """What the first process has, in each; anything that can be pickled."""
        if self.world_size == 1:
            return content
        box = [content]
        dist.broadcast_object_list(box, 0, device=self.device if self.device.type == "cuda" else None)
        return box[0]

    def wrap(self, model: nn.Module) -> nn.Module:
        """Let backward passes average gradients over all processes."""
        if self.world_size == 1:
            return model
        index = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=index, gradient_as_bucket_view=True)

    @contextlib.contextmanager
    def all_threads(self) -> Iterator[None]:
        """All threads of this CPU for this process, while those that share its steps wait for it."""
        before = torch.get_num_threads()
        if self.shared:
            torch.set_num_threads(before * self.world_size)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def barrier(self) -> None:
        """Wait until all are here."""
        if self.world_size > 1:
            dist.barrier()


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[Processes]:
    """Join the other processes that torchrun started, if it did: NCCL on CUDA, gloo elsewhere.

    Args:
        device: what the user chose; on CUDA each process takes the device of its local rank.

    Raises:
        DeviceError: fewer CUDA devices than processes.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield Processes(0, 1, device)
        return
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    if device.type == "cuda":
        if local >= torch.cuda.device_count():
            why = f"process {local} has no device of its own among {torch.cuda.device_count()}"
            raise DeviceError("torchrun", why, "Start as many processes as there are devices.")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo", rank=rank, world_size=world_size, timeout=_PATIENCE
    )
    try:
        yield Processes(rank, world_size, device)
    finally:
        dist.destroy_process_group()


def cpu_processes(options: TrainOptions, device: torch.device) -> int:
    """How many processes share each step on this CPU; 1 on other devices, and under torchrun.

    As many as there are threads, but none without a crop; what is left over makes several threads of each.
    """
    if device.type != "cpu" or int(os.environ.get("WORLD_SIZE", "1")) > 1 or not dist.is_available():
        return 1
    threads = options.threads or torch.get_num_threads()
    return max(min(threads, *(stage.batch for stage in options.stages)), 1)


@contextlib.contextmanager
def with_helpers(count: int) -> Iterator[Processes]:
    """Start processes on this CPU that share the steps of this one, and its threads: each has its part of them.

    They end with this one, however it ends. `training.helper` is what they run.

    Args:
        count: of processes, this one among them; at least 2.

    Raises:
        TrainingError: one cannot be started, or ends before the run does.
    """
    threads = torch.get_num_threads()
    each = max(threads // count, 1)
    torch.set_num_threads(each)
    with tempfile.TemporaryDirectory(prefix="dpenet-") as folder:
        meeting_point = Path(folder) / "meeting-point"  # a file, so that nothing listens on a port for it
        helpers: list[subprocess.Popen[bytes]] = []
        try:
            for rank in range(1, count):
                helpers.append(_start_helper(meeting_point, rank, count, each))  # noqa: PERF401 - all must be ended
            with joined(meeting_point, 0, count) as processes:
                yield processes
        except RuntimeError as error:
            if "gloo" not in str(error):
                raise
            why = "one of the processes that share its steps has ended"  # gloo says so of a lost connection alone
            raise TrainingError("train", why, "Go on with --resume; --threads 1 keeps to one process.") from error
        finally:
            torch.set_num_threads(threads)
            for helper in helpers:
                helper.terminate()
            for helper in helpers:
                try:
                    helper.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    helper.kill()
                    helper.wait()


@contextlib.contextmanager
def joined(meeting_point: Path, rank: int, world_size: int) -> Iterator[Processes]:
    """Meet the other processes of this CPU.

    Args:
        meeting_point: file that all of them name.
        rank: of this process.
        world_size: how many there are.
    """
    store = dist.FileStore(str(meeting_point), world_size)  # type: ignore[attr-defined]
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world_size, timeout=_PATIENCE)
    try:
        yield Processes(rank, world_size, torch.device("cpu"), shared=True)
    finally:
        dist.destroy_process_group()


def _start_helper(meeting_point: Path, rank: int, world_size: int, threads: int) -> subprocess.Popen[bytes]:
    # The package that runs here, wherever it lies, and nothing that happens to lie in the working folder (-P).
    home = str(Path(dpenet_cli.__file__).parents[1])
    path = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
    numbers = (rank, world_size, threads, os.getpid())
    command = [sys.executable, "-P", "-m", "dpenet_cli.training.helper", str(meeting_point), *map(str, numbers)]
    # Ctrl-C and a closed terminal are for the first process, which tells the others when to stop.
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}
    try:
        return subprocess.Popen(  # noqa: S603 - our own interpreter, our own module
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        )
    except OSError as error:
        why = f"a process for it cannot be started: {error.strerror or error}"
        raise TrainingError("train", why, "Use --threads 1.") from error
