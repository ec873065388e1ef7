import numpy as np
import pytest
import torch
from training_runs import CPU, small, training_pictures

from dpenet_cli.synthesis.parameters import RainParameters
from dpenet_cli.training.loader import BatchLoader, PixelStore
from dpenet_cli.training.options import Recipe


def test_symmetric_crops_are_those_of_numpy() -> None:
    pictures = [torch.arange(h * w * 3).reshape(h, w, 3).remainder(251).to(torch.uint8) for h, w in ((20, 30), (9, 8))]
    pixels = PixelStore(pictures, CPU)
    places = torch.tensor([[3, 5, t, u, m] for t in (0, 1) for u in (0, 1) for m in (0, 1)])
    crops = pixels.crops(torch.zeros(8, dtype=torch.long), places, 7)
    assert crops.is_contiguous(memory_format=torch.channels_last)
    cut = pictures[0][3:10, 5:12].numpy()
    for crop, (_, _, transposed, upside_down, mirrored) in zip(crops, places.tolist(), strict=True):
        turned = cut.transpose(1, 0, 2) if transposed else cut
        # Index arithmetic flips the source's rows and columns: before the transposition, in numpy's terms.
        flipped = cut[::-1] if upside_down else cut
        flipped = flipped[:, ::-1] if mirrored else flipped
        turned = flipped.transpose(1, 0, 2) if transposed else flipped
        assert np.array_equal((crop * 255).round().permute(1, 2, 0).numpy(), turned)
    assert len({crop.numpy().tobytes() for crop in crops}) == 8
    whole = pixels.crops(torch.tensor([1]), torch.tensor([[1, 0, 0, 0, 0]]), 8)
    assert np.array_equal((whole[0] * 255).round().permute(1, 2, 0).numpy(), pictures[1][1:9].numpy())


def test_both_halves_of_a_pair_are_cut_at_the_same_place() -> None:
    loader = BatchLoader(training_pictures(3), small("x", mix={"pairs": 1.0}, batch=8), CPU)
    batch = loader.batch(0)
    assert torch.allclose(batch.rainy - batch.clean, torch.full_like(batch.clean, 10 / 255), atol=1e-6)


def test_batches_depend_on_seed_step_and_process_alone() -> None:
    options = small("x", batch=4)
    loader, again = BatchLoader(training_pictures(3), options, CPU), BatchLoader(training_pictures(3), options, CPU)
    again.batch(0)
    assert torch.equal(loader.batch(5).rainy, again.batch(5).rainy)
    assert not torch.equal(loader.batch(5).clean, loader.batch(6).clean)
    assert not torch.equal(
        loader.batch(5).clean, BatchLoader(training_pictures(3), options, CPU, rank=1, world_size=2).batch(5).clean
    )


def test_the_mixture_has_its_weights() -> None:
    loader = BatchLoader(training_pictures(3), small("x", batch=200, mix={"pairs": 1.0, "dry": 3.0}), CPU)
    batch = loader.batch(0)
    dry = (batch.rainy == batch.clean).flatten(1).all(dim=1).float().mean()
    assert float(dry) == pytest.approx(0.75, abs=0.1)


def test_rain_is_drawn_for_those_crops_alone_that_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[torch.Tensor] = []

    def spy(clean: torch.Tensor, parameters: RainParameters, generator: torch.Generator) -> torch.Tensor:
        drawn.append(clean)
        return torch.zeros_like(clean)

    monkeypatch.setattr("dpenet_cli.training.loader.draw_rain", spy)
    mix = {"pairs": 1.0, "dry": 1.0, "thin": 1.0}
    batch = BatchLoader(training_pictures(3), small("x", batch=60, mix=mix), CPU).batch(0)
    black = (batch.rainy == 0).flatten(1).all(dim=1)
    dry = (batch.rainy == batch.clean).flatten(1).all(dim=1)
    brighter = (batch.rainy > batch.clean).flatten(1).all(dim=1)  # the pairs
    assert torch.equal(drawn[0], batch.clean[black])
    assert (black.int() + dry.int() + brighter.int() == 1).all()
    assert min(int(black.sum()), int(dry.sum()), int(brighter.sum())) > 5
    for quiet in ({"pairs": 1.0}, {"dry": 1.0}):
        BatchLoader(training_pictures(3), small("x", batch=8, mix=quiet), CPU).batch(0)
    assert len(drawn) == 1


def test_batches_are_of_8_bits_and_channels_last() -> None:
    batch = BatchLoader(training_pictures(3), small("x", batch=16), CPU).batch(0)
    for part in (batch.rainy, batch.clean):
        assert part.is_contiguous(memory_format=torch.channels_last)
        assert torch.allclose(part * 255, (part * 255).round(), atol=1e-4)


@pytest.mark.parametrize("world_size", [1, 2])
def test_in_the_paper_s_recipe_each_picture_has_its_turn_once_an_epoch(world_size: int) -> None:
    options = small("x", recipe=Recipe.PAPER, batch=2, steps=0)
    loaders = [BatchLoader(training_pictures(5), options, CPU, rank, world_size) for rank in range(world_size)]
    epochs = []
    for epoch in range(2):
        steps = range(epoch * loaders[0].steps_per_epoch, (epoch + 1) * loaders[0].steps_per_epoch)
        epochs.append([name for step in steps for loader in loaders for name in loader.batch(step).names])
    assert sorted(epochs[0][:5]) == sorted(epochs[1][:5]) == ["0", "1", "2", "3", "4"]
    assert epochs[0] != epochs[1]
    assert len(epochs[0]) == (5 if world_size == 1 else 8)
