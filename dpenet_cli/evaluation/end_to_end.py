"""A photograph and a video from file to file, as a user waits for them: where the time goes, and how much it is.

The files are made for it, of any size. Ours are the commands' own ways, decoding, cleaning and encoding at once, at
default settings. The published way takes a photograph through Pillow and PyTorch as they come, one step after the
other; its network needs gigabytes for every megapixel, so that it is timed on a part and its time scaled by the pixels.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from dpenet_cli.arrays import Pixels
from dpenet_cli.batch import pictures
from dpenet_cli.evaluation.demo import demo_names, demo_pair
from dpenet_cli.evaluation.speed import PUBLISHED_WAY, Size, published_way
from dpenet_cli.images.reading import read
from dpenet_cli.images.writing import encode
from dpenet_cli.inference.derainer import Derainer
from dpenet_cli.options import EngineOptions, ImageFormat, SaveOptions, VideoCodec, VideoOptions, check_types
from dpenet_cli.system.cores import usable_cores
from dpenet_cli.system.devices import resolve_device
from dpenet_cli.system.memory import peak_bytes, reset_peak
from dpenet_cli.system.outputs import Job
from dpenet_cli.video.deraining import clean_video
from dpenet_cli.video.encoder import EncoderProcess, Encoding
from dpenet_cli.video.video_task import prepare

_PART = 1024
"""Side, in pixels, of the part of a photograph that the published way's network is timed on."""

_WARM_ROWS = 512
"""Rows of a photograph that are cleaned before time is taken: networks are compiled, and caches settle."""

_GRAIN = 2.0
"""Standard deviation of the noise on made pictures, in grey levels: files of a camera's size, not of a drawing's."""

_QUALITY = 92
"""Of the JPEGs that are made, and of those that the published way writes."""

_FILM_RATE = 30
"""Frames a second of the video that is made."""


@dataclass(frozen=True)
class EndToEndOptions:
    """What is timed.

    Attributes:
        weights: a name or a path.
        engine: device and threads.
        size: of the picture, in pixels.
        pieces: photographs, or frames.
    """

    weights: str
    engine: EngineOptions
    size: Size
    pieces: int

    def __post_init__(self) -> None:
        check_types(self)


class EndToEndTiming(NamedTuple):
    """One way from file to file.

    Attributes:
        what: is done.
        way: how.
        size: of the picture.
        pieces: photographs or frames that were done.
        seconds: for each of them, all in all.
        parts: of these seconds, by name; what is behind "alone" runs beside the rest and is not a part of the sum.
        busy: share of the cores' time that was used, 0..1.
        peak_bytes: of the process, where the system tells.
        ratio: to the published way, more is faster; None where there is none.
    """

    what: str
    way: str
    size: Size
    pieces: int
    seconds: float
    parts: dict[str, float]
    busy: float
    peak_bytes: int | None
    ratio: float | None


def photographs(options: EndToEndOptions) -> Iterator[EndToEndTiming]:
    """Time JPEG photographs of one size, the published way first.

    Raises:
        DpenetError: reading, cleaning or writing failed.
    """
    with tempfile.TemporaryDirectory(prefix="dpenet-") as name:
        sources = [Path(name) / f"{number}.jpg" for number in range(options.pieces)]
        picture = _made(options.size)
        for source in sources:
            Image.fromarray(picture).save(source, quality=_QUALITY)
        published = _published(options, sources[0])
        yield published
        yield _ours(options, sources, published.seconds)


def film(options: EndToEndOptions) -> Iterator[EndToEndTiming]:
    """Time an H.264 video of so many frames, with the look at every frame that comes before.

    Raises:
        DpenetError: reading, cleaning, encoding or muxing failed.
    """
    with tempfile.TemporaryDirectory(prefix="dpenet-") as name:
        source = _made_film(Path(name) / "film.mkv", options)
        engine = Derainer.load(options.weights, options.engine)
        list(engine.stream([_made(options.size)]))
        reset_peak(resolve_device(options.engine.device))
        watch = _Watch()
        work = prepare(Job(source, source.with_name("clean.mkv"), None), VideoOptions())
        parts = {"looking at every frame": watch.seconds}
        timed = _Timed(engine)
        clean_video(work, timed.stream, "")
        parts |= {
            "network": timed.network,
            "waiting for frames": timed.reading,
            "waiting for the encoder": timed.writing,
        }
        yield watch.journey("a video: decode, clean, encode, mux", engine.description, options, parts, None)


