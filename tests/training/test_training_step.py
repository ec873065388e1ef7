import math

import pytest
import torch
from training_runs import CPU, small, training_pictures

from dpenet_cli.network.model import DPENet, DPENetConfig
from dpenet_cli.training.checkpoint import MovingAverage
from dpenet_cli.training.loader import BatchLoader
from dpenet_cli.training.losses import general_loss
from dpenet_cli.training.recovery import EXPLODED, GradientWatch, LastGood
from dpenet_cli.training.step import EagerStep, GatedStep, GraphStep, Training

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")


def training(device: torch.device = CPU, *, fused: bool | None = None) -> Training:
    torch.manual_seed(0)
    model = DPENet(DPENetConfig(8, 2, 1)).to(device)
    optimizer = torch.optim.Adam(model.parameters(), fused=fused, capturable=device.type == "cuda" and bool(fused))
    return Training(model, model, optimizer, MovingAverage(model, 0.9), general_loss, None, 1.0)


def batches(device: torch.device = CPU) -> BatchLoader:
    return BatchLoader(training_pictures(3), small("x", batch=4), device)


def values(own: Training) -> list[torch.Tensor]:
    """All that a step changes."""
    found = [p.detach().clone() for p in own.model.parameters()]
    found += [average.clone() for average in own.average.weights] if own.average else []
    for state in own.optimizer.state.values():
        found += [state[name].clone() for name in ("exp_avg", "exp_avg_sq", "step")]
    return found


def test_a_gated_step_is_an_eager_one() -> None:
    eager, gated = training(), training(fused=True)
    by_eager, by_gate = EagerStep(eager), GatedStep(gated, CPU)
    for step in range(3):
        batch = batches().batch(step)
        expected = by_eager.begin(batch, 1e-3, 1.0, step)
        by_eager.end(step, finite=True)
        by_gate.set(1e-3, step)
        gated.optimizer.zero_grad()
        assert torch.allclose(by_gate.run(batch.rainy, batch.clean), expected, rtol=1e-4)
    for own, other in zip(values(gated), values(eager), strict=True):
        assert torch.allclose(own, other, rtol=1e-3, atol=1e-6)


def test_the_gate_lets_nothing_through_that_is_not_finite() -> None:
    own = training(fused=True)
    gate, batch = GatedStep(own, CPU), batches().batch(0)
    gate.set(1e-3, 0)
    gate.run(batch.rainy, batch.clean)
    before = values(own)
    own.optimizer.zero_grad()
    found = gate.run(torch.full_like(batch.rainy, math.nan), batch.clean)
    assert torch.isnan(found).any()
    assert all(torch.equal(a, b) for a, b in zip(values(own), before, strict=True))
    own.optimizer.zero_grad()
    gate.run(batch.rainy, batch.clean)
    assert not all(torch.equal(a, b) for a, b in zip(values(own), before, strict=True))


def test_a_fresh_gate_that_only_saw_nan_has_learnt_nothing() -> None:
    """As before a graph is captured."""
    own, reference = training(fused=True), training(fused=True)
    gate, batch = GatedStep(own, CPU), batches().batch(0)
    gate.set(0.0, 0)
    for _ in range(3):
        own.optimizer.zero_grad()
        gate.run(torch.full_like(batch.rainy, math.nan), torch.full_like(batch.clean, math.nan))
    for gated, each in ((gate, own), (GatedStep(reference, CPU), reference)):
        gated.set(1e-3, 0)
        each.optimizer.zero_grad()
        gated.run(batch.rainy, batch.clean)
    assert all(torch.equal(a, b) for a, b in zip(values(own), values(reference), strict=True))


@CUDA
def test_graphs_train_as_eager_steps_do_on_a_gpu() -> None:
    device = torch.device("cuda")
    eager, graphed = training(device), training(device, fused=True)
    by_eager, by_graph = EagerStep(eager), GraphStep(graphed, device)
    loader = batches(device)
    for step in range(6):
        batch = loader.batch(step)
        expected = by_eager.begin(batch, 1e-3, 1.0, step)
        by_eager.end(step, finite=True)
        assert torch.allclose(by_graph.begin(batch, 1e-3, 1.0, step), expected, rtol=1e-2)
    for own, other in zip(values(graphed), values(eager), strict=True):
        assert torch.allclose(own, other, rtol=0.05, atol=1e-4)


def test_the_watch_forgives_odd_batches_and_sees_an_explosion() -> None:
    watch = GradientWatch()
    for norm in [3.0] * 20 + [1e9] * 5:
        watch.add(norm)
        assert watch.median <= EXPLODED
    assert not watch.calm
    watch.add(1e9)
    assert watch.median > EXPLODED
    watch.forget()
    assert watch.median == 0
    assert watch.calm


@pytest.mark.parametrize("first", [0, 2])
def test_going_back_restores_all_that_training_changed_where_it_lies(first: int) -> None:
    own = training()
    step = EagerStep(own)

    def take(number: int) -> None:
        step.begin(batches().batch(number), 1e-3, 1.0, number)
        step.end(number, finite=True)

    for number in range(first):
        take(number)
    good, before = LastGood(own.model, own.optimizer, own.average, first), values(own)
    places = [p.data_ptr() for p in own.model.parameters()]
    for number in range(3):
        take(first + number)
    after = values(own)
    good.restore()
    restored = values(own)
    assert [p.data_ptr() for p in own.model.parameters()] == places
    assert all(torch.equal(a, b) for a, b in zip(restored, before, strict=False))
    assert all((value == 0).all() for value in restored[len(before) :])  # Adam had nothing to remember yet
    # From there on it learns the same again.
    for number in range(3):
        take(first + number)
    assert all(torch.equal(a, b) for a, b in zip(values(own)[: len(places)], after[: len(places)], strict=True))
