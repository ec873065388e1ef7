"""A training run in words: a bar on a terminal, lines elsewhere, JSON lines for a program."""

import math
import os
import shlex
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from dpenet_cli.cli.console import duration
from dpenet_cli.cli.json_lines import print_json
from dpenet_cli.errors import BadFilesError
from dpenet_cli.training import events
from dpenet_cli.training.events import MOST_NAMED, Event, bad_files, to_fields

_FEW = 20
"""Pictures that a network learns by heart, rather than rain from them."""

_ABSURD_SECONDS = 3 * 24 * 3600.0
"""A run that takes longer is hardly meant so."""

_NIGHT_MINUTES = 600


class Display:
    """Events for a person on stderr: a bar on a terminal, lines elsewhere; or JSON lines on stdout.

    Of several processes only the first has anything to show.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._console = Console(stderr=True, quiet=os.environ.get("RANK", "0") != "0", highlight=False)
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=self._console, disable=as_json or not self._console.is_terminal)
        self._task = self._bar.add_task("reading pictures", total=None)

    def __enter__(self) -> "Display":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, event: Event) -> None:
        """Show one event."""
        if self._json:
            if not self._console.quiet:
                print_json(to_fields(event))
        elif isinstance(event, events.Progress):
            self._show_progress(event)
        elif text := _describe(event):
            self._console.print(text, soft_wrap=True)

    def show_bad_files(self, error: BadFilesError) -> None:
        """Tell a program of them; a person reads the error itself."""
        if self._json and not self._console.quiet:
            print_json({"event": "refused", "bad": error.files})

    def show_end_at_once(self, folder: Path, *, can_go_on: bool) -> None:
        """Say what a run leaves that ended between its steps."""
        if self._json:
            return
        text = "interrupted before its first step: nothing was written"
        if can_go_on:
            text = f"interrupted at once; what is stored is whole. To go on: {_going_on(str(folder))}"
        self._console.print(escape(text), soft_wrap=True)

    def _show_progress(self, event: events.Progress) -> None:
        text = (
            f"loss {event.loss:.4f} · {event.crops_per_second:.1f} crops/s · waiting {event.waiting:.1%} · "
            f"rate {event.learning_rate:.2g}"
        )
        if self._bar.disable:
            left = duration(event.seconds_left)
            self._console.print(f"step {event.step} of {event.steps} · {text} · {left} left", soft_wrap=True)
        else:
            self._bar.update(self._task, completed=event.step, total=event.steps, description=text)


def _describe(event: Event) -> str:
    """An event in words; nothing for those that say little to a person."""
    text = ""
    match event:
        case events.Preparing():
            text = f"{event.doing} …"
        case events.Prepared():
            text = "\n".join(_prepared(event))
        case events.Evaluated():
            text = _evaluated(event)
        case events.Skipped():
            names = ", ".join(event.pictures[:3])
            text = f"step {event.step} skipped: its loss is not a number ({names} …)"
        case events.WentBack():
            back = f"back to the weights of step {event.to_step}, at half the rate ({event.learning_rate:.2g})"
            text = f"step {event.step}: {event.why}; {back}"
        case events.Ending():
            text = f"step {event.step}: asked to end; the rate falls from here, to about step {event.steps}"
        case events.Outlook():
            text = "\n".join(_outlook(event))
        case events.Stopping():
            text = "stopping after this step; Ctrl-C again ends at once"
        case events.Finished():
            text = "\n".join(_finished(event))
    return escape(text)


def _outlook(event: events.Outlook) -> list[str]:
    """How long it takes and what that is good for, with numbers that suit the machine and the data better."""
    lines = []
    if event.seconds > _ABSURD_SECONDS:
        lines.append(
            f"note: {event.steps} steps take about {_long(event.seconds)} on this machine. A night is "
            f"--plan-minutes {_NIGHT_MINUTES}, or about --steps {max(_night_steps(event), 1)}; --light is "
            "faster, and a GPU takes hours. Stopping loses nothing: --resume goes on."
        )
    elif math.isfinite(event.seconds):
        lines.append(f"{event.steps} steps take about {_long(event.seconds)} on this machine")
    if event.backgrounds < _FEW and not event.step:
        count = "1 picture is" if event.backgrounds == 1 else f"{event.backgrounds} pictures are"
        text = f"note: {count} few: the network learns them by heart. Give 50 or more, and go on from shipped weights: "
        lines.append(f"{text}--init general --learning-rate 0.0001 --steps 300 (dpenet guide fine-tuning).")
        if not event.validation:
            lines.append("note: none is left to validate on, so best.safetensors is simply the last")
    return lines


def _night_steps(event: events.Outlook) -> int:
    """Steps of a night, as a round number that is not more."""
    steps = int(event.steps * _NIGHT_MINUTES * 60.0 / event.seconds)
    return steps // 10 ** (len(str(steps)) - 2) * 10 ** (len(str(steps)) - 2) if steps > 99 else steps


def _long(seconds: float) -> str:
    days = seconds / 86400.0
    return f"{days:.0f} days" if days >= 2 else duration(seconds)


def _finished(event: events.Finished) -> list[str]:
    """Why and where it ended, what lies there now, and what to do with it."""
    lines = [f"{event.reason} at step {event.step}, {duration(event.seconds)} of training"]
    if not event.written:
        return lines
    lines.append(f"in {event.folder}: {', '.join(event.written)}")
    if event.reason != "done":
        lines.append(f"to go on: {_going_on(event.folder)}")
    weights = next((name for name in event.written if name.endswith(".safetensors")), None)
    if weights:
        lines.append(f"to use it: dpenet derain photos/ --weights {shlex.quote(str(Path(event.folder) / weights))}")
    return lines


def _going_on(folder: str) -> str:
    return f"dpenet train --resume -o {shlex.quote(folder)}"


def _evaluated(event: events.Evaluated) -> str:
    scores = f"{event.psnr:.2f} dB / {event.ssim:.4f} (input {event.input_psnr:.2f} dB)"
    if math.isfinite(event.dry_psnr):
        scores += f", dry {event.dry_psnr:.2f} dB, structure {event.structure_psnr:.2f} dB, blend {event.blend:.2f} dB"
    best = ", the best so far" if event.best else ""
    return f"step {event.step}: validation {scores}{best}; {duration(event.seconds)}"


def _prepared(event: events.Prepared) -> list[str]:
    lines = [
        f"{event.pairs} pairs and {event.backgrounds} backgrounds, {event.megapixels:.0f} megapixels, read in "
        f"{duration(event.seconds)}; {event.validation} pictures to validate on; {event.hardware}",
    ]
    left_out = {
        "they share a background with a test set": event.excluded,
        "they share a background with a validation picture": event.twins,
        "they are smaller than a crop": event.too_small,
    }
    for reason, names in left_out.items():
        if names:
            lines.append(f"{len(names)} left out, as {reason}: {_some([Path(name).name for name in names], ', ')}")
    if event.bad:
        names = bad_files(event.bad, event.partners or {})
        lines.append(f"{len(names)} left out, as they cannot be learnt from: {_some(names, '; ')}")
    if event.step:
        lines.append(f"going on from step {event.step}")
    return lines


def _some(names: list[str], between: str) -> str:
    more = f"{between}and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return between.join(names[:MOST_NAMED]) + more
