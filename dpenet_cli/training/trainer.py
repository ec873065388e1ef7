"""The loop: a batch, both stages, the loss, a step; and between steps the checkpoint, the evaluation, the log.

Losses that are not numbers are survived (the step is skipped; ten in a row are an error). On a CPU with the same number
of threads, a run that was interrupted and resumed ends with the same bits as one that was not.
"""

import dataclasses
import hashlib
import importlib.util
import math
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from dpenet_cli import __version__
from dpenet_cli.errors import TrainingError
from dpenet_cli.evaluation.metrics import PROTOCOL
from dpenet_cli.network.checkpoints import WeightsCard, save_model
from dpenet_cli.network.model import DPENet
from dpenet_cli.options import Precision
from dpenet_cli.system.atomic import write_whole
from dpenet_cli.system.devices import cpu_has_bf16
from dpenet_cli.system.user_dirs import keep_compilers_tidy
from dpenet_cli.training.checkpoint import MovingAverage, RunFolder, RunPosition, load_checkpoint, save_checkpoint
from dpenet_cli.training.clock import StopSignal, Throughput
from dpenet_cli.training.data import TrainingPicture, load_pictures
from dpenet_cli.training.events import Evaluated, Event, Finished, Prepared, Preparing, Report, Saved, Skipped
from dpenet_cli.training.init import first_network
from dpenet_cli.training.loader import Batch, BatchLoader, Prefetch
from dpenet_cli.training.losses import Loss, general_loss, published_loss
from dpenet_cli.training.options import Recipe, TrainOptions
from dpenet_cli.training.parallel import Processes
from dpenet_cli.training.plots import draw_curve
from dpenet_cli.training.schedule import learning_rate
from dpenet_cli.training.validation import validate

_MOST_FAILURES = 10
"""Non-finite steps in a row that end a run."""


