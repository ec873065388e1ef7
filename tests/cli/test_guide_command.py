"""`dpenet guide`: a list, pages on a terminal and through a pipe, and names that are none."""

import os
import re

import pytest
import typer.main
from conftest import dpenet

from dpenet_cli.cli.app import app
from dpenet_cli.guide.pages import page_names, read_page

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def on_a_terminal(*arguments):
    """What a terminal of 80 columns shows."""
    shown = dpenet("guide", *arguments, env=os.environ | {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "80"})
    assert shown.returncode == 0, shown.stderr
    return ANSI.sub("", shown.stdout)


def test_alone_it_lists_the_pages_on_a_line_each():
    for text in (dpenet("guide").stdout, on_a_terminal()):
        lines = [line.rstrip() for line in text.splitlines()]
        assert lines[:-1] == [
            f"{name:<{max(map(len, page_names()))}}    {read_page(name).summary}" for name in page_names()
        ]
        assert lines[-1] == "To read one: dpenet guide NAME"


def test_a_pipe_gets_markdown():
    assert dpenet("guide", "videos").stdout == read_page("videos").text


@pytest.mark.parametrize("name", page_names())
def test_a_terminal_gets_a_page_that_fits(name):
    text = on_a_terminal(name)
    assert max(map(len, text.splitlines())) <= 80
    assert not re.search(r"\]\(|\*\*|^#+ [A-Z]|```|…$", text, re.MULTILINE), "Markdown shows through, or a cell was cut"


def test_an_unknown_name_is_an_error_that_lists_the_pages():
    result = dpenet("guide", "video")
    assert (result.returncode, result.stdout) == (2, "")
    assert "Did you mean videos?" in result.stderr
    assert all(name in result.stderr for name in page_names())


def test_help_texts_name_pages_that_exist():
    commands = typer.main.get_command(app).commands
    named = [name for each in commands.values() for name in re.findall(r"dpenet guide ([\w-]+)", each.epilog or "")]
    assert len(named) >= 6
    assert set(named) <= set(page_names())
