"""One video stream: everything that is decided about it before the work starts, and what is refused."""

import dataclasses
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path

from dpenet_cli.errors import OptionError, VideoRefused
from dpenet_cli.options import VideoCodec, VideoEncoder, VideoOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.video.encoder import Encoding, cannot_encode
from dpenet_cli.video.muxers import codec_for, keeps_matrix, muxer
from dpenet_cli.video.orientation import Orientation, orientation
from dpenet_cli.video.probe import MediaInfo, VideoStream
from dpenet_cli.video.readers import Reading, choose
from dpenet_cli.video.scan import Matrix
from dpenet_cli.video.segments import segment_frames
from dpenet_cli.video.yuv import PixelFormat, output_format, pixel_format_of, to_yuv

_BESIDE = {
    "A53_CC": "closed captions",
    "DYNAMIC_HDR_PLUS": "HDR10+ metadata",
    "DOVI_RPU_BUFFER": "Dolby Vision metadata",
    "DOVI_METADATA": "Dolby Vision metadata",
    "DYNAMIC_HDR_VIVID": "HDR Vivid metadata",
    "SPHERICAL": "marks of a 360° video",
    "STEREO3D": "marks of a 3D video",
}
"""What frames may carry that no encoder here is told, by PyAV's names for it."""


@dataclass(frozen=True)
class StreamPlan:
    """What is to be done with one video stream.

    Attributes:
        footage: the stream.
        reading: how its frames are read.
        turn: from coded to upright.
        coded: how frames are turned back before they are encoded.
        matrix: the display matrix that the result gets, or None.
        encoding: how they are encoded.
        first, stop: the frames that are wanted.
        length: frames in a segment.
    """

    footage: VideoStream
    reading: Reading
    turn: Orientation
    coded: Orientation
    matrix: Matrix | None
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
    job: Job, movie: MediaInfo, footage: VideoStream, options: VideoOptions
) -> tuple[StreamPlan, tuple[str, ...]]:
    """Decide everything about one stream.

    Returns:
        The plan, and what its user should know.

    Raises:
        VideoRefused: it could not be cleaned as asked without losing something, or not be encoded here.
        OptionError: no frame is wanted.
    """
    _refuse(movie, footage, options)
    turn = orientation(footage.matrix)
    notices = [] if turn else [f"stream {footage.index} is turned by an odd angle: it is cleaned as it was filmed"]
    turn = turn or Orientation()
    stays = footage.matrix is None or (keeps_matrix(job.target) and options.preview is None)
    reading = choose(movie, footage, deinterlace=options.deinterlace)
    encoding = _encoding(job.target, footage, reading, options, sideways=turn.sideways and not stays)
    if not footage.steady:
        size = f"{footage.width}×{footage.height}"
        notices.append(
            f"its size or pixel format changes on the way: all of it becomes {size}, {encoding.pixel_format}"
        )
    notices += _changes(pixel_format_of(footage.pixel_format), encoding)
    notices += _not_carried(job.target, footage, encoding)
    encoding, more = _with_encoder(job.target, encoding, options)
    first, stop = _frames_wanted(movie, footage, options)
    strand = StreamPlan(
        footage=footage,
        reading=reading,
        turn=turn,
        coded=turn if stays else Orientation(),
        matrix=footage.matrix if stays else None,
        encoding=encoding,
        first=first,
        stop=stop,
        length=segment_frames(footage.rate, options.checkpoint),
    )
    return strand, (*notices, *more)


def _refuse(movie: MediaInfo, footage: VideoStream, options: VideoOptions) -> None:
    """What cannot be cleaned without losing something of it."""
    what = str(movie.path)
    if footage.colour.is_hdr and not options.hdr:
        step = "Give --hdr to clean it as it is coded and keep it HDR, or convert it to standard dynamic range first."
        raise VideoRefused(what, "it is HDR (PQ or HLG), which the network was never shown", step)
    if not footage.colour.is_plain:
        why = f"its colours are coded by a matrix (tag {footage.colour.matrix}) that is not known here"
        raise VideoRefused(what, why, "Convert it to BT.709 first.")
    if pixel_format_of(footage.pixel_format).alpha:
        raise VideoRefused(what, "it has transparency, which the result could not hold", "Remove it first.")
    if footage.interlaced and not options.deinterlace:
        step = "Give --deinterlace to make whole frames of the fields."
        raise VideoRefused(what, "it is interlaced: each picture is two, woven together", step)


