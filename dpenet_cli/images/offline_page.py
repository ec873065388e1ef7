"""Pages that open offline, each in one file, with sliders between the versions of a picture.

Styles (``page.css``), script (``page.js``) and pictures are inside; a content security policy forbids a page to load
anything else. Every name is escaped: names of files and folders are other people's.
"""

import base64
import functools
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


class Layer(NamedTuple):
    """One version of a picture on a page: its name, and the picture as a ``data:`` address."""

    name: str
    uri: str


def page_head(title: str, kind: str = "") -> str:
    """The beginning of a page, up to its title.

    Args:
        title: of the page, not escaped yet.
        kind: class of its body, for its own styles.
    """
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_file('page.css')}</style></head>"
        f'<body class="{kind}"><h1>{escape(title)}</h1>'
    )


def page_tail() -> str:
    """The end of a page."""
    return f"<script>{_file('page.js')}</script></body></html>\n"


def facts(rows: Sequence[tuple[str, str]]) -> str:
    """Names and what they are, as a list."""
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{escape(text)}</dd>' for name, text in rows)}</dl>"


def slider(
    name: str, layers: Sequence[Layer], size: tuple[int, int], caption: str, *, right: int = 1, lazy: bool = False
) -> str:
    """A figure with a slider between two versions of one picture, and lists of all versions where there are more.

    Args:
        name: of the picture.
        layers: its versions; the first lies on the left.
        size: its width and height in pixels.
        caption: HTML.
        right: number of the one on the right.
        lazy: the pictures are decoded when they come near, which needs the script.
    """
    places = {0: "over", right: "under"}
    source = "data-src" if lazy else "src"
    shown = escape(name, quote=True)
    images = "".join(
        f'<img class="{places.get(number, "aside")}" {source}="{layer.uri}" '
        f'alt="{shown}, {escape(layer.name, quote=True)}" decoding="async">'
        for number, layer in enumerate(layers)
    )
    lists = ""
    if len(layers) > 2:
        lists = f"<br><label>left {_choice('left', layers, 0)}</label> <label>right {_choice('right', layers, right)}"
        lists += "</label>"
    return (
        f'<figure class="pair{" lazy" if lazy else ""}">'
        f'<div class="slider" style="aspect-ratio: {size[0]} / {size[1]}">{images}'
        f'<span class="line"></span><span class="tag left">{escape(layers[0].name)}</span>'
        f'<span class="tag right">{escape(layers[right].name)}</span>'
        f'<input type="range" min="0" max="100" step="0.5" value="50" aria-label="{shown}: before and after"></div>'
        f"<figcaption>{caption}{lists}</figcaption></figure>"
    )


def _choice(side: str, layers: Sequence[Layer], chosen: int) -> str:
    options = "".join(
        f'<option value="{number}"{" selected" if number == chosen else ""}>{escape(layer.name)}</option>'
        for number, layer in enumerate(layers)
    )
    return f'<select class="{side}">{options}</select>'


def webp_uri(data: bytes) -> str:
    """A WebP file as an address."""
    return f"data:image/webp;base64,{base64.b64encode(data).decode('ascii')}"


@functools.cache
def _file(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
