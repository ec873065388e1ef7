"""What ``dpenet benchmark --speed`` does: it times this machine, and shows tables or JSON."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Column, Table

from dpenet_cli.cli.console import table_console
from dpenet_cli.cli.json_lines import print_json
from dpenet_cli.evaluation.end_to_end import EndToEndOptions, EndToEndTiming, time_photographs, time_video
from dpenet_cli.evaluation.speed import SpeedOptions, Timing, describe_device, parse_size, time_methods
from dpenet_cli.options import EngineOptions


def show_speed(weights: str, sizes: Sequence[str], engine: EngineOptions, repeats: int, *, as_json: bool) -> None:
    """Time the network, in every precision and runtime that this machine has, on pictures in memory.

    Args:
        weights: a name or a path.
        sizes: sizes of the pictures, WIDTHxHEIGHT.
        engine: device and threads.
        repeats: number of timed runs of each method.
        as_json: whether to print JSON instead of tables.

    Raises:
        OptionError: a size is none.
        DpenetError: what is timed failed.
    """
    parsed = tuple(parse_size(size) for size in sizes)
    options = SpeedOptions(weights, parsed, engine.device, engine.threads, repeats)
    console = Console(stderr=True, highlight=False)
    console.print(f"timing {', '.join(map(str, options.sizes))}, {repeats} runs each, in turns", soft_wrap=True)
    timings = list(time_methods(options))
    device = describe_device(options.device)
    if as_json:
        fields = {"device": device, "repeats": repeats, "timings": [timing.to_json() for timing in timings]}
        print_json(fields)
    else:
        _print_timings(timings, device)


def _print_timings(timings: Sequence[Timing], device: str) -> None:
    """Print one table a size."""
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


def show_end_to_end(
    weights: str, photo: str | None, film: str | None, engine: EngineOptions, count: int, *, as_json: bool
) -> None:
    """Time photographs and a video from file to file, and show where the time went.

    Args:
        weights: a name or a path.
        photo: size of JPEG photographs, WIDTHxHEIGHT, or None for none.
        film: size of a video's frames, or None for no video.
        engine: device and threads.
        count: number of photographs, and of frames.
        as_json: whether to print JSON instead of tables.

    Raises:
        OptionError: a size is none.
        DpenetError: what is timed failed.
    """
    console = Console(stderr=True, highlight=False)
    timings: list[EndToEndTiming] = []
    for size, time_it in ((photo, time_photographs), (film, time_video)):
        if size is not None:
            options = EndToEndOptions(weights, engine, parse_size(size), count)
            console.print(f"timing {options.size} from file to file, {count} of them", soft_wrap=True)
            timings += time_it(options)
    device = describe_device(engine.device)
    if as_json:
        print_json({"device": device, "journeys": [timing.to_json() for timing in timings]})
    else:
        _print_end_to_end(timings, device)


def _print_end_to_end(timings: Sequence[EndToEndTiming], device: str) -> None:
    """Print one table for photographs and one for videos."""
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
