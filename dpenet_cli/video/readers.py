"""Frames of a video through OpenCV's capture, or through PyAV where OpenCV would lose something.

OpenCV gives 8-bit BGR, converted with one set of coefficients or another depending on its version and the file's tags.
Which it was is measured: the first colourful frames are also converted by us, and the matrix that fits is the one the
encoder undoes. Where none fits, OpenCV is not used.
"""

import contextlib
import dataclasses
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.filter
import cv2
import numpy as np

from dpenet_cli.arrays import Pixels
from dpenet_cli.errors import VideoReadError
from dpenet_cli.video.colour import (
    FULL,
    LIMITED,
    ColourTags,
    PixelFormat,
    is_full_range,
    pixel_format_of,
    swscale_number,
)
from dpenet_cli.video.containers import RAW_STREAMS
from dpenet_cli.video.frames import Frame
from dpenet_cli.video.orientation import Orientation
from dpenet_cli.video.probe import MediaInfo, VideoStream
from dpenet_cli.video.safe_open import has_utf8_name, open_capture, open_input
from dpenet_cli.video.scan import from_key_frame, video_streams

log = logging.getLogger(__name__)

_COMPARED_FRAMES = 60
"""Frames in which a colour is looked for that tells two matrices apart."""

_MAX_DISTANCE, _MIN_MARGIN = 0.4, 0.15
"""Mean levels: how near OpenCV's picture is to ours under the right matrix, and how much nearer than under the next."""

AS_OPENCV, ACCURATE = 4, 4 | 0x2000 | 0x4000 | 0x40000
"""swscale flags: bicubic, as OpenCV has it; and with full chroma interpolation and accurate rounding."""


@dataclass(frozen=True)
class ReadPlan:
    """How one stream is read.

    Attributes:
        through_opencv: by OpenCV's capture, else by PyAV.
        coefficients: the matrix that makes RGB of it, and that the encoder undoes.
        full_range: whether its levels run from 0.
        deep: frames are uint16, else uint8.
        colour: the tags that the result gets: the source's, except where RGB becomes YCbCr.
        why: the reason for PyAV, for those who ask.
        as_opencv: PyAV converts its frames as OpenCV does, which reads them when the whole is read.
    """

    through_opencv: bool
    coefficients: str
    full_range: bool
    deep: bool
    colour: ColourTags
    why: str = ""
    as_opencv: bool = False


def plan_reading(media: MediaInfo, stream: VideoStream, *, deinterlace: bool) -> ReadPlan:
    """Decide how to read a stream: through OpenCV, unless that would lose something."""
    pixels = pixel_format_of(stream.pixel_format)
    colour = stream.colour
    full_range = is_full_range(colour, pixels)
    if pixels.chroma == "rgb":
        # What every player assumes of YCbCr that was made from RGB: BT.709, limited range, and tagged as such.
        colour, full_range = ColourTags(LIMITED, 1, colour.primaries, colour.transfer), False
    why = _lost_by_opencv(media, stream, pixels, deinterlace=deinterlace)
    coefficients = None if why else _opencv_coefficients(media, stream, colour, full_range=full_range)
    if coefficients is None:
        why = why or "OpenCV's colours, sizes or frames are not those of the file"
        return ReadPlan(False, colour.coefficients, full_range, pixels.bits > 8, colour, why)
    if media.part is not None:
        return ReadPlan(False, coefficients, full_range, False, colour, "a part is read alone", as_opencv=True)
    return ReadPlan(True, coefficients, full_range, False, colour)


def _lost_by_opencv(media: MediaInfo, stream: VideoStream, pixels: PixelFormat, *, deinterlace: bool) -> str:
    reasons = {
        f"{pixels.bits} bits": pixels.bits > 8,
        f"chroma {pixels.chroma}": pixels.chroma != "420",
        "a size or pixel format that changes": not stream.constant_format,
        "damage": media.damaged,
        "recordings joined": bool(media.timeline.discontinuities),
        "deinterlacing": deinterlace and stream.interlaced,
        "a stream without times": media.container in RAW_STREAMS,
        "a name that is not UTF-8": not has_utf8_name(media.path),
    }
    return ", ".join(reason for reason, given in reasons.items() if given)


