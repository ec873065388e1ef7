"""Before and after of a whole run on a page that opens offline; hundreds of pictures on each, more on several.

While the run goes on, each picture and its result are read again on a thread, shrunk and put into a temporary file;
memory holds no more than a few of them. At its end, or where it was interrupted, the pages are written of that file, by
the rule for files that are made again and again (`dpenet_cli.system.seals`).
"""

import contextlib
import hashlib
import io
import itertools
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from html import escape
from pathlib import Path
from typing import IO, NamedTuple
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dpenet_cli import __version__
from dpenet_cli.arrays import to_8_bits
from dpenet_cli.batch.outcomes import Outcome, Status, write_error
from dpenet_cli.errors import DpenetError, InputError
from dpenet_cli.images import icc_profiles
from dpenet_cli.images.compare import on_rgb
from dpenet_cli.images.offline_page import Layer, page_head, page_tail, slider, webp_uri
from dpenet_cli.images.picture import Picture
from dpenet_cli.images.reading import read
from dpenet_cli.system.atomic import unwritable, write_parts
from dpenet_cli.system.outputs import Output, check_outputs
from dpenet_cli.system.seals import is_untouched, page_seal
from dpenet_cli.system.storage import place

ON_A_PAGE = 500
"""Pictures on one page, at most."""

_PAGE_BYTES = 150_000_000
"""Length of a page, at most, but for its text."""

_PAIR_BYTES = 220_000
"""Bytes of a picture before and after, at most: 500 of them in base64 are below `_PAGE_BYTES`."""

_WIDEST = 1200
"""Width of a picture on a page, in pixels; a high one is no larger in area than twice the square of it."""

_ATTEMPTS = ((1.0, 80), (1.0, 65), (1.0, 50), (0.75, 50), (0.75, 30), (0.5, 30), (0.25, 20))
"""Share of the width, and quality of WebP, one after the other until a pair fits: rain is hard to compress."""

_WAITING = 4
"""Pictures that wait to be put on a page; then the run waits for them."""


class _Figure(NamedTuple):
    """A picture's HTML in the temporary file: where it begins, its length, and the picture's name."""

    begin: int
    length: int
    name: str