class _Watch:
    """Wall and processor time from now on."""

    def __init__(self) -> None:
        self._began, self._used = time.perf_counter(), _processor_seconds()

    @property
    def seconds(self) -> float:
        """Wall time."""
        return time.perf_counter() - self._began

    @property
    def busy(self) -> float:
        """Share of the cores' time that was used, 0..1."""
        return (_processor_seconds() - self._used) / self.seconds / usable_cores()

    def journey(
        self, what: str, way: str, options: EndToEndOptions, parts: dict[str, float], published: float | None
    ) -> EndToEndTiming:
        """Stop; `parts` are of all pieces together."""
        each, busy = self.seconds / options.pieces, self.busy
        shares = {name: part / options.pieces for name, part in parts.items()}
        peak = peak_bytes(torch.device("cpu"))
        return EndToEndTiming(
            what, way, options.size, options.pieces, each, shares, busy, peak, published and published / each
        )  # fmt: skip


class _Timed:
    """A stream through an engine that tells what it waits for."""

    def __init__(self, engine: Derainer) -> None:
        self._engine = engine
        self.network = self.reading = self.writing = 0.0

    def stream(self, frames: Iterable[Pixels]) -> Iterator[Pixels]:
        """Clean frames in order."""
        began, waited = time.perf_counter(), self.reading + self.writing
        for clean in self._engine.stream(self._counted(iter(frames))):
            handed = time.perf_counter()
            yield clean
            self.writing += time.perf_counter() - handed
        self.network += time.perf_counter() - began - (self.reading + self.writing - waited)

    def _counted(self, frames: Iterator[Pixels]) -> Iterator[Pixels]:
        while True:
            asked = time.perf_counter()
            frame = next(frames, None)
            self.reading += time.perf_counter() - asked
            if frame is None:
                return
            yield frame


def _ours(options: EndToEndOptions, sources: list[Path], published: float) -> EndToEndTiming:
    """The way of ``dpenet derain``."""
    engine = Derainer.load(options.weights, options.engine)
    alone = _alone(engine, sources[0])
    reset_peak(resolve_device(options.engine.device))
    watch = _Watch()
    pairs = [Job(source, source.with_name(f"clean-{source.name}"), None) for source in sources]
    outcomes = list(pictures.run(pairs, engine, pictures.RunOptions()))
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    network = sum(outcome.seconds for outcome in outcomes)
    journey = watch.journey(
        "a JPEG: decode, clean, encode", engine.description, options, {"network": network}, published
    )
    return journey._replace(parts=journey.parts | alone)


def _alone(engine: Derainer, source: Path) -> dict[str, float]:
    """Seconds that decoding and encoding take by themselves; and the engine has worked once, afterwards."""
    picture = read(source)
    engine(picture.pixels[:_WARM_ROWS])
    return {
        "decoding alone": _seconds(lambda: read(source)),
        "encoding alone": _seconds(lambda: encode(picture, ImageFormat.JPEG, SaveOptions())),
    }


def _published(options: EndToEndOptions, source: Path) -> EndToEndTiming:
    """Pillow, PyTorch as it comes, Pillow."""
    device = resolve_device(options.engine.device)
    with Image.open(source) as image:
        pixels = np.asarray(image.convert("RGB"))
    part = pixels[:_PART, :_PART].copy()
    way = published_way(options.weights, part, device)
    way.run()
    watch = _Watch()
    network = _seconds(way.run) * pixels[..., 0].size / part[..., 0].size
    busy = watch.busy
    decoding = _seconds(lambda: np.asarray(Image.open(source).convert("RGB")))
    encoding = _seconds(lambda: Image.fromarray(pixels).save(source.with_name("published.jpg"), quality=_QUALITY))
    parts = {"network": network, "decoding alone": decoding, "encoding alone": encoding}
    name = f"{PUBLISHED_WAY}, timed on {part.shape[1]}×{part.shape[0]} of it"
    seconds = network + decoding + encoding
    return EndToEndTiming("a JPEG: decode, clean, encode", name, options.size, 1, seconds, parts, busy, None, 1.0)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _processor_seconds() -> float:
    """Of all threads, and of children that have ended."""
    of_children = os.times()[2:4]
    return time.process_time() + sum(of_children)


def _made(size: Size) -> Pixels:
    """A rainy picture of any size, H×W×3 uint8, with a camera's grain."""
    rainy, _ = demo_pair(demo_names()[0])
    large = np.asarray(Image.fromarray(rainy).resize(size, Image.Resampling.BICUBIC), np.float32)
    grain = np.random.default_rng(0).standard_normal(large.shape, np.float32) * _GRAIN
    return np.clip(np.rint(large + grain), 0, 255).astype(np.uint8)


def _made_film(path: Path, options: EndToEndOptions) -> Path:
    """The picture, moving sideways by a few pixels a frame, as H.264."""
    width, height = options.size
    encoding = Encoding(
        codec=VideoCodec.H264,
        hardware=False,
        crf=None,
        preset="veryfast",
        width=width,
        height=height,
        rate=Fraction(_FILM_RATE),
        deep=False,
        half_level=False,
        pixel_format="yuv420p",
        filters="format=yuv420p",
    )
    picture = _made(options.size)
    raw = EncoderProcess(encoding, path)
    for number in range(options.pieces):
        raw.write(np.roll(picture, 4 * number, axis=1))
    raw.finish()
    return path
