import numpy as np
import pytest
import torch
from training_runs import CPU, small, training_pictures

from dpenet_cli.errors import DatasetError
from dpenet_cli.synthesis.parameters import RainParameters
from dpenet_cli.training.loader import BatchLoader
from dpenet_cli.training.options import CropStage, Recipe
from dpenet_cli.training.pixels import PixelStore
from dpenet_cli.training.sources import TrainingPicture


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


def test_crops_are_mirrored_and_never_turned() -> None:
    """Rain falls: up stays up. Pictures whose red grows to the right and whose green grows downwards tell."""
    red, green = np.meshgrid(np.arange(100, dtype=np.uint8), np.arange(90, dtype=np.uint8))
    picture = TrainingPicture("a", "a", np.dstack([red, green, green]), None)
    batch = BatchLoader([picture], small("x", batch=64, structure=0.0, structure_dry=0.0), CPU).batch(0)
    assert (batch.clean[:, 1].diff(dim=1) > 0).all()
    assert (batch.clean[:, 1].diff(dim=2) == 0).all()
    right = (batch.clean[:, 0].diff(dim=2) > 0).all(dim=2).all(dim=1)
    assert 16 < int(right.sum()) < 48
    turned = BatchLoader([picture], small("x", batch=64, symmetries=True, structure=0.0, structure_dry=0.0), CPU)
    assert (turned.batch(0).clean[:, 1].diff(dim=1) <= 0).flatten(1).any(dim=1).sum() > 16


def test_structure_is_drawn_before_it_rains_on_its_shares_of_wet_and_dry_crops() -> None:
    flat = [TrainingPicture(str(n), str(n), np.full((90, 90, 3), 100, np.uint8), None) for n in range(3)]
    options = small("x", batch=300, mix={"thin": 1.0, "dry": 1.0}, structure=0.2, structure_dry=0.7)
    batch = BatchLoader(flat, options, CPU).batch(0)
    structured = (batch.clean != 100 / 255).flatten(1).any(dim=1)
    dry = (batch.clean == batch.rainy).flatten(1).all(dim=1)
    # Some structure lies beside the crop, so that shares are a little less.
    assert 0.1 < float(structured[~dry].float().mean()) < 0.27
    assert 0.5 < float(structured[dry].float().mean()) < 0.77
    assert torch.allclose(batch.clean * 255, (batch.clean * 255).round(), atol=1e-4)
    plain = BatchLoader(flat, small("x", batch=300, structure=0.0, structure_dry=0.0), CPU).batch(0)
    assert (plain.clean == 100 / 255).all()


def test_pairs_get_no_structure() -> None:
    options = small("x", batch=60, mix={"pairs": 1.0}, structure=1.0, structure_dry=1.0)
    batch = BatchLoader(training_pictures(3), options, CPU).batch(0)
    assert torch.allclose(batch.rainy - batch.clean, torch.full_like(batch.clean, 10 / 255), atol=1e-6)


def test_some_of_the_rain_comes_from_rendered_layers() -> None:
    flat = [TrainingPicture("a", "a", np.zeros((90, 90, 3), np.uint8), None)]
    options = small("x", batch=400, mix={"thin": 1.0, "dry": 1.0}, structure=0.0, structure_dry=0.0)
    white = torch.full((2, 60, 60), 255, dtype=torch.uint8)
    batch = BatchLoader(flat, options, CPU, layers=white).batch(0)
    rendered = (batch.rainy > 0.3).flatten(1).all(dim=1)
    dry = (batch.rainy == 0).flatten(1).all(dim=1)
    assert 0.4 < float(dry.float().mean()) < 0.6
    assert float(rendered.float().mean()) / float(1 - dry.float().mean()) == pytest.approx(0.15, abs=0.06)
    assert torch.equal(batch.rainy, BatchLoader(flat, options, CPU, layers=white).batch(0).rainy)


def test_each_stage_has_its_crops_of_pictures_that_are_large_enough() -> None:
    large, low = np.full((100, 100, 3), 200, np.uint8), np.full((40, 200, 3), 10, np.uint8)
    pictures = [TrainingPicture("large", "large", large, None), TrainingPicture("low", "low", low, None)]
    options = small("x", batch=None, crop=None, plan="32:20:1,64:6:1", structure=0.0, structure_dry=0.0)
    loader = BatchLoader(pictures, options, CPU)
    first, last = (loader.batch(0, stage) for stage in options.stages)
    assert first.clean.shape == (20, 3, 32, 32)
    assert last.clean.shape == (6, 3, 64, 64)
    assert set(first.names) == {"large", "low"}
    assert set(last.names) == {"large"}
    with pytest.raises(DatasetError, match="large enough for crops of 128"):
        BatchLoader(pictures, small("x", batch=None, crop=None, plan="32:20:1,128:6:1"), CPU)


@pytest.mark.parametrize("recipe", list(Recipe))
def test_processes_of_one_cpu_share_a_step_and_their_weights_make_it_whole(recipe: Recipe) -> None:
    stage = CropStage(32, 8, 1.0)
    options = small("x", recipe=recipe, batch=8, steps=0, epochs=1)
    loaders = [BatchLoader(training_pictures(5), options, CPU, rank, 3, shared=True) for rank in range(3)]
    batches = [loader.batch(0) for loader in loaders]
    assert [len(batch.names) for batch in batches] == [3, 3, 2]
    assert [loader.crops(stage) for loader in loaders] == [8, 8, 8]
    # The mean over processes of weighted means is the mean over all crops.
    values = [batch.clean.mean(dim=(1, 2, 3)) for batch in batches]
    shared = sum(float(v.mean()) * loader.weight(stage) for v, loader in zip(values, loaders, strict=True)) / 3
    assert shared == pytest.approx(float(torch.cat(values).mean()))
    if recipe is Recipe.PAPER:  # each picture has its turn before any has another
        assert {name for batch in batches for name in batch.names} == {"0", "1", "2", "3", "4"}
    assert not torch.equal(batches[0].clean, batches[1].clean)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_a_gpu_cuts_the_crops_of_the_cpu_and_its_rain_is_of_the_same_strength() -> None:
    options = small("x", batch=64)
    cpu, cuda = (BatchLoader(training_pictures(3), options, torch.device(name)).batch(0) for name in ("cpu", "cuda"))
    assert cuda.rainy.device.type == "cuda"
    assert torch.allclose(cuda.clean.cpu(), cpu.clean, atol=2 / 255)
    assert float(cuda.rainy.mean()) == pytest.approx(float(cpu.rainy.mean()), rel=0.05)
