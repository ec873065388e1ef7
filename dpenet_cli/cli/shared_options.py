"""Options that several subcommands share, each declared once: its name, help and panel."""

from fractions import Fraction
from typing import Annotated

import typer

from dpenet_cli.errors import OptionError
from dpenet_cli.options import DEFAULT_WEIGHTS, FAST_WEIGHTS, Precision, Runtime

FILES, RESULT, ENGINE, SHOWN = "Files", "The result", "Speed and memory", "What is shown"
"""The panels of the help."""

Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Replace outputs that exist. Otherwise only results older than their input are redone.",
        rich_help_panel=FILES,
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.", rich_help_panel=FILES)
]
Weights = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|PATH",
        help="A name of `dpenet weights list`, or a .safetensors or .pth file.",
        show_default=DEFAULT_WEIGHTS,
        rich_help_panel=RESULT,
    ),
]
Fast = Annotated[
    bool,
    typer.Option(
        "--fast",
        help=f"The weights `{FAST_WEIGHTS}`: a network of half as many blocks, faster and not quite as thorough.",
        rich_help_panel=ENGINE,
    ),
]
Strength = Annotated[
    str,
    typer.Option(
        metavar="0..1",
        help="How much of the cleaning: 0 is the input, 1 all of it. Several, 0.4,0.7,1, stand side by side in a "
        "preview.",
        rich_help_panel=RESULT,
    ),
]
Scale = Annotated[
    str,
    typer.Option(
        metavar="auto|1|1/2|0.35|...",
        help="The network knows streaks a few pixels wide; in large pictures they are wider. So it looks at a picture "
        "in a smaller size where that suits its rain, which is faster too. 1: always in its own.",
        rich_help_panel=RESULT,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|cuda[:N|:all]|mps",
        help="Where to compute; cuda:all is every GPU here at once.",
        rich_help_panel=ENGINE,
    ),
]
EnginePrecision = Annotated[
    Precision,
    typer.Option(
        help="auto: fp16 on CUDA, bf16 on processors that have it, else fp32; fp32 for more than 8 bits.",
        rich_help_panel=ENGINE,
    ),
]
Backend = Annotated[
    Runtime,
    typer.Option(
        help="What runs the network. auto: OpenVINO on x86 processors, where it is faster, if installed; else torch.",
        rich_help_panel=ENGINE,
    ),
]
Tile = Annotated[
    str,
    typer.Option(
        metavar="auto|N",
        help="Widest piece worked on at a time, in pixels. Smaller takes less memory and more time; "
        "the result is the same.",
        rich_help_panel=ENGINE,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="CPU threads.", show_default="all cores", rich_help_panel=ENGINE),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="One JSON line for each input on stdout, then a summary.", rich_help_panel=SHOWN),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Errors alone.", rich_help_panel=SHOWN)]


def choose_weights(weights: str | None, *, fast: bool) -> str:
    """The weights that ``--weights`` and ``--fast`` ask for.

    Raises:
        OptionError: both were given.
    """
    if fast and weights is not None:
        why = f"it takes the weights {FAST_WEIGHTS!r}, and --weights asks for {weights!r}"
        raise OptionError("--fast", why, "Leave out one of them.")
    return FAST_WEIGHTS if fast else weights or DEFAULT_WEIGHTS


def parse_strengths(text: str) -> tuple[float, ...]:
    """Read the value of ``--strength``: one number, or several with commas between.

    Raises:
        OptionError: it is none, or one of them does not lie between 0 and 1.
    """
    try:
        strengths = tuple(float(part) for part in text.split(","))
    except ValueError:
        strengths = ()
    if not strengths or not all(0 <= strength <= 1 for strength in strengths):
        why = "the strength of the cleaning lies between 0 and 1"
        raise OptionError(f"strength {text}", why, "Give 0.8, say; for a preview 0.4,0.7,1.")
    return strengths


def parse_tile(text: str) -> int | None:
    """Read the value of ``--tile``: None for ``auto``.

    Raises:
        OptionError: it is neither ``auto`` nor a whole number.
    """
    if text == "auto":
        return None
    if not text.isdecimal():
        raise OptionError(f"tile {text!r}", "it is neither auto nor a number of pixels", "Give 1024, say.")
    return int(text)


def parse_scale(text: str) -> float | None:
    """Read the value of ``--scale``, a number or a fraction: None for ``auto``.

    Raises:
        OptionError: it is neither ``auto`` nor a number.
    """
    if text == "auto":
        return None
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError):
        why = "it is neither auto nor a number or a fraction"
        raise OptionError(f"scale {text!r}", why, "Give 1, 1/2 or 0.35, say.") from None
