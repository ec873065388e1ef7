"""``dpenet train``: from folders of pictures to weights, resumable."""

import contextlib
import math
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from dpenet_cli.cli.console import Exit, duration, print_line
from dpenet_cli.errors import OptionError
from dpenet_cli.options import Precision
from dpenet_cli.system.user_dirs import cache_folder
from dpenet_cli.training import events
from dpenet_cli.training.events import Event, to_json
from dpenet_cli.training.options import GENERAL_MIX, Recipe, TrainOptions

_DATA, _HOW, _RUN, _MACHINE = "Data", "Recipe", "Run", "Machine"


def _option(name: str, text: str, panel: str) -> Any:
    """An option whose help ends with its default as the recipes have it: ``[128]``, ``[general: 32; paper: 18]``."""
    general, paper = (
        format(value, "g")
        if isinstance(value := getattr(TrainOptions.for_recipe(recipe, ("any",)), name), float)
        else value
        for recipe in (Recipe.GENERAL, Recipe.PAPER)
    )
    default = general if general == paper else f"general: {general}; paper: {paper}"
    return typer.Option(help=f"{text}  \\[{default}]", rich_help_panel=panel)  # help is markup: a bracket is escaped


def train(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the run.", rich_help_panel=_RUN, show_default=False)
    ],
    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data",
            help="Folder to learn from: input/ + target/, rainy/ + norain-*, rainy_image/ + ground_truth/, "
            "side-by-side pictures, or clean pictures that rain is drawn on. May be given again.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    exclude: Annotated[
        list[Path] | None,
        typer.Option(
            "--exclude",
            help="Test folder: pictures that share a background with it are left out, also when they are rained on, "
            "mirrored, cropped or saved again. May be given again.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    clean_side: Annotated[
        str | None,
        typer.Option(help="Clean half of side-by-side pictures, left or right.", rich_help_panel=_DATA),
    ] = None,
    mix: Annotated[
        str | None,
        typer.Option(
            help=f"Weights of pairs and of drawn rains ({', '.join(GENERAL_MIX)}), as in pairs=0.3,thin=0.7.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    validation: Annotated[
        int | None,
        _option("validation", "Backgrounds set aside to validate on.", _DATA),
    ] = None,
    recipe: Annotated[
        Recipe,
        typer.Option(help="The published training, or ours for weights that serve everywhere.", rich_help_panel=_HOW),
    ] = Recipe.GENERAL,
    steps: Annotated[
        int | None,
        _option("steps", "Steps in all; 0 for as many as --epochs make.", _HOW),
    ] = None,
    epochs: Annotated[
        int | None,
        _option("epochs", "Passes over the data, where --steps is 0.", _HOW),
    ] = None,
    batch: Annotated[
        int | None,
        _option("batch", "Crops a step, in each process.", _HOW),
    ] = None,
    crop: Annotated[int | None, _option("crop", "Side of a crop in pixels.", _HOW)] = None,
    learning_rate: Annotated[float | None, _option("learning_rate", "Adam's highest rate.", _HOW)] = None,
    ema: Annotated[
        float | None,
        _option("ema", "Decay of the average of the weights, 0 for none.", _HOW),
    ] = None,
    light: Annotated[
        bool,
        typer.Option(
            "--light",
            help="The network with five blocks instead of ten; with --init, every second one of the ten.",
            rich_help_panel=_HOW,
        ),
    ] = False,
    init: Annotated[
        str | None, typer.Option(help="Weights to start from: a name or a file.", rich_help_panel=_HOW)
    ] = None,
    seed: Annotated[int | None, _option("seed", "Of everything that is drawn.", _HOW)] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the run in the folder; --steps, --device, --threads, --compile, --evaluate-every and "
            "--checkpoint-seconds may differ.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    max_minutes: Annotated[
        float | None,
        typer.Option(help="Stop after so long, with a checkpoint; --resume goes on.", rich_help_panel=_RUN),
    ] = None,
    evaluate_every: Annotated[
        int | None, typer.Option(help="Steps between evaluations.  \\[20 in a run]", rich_help_panel=_RUN)
    ] = None,
    checkpoint_seconds: Annotated[
        float | None,
        _option("checkpoint_seconds", "Seconds between checkpoints.", _RUN),
    ] = None,
    device: Annotated[str | None, _option("device", "auto, cpu, cuda, cuda:N or mps.", _MACHINE)] = None,
    precision: Annotated[
        Precision | None,
        _option("precision", "fp32, or bf16 under autocast.", _MACHINE),
    ] = None,
    compile_network: Annotated[
        bool | None,
        typer.Option("--compile/--no-compile", help="Use torch.compile.  \\[on CUDA]", rich_help_panel=_MACHINE),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", rich_help_panel=_MACHINE)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print events as JSON lines.", rich_help_panel=_RUN)] = False,
) -> None:
    """Train a DPENet on pairs, and on clean pictures that rain is drawn on.

    Writes best.safetensors and last.safetensors, ready for --weights, and a checkpoint to go on from.

    Beside them: a log, a grid of validation pictures, and a curve.

    For several devices: torchrun --nproc-per-node N -m dpenet_cli train …
    """
    options: dict[str, Any] = {
        "exclude": tuple(str(folder) for folder in exclude) if exclude else None,
        "clean_side": clean_side,
        "mix": _parse_mix(mix) if mix is not None else None,
        "validation": validation,
        "epochs": epochs,
        "batch": batch,
        "crop": crop,
        "learning_rate": learning_rate,
        "ema": ema,
        "light": light or None,
        "init": init,
        "seed": seed,
        "precision": precision,
        "steps": steps if steps is not None or epochs is None else 0,
        "evaluate_every": evaluate_every,
        "checkpoint_seconds": checkpoint_seconds,
        "device": device,
        "compile": compile_network,
        "threads": threads,
    }
    _check_usage(data, max_minutes, resume=resume)
    given = {name: value for name, value in options.items() if value is not None}
    with contextlib.suppress(OptionError):  # no home: then torch takes the folder for temporary files
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "torch"))  # read as torch is imported

    folders = tuple(str(folder) for folder in data or ())
    whole = None if resume else TrainOptions.for_recipe(recipe, folders, **given)

    from dpenet_cli.training import run  # with torch, which neither --help nor wrong usage needs

    with _Display(as_json=as_json) as display:
        if whole is None:
            reason = run.resume(output, given, display.show, max_minutes=max_minutes)
        else:
            reason = run.train(output, whole, display.show, max_minutes=max_minutes)
    if reason == "interrupted":
        raise typer.Exit(Exit.INTERRUPTED)


