"""The guide's pages: what each begins with, and which names they answer to."""

import re
from pathlib import Path

import pytest

from dpenet_cli.errors import OptionError
from dpenet_cli.guide.pages import page_names, read_page


def test_there_are_pages():
    assert page_names() == [
        "benchmark",
        "contributing",
        "fine-tuning",
        "formats",
        "json",
        "machines",
        "questions",
        "size",
        "speed",
        "training",
        "videos",
        "weights",
    ]


@pytest.mark.parametrize("name", page_names())
def test_a_page_begins_with_its_title_and_one_line_about_it(name):
    page = read_page(name)
    title, gap, summary, end = page.text.splitlines()[:4]
    assert title.startswith("# ")
    assert (gap, end) == ("", "")
    assert page.summary == summary
    assert 20 <= len(summary) <= 64  # the list of pages fits 80 columns


def test_an_unknown_name_is_told_with_what_there_is():
    with pytest.raises(OptionError) as raised:
        read_page("Vidoes")
    assert str(raised.value) == (
        "Vidoes: the guide has no page of that name. "
        "Did you mean videos? "
        "There are benchmark, contributing, fine-tuning, formats, json, machines, questions, size, speed, training, "
        "videos, weights."
    )


@pytest.mark.parametrize("name", ["", "xyz", "../guide/videos", "pages", "__init__"])
def test_nothing_but_pages_is_read(name):
    with pytest.raises(OptionError, match=r"the guide has no page of that name\. .*There are benchmark"):
        read_page(name)


def test_the_tests_that_contributors_are_told_of_are_there():
    named = set(re.findall(r"\btests/[\w/.]*\w", read_page("contributing").text))
    assert len(named) >= 15
    root = Path(__file__).parents[2]
    assert [path for path in sorted(named) if not (root / path).exists()] == []
