"""The pages of the guide: which there are, and what they say."""

import difflib
from dataclasses import dataclass
from importlib.resources import files

from dpenet_cli.errors import OptionError

_SUFFIX = ".md"


@dataclass(frozen=True)
class Page:
    """One page.

    Attributes:
        name: what `dpenet guide` knows it by.
        text: Markdown: a title, one line that says what the page tells, and the rest.
    """

    name: str
    text: str

    @property
    def summary(self) -> str:
        """The line that says what the page tells."""
        return self.text.splitlines()[2]


def page_names() -> list[str]:
    """The names of all pages, in alphabetical order."""
    names = (file.name for file in files(__package__).iterdir())
    return sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX))


def read_page(name: str) -> Page:
    """Read one page.

    Args:
        name: one of `page_names()`.

    Raises:
        OptionError: no page has that name.
    """
    names = page_names()
    if name not in names:
        # A path such as ../videos is no name of the list, so nothing outside the folder is ever read.
        meant = difflib.get_close_matches(name.lower(), names, n=1)
        guess = f"Did you mean {meant[0]}? " if meant else ""
        raise OptionError(name, "the guide has no page of that name", f"{guess}There are {', '.join(names)}.")
    return Page(name, (files(__package__) / f"{name}{_SUFFIX}").read_text(encoding="utf-8"))
