"""How fast this machine cleans pictures, as ratios to the reference: the network as its authors published it.

The reference is PyTorch as it comes: fp32, NCHW, eager, the whole picture at once, in inference mode, on all threads,
and of the network alone; what is printed calls it the published way. Ours is what a user gets: 8-bit pixels in, 8-bit
pixels out, conversions included. All methods take turns in one run, so that a busy moment of the machine meets each of
them; what counts is the median after a warm-up. Useful operations are counted, two for a multiply-add; what a method
computes twice counts once.
"""

import contextlib
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from dpenet_cli.arrays import Pixels8
from dpenet_cli.errors import DeviceError, OptionError
from dpenet_cli.evaluation.methods import network_cost
from dpenet_cli.inference.derainer import Derainer
from dpenet_cli.inference.select import is_installed
from dpenet_cli.network.checkpoints import load_model
from dpenet_cli.options import EngineOptions, Precision, Runtime, check_types
from dpenet_cli.system.devices import cpu_has_bf16, resolve_device
from dpenet_cli.system.memory import peak_bytes, reset_peak

REFERENCE = "published way: torch, fp32, NCHW, eager, whole picture"
"""What the reference is called in tables and in JSON."""

_MATRIX_SIDES = {"cpu": 2048, "cuda": 8192, "mps": 4096}
"""Side of the square matrices that tell a device's own rate: large enough to keep it busy."""

_VIDEO_FRAMES = 64
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
        sizes: sizes of the pictures.
        device: device, as in `EngineOptions`.
        threads: CPU threads for every method, or None for PyTorch's choice.
        repeats: timed runs of each method, at least 1.
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
    """Something to time.

    Attributes:
        name: name in tables and in JSON.
        precision: precision of its arithmetic.
        run: does the work once, and returns when it is done, on the device too.
        pictures: number of pictures that one run cleans.
    """

    name: str
    precision: Precision
    run: Callable[[], object]
    pictures: int = 1


class Timing(NamedTuple):
    """One method on one size.

    Attributes:
        method: name of the method.
        precision: precision of its arithmetic.
        size: size of the picture.
        seconds: median for a picture, or None where it could not be run; `problem` says why.
        spread: fastest and slowest run, in seconds.
        gflops: useful operations a second, in 10⁹.
        matrix_gflops: what the device reaches in a matrix product of the same precision, in this very run, in 10⁹.
        peak_bytes: memory at its highest: allocated on a GPU, or of the whole process; None where nobody tells.
        ratio: speed in units of the reference's, more is faster; None if that could not be run.
        problem: why it could not be run; empty if it could.
    """

    method: str
    precision: Precision
    size: Size
    seconds: float | None = None
    spread: tuple[float, float] | None = None
    gflops: float | None = None
    matrix_gflops: float | None = None
    peak_bytes: int | None = None
    ratio: float | None = None
    problem: str = ""

    @property
    def megapixels_per_second(self) -> float | None:
        """Pixels cleaned a second, in millions."""
        return self.size.width * self.size.height / self.seconds / 1e6 if self.seconds else None

    def to_json(self) -> dict[str, Any]:
        """The timing as JSON; ``way`` is what version 0.1.0 called ``method``."""
        return {"way": self.method} | self._asdict() | {"megapixels_per_second": self.megapixels_per_second}


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


def time_methods(options: SpeedOptions) -> Iterator[Timing]:
    """Time every runtime and precision that this machine has, size by size, the reference first.

    Raises:
        DeviceError: the device is not there.
        WeightsError: the weights are missing or unusable.
    """
    device = resolve_device(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    macs_per_pixel = network_cost(load_model(options.weights)).macs_per_pixel
    engines = list(_engines(options, device))
    for size in options.sizes:
        yield from _time_size(size, options, device, engines, macs_per_pixel)


def _time_size(
    size: Size,
    options: SpeedOptions,
    device: torch.device,
    engines: Sequence[tuple[Precision, Derainer]],
    macs_per_pixel: int,
) -> Iterator[Timing]:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (size.height, size.width, 3), dtype=np.uint8)
    reference = reference_method(options.weights, picture, device)
    methods = [reference]
    for precision, engine in engines:
        methods.append(TimedMethod(f"dpenet: {engine.description}", precision, _one_picture(engine, picture)))
        if engine.on_gpu:
            methods.append(_video_frames(engine, precision, picture))
    products = {precision: _matrix_product(precision, device) for precision, _ in engines}

    # One run of each alone: what it needs of memory is its own then, and who runs out of it takes no turns.
    warm_ups = [_warm_up(method, device) for method in methods]
    able = [method for method, (_, problem) in zip(methods, warm_ups, strict=True) if not problem]
    for product in products.values():
        product.run()

    # The matrix products take turns with the rest: a rate from a quieter moment would be no yardstick.
    seconds = _take_turns([*able, *products.values()], options.repeats)
    reference_seconds = statistics.median(seconds[reference.name]) if reference in able else None
    operations = 2.0 * macs_per_pixel * size.width * size.height
    for method, (peak, problem) in zip(methods, warm_ups, strict=True):
        if problem:
            yield Timing(method.name, method.precision, size, problem=problem)
            continue
        runs = seconds[method.name]
        median = statistics.median(runs)
        product_seconds = statistics.median(seconds[products[method.precision].name])
        yield Timing(
            method.name,
            method.precision,
            size,
            seconds=median,
            spread=(min(runs), max(runs)),
            gflops=operations / median / 1e9,
            matrix_gflops=2.0 * _MATRIX_SIDES[device.type] ** 3 / product_seconds / 1e9,
            peak_bytes=peak,
            ratio=reference_seconds and reference_seconds / median,
        )


