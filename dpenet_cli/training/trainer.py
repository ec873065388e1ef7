"""The loop: a batch, both stages, the loss, a step; and between steps the checkpoint, the evaluation, the log.

Losses that are not numbers are survived (the step is skipped; ten in a row are an error). On a CPU with the same number
of threads, a run that was interrupted and resumed ends with the same bits as one that was not.
"""

import dataclasses
import importlib.util
import math
import sys
import time
from typing import Any

import torch
from torch import nn

from dpenet_cli import __version__
from dpenet_cli.errors import TrainingError
from dpenet_cli.network.checkpoints import WeightsCard, save_model
from dpenet_cli.network.model import DPENet
from dpenet_cli.options import PROTOCOL, Precision
from dpenet_cli.system.atomic import write_whole
from dpenet_cli.system.devices import cpu_has_bf16
from dpenet_cli.system.user_dirs import keep_compilers_tidy
from dpenet_cli.training.checkpoint import MovingAverage, RunPosition, load_checkpoint, save_checkpoint
from dpenet_cli.training.data import fingerprint, load_data
from dpenet_cli.training.events import Evaluated, Event, Finished, Prepared, Preparing, Report, Saved, Skipped
from dpenet_cli.training.init import initial_network
from dpenet_cli.training.loader import Batch, BatchLoader, Prefetch
from dpenet_cli.training.losses import Loss, general_loss, published_loss
from dpenet_cli.training.options import Recipe, TrainOptions
from dpenet_cli.training.parallel import Processes
from dpenet_cli.training.plots import draw_curve
from dpenet_cli.training.run_folder import RunFolder
from dpenet_cli.training.schedule import learning_rate
from dpenet_cli.training.stopping import StopSignal
from dpenet_cli.training.throughput import Throughput
from dpenet_cli.training.validation import validate

_MOST_FAILURES = 10
"""Non-finite steps in a row that end a run."""


