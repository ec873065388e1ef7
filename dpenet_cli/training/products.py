"""What a run makes for its user: weights that describe themselves, scores, the grid, the curve, the table."""

import dataclasses
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from dpenet_cli import __version__
from dpenet_cli.network.checkpoints import WeightsCard, save_model
from dpenet_cli.network.model import DPENet
from dpenet_cli.options import PROTOCOL
from dpenet_cli.system.atomic import write_whole
from dpenet_cli.training.checkpoint import RunPosition
from dpenet_cli.training.data import ValidationSet
from dpenet_cli.training.events import Evaluated
from dpenet_cli.training.options import TrainOptions
from dpenet_cli.training.plots import draw_curve
from dpenet_cli.training.run_folder import RunFolder
from dpenet_cli.training.table import as_csv
from dpenet_cli.training.validation import validate


class Products:
    """The files of one run that its first process writes.

    Args:
        folder: of the run.
        options: of the run.
        validation: what weights are scored on.
        hardware: what it computes with, for a person.
        weights: gives a copy of the weights of the moment, on the CPU.
    """

    def __init__(
        self,
        folder: RunFolder,
        options: TrainOptions,
        validation: ValidationSet,
        hardware: str,
        weights: Callable[[], DPENet],
    ) -> None:
        self._folder, self._options, self._validation = folder, options, validation
        self._hardware, self._weights = hardware, weights

    def write_last(self, position: RunPosition, steps: int) -> None:
        """The weights of the moment, without scores.

        Args:
            position: of the run.
            steps: of the whole run, as far as is known.
        """
        save_model(self._weights(), self._folder.last, self._card(position, steps, {}))

    def evaluate(self, position: RunPosition, steps: int, device: torch.device) -> Evaluated | None:
        """Score the weights as a user would run them, and write them out, with the grid.

        Args:
            position: of the run.
            steps: of the whole run, as far as is known.
            device: to score on.

        Returns:
            The scores, and whether these weights are the best so far; None without validation pictures.
        """
        started = time.monotonic()
        model, folder = self._weights(), self._folder
        result = validate(model, self._validation, device, self._options.dry_weight)
        best = result is None or result.blend > position.best_psnr
        scores = {"validation": {"protocol": PROTOCOL, **result.scores()}} if result else {}
        card = self._card(position, steps, scores)
        save_model(model, folder.last, card)
        if best:
            save_model(model, folder.best, card)
        if result is None:
            return None
        write_whole(folder.grid, result.grid)
        seconds = round(time.monotonic() - started, 1)
        kept = (result.dry_psnr, result.structure_psnr, result.blend)
        return Evaluated(position.step, result.psnr, result.ssim, result.input_psnr, best, seconds, *kept)

    def write_record(self) -> None:
        """The curve, and the table if it is wanted, of all that the log knows."""
        events = self._folder.events()
        loss = [(e["step"], e["loss"]) for e in events if e.get("event") == "progress" and e.get("loss") is not None]
        evaluated = [e for e in events if e.get("event") == "evaluated"]
        names = {"rain": "psnr", "dry": "dry_psnr", "structure": "structure_psnr", "blend": "blend"}
        scores = {
            name: [(e["step"], e[key]) for e in evaluated if e.get(key) is not None] for name, key in names.items()
        }
        write_whole(self._folder.curve, draw_curve(loss, scores, self._folder.name))
        if self._options.csv:
            write_whole(self._folder.table, as_csv(events).encode())

    def _card(self, position: RunPosition, steps: int, scores: dict[str, Any]) -> WeightsCard:
        """What weights written now say of themselves."""
        provenance = {
            "command": " ".join(["dpenet", *sys.argv[1:]]),
            "options": dataclasses.asdict(self._options),
            "step": position.step,
            "steps": steps,
            "training_seconds": round(position.seconds, 1),
            "hardware": self._hardware,
            "dpenet": __version__,
            "torch": torch.__version__,
        }
        name = self._folder.name or self._options.recipe.value
        return WeightsCard(name=name, provenance=provenance, scores=scores)
