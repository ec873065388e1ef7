"""A benchmark's scores and times for a person: tables on stdout."""

import math
from collections.abc import Sequence

from rich.console import Console
from rich.table import Column, Table

from dpenet_cli.cli.console import one_line, table_console
from dpenet_cli.evaluation.benchmark import BenchmarkResult, NetworkCost
from dpenet_cli.evaluation.end_to_end import EndToEndTiming
from dpenet_cli.evaluation.metrics import MeanScore
from dpenet_cli.evaluation.reported_scores import reported_on
from dpenet_cli.evaluation.speed import Timing

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
    names = ("PSNR dB", "SSIM", "gain dB", "s each", "parameters", "GMAC at 256²")
    table = Table(Column("method", overflow="fold"), *(Column(name, justify="right", no_wrap=True) for name in names))
    if first.before:
        table.add_row("rainy input", _psnr(first.before), f"{first.before.ssim:.4f}", "", "", "", "")
    for result in results:
        table.add_row(one_line(result.method), *_score_cells(result))
    console.print(title, style="bold", soft_wrap=True)
    console.print(table)
    for file in test_set.left_out:
        console.print(f"left out  {one_line(file)}", soft_wrap=True)
    for result in results:
        _print_identical(console, result)
    _print_reported_scores(console, test_set.name)


def _score_cells(result: BenchmarkResult) -> tuple[str, ...]:
    gain = "" if result.gain is None else f"{result.gain:+.2f}"
    seconds = math.fsum(picture.seconds for picture in result.pictures) / len(result.pictures)
    cost = (f"{seconds:.2f}", *_cost_cells(result.cost)) if result.cost else ("", "", "")
    return (_psnr(result.after), f"{result.after.ssim:.4f}", gain, *cost)


def _cost_cells(cost: NetworkCost) -> tuple[str, str]:
    """Parameters, and multiply-adds in thousands of millions."""
    return f"{cost.parameters:,}", f"{cost.macs_per_pixel * _PIXELS / 1e9:.1f}"


def _psnr(score: MeanScore) -> str:
    """A PSNR in dB with two decimals, or ∞."""
    return f"{score.psnr:.2f}" if math.isfinite(score.psnr) else "∞"


def _print_identical(console: Console, result: BenchmarkResult) -> None:
    after = result.after
    if after.identical:
        rest = "" if math.isnan(after.psnr_of_others) else f"; the others average {after.psnr_of_others:.2f} dB"
        text = f"{after.identical} of {after.pictures} pictures equal their ground truth, hence ∞{rest}"
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


def print_speed(timings: Sequence[Timing], device: str) -> None:
    """Print one table a size.

    Args:
        timings: all that was timed.
        device: device and threads, for a person.
    """
    console = table_console()
    columns = ("ms a frame", "fastest–slowest", "MP/s", "GFLOP/s", "of matrix product", "peak MB", "× published")
    for size in dict.fromkeys(timing.size for timing in timings):
        table = Table("method", *(Column(name, justify="right", no_wrap=True) for name in columns))
        for timing in timings:
            if timing.size == size:
                table.add_row(timing.method, *_speed_cells(timing))
        console.print(f"{size} on {device}", style="bold", soft_wrap=True)
        console.print(table)
    by_precision = {timing.precision: timing.matrix_gflops for timing in timings if timing.matrix_gflops}
    rates = ", ".join(f"{precision} {rate:,.0f} GFLOP/s" for precision, rate in by_precision.items())
    text = (
        f"Matrix products on this machine: {rates}. GFLOP/s count useful operations only. dpenet's times hold the "
        "conversion from and to 8-bit pixels, the published way's the network alone. Peak memory is the whole "
        "process's on a CPU, what is allocated on a GPU."
    )
    console.print(text, soft_wrap=True)


def _speed_cells(timing: Timing) -> tuple[str, ...]:
    if timing.seconds is None or timing.spread is None:
        return (timing.problem, "", "", "", "", "", "")
    share = f"{timing.gflops / timing.matrix_gflops:.0%}" if timing.gflops and timing.matrix_gflops else ""
    return (
        f"{timing.seconds * 1e3:,.1f}",
        f"{timing.spread[0] * 1e3:,.1f}–{timing.spread[1] * 1e3:,.1f}",
        f"{timing.megapixels_per_second:.2f}",
        f"{timing.gflops:,.0f}",
        share,
        f"{timing.peak_bytes / 1e6:,.0f}" if timing.peak_bytes else "",
        f"{timing.ratio:.2f}" if timing.ratio else "",
    )


def print_end_to_end(timings: Sequence[EndToEndTiming], device: str) -> None:
    """Print one table for photographs and one for videos.

    Args:
        timings: all that was timed.
        device: device and threads, for a person.
    """
    console = table_console()
    columns = ("s each", "of it", "cores busy", "peak MB", "×")
    for task, size in dict.fromkeys((timing.task, timing.size) for timing in timings):
        table = Table("method", *(Column(name, justify="right") for name in columns))
        for timing in timings:
            if (timing.task, timing.size) == (task, size):
                parts = "\n".join(f"{name} {part:,.2f}" for name, part in timing.parts.items())
                peak = f"{timing.peak_bytes / 1e6:,.0f}" if timing.peak_bytes else ""
                ratio = f"{timing.ratio:.2f}" if timing.ratio else ""
                table.add_row(timing.method, f"{timing.seconds:,.2f}", parts, f"{timing.cpu_share:.0%}", peak, ratio)
        console.print(f"{task}, {size}, on {device}", style="bold", soft_wrap=True)
        console.print(table)
    text = (
        "Everything from file to file counts, at default settings. What is timed alone runs beside the network in "
        "dpenet, and before and behind it in the published way, whose network is timed on a part of the photograph "
        "and scaled by the pixels."
    )
    console.print(text, soft_wrap=True)
