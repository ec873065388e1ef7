"""The page that shows a benchmark: one file that opens offline.

For each set, from top to bottom: the summary, the files left out, the distribution of the scores, what others
published, every picture's scores, and the worst and best pictures before and after. Styles (``page.css``), script
(``page.js``) and pictures are inside; a content security policy forbids it to load anything else. Every name is
escaped: names of files and folders are other people's.
"""

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from PIL import Image

from dpenet_cli import __version__
from dpenet_cli.arrays import Pixels8
from dpenet_cli.evaluation.benchmark import BenchmarkResult, BestAndWorst, Method, ScoredImages
from dpenet_cli.evaluation.metrics import Score
from dpenet_cli.evaluation.pair_sets import PairSet
from dpenet_cli.evaluation.reported_scores import reported_on
from dpenet_cli.evaluation.strip_plot import Row, strip_plot

MAX_SIDE = 1600
"""Longest side of a picture on the page, in pixels; larger ones are shrunk, and the page says so."""

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"

_SHOWN = 2
"""Number of worst and of best pictures on the page, for each set and method."""


class ShownImages:
    """The worst and best pictures of each set and method, for the page; a callback of `benchmark.score_sets`."""

    def __init__(self) -> None:
        self.by_set_and_method: dict[tuple[str, str], BestAndWorst] = {}

    def __call__(self, test_set: PairSet, method: Method, images: ScoredImages) -> None:
        """Consider one picture."""
        self.by_set_and_method.setdefault((test_set.name, method.name), BestAndWorst(_SHOWN)).add(images)


def build_page(
    results: Sequence[BenchmarkResult], shown: Mapping[tuple[str, str], BestAndWorst], description: str
) -> str:
    """The page as HTML.

    Args:
        results: scores of all methods on all sets, as `benchmark.score_sets` gives them; at least one.
        shown: pictures to show, by the names of set and method; none for those that are missing.
        description: device and precision, for a person.
    """
    sets = list(dict.fromkeys(result.test_set.name for result in results))
    sections = [_set_section([r for r in results if r.test_set.name == name], shown) for name in sets]
    return whole_page(results, sections, description)


_SIZE = (
    "The network knows streaks a few pixels wide, as in these sets; large photographs are better seen in a smaller "
    "size (dpenet guide size)."
)


def whole_page(results: Sequence[BenchmarkResult], sections: Sequence[str], description: str) -> str:
    """A page around sections, one a set.

    Args:
        results: what they show; at least one.
        sections: their HTML.
        description: device and precision, for a person.
    """
    folder = Path(__file__).parent
    style, script = ((folder / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    title = f"Deraining benchmark: {', '.join(dict.fromkeys(result.test_set.name for result in results))}"
    intro = f"Protocol {results[0].protocol} · {description} · dpenet {__version__}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>"
        f"<h1>{escape(title)}</h1><p>{escape(intro)}</p><p>{_SIZE}</p>"
        f"{''.join(sections)}<script>{script}</script></body></html>\n"
    )


def _set_section(results: Sequence[BenchmarkResult], shown: Mapping[tuple[str, str], BestAndWorst]) -> str:
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
    methods = [result.method for result in results if (test_set.name, result.method) in shown]
    parts += [_best_and_worst(method, shown[test_set.name, method]) for method in methods]
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


def _best_and_worst(method: str, images: BestAndWorst) -> str:
    parts = []
    for title, pictures in (("Worst", images.worst), ("Best", images.best)):
        figures = "".join(_slider(each) for each in pictures)
        parts.append(f'<h3>{title} pictures of {escape(method)}</h3><div class="pairs">{figures}</div>')
    return "".join(parts)


def _slider(images: ScoredImages) -> str:
    """One picture with a slider between the rainy (or clean) and the restored pixels."""
    picture = images.score
    name = escape(picture.name, quote=True)
    rainy, restored, clean = map(data_uri, (images.rainy, images.restored, images.clean))
    # Results of another method have no rainy input to slide to: the ground truth takes its place.
    before = f"{_scores(picture.before)} → " if picture.before else ""
    left, left_uri = ("rainy", rainy) if picture.before else ("ground truth", clean)
    switch = '<br><label><input type="checkbox"> ground truth on the left</label>' if picture.before else ""
    shrunk = f", shown at most {MAX_SIDE} wide" if max(picture.width, picture.height) > MAX_SIDE else ""
    # The restored picture lies beneath; the script clips the other one, and swaps it for what the data-… hold.
    return (
        f'<figure class="pair"><div class="slider"><img src="{restored}" alt="{name}, restored">'
        f'<img class="over" src="{left_uri}" data-rainy="{left_uri}" data-clean="{clean}" alt="{name}, {left}">'
        f'<span class="line"></span><span class="tag left" data-rainy="{left}">{left}</span>'
        f'<span class="tag right">restored</span>'
        f'<input type="range" min="0" max="100" step="0.5" value="50" aria-label="{name}: before and after"></div>'
        f"<figcaption>{name}: {before}{_scores(picture.after)}{shrunk}{switch}</figcaption></figure>"
    )


def data_uri(picture: Pixels8) -> str:
    """Pixels, H×W×3 uint8, as lossless WebP, which every browser of today shows; at most `MAX_SIDE` on a side."""
    image = Image.fromarray(picture)
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    data = io.BytesIO()
    image.save(data, "WEBP", lossless=True)
    return f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode('ascii')}"


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
