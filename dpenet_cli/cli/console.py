"""What commands share to speak: exit codes, errors, notes, lines for programs, times for people."""

import math
import os
import signal
import sys
from enum import IntEnum
from types import FrameType

import typer
from rich.console import Console
from rich.text import Text

from dpenet_cli.errors import DpenetError, InputError

_LIBRARIES_STDERR = 2


class Exit(IntEnum):
    """Exit codes."""

    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    TRY_AGAIN = 75  # EX_TEMPFAIL of BSD's sysexits.h, which schedulers take for "run it again"
    INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def end_on_signals() -> None:
    """From now on a polite request to end, or a terminal that was closed, is treated as Ctrl-C is.

    What is ignored already stays so: ``nohup dpenet …`` outlives its terminal.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)


def own_stderr() -> None:
    """Give Python's stderr a descriptor of its own, so that what libraries write to theirs can be kept away.

    Errors, progress and tracebacks go where they went before.
    """
    stream = sys.stderr
    try:
        if stream.fileno() != _LIBRARIES_STDERR:
            return
        own = os.dup(_LIBRARIES_STDERR)
    except (AttributeError, OSError, ValueError):  # there is none, or it is no file
        return
    stream.flush()
    sys.stderr = os.fdopen(own, "w", 1, encoding=stream.encoding, errors=stream.errors)


def one_line(text: object) -> str:
    """A name as one printable line: control characters and undecodable bytes are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in str(text))


def table_console() -> Console:
    """Stdout for tables: as wide as the terminal, or as a table needs where the output goes to a file."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 160
    return console


def print_error(error: DpenetError, console: Console | None = None) -> None:
    """Print one error to stderr: what and why, then the next step."""
    console = console or Console(stderr=True)
    body = Text.assemble((one_line(error.what), "bold"), f": {one_line(error.why)}. {one_line(error.next_step)}")
    console.print(Text.assemble(("error  ", "bold red"), body), soft_wrap=True)


def print_note(text: str, console: Console | None = None) -> None:
    """Print to stderr what the user should know."""
    console = console or Console(stderr=True)
    console.print(Text.assemble(("note   ", "yellow"), one_line(text)), soft_wrap=True)


def print_line(text: str) -> None:
    """Print one line to stdout, for a program to read at once.

    Raises:
        InputError: stdout cannot be written to.
    """
    try:
        typer.echo(text)
    except BrokenPipeError:  # the reader has gone, as `head` does: Typer ends quietly
        raise
    except OSError as error:
        why = f"it cannot be written to ({error.strerror or error})"
        raise InputError("standard output", why, "Send it elsewhere.") from error


def duration(seconds: float) -> str:
    """A time for a person: 4.2 s, 3 min 20 s, 2 h 5 min."""
    if not math.isfinite(seconds) or seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
