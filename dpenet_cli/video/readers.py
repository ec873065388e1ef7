"""Frames of a video through OpenCV's capture, or through PyAV where OpenCV would lose something.

OpenCV gives 8-bit BGR, converted with one set of coefficients or another depending on its version and the file's tags.
Which it was is measured: the first colourful frames are also converted by us, and the matrix that fits is the one the
encoder undoes. Where none fits, OpenCV is not used.
"""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from dpenet_cli.arrays import Pixels
from dpenet_cli.errors import VideoReadError
from dpenet_cli.video.frames import Frame
from dpenet_cli.video.orientation import Orientation
from dpenet_cli.video.probe import MediaInfo, VideoStream
from dpenet_cli.video.safe_open import has_utf8_name, open_capture, open_input
from dpenet_cli.video.scan import real_video
from dpenet_cli.video.yuv import ColourTags, PixelFormat, is_full, pixel_format_of, swscale_number

log = logging.getLogger(__name__)

_LOOKED_AT = 60
"""Frames in which a colour is looked for that tells two matrices apart."""

_FITS, _TELLS_APART = 0.4, 0.15
"""Mean levels: how near OpenCV's picture is to ours under the right matrix, and how much nearer than under the next."""

_BICUBIC, _EXACT = 4, 4 | 0x2000 | 0x4000 | 0x40000
"""swscale flags: as OpenCV has them; and with full chroma interpolation and accurate rounding."""


@dataclass(frozen=True)
class Reading:
    """How one stream is read.

    Attributes:
        through_opencv: by OpenCV's capture, else by PyAV.
        coefficients: the matrix that makes RGB of it, and that the encoder undoes.
        full: whether its levels run from 0.
        deep: frames are uint16, else uint8.
        colour: the tags that the result gets: the source's, except where RGB becomes YCbCr.
        why: the reason for PyAV, for those who ask.
    """

    through_opencv: bool
    coefficients: str
    full: bool
    deep: bool
    colour: ColourTags
    why: str = ""


def choose(movie: MediaInfo, footage: VideoStream, *, deinterlace: bool) -> Reading:
    """Decide how to read a stream: OpenCV, unless it would lose something."""
    pixels = pixel_format_of(footage.pixel_format)
    colour = footage.colour
    full = is_full(colour, pixels)
    if pixels.chroma == "rgb":
        # What every player assumes of YCbCr that was made from RGB: BT.709, limited range, and tagged as such.
        colour, full = ColourTags(1, 1, colour.primaries, colour.transfer), False
    why = _lost_by_opencv(movie, footage, pixels, deinterlace=deinterlace)
    coefficients = None if why else _opencv_coefficients(movie, footage, colour, full=full)
    if coefficients is None:
        why = why or "OpenCV's colours, sizes or frames are not those of the file"
        return Reading(False, colour.coefficients, full, pixels.bits > 8, colour, why)
    return Reading(True, coefficients, full, False, colour)


def _lost_by_opencv(movie: MediaInfo, footage: VideoStream, pixels: PixelFormat, *, deinterlace: bool) -> str:
    reasons = {
        f"{pixels.bits} bits": pixels.bits > 8,
        f"chroma {pixels.chroma}": pixels.chroma != "420",
        "a size or pixel format that changes": not footage.steady,
        "damage": movie.damaged,
        "recordings joined": bool(movie.timeline.joints),
        "deinterlacing": deinterlace and footage.interlaced,
        "a name that is not UTF-8": not has_utf8_name(movie.path),
    }
    return ", ".join(reason for reason, given in reasons.items() if given)


def _opencv_coefficients(movie: MediaInfo, footage: VideoStream, colour: ColourTags, *, full: bool) -> str | None:
    """The matrix that OpenCV's frames were made with, None if it is none that we know, or cannot be told."""
    candidates = sorted({colour.coefficients, "bt601"})
    ours = PyavReader(footage, Reading(False, "bt601", full, False, colour))
    capture = open_capture(movie.path)
    try:
        for frame, _ in zip(ours.decoded(movie), range(_LOOKED_AT), strict=False):
            read, theirs = capture.read()
            if not read or theirs.shape[:2] != (footage.height, footage.width):
                return None
            far = {
                name: _distance(theirs, _rgb(frame, name, "rgb24", full=full, flags=_BICUBIC)) for name in candidates
            }
            best, *rest = sorted(far, key=far.__getitem__)
            if far[best] > _FITS:
                return None
            if all(far[other] - far[best] > _TELLS_APART for other in rest):
                return best
    finally:
        capture.release()
    return None


def _distance(theirs: Pixels, ours: Pixels) -> float:
    return float(np.abs(theirs[:, :, ::-1].astype(np.int16) - ours).mean())


def _rgb(frame: Any, coefficients: str, pixel_format: str, *, full: bool, flags: int) -> Pixels:
    number = swscale_number(coefficients)
    converted = frame.reformat(
        format=pixel_format,
        src_colorspace=number,
        dst_colorspace=number,
        src_color_range=2 if full else 1,
        dst_color_range=2,
        interpolation=flags,
    )
    pixels: Pixels = converted.to_ndarray()
    return pixels


