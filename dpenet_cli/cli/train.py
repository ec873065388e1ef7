"""``dpenet train``: from folders of pictures to weights, resumable."""

import contextlib
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from dpenet_cli.cli.console import Exit
from dpenet_cli.cli.json_lines import print_json
from dpenet_cli.cli.train_display import Display
from dpenet_cli.cli.train_usage import NOW, check_course, check_usage, parse_mix, parse_share
from dpenet_cli.errors import BadFilesError, OptionError
from dpenet_cli.options import Precision
from dpenet_cli.system.user_dirs import cache_folder
from dpenet_cli.training.options import GENERAL_MIX, GENERAL_PLAN, Recipe, TrainOptions

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
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad",
            help="Leave out files that cannot be read, with their partners, instead of not beginning; they are named, "
            "and kept in data.json.",
            rich_help_panel=_DATA,
        ),
    ] = False,
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
            "--evaluate-every, --checkpoint-seconds and --csv may differ.",
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
    csv: Annotated[
        bool,
        typer.Option(
            "--csv", help="Keep the log as a table too, log.csv: loss, rate, speed, scores.", rich_help_panel=_RUN
        ),
    ] = False,
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
        "mix": parse_mix(mix) if mix is not None else None,
        "structure": structure,
        "structure_dry": structure_dry,
        "skip_bad": skip_bad or None,
        "layers": str(layers) if layers else None,
        "pack": str(pack) if pack else None,
        "validation": validation,
        "epochs": epochs,
        "batch": batch,
        "crop": crop,
        "plan": plan,
        "plan_minutes": plan_minutes,
        "learning_rate": learning_rate,
        "decay_from": parse_share(decay_from) if decay_from not in {None, NOW} else None,
        "ema": ema,
        "light": light or None,
        "init": init,
        "seed": seed,
        "csv": csv or None,
        "precision": precision,
        "steps": 0 if steps is None and epochs is not None else steps,
        "evaluate_every": evaluate_every,
        "checkpoint_seconds": checkpoint_seconds,
        "device": device,
        "compile": compile_network,
        "threads": threads,
    }
    check_usage(data, max_minutes, resume=resume)
    check_course(steps or epochs, plan_minutes, max_minutes, ending=decay_from == NOW, resume=resume)
    given = {name: value for name, value in options.items() if value is not None}
    with contextlib.suppress(OptionError):  # no home: then torch takes the folder for temporary files
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "torch"))  # read as torch is imported

    folders = tuple(str(folder) for folder in data or ())
    whole = None if resume else TrainOptions.for_recipe(recipe, folders, **given)

    from dpenet_cli.training import run  # with torch, which neither --help nor wrong usage needs

    if decay_from == NOW and run.end(output):
        _say_that_it_ends(output, as_json=as_json)
        return
    with Display(as_json=as_json) as display:
        try:
            if whole is None:
                reason = run.resume(output, given, display.show, max_minutes=max_minutes)
            else:
                reason = run.train(output, whole, display.show, max_minutes=max_minutes)
        except BadFilesError as error:
            display.show_bad_files(error)
            raise
        except KeyboardInterrupt:
            display.show_end_at_once(output, can_go_on=run.can_go_on(output))
            raise typer.Exit(Exit.INTERRUPTED) from None
    if reason == "interrupted":
        raise typer.Exit(Exit.INTERRUPTED)


def _say_that_it_ends(output: Path, *, as_json: bool) -> None:
    """The run is at work in another process, which takes notice by itself."""
    if as_json:
        print_json({"event": "asked to end", "folder": str(output)})
    else:
        text = f"{output}: the run at work in it will end, in a fifth of the time that it took so far"
        Console(stderr=True, highlight=False).print(escape(text), soft_wrap=True)
