"""The page that shows a benchmark: one file that opens offline.

For each set, from top to bottom: the summary, the files left out, the distribution of the scores, what others
published, every picture's scores, and the worst and best pictures before and after, with the other methods' results and
a map of the error to slide to.
"""

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from dpenet_cli import __version__
from dpenet_cli.arrays import Pixels8
from dpenet_cli.evaluation.benchmark import BenchmarkResult, BestAndWorst, Method, ScoredImages
from dpenet_cli.evaluation.metrics import Score
from dpenet_cli.evaluation.pair_sets import PairSet
from dpenet_cli.evaluation.reported_scores import reported_on
from dpenet_cli.evaluation.strip_plot import Row, strip_plot
from dpenet_cli.images.offline_page import Layer, facts, page_head, page_tail, slider, webp_uri

MAX_SIDE = 1600
"""Longest side of a picture on the page, in pixels; larger ones are shrunk, and the page says so."""

_SHOWN = 2
"""Number of worst and of best pictures on the page, for each set and method."""


ERROR_WHITE = 32
"""Grey levels of difference to the truth that a map of the error shows in its brightest colour."""


class ShownImages:
    """The worst and best pictures of each set and method, for the page; a callback of `benchmark.score_sets`.

    Of the pictures that a set's first method shows, the results of the others are kept too, to be slid to.
    """

    def __init__(self) -> None:
        self.by_set_and_method: dict[tuple[str, str], BestAndWorst] = {}
        self._others: dict[tuple[str, str], dict[str, Pixels8]] = {}
        self._first: dict[str, str] = {}

    def __call__(self, test_set: PairSet, method: Method, images: ScoredImages) -> None:
        """Consider one picture."""
        self.by_set_and_method.setdefault((test_set.name, method.name), BestAndWorst(_SHOWN)).add(images)
        first = self._first.setdefault(test_set.name, method.name)
        chosen = self.by_set_and_method[test_set.name, first]
        if first != method.name and images.score.name in {each.score.name for each in (*chosen.worst, *chosen.best)}:
            self._others.setdefault((test_set.name, images.score.name), {})[method.name] = images.restored

    def others(self, test_set: str, method: str, picture: str) -> dict[str, Pixels8]:
        """What other methods made of a picture that a set's first method shows; nothing for other methods' pictures."""
        return self._others.get((test_set, picture), {}) if self._first.get(test_set) == method else {}


class Making(NamedTuple):
    """How a page came about.

    Attributes:
        description: device and precision, for a person.
        facts: date, command, machine, weights: names and what they are.
    """

    description: str
    facts: Sequence[tuple[str, str]] = ()


def build_page(results: Sequence[BenchmarkResult], shown: ShownImages, making: Making) -> str:
    """The page as HTML.

    Args:
        results: scores of all methods on all sets, as `benchmark.score_sets` gives them; at least one.
        shown: pictures to show.
        making: how it came about.
    """
    sets = list(dict.fromkeys(result.test_set.name for result in results))
    sections = [_set_section([r for r in results if r.test_set.name == name], shown) for name in sets]
    return whole_page(results, sections, making)


_SIZE = (
    "The network knows streaks a few pixels wide, as in these sets; large photographs are better seen in a smaller "
    "size (dpenet guide size)."
)


def whole_page(results: Sequence[BenchmarkResult], sections: Sequence[str], making: Making) -> str:
    """A page around sections, one a set.

    Args:
        results: what they show; at least one.
        sections: their HTML.
        making: how it came about.
    """
    title = f"Deraining benchmark: {', '.join(dict.fromkeys(result.test_set.name for result in results))}"
    intro = f"Protocol {results[0].protocol} · {making.description} · dpenet {__version__}"
    how = f"<details open><summary>How it was made</summary>{facts(making.facts)}</details>" if making.facts else ""
    return f"{page_head(title)}<p>{escape(intro)}</p>{how}<p>{_SIZE}</p>{''.join(sections)}{page_tail()}"


def _set_section(results: Sequence[BenchmarkResult], shown: ShownImages) -> str:
    test_set = results[0].test_set
    parts = [
        f"<section><h2>{escape(test_set.name)}: {escape(test_set.coverage)}</h2>",
        _summary(results),
        left_out(test_set),
        f'<figure><div class="plot">{distribution(results)}</div>',
        "<figcaption>One dot a picture; the line is the mean.</figcaption></figure>",
        reported_scores(test_set.name),
        every_picture(results),
    ]
    parts += [_best_and_worst(result, shown) for result in results]
    return "".join([*parts, "</section>"])


def _summary(results: Sequence[BenchmarkResult]) -> str:
    rows = []
    if before := results[0].before:
        rows.append(("rainy input", shown_psnr(before.psnr), f"{before.ssim:.4f}", "", ""))
    for result in results:
        after = result.after
        same = f" ({after.identical} of {after.pictures} identical)" if after.identical else ""
        gain = "" if result.gain is None else f"{result.gain:+.2f}"
        parameters = f"{result.cost.parameters:,}" if result.cost else ""
        rows.append((result.method, shown_psnr(after.psnr) + same, f"{after.ssim:.4f}", gain, parameters))
    return f'<div class="wide">{table(("method", "PSNR, dB", "SSIM", "gain, dB", "parameters"), rows)}</div>'


