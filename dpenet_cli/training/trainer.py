"""The loop: a batch, both stages, the loss, a step; and between steps the checkpoint, the evaluation, the log.

Losses that are not numbers are survived (the step is skipped). Ten in a row, or a gradient that explodes, bring back
the last good weights at half the rate; the third time is an error. On a CPU with the same number of threads, a run that
is planned by steps, interrupted and resumed, ends with the same bits as one that was not.
"""

import contextlib
import dataclasses
import math
import time

import torch

from dpenet_cli.errors import TrainingError
from dpenet_cli.network.model import DPENet
from dpenet_cli.training.checkpoint import MovingAverage, RunPosition, load_checkpoint, save_checkpoint
from dpenet_cli.training.data import DataSelection, fingerprint
from dpenet_cli.training.events import (
    Ending,
    Event,
    Finished,
    Outlook,
    Preparing,
    Report,
    Saved,
    Skipped,
    Stopping,
    WentBack,
)
from dpenet_cli.training.init import initial_network
from dpenet_cli.training.loader import Batch, BatchLoader
from dpenet_cli.training.options import TrainOptions
from dpenet_cli.training.outlook import prepared, seconds_needed
from dpenet_cli.training.parallel import Processes
from dpenet_cli.training.prefetch import Prefetch
from dpenet_cli.training.products import Products
from dpenet_cli.training.recovery import GradientWatch, LastGood
from dpenet_cli.training.run_folder import RunFolder
from dpenet_cli.training.schedule import Evaluations, Schedule
from dpenet_cli.training.setup import hardware, new_optimizer, new_step
from dpenet_cli.training.shared_data import load_for_all
from dpenet_cli.training.stopping import StopSignal
from dpenet_cli.training.throughput import Throughput

_KEEP_EVERY = 50
"""Steps after which weights that do well are kept, to go back to."""