class Trainer:
    """One run in one process: what it has loaded, and how far it has come."""

    def __init__(
        self, run: RunFolder, options: TrainOptions, processes: Processes, report: Report, *, resume: bool
    ) -> None:
        started = time.monotonic()
        self._folder, self._options, self._processes, self._report = run, options, processes, report
        self._device = processes.device
        earlier = run.choice() if resume else None
        examples, self._checks, self._choice = load_pictures(options, earlier, self._preparing)
        self._data = _fingerprint(examples)
        self._feed = BatchLoader(examples, options, self._device, processes.rank, processes.world)
        del examples  # the feed has pixels of its own
        self.steps = options.steps or options.epochs * self._feed.steps_per_epoch
        torch.manual_seed(options.seed)
        self.model = first_network(options).to(self._device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=options.learning_rate, fused=self._device.type == "cuda" or None
        )
        self.average = MovingAverage(self.model, options.ema) if options.ema else None
        self._loss: Loss = published_loss if options.recipe is Recipe.PAPER else general_loss
        self._dtype = _autocast_dtype(options.precision, self._device)
        self.position = RunPosition()
        if resume and run.checkpoint.exists():
            self.position = load_checkpoint(
                run.checkpoint, self.model, self.average, optimizer=self.optimizer, data=self._data
            )
        if processes.first:
            run.write_choice(self._choice)
            run.write_options(options)
            run.forget_after(self.position.step)
        self._network = _compiled(processes.wrap(self.model), options, self._device)
        self._tell(self._prepared(time.monotonic() - started))

    def run(self, stop: StopSignal) -> str:
        """Take steps until the end, or until something says stop; then store everything."""
        position, options = self.position, self._options
        every = options.evaluate_every or max(self.steps // 20, 1)
        prefetch = Prefetch(self._feed, self._device, position.step)
        pace = Throughput(position.step)
        saved = time.monotonic()
        reason = "done"
        while position.step < self.steps:
            loss = self._step(prefetch)
            pace.add(loss)
            if pace.due() or position.step == self.steps:
                self._progress(pace, prefetch.waited())
            if position.step % every == 0 and position.step < self.steps:
                self._evaluate()
                pace.restart(position.step)
                prefetch.waited()  # neither its time nor what was waited before it counts
            if time.monotonic() - saved >= options.checkpoint_seconds:
                self._save()
                saved = time.monotonic()
            if (asked := stop.asked(self._processes)) and position.step < self.steps:
                reason = asked
                break
        self._save()
        if reason == "done" and position.evaluated != position.step:
            self._evaluate()
            self._save()
        if reason != "done" and self._processes.first:  # whoever stops early wants to see what came of it
            save_model(self._kept(), self._folder.folder / "last.safetensors", self._card())
        self._tell(Finished(position.step, reason, position.seconds))
        if self._processes.first:
            self._draw_curve()
        self._processes.wait()
        return reason

    def _step(self, prefetch: Prefetch) -> float:
        """One step; returns the loss, the mean over all processes, or NaN if the step was skipped."""
        started = time.perf_counter()
        position, options = self.position, self._options
        rate = learning_rate(options, position.step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batch = prefetch.take()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self._device.type, dtype=self._dtype or torch.bfloat16, enabled=self._dtype is not None):
            stages = self._network(batch.rainy)
        loss = self._loss(stages, batch.clean)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), options.clip or math.inf)
        prefetch.prepare()
        mean, finite = self._agreed(loss.detach(), norm)
        if finite:
            self.optimizer.step()
            if self.average is not None:
                self.average.update(position.step)
            position.failures = 0
        else:
            self._skip(batch)
        position.step += 1
        position.seconds += time.perf_counter() - started
        return mean

    def _agreed(self, loss: torch.Tensor, norm: torch.Tensor) -> tuple[float, bool]:
        """The mean loss, and whether loss and gradient are finite in every process. This waits for the device."""
        mean, size = self._processes.average(torch.stack([loss.float(), norm.float()])).tolist()
        return (mean, True) if math.isfinite(mean) and math.isfinite(size) else (math.nan, False)

    def _skip(self, batch: Batch) -> None:
        self.position.failures += 1
        self._tell(Skipped(self.position.step, batch.names))
        if self.position.failures >= _MOST_FAILURES:
            names = ", ".join(dict.fromkeys(batch.names[:3]))
            why = f"{_MOST_FAILURES} losses in a row were not numbers, the last on {names} and others"
            raise TrainingError(f"step {self.position.step}", why, "Look at these pictures, or lower --learning-rate.")

    def _progress(self, pace: Throughput, waited: float) -> None:
        position, options = self.position, self._options
        crops = options.batch * self._processes.world
        event = pace.event(position.step, self.steps, crops, waited)
        rate = learning_rate(options, position.step - 1, self.steps)
        self._tell(event._replace(learning_rate=rate, seconds=round(position.seconds, 1)))
        pace.restart(position.step)

    def _evaluate(self) -> None:
        """Score the weights as a user would run them, and keep them."""
        position, folder = self.position, self._folder.folder
        position.evaluated = position.step
        if not self._processes.first:
            return
        started = time.monotonic()
        model = self._kept()
        verdict = validate(model, self._checks, self._device)
        best = verdict is None or verdict.psnr > position.best_psnr
        scores = {"validation": {"protocol": PROTOCOL, **verdict.numbers()}} if verdict else {}
        card = dataclasses.replace(self._card(), scores=scores)
        save_model(model, folder / "last.safetensors", card)
        if best:
            save_model(model, folder / "best.safetensors", card)
        if verdict:
            position.best_psnr = max(position.best_psnr, verdict.psnr)
            write_whole(folder / "grid.png", verdict.grid)
            seconds = round(time.monotonic() - started, 1)
            self._tell(Evaluated(position.step, verdict.psnr, verdict.ssim, verdict.input_psnr, best, seconds))

    def _kept(self) -> DPENet:
        """The weights that are validated and kept, on the CPU."""
        model = DPENet(self.model.config)
        model.load_state_dict(self.average.state() if self.average else self.model.state_dict())
        return model

    def _card(self) -> WeightsCard:
        return _card(self._options, self.position, self.steps, self._hardware())

    def _save(self) -> None:
        if self._processes.first:
            path = self._folder.checkpoint
            save_checkpoint(path, self.position, self.model, self.average, optimizer=self.optimizer, data=self._data)
            self._tell(Saved(self.position.step))

    def _draw_curve(self) -> None:
        events = self._folder.events()
        loss = [(e["step"], e["loss"]) for e in events if e.get("event") == "progress" and e.get("loss") is not None]
        psnr = [(e["step"], e["psnr"]) for e in events if e.get("event") == "evaluated"]
        write_whole(self._folder.folder / "curve.png", draw_curve(loss, psnr))

    def _preparing(self, doing: str) -> None:
        self._tell(Preparing(0, doing))

    def _prepared(self, seconds: float) -> Prepared:
        feed, choice = self._feed, self._choice
        counts = (feed.pairs, feed.backgrounds, len(self._checks))
        left_out = (choice.excluded, choice.twins, choice.too_small)
        pixels = round(feed.gallery.pixels / 1e6, 1)
        return Prepared(self.position.step, self.steps, *counts, *left_out, pixels, self._hardware(), round(seconds, 1))

    def _hardware(self) -> str:
        name = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else str(self._device)
        threads = f", {torch.get_num_threads()} threads" if self._device.type == "cpu" else ""
        several = f", {self._processes.world} processes" if self._processes.world > 1 else ""
        return f"{name}{threads}, {'bf16' if self._dtype else 'fp32'}{several}"

    def _tell(self, event: Event) -> None:
        if self._processes.first:
            self._folder.append(event)
            self._report(event)


def _autocast_dtype(precision: Precision, device: torch.device) -> torch.dtype | None:
    if precision is Precision.FP32:
        return None
    has = device.type == "cuda" or (device.type == "cpu" and cpu_has_bf16())
    return torch.bfloat16 if has or precision is Precision.BF16 else None


def _compiled(network: nn.Module, options: TrainOptions, device: torch.device) -> Any:
    wanted = options.compile
    if wanted is None:
        wanted = device.type == "cuda" and importlib.util.find_spec("triton") is not None
    if not wanted:
        return network
    keep_compilers_tidy()
    return torch.compile(network)


def _fingerprint(examples: Sequence[TrainingPicture]) -> str:
    """Names and sizes of all pictures, hashed."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(f"{example.name} {example.clean.shape} {example.rainy is None}\n".encode())
    return digest.hexdigest()


def _card(options: TrainOptions, position: RunPosition, steps: int, hardware: str) -> WeightsCard:
    provenance = {
        "command": " ".join(["dpenet", *sys.argv[1:]]),
        "options": dataclasses.asdict(options),
        "step": position.step,
        "steps": steps,
        "training_seconds": round(position.seconds, 1),
        "hardware": hardware,
        "dpenet": __version__,
        "torch": torch.__version__,
    }
    return WeightsCard(name=options.recipe.value, provenance=provenance)
