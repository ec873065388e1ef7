"""The page that shows a benchmark: one file that opens offline.

It holds the summary, what others published, the distribution of the scores, every picture's scores, and the worst and
best pictures before and after. Styles, script and pictures are inside; a content security policy forbids it to load
anything else.
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
from dpenet_cli.evaluation.benchmark import BenchmarkResult, BestAndWorst, ScoredImages
from dpenet_cli.evaluation.metrics import Mean, Score
from dpenet_cli.evaluation.reported_scores import reported_on
from dpenet_cli.evaluation.strip_plot import Row, strip_plot

MAX_SIDE = 1600
"""Longest side of a picture on the page, in pixels; larger ones are shrunk, and the page says so."""

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"

Galleries = Mapping[tuple[str, str], BestAndWorst]
"""The worst and best pictures, by set and method."""


def build_page(results: Sequence[BenchmarkResult], galleries: Galleries, how: str) -> str:
    """The page as HTML.

    Args:
        results: of all methods on all sets, as `benchmark` gives them; at least one.
        galleries: for those (set, method) that have pictures to show.
        how: device and precision, for a person.
    """
    folder = Path(__file__).parent
    style, script = ((folder / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    sets = list(dict.fromkeys(result.dataset.name for result in results))
    title = f"Deraining benchmark: {', '.join(sets)}"
    sections = [_set_section([r for r in results if r.dataset.name == name], galleries) for name in sets]
    intro = f"Protocol {results[0].protocol} · {how} · dpenet {__version__}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>"
        f"<h1>{escape(title)}</h1><p>{escape(intro)}</p>{''.join(sections)}<script>{script}</script></body></html>\n"
    )


def _set_section(results: Sequence[BenchmarkResult], galleries: Galleries) -> str:
    first = results[0]
    name = first.dataset.name
    return "".join(
        (
            f"<section><h2>{escape(name)}: {escape(first.dataset.coverage)}</h2>",
            _summary(results),
            _left_out(first),
            f'<figure><div class="plot">{_distribution(results)}</div>',
            "<figcaption>One dot a picture; the line is the mean.</figcaption></figure>",
            _literature(name),
            _pictures(results),
            *(_gallery(r.method, galleries[name, r.method]) for r in results if (name, r.method) in galleries),
            "</section>",
        )
    )


def _summary(results: Sequence[BenchmarkResult]) -> str:
    rows = []
    if before := results[0].before:
        rows.append(("rainy input", _psnr(before), f"{before.ssim:.4f}", "", ""))
    for result in results:
        after = result.after
        same = f" ({after.identical} of {after.pictures} identical)" if after.identical else ""
        gain = f"{after.psnr - before.psnr:+.2f}" if before and math.isfinite(after.psnr - before.psnr) else ""
        size = f"{result.network.parameters:,}" if result.network else ""
        rows.append((result.method, _psnr(after) + same, f"{after.ssim:.4f}", gain, size))
    return f'<div class="wide">{_table(("method", "PSNR, dB", "SSIM", "gain, dB", "parameters"), rows)}</div>'


def _left_out(result: BenchmarkResult) -> str:
    files = "".join(f"<li>{escape(file)}</li>" for file in result.dataset.left_out)
    return f"<details><summary>Left out</summary><ul>{files}</ul></details>" if files else ""


def _distribution(results: Sequence[BenchmarkResult]) -> str:
    befores = [each.before.psnr for each in results[0].pictures if each.before]
    rows = [Row("rainy input", befores, is_input=True)] if befores else []
    return strip_plot([*rows, *(Row(r.method, [each.after.psnr for each in r.pictures]) for r in results)])


def _literature(dataset: str) -> str:
    rows = [(row.method, row.text, row.training, row.protocol, row.source) for row in reported_on(dataset)]
    if not rows:
        return ""
    table = _table(("method", "PSNR / SSIM", "trained on", "protocol", "source"), rows, words=True)
    note = "On the full set. Only numbers of one source compare with each other."
    return f"<details><summary>Published by others</summary><p>{note}</p><div class='wide'>{table}</div></details>"


def _pictures(results: Sequence[BenchmarkResult]) -> str:
    """Every picture, the worst of the first method first."""
    columns = [{each.name: each for each in result.pictures} for result in results]
    with_input = results[0].before is not None
    heads = ["picture", *(["input"] if with_input else []), *(result.method for result in results)]
    rows = []
    for each in sorted(results[0].pictures, key=lambda scored: (scored.after, scored.name)):
        cells = [_scores(column[each.name].after) for column in columns]
        rows.append((each.name, *([_scores(each.before)] if each.before else []), *cells))
    table = f'<div class="wide">{_table(heads, rows)}</div>'
    return f"<h3>Every picture, worst first</h3><p>PSNR in dB / SSIM</p>{table}"


def _gallery(method: str, gallery: BestAndWorst) -> str:
    parts = []
    for title, examples in (("Worst", gallery.worst), ("Best", gallery.best)):
        pairs = "".join(_pair(example) for example in examples)
        parts.append(f'<h3>{title} pictures of {escape(method)}</h3><div class="pairs">{pairs}</div>')
    return "".join(parts)


def _pair(example: ScoredImages) -> str:
    """One picture with a slider between the rainy (or clean) and the restored pixels."""
    scored = example.scored
    name = escape(scored.name, quote=True)
    rainy, restored, clean = map(_data_uri, (example.rainy, example.restored, example.clean))
    before = f"{_scores(scored.before)} → " if scored.before else ""
    left, under = ("rainy", rainy) if scored.before else ("ground truth", clean)  # given results have no rainy input
    choice = '<br><label><input type="checkbox"> ground truth on the left</label>' if scored.before else ""
    small = f", shown at most {MAX_SIDE} wide" if max(scored.width, scored.height) > MAX_SIDE else ""
    return (
        f'<figure class="pair"><div class="slider"><img src="{restored}" alt="{name}, restored">'
        f'<img class="over" src="{under}" data-rainy="{under}" data-clean="{clean}" alt="{name}, {left}">'
        f'<span class="line"></span><span class="tag left" data-rainy="{left}">{left}</span>'
        f'<span class="tag right">restored</span>'
        f'<input type="range" min="0" max="100" step="0.5" value="50" aria-label="{name}: before and after"></div>'
        f"<figcaption>{name}: {before}{_scores(scored.after)}{small}{choice}</figcaption></figure>"
    )


def _data_uri(picture: Pixels8) -> str:
    """Pixels as lossless WebP, which every browser of today shows."""
    image = Image.fromarray(picture)
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    data = io.BytesIO()
    image.save(data, "WEBP", lossless=True)
    return f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode('ascii')}"


def _psnr(score: Mean | Score) -> str:
    return f"{score.psnr:.2f}" if math.isfinite(score.psnr) else "∞"


def _scores(score: Score | None) -> str:
    return f"{_psnr(score)} / {score.ssim:.4f}" if score else ""


def _table(heads: Iterable[str], rows: Iterable[Sequence[str]], *, words: bool = False) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in rows)
    kind = ' class="words"' if words else ""
    return f"<table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
