"""Photographs and a video from file to file, as a user waits for them: where the time goes, and how much it is.

The files are made for it, of any size. Ours are the code of the commands, decoding, cleaning and encoding at once, at
default settings. The reference takes a photograph through Pillow and PyTorch as they come, one step after the other;
its network needs gigabytes for every megapixel, so that it is timed on a crop and its time scaled by the pixels.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from dpenet_cli.arrays import Pixels, Pixels8
from dpenet_cli.batch import pictures
from dpenet_cli.evaluation.demo import demo_names, demo_pair
from dpenet_cli.evaluation.speed import REFERENCE, Size, reference_method
from dpenet_cli.images.reading import read
from dpenet_cli.images.writing import encode
from dpenet_cli.inference.derainer import Derainer
from dpenet_cli.inference.scale_rule import rule_for
from dpenet_cli.inference.scales import ScaledDerainer
from dpenet_cli.options import (
    EngineOptions,
    ImageFormat,
    PictureOptions,
    SaveOptions,
    VideoCodec,
    VideoOptions,
    check_types,
)
from dpenet_cli.system.cores import usable_cores
from dpenet_cli.system.devices import resolve_device
from dpenet_cli.system.memory import peak_bytes, reset_peak
from dpenet_cli.system.outputs import Job
from dpenet_cli.video.deraining import clean_video
from dpenet_cli.video.encoder import EncoderProcess, Encoding
from dpenet_cli.video.frames import EachFrame
from dpenet_cli.video.video_task import prepare

_CROP = 1024
"""Side, in pixels, of the part of a photograph that the reference's network is timed on."""

_WARM_ROWS = 512
"""Rows of a photograph that are cleaned before time is taken: networks are compiled, and caches settle."""

_GRAIN = 2.0
"""Standard deviation of the noise on made pictures, in grey levels: files of a camera's size, not of a drawing's."""

_QUALITY = 92
"""Quality of the JPEGs that are made, and of those that the reference writes."""

_VIDEO_RATE = 30
"""Frames a second of the video that is made."""

_PHOTOGRAPHS, _VIDEO = "a JPEG: decode, clean, encode", "a video, each frame by itself: decode, clean, encode, mux"
"""What is timed, as tables and JSON call it."""


@dataclass(frozen=True)
class EndToEndOptions:
    """What is timed.

    Attributes:
        weights: a name or a path.
        engine: device and threads.
        size: size of the picture, in pixels.
        pictures: number of photographs, or of frames.
    """

    weights: str
    engine: EngineOptions
    size: Size
    pictures: int

    def __post_init__(self) -> None:
        check_types(self)


class EndToEndTiming(NamedTuple):
    """One method from file to file.

    Attributes:
        task: what is done.
        method: what does it.
        size: size of the picture.
        pictures: number of photographs or frames that were done.
        seconds: time for each of them, all in all.
        parts: parts of these seconds, by name; what is called "alone" runs beside the rest and is not part of the sum.
        cpu_share: share of the cores' time that was used, 0..1.
        peak_bytes: peak memory of the process, where the system tells.
        ratio: speed in units of the reference's, more is faster; None where there is no reference.
    """

    task: str
    method: str
    size: Size
    pictures: int
    seconds: float
    parts: dict[str, float]
    cpu_share: float
    peak_bytes: int | None
    ratio: float | None

    def to_json(self) -> dict[str, Any]:
        """The timing as JSON, with the names that version 0.1.0 had for some of the fields beside them."""
        earlier = {"what": self.task, "way": self.method, "pieces": self.pictures, "busy": self.cpu_share}
        return earlier | self._asdict()


def time_photographs(options: EndToEndOptions) -> Iterator[EndToEndTiming]:
    """Time JPEG photographs of one size, the reference first.

    Raises:
        DpenetError: reading, cleaning or writing failed.
    """
    with tempfile.TemporaryDirectory(prefix="dpenet-") as folder:
        sources = [Path(folder) / f"{number}.jpg" for number in range(options.pictures)]
        picture = _synthetic_picture(options.size)
        for source in sources:
            Image.fromarray(picture).save(source, quality=_QUALITY)
        reference = _time_reference(options, sources[0])
        yield reference
        yield _time_derain(options, sources, reference.seconds)


def time_video(options: EndToEndOptions) -> Iterator[EndToEndTiming]:
    """Time an H.264 video of so many frames, with the look at every frame that comes before.

    Raises:
        DpenetError: reading, cleaning, encoding or muxing failed.
    """
    with tempfile.TemporaryDirectory(prefix="dpenet-") as folder:
        source = _write_video(Path(folder) / "film.mkv", options)
        engine = Derainer.load(options.weights, options.engine)
        list(engine.stream([_synthetic_picture(options.size)]))  # warm-up: compiled and settled at this size
        reset_peak(resolve_device(options.engine.device))
        stopwatch = _Stopwatch()
        work = prepare(Job(source, source.with_name("clean.mkv"), None), VideoOptions())
        looking = stopwatch.seconds
        stream = _TimedStream(engine)
        clean_video(work, EachFrame(stream), "")
        parts = {
            "looking at every frame": looking,
            "network": stream.network,
            "waiting for frames": stream.reading,
            "waiting for the encoder": stream.writing,
        }
        yield stopwatch.timing(_VIDEO, engine.description, options, parts, None)


