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

from dpenet_cli.synthesis.parameters import Rain, draw_parameters
from dpenet_cli.synthesis.rain import draw_rain
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
    """Decoded pictures of any sizes, their uint8 pixels in one row.

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

    def draw_places(self, which: Tensor, side: int, *, symmetries: bool, generator: torch.Generator) -> Tensor:
        """Draw where to cut.

        Args:
            which: numbers of N pictures.
            side: of a crop in pixels.
            symmetries: flip and turn the crops.
            generator: on the CPU.

        Returns:
            N×5 integers (top, left, transposed, upside down, mirrored), on the CPU.
        """
        room = self._sizes[which] - side + 1  # N×2: how many tops, how many lefts there are
        corners = (torch.rand(len(which), 2, generator=generator, dtype=torch.float64) * room).long()
        turns = torch.randint(0, 2, (len(which), 3), generator=generator)
        return torch.cat([corners, turns if symmetries else torch.zeros_like(turns)], dim=1)

    def crops(self, which: Tensor, places: Tensor, side: int) -> Tensor:
        """Gather crops: N×3×S×S float32, 0..1, channels_last, on the device.

        Args:
            which: numbers of N pictures.
            places: N×5, see `draw_places`.
            side: of a crop in pixels, S.
        """
        # All that describes the crops goes to the device in one copy: N×7, then seven columns of N×1×1.
        rows = torch.stack([self._starts[which], self._sizes[which, 1]], dim=1)
        table = torch.cat([rows, places], dim=1).to(self._pixels.device, non_blocking=True).view(-1, 7, 1, 1)
        start, width, top, left, transposed, upside_down, mirrored = table.unbind(1)
        # For each pixel of a crop, which pixel of the cut it is. The eight symmetries of a square are three swaps of
        # coordinates, so they are done here, to indices, and no pixel is copied twice.
        along = torch.arange(side, device=table.device)
        row, column = along.view(1, -1, 1), along.view(1, 1, -1)
        y, x = torch.where(transposed == 1, column, row), torch.where(transposed == 1, row, column)  # N×S×S
        y = torch.where(upside_down == 1, side - 1 - y, y)
        x = torch.where(mirrored == 1, side - 1 - x, x)
        # Pictures lie row after row, one after the other, so (y, x) of a picture is one number.
        pixels = self._pixels[start + (top + y) * width + left + x]  # N×S×S×3 uint8
        # Seen as N×3×S×S without moving a byte, which is what channels_last means.
        return pixels.to(self._device, non_blocking=True).permute(0, 3, 1, 2).float().div_(255.0)


class BatchLoader:
    """The batches of one process.

    Args:
        pictures: what to learn from.
        options: mixture, batch, crop, symmetries, seed, recipe.
        device: where batches are made.
        rank: this process's number.
        world_size: how many processes there are.
    """

    def __init__(
        self,
        pictures: Sequence[TrainingPicture],
        options: TrainOptions,
        device: torch.device,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._options, self._device, self._rank, self._world_size = options, device, rank, world_size

        # The store holds each background once, however many rainy versions it has, and then the rainy versions.
        backgrounds = {p.background: torch.from_numpy(p.clean) for p in pictures}
        rainy = [torch.from_numpy(p.rainy) for p in pictures if p.rainy is not None]
        self.store = PixelStore([*backgrounds.values(), *rainy], device)
        self.backgrounds, self.pairs = len(backgrounds), len(rainy)
        self._background_names = list(backgrounds)

        # Where in the store a training picture's clean and rainy pixels are; -1 where rain is to be drawn.
        number = {name: i for i, name in enumerate(backgrounds)}
        self._names = [p.name for p in pictures]
        self._clean = torch.tensor([number[p.background] for p in pictures])
        is_pair = torch.tensor([p.rainy is not None for p in pictures])
        self._rainy = torch.where(is_pair, len(backgrounds) - 1 + is_pair.long().cumsum(0), -1)
        self._paired = is_pair.nonzero().flatten()

        weights = {name: weight for name, weight in options.mix.items() if weight > 0}
        self._kinds = [Rain(name) for name in weights if name != PAIRS] or [Rain.DRY]  # of pictures without a partner
        self._kind_weights = torch.tensor([weights.get(kind, 1.0) for kind in self._kinds])
        drawn = sum(weight for name, weight in weights.items() if name != PAIRS)
        self._pair_share = weights.get(PAIRS, 0.0) / (weights.get(PAIRS, 0.0) + drawn) if self.pairs else 0.0

    @property
    def steps_per_epoch(self) -> int:
        """Batches in which every picture has had its turn."""
        return math.ceil(len(self._names) / (self._options.batch * self._world_size))

    def batch(self, step: int) -> Batch:
        """Make the batch of one step; it depends on nothing but the step."""
        options, device = self._options, self._device
        # What goes into the batch is drawn on the CPU, the rain itself on the device.
        drawing = _generator(options.seed, step, self._rank)
        painting = _generator(options.seed + 1, step, self._rank, device)

        # 1. The clean crops, all of them.
        clean, rainy, names = self._select(step, drawing)
        places = self.store.draw_places(clean, options.crop, symmetries=options.symmetries, generator=drawing)
        target = self.store.crops(clean, places, options.crop)  # N×3×S×S
        seen = target.clone()  # a dry crop is seen as it is

        # 2. A pair's rainy half, cut at the same place.
        paired = (rainy >= 0).nonzero().flatten()
        if len(paired):
            seen[paired.to(device, non_blocking=True)] = self.store.crops(rainy[paired], places[paired], options.crop)

        # 3. Rain on the rest, unless it is to stay dry; rounded, as pictures come in 8 bits.
        drawn = torch.multinomial(self._kind_weights, len(clean), replacement=True, generator=drawing)
        kinds = [self._kinds[k] for k in drawn.tolist()]
        rained_on = [i for i, own in enumerate(rainy.tolist()) if own < 0 and kinds[i] is not Rain.DRY]
        if rained_on:
            parameters = draw_parameters([kinds[i] for i in rained_on], drawing)
            there = torch.tensor(rained_on).to(device, non_blocking=True)
            seen[there] = draw_rain(target[there], parameters, painting).mul_(255.0).round_().div_(255.0)
        return Batch(seen, target, names)

    def _select(self, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor, list[str]]:
        """Numbers in the store of N clean pictures and of their rainy versions (-1 to draw rain), and names."""
        if self._options.recipe is Recipe.PAPER:
            which = self._in_turn(step)
            return self._clean[which], self._rainy[which], [self._names[i] for i in which.tolist()]
        n = self._options.batch
        background = torch.randint(0, self.backgrounds, (n,), generator=generator)
        if not self.pairs:
            return background, torch.full((n,), -1), [self._background_names[i] for i in background.tolist()]
        # A background and a pair are drawn for each crop, and then which of the two it is cut from.
        from_pair = torch.rand(n, generator=generator) < self._pair_share
        pair = self._paired[torch.randint(0, self.pairs, (n,), generator=generator)]
        names = [
            self._names[p] if is_pair else self._background_names[b]
            for is_pair, p, b in zip(from_pair.tolist(), pair.tolist(), background.tolist(), strict=True)
        ]
        clean = torch.where(from_pair, self._clean[pair], background)
        return clean, torch.where(from_pair, self._rainy[pair], -1), names

    def _in_turn(self, step: int) -> Tensor:
        """This process's share of a step of an epoch in which each picture comes once, in an order of its own."""
        epoch, number = divmod(step, self.steps_per_epoch)
        order = torch.randperm(len(self._names), generator=_generator(self._options.seed, epoch, -1))
        if self._world_size > 1:
            # Equal shares, so that their gradients' mean is the mean over all: the order begins again at its end.
            together = self._options.batch * self._world_size
            order = order.repeat(2 + together // len(order))[: self.steps_per_epoch * together]
        first = (number * self._world_size + self._rank) * self._options.batch
        return order[first : first + self._options.batch]


def _generator(seed: int, number: int, rank: int, device: torch.device | None = None) -> torch.Generator:
    """A generator that depends on all of its arguments: its seed is a mixture of them in 63 bits."""
    mixed = hash((seed, number, rank)) & (2**63 - 1)  # hashes of integers are the same in every process
    return torch.Generator(device or "cpu").manual_seed(mixed)


class Prefetch:
    """Batches in order, each made while the network is busy with the one before, and the time spent waiting for them.

    On CUDA a batch is made on a stream of its own; waiting is the time in which the network's stream stood still. On a
    CPU, where both would share the same cores, it is made when asked for.

    Args:
        loader: makes the batches.
        device: the loader's and the network's.
        first: step of the first batch.
    """

    def __init__(self, loader: BatchLoader, device: torch.device, first: int) -> None:
        self._loader, self._next = loader, first
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._waits: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._waited = 0.0
        self._ready: Batch | None = None
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(device))  # which is still copying the pixels
            self._ready = self._ahead()

    def take(self) -> Batch:
        """The next step's batch."""
        if self._stream is None:
            started = time.perf_counter()
            batch = self._loader.batch(self._next)
            self._next += 1
            self._waited += time.perf_counter() - started
            return batch
        batch = self._ready or self._ahead()
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

    def prepare(self) -> None:
        """Begin with the batch after; to be called once the network's work has been queued."""
        if self._stream is not None:
            self._ready = self._ahead()

    def waited(self) -> float:
        """Seconds waited since the last call. On CUDA the device must have finished its work."""
        seconds, self._waited = self._waited, 0.0
        seconds += sum(float(before.elapsed_time(after)) for before, after in self._waits) / 1000.0
        self._waits.clear()
        return seconds

    def _ahead(self) -> Batch:
        with torch.cuda.stream(self._stream):
            batch = self._loader.batch(self._next)
        self._next += 1
        return batch
