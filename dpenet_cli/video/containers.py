"""Containers: which are read, which are written, and what each can hold. Facts alone; no codec is loaded for them."""

from fractions import Fraction
from pathlib import Path

from dpenet_cli.errors import VideoRefused
from dpenet_cli.options import VideoCodec

_READ = {
    ("mov", "mp4", "m4a", "3gp", "3g2", "mj2"): (".mp4", ".m4v", ".mov", ".3gp", ".3g2"),
    ("matroska", "webm"): (".mkv", ".webm"),
    ("avi",): (".avi",),
    ("mpegts",): (".ts", ".mts", ".m2ts"),
    ("mpeg",): (".mpg", ".mpeg", ".vob"),
    ("asf",): (".wmv", ".asf"),
    ("flv", "live_flv"): (".flv",),
    ("ogg",): (".ogv",),
    ("mxf",): (".mxf",),
    ("ivf",): (".ivf",),
    ("dv",): (".dv",),
    ("nut",): (".nut",),
    ("dhav",): (".dav",),
    ("h264",): (".h264", ".264"),
    ("hevc",): (".hevc", ".h265", ".265"),
    ("mjpeg",): (".mjpeg",),
}
"""Containers that hold their streams themselves, and streams that stand alone: libavformat's names for their demuxers,
and how their files end."""

RAW_STREAMS = frozenset({"h264", "hevc", "mjpeg"})
"""Of these, streams that stand alone: no packet has a time."""

DEMUXERS = tuple(name for names in _READ for name in names)
"""The demuxers that are let in, by libavformat's names."""

RAW_SUFFIXES = {suffix: names[0] for names, suffixes in _READ.items() if names[0] in RAW_STREAMS for suffix in suffixes}
"""The demuxer of such a stream, by how its file ends: the content does not always tell."""

VIDEO_SUFFIXES = frozenset(suffix for suffixes in _READ.values() for suffix in suffixes)
"""What files in a folder are taken for videos."""

MUXERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""What results are written as: libavformat's name of the muxer, by the suffix of the file."""

FALLBACK_SUFFIX = ".mkv"
"""Of the results of videos that are read and not written: Matroska holds whatever they held."""

CLOCKS = {"matroska": Fraction(1, 1000), "webm": Fraction(1, 1000)}
"""Seconds a tick of muxers that count in their own ticks; the others count in those of the source."""

_CODECS = {
    "mp4": {VideoCodec.H264, VideoCodec.HEVC, VideoCodec.AV1},
    "mov": {VideoCodec.H264, VideoCodec.HEVC, VideoCodec.AV1},
    "matroska": set(VideoCodec),
    "webm": {VideoCodec.AV1},
}


def muxer(target: Path) -> str:
    """Libavformat's name for the container that a file name asks for.

    Raises:
        VideoRefused: videos are not written in it.
    """
    try:
        return MUXERS[target.suffix.lower()]
    except KeyError:
        why = f"videos are not written as {target.suffix or 'files without an ending'}"
        raise VideoRefused(str(target), why, f"Name one of {', '.join(MUXERS)} with -o.") from None


def is_mp4(target: Path) -> bool:
    """Whether a file name asks for MP4 or MOV, which are built alike.

    Raises:
        VideoRefused: videos are not written in it.
    """
    return muxer(target) in {"mp4", "mov"}


def codec_for(target: Path, wanted: VideoCodec | None, bits: int) -> VideoCodec:
    """The codec of a result.

    Args:
        target: the output, whose container has its say.
        wanted: what was asked for, or None.
        bits: depth of the source.

    Raises:
        VideoRefused: the container cannot hold what was asked for.
    """
    held = _CODECS[muxer(target)]
    if wanted is None:
        fitting = VideoCodec.HEVC if bits > 8 else VideoCodec.H264
        return fitting if fitting in held else VideoCodec.AV1
    if wanted not in held:
        why = f"{target.suffix} files do not hold {wanted}"
        raise VideoRefused(str(target), why, f"Name the output with -o, such as -o {target.stem}.mkv.")
    return wanted