class Gallery:
    """Collects what becomes of each input, and writes it as pages.

    Args:
        path: the page, which ends in .html; of several, the list of them.
        overwrite: replace a file that is no gallery, or that somebody changed.
        max_pixels: larger pictures are not shown.

    Raises:
        InputError: another file is there, or none can be written.
    """

    def __init__(self, path: Path, *, overwrite: bool, max_pixels: int) -> None:
        self._path = path
        self._overwrite = overwrite
        self._max_pixels = max_pixels
        if path.suffix.lower() not in {".html", ".htm"}:
            raise InputError(str(path), "a gallery is an HTML page", "Give it a name that ends in .html.")
        if why := unwritable(path.parent):
            raise InputError(str(path.parent), f"the gallery cannot be written there ({why})", "Name another folder.")
        self._check(path)
        self._figures: list[_Figure] = []
        self._failures: list[tuple[str, str]] = []
        self._waiting: list[Future[None]] = []
        self._thread: ThreadPoolExecutor | None = None
        self._file: IO[bytes] | None = None
        self._broken: OSError | None = None

    def expect(self, count: int) -> None:
        """Look whether pages for so many pictures can be written.

        Raises:
            InputError: one would replace another file.
        """
        for number in range(1, -(-count // ON_A_PAGE) + 1 if count > ON_A_PAGE else 1):
            self._check(self._page(number))

    def add(self, outcome: Outcome) -> None:
        """Take what became of one input; its picture is read later, on a thread."""
        if outcome.status is Status.FAILED or outcome.target is None:
            error = outcome.error
            self._failures.append((outcome.source, "" if error is None else f"{error.why}. {error.next_step}"))
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "gallery")
        self._waiting.append(self._thread.submit(self._draw, outcome.source, outcome.target))
        while len(self._waiting) > _WAITING:
            self._waiting.pop(0).result()

    def close(self) -> list[Path]:
        """Write the pages, and give their names, the first one's first; none if there is nothing to show.

        Raises:
            DpenetError: they cannot be written.
        """
        if self._thread is not None:
            self._thread.shutdown()
        try:
            for drawn in self._waiting:
                drawn.result()
            if self._broken is not None:
                raise self._broken
            return self._write() if self._figures or self._failures else []
        except OSError as error:
            raise write_error(self._path, error) from error
        finally:
            if self._file is not None:
                self._file.close()

    def _check(self, path: Path) -> None:
        gallery = Output(path, "--gallery", redone=is_untouched(path))
        check_outputs([gallery], [], overwrite=self._overwrite, elsewhere="Name another page")

    def _page(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.stem}-{number}{self._path.suffix}")

    def _draw(self, source: str, target: str) -> None:
        """Put one picture before and after into the temporary file; what cannot be shown is told on the page."""
        if self._broken is not None:
            return
        try:
            figure = _figure(source, target, self._max_pixels).encode("utf-8", "backslashreplace")
        except DpenetError as error:
            self._failures.append((source, f"it cannot be shown: {error.why}"))
            return
        except (ValueError, MemoryError) as error:
            self._failures.append((source, f"it cannot be shown: {error or type(error).__name__}"))
            return
        begin = self._figures[-1].begin + self._figures[-1].length if self._figures else 0
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = tempfile.TemporaryFile(dir=self._path.parent)  # noqa: SIM115 - open until `close`
            self._file.write(figure)
        except OSError as error:  # pictures are cleaned all the same; it is told at the end
            self._broken = error
            return
        self._figures.append(_Figure(begin, len(figure), source))

    def _write(self) -> list[Path]:
        groups = list(_groups(self._figures))
        if len(groups) <= 1:
            figures = groups[0] if groups else []
            begin, end = [self._head(len(self._figures))], [self._told(), page_tail()]
            return self._written({self._path: itertools.chain(begin, self._figures_of(figures), end)})
        names = [self._page(number) for number in range(1, len(groups) + 1)]
        pages: dict[Path, Iterable[str | bytes]] = {}
        for number, (name, figures) in enumerate(zip(names, groups, strict=True), 1):
            links = _links(self._path.name, number, names)
            head = self._head(len(figures), f", part {number} of {len(groups)}")
            pages[name] = itertools.chain([head, links], self._figures_of(figures), [links, page_tail()])
        pages[self._path] = (self._head(len(self._figures)), _index(names, groups), self._told(), page_tail())
        return self._written(pages)

    def _written(self, pages: dict[Path, Iterable[str | bytes]]) -> list[Path]:
        for path in pages:
            self._check(path)
        for path, text in pages.items():
            write_parts(path, _sealed(text))
        for number in itertools.count(len(pages) if len(pages) > 1 else 1):  # of an earlier, larger gallery
            if not is_untouched(self._page(number)):
                break
            self._page(number).unlink()
        return [self._path, *(path for path in pages if path != self._path)]

    def _head(self, count: int, part: str = "") -> str:
        what = "1 picture" if count == 1 else f"{count} pictures"
        note = f"Made by dpenet {__version__}. At most {_WIDEST} pixels wide; drag across a picture to compare."
        noscript = "<noscript><p>The pictures need JavaScript, which is inside this file.</p></noscript>"
        return page_head(f"{what} before and after{part}", "gallery") + f"<p>{note}</p>{noscript}"

    def _figures_of(self, figures: Sequence[_Figure]) -> Iterator[bytes]:
        yield b'<div class="pairs">'
        for figure in figures:
            assert self._file is not None
            self._file.seek(figure.begin)
            yield self._file.read(figure.length)
        yield b"</div>"

    def _told(self) -> str:
        """What is not shown, and why."""
        rows = "".join(f"<li>{escape(name)}: {escape(why)}</li>" for name, why in self._failures)
        return f"<h2>Not shown ({len(self._failures)})</h2><ul>{rows}</ul>" if rows else ""


def _sealed(text: Iterable[str | bytes]) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for part in text:
        data = part.encode("utf-8", "backslashreplace") if isinstance(part, str) else part
        digest.update(data)
        yield data
    yield page_seal(digest.hexdigest())


def _groups(figures: Sequence[_Figure]) -> Iterator[list[_Figure]]:
    """The figures of each page."""
    group: list[_Figure] = []
    for figure in figures:
        if len(group) == ON_A_PAGE or (group and figure.begin + figure.length - group[0].begin > _PAGE_BYTES):
            yield group
            group = []
        group.append(figure)
    if group:
        yield group


def _links(index: str, number: int, names: Sequence[Path]) -> str:
    """Where one can go from a page: they lie in one folder."""
    links = [(index, "all pages")]
    links += [(names[number - 2].name, "before")] if number > 1 else []
    links += [(names[number].name, "next")] if number < len(names) else []
    return f"<p>{' · '.join(_link(name, text) for name, text in links)}</p>"


def _index(names: Sequence[Path], groups: Sequence[Sequence[_Figure]]) -> str:
    rows = (
        f"<li>{_link(name.name, f'{len(group)} pictures')}: {escape(group[0].name)} … {escape(group[-1].name)}</li>"
        for name, group in zip(names, groups, strict=True)
    )
    return f"<ol>{''.join(rows)}</ol>"


def _link(name: str, text: str) -> str:
    return f'<a href="{escape(quote(name, errors="surrogateescape"), quote=True)}">{escape(text)}</a>'


def _figure(source: str, target: str, max_pixels: int) -> str:
    """One picture before and after, as HTML.

    Raises:
        DpenetError: one of them cannot be read.
    """
    before = read(place(source), max_pixels=max_pixels)
    height, width = before.pixels.shape[:2]
    first = _for_page(before)
    del before  # one at a time is in memory as a whole
    second = _for_page(read(place(target), max_pixels=max_pixels))
    pair = map(webp_uri, _coded(first, second))
    layers = list(map(Layer, ("before", "after"), pair))
    return slider(source, layers, (width, height), f"{escape(source)} · {width}×{height}", lazy=True)


def _for_page(picture: Picture) -> Image.Image:
    """A picture in sRGB, at most as large as a page shows it."""
    height, width = picture.pixels.shape[:2]
    scale = min(1.0, _WIDEST / width, 2 * _WIDEST / height)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    small = Image.fromarray(to_8_bits(picture.pixels)).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    pixels: list[NDArray[np.uint8]]
    pixels, icc = on_rgb([np.asarray(small, np.uint8)], picture)
    if icc:
        with contextlib.suppress(icc_profiles.ProfileError):  # shown as they are, as browsers do
            pixels = [icc_profiles.converted(pixels[0], icc)]
    return Image.fromarray(pixels[0])


def _coded(first: Image.Image, second: Image.Image) -> tuple[bytes, bytes]:
    """Both as WebP of one quality, as fine as fits a page; the last attempt is taken as it is."""
    pair = b"", b""
    for share, quality in _ATTEMPTS:
        pair = _webp(first, share, quality), _webp(second, share, quality)
        if len(pair[0]) + len(pair[1]) <= _PAIR_BYTES:
            break
    return pair


def _webp(picture: Image.Image, share: float, quality: int) -> bytes:
    if share < 1:
        picture = picture.resize((max(round(picture.width * share), 1), max(round(picture.height * share), 1)))
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=quality, method=3)
    return file.getvalue()