def _check_usage(data: list[Path] | None, max_minutes: float | None, *, resume: bool) -> None:
    if max_minutes is not None and not 0 <= max_minutes < math.inf:  # NaN neither
        raise OptionError(f"max-minutes {max_minutes}", "it is a number of minutes, at least 0", "Give 30, say.")
    if not data and not resume:
        raise OptionError("data", "there is nothing to learn from", "Give --data DIR, or --resume.")
    if data and resume:
        raise OptionError("data", "a run goes on with the data that it was started with", "Leave out --data.")


def _parse_mix(text: str) -> dict[str, float]:
    """Read ``pairs=0.3,thin=0.7``."""
    try:
        parts = [part.split("=") for part in text.split(",")]
        return {name.strip(): float(weight) for name, weight in parts}
    except ValueError as error:
        raise OptionError(f"mix {text!r}", "it is not NAME=WEIGHT,NAME=WEIGHT", "Write pairs=0.3,thin=0.7.") from error


class _Display:
    """Events for a person on stderr: a bar on a terminal, lines elsewhere; or JSON lines on stdout.

    Of several processes only the first has anything to show.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._console = Console(stderr=True, quiet=os.environ.get("RANK", "0") != "0", highlight=False)
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=self._console, disable=as_json or not self._console.is_terminal)
        self._task = self._bar.add_task("reading pictures", total=None)

    def __enter__(self) -> "_Display":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, event: Event) -> None:
        """Show one event."""
        if self._json:
            if not self._console.quiet:
                print_line(to_json(event))
        elif isinstance(event, events.Progress):
            self._show_progress(event)
        elif text := _describe(event):
            self._console.print(text, soft_wrap=True)

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
    match event:
        case events.Preparing():
            return f"{event.doing} …"
        case events.Prepared():
            return escape("\n".join(_prepared(event)))
        case events.Evaluated():
            best = ", the best so far" if event.best else ""
            scores = f"{event.psnr:.2f} dB / {event.ssim:.4f} (input {event.input_psnr:.2f} dB)"
            return f"step {event.step}: validation {scores}{best}; {duration(event.seconds)}"
        case events.Skipped():
            names = ", ".join(event.pictures[:3])
            return escape(f"step {event.step} skipped: its loss is not a number ({names} …)")
        case events.Finished():
            return f"{event.reason} at step {event.step}, {duration(event.seconds)} of training"
        case _:
            return ""


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
            lines.append(f"{len(names)} left out, as {reason}: {', '.join(Path(name).name for name in names)}")
    if event.step:
        lines.append(f"going on from step {event.step}")
    return lines
