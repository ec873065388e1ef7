"""``dpenet guide``: the longer texts, on a terminal as pages, through a pipe as Markdown."""

import re
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from dpenet_cli.cli.console import print_line, table_console
from dpenet_cli.guide.pages import page_names, read_page

_WIDEST = 100
"""Columns of a page on a wide terminal: longer lines are hard to read."""

_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")


def guide(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A page; without it, the pages are listed.", show_default=False)
    ] = None,
) -> None:
    """Show a page of the guide: more about pictures, videos, weights, scores, speed and training than --help holds.

    On a terminal it is laid out; through a pipe it is Markdown.
    """
    if name is None:
        _list_pages()
        return
    text = read_page(name).text
    console = Console(highlight=False)
    if not console.is_terminal:
        print_line(text.rstrip("\n"))
        return
    # Links between pages lead from file to file: of use where the repository is browsed, but not on a terminal.
    console.print(Markdown(_LINK.sub(r"\1", text)), width=min(console.width, _WIDEST))


def _list_pages() -> None:
    table = Table(show_header=False, box=None, padding=(0, 2), pad_edge=False)
    for page in map(read_page, page_names()):
        table.add_row(page.name, page.summary)
    console = table_console()
    console.print(table)
    console.print("To read one: dpenet guide NAME", soft_wrap=True)
