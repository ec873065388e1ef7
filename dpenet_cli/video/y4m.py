"""YUV4MPEG2, the raw video that programs send each other through pipes: its header, its frames in, its frames out.

A stream is one line that describes it, then each frame as the line ``FRAME`` and the bytes of its planes. PyAV's own
reader is not used: where a stream is cut off within a frame it ends as if all were well, and of fields it says nothing.
What the line says goes on to the result as it stands: rate, shape of the pixels, range, comments.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO

import av
import av.filter
import numpy as np
from numpy.typing import NDArray

from dpenet_cli.arrays import Pixels
from dpenet_cli.errors import VideoReadError, VideoRefused
from dpenet_cli.options import MAX_PIXELS
from dpenet_cli.video.colour import FULL, LIMITED, UNTAGGED_RANGE, ColourTags, pixel_format_of, rgb_to_yuv_filters
from dpenet_cli.video.encoder import with_half_level
from dpenet_cli.video.frames import Frame
from dpenet_cli.video.readers import ACCURATE, AS_OPENCV, deinterlaced, to_rgb

NAME = "standard input"

_pyav: Any = av  # its types leave out what it takes

_MAGIC, _FRAME = b"YUV4MPEG2", b"FRAME"

_LONGEST_LINE = 4096
"""Bytes of a header; FFmpeg writes fewer than 200."""

_USUAL_RATE = Fraction(25)
"""Frames a second where a stream does not say how many."""

_CHROMA = {
    "420": "yuv420p",
    "420jpeg": "yuv420p",
    "420mpeg2": "yuv420p",
    "420paldv": "yuv420p",
    "411": "yuv411p",
    "422": "yuv422p",
    "444": "yuv444p",
    "mono": "gray",
}
"""FFmpeg's names for what the tag C says; 4:2:0 where it says nothing."""

_DEEP = re.compile(r"(?:(420|422|444)p|mono)(9|10|12|14|16)")

_PARITY = {"t": "tff", "b": "bff"}

_STEP = "Look at what the program before the pipe says."


@dataclass(frozen=True)
class Y4mHeader:
    """The line that describes a stream.

    Attributes:
        line: as it came, without its end.
        width: of a frame, in pixels.
        height: of a frame.
        rate: frames a second.
        pixel_format: FFmpeg's name for it.
        full_range: whether levels run from 0.
        fields: ``p``, ``t`` (top field first), ``b`` (bottom field first), ``m`` (mixed) or ``?``.
    """

    line: bytes
    width: int
    height: int
    rate: Fraction
    pixel_format: str
    full_range: bool
    fields: str

    @property
    def deep(self) -> bool:
        """Whether there are more than 8 bits; each value is then two bytes, the low one first."""
        return pixel_format_of(self.pixel_format).bits > 8

    @property
    def as_opencv(self) -> bool:
        """Whether a file with such frames is read through OpenCV, whose conversion differs a little."""
        pixels = pixel_format_of(self.pixel_format)
        return pixels.bits <= 8 and pixels.chroma == "420"

    @property
    def progressive_line(self) -> bytes:
        """The line of the same stream once its fields have become frames."""
        return b" ".join(b"Ip" if word[:1] == b"I" else word for word in self.line.split(b" "))


def parse_header(line: bytes) -> Y4mHeader:
    """Read the line that describes a stream.

    Raises:
        VideoReadError: it is none, or says what cannot be.
        VideoRefused: the pixels are of a kind that cannot be cleaned.
    """
    magic, *words = line.split(b" ")
    if magic != _MAGIC:
        why = "it is no YUV4MPEG2 stream"
        raise VideoReadError(NAME, why, "Send one: ffmpeg -i in.mp4 -f yuv4mpegpipe - | dpenet video - -o - | ...")
    texts = [word.decode("ascii", "replace") for word in words if word]
    tags = {text[0]: text[1:] for text in texts if text[0] != "X"}
    pixel_format = _pixel_format(tags.get("C", "420"))
    width, height = (int(tags.get(name, "")) if tags.get(name, "").isdecimal() else 0 for name in "WH")
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise VideoReadError(NAME, f"its frames are {tags.get('W')}×{tags.get('H')} pixels large, it says", _STEP)
    fields = tags.get("I", "?")
    if fields not in {"p", "t", "b", "m", "?"}:
        raise VideoReadError(NAME, f"it says I{fields} of its fields, which means nothing", _STEP)
    full = "XCOLORRANGE=FULL" in texts
    return Y4mHeader(line, width, height, _rate(tags.get("F", "")), pixel_format, full, fields)


def _pixel_format(tag: str) -> str:
    if tag in _CHROMA:
        return _CHROMA[tag]
    if deep := _DEEP.fullmatch(tag):
        chroma, bits = deep.groups()
        return f"yuv{chroma}p{bits}le" if chroma else f"gray{bits}le"
    if tag == "444alpha":
        raise VideoRefused(NAME, "it has transparency, which is not cleaned", "Send it with -pix_fmt yuv444p.")
    raise VideoRefused(NAME, f"its pixels (C{tag}) are of an unknown kind", "Send it with -pix_fmt yuv420p, say.")


