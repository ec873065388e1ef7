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

from dpenet_cli.cli.console import Exit, duration
from dpenet_cli.cli.json_lines import print_json
from dpenet_cli.errors import OptionError
from dpenet_cli.options import Precision
from dpenet_cli.system.user_dirs import cache_folder
from dpenet_cli.training import events
from dpenet_cli.training.events import Event, to_fields
from dpenet_cli.training.options import GENERAL_MIX, GENERAL_PLAN, Recipe, TrainOptions

_NOW = "now"
"""The word that lets a run end, in place of a share of it."""

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
    structure: Annotated[
        float | None,
        _option(
            "structure",
            "Share of the crops with drawn rain that get structure first: grilles, wires, posts, lane dashes, reeds, "
            "text.",
            _DATA,
        ),
    ] = None,
    structure_dry: Annotated[
        float | None, _option("structure_dry", "The same of the crops that stay dry.", _DATA)
    ] = None,
    layers: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Rendered streak layers, white on black, as in the Garg-Nayar database; some of the drawn rain comes "
            "from them.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    pack: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep the decoded pictures there: the next run on them begins at once. Made if it is not there.",
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
        _option("batch", "Crops a step, the whole run long, on each device; instead of --plan.", _HOW),
    ] = None,
    crop: Annotated[
        int | None, _option("crop", "Side of a crop in pixels, the whole run long; instead of --plan.", _HOW)
    ] = None,
    plan: Annotated[
        str | None,
        typer.Option(
            metavar="SIDE:BATCH:SHARE,…",
            help="Crops that grow: their side, how many a step, and for which share of the run.  "
            f"\\[general: {GENERAL_PLAN}]",
            rich_help_panel=_HOW,
        ),
    ] = None,
    plan_minutes: Annotated[
        float | None,
        typer.Option(
            help="Plan the whole run into so many minutes from its start, instead of --steps; it always ends decayed.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    learning_rate: Annotated[float | None, _option("learning_rate", "Adam's highest rate.", _HOW)] = None,
    decay_from: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE|now",
            help="Share of the run after which the rate falls. With --resume, now: let the run end, also one that is "
            f"at work, in a fifth of its time so far.  \\[{TrainOptions.decay_from:g}]",
            rich_help_panel=_HOW,
        ),
    ] = None,
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
            help="Go on with the run in the folder; --steps or --plan-minutes, --device, --threads, --compile, --pack, "
            "--evaluate-every and --checkpoint-seconds may differ.",
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
        typer.Option("--compile/--no-compile", help="Use torch.compile.  \\[no]", rich_help_panel=_MACHINE),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="CPU threads; without a GPU, so many processes share the work.", rich_help_panel=_MACHINE
        ),
    ] = None,
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
        "structure": structure,
        "structure_dry": structure_dry,
        "layers": str(layers) if layers else None,
        "pack": str(pack) if pack else None,
        "validation": validation,
        "epochs": epochs,
        "batch": batch,
        "crop": crop,
        "plan": plan,
        "plan_minutes": plan_minutes,
        "learning_rate": learning_rate,
        "decay_from": _parse_share(decay_from) if decay_from not in {None, _NOW} else None,
        "ema": ema,
        "light": light or None,
        "init": init,
        "seed": seed,
        "precision": precision,
        "steps": 0 if steps is None and epochs is not None else steps,
        "evaluate_every": evaluate_every,
        "checkpoint_seconds": checkpoint_seconds,
        "device": device,
        "compile": compile_network,
        "threads": threads,
    }
    _check_usage(data, max_minutes, resume=resume)
    _check_course(steps or epochs, plan_minutes, max_minutes, ending=decay_from == _NOW, resume=resume)
    given = {name: value for name, value in options.items() if value is not None}
    with contextlib.suppress(OptionError):  # no home: then torch takes the folder for temporary files
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "torch"))  # read as torch is imported

    folders = tuple(str(folder) for folder in data or ())
    whole = None if resume else TrainOptions.for_recipe(recipe, folders, **given)

    from dpenet_cli.training import run  # with torch, which neither --help nor wrong usage needs

    if decay_from == _NOW and run.end(output):
        _say_that_it_ends(output, as_json=as_json)
        return
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


def _check_course(
    steps: int | None, plan_minutes: float | None, max_minutes: float | None, *, ending: bool, resume: bool
) -> None:
    if plan_minutes is not None and max_minutes is not None:
        why = "one plans the run into a time, the other stops it and leaves the rest to --resume"
        raise OptionError("--plan-minutes and --max-minutes", why, "Leave one of them out.")
    if plan_minutes is not None and steps:
        raise OptionError("--plan-minutes", "--steps and --epochs plan the run too", "Leave one of them out.")
    if ending and not resume:
        raise OptionError(f"--decay-from {_NOW}", "it ends a run that has begun", "Give --resume with it.")
    if ending and plan_minutes is not None:
        raise OptionError(f"--decay-from {_NOW}", "--plan-minutes says when the run ends", "Leave one of them out.")


def _say_that_it_ends(output: Path, *, as_json: bool) -> None:
    """The run is at work in another process, which takes notice by itself."""
    if as_json:
        print_json({"event": "asked to end", "folder": str(output)})
    else:
        text = f"{output}: the run at work in it will end, in a fifth of the time that it took so far"
        Console(stderr=True, highlight=False).print(escape(text), soft_wrap=True)


def _parse_share(text: str | None) -> float:
    """Read the share that is given to --decay-from."""
    try:
        return float(text or "")
    except ValueError as error:
        raise OptionError(f"decay-from {text!r}", "it is neither a share nor now", "Give 0.35, say.") from error


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
                print_json(to_fields(event))
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
        case events.Finished():
            text = f"{event.reason} at step {event.step}, {duration(event.seconds)} of training"
    return escape(text)


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
            lines.append(f"{len(names)} left out, as {reason}: {', '.join(Path(name).name for name in names)}")
    if event.step:
        lines.append(f"going on from step {event.step}")
    return lines