class _Stopwatch:
    """Wall and processor time from now on."""

    def __init__(self) -> None:
        self._began, self._used = time.perf_counter(), _processor_seconds()

    @property
    def seconds(self) -> float:
        """Wall time."""
        return time.perf_counter() - self._began

    @property
    def cpu_share(self) -> float:
        """Share of the cores' time that was used, 0..1."""
        return (_processor_seconds() - self._used) / self.seconds / usable_cores()

    def timing(
        self,
        task: str,
        method: str,
        options: EndToEndOptions,
        parts: dict[str, float],
        reference_seconds: float | None,
    ) -> EndToEndTiming:
        """What was timed until now; `parts` are of all photographs or frames together."""
        seconds = self.seconds / options.pictures
        return EndToEndTiming(
            task,
            method,
            options.size,
            options.pictures,
            seconds,
            {name: part / options.pictures for name, part in parts.items()},
            self.cpu_share,
            peak_bytes(torch.device("cpu")),
            reference_seconds and reference_seconds / seconds,
        )


class _TimedStream:
    """A stream through an engine that tells what it waits for.

    Reading and writing are timed where the generators hand over: the time that the source takes to give a frame, and
    the time from handing a clean frame out to being asked for the next one. What is left of the whole is the network.
    """

    def __init__(self, engine: Derainer) -> None:
        self._engine = engine
        self.network = self.reading = self.writing = 0.0

    def __call__(self, frames: Iterable[Pixels]) -> Iterator[Pixels]:
        """Clean frames in order."""
        # A video of several parts is several streams: what earlier ones waited is not this one's.
        began, waited_before = time.perf_counter(), self.reading + self.writing
        for clean in self._engine.stream(self._timed_frames(iter(frames))):
            handed_out = time.perf_counter()
            yield clean
            self.writing += time.perf_counter() - handed_out
        waited = self.reading + self.writing - waited_before
        self.network += time.perf_counter() - began - waited

    def _timed_frames(self, frames: Iterator[Pixels]) -> Iterator[Pixels]:
        while True:
            asked = time.perf_counter()
            frame = next(frames, None)
            self.reading += time.perf_counter() - asked
            if frame is None:
                return
            yield frame


def _time_derain(options: EndToEndOptions, sources: list[Path], reference_seconds: float) -> EndToEndTiming:
    """The code of ``dpenet derain``."""
    engine = Derainer.load(options.weights, options.engine)
    alone = _codec_seconds(engine, sources[0])
    reset_peak(resolve_device(options.engine.device))
    stopwatch = _Stopwatch()
    jobs = [Job(source, source.with_name(f"clean-{source.name}"), None) for source in sources]
    scaled = ScaledDerainer(engine, rule_for(options.weights), options.engine.scale)
    outcomes = list(pictures.run(jobs, scaled.clean, PictureOptions()))
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    parts = {"network": sum(outcome.seconds for outcome in outcomes)}
    timing = stopwatch.timing(_PHOTOGRAPHS, engine.description, options, parts, reference_seconds)
    return timing._replace(parts=timing.parts | alone)


def _codec_seconds(engine: Derainer, source: Path) -> dict[str, float]:
    """Seconds that decoding and encoding take by themselves; and the engine has worked once, afterwards."""
    picture = read(source)
    engine(picture.pixels[:_WARM_ROWS])
    return {
        "decoding alone": _seconds(lambda: read(source)),
        "encoding alone": _seconds(lambda: encode(picture, ImageFormat.JPEG, SaveOptions())),
    }


def _time_reference(options: EndToEndOptions, source: Path) -> EndToEndTiming:
    """Pillow, PyTorch as it comes, Pillow."""
    device = resolve_device(options.engine.device)
    with Image.open(source) as image:
        pixels = np.asarray(image.convert("RGB"))
    crop = pixels[:_CROP, :_CROP].copy()
    method = reference_method(options.weights, crop, device)
    method.run()  # warm-up
    stopwatch = _Stopwatch()
    network = _seconds(method.run) * pixels[..., 0].size / crop[..., 0].size
    cpu_share = stopwatch.cpu_share
    decoding = _seconds(lambda: np.asarray(Image.open(source).convert("RGB")))
    encoding = _seconds(lambda: Image.fromarray(pixels).save(source.with_name("published.jpg"), quality=_QUALITY))
    parts = {"network": network, "decoding alone": decoding, "encoding alone": encoding}
    name = f"{REFERENCE}, timed on {crop.shape[1]}×{crop.shape[0]} of it"
    seconds = network + decoding + encoding
    return EndToEndTiming(_PHOTOGRAPHS, name, options.size, 1, seconds, parts, cpu_share, None, 1.0)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _processor_seconds() -> float:
    """Of all threads, and of children that have ended."""
    of_children = os.times()[2:4]
    return time.process_time() + sum(of_children)


def _synthetic_picture(size: Size) -> Pixels8:
    """A rainy picture of any size, H×W×3 uint8, with a camera's grain."""
    rainy, _ = demo_pair(demo_names()[0])
    large = np.asarray(Image.fromarray(rainy).resize(size, Image.Resampling.BICUBIC), np.float32)
    grain = np.random.default_rng(0).standard_normal(large.shape, np.float32) * _GRAIN
    return np.clip(np.rint(large + grain), 0, 255).astype(np.uint8)


def _write_video(path: Path, options: EndToEndOptions) -> Path:
    """Write the picture, moving sideways by a few pixels a frame, as H.264."""
    width, height = options.size
    encoding = Encoding(
        codec=VideoCodec.H264,
        hardware=False,
        crf=None,
        preset="veryfast",
        width=width,
        height=height,
        rate=Fraction(_VIDEO_RATE),
        deep=False,
        half_level=False,
        pixel_format="yuv420p",
        filters="format=yuv420p",
    )
    picture = _synthetic_picture(options.size)
    encoder = EncoderProcess(encoding, path)
    for number in range(options.pictures):
        encoder.write(np.roll(picture, 4 * number, axis=1))
    encoder.finish()
    return path