def left_out(test_set: PairSet) -> str:
    """The files that were left out, folded; nothing where none was."""
    files = "".join(f"<li>{escape(file)}</li>" for file in test_set.left_out)
    return f"<details><summary>Left out</summary><ul>{files}</ul></details>" if files else ""


def distribution(results: Sequence[BenchmarkResult]) -> str:
    """All PSNRs of one set, a row a method, as SVG."""
    befores = [each.before.psnr for each in results[0].pictures if each.before]
    rows = [Row("rainy input", befores, is_input=True)] if befores else []
    return strip_plot([*rows, *(Row(r.method, [each.after.psnr for each in r.pictures]) for r in results)])


def reported_scores(dataset: str) -> str:
    """What others published on a set, folded; nothing where nobody did."""
    rows = [(row.method, row.text, row.training, row.protocol, row.source) for row in reported_on(dataset)]
    if not rows:
        return ""
    others = table(("method", "PSNR / SSIM", "trained on", "protocol", "source"), rows, words=True)
    note = "On the full set. Only numbers of one source compare with each other."
    return f"<details><summary>Published by others</summary><p>{note}</p><div class='wide'>{others}</div></details>"


def every_picture(results: Sequence[BenchmarkResult], kind: str = "picture") -> str:
    """The scores of every picture of one set, the worst of the first method first."""
    columns = [{picture.name: picture.after for picture in result.pictures} for result in results]
    heads = [kind, *(["input"] if results[0].before else []), *(result.method for result in results)]
    rows = []
    for picture in sorted(results[0].pictures, key=lambda picture: (picture.after, picture.name)):
        before = [_scores(picture.before)] if picture.before else []
        rows.append((picture.name, *before, *(_scores(column[picture.name]) for column in columns)))
    scores = f'<div class="wide">{table(heads, rows)}</div>'
    return f"<h3>Every {kind}, worst first</h3><p>PSNR in dB / SSIM</p>{scores}"


def _best_and_worst(result: BenchmarkResult, shown: ShownImages) -> str:
    """A method's worst and best pictures of a set; nothing where none are kept."""
    test_set, method = result.test_set.name, result.method
    kept = shown.by_set_and_method.get((test_set, method))
    if kept is None:
        return ""
    parts = []
    for title, pictures in (("Worst", kept.worst), ("Best", kept.best)):
        figures = "".join(_slider(each, method, shown.others(test_set, method, each.score.name)) for each in pictures)
        parts.append(f'<h3>{title} pictures of {escape(method)}</h3><div class="pairs">{figures}</div>')
    return f"{''.join(parts)}<p>{_ERROR}</p>"


_ERROR = (
    "The error is the largest difference to the ground truth among the three channels: black is none, the brightest "
    f"{ERROR_WHITE} grey levels or more, in every picture alike."
)


def _slider(images: ScoredImages, method: str, others: Mapping[str, Pixels8]) -> str:
    """One picture with a slider between any two of: rainy, true, restored by each method, and where that differs."""
    picture = images.score
    restored = {method: images.restored, **others} if others else {"restored": images.restored}
    versions = {"rainy": images.rainy} if picture.before else {}  # results have no rainy input to slide to
    versions |= {"ground truth": images.clean} | restored
    for name, pixels in restored.items():
        versions[f"error of {name}" if others else "error"] = error_map(pixels, images.clean)
    layers = [Layer(name, data_uri(pixels)) for name, pixels in versions.items()]
    before = f"{_scores(picture.before)} → " if picture.before else ""
    shrunk = f", shown at most {MAX_SIDE} wide" if max(picture.width, picture.height) > MAX_SIDE else ""
    caption = f"{escape(picture.name)}: {before}{_scores(picture.after)}{shrunk}"
    right = list(versions).index(next(iter(restored)))
    return slider(picture.name, layers, (picture.width, picture.height), caption, right=right)


def error_map(restored: Pixels8, truth: Pixels8) -> Pixels8:
    """Where a picture differs from the truth, H×W×3 uint8 each: from black over red and yellow to white."""
    error = np.abs(restored.astype(np.int32) - truth).max(axis=2)  # H×W
    scaled = np.minimum(error * 255 // ERROR_WHITE, 255).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(scaled, cv2.COLORMAP_HOT)[:, :, ::-1], np.uint8)


def data_uri(picture: Pixels8) -> str:
    """Pixels, H×W×3 uint8, as lossless WebP, which every browser of today shows; at most `MAX_SIDE` on a side."""
    image = Image.fromarray(picture)
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    data = io.BytesIO()
    image.save(data, "WEBP", lossless=True)
    return webp_uri(data.getvalue())


def shown_psnr(psnr: float) -> str:
    """A PSNR in dB with two decimals, or ∞."""
    return f"{psnr:.2f}" if math.isfinite(psnr) else "∞"


def _scores(score: Score | None) -> str:
    return f"{shown_psnr(score.psnr)} / {score.ssim:.4f}" if score else ""


def table(heads: Iterable[str], rows: Iterable[Sequence[str]], *, words: bool = False) -> str:
    """A table of escaped texts; the cells of one of words are flush left."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in rows)
    kind = ' class="words"' if words else ""
    return f"<table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