_MOST_RETURNS = 2
"""How often a run goes back to earlier weights before it gives up."""


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
        self.position = RunPosition()

        # The data. A resumed run leaves out what it left out before, without searching again.
        earlier = folder.selection() if resume else None
        data = load_for_all(options, earlier, processes, folder.shared_pixels, self._report_doing)
        self._data = fingerprint(data.pictures, data.layers)
        self._loader = BatchLoader(
            data.pictures,
            options,
            self._device,
            processes.rank,
            processes.world_size,
            shared=processes.shared,
            packed=data.packed,
            layers=data.layers,
        )
        validation, selection = data.validation, data.selection
        del data  # the loader has pixels of its own, or the pack's
        steps = options.steps or options.epochs * self._loader.steps_per_epoch
        self._schedule = Schedule(options, steps)

        # The network and what trains it, as at step 0 and then as at the checkpoint.
        torch.manual_seed(options.seed)
        self.model = initial_network(options).to(self._device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = new_optimizer(self.model, options, processes)
        self.average = MovingAverage(self.model, options.ema) if options.ema else None
        if resume and folder.checkpoint.exists():
            self.position = load_checkpoint(
                folder.checkpoint, self.model, self.average, optimizer=self.optimizer, data=self._data
            )
        self._step_by = new_step(self.model, self.optimizer, self.average, options, processes)
        machine = hardware(options, processes)
        self._products = Products(folder, options, validation, machine, self._snapshot)
        self._evaluations = Evaluations(options, self._schedule, self.position.clock)
        self._watch = GradientWatch()
        self._good = LastGood(self.model, self.optimizer, self.average, self.position.step)

        # All is well: only now is anything of an earlier run replaced.
        if processes.first:
            folder.write_selection(selection)
            folder.write_options(options)
            folder.drop_events_after(self.position.step)
        self._began = started - self.position.clock  # as if it had never stopped
        self._tell_time()
        self._look_ahead(selection, len(validation.rainy), machine, time.monotonic() - started)

    def _look_ahead(self, selection: DataSelection, validation: int, machine: str, seconds: float) -> None:
        """Say what the run is made of, and how long it will take."""
        step = self.position.step
        steps = 0 if self._options.plan_minutes is not None else self._schedule.steps(self.position)
        found = prepared(self._loader, selection, step, steps, validation=validation, machine=machine, seconds=seconds)
        self._report(found)
        needed = seconds_needed(self._options, self._step_by, self._processes, steps, step)
        self._report(Outlook(step, max(steps - step, 0), needed, self._loader.backgrounds, validation))

    def run(self, stop: StopSignal) -> str:
        """Take steps until the end, or until something says stop; then store everything.

        Args:
            stop: asked after every step.

        Returns:
            Why it ended: ``done``, ``interrupted`` or ``out of time``.
        """
        position, schedule = self.position, self._schedule
        stop.wait_for_steps(lambda: self._report(Stopping(position.step)))
        if self._options.init is not None and not position.step:
            self._evaluate()  # what it begins with, so that the best weights are never worse
        prefetch = Prefetch(self._loader, self._device, position.step, schedule.stage(position))
        throughput = Throughput(position.step)
        saved = time.monotonic()
        reason = "done"
        while not schedule.finished(position):
            done = schedule.done(position)
            throughput.add(*self._step(prefetch))
            last = schedule.finished(position)
            if throughput.due() or last:
                self._report_progress(throughput, prefetch.waited())
            if self._evaluations.due(position, done) and not last:
                self._evaluate()
                throughput.restart(position.step)
                prefetch.waited()  # neither its time nor what was waited before it counts
            if time.monotonic() - saved >= self._options.checkpoint_seconds:
                self._save()
                saved = time.monotonic()
            if (asked := stop.reason(self._processes)) and not last:
                reason = asked
                break
        self._save()  # before the last evaluation, which can take long
        if reason != "done":
            self._leave_usable()
        elif position.evaluated != position.step:
            self._evaluate()
            self._save()
        if self._processes.first:
            self._products.write_record()
            self._report(Finished(position.step, reason, position.seconds, *self._folder.written()))
        self._processes.barrier()
        return reason

    def _leave_usable(self) -> None:
        """Write the weights of a run that stops; also best ones, if it has not come to an evaluation."""
        position = self.position
        if not self._processes.first:
            return
        self._products.write_last(position, self._schedule.steps(position))
        if position.evaluated >= 0:
            return
        self._report_doing("not evaluated yet: scoring the weights, for best.safetensors; Ctrl-C again leaves that out")
        before = position.best_psnr, position.evaluated
        with contextlib.suppress(KeyboardInterrupt):
            self._evaluate()
        # The run itself knows nothing of it: it goes on as if it had never stopped.
        position.best_psnr, position.evaluated = before

    def _step(self, prefetch: Prefetch) -> tuple[float, int]:
        """One step; gives the loss, the mean over all processes, or NaN if the step was skipped, and how many crops."""
        started = time.perf_counter()
        position, schedule = self.position, self._schedule

        # Forward, loss, backward: on CUDA all of it is only queued here.
        batch = prefetch.take(schedule.stage(position))
        weight = self._loader.weight(batch.stage)
        queued = self._step_by.begin(batch, schedule.learning_rate(position), weight, position.step)

        # While the device works on that, the next batch is queued beside it; only then is the device waited for.
        prefetch.prepare(schedule.stage(dataclasses.replace(position, step=position.step + 1)))
        mean, size = self._processes.mean(queued).tolist()

        # One process's NaN is every process's after the mean, so all of them step or all of them skip.
        finite = math.isfinite(mean) and math.isfinite(size)
        self._step_by.end(position.step, finite=finite)
        if finite:
            position.failures = 0
            self._watch.add(size)
        else:
            mean = math.nan
            position.failures += 1
            self._report(Skipped(position.step, batch.names))
        self._stay_well(batch)
        position.step += 1
        position.seconds += time.perf_counter() - started
        self._tell_time()
        return float(mean), self._loader.crops(batch.stage)

    def _stay_well(self, batch: Batch) -> None:
        """Keep weights that do well, and go back to them from those that do not; the third time is an error."""
        position = self.position
        why = self._watch.trouble(position.failures, batch.names)
        if not why:
            if position.step % _KEEP_EVERY == 0 and position.failures == 0 and self._watch.calm:
                self._good.keep(position.step + 1)
            return
        self._good.restore()
        self._watch.forget()
        position.failures = 0
        position.went_back += 1
        position.rate_factor *= 0.5
        if position.went_back > _MOST_RETURNS:
            why += f", also after the run went back to earlier weights {_MOST_RETURNS} times"
            step = "Look at these pictures, or start anew from its last good weights with a lower --learning-rate."
            if self._processes.first:
                self._products.write_last(position, self._schedule.steps(position))
            raise TrainingError(f"step {position.step}", why, step)
        rate = position.rate_factor * self._options.learning_rate
        self._report(WentBack(position.step, self._good.step, why, rate))

    def _tell_time(self) -> None:
        """Take the clock, and what the user asked for meanwhile, from the first process."""
        position, processes = self.position, self._processes
        asked = processes.first and self._folder.asked_to_end()
        position.clock, end = processes.from_first(time.monotonic() - self._began, float(asked))
        if end and (position.ending_from >= 0 or self._schedule.finished(position)):  # it does already, or did
            if processes.first:
                self._folder.note_ending()
        elif end:
            self._schedule.end(position)
            self._save()  # which knows of it
            if processes.first:
                self._folder.note_ending()
            self._report(Ending(position.step, self._schedule.steps(position)))

    def _report_progress(self, throughput: Throughput, waited: float) -> None:
        position, schedule = self.position, self._schedule
        before = dataclasses.replace(position, step=position.step - 1)
        self._report(
            throughput.report(
                position.step,
                schedule.steps(position),
                learning_rate=schedule.learning_rate(before),
                waited=waited,
                trained=position.seconds,
                left=schedule.seconds_left(position),
            )
        )
        throughput.restart(position.step)

    def _evaluate(self) -> None:
        """Score the weights as a user would run them, and write them out."""
        position = self.position
        position.evaluated = position.step
        if not self._processes.first:
            return
        started = time.monotonic()
        with self._processes.all_threads():
            scored = self._products.evaluate(position, self._schedule.steps(position), self._device)
        if scored:
            position.best_psnr = max(position.best_psnr, scored.blend)
            self._evaluations.took(time.monotonic() - started, time.monotonic() - self._began)
            self._report(scored)
        self._products.write_record()

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

    def _report_doing(self, what: str) -> None:
        self._report(Preparing(self.position.step, what))

    def _report(self, event: Event) -> None:
        if self._processes.first:
            self._folder.append(event)
            self._report_to(event)
