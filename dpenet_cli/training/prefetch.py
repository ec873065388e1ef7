"""The next batch, made while the network is busy with this one."""

import time

import torch

from dpenet_cli.training.loader import Batch, BatchLoader
from dpenet_cli.training.options import CropStage


class Prefetch:
    """Batches in order, each made while the network is busy with the one before, and the time spent waiting for them.

    On CUDA a batch is made on a stream of its own; waiting is the time in which the network's stream stood still. On a
    CPU, where both would share the same cores, it is made when asked for.

    Args:
        loader: makes the batches.
        device: the loader's and the network's.
        first: step of the first batch.
        stage: of the first batch.
    """

    def __init__(self, loader: BatchLoader, device: torch.device, first: int, stage: CropStage) -> None:
        self._loader, self._next = loader, first
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._waits: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._waited = 0.0
        self._ready: Batch | None = None
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(device))  # which is still copying the pixels
            self._ready = self._ahead(stage)

    def take(self, stage: CropStage) -> Batch:
        """The next step's batch: of this stage, unless it was prepared of another."""
        if self._stream is None:
            started = time.perf_counter()
            batch = self._loader.batch(self._next, stage)
            self._next += 1
            self._waited += time.perf_counter() - started
            return batch
        batch = self._ready or self._ahead(stage)
        self._ready = None
        network = torch.cuda.current_stream()
        # The network's stream waits here for the batch. Two events around that tell for how long, once it has run.
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        before.record(network)
        network.wait_stream(self._stream)
        after.record(network)
        self._waits.append((before, after))
        # The memory belongs to the other stream, which would take it back while the network still reads it.
        for tensor in (batch.rainy, batch.clean):
            tensor.record_stream(network)
        return batch

    def prepare(self, stage: CropStage) -> None:
        """Begin with the batch after; to be called once the network's work has been queued."""
        if self._stream is not None:
            self._ready = self._ahead(stage)

    def waited(self) -> float:
        """Seconds waited since the last call. On CUDA the device must have finished its work."""
        seconds, self._waited = self._waited, 0.0
        seconds += sum(float(before.elapsed_time(after)) for before, after in self._waits) / 1000.0
        self._waits.clear()
        return seconds

    def _ahead(self, stage: CropStage) -> Batch:
        with torch.cuda.stream(self._stream):
            batch = self._loader.batch(self._next, stage)
        self._next += 1
        return batch
