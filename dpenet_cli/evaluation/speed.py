"""How fast this machine cleans pictures, as ratios to the published way of running the network.

The published way is PyTorch as it comes: fp32, NCHW, eager, the whole picture at once, in inference mode, on all
threads, and of the network alone. Ours is what a user gets: 8-bit pixels in, 8-bit pixels out, conversions included.
All ways take turns in one run, so that a busy moment of the machine meets each of them; what counts is the median
after a warm-up. Useful operations are counted, two for a multiply-add; what a way computes twice counts once.
"""

import contextlib
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from dpenet_cli.errors import DeviceError, OptionError
from dpenet_cli.evaluation.benchmark import network_of
from dpenet_cli.inference.derainer import Derainer
from dpenet_cli.inference.select import is_installed
from dpenet_cli.network.checkpoints import load_model
from dpenet_cli.options import EngineOptions, Precision, Runtime, check_types
from dpenet_cli.system.devices import cpu_has_bf16, resolve_device
from dpenet_cli.system.memory import peak_bytes, reset_peak

PUBLISHED_WAY = "published way: torch, fp32, NCHW, eager, whole picture"

_MATRIX = {"cpu": 2048, "cuda": 8192, "mps": 4096}
"""Side of the square matrices that tell a device's own rate: large enough to keep it busy."""

_FILM_FRAMES = 64
"""Frames of a video that is timed: many more than are on their way at once."""

_DTYPES = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}