def _rate(tag: str) -> Fraction:
    match = re.fullmatch(r"(\d{1,9}):(\d{1,9})", tag)
    if not match or not int(match[1]) or not int(match[2]):
        return _USUAL_RATE  # F0:0 says that it is not known
    return Fraction(int(match[1]), int(match[2]))


class Y4mReader:
    """A stream's frames as PyAV has them.

    Args:
        file: where it comes from; it is read from front to back, a frame at a time.

    Attributes:
        header: what describes it.
        broken: why reading ended before the stream did, once it has.
        read: frames that came.

    Raises:
        VideoReadError: it is no such stream.
        VideoRefused: its pixels are of a kind that cannot be cleaned.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.broken: VideoReadError | None = None
        self.read = 0
        line = self._line()
        if not line:
            raise VideoReadError(NAME, "nothing came", _STEP)
        self.header = parse_header(line.rstrip(b"\n"))

    def __iter__(self) -> Iterator[Any]:
        """Every frame that came whole; what is wrong with the next is told by `broken`."""
        header = self.header
        try:
            while line := self._line():
                if line.split(b" ")[0].rstrip(b"\n") != _FRAME or not line.endswith(b"\n"):
                    why = f"frame {self.read} does not begin with FRAME: it is damaged, or was cut off"
                    raise VideoReadError(NAME, why, f"What came before it was written. {_STEP}")  # noqa: TRY301
                frame = av.VideoFrame(header.width, header.height, header.pixel_format)
                for plane, rows in zip(frame.planes, _rows_of(frame), strict=True):
                    self._fill(rows, plane.height)
                frame.pts = self.read
                self.read += 1
                yield frame
        except VideoReadError as error:
            self.broken = error

    def images(self, *, deinterlace: bool = False) -> Iterator[tuple[Any, Pixels]]:
        """Every frame as PyAV has it and as H×W×3 RGB, uint8 or uint16."""
        header = self.header
        frames: Iterator[Any] = iter(self)
        if deinterlace and header.fields in _PARITY:
            frames = deinterlaced(frames, _PARITY[header.fields])
        flags = AS_OPENCV if header.as_opencv else ACCURATE
        target = "rgb48le" if header.deep else "rgb24"
        for frame in frames:
            yield frame, to_rgb(frame, _COEFFICIENTS, target, full_range=header.full_range, flags=flags)

    def _fill(self, rows: NDArray[np.uint8], height: int) -> None:
        """Fill the rows of a plane."""
        data = self._file.read(rows.size)
        if len(data) < rows.size:
            why = f"it was cut off within frame {self.read}"
            raise VideoReadError(NAME, why, f"The frames before it were written. {_STEP}")
        rows[:] = np.frombuffer(data, np.uint8).reshape(height, -1)

    def _line(self) -> bytes:
        return self._file.readline(_LONGEST_LINE)


_COEFFICIENTS = ColourTags().coefficients
"""No stream says by which matrix its colours are coded: the same one there and back, as for files that don't."""


class Y4mWriter:
    """A `FrameSink` that writes a stream like the one that came.

    Args:
        file: where it goes.
        header: of the stream that came.
        progressive: its fields have become frames.
    """

    def __init__(self, file: BinaryIO, header: Y4mHeader, *, progressive: bool = False) -> None:
        self._file = file
        self._header = header
        self._line = header.progressive_line if progressive else header.line
        self._graph: Any = None
        self.written = 0

    def write(self, frame: Frame) -> None:
        """Write one frame, H×W×3 RGB, after the header if it is the first.

        Raises:
            OSError: as the system reports it.
        """
        if self._graph is None:
            self._graph = self._converter()
            self._file.write(self._line + b"\n")
        image = with_half_level(frame.image) if self._header.as_opencv else frame.image
        rgb = _pyav.VideoFrame.from_ndarray(np.ascontiguousarray(image), format=self._rgb)
        rgb.pts = self.written
        self._graph.push(rgb)
        rows = _rows_of(self._graph.pull())
        self._file.write(_FRAME + b"\n" + b"".join(each.tobytes() for each in rows))
        self._file.flush()  # the next program waits for it
        self.written += 1

    def finish(self) -> None:
        """Nothing is left to write."""

    @property
    def _rgb(self) -> str:
        return "rgb48le" if self._header.deep or self._header.as_opencv else "rgb24"

    def _converter(self) -> Any:
        """The filters through which ffmpeg would encode a file with such frames."""
        header = self._header
        tag = FULL if header.full_range else LIMITED if b"XCOLORRANGE=LIMITED" in header.line else UNTAGGED_RANGE
        filters = rgb_to_yuv_filters(
            ColourTags(), _COEFFICIENTS, header.pixel_format, full_range=header.full_range, tag_range=tag
        )
        graph = _pyav.filter.Graph()
        last = graph.add_buffer(width=header.width, height=header.height, format=self._rgb, time_base=1 / header.rate)
        for text in filters.split(","):
            name, _, arguments = text.partition("=")
            following = graph.add(name, arguments)
            last.link_to(following)
            last = following
        last.link_to(graph.add("buffersink"))
        graph.configure()
        return graph


def _rows_of(frame: Any) -> list[NDArray[np.uint8]]:
    """The bytes of each plane, rows × bytes of a row, without what pads them; they are the frame's own."""
    size = 1 + (pixel_format_of(frame.format.name).bits > 8)
    return [
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width * size]
        for plane in frame.planes
    ]