def _encoding(
    target: Path, footage: VideoStream, reading: Reading, options: VideoOptions, *, sideways: bool
) -> Encoding:
    pixels = pixel_format_of(footage.pixel_format)
    codec = codec_for(target, options.codec, pixels.bits)
    width, height, aspect = footage.width, footage.height, footage.sample_aspect
    if sideways:
        width, height, aspect = height, width, 1 / aspect if aspect else aspect
    if options.preview is not None:
        width *= 2  # before and after
    form = output_format(pixels, codec, width, height)
    # ffv1 takes every level but no tag for full range: the muxer writes it.
    tag_range = 1 if codec is VideoCodec.FFV1 else reading.colour.range or (2 if reading.full else 0)
    filters = to_yuv(reading.colour, reading.coefficients, form, full=reading.full, tag_range=tag_range)
    return Encoding(
        codec=codec,
        hardware=False,
        crf=options.crf,
        preset=options.preset,
        width=width,
        height=height,
        rate=footage.rate,
        deep=reading.deep,
        half_level=reading.through_opencv,
        pixel_format=form,
        filters=filters,
        aspect=aspect,
        limited=reading.colour.range == 1,
        mastering=footage.mastering,
    )


def _changes(pixels: PixelFormat, encoding: Encoding) -> list[str]:
    """What the result cannot hold just as it was."""
    codec, form = encoding.codec, encoding.pixel_format
    held = pixel_format_of(form)
    notices = []
    if encoding.width % 2 or encoding.height % 2:
        notices.append(f"an odd size ({encoding.width}×{encoding.height}) is kept by {codec} in {form}")
    if pixels.chroma == "rgb":
        notices.append(f"RGB pixels ({pixels.name}) become {form}, BT.709")
    if held.bits < pixels.bits:
        notices.append(f"{pixels.bits} bits become {held.bits}: {codec} holds no more")
    if pixels.chroma in {"422", "444"} and held.chroma == "420":
        notices.append(f"chroma {pixels.chroma} becomes 420: {codec} holds no more")
    return notices


def _not_carried(target: Path, footage: VideoStream, encoding: Encoding) -> list[str]:
    """What the source's frames carry beside their pixels, and the result's do not."""
    lost = dict.fromkeys(what for kind, what in _BESIDE.items() if kind in footage.beside)
    notices = [f"{what} inside the picture's stream are not carried; keep the original" for what in lost]
    if encoding.mastering and not encoding.mastering.parameters(encoding.codec):
        notices.append(f"{encoding.codec} holds no mastering display and light levels: they are not carried")
    in_codec = encoding.codec in {VideoCodec.H264, VideoCodec.HEVC}
    if encoding.aspect not in {0, 1} and muxer(target) in {"matroska", "webm"} and not in_codec:
        shape = f"pixels of {encoding.aspect.numerator}:{encoding.aspect.denominator}"
        notices.append(
            f"{encoding.codec} in {target.suffix} shows {shape} as squares: use --codec h264, or an .mp4 file"
        )
    return notices


def _with_encoder(target: Path, encoding: Encoding, options: VideoOptions) -> tuple[Encoding, tuple[str, ...]]:
    """The wanted encoder if it encodes a frame here, else the other one; ``software`` has no other.

    Raises:
        VideoRefused: no encoder works.
    """
    card = dataclasses.replace(encoding, hardware=True)
    first, *others = {
        VideoEncoder.SOFTWARE: [encoding],
        VideoEncoder.AUTO: [encoding, card],
        VideoEncoder.NVENC: [card, encoding],
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


def _frames_wanted(movie: MediaInfo, footage: VideoStream, options: VideoOptions) -> tuple[int, int]:
    unit = footage.time_base
    first = 0 if options.start is None else bisect_left(footage.ticks, options.start / unit)
    stop = len(footage.ticks) if options.end is None else bisect_left(footage.ticks, options.end / unit)
    if first >= stop:
        why = f"no frame of stream {footage.index} lies between --start and --end"
        raise OptionError(str(movie.path), why, f"It lasts until {float(footage.time(-1)):.2f} s.")
    return first, stop
