"""Speeds for a person, and as JSON."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Column, Table

from dpenet_cli.cli.console import table_console
from dpenet_cli.options import EngineOptions

if TYPE_CHECKING:
    from dpenet_cli.evaluation.end_to_end import EndToEndTiming
    from dpenet_cli.evaluation.speed import Timing


def run_speed(weights: str, sizes: Sequence[str], engine: EngineOptions, repeats: int, *, as_json: bool) -> None:
    """Time this machine and show what came out."""
    from dpenet_cli.evaluation.speed import SpeedOptions, describe_device, parse_size, time_ways

    options = SpeedOptions(
        weights, tuple(parse_size(size) for size in sizes), engine.device, engine.threads, repeats
    )  # fmt: skip
    console = Console(stderr=True, highlight=False)
    console.print(f"timing {', '.join(map(str, options.sizes))}, {repeats} runs each, in turns", soft_wrap=True)
    timings = list(time_ways(options))
    device = describe_device(options.device)
    if as_json:
        rows = [timing._asdict() | {"megapixels_per_second": timing.megapixels_per_second} for timing in timings]
        typer.echo(json.dumps({"device": device, "repeats": repeats, "timings": rows}))
        return
    _print(timings, device)


def run_end_to_end(
    weights: str, photo: str | None, film: str | None, engine: EngineOptions, pieces: int, *, as_json: bool
) -> None:
    """Time a photograph and a video from file to file, and show where the time went."""
    from dpenet_cli.evaluation import end_to_end
    from dpenet_cli.evaluation.speed import describe_device, parse_size

    console = Console(stderr=True, highlight=False)
    found: list[EndToEndTiming] = []
    for name, time_them in ((photo, end_to_end.photographs), (film, end_to_end.film)):
        if name is not None:
            options = end_to_end.EndToEndOptions(weights, engine, parse_size(name), pieces)
            console.print(f"timing {options.size} from file to file, {pieces} of them", soft_wrap=True)
            found += time_them(options)
    device = describe_device(engine.device)
    if as_json:
        typer.echo(json.dumps({"device": device, "journeys": [journey._asdict() for journey in found]}))
        return
    _print_journeys(found, device)


def _print_journeys(found: "Sequence[EndToEndTiming]", device: str) -> None:
    console = table_console()
    for what, size in dict.fromkeys((journey.what, journey.size) for journey in found):
        table = Table(
            "way", *(Column(name, justify="right") for name in ("s each", "of it", "cores busy", "peak MB", "×"))
        )
        for journey in found:
            if (journey.what, journey.size) == (what, size):
                parts = "\n".join(f"{name} {part:,.2f}" for name, part in journey.parts.items())
                peak = f"{journey.peak_bytes / 1e6:,.0f}" if journey.peak_bytes else ""
                ratio = f"{journey.ratio:.2f}" if journey.ratio else ""
                table.add_row(journey.way, f"{journey.seconds:,.2f}", parts, f"{journey.busy:.0%}", peak, ratio)
        console.print(f"{what}, {size}, on {device}", style="bold", soft_wrap=True)
        console.print(table)
    text = (
        "Everything from file to file counts, at default settings. What is timed alone runs beside the network in "
        "dpenet, and before and behind it in the published way, whose network is timed on a part of the photograph "
        "and scaled by the pixels."
    )
    console.print(text, soft_wrap=True)


def _print(timings: "Sequence[Timing]", device: str) -> None:
    console = table_console()
    names = ("ms a frame", "fastest–slowest", "MP/s", "GFLOP/s", "of matrix product", "peak MB", "× published")
    for size in dict.fromkeys(timing.size for timing in timings):
        table = Table("way", *(Column(name, justify="right", no_wrap=True) for name in names))
        for timing in timings:
            if timing.size == size:
                table.add_row(timing.way, *_cells(timing))
        console.print(f"{size} on {device}", style="bold", soft_wrap=True)
        console.print(table)
    rates = {timing.precision: timing.matrix_gflops for timing in timings if timing.matrix_gflops}
    told = ", ".join(f"{precision} {rate:,.0f} GFLOP/s" for precision, rate in rates.items())
    text = (
        f"Matrix products on this machine: {told}. GFLOP/s count useful operations only. dpenet's times hold the "
        "conversion from and to 8-bit pixels, the published way's the network alone. Peak memory is the whole "
        "process's on a CPU, what is allocated on a GPU."
    )
    console.print(text, soft_wrap=True)


def _cells(timing: "Timing") -> tuple[str, ...]:
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
