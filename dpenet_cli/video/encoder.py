"""The encoder: ffmpeg as a child process that reads raw RGB from a pipe, watched from start to exit code."""

import contextlib
import math
import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from dpenet_cli.arrays import Pixels
from dpenet_cli.errors import VideoWriteError
from dpenet_cli.options import VideoCodec
from dpenet_cli.video.codecs import CODECS
from dpenet_cli.video.hdr import HdrMetadata
from dpenet_cli.video.safe_open import file_url

_CLOCK = 1000
"""Ticks a second of Matroska, in which finished frames wait: of more frames a second, two would have one time."""

_STDERR_LINES = 20
"""The last lines of ffmpeg's stderr that are kept for its error."""

_STDERR_SECONDS = 2.0
"""Seconds that the thread gets to read the rest of stderr once ffmpeg has ended."""


@dataclass(frozen=True)
class Encoding:
    """Everything that ffmpeg is told, apart from the file.

    Attributes:
        codec: what the result is encoded with.
        hardware: by NVENC instead of the processor.
        crf: quality scale, or None for the codec's default here.
        preset: the encoder's own name for speed against size, or None for its default.
        width, height: of the coded picture, in pixels.
        rate: frames a second, for the encoder's rate control; times are written by the muxer.
        deep: frames come as uint16, else uint8.
        half_level: half a level is added to uint8 frames: OpenCV rounds down, which would darken by one level.
        pixel_format: what is encoded, FFmpeg's name.
        filters: ffmpeg's filters from RGB to that pixel format.
        sample_aspect: width of a pixel over its height; 0 where the stream does not say it.
        tag_limited: the stream is to say that its range is limited.
        hdr_metadata: static HDR metadata that the stream is to carry, or None.
    """

    codec: VideoCodec
    hardware: bool
    crf: int | None
    preset: str | None
    width: int
    height: int
    rate: Fraction
    deep: bool
    half_level: bool
    pixel_format: str
    filters: str
    sample_aspect: Fraction = Fraction(0)
    tag_limited: bool = False
    hdr_metadata: HdrMetadata | None = None

    @property
    def encoder(self) -> str:
        """The encoder's name in ffmpeg."""
        facts = CODECS[self.codec]
        return (facts.nvenc or "nvenc") if self.hardware else facts.software

    @property
    def _rate(self) -> Fraction:
        """Frames a second that the encoder is told."""
        most = CODECS[self.codec].max_rate
        return self.rate if most is None else min(self.rate, Fraction(most))

    def arguments(self, target: Path) -> list[str]:
        """Ffmpeg's arguments, without the program."""
        raw = "rgb48le" if self.deep or self.half_level else "rgb24"
        rate = self._rate.limit_denominator(1_001_000)
        size = f"{self.width}x{self.height}"
        program = ["-hide_banner", "-nostats", "-loglevel", "warning", "-y"]
        source = ["-f", "rawvideo", "-pixel_format", raw, "-video_size", size, "-framerate", str(rate), "-i", "pipe:0"]
        aspect = self.sample_aspect
        shape = f",setsar={aspect.numerator}/{aspect.denominator}:max=65535" if aspect else ""
        filters = ["-vf", self.filters + shape, "-fps_mode", "passthrough"]
        return [*program, *source, *filters, *self._codec_arguments(), "-f", "matroska", file_url(target)]

    def _codec_arguments(self) -> list[str]:
        facts = CODECS[self.codec]
        packets = []  # what the muxer is given, changed on the way from the encoder
        crf = self.crf if self.crf is not None else facts.default_crf
        if self.hardware:
            chosen = ["-c:v", self.encoder, "-rc", "vbr", "-cq", str(crf), "-b:v", "0"]
        elif self.codec is VideoCodec.FFV1:
            chosen = ["-c:v", "ffv1", "-level", "3", "-slicecrc", "1"]
        else:
            chosen = ["-c:v", self.encoder, "-crf", str(crf)]
            # x265 logs by itself, whatever ffmpeg's level is: its banner would stand among the words of an error.
            own = ["log-level=error"] if self.codec is VideoCodec.HEVC else []
            own += self.hdr_metadata.encoder_parameters(self.codec) if self.hdr_metadata else []
            if own and facts.parameters_option:
                chosen += [facts.parameters_option, ":".join(own)]
        if self.tag_limited and self.codec is VideoCodec.H264:  # unsaid by x264 where it is the only tag
            packets.append("h264_metadata=video_full_range_flag=0")
        if self._rate > _CLOCK:  # the file of a segment needs the order of its frames alone, so its clock may run slow
            slower = math.ceil(self._rate / _CLOCK)
            packets.append(f"setts=pts=PTS*{slower}:dts=DTS*{slower}")
        chosen += ["-bsf:v", ",".join(packets)] if packets else []
        return chosen + (["-preset", self.preset] if self.preset else [])

    def raw(self, image: Pixels) -> bytes:
        """One frame, H×W×3, as ffmpeg reads it: rows of RGB, of 8 bits or of 16 little-endian ones."""
        if self.half_level:
            image = with_half_level(image).astype("<u2", copy=False)
        elif self.deep:
            image = image.astype("<u2", copy=False)
        return image.tobytes()