class PyavReader:
    """The second reader: any depth and chroma, sizes that change, damage, fields.

    Args:
        footage: the stream.
        reading: how.
        deinterlace: make frames of fields.
    """

    def __init__(self, footage: VideoStream, reading: Reading, *, deinterlace: bool = False) -> None:
        self._footage = footage
        self._reading = reading
        self._deinterlace = deinterlace

    def decoded(self, movie: MediaInfo) -> Iterator[Any]:
        """Every frame of the stream as PyAV has it, from the first on."""
        import av

        with open_input(movie.path) as container:
            (stream,) = (stream for stream in real_video(container) if stream.index == self._footage.index)
            stream.thread_type = "AUTO"
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

    def images(self, movie: MediaInfo, first: int) -> Iterator[Pixels]:
        """Frames as coded (not turned), H×W×3 RGB, from frame number `first` on."""
        footage, reading = self._footage, self._reading
        frames = self.decoded(movie)
        if self._deinterlace:
            frames = _whole_frames(frames)
        for number, frame in enumerate(frames):
            if number < first:
                continue
            if (frame.width, frame.height) != (footage.width, footage.height):
                frame = frame.reformat(footage.width, footage.height, frame.format.name)  # noqa: PLW2901
            pixel_format = "rgb48le" if reading.deep else "rgb24"
            yield _rgb(frame, reading.coefficients, pixel_format, full=reading.full, flags=_EXACT)


def _whole_frames(frames: Iterator[Any]) -> Iterator[Any]:
    """One frame a pair of fields, through ffmpeg's bwdif."""
    import av.filter

    graph: Any = None
    for frame in frames:
        if graph is None:
            graph = av.filter.Graph()
            source = graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format.name, time_base=Fraction(1, 1000)
            )
            fields = graph.add("bwdif", "mode=send_frame:parity=auto:deint=all")
            sink = graph.add("buffersink")
            source.link_to(fields)
            fields.link_to(sink)
            graph.configure()
            count = 0
        frame.pts, frame.time_base = count, Fraction(1, 1000)  # frame numbers: our own clock tells the time
        count += 1
        graph.push(frame)
        yield from _pulled(graph)
    if graph is not None:
        graph.push(None)
        yield from _pulled(graph)


def _pulled(graph: Any) -> Iterator[Any]:
    import av

    while True:
        try:
            yield graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return


class Frames:
    """A stream's frames from one number to another, upright, each with its own time: a `FrameSource`.

    Args:
        movie: the file.
        footage: the stream.
        reading: from `choose`.
        turn: the stream's orientation.
        wanted: numbers of the frames, without a gap.
        deinterlace: make frames of fields.
    """

    def __init__(
        self,
        movie: MediaInfo,
        footage: VideoStream,
        reading: Reading,
        turn: Orientation,
        wanted: range,
        *,
        deinterlace: bool = False,
    ) -> None:
        self._movie = movie
        self._footage = footage
        self._reading = reading
        self._turn = turn
        self._first, self._stop = wanted.start, wanted.stop
        self._deinterlace = deinterlace and footage.interlaced

    def __iter__(self) -> Iterator[Frame]:
        number = self._first
        for image in self._images():
            if number == self._stop:
                return
            yield Frame(self._turn.upright(image), self._footage.time(number))
            number += 1
        if number < self._stop:
            why = f"reading stopped at frame {number} of {self._stop}, which could be decoded before"
            raise VideoReadError(str(self._movie.path), why, "Check the disk that it is on, and run the command again.")

    def _images(self) -> Iterator[Pixels]:
        """OpenCV's frames as long as their times are the file's; PyAV's from there on."""
        number = self._first
        if self._reading.through_opencv:
            for image in self._captured():
                yield image
                number += 1
            if number >= self._stop:
                return
            log.info("OpenCV lost its place at frame %d: PyAV goes on", number)
        reader = PyavReader(self._footage, self._reading, deinterlace=self._deinterlace)
        yield from reader.images(self._movie, number)

    def _captured(self) -> Iterator[Pixels]:
        import cv2

        footage = self._footage
        capture = open_capture(self._movie.path)
        tolerance = max(float(footage.time_base) * 1000, 1.0)  # milliseconds: one tick
        try:
            beginning = None
            for number in range(self._stop):
                if not capture.grab():
                    return
                position = capture.get(cv2.CAP_PROP_POS_MSEC)
                beginning = position if beginning is None else beginning
                expected = float(footage.time(number) - footage.time(0)) * 1000
                if abs(position - beginning - expected) > tolerance:
                    return
                if number < self._first:
                    continue
                decoded, image = capture.retrieve()
                if not decoded or image.shape[:2] != (footage.height, footage.width):
                    return
                yield image[:, :, ::-1]
        finally:
            capture.release()
