"""A benchmark's scores for a person: tables on stdout."""

import math
from collections.abc import Sequence

from rich.console import Console
from rich.table import Column, Table

from dpenet_cli.cli.console import one_line, table_console
from dpenet_cli.evaluation.benchmark import BenchmarkResult, NetworkCost
from dpenet_cli.evaluation.metrics import MeanScore
from dpenet_cli.evaluation.reported_scores import reported_on
from dpenet_cli.evaluation.video_benchmark import VideoResult
from dpenet_cli.evaluation.video_table import HEADS, NOTE, clip_rows

_PIXELS = 256 * 256
"""The size for which the field gives multiply-adds."""


def print_scores(results: Sequence[BenchmarkResult], description: str) -> None:
    """Print one table a set, with what others published on it beneath; then the means over the sets.

    Args:
        results: scores of all methods on all sets.
        description: device and precision, for a person.
    """
    console = table_console()
    names = list(dict.fromkeys(result.test_set.name for result in results))
    for name in names:
        _print_set(console, [result for result in results if result.test_set.name == name], description)
    if len(names) > 1:
        _print_means(console, results, len(names))


def _print_set(console: Console, results: Sequence[BenchmarkResult], description: str) -> None:
    first = results[0]
    test_set = first.test_set
    title = f"{one_line(test_set.name)}: {test_set.coverage}, protocol {first.protocol}, {description}"
    console.print(title, style="bold", soft_wrap=True)
    videos = [result for result in results if isinstance(result, VideoResult)]
    if videos:
        _print_clips(console, videos)
    else:
        _print_pictures(console, results)
    for file in test_set.left_out:
        console.print(f"left out  {one_line(file)}", soft_wrap=True)
    for result in results:
        _print_identical(console, result)
    _print_reported_scores(console, test_set.name)


def _print_clips(console: Console, results: Sequence[VideoResult]) -> None:
    """The truth, the input and every method, clip by clip, and how to read their flicker."""
    columns = [Column(name, justify="right", no_wrap=True) for name in HEADS[2:]]
    table = Table(Column(HEADS[0], overflow="fold"), Column(HEADS[1], overflow="fold"), *columns)
    before = ""
    for row in clip_rows(results):
        if row.clip != before and before:
            table.add_section()
        table.add_row("" if row.clip == before else one_line(row.clip), one_line(row.cells[0]), *row.cells[1:])
        before = row.clip
    console.print(table)
    console.print(NOTE, soft_wrap=True)


def _print_pictures(console: Console, results: Sequence[BenchmarkResult]) -> None:
    first = results[0]
    names = ("PSNR dB", "SSIM", "gain dB", "s each", "parameters", "GMAC at 256²")
    if first.test_set.dry:
        names = ("dry dB", "SSIM", "worst dB", *names[3:])
    table = Table(Column("method", overflow="fold"), *(Column(name, justify="right", no_wrap=True) for name in names))
    if first.before:
        table.add_row("rainy input", _psnr(first.before), f"{first.before.ssim:.4f}", "", "", "", "")
    for result in results:
        table.add_row(one_line(result.method), *_score_cells(result))
    console.print(table)


def _score_cells(result: BenchmarkResult) -> tuple[str, ...]:
    gain = "" if result.gain is None else f"{result.gain:+.2f}"
    if result.test_set.dry:  # nothing can be gained, but something lost
        gain = _decibels(result.worst.after.psnr)
    seconds = math.fsum(picture.seconds for picture in result.pictures) / len(result.pictures)
    cost = (f"{seconds:.2f}", *_cost_cells(result.cost)) if result.cost else ("", "", "")
    return (_psnr(result.after), f"{result.after.ssim:.4f}", gain, *cost)


def _cost_cells(cost: NetworkCost) -> tuple[str, str]:
    """Parameters, and multiply-adds in thousands of millions."""
    return f"{cost.parameters:,}", f"{cost.macs_per_pixel * _PIXELS / 1e9:.1f}"


def _psnr(score: MeanScore) -> str:
    """A PSNR in dB with two decimals, or ∞."""
    return _decibels(score.psnr)


def _decibels(psnr: float) -> str:
    return f"{psnr:.2f}" if math.isfinite(psnr) else "∞"


def _print_identical(console: Console, result: BenchmarkResult) -> None:
    after = result.after
    if after.identical:
        rest = "" if math.isnan(after.psnr_of_others) else f"; the others average {after.psnr_of_others:.2f} dB"
        kind = "frames" if isinstance(result, VideoResult) else "pictures"
        text = f"{after.identical} of {after.pictures} {kind} equal their ground truth, hence ∞{rest}"
        console.print(f"{one_line(result.method)}: {text}", soft_wrap=True)


def _print_reported_scores(console: Console, dataset: str) -> None:
    rows = reported_on(dataset)
    if not rows:
        console.print()
        return
    table = Table("published", "PSNR / SSIM", "trained on", "protocol", "source", box=None, header_style="dim")
    for row in rows:
        table.add_row(row.method, row.text, row.training, row.protocol, row.source, style="dim")
    console.print("Published by others on the full set; numbers of one source compare with each other:", soft_wrap=True)
    console.print(table)
    console.print()


def _print_means(console: Console, results: Sequence[BenchmarkResult], sets: int) -> None:
    table = Table("mean over the sets", Column("PSNR dB", justify="right"), Column("SSIM", justify="right"))
    for method in dict.fromkeys(result.method for result in results):
        means = [result.after for result in results if result.method == method]
        psnr = math.fsum(each.psnr for each in means) / sets
        text = f"{psnr:.2f}" if math.isfinite(psnr) else "∞"
        table.add_row(one_line(method), text, f"{math.fsum(each.ssim for each in means) / sets:.4f}")
    console.print(table)