def with_half_level(image: Pixels) -> Pixels:
    """Half a level more, as uint16, of uint8 frames that OpenCV's conversion rounded down."""
    # Times 257 takes 8 bits to 16; half a level is then 128, and must not push white over the peak.
    lifted: Pixels = np.minimum(image.astype(np.uint32) * 257 + 128, 65535).astype(np.uint16)
    return lifted


def find_ffmpeg() -> str:
    """The ffmpeg of imageio-ffmpeg, or the one that IMAGEIO_FFMPEG_EXE names.

    Raises:
        VideoWriteError: there is none.
    """
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        step = "Set IMAGEIO_FFMPEG_EXE to an ffmpeg program, or install imageio-ffmpeg again."
        raise VideoWriteError("ffmpeg", "no ffmpeg program was found", step) from error


def cannot_encode(encoding: Encoding) -> str | None:
    """Why this encoder does not work here, found by encoding one black frame of the real size; None if it does."""
    return _trial_error(find_ffmpeg(), encoding)


@lru_cache(maxsize=64)  # a folder of clips from one camera is one trial
def _trial_error(_ffmpeg: str, encoding: Encoding) -> str | None:
    if encoding.hardware and CODECS[encoding.codec].nvenc is None:
        return f"there is none for {encoding.codec}"
    if encoding.hardware and encoding.hdr_metadata:
        return "it is not told about mastering displays"
    black = np.zeros((encoding.height, encoding.width, 3), np.uint16 if encoding.deep else np.uint8)
    try:
        process = EncoderProcess(encoding, Path(os.devnull))
        process.write(black)
        process.finish()
    except VideoWriteError as error:
        return error.why.split(" / ")[0]  # ffmpeg tells the cause first
    return None


class EncoderProcess:
    """One ffmpeg, from its first frame to its exit code.

    It has a session of its own (on Windows a process group), so that Ctrl-C in the terminal reaches us and not it. If
    we die, its pipe ends, and on Linux the kernel kills it.

    Args:
        encoding: what it is told.
        target: a Matroska file that it writes.

    Raises:
        VideoWriteError: there is no ffmpeg, or it does not start.
    """

    def __init__(self, encoding: Encoding, target: Path) -> None:
        self._encoding = encoding
        self._target = target
        command = [find_ffmpeg(), *encoding.arguments(target)]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own arguments, no shell
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Windows ignores it, and has the next line
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
                preexec_fn=_die_with_parent(),  # noqa: PLW1509 - calls one function of libc, loaded before
            )
        except OSError as error:
            step = "Set IMAGEIO_FFMPEG_EXE to a working ffmpeg."
            raise VideoWriteError(command[0], f"it does not start ({error.strerror})", step) from error
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        self._stderr_thread = threading.Thread(target=self._read_stderr, name="ffmpeg's stderr", daemon=True)
        self._stderr_thread.start()

    def write(self, image: Pixels) -> None:
        """Encode one frame, H×W×3 RGB of the encoding's size and depth."""
        stdin = self._process.stdin
        assert stdin is not None
        assert image.shape == (self._encoding.height, self._encoding.width, 3)
        try:
            stdin.write(self._encoding.raw(image))
        except (BrokenPipeError, OSError) as error:
            self.kill()
            raise self._failure("stopped reading") from error

    def finish(self) -> None:
        """End the input and wait for the file.

        Raises:
            VideoWriteError: the exit code is not 0.
        """
        stdin = self._process.stdin
        assert stdin is not None
        with contextlib.suppress(OSError):  # the exit code tells
            stdin.close()
        code = self._process.wait()
        self._stderr_thread.join(_STDERR_SECONDS)
        if code != 0:
            by = signal.strsignal(-code) if code < 0 else None
            raise self._failure(f"was ended by the system ({by})" if by else f"ended with exit code {code}")

    def kill(self) -> None:
        """End it now; its file is worth nothing."""
        self._process.kill()
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        self._process.wait()
        self._stderr_thread.join(_STDERR_SECONDS)

    def _read_stderr(self) -> None:
        # Read as it comes: a full pipe would stop ffmpeg. Addresses in memory say nothing to anybody.
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            for line in stream:
                self._stderr.append(re.sub(r" @ 0x[0-9a-f]+", "", line.decode(errors="replace").strip()))

    def _failure(self, what: str) -> VideoWriteError:
        words = " / ".join(self._stderr) or "it said nothing"
        step = "Check the free space and the options of the encoding; the same command goes on from here."
        return VideoWriteError(f"ffmpeg ({self._target.name})", f"it {what}: {words}", step)


def _die_with_parent() -> Callable[[], None] | None:
    """What a child runs before ffmpeg on Linux: it asks to be killed when the thread that started it is gone."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    try:
        prctl = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None
    set_death_signal = 1  # PR_SET_PDEATHSIG
    return lambda: prctl(set_death_signal, signal.SIGKILL)