def _opencv_coefficients(media: MediaInfo, stream: VideoStream, colour: ColourTags, *, full_range: bool) -> str | None:
    """The matrix that OpenCV's frames were made with, None if it is none that we know, or cannot be told."""
    # OpenCV either does as the tags say, or takes swscale's default, which is BT.601.
    candidates = sorted({colour.coefficients, "bt601"})
    ours = PyavReader(stream, ReadPlan(False, "bt601", full_range, False, colour))
    whole = dataclasses.replace(media, part=None)  # a part is read as the whole is, whose first frames decide
    capture = open_capture(media.path)
    try:
        for frame, _ in zip(ours.decoded(whole), range(_COMPARED_FRAMES), strict=False):
            read, theirs = capture.read()  # H×W×3 BGR
            if not read or theirs.shape[:2] != (stream.height, stream.width):
                return None
            distances = {}
            for name in candidates:
                converted = to_rgb(frame, name, "rgb24", full_range=full_range, flags=AS_OPENCV)
                distances[name] = _distance(theirs, converted)
            best, *rest = sorted(distances, key=distances.__getitem__)
            if distances[best] > _MAX_DISTANCE:
                return None
            # A grey frame fits every matrix: only one with colours decides, and the next frame is looked at.
            if all(distances[other] - distances[best] > _MIN_MARGIN for other in rest):
                return best
    finally:
        capture.release()
    return None


def _distance(bgr: Pixels, rgb: Pixels) -> float:
    """Mean absolute difference, in levels."""
    return float(np.abs(bgr[:, :, ::-1].astype(np.int16) - rgb).mean())


def to_rgb(frame: Any, coefficients: str, pixel_format: str, *, full_range: bool, flags: int) -> Pixels:
    """A decoded frame as H×W×3 RGB, uint8 for rgb24 and uint16 for rgb48le."""
    number = swscale_number(coefficients)
    converted = frame.reformat(
        format=pixel_format,
        src_colorspace=number,
        dst_colorspace=number,
        src_color_range=FULL if full_range else LIMITED,
        dst_color_range=FULL,
        interpolation=flags,
    )
    pixels: Pixels = converted.to_ndarray()
    return pixels


class PyavReader:
    """The second reader: any depth and chroma, sizes that change, damage, fields.

    Args:
        stream: what is read.
        plan: how it is turned to RGB.
        deinterlace: make frames of fields.
    """

    def __init__(self, stream: VideoStream, plan: ReadPlan, *, deinterlace: bool = False) -> None:
        self._stream = stream
        self._plan = plan
        self._deinterlace = deinterlace

    def decoded(self, media: MediaInfo) -> Iterator[Any]:
        """Every frame of the stream as PyAV has it, from the first on that was probed."""
        with open_input(media.path) as container:
            if media.part is not None:
                found = from_key_frame(container, self._stream.index, media.part.entry(media.timeline.offset))
                yield from (frame for frame in found if not isinstance(frame, av.FFmpegError))  # the probe has told
                return
            (stream,) = (stream for stream in video_streams(container) if stream.index == self._stream.index)
            # Several frames at a time, unless errors would be lost so, with the frames behind them.
            stream.thread_type = "SLICE" if media.damaged else "AUTO"
            packets = container.demux(stream)
            while True:
                try:
                    packet = next(packets, None)
                except av.FFmpegError:  # the file ends here; `probe` has told
                    return
                if packet is None:
                    return
                with contextlib.suppress(av.FFmpegError):  # `probe` has told
                    yield from packet.decode()

    def images(self, media: MediaInfo, first: int, some: frozenset[int] | None = None) -> Iterator[Pixels]:
        """Frames as coded (not turned), H×W×3 RGB, from frame number `first` on; all, or those with some numbers."""
        stream, plan = self._stream, self._plan
        frames = self.decoded(media)
        if self._deinterlace:
            frames = deinterlaced(frames)
        for number, frame in enumerate(frames):
            # Decoding from the first frame on, not from a key frame: frame numbers are then those of the scan.
            if number < first or (some is not None and number not in some):
                continue
            if (frame.width, frame.height) != (stream.width, stream.height):
                frame = frame.reformat(stream.width, stream.height, frame.format.name)  # noqa: PLW2901
            pixel_format = "rgb48le" if plan.deep else "rgb24"
            flags = AS_OPENCV if plan.as_opencv else ACCURATE
            yield to_rgb(frame, plan.coefficients, pixel_format, full_range=plan.full_range, flags=flags)