class Size(NamedTuple):
    """A picture's size in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}×{self.height}"


@dataclass(frozen=True)
class SpeedOptions:
    """What is timed.

    Attributes:
        weights: a name or a path; the numbers do not depend on their values.
        sizes: of the pictures.
        device: as in `EngineOptions`.
        threads: CPU threads for every way, or None for PyTorch's choice.
        repeats: timed runs of each way, at least 1.
    """

    weights: str
    sizes: tuple[Size, ...]
    device: str = "auto"
    threads: int | None = None
    repeats: int = 5

    def __post_init__(self) -> None:
        check_types(self)


@dataclass(frozen=True)
class TimedMethod:
    """One way of doing the work; `run` cleans so many pictures, and returns when that is done, on the device too."""

    name: str
    precision: Precision
    run: Callable[[], object]
    pictures: int = 1


class Timing(NamedTuple):
    """One way on one size.

    Attributes:
        way: its name.
        precision: of its arithmetic.
        size: of the picture.
        seconds: median for a picture, or None where it could not be run; `problem` says why.
        spread: fastest and slowest run, in seconds.
        gflops: useful operations a second, in 10⁹.
        matrix_gflops: what the device reaches in a matrix product of the same precision, in this very run.
        peak_bytes: memory at its highest: allocated on a GPU, or of the whole process; None where nobody tells.
        ratio: to the published way, more is faster; None if that could not be run.
        problem: why it could not be run.
    """

    way: str
    precision: Precision
    size: Size
    seconds: float | None
    spread: tuple[float, float] | None
    gflops: float | None
    matrix_gflops: float | None
    peak_bytes: int | None
    ratio: float | None
    problem: str = ""

    @property
    def megapixels_per_second(self) -> float | None:
        """Pixels cleaned a second, in millions."""
        return self.size.width * self.size.height / self.seconds / 1e6 if self.seconds else None


def parse_size(text: str) -> Size:
    """Read ``1920x1080``.

    Raises:
        OptionError: it is not WIDTHxHEIGHT in pixels.
    """
    width, _, height = text.lower().replace("×", "x").partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise OptionError(f"size {text!r}", "it is not WIDTHxHEIGHT in pixels", "Give 1920x1080, say.")
    return Size(int(width), int(height))


def describe_device(device: str) -> str:
    """Device and threads, for a person."""
    found = resolve_device(device)
    name = torch.cuda.get_device_name(found) if found.type == "cuda" else f"{torch.get_num_threads()} threads"
    return f"{found}, {name}, PyTorch {torch.__version__}"


def time_ways(options: SpeedOptions) -> Iterator[Timing]:
    """Time every runtime and precision that this machine has, size by size, the published one first.

    Raises:
        DeviceError: the device is not there.
        WeightsError: the weights are missing or unusable.
    """
    device = resolve_device(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    macs = network_of(load_model(options.weights)).macs_per_pixel
    engines = list(_engines(options, device))
    for size in options.sizes:
        yield from _time_size(size, options, device, engines, macs)


def _time_size(
    size: Size, options: SpeedOptions, device: torch.device, engines: list[tuple[Precision, Derainer]], macs: int
) -> Iterator[Timing]:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (size.height, size.width, 3), dtype=np.uint8)
    ways = [published_way(options.weights, picture, device)]
    for precision, engine in engines:
        ways.append(TimedMethod(f"dpenet: {engine.description}", precision, _call(engine, picture)))
        if engine.on_gpu:
            ways.append(_film(engine, precision, picture))
    products = {p: _matrix_product(p, device) for p, _ in engines}
    warm = [_warm_up(way, device) for way in ways]
    running = [way for way, (_, problem) in zip(ways, warm, strict=True) if not problem]
    seconds = _take_turns([*running, *products.values()], options.repeats)
    operations = 2.0 * macs * size.width * size.height
    base = statistics.median(seconds[ways[0].name]) if ways[0] in running else None
    for way, (peak, problem) in zip(ways, warm, strict=True):
        if problem:
            yield Timing(way.name, way.precision, size, None, None, None, None, None, None, problem)
            continue
        runs = seconds[way.name]
        median = statistics.median(runs)
        rate = 2.0 * _MATRIX[device.type] ** 3 / statistics.median(seconds[products[way.precision].name]) / 1e9
        spread, ratio = (min(runs), max(runs)), base and base / median
        yield Timing(way.name, way.precision, size, median, spread, operations / median / 1e9, rate, peak, ratio)


def _engines(options: SpeedOptions, device: torch.device) -> Iterator[tuple[Precision, Derainer]]:
    """The precisions that this device has in hardware, on each runtime that is here, each at default settings."""
    runtimes = [Runtime.TORCH]
    if device.type == "cpu" and is_installed():
        runtimes.append(Runtime.OPENVINO)
    for runtime, precision in itertools.product(runtimes, (Precision.FP32, Precision.BF16, Precision.FP16)):
        if device.type == "cpu" and precision is Precision.BF16 and not cpu_has_bf16():
            continue
        with contextlib.suppress(DeviceError):
            engine = EngineOptions(str(device), precision, threads=options.threads, backend=runtime)
            yield precision, Derainer.load(options.weights, engine)


def published_way(weights: str, picture: np.ndarray, device: torch.device) -> TimedMethod:
    """The network as published, on H×W×3 uint8, from floats on the device to floats on the device."""
    model = load_model(weights).to(device)
    tensor = torch.from_numpy(picture).permute(2, 0, 1)[None].to(device).float().div_(255.0).contiguous()

    def run() -> None:
        with torch.inference_mode():
            model(tensor)
        _finish(device)

    return TimedMethod(PUBLISHED_WAY, Precision.FP32, run)


def _call(derainer: Derainer, picture: np.ndarray) -> Callable[[], object]:
    return lambda: derainer(picture)  # its result is on the CPU, so the device is done


def _film(engine: Derainer, precision: Precision, picture: np.ndarray) -> TimedMethod:
    """The picture as a video that stands still: a GPU is then given the next frames while it cleans one."""

    def run() -> None:
        for _ in engine.stream(itertools.repeat(picture, _FILM_FRAMES)):
            pass

    return TimedMethod(f"dpenet: {engine.description}, frames of a video", precision, run, _FILM_FRAMES)


def _matrix_product(precision: Precision, device: torch.device) -> TimedMethod:
    side = _MATRIX[device.type]
    a, b = (torch.randn(side, side, device=device).to(_DTYPES[precision]) for _ in range(2))

    def run() -> None:
        torch.mm(a, b)
        _finish(device)

    return TimedMethod(f"matrix product {side}³, {precision}", precision, run)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _warm_up(way: TimedMethod, device: torch.device) -> tuple[int | None, str]:
    """Run once: compilers and caches settle, and memory shows its peak. Tells that, and what went wrong."""
    reset_peak(device)
    try:
        way.run()
    except (torch.OutOfMemoryError, MemoryError, DeviceError) as error:
        return None, str(error).splitlines()[0] or "out of memory"
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        return None, "out of memory"
    return peak_bytes(device), ""


def _take_turns(ways: Sequence[TimedMethod], repeats: int) -> dict[str, list[float]]:
    """Seconds of each run, by way."""
    for way in ways:  # matrix products have not been warmed up
        if way.name.startswith("matrix"):
            way.run()
    seconds: dict[str, list[float]] = {way.name: [] for way in ways}
    for _ in range(repeats):
        for way in ways:
            started = time.perf_counter()
            way.run()
            seconds[way.name].append((time.perf_counter() - started) / way.pictures)
    return seconds
