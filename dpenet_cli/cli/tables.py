"""A benchmark's scores for a person: tables on stdout; and for a spreadsheet: CSV."""

import csv
import io
import math
from collections.abc import Sequence

from rich.console import Console
from rich.table import Column, Table

from dpenet_cli.cli.console import one_line, table_console
from dpenet_cli.evaluation.benchmark import BenchmarkResult, Network
from dpenet_cli.evaluation.metrics import Mean, Score
from dpenet_cli.evaluation.reported_scores import reported_on

_PIXELS = 256 * 256
"""The size for which the field gives multiply-adds."""


def print_results(results: Sequence[BenchmarkResult], how: str) -> None:
    """Print one table a set, with what others published on it beneath; then the means over the sets.

    Args:
        results: of all methods on all sets; those of one set follow each other.
        how: precision and device, for a person.
    """
    console = table_console()
    names = list(dict.fromkeys(result.dataset.name for result in results))
    for name in names:
        _print_set(console, [result for result in results if result.dataset.name == name], how)
    if len(names) > 1:
        _print_means(console, results, len(names))


def _print_set(console: Console, results: Sequence[BenchmarkResult], how: str) -> None:
    first = results[0]
    title = f"{one_line(first.dataset.name)}: {first.dataset.coverage}, protocol {first.protocol}, {how}"
    number = {"justify": "right", "no_wrap": True}
    columns = ("PSNR dB", "SSIM", "gain dB", "s each", "parameters", "GMAC at 256²")
    table = Table(Column("method", overflow="fold"), *(Column(c, **number) for c in columns))  # type: ignore[arg-type]
    if first.before:
        table.add_row("rainy input", psnr_text(first.before), f"{first.before.ssim:.4f}", "", "", "", "")
    for result in results:
        table.add_row(one_line(result.method), *_cells(result))
    console.print(title, style="bold", soft_wrap=True)
    console.print(table)
    for file in first.dataset.left_out:
        console.print(f"left out  {one_line(file)}", soft_wrap=True)
    for result in results:
        _print_identical(console, result)
    _print_literature(console, first.dataset.name)


def _cells(result: BenchmarkResult) -> tuple[str, ...]:
    after, before = result.after, result.before
    gain = f"{after.psnr - before.psnr:+.2f}" if before and math.isfinite(after.psnr - before.psnr) else ""
    seconds = math.fsum(each.seconds for each in result.pictures) / len(result.pictures)
    cost = (f"{seconds:.2f}", *_cost(result.network)) if result.network else ("", "", "")
    return (psnr_text(after), f"{after.ssim:.4f}", gain, *cost)


def _cost(network: Network) -> tuple[str, str]:
    """Parameters, and multiply-adds in thousands of millions."""
    return f"{network.parameters:,}", f"{network.macs_per_pixel * _PIXELS / 1e9:.1f}"


def psnr_text(score: Mean | Score) -> str:
    """A PSNR in dB with two decimals, or ∞."""
    return f"{score.psnr:.2f}" if math.isfinite(score.psnr) else "∞"


def _print_identical(console: Console, result: BenchmarkResult) -> None:
    after = result.after
    if after.identical:
        rest = "" if math.isnan(after.psnr_of_others) else f"; the others average {after.psnr_of_others:.2f} dB"
        text = f"{after.identical} of {after.pictures} pictures equal their ground truth, hence ∞{rest}"
        console.print(f"{one_line(result.method)}: {text}", soft_wrap=True)


def _print_literature(console: Console, dataset: str) -> None:
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


def to_csv(results: Sequence[BenchmarkResult], precision: str) -> bytes:
    """Every picture as a line of UTF-8 CSV; an infinite PSNR is written inf."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = ("dataset", "method", "picture", "width", "height", "input_psnr", "input_ssim", "psnr", "ssim", "seconds")
    writer.writerow([*names, "protocol", "precision"])
    for result in results:
        for each in result.pictures:
            before = (f"{each.before.psnr:.6f}", f"{each.before.ssim:.8f}") if each.before else ("", "")
            row = (result.dataset.name, result.method, each.name, each.width, each.height, *before)
            after = (f"{each.after.psnr:.6f}", f"{each.after.ssim:.8f}", f"{each.seconds:.4f}")
            writer.writerow([*row, *after, result.protocol.value, precision])
    return text.getvalue().encode()
