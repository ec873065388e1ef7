"""Words that are no command, told with the command that was meant; and the examples at the end of each help."""

import shlex
from pathlib import Path
from typing import Any

from typer.core import TyperGroup

from dpenet_cli.images.formats import PICTURE_SUFFIXES, RAW_SUFFIXES
from dpenet_cli.system.urls import is_url
from dpenet_cli.video.containers import VIDEO_SUFFIXES

_PICTURES = PICTURE_SUFFIXES | RAW_SUFFIXES

_OPTIONS = {"help": "--help", "version": "--version"}


class Suggesting(TyperGroup):
    """Commands that tell which of them was meant where a word is none: ``dpenet photo.jpg``."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the first word names."""
        if self.get_command(ctx, args[0]) is None and (meant := _meant(args)):
            ctx.fail(f"No such command {args[0]!r}. Did you mean `{meant}`?")
        return super().resolve_command(ctx, args)


def _meant(words: list[str]) -> str:
    """The command line that was meant, where the first word is a file, a folder or an option without its dashes."""
    word = words[0]
    if option := _OPTIONS.get(word.lower()):
        return f"dpenet {option}"
    command = _command_for(word)
    return f"dpenet {command} {shlex.join(words)}" if command else ""


def _command_for(word: str) -> str:
    suffix = Path(word).suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return "video"
    if suffix in _PICTURES or word == "-" or is_url(word):
        return "derain"
    try:
        suffixes = {path.suffix.lower() for path in Path(word).iterdir()}
    except (OSError, ValueError):  # it is no folder
        return ""
    return "video" if suffixes & VIDEO_SUFFIXES and not suffixes & _PICTURES else "derain"


def ending(*examples: str, page: str = "") -> str:
    """What stands at the end of a help.

    Args:
        examples: command lines, without ``dpenet``.
        page: of the guide, which says more.
    """
    more = [f"More: dpenet guide {page}"] if page else []
    return "\n\n".join([*(f"Example: dpenet {example}" for example in examples), *more])
