"""One video stream: everything that is decided about it before the work starts, and what is refused."""

import dataclasses
import itertools
import math
from bisect import bisect_left
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from dpenet_cli.errors import OptionError, VideoRefused
from dpenet_cli.options import VideoCodec, VideoEncoder, VideoOptions
from dpenet_cli.video.colour import (
    FULL,
    LIMITED,
    UNTAGGED_RANGE,
    PixelFormat,
    output_pixel_format,
    pixel_format_of,
    rgb_to_yuv_filters,
)
from dpenet_cli.video.containers import CLOCKS, codec_for, is_mp4, muxer
from dpenet_cli.video.encoder import Encoding, cannot_encode
from dpenet_cli.video.orientation import Orientation, orientation_of
from dpenet_cli.video.probe import MediaInfo, VideoStream
from dpenet_cli.video.readers import ReadPlan, plan_reading
from dpenet_cli.video.scanned import DisplayMatrix
from dpenet_cli.video.segments import segment_frames
from dpenet_cli.video.side_data import not_carried
from dpenet_cli.video.stream_copy import fitting_container


@dataclass(frozen=True)
class StreamPlan:
    """What is to be done with one video stream.

    Attributes:
        stream: which it is.
        reading: how its frames are read.
        orientation: turns its coded picture upright.
        output_orientation: of the coded picture of the result; frames are turned back to it before they are encoded.
        display_matrix: what the result tells its player about that, or None.
        encoding: how frames are encoded.
        first, stop: numbers of the frames that are wanted.
        length: frames in a segment.
    """

    stream: VideoStream
    reading: ReadPlan
    orientation: Orientation
    output_orientation: Orientation
    display_matrix: DisplayMatrix | None
    encoding: Encoding
    first: int
    stop: int
    length: int

    @property
    def frames(self) -> int:
        """How many frames are wanted."""
        return self.stop - self.first

    @property
    def segments(self) -> int:
        """How many segments they make."""
        return -(-self.frames // self.length)


def plan_stream(
    target: Path, media: MediaInfo, stream: VideoStream, options: VideoOptions
) -> tuple[StreamPlan, tuple[str, ...]]:
    """Decide everything about one stream.

    Returns:
        The plan, and what its user should know.

    Raises:
        VideoRefused: it could not be cleaned as asked without losing something, or not be encoded here.
        OptionError: no frame is wanted.
    """
    refuse_lossy(media, stream, options)
    notices = []
    orientation = orientation_of(stream.display_matrix)
    if orientation is None:
        notices.append(f"stream {stream.index} is turned by an odd angle: it is cleaned as it was filmed")
        orientation = Orientation()
    # The network sees it upright. Players respect a display matrix in MP4 and MOV, where the result is coded as the
    # source was; elsewhere, and where two pictures stand side by side, the picture itself stays upright.
    keep_matrix = stream.display_matrix is None or (is_mp4(target) and options.preview is None)
    reading = plan_reading(media, stream, deinterlace=options.deinterlace)
    sideways = orientation.sideways and not keep_matrix
    encoding = _encoding(target, stream, reading, options, sideways=sideways)
    if not stream.constant_format:
        size = f"{stream.width}×{stream.height}"
        notices.append(
            f"its size or pixel format changes on the way: all of it becomes {size}, {encoding.pixel_format}"
        )
    notices += _format_notices(pixel_format_of(stream.pixel_format), encoding)
    notices += _metadata_notices(target, stream, encoding)
    first, stop = _frames_wanted(media, stream, options)
    _refuse_equal_times(target, media, stream, range(first, stop), options)
    encoding, encoder_notices = _with_working_encoder(target, encoding, options)
    plan = StreamPlan(
        stream=stream,
        reading=reading,
        orientation=orientation,
        output_orientation=orientation if keep_matrix else Orientation(),
        display_matrix=stream.display_matrix if keep_matrix else None,
        encoding=encoding,
        first=first,
        stop=stop,
        length=segment_frames(stream.rate, options.checkpoint),
    )
    return plan, (*notices, *encoder_notices)


def refuse_lossy(media: MediaInfo, stream: VideoStream, options: VideoOptions) -> None:
    """Refuse what cannot be cleaned without losing something of it.

    Raises:
        VideoRefused: it cannot be.
    """
    what = str(media.path)
    if stream.colour.is_hdr and not options.hdr:
        step = "Give --hdr to clean it as it is coded and keep it HDR, or convert it to standard dynamic range first."
        raise VideoRefused(what, "it is HDR (PQ or HLG), which the network was never shown", step)
    if not stream.colour.has_known_matrix:
        why = f"its colours are coded by a matrix (tag {stream.colour.matrix}) that is not known here"
        raise VideoRefused(what, why, "Convert it to BT.709 first.")
    if pixel_format_of(stream.pixel_format).has_alpha or stream.has_alpha_layer:
        raise VideoRefused(what, "it has transparency, which the result could not hold", "Remove it first.")
    if stream.interlaced and not options.deinterlace:
        step = "Give --deinterlace to make whole frames of the fields."
        raise VideoRefused(what, "it is interlaced: each picture is two, woven together", step)


def _encoding(
    target: Path, stream: VideoStream, reading: ReadPlan, options: VideoOptions, *, sideways: bool
) -> Encoding:
    pixels = pixel_format_of(stream.pixel_format)
    codec = codec_for(target, options.codec, pixels.bits)
    width, height, aspect = stream.width, stream.height, stream.sample_aspect
    if sideways:
        width, height, aspect = height, width, 1 / aspect if aspect else aspect
    if options.preview is not None:
        width *= 2  # before and after
    pixel_format = output_pixel_format(pixels, codec, width, height)
    full_range = reading.full_range
    if codec is VideoCodec.FFV1:
        tag_range = LIMITED  # ffv1 takes every level but no tag for full range: the muxer writes it
    else:
        tag_range = reading.colour.range or (FULL if full_range else UNTAGGED_RANGE)
    filters = rgb_to_yuv_filters(
        reading.colour, reading.coefficients, pixel_format, full_range=full_range, tag_range=tag_range
    )
    return Encoding(
        codec=codec,
        hardware=False,
        crf=options.crf,
        preset=options.preset,
        width=width,
        height=height,
        rate=stream.rate,
        deep=reading.deep,
        half_level=reading.through_opencv or reading.as_opencv,
        pixel_format=pixel_format,
        filters=filters,
        sample_aspect=aspect,
        tag_limited=reading.colour.range == LIMITED,
        hdr_metadata=stream.hdr_metadata,
    )


def _format_notices(pixels: PixelFormat, encoding: Encoding) -> list[str]:
    """What the result cannot hold just as it was."""
    codec, held = encoding.codec, pixel_format_of(encoding.pixel_format)
    notices = []
    if encoding.width % 2 or encoding.height % 2:
        notices.append(f"an odd size ({encoding.width}×{encoding.height}) is kept by {codec} in {held.name}")
    if pixels.chroma == "rgb":
        notices.append(f"RGB pixels ({pixels.name}) become {held.name}, BT.709")
    if held.bits < pixels.bits:
        notices.append(f"{pixels.bits} bits become {held.bits}: {codec} holds no more")
    if pixels.chroma in {"422", "444"} and held.chroma == "420":
        notices.append(f"chroma {pixels.chroma} becomes 420: {codec} holds no more")
    return notices


def _metadata_notices(target: Path, stream: VideoStream, encoding: Encoding) -> list[str]:
    """What the source's frames carry beside their pixels, and the result's do not."""
    notices = not_carried(stream.side_data)
    if encoding.hdr_metadata and not encoding.hdr_metadata.encoder_parameters(encoding.codec):
        notices.append(f"{encoding.codec} holds no mastering display and light levels: they are not carried")
    aspect, in_codec = encoding.sample_aspect, encoding.codec in {VideoCodec.H264, VideoCodec.HEVC}
    if aspect not in {0, 1} and muxer(target) in {"matroska", "webm"} and not in_codec:
        shape = f"pixels of {aspect.numerator}:{aspect.denominator}"
        notices.append(
            f"{encoding.codec} in {target.suffix} shows {shape} as squares: use --codec h264, or an .mp4 file"
        )
    return notices


def _with_working_encoder(target: Path, encoding: Encoding, options: VideoOptions) -> tuple[Encoding, tuple[str, ...]]:
    """The wanted encoder if it encodes a frame here, else the other one; ``software`` has no other.

    Raises:
        VideoRefused: no encoder works.
    """
    nvenc = dataclasses.replace(encoding, hardware=True)
    first, *others = {
        VideoEncoder.SOFTWARE: [encoding],
        VideoEncoder.AUTO: [encoding, nvenc],
        VideoEncoder.NVENC: [nvenc, encoding],
    }[options.encoder]
    failure = cannot_encode(first)
    if failure is None:
        return first, ()
    for other in others:
        if cannot_encode(other) is None:
            return other, (f"{first.encoder} does not work here ({failure}): {other.encoder} encodes",)
    failure = cannot_encode(encoding)
    step = "Give another --codec or --preset, or set IMAGEIO_FFMPEG_EXE to an ffmpeg that can."
    raise VideoRefused(str(target), f"ffmpeg cannot encode it with {encoding.encoder} ({failure})", step)


def _frames_wanted(media: MediaInfo, stream: VideoStream, options: VideoOptions) -> tuple[int, int]:
    """The first frame at or behind the start, and the first at or behind the end, which is not wanted any more."""
    unit = stream.time_base
    first = 0 if options.start is None else bisect_left(stream.ticks, options.start / unit)
    stop = len(stream.ticks) if options.end is None else bisect_left(stream.ticks, options.end / unit)
    if first >= stop:
        why = f"no frame of stream {stream.index} lies between --start and --end"
        begin, end = float(stream.time(0)), float(stream.time(-1))
        raise OptionError(str(media.path), why, f"It lasts from {begin:.2f} s until {end:.2f} s.")
    return first, stop


def _refuse_equal_times(
    target: Path, media: MediaInfo, stream: VideoStream, wanted: range, options: VideoOptions
) -> None:
    """Refuse a container whose clock is so slow that it would give two frames one time.

    Raises:
        VideoRefused: this one would.
    """
    clock = CLOCKS.get(muxer(target))
    if clock is None or stream.time_base >= clock:
        return
    ticks_each = clock / stream.time_base
    moved = round((options.start or 0) / stream.time_base)
    # As libavformat rounds: to the nearest tick of the container, halves up.
    times = (math.floor((stream.ticks[frame] - moved) / ticks_each + Fraction(1, 2)) for frame in wanted)
    for frame, (before, after) in zip(wanted, itertools.pairwise(times), strict=False):
        if before == after:
            other = fitting_container(media, (".mp4", ".mov")) or ".mp4"
            why = (
                f"a {target.suffix} file counts in milliseconds, and would give two frames one time, "
                f"at {float(stream.time(frame)):.4f} s"
            )
            raise VideoRefused(str(media.path), why, f"Choose another container: -o {target.stem}{other}")
