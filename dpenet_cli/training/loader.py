"""Batches: crops gathered from bytes that lie ready on the device, and rain drawn on them there.

Which pictures, crops and rains make up a batch is a function of the seed, the step and the process alone. Nothing is
remembered from batch to batch, so a resumed run sees what an uninterrupted one would have.
"""

import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dpenet_cli.synthesis.rain import Rain, draw_parameters, draw_rain
from dpenet_cli.training.data import TrainingPicture
from dpenet_cli.training.options import PAIRS, Recipe, TrainOptions

_GPU_SHARE = 0.3
"""Share of a GPU's free memory that pictures may take; beyond it they stay in the host's."""


class Batch(NamedTuple):
    """N×3×S×S float32 each, RGB, 0..1, channels_last; and the pictures' names."""

    rainy: Tensor
    clean: Tensor
    names: list[str]


class PixelStore:
    """Decoded pictures of any sizes as one run of uint8 pixels.

    Args:
        pictures: H×W×3 uint8.
        device: where the crops are needed; the pixels lie there too if they fit.
    """

    def __init__(self, pictures: Sequence[Tensor], device: torch.device) -> None:
        self._sizes = torch.tensor([picture.shape[:2] for picture in pictures])  # P×2
        areas = self._sizes.prod(dim=1)
        self._starts = areas.cumsum(0) - areas
        self.pixels = int(areas.sum())
        fits = device.type != "cuda" or 3 * self.pixels < _GPU_SHARE * torch.cuda.mem_get_info(device)[0]
        self._device = device
        self._pixels = torch.empty(self.pixels, 3, dtype=torch.uint8, device=device if fits else "cpu")
        for start, picture in zip(self._starts.tolist(), pictures, strict=True):
            self._pixels[start : start + picture.shape[0] * picture.shape[1]] = picture.reshape(-1, 3)

    def place(self, which: Tensor, side: int, *, symmetries: bool, generator: torch.Generator) -> Tensor:
        """Draw where to cut: N×5 integers (top, left, transposed, upside down, mirrored), on the CPU."""
        room = self._sizes[which] - side + 1
        corners = (torch.rand(len(which), 2, generator=generator, dtype=torch.float64) * room).long()
        turns = torch.randint(0, 2, (len(which), 3), generator=generator)
        return torch.cat([corners, turns if symmetries else torch.zeros_like(turns)], dim=1)

    def crops(self, which: Tensor, places: Tensor, side: int) -> Tensor:
        """Gather crops: N×3×S×S float32, 0..1, channels_last, on the device.

        The eight symmetries of a square are in the indices; nothing is copied twice.
        """
        rows = torch.stack([self._starts[which], self._sizes[which, 1]], dim=1)
        table = torch.cat([rows, places], dim=1).to(self._pixels.device, non_blocking=True).view(-1, 7, 1, 1)
        start, width, top, left, transposed, upside_down, mirrored = table.unbind(1)
        along = torch.arange(side, device=table.device)
        row, column = along.view(1, -1, 1), along.view(1, 1, -1)
        y, x = torch.where(transposed == 1, column, row), torch.where(transposed == 1, row, column)
        y = torch.where(upside_down == 1, side - 1 - y, y)
        x = torch.where(mirrored == 1, side - 1 - x, x)
        pixels = self._pixels[start + (top + y) * width + left + x]  # N×S×S×3
        return pixels.to(self._device, non_blocking=True).permute(0, 3, 1, 2).float().div_(255.0)


