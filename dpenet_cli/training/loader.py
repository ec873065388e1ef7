"""Batches: crops gathered from bytes that lie ready on the device, and structure and rain drawn on them there.

Which pictures, crops, structures and rains make up a batch is a function of the seed, the step, its stage and the
process alone. Nothing is
remembered from batch to batch, so a resumed run sees what an uninterrupted one would have.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dpenet_cli.errors import DatasetError
from dpenet_cli.synthesis.layers import StreakLayers
from dpenet_cli.synthesis.parameters import Rain, draw_parameters
from dpenet_cli.synthesis.rain import draw_rain
from dpenet_cli.synthesis.structures import draw_structures
from dpenet_cli.training.options import PAIRS, CropStage, Recipe, TrainOptions
from dpenet_cli.training.pixels import PixelStore
from dpenet_cli.training.sources import TrainingPicture

_LAYERS_SHARE = 0.15
"""Share of the drawn rain that comes from rendered layers, where there are such."""


class Batch(NamedTuple):
    """N×3×S×S float32 each, RGB, 0..1, channels_last; the pictures' names; and the stage that they belong to."""

    rainy: Tensor
    clean: Tensor
    names: list[str]
    stage: CropStage


class _Eligible(NamedTuple):
    """Which pictures are large enough for crops of one side: numbers of backgrounds, and of training pictures."""

    backgrounds: Tensor
    pairs: Tensor


