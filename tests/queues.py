"""Devices that work through queues, on a CPU: as lazy, or as hasty, as their order allows."""

import itertools

import torch

from dpenet_cli.inference.backend import TileSize
from dpenet_cli.inference.torch import TorchBackend
from dpenet_cli.options import Precision


class LazyQueue:
    """Does nothing until somebody waits, and then no more than the events ask for."""

    def __init__(self):
        self.given = []
        self.done = 0

    def run(self, work):
        self.given.append(work)

    def record_event(self):
        return LazyEvent(self, len(self.given))

    def wait_event(self, event):
        self.given.append(event.wait)


class LazyEvent:
    def __init__(self, queue, place):
        self.queue, self.place = queue, place

    def wait(self):
        while self.queue.done < self.place:
            work = self.queue.given[self.queue.done]
            self.queue.done += 1
            work()


class HastyQueue(LazyQueue):
    """Does everything at once."""

    def run(self, work):
        super().run(work)
        self.record_event().wait()


class Queues:
    """A device on the CPU whose steps give their result at one place, as captured ones do."""

    def __init__(self, kind=LazyQueue):
        self.kind = kind
        self.batches = 0

    def queue(self):
        return self.kind()

    def host(self, shape, dtype):
        return self.empty(shape, dtype)

    def empty(self, shape, dtype):
        return torch.full(shape, 1, dtype=torch.int32).to(dtype)

    def repeated(self, step):
        outputs = []

        def run(rainy):
            self.batches += 1
            for tensor, output in itertools.zip_longest(step(rainy), outputs):
                if output is None:
                    outputs.append(tensor.clone())
                else:
                    output.copy_(tensor)
            return tuple(outputs)

        return run


class InBatches(TorchBackend):
    """The real backend, on a CPU that seems to like batches."""

    def __init__(self, model, together, kind=LazyQueue):
        super().__init__(model, "cpu", Precision.FP32)
        self.together = together
        self.submitted = []
        self._open = lambda device: Queues(kind)

    def tile_size(self, height, width, precision, columns):
        return TileSize(columns or width, height)

    def frames_at_once(self, height, width, precision):
        return self.together

    def submit(self, frames, together, precision, strength):
        self.submitted.append(len(frames))
        return super().submit(frames, together, precision, strength)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now
