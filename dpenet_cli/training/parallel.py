"""One process, or several that share each step's crops. torchrun starts them and says so in the environment."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dpenet_cli.errors import DeviceError


@dataclass(frozen=True)
class Processes:
    """This process among those of the run.

    Attributes:
        rank: its number, from 0; process 0 alone writes files and reports.
        world_size: how many there are.
        device: where this one computes.
    """

    rank: int
    world_size: int
    device: torch.device

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

    def wrap(self, model: nn.Module) -> nn.Module:
        """Let backward passes average gradients over all processes."""
        if self.world_size == 1:
            return model
        index = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=index)

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
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", rank=rank, world_size=world_size)
    try:
        yield Processes(rank, world_size, device)
    finally:
        dist.destroy_process_group()