class BatchLoader:
    """The batches of one process.

    Args:
        pictures: what to learn from.
        options: mixture, stages, structure, mirrors, seed, recipe.
        device: where batches are made.
        rank: this process's number.
        world_size: how many processes there are.
        shared: whether they share the crops of a step; otherwise each takes as many as the stage says.
        packed: row of pixels that all pictures are views of, or None; see `PixelStore`.
        layers: rendered streak layers, L×h×w uint8, or None.

    Raises:
        DatasetError: no picture is large enough for one of the stages.
    """

    def __init__(
        self,
        pictures: Sequence[TrainingPicture],
        options: TrainOptions,
        device: torch.device,
        rank: int = 0,
        world_size: int = 1,
        *,
        shared: bool = False,
        packed: Tensor | None = None,
        layers: Tensor | None = None,
    ) -> None:
        self._options, self._device, self._rank = options, device, rank
        self._sharing = world_size if shared else 1
        self._taking = 1 if shared else world_size  # how many times a stage's batch one step takes
        self._layers = StreakLayers(layers, device) if layers is not None else None

        # The store holds each background once, however many rainy versions it has, and then the rainy versions.
        backgrounds = {p.background: torch.from_numpy(p.clean) for p in pictures}
        rainy = [torch.from_numpy(p.rainy) for p in pictures if p.rainy is not None]
        self.store = PixelStore([*backgrounds.values(), *rainy], device, packed)
        self.backgrounds, self.pairs = len(backgrounds), len(rainy)
        self._background_names = list(backgrounds)

        # Where in the store a training picture's clean and rainy pixels are; -1 where rain is to be drawn.
        number = {name: i for i, name in enumerate(backgrounds)}
        self._names = [p.name for p in pictures]
        self._clean = torch.tensor([number[p.background] for p in pictures])
        is_pair = torch.tensor([p.rainy is not None for p in pictures])
        self._rainy = torch.where(is_pair, len(backgrounds) - 1 + is_pair.long().cumsum(0), -1)
        self._eligible = {stage.side: self._find_eligible(stage.side) for stage in options.stages}

        weights = {name: weight for name, weight in options.mix.items() if weight > 0}
        self._kinds = [Rain(name) for name in weights if name != PAIRS] or [Rain.DRY]  # of pictures without a partner
        self._kind_weights = torch.tensor([weights.get(kind, 1.0) for kind in self._kinds])
        drawn = sum(weight for name, weight in weights.items() if name != PAIRS)
        self._pair_share = weights.get(PAIRS, 0.0) / (weights.get(PAIRS, 0.0) + drawn)

    @property
    def steps_per_epoch(self) -> int:
        """Batches of the first stage in which every picture has had its turn."""
        return math.ceil(len(self._names) / self.crops(self._options.stages[0]))

    def crops(self, stage: CropStage) -> int:
        """Crops in a step of a stage, of all processes together."""
        return stage.batch * self._taking

    def weight(self, stage: CropStage) -> float:
        """What this process's mean over its crops counts, so that the processes' mean is that over all crops."""
        return self._own_crops(stage) * self._sharing / stage.batch

    def batch(self, step: int, stage: CropStage | None = None) -> Batch:
        """Make the batch of one step of a stage, the first one unless told; it depends on nothing else."""
        options, device = self._options, self._device
        stage = stage or options.stages[0]
        # What goes into the batch is drawn on the CPU; pixels are drawn on the device.
        drawing = _generator(options.seed, step, self._rank)
        painting = _generator(options.seed + 1, step, self._rank, device)

        # 1. The clean crops, all of them.
        clean, rainy, names = self._select(step, stage, drawing)
        places = self.store.draw_places(
            clean, stage.side, symmetries=options.symmetries, mirrors=options.mirrors, generator=drawing
        )
        target = self.store.crops(clean, places, stage.side)  # N×3×S×S

        # 2. What happens to those without a partner: structure on some, before it rains.
        drawn = torch.multinomial(self._kind_weights, len(clean), replacement=True, generator=drawing)
        kinds = [self._kinds[k] for k in drawn.tolist()]
        alone = [i for i, own in enumerate(rainy.tolist()) if own < 0]
        self._add_structure(target, alone, kinds, drawing)
        seen = target.clone()  # a dry crop is seen as it is

        # 3. A pair's rainy half, cut at the same place.
        paired = (rainy >= 0).nonzero().flatten()
        if len(paired):
            seen[paired.to(device, non_blocking=True)] = self.store.crops(rainy[paired], places[paired], stage.side)

        # 4. Rain on the rest, unless it is to stay dry; rounded, as pictures come in 8 bits.
        rained_on = [i for i in alone if kinds[i] is not Rain.DRY]
        rained_on = self._add_layers(seen, rained_on, drawing)
        if rained_on:
            parameters = draw_parameters([kinds[i] for i in rained_on], drawing)
            there = torch.tensor(rained_on).to(device, non_blocking=True)
            seen[there] = _eight_bits(draw_rain(target[there], parameters, painting))
        return Batch(seen, target, names, stage)

    def _add_structure(self, target: Tensor, alone: list[int], kinds: list[Rain], generator: torch.Generator) -> None:
        """Draw structure on some of the crops that are to be rained on or to stay dry, in place."""
        options = self._options
        if not alone or not (options.structure or options.structure_dry):
            return
        shares = [options.structure_dry if kinds[i] is Rain.DRY else options.structure for i in alone]
        chosen = torch.rand(len(alone), generator=generator) < torch.tensor(shares)
        structured = torch.tensor(alone)[chosen]
        if len(structured):
            there = structured.to(target.device, non_blocking=True)
            target[there] = _eight_bits(draw_structures(target[there], generator))

    def _add_layers(self, seen: Tensor, rained_on: list[int], generator: torch.Generator) -> list[int]:
        """Let rendered rain fall on some crops, in place; gives the others."""
        if self._layers is None or not rained_on:
            return rained_on
        chosen = (torch.rand(len(rained_on), generator=generator) < _LAYERS_SHARE).tolist()
        rendered = [i for i, own in zip(rained_on, chosen, strict=True) if own]
        if rendered:
            there = torch.tensor(rendered).to(seen.device, non_blocking=True)
            seen[there] = _eight_bits(self._layers.draw(seen[there], generator))
        return [i for i, own in zip(rained_on, chosen, strict=True) if not own]

    def _find_eligible(self, side: int) -> _Eligible:
        large = self.store.shorter_sides >= side
        backgrounds = large[: self.backgrounds].nonzero().flatten()
        pairs = ((self._rainy >= 0) & large[self._clean]).nonzero().flatten()
        if not len(backgrounds):
            why = f"no picture is large enough for crops of {side} pixels"
            raise DatasetError(", ".join(self._options.data), why, "Add data, or choose smaller crops with --plan.")
        return _Eligible(backgrounds, pairs)

    def _own_crops(self, stage: CropStage) -> int:
        """This process's share of a batch: the first ones take one more where it does not divide."""
        return stage.batch // self._sharing + (self._sharing > 1 and self._rank < stage.batch % self._sharing)

    def _select(self, step: int, stage: CropStage, generator: torch.Generator) -> tuple[Tensor, Tensor, list[str]]:
        """Numbers in the store of N clean pictures and of their rainy versions (-1 to draw rain), and names."""
        if self._options.recipe is Recipe.PAPER:
            which = self._in_turn(step, stage)
            return self._clean[which], self._rainy[which], [self._names[i] for i in which.tolist()]
        n, eligible = self._own_crops(stage), self._eligible[stage.side]
        background = eligible.backgrounds[torch.randint(0, len(eligible.backgrounds), (n,), generator=generator)]
        if not len(eligible.pairs):
            return background, torch.full((n,), -1), [self._background_names[i] for i in background.tolist()]
        # A background and a pair are drawn for each crop, and then which of the two it is cut from.
        from_pair = torch.rand(n, generator=generator) < self._pair_share
        pair = eligible.pairs[torch.randint(0, len(eligible.pairs), (n,), generator=generator)]
        names = [
            self._names[p] if is_pair else self._background_names[b]
            for is_pair, p, b in zip(from_pair.tolist(), pair.tolist(), background.tolist(), strict=True)
        ]
        clean = torch.where(from_pair, self._clean[pair], background)
        return clean, torch.where(from_pair, self._rainy[pair], -1), names

    def _in_turn(self, step: int, stage: CropStage) -> Tensor:
        """This process's share of a step of an epoch in which each picture comes once, in an order of its own."""
        epoch, number = divmod(step, self.steps_per_epoch)
        order = torch.randperm(len(self._names), generator=_generator(self._options.seed, epoch, -1))
        together = self.crops(stage)
        if self._sharing * self._taking > 1:
            # Known shares, so that their gradients' mean is the mean over all: the order begins again at its end.
            order = order.repeat(2 + together // len(order))[: self.steps_per_epoch * together]
        own = self._own_crops(stage)
        extra = stage.batch % self._sharing  # so many processes before this one, or fewer, take one more
        first = number * together + self._rank * (stage.batch // self._sharing) + min(self._rank, extra)
        return order[first : first + own]


def _eight_bits(pictures: Tensor) -> Tensor:
    """At the steps of 8 bits, in place."""
    return pictures.mul_(255.0).round_().div_(255.0)


def _generator(seed: int, number: int, rank: int, device: torch.device | None = None) -> torch.Generator:
    """A generator that depends on all of its arguments: its seed is a mixture of them in 63 bits."""
    mixed = hash((seed, number, rank)) & (2**63 - 1)  # hashes of integers are the same in every process
    return torch.Generator(device or "cpu").manual_seed(mixed)