def deinterlaced(frames: Iterator[Any], parity: str = "auto") -> Iterator[Any]:
    """One frame a pair of fields, through ffmpeg's bwdif; `parity` is ``tff`` or ``bff`` where the frames don't say."""
    graph: Any = None
    for count, frame in enumerate(frames):
        if graph is None:
            graph = av.filter.Graph()
            source = graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format.name, time_base=Fraction(1, 1000)
            )
            bwdif = graph.add("bwdif", f"mode=send_frame:parity={parity}:deint=all")
            sink = graph.add("buffersink")
            source.link_to(bwdif)
            bwdif.link_to(sink)
            graph.configure()
        frame.pts, frame.time_base = count, Fraction(1, 1000)  # frame numbers: our own clock tells the time
        graph.push(frame)
        yield from _ready_frames(graph)
    if graph is not None:
        graph.push(None)  # bwdif holds one frame back until it has seen the next
        yield from _ready_frames(graph)


def _ready_frames(graph: Any) -> Iterator[Any]:
    """What a filter graph gives before it wants more input."""
    while True:
        try:
            yield graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return


class VideoReader:
    """A stream's frames from one number to another, upright, each with its own time: a `FrameSource`.

    Args:
        media: the file.
        stream: which of its streams.
        plan: from `plan_reading`.
        orientation: turns the coded picture upright.
        wanted: numbers of the frames, without a gap.
        reach: frames before and after those that are read as context, where the stream has them.
        deinterlace: make frames of fields.
    """

    def __init__(
        self,
        media: MediaInfo,
        stream: VideoStream,
        plan: ReadPlan,
        orientation: Orientation,
        wanted: range,
        *,
        reach: int = 0,
        deinterlace: bool = False,
    ) -> None:
        self._media = media
        self._stream = stream
        self._plan = plan
        self._orientation = orientation
        self._wanted = wanted
        self._first, self._stop = max(wanted.start - reach, 0), min(wanted.stop + reach, len(stream.ticks))
        self._deinterlace = deinterlace and stream.interlaced

    def __iter__(self) -> Iterator[Frame]:
        number = self._first
        for image in self._images():
            if number == self._stop:
                return
            context, time = number not in self._wanted, self._stream.time(number)
            place = math.floor(time * self._stream.header_rate + Fraction(1, 2))
            yield Frame(self._orientation.upright(image), time, context, number=place)
            number += 1
        if number < self._stop:
            why = f"reading stopped at frame {number} of {self._stop}, which could be decoded before"
            raise VideoReadError(str(self._media.path), why, "Check the disk that it is on, and run the command again.")

    def some(self, numbers: Sequence[int]) -> Iterator[Pixels]:
        """The frames of these numbers, rising, upright; whatever else is wanted."""
        wanted = frozenset(numbers)
        self._first, self._stop = 0, max(wanted, default=-1) + 1
        done = 0
        if self._plan.through_opencv:
            for image in self._opencv_images(wanted):
                yield self._orientation.upright(image)
                done += 1
        if done < len(wanted):
            rest = frozenset(sorted(wanted)[done:])
            reader = PyavReader(self._stream, self._plan, deinterlace=self._deinterlace)
            images = reader.images(self._media, min(rest), rest)
            yield from (self._orientation.upright(image) for image, _ in zip(images, rest, strict=False))

    def _images(self) -> Iterator[Pixels]:
        """OpenCV's frames as long as their times are the file's; PyAV's from there on."""
        number = self._first
        if self._plan.through_opencv:
            for image in self._opencv_images():
                yield image
                number += 1
            if number >= self._stop:
                return
            log.info("OpenCV lost its place at frame %d: PyAV goes on", number)
        reader = PyavReader(self._stream, self._plan, deinterlace=self._deinterlace)
        yield from reader.images(self._media, number)

    def _opencv_images(self, some: frozenset[int] | None = None) -> Iterator[Pixels]:
        """Frames as coded, H×W×3 RGB, from the first that is wanted; ends early where OpenCV skips or repeats one."""
        stream = self._stream
        capture = open_capture(self._media.path)
        tolerance = max(float(stream.time_base) * 1000, 1.0)  # milliseconds: one tick
        try:
            beginning = None
            # Every frame is grabbed, and only those that are wanted are converted: seeking is not exact in OpenCV.
            for number in range(self._stop):
                if not capture.grab():
                    return
                # Its clock may begin elsewhere; from one frame to another it must run as the file's does.
                position = capture.get(cv2.CAP_PROP_POS_MSEC)
                beginning = position if beginning is None else beginning
                expected = float(stream.time(number) - stream.time(0)) * 1000
                if abs(position - beginning - expected) > tolerance:
                    return
                if number < self._first or (some is not None and number not in some):
                    continue
                decoded, image = capture.retrieve()  # H×W×3 BGR
                if not decoded or image.shape[:2] != (stream.height, stream.width):
                    return
                yield image[:, :, ::-1]
        finally:
            capture.release()