class BatchLoader:
    """The batches of one process.

    Args:
        examples: what to learn from.
        options: mixture, batch, crop, symmetries, seed, recipe.
        device: where batches are made.
        rank: this process's number.
        world: how many processes there are.
    """

    def __init__(
        self,
        examples: Sequence[TrainingPicture],
        options: TrainOptions,
        device: torch.device,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._options, self._device, self._rank, self._world = options, device, rank, world
        backgrounds = {e.background: torch.from_numpy(e.clean) for e in examples}
        rainy = [torch.from_numpy(e.rainy) for e in examples if e.rainy is not None]
        self.gallery = PixelStore([*backgrounds.values(), *rainy], device)
        self.backgrounds, self.pairs = len(backgrounds), len(rainy)
        self._background_names = list(backgrounds)
        position = {name: number for number, name in enumerate(backgrounds)}
        self._names = [e.name for e in examples]
        self._clean = torch.tensor([position[e.background] for e in examples])
        rained_on = torch.tensor([e.rainy is not None for e in examples])
        self._rainy = torch.where(rained_on, len(backgrounds) - 1 + rained_on.long().cumsum(0), -1)  # -1: draw rain
        self._paired = rained_on.nonzero().flatten()
        weights = {name: weight for name, weight in options.mix.items() if weight > 0}
        self._kinds = [Rain(name) for name in weights if name != PAIRS]
        self._kind_weights = torch.tensor([weights[kind] for kind in self._kinds] or [1.0])
        self._kinds = self._kinds or [Rain.DRY]  # only where every picture has a partner
        drawn = float(self._kind_weights.sum()) if any(name != PAIRS for name in weights) else 0.0
        self._pair_share = weights.get(PAIRS, 0.0) / (weights.get(PAIRS, 0.0) + drawn) if self.pairs else 0.0

    @property
    def steps_per_epoch(self) -> int:
        """Batches in which every example has had its turn."""
        return math.ceil(len(self._names) / (self._options.batch * self._world))

    def batch(self, step: int) -> Batch:
        """Make the batch of one step; it depends on nothing but the step."""
        options = self._options
        drawing = _generator(options.seed, step, self._rank)
        painting = _generator(options.seed + 1, step, self._rank, self._device)
        clean, rainy, names = self._choose(step, drawing)
        places = self.gallery.place(clean, options.crop, symmetries=options.symmetries, generator=drawing)
        picked = torch.multinomial(self._kind_weights, len(clean), replacement=True, generator=drawing)
        kinds = [Rain.DRY if has else self._kinds[k] for has, k in zip((rainy >= 0).tolist(), picked, strict=True)]
        showers = draw_parameters(kinds, drawing).to(self._device)
        target = self.gallery.crops(clean, places, options.crop)
        # A pair's own rain is a crop like another; where there is none, it rains on the clean one.
        taken = self.gallery.crops(torch.where(rainy >= 0, rainy, clean), places, options.crop)
        seen = draw_rain(taken, showers, painting)
        seen = seen.mul_(255.0).round_().div_(255.0)  # pictures come in 8 bits
        return Batch(seen.contiguous(memory_format=torch.channels_last), target, names)

    def _choose(self, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor, list[str]]:
        """Positions in the gallery of the clean and the rainy pictures (-1 to draw rain), and names."""
        options = self._options
        if options.recipe is Recipe.PAPER:
            which = self._turn(step)
            return self._clean[which], self._rainy[which], [self._names[i] for i in which.tolist()]
        n = options.batch
        paired = torch.rand(n, generator=generator) < self._pair_share
        from_pairs = torch.randint(0, max(self.pairs, 1), (n,), generator=generator)
        background = torch.randint(0, self.backgrounds, (n,), generator=generator)
        if not self.pairs:
            return background, torch.full((n,), -1), [self._background_names[i] for i in background.tolist()]
        example = self._paired[from_pairs]
        clean = torch.where(paired, self._clean[example], background)
        names = [
            self._names[e] if is_pair else self._background_names[b]
            for is_pair, e, b in zip(paired.tolist(), example.tolist(), background.tolist(), strict=True)
        ]
        return clean, torch.where(paired, self._rainy[example], -1), names

    def _turn(self, step: int) -> Tensor:
        """This process's share of a step of an epoch in which each example comes once, in an order of its own."""
        epoch, number = divmod(step, self.steps_per_epoch)
        order = torch.randperm(len(self._names), generator=_generator(self._options.seed, epoch, -1))
        if self._world > 1:  # equal shares, so that their gradients' mean is the mean over all
            together = self._options.batch * self._world
            order = order.repeat(2 + together // len(order))[: self.steps_per_epoch * together]
        first = (number * self._world + self._rank) * self._options.batch
        return order[first : first + self._options.batch]


def _generator(seed: int, number: int, rank: int, device: torch.device | None = None) -> torch.Generator:
    """A generator that depends on all of its arguments: its seed is a mixture of them in 63 bits."""
    mixed = hash((seed, number, rank)) & (2**63 - 1)  # hashes of integers are the same in every process
    return torch.Generator(device or "cpu").manual_seed(mixed)


class Prefetch:
    """Batches in order, each made while the network is busy with the one before, and the time spent waiting for them.

    On CUDA a batch is made on a stream of its own; waiting is the time in which the network's stream stood still. On a
    CPU, where both would share the same cores, it is made when asked for.
    """

    def __init__(self, feed: BatchLoader, device: torch.device, first: int) -> None:
        self._feed, self._next = feed, first
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._marks: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._waited = 0.0
        self._ready: Batch | None = None
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(device))
            self._ready = self._ahead()

    def take(self) -> Batch:
        """The next step's batch."""
        if self._stream is None:
            started = time.perf_counter()
            batch = self._feed.batch(self._next)
            self._next += 1
            self._waited += time.perf_counter() - started
            return batch
        batch = self._ready or self._ahead()
        network = torch.cuda.current_stream()
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        before.record(network)
        network.wait_stream(self._stream)
        after.record(network)
        self._marks.append((before, after))
        for tensor in (batch.rainy, batch.clean):
            tensor.record_stream(network)
        self._ready = None
        return batch

    def prepare(self) -> None:
        """Begin with the batch after; to be called once the network's work has been queued."""
        if self._stream is not None:
            self._ready = self._ahead()

    def waited(self) -> float:
        """Seconds waited since the last call. On CUDA the device must have finished its work."""
        seconds, self._waited = self._waited, 0.0
        seconds += sum(float(before.elapsed_time(after)) for before, after in self._marks) / 1000.0
        self._marks.clear()
        return seconds

    def _ahead(self) -> Batch:
        with torch.cuda.stream(self._stream):
            batch = self._feed.batch(self._next)
        self._next += 1
        return batch
