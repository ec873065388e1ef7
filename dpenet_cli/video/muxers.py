"""Containers that results are written in: which there are, and what each can carry, tried before any work starts."""

import io
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from dpenet_cli.errors import VideoRefused
from dpenet_cli.options import VideoCodec
from dpenet_cli.video.encoder import find_ffmpeg
from dpenet_cli.video.probe import MediaInfo
from dpenet_cli.video.safe_open import open_input

_MUXERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
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
        return _MUXERS[target.suffix.lower()]
    except KeyError:
        why = f"videos are not written as {target.suffix or 'files without an ending'}"
        raise VideoRefused(str(target), why, f"Name one of {', '.join(_MUXERS)} with -o.") from None


def codec_for(target: Path, wanted: VideoCodec | None, bits: int) -> VideoCodec:
    """The codec of a result.

    Args:
        target: the output, whose container has its say.
        wanted: what was asked for, or None.
        bits: of the source.

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


def keeps_matrix(target: Path) -> bool:
    """Whether players respect a display matrix in this container; elsewhere the picture itself is turned."""
    return muxer(target) in {"mp4", "mov"}


def plan_stream_copies(movie: MediaInfo, target: Path) -> tuple[frozenset[int], tuple[str, ...]]:
    """Which streams beside the footage are copied, found by letting the muxer try each.

    Returns:
        Indexes of the streams that ride along, and a notice for each data stream that cannot.

    Raises:
        VideoRefused: sound, subtitles, an attachment or a picture cannot be carried.
    """
    carried, notices, refused = set(), [], []
    with open_input(movie.path) as source:
        chapters = bool(source.chapters())
        for index, kind, codec in movie.others:
            stream = source.streams[index]
            if kind == "data" and ("timecode" in stream.metadata or (codec == "bin_data" and chapters)):
                continue  # written anew by the muxer, from the time code in the metadata and from the chapters
            if _fits(stream, muxer(target)):
                carried.add(index)
            elif kind in {"data", "unknown"}:
                notices.append(f"data stream {index} ({codec}) does not fit into {target.suffix}; keep the original")
            else:
                refused.append(index)
        if refused:
            raise _cannot_carry(movie, refused, source, target)
    return frozenset(carried), tuple(notices)


def _cannot_carry(movie: MediaInfo, refused: list[int], source: Any, target: Path) -> VideoRefused:
    """The error, with a container that works, if there is one."""
    named = {index: f"{kind} stream {index} ({codec})" for index, kind, codec in movie.others}
    why = f"a {target.suffix} file cannot carry its {' and '.join(named[index] for index in refused)}"
    everything = [source.streams[index] for index, kind, _ in movie.others if kind not in {"data", "unknown"}]
    for ending in (".mkv", ".mp4", ".mov"):
        if all(_fits(stream, _MUXERS[ending]) for stream in everything):
            return VideoRefused(str(movie.path), why, f"Choose another container: -o {target.stem}{ending}")
    converted = movie.path.with_name(f"{movie.path.stem}-converted.mkv")
    command = shell_line(_conversion(movie, refused, converted))
    return VideoRefused(
        str(movie.path), why, f"Convert what no container here can carry, and clean the result: {command}"
    )


def shell_line(words: list[str]) -> str:
    """A command as a person types it into this system's shell."""
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def _conversion(movie: MediaInfo, refused: list[int], converted: Path) -> list[str]:
    """Ffmpeg's command that turns sound of these streams into FLAC, leaves out others of them, and copies the rest."""
    sound = [index for index, kind, _ in movie.others if kind == "audio"]
    choices = []
    for index in refused:
        choices += ["-map", f"-0:{index}"] if index not in sound else [f"-c:a:{sound.index(index)}", "flac"]
    return [find_ffmpeg(), "-i", str(movie.path), "-map", "0", "-dn", "-c", "copy", *choices, str(converted)]


def _fits(template: Any, muxer_name: str) -> bool:
    """Whether a header with this stream alone can be written."""
    import av

    output = av.open(io.BytesIO(), "w", format=muxer_name)
    try:
        add_copy(output, template)
        output.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    finally:
        output.close()
    return True


def add_copy(output: Any, template: Any) -> Any:
    """Add a stream that is copied: codec parameters, disposition and metadata."""
    stream = output.add_stream_from_template(template, opaque=True)
    stream.disposition = template.disposition
    stream.metadata.update(template.metadata)
    return stream
