"""What a checkpoint holds, and the folder of a run.

options.json       the resolved options
data.json          what was left out of the data, and why
log.jsonl          every event, one JSON object a line
checkpoint.pt      all that is needed to go on: weights, average, optimiser, step, best score
last.safetensors   the weights at the last evaluation, or where the run was stopped
best.safetensors   the weights at the best evaluation
.lock              keeps a second run out
grid.png           validation pictures at the last evaluation: rainy, restored, clean
curve.png          loss and PSNR over the steps
"""

import contextlib
import dataclasses
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn

from dpenet_cli.errors import TrainingError
from dpenet_cli.system.atomic import remove_leftovers, write_whole
from dpenet_cli.system.locks import BlockedError, hold
from dpenet_cli.training.data import DataSelection
from dpenet_cli.training.events import Event, to_json
from dpenet_cli.training.options import TrainOptions

_FORMAT = 1
"""Version of what `checkpoint.pt` holds."""


class MovingAverage:
    """The exponential moving average of a network's weights. It starts fast, as it has little to average then.

    Args:
        model: whose weights are averaged; fp32.
        decay: share of the old average that a step keeps, in the long run.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._source = list(model.parameters())
        self._names = [name for name, _ in model.named_parameters()]
        self._decay = decay
        self.weights = [parameter.detach().clone() for parameter in self._source]

    def update(self, step: int) -> None:
        """Take in the weights after a step, the first of which is 0."""
        decay = min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            get_ema_multi_avg_fn(decay)(  # type: ignore[no-untyped-call]
                self.weights, [p.detach() for p in self._source], None
            )

    def state(self) -> dict[str, Tensor]:
        """The averaged weights under the network's names."""
        return dict(zip(self._names, self.weights, strict=True))

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over averaged weights, in place."""
        for name, own in zip(self._names, self.weights, strict=True):
            own.copy_(state[name])


@dataclasses.dataclass
class RunPosition:
    """How far a run has come. `seconds` is time spent training; `failures` counts non-finite steps in a row."""

    step: int = 0
    seconds: float = 0.0
    best_psnr: float = float("-inf")
    evaluated: int = -1
    failures: int = 0


_PRODUCTS = ("checkpoint.pt", "best.safetensors", "last.safetensors", "grid.png", "curve.png")


class RunFolder:
    """The files of one run; whole or not at all, but for the log, which grows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoint = folder / "checkpoint.pt"
        self.log = folder / "log.jsonl"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder if need be, keep other runs out of it, and remove what killed ones left.

        Raises:
            TrainingError: another run is at work in it, or it cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error, "Choose another folder.") from error
        try:
            held = hold(self.folder / ".lock")
        except BlockedError as error:
            step = "Wait for it, or choose another folder."
            raise TrainingError(str(self.folder), "another run is at work in it", step) from error
        try:
            remove_leftovers(self.folder)
            yield
        finally:
            if held is not None:
                held.release()

    def start(self, options: TrainOptions) -> None:
        """Begin a new run. What is left of one that never got its data together is replaced.

        Raises:
            TrainingError: the folder holds a run or other files of a run's names already, or cannot be written to.
        """
        if (self.folder / "data.json").exists():
            raise TrainingError(str(self.folder), "it holds a run", "Go on with --resume, or choose another folder.")
        # A run that got its data together wrote all of these after data.json, and its log after its options.
        foreign = [*_PRODUCTS, *([] if (self.folder / "options.json").exists() else [self.log.name])]
        for name in foreign:
            if os.path.lexists(path := self.folder / name):
                why = "it exists already, of no run in this folder, and the new run would replace it"
                raise TrainingError(str(path), why, "Choose another folder.")
        try:
            if self.log.exists():
                write_whole(self.log, b"")  # its permissions stay
            self.write_options(options)
        except OSError as error:
            raise self._unwritable(error, "Choose another folder.") from error

    def _unwritable(self, error: OSError, next_step: str) -> TrainingError:
        return TrainingError(str(self.folder), f"cannot be written to: {error.strerror or error}", next_step)

    def options(self) -> TrainOptions:
        """The options that the run was started with."""
        return TrainOptions.read(self.folder / "options.json")

    def write_options(self, options: TrainOptions) -> None:
        """Keep the options."""
        write_whole(self.folder / "options.json", options.to_json().encode())

    def choice(self) -> DataSelection | None:
        """What was left out of the data when the run began, or None before that."""
        try:
            return DataSelection(**json.loads((self.folder / "data.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise TrainingError(str(self.folder / "data.json"), str(error), "Remove it to search again.") from error

    def write_choice(self, choice: DataSelection) -> None:
        """Keep what was left out."""
        write_whole(self.folder / "data.json", (json.dumps(dataclasses.asdict(choice), indent=1) + "\n").encode())

    def append(self, event: Event) -> None:
        """Log an event."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(to_json(event) + "\n")

    def events(self) -> list[dict[str, Any]]:
        """The log; a line that a kill or a power cut left damaged is left out."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        found = []
        for line in text.splitlines():
            try:
                event = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(event, dict) and isinstance(event.get("step"), int):
                found.append(event)
        return found

    def forget_after(self, step: int) -> None:
        """Drop logged events beyond the checkpoint that the run goes on from: they are about to happen again."""
        kept = [json.dumps(event) for event in self.events() if event["step"] <= step]
        write_whole(self.log, "".join(line + "\n" for line in kept).encode())


def save_checkpoint(
    path: Path,
    position: RunPosition,
    model: nn.Module,
    average: MovingAverage | None,
    *,
    optimizer: Optimizer,
    data: str,
) -> None:
    """Store all that is needed to go on; the file that was there stays whole until this one is.

    Raises:
        OSError: the disk is full or cannot be written to.
    """
    buffer = io.BytesIO()
    content = {
        "format": _FORMAT,
        "position": dataclasses.asdict(position),
        "model": model.state_dict(),
        "average": average.state() if average else None,
        "optimizer": optimizer.state_dict(),
        "data": data,
    }
    torch.save(content, buffer)
    write_whole(path, buffer.getvalue())


def load_checkpoint(
    path: Path, model: nn.Module, average: MovingAverage | None, optimizer: Optimizer, data: str
) -> RunPosition:
    """Put a run back to where it was saved.

    Args:
        path: what `save_checkpoint` wrote.
        model: overwritten, as are the next two.
        average: None if the run keeps none.
        optimizer: of the model's parameters.
        data: fingerprint of the pictures; it must be what it was.

    Raises:
        TrainingError: no such file, another format, another network, or other pictures.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']} of another version")  # noqa: TRY301 - one more damaged file
        model.load_state_dict(content["model"])
        if average is not None:
            average.restore(content["average"])
        optimizer.load_state_dict(content["optimizer"])
        position = RunPosition(**content["position"])
    except Exception as error:  # torch raises many types on damaged files; all of them mean this
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TrainingError(str(path), f"the run cannot go on from it: {reason}", "Start a new run.") from error
    if content["data"] != data:
        why = "the pictures are not those that the run began with"
        raise TrainingError(str(path), why, "Bring the folders back to what they were, or start a new run.")
    return position