def _engines(options: SpeedOptions, device: torch.device) -> Iterator[tuple[Precision, Derainer]]:
    """The precisions that this device has in hardware, on each runtime that is here, each at default settings."""
    runtimes = [Runtime.TORCH]
    if device.type == "cpu" and is_installed():
        runtimes.append(Runtime.OPENVINO)
    for runtime, precision in itertools.product(runtimes, (Precision.FP32, Precision.BF16, Precision.FP16)):
        if device.type == "cpu" and precision is Precision.BF16 and not cpu_has_bf16():
            continue  # PyTorch would emulate it
        with contextlib.suppress(DeviceError):  # a precision that this runtime does not have
            engine = EngineOptions(str(device), precision, threads=options.threads, backend=runtime)
            yield precision, Derainer.load(options.weights, engine)


def reference_method(weights: str, picture: Pixels8, device: torch.device) -> TimedMethod:
    """The network as published, from floats on the device to floats on the device.

    Args:
        weights: a name or a path.
        picture: picture to clean, H×W×3 uint8.
        device: where to compute.
    """
    model = load_model(weights).to(device)
    rainy = torch.from_numpy(picture).permute(2, 0, 1)[None].to(device).float().div_(255.0).contiguous()  # 1×3×H×W

    def run() -> None:
        with torch.inference_mode():
            model(rainy)
        _synchronize(device)

    return TimedMethod(REFERENCE, Precision.FP32, run)


def _one_picture(engine: Derainer, picture: Pixels8) -> Callable[[], object]:
    return lambda: engine(picture)  # its result is on the CPU, so the device is done


def _video_frames(engine: Derainer, precision: Precision, picture: Pixels8) -> TimedMethod:
    """The picture as a video that stands still: a GPU is then given the next frames while it cleans one."""

    def run() -> None:
        for _ in engine.stream(itertools.repeat(picture, _VIDEO_FRAMES)):
            pass

    return TimedMethod(f"dpenet: {engine.description}, frames of a video", precision, run, _VIDEO_FRAMES)


def _matrix_product(precision: Precision, device: torch.device) -> TimedMethod:
    side = _MATRIX_SIDES[device.type]
    a, b = (torch.randn(side, side, device=device).to(_DTYPES[precision]) for _ in range(2))

    def run() -> None:
        torch.mm(a, b)
        _synchronize(device)

    return TimedMethod(f"matrix product {side}³, {precision}", precision, run)


def _synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given: calls only queue work on a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _warm_up(method: TimedMethod, device: torch.device) -> tuple[int | None, str]:
    """Run once: compilers and caches settle, and memory shows its peak. Tells that, and what went wrong."""
    reset_peak(device)
    try:
        method.run()
    except (torch.OutOfMemoryError, MemoryError, DeviceError) as error:
        return None, str(error).splitlines()[0] or "out of memory"
    except RuntimeError as error:  # on the CPU, PyTorch has no type of its own for this
        if "memory" not in str(error):
            raise
        return None, "out of memory"
    return peak_bytes(device), ""


def _take_turns(methods: Sequence[TimedMethod], repeats: int) -> dict[str, list[float]]:
    """Seconds for a picture of each run, by the methods' names; all run once before any runs again.

    Run in blocks, one method would meet the machine's busy minute, or a processor that has grown hot, alone.
    """
    seconds: dict[str, list[float]] = {method.name: [] for method in methods}
    for _ in range(repeats):
        for method in methods:
            started = time.perf_counter()
            method.run()
            seconds[method.name].append((time.perf_counter() - started) / method.pictures)
    return seconds