class Trainer:
    """One run in one process: what it has loaded, and how far it has come.

    Args:
        folder: of the run, locked.
        options: resolved.
        processes: this one among those of the run.
        report: called with every event, in the first process.
        resume: go on from the folder's checkpoint, if it has one.
    """

    def __init__(
        self, folder: RunFolder, options: TrainOptions, processes: Processes, report: Report, *, resume: bool
    ) -> None:
        started = time.monotonic()
        self._folder, self._options, self._processes, self._report_to = folder, options, processes, report
        self._device = processes.device

        # The data. A resumed run leaves out what it left out before, without searching again.
        earlier = folder.selection() if resume else None
        pictures, self._validation, self._selection = load_data(options, earlier, self._preparing)
        self._data = fingerprint(pictures)
        self._loader = BatchLoader(pictures, options, self._device, processes.rank, processes.world_size)
        del pictures  # the loader has pixels of its own
        self.steps = options.steps or options.epochs * self._loader.steps_per_epoch

        # The network and what trains it, as at step 0 and then as at the checkpoint.
        torch.manual_seed(options.seed)
        self.model = initial_network(options).to(self._device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=options.learning_rate, fused=self._device.type == "cuda" or None
        )
        self.average = MovingAverage(self.model, options.ema) if options.ema else None
        self.position = RunPosition()
        if resume and folder.checkpoint.exists():
            self.position = load_checkpoint(
                folder.checkpoint, self.model, self.average, optimizer=self.optimizer, data=self._data
            )
        self._loss: Loss = published_loss if options.recipe is Recipe.PAPER else general_loss
        self._dtype = _autocast_dtype(options.precision, self._device)
        self._network = _compiled(processes.wrap(self.model), options, self._device)

        # All is well: only now is anything of an earlier run replaced.
        if processes.first:
            folder.write_selection(self._selection)
            folder.write_options(options)
            folder.drop_events_after(self.position.step)
        self._report(self._prepared(time.monotonic() - started))

    def run(self, stop: StopSignal) -> str:
        """Take steps until the end, or until something says stop; then store everything.

        Args:
            stop: asked after every step.

        Returns:
            Why it ended: ``done``, ``interrupted`` or ``out of time``.
        """
        position, options = self.position, self._options
        evaluate_every = options.evaluate_every or max(self.steps // 20, 1)
        prefetch = Prefetch(self._loader, self._device, position.step)
        throughput = Throughput(position.step, self.steps, options.batch * self._processes.world_size)
        saved = time.monotonic()
        reason = "done"
        while position.step < self.steps:
            throughput.add(self._step(prefetch))
            last = position.step == self.steps
            if throughput.due() or last:
                self._report_progress(throughput, prefetch.waited())
            if position.step % evaluate_every == 0 and not last:
                self._evaluate()
                throughput.restart(position.step)
                prefetch.waited()  # neither its time nor what was waited before it counts
            if time.monotonic() - saved >= options.checkpoint_seconds:
                self._save()
                saved = time.monotonic()
            if (asked := stop.reason(self._processes)) and not last:
                reason = asked
                break
        self._save()  # before the last evaluation, which can take long
        if reason == "done" and position.evaluated != position.step:
            self._evaluate()
            self._save()
        if reason != "done" and self._processes.first:  # there was no last evaluation that wrote them
            save_model(self._snapshot(), self._folder.last, self._card())
        self._report(Finished(position.step, reason, position.seconds))
        if self._processes.first:
            self._draw_curve()
        self._processes.barrier()
        return reason

    def _step(self, prefetch: Prefetch) -> float:
        """One step; returns the loss, the mean over all processes, or NaN if the step was skipped."""
        started = time.perf_counter()
        position, options = self.position, self._options
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(options, position.step, self.steps)

        # Forward, loss, backward: on CUDA all of it is only queued here.
        batch = prefetch.take()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self._device.type, dtype=self._dtype or torch.bfloat16, enabled=self._dtype is not None):
            stages = self._network(batch.rainy)
        loss = self._loss(stages, batch.clean)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), options.clip or math.inf)

        # While the device works on that, the next batch is queued beside it; only then is the device waited for.
        prefetch.prepare()
        mean, size = self._processes.mean(torch.stack([loss.detach().float(), norm.float()])).tolist()

        # One process's NaN is every process's after the mean, so all of them step or all of them skip.
        if math.isfinite(mean) and math.isfinite(size):
            self.optimizer.step()
            if self.average is not None:
                self.average.update(position.step)
            position.failures = 0
        else:
            mean = math.nan
            self._skip(batch)
        position.step += 1
        position.seconds += time.perf_counter() - started
        return float(mean)

    def _skip(self, batch: Batch) -> None:
        self.position.failures += 1
        self._report(Skipped(self.position.step, batch.names))
        if self.position.failures >= _MOST_FAILURES:
            names = ", ".join(dict.fromkeys(batch.names[:3]))
            why = f"{_MOST_FAILURES} losses in a row were not numbers, the last on {names} and others"
            raise TrainingError(f"step {self.position.step}", why, "Look at these pictures, or lower --learning-rate.")

    def _report_progress(self, throughput: Throughput, waited: float) -> None:
        step, seconds = self.position.step, self.position.seconds
        rate = learning_rate(self._options, step - 1, self.steps)
        self._report(throughput.report(step, learning_rate=rate, waited=waited, trained=seconds))
        throughput.restart(step)

    def _evaluate(self) -> None:
        """Score the weights as a user would run them, and write them out."""
        position, folder = self.position, self._folder
        position.evaluated = position.step
        if not self._processes.first:
            return
        started = time.monotonic()
        model = self._snapshot()
        result = validate(model, self._validation, self._device)
        best = result is None or result.psnr > position.best_psnr
        scores = {"validation": {"protocol": PROTOCOL, **result.scores()}} if result else {}
        card = dataclasses.replace(self._card(), scores=scores)
        save_model(model, folder.last, card)
        if best:
            save_model(model, folder.best, card)
        if result:
            position.best_psnr = max(position.best_psnr, result.psnr)
            write_whole(folder.grid, result.grid)
            seconds = round(time.monotonic() - started, 1)
            self._report(Evaluated(position.step, result.psnr, result.ssim, result.input_psnr, best, seconds))

    def _snapshot(self) -> DPENet:
        """The weights that are validated and written out, the averaged ones if there are such, on the CPU."""
        model = DPENet(self.model.config)
        model.load_state_dict(self.average.state() if self.average else self.model.state_dict())
        return model

    def _save(self) -> None:
        if self._processes.first:
            path = self._folder.checkpoint
            save_checkpoint(path, self.position, self.model, self.average, optimizer=self.optimizer, data=self._data)
            self._report(Saved(self.position.step))

    def _draw_curve(self) -> None:
        events = self._folder.events()
        loss = [(e["step"], e["loss"]) for e in events if e.get("event") == "progress" and e.get("loss") is not None]
        psnr = [(e["step"], e["psnr"]) for e in events if e.get("event") == "evaluated"]
        write_whole(self._folder.curve, draw_curve(loss, psnr))

    def _preparing(self, doing: str) -> None:
        self._report(Preparing(0, doing))

    def _prepared(self, seconds: float) -> Prepared:
        return Prepared(
            step=self.position.step,
            steps=self.steps,
            pairs=self._loader.pairs,
            backgrounds=self._loader.backgrounds,
            validation=len(self._validation),
            excluded=self._selection.excluded,
            twins=self._selection.twins,
            too_small=self._selection.too_small,
            megapixels=round(self._loader.store.pixels / 1e6, 1),
            hardware=self._hardware(),
            seconds=round(seconds, 1),
        )

    def _hardware(self) -> str:
        name = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else str(self._device)
        threads = f", {torch.get_num_threads()} threads" if self._device.type == "cpu" else ""
        several = f", {self._processes.world_size} processes" if self._processes.world_size > 1 else ""
        return f"{name}{threads}, {'bf16' if self._dtype else 'fp32'}{several}"

    def _card(self) -> WeightsCard:
        """What weights written now say of themselves."""
        provenance = {
            "command": " ".join(["dpenet", *sys.argv[1:]]),
            "options": dataclasses.asdict(self._options),
            "step": self.position.step,
            "steps": self.steps,
            "training_seconds": round(self.position.seconds, 1),
            "hardware": self._hardware(),
            "dpenet": __version__,
            "torch": torch.__version__,
        }
        return WeightsCard(name=self._options.recipe.value, provenance=provenance)

    def _report(self, event: Event) -> None:
        if self._processes.first:
            self._folder.append(event)
            self._report_to(event)


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
