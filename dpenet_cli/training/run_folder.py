"""The folder of a run: which files there are, and who may write them.

options.json       the resolved options
data.json          what was left out of the data, and why
log.jsonl          every event, one JSON object a line
checkpoint.pt      all that is needed to go on: weights, average, optimiser, step, best score
last.safetensors   the weights at the last evaluation, or where the run was stopped
best.safetensors   the weights at the best evaluation
.lock              keeps a second run out
.pixels            decoded pictures, while the processes of a run on a CPU begin
.end               asks the run to end: its rate falls from then on (`--decay-from now`)
grid.png           validation pictures at the last evaluation: rainy, restored, clean
curve.png          loss and PSNR over the steps
log.csv            the log as a table, if it is wanted
"""

import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dpenet_cli.errors import TrainingError
from dpenet_cli.system.atomic import remove_leftovers, write_whole
from dpenet_cli.system.locks import BlockedError, hold
from dpenet_cli.training.data import DataSelection
from dpenet_cli.training.events import Event, to_json
from dpenet_cli.training.options import TrainOptions


class RunFolder:
    """The files of one run; whole or not at all, but for the log, which grows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoint = folder / "checkpoint.pt"
        self.best = folder / "best.safetensors"
        self.last = folder / "last.safetensors"
        self.grid = folder / "grid.png"
        self.curve = folder / "curve.png"
        self.log = folder / "log.jsonl"
        self.table = folder / "log.csv"
        self._options = folder / "options.json"
        self._selection = folder / "data.json"
        self._ending = folder / ".end"
        self.shared_pixels = folder / ".pixels"
        self._started = False

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder if need be, keep other runs out of it, and remove what killed ones left.

        A new run that is refused before it got its data together leaves nothing behind.

        Raises:
            TrainingError: another run is at work in it, or it cannot be made.
        """
        made = [folder for folder in (self.folder, *self.folder.parents) if not folder.exists()]
        path = self.folder / ".lock"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error, "Choose another folder.") from error
        was_there = path.exists()
        try:
            lock = hold(path)
        except BlockedError as error:
            next_step = "Wait for it, or choose another folder."
            raise TrainingError(str(self.folder), "another run is at work in it", next_step) from error
        try:
            remove_leftovers(self.folder)
            yield
        except BaseException:
            self._forget([] if was_there else [path], made)
            raise
        finally:
            if lock is not None:
                lock.release()
            if sys.platform == "win32":  # removes no file that is open
                self._remove_empty(made)

    def _forget(self, locks: Sequence[Path], made: Sequence[Path]) -> None:
        """Remove what a run wrote that never got its data together, but not what lay there before."""
        if self.begun():
            return
        own = [self._options, self.log] if self._started else []
        with contextlib.suppress(OSError):  # then it stays: a new run takes no notice of it
            for path in (*own, *locks):
                path.unlink(missing_ok=True)
        self._remove_empty(made)

    @staticmethod
    def _remove_empty(folders: Sequence[Path]) -> None:
        with contextlib.suppress(OSError):  # not empty, or gone
            for folder in folders:
                folder.rmdir()

    def is_locked(self) -> bool:
        """Whether another process is at work in it now."""
        try:
            lock = hold(self.folder / ".lock")
        except BlockedError:
            return True
        if lock is not None:
            lock.release()
        return False

    def ask_to_end(self) -> None:
        """Ask the run to end, whichever process it is in.

        Raises:
            TrainingError: the folder cannot be written to.
        """
        try:
            write_whole(self._ending, b"")
        except OSError as error:
            raise self._unwritable(error, "Make room, or mend what it says.") from error

    def asked_to_end(self) -> bool:
        """Whether the run has been asked to end, and has not noted it yet."""
        return self._ending.exists()

    def note_ending(self) -> None:
        """Forget the request: the checkpoint knows of it."""
        self._ending.unlink(missing_ok=True)

    def start(self, options: TrainOptions) -> None:
        """Begin a new run. What is left of one that never got its data together is replaced.

        Raises:
            TrainingError: the folder holds a run or other files of a run's names already, or cannot be written to.
        """
        if self.begun():
            raise TrainingError(str(self.folder), "it holds a run", "Go on with --resume, or choose another folder.")
        # A run that got its data together wrote all of these after data.json, and its log after its options.
        products = [self.checkpoint, self.best, self.last, self.grid, self.curve, self.table]
        for path in products if self._options.exists() else [*products, self.log]:
            if os.path.lexists(path):
                why = "it exists already, of no run in this folder, and the new run would replace it"
                raise TrainingError(str(path), why, "Choose another folder.")
        try:
            self._started = True
            if self.log.exists():
                write_whole(self.log, b"")  # its permissions stay
            self.write_options(options)
        except OSError as error:
            raise self._unwritable(error, "Choose another folder.") from error

    def _unwritable(self, error: OSError, next_step: str) -> TrainingError:
        return TrainingError(str(self.folder), f"cannot be written to: {error.strerror or error}", next_step)

    @property
    def name(self) -> str:
        """What the run is called: the name of its folder."""
        return self.folder.absolute().name

    def begun(self) -> bool:
        """Whether a run got its data together here."""
        return self._selection.exists()

    def written(self) -> tuple[str, list[str]]:
        """The folder, and the names of the files that lie there for a user, the weights to use first."""
        files = (self.best, self.last, self.checkpoint, self.grid, self.curve, self.log, self.table)
        return str(self.folder), [path.name for path in files if path.exists()]

    def options(self) -> TrainOptions:
        """The options that the run was started with."""
        return TrainOptions.read(self._options)

    def write_options(self, options: TrainOptions) -> None:
        """Store the options."""
        write_whole(self._options, options.to_json().encode())

    def selection(self) -> DataSelection | None:
        """What was left out of the data when the run began, or None before that."""
        try:
            return DataSelection(**json.loads(self._selection.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise TrainingError(str(self._selection), str(error), "Remove it to search again.") from error

    def write_selection(self, selection: DataSelection) -> None:
        """Store what was left out."""
        own = ("bad", "partners")  # most runs have none, and earlier versions knew of none
        content = {name: value for name, value in dataclasses.asdict(selection).items() if value or name not in own}
        write_whole(self._selection, (json.dumps(content, indent=1) + "\n").encode())

    def append(self, event: Event) -> None:
        """Log an event."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(to_json(event) + "\n")

    def events(self) -> list[dict[str, Any]]:
        """The log; a line that a kill or a power cut left damaged is left out."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        found: list[dict[str, Any]] = []
        for line in text.splitlines():
            try:
                event = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(event, dict) and isinstance(event.get("step"), int):
                found.append(event)
        return found

    def drop_events_after(self, step: int) -> None:
        """Drop logged events beyond the checkpoint that the run goes on from: they are about to happen again."""
        lines = [json.dumps(event) + "\n" for event in self.events() if event["step"] <= step]
        write_whole(self.log, "".join(lines).encode())
