"""Opening a video from a stranger: the named local file, and nothing that it points to.

A file chooses its own demuxer by its content. Some of them (concat, hls, dash, image2, sdp) are scripts that name other
files or addresses, so only demuxers of containers that carry their streams in themselves are let in, for both readers.
"""

import contextlib
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
from av.container import InputContainer

from dpenet_cli.errors import VideoReadError
from dpenet_cli.video.containers import DEMUXERS, RAW_SUFFIXES

_READ = "MP4, MOV, MKV, WebM, AVI, TS, MPG, WMV, FLV, OGG, MXF, NUT, DAV, and raw H.264, HEVC and motion JPEG are read"

_environment_lock = threading.Lock()


def open_input(path: Path, assumed_rate: int | None = None) -> InputContainer:
    """Open a local file with PyAV.

    Args:
        path: the file.
        assumed_rate: frames a second of a raw stream that does not say it; None for libavformat's 25.

    Raises:
        VideoReadError: it cannot be opened, or its content is not one of the containers that are let in.
    """
    try:
        if path.stat().st_size == 0:
            raise VideoReadError(str(path), "the file is empty", "Copy it again from where it came.")
        options = _options() if assumed_rate is None else _options() | {"framerate": str(assumed_rate)}
        try:
            return av.open(file_url(path), options=options, metadata_errors="replace")
        except av.InvalidDataError:
            raw = RAW_SUFFIXES.get(path.suffix.lower())
            if raw is None:
                raise
            return av.open(file_url(path), format=raw, options=options, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        why = f"it cannot be opened as a video ({reason(error)})"
        raise VideoReadError(
            str(path), why, f"Check that it is a whole video file; {_READ}.{_way_out(path)}"
        ) from error


def _way_out(path: Path) -> str:
    """What makes a video of a file that no demuxer here takes: ffmpeg has others."""
    if not path.is_file():
        return ""
    name = f"{path.stem}-converted.mkv" if path.suffix.lower() == ".mkv" else f"{path.stem}.mkv"
    command = shell_line(["ffmpeg", "-i", str(path), "-c", "copy", str(path.with_name(name))])
    return f" What ffmpeg reads it may put into one of these: {command}"


def shell_line(words: list[str]) -> str:
    """A command as a person types it into this system's shell."""
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Let what the system says while a source is read by its bytes name that source.

    Raises:
        VideoReadError: it cannot be reached or read.
    """
    try:
        yield
    except OSError as error:
        step = "Check that it is there, its permissions, and the disk that it is on."
        raise VideoReadError(str(path), f"it cannot be read ({reason(error)})", step) from error


def open_capture(path: Path) -> Any:
    """Open a local file with OpenCV's capture, under the same rules, its own rotation switched off.

    Args:
        path: a file that `has_utf8_name`.

    Returns:
        A ``cv2.VideoCapture``; whether it is open must be asked.
    """
    with _environment_lock:  # OpenCV takes these from the environment alone
        name = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
        before = os.environ.get(name)
        os.environ[name] = "|".join(f"{key};{value}" for key, value in _options().items())
        try:
            capture = cv2.VideoCapture(os.fsencode(file_url(path)).decode("utf-8"), cv2.CAP_FFMPEG)
        finally:
            if before is None:
                del os.environ[name]
            else:
                os.environ[name] = before
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    return capture


def has_utf8_name(path: Path) -> bool:
    """Whether the bytes of a path are UTF-8. OpenCV 5.0 ends the whole process where they are not."""
    try:
        os.fsencode(file_url(path)).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def file_url(path: Path) -> str:
    """A path as an address of libavformat's ``file:`` protocol, whatever it looks like."""
    return f"file:{path.absolute()}"


def reason(error: Exception) -> str:
    """What libav says, without the address."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _options() -> dict[str, str]:
    return {"format_whitelist": ",".join(DEMUXERS), "protocol_whitelist": "file"}
