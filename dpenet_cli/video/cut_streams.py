"""Whether a recording that has no index, and no length in its header, ends in the middle of a picture."""

import contextlib
import errno
import hashlib
import io
import re
from pathlib import Path
from typing import Any, BinaryIO

import av

from dpenet_cli.video.safe_open import open_input, reading

_TAIL = 2**24
"""Bytes of the end of a file in which its last picture begins."""

_CHUNK = b"DHAV"
"""What each chunk of a recorder's .dav file begins with; its length, of four bytes, stands behind 12 bytes."""

_END_OF_JPEG = b"\xff\xd9"

_BEHIND_JPEG = 512
"""Bytes that a camera may write behind its last picture."""

_MAX_BYTES = 2**28
"""Of the packets since the last key frame that are decoded again."""

_ANY_BYTES = (b"\x55" * 64, b"\xaa" * 64, b"\xff" * 64, hashlib.sha512(b"any bytes").digest())
"""What is put behind the last picture to see whether the decoder wants more of it: few may all mean the same to it."""

_MAX_CHUNKS = 1000
"""Chunks of an AVI before its packets."""

_MORE = 2**16
"""Zeros that are put behind a file to see whether its last packet grows."""

_BEGUN = {"h264": re.compile(rb"\0\0\x01\Z"), "hevc": re.compile(rb"\0\0\x01.?\Z", re.DOTALL)}
"""A start code with nothing behind it, or only half of HEVC's header."""


def ends_within_picture(path: Path, container: str) -> bool:
    """Whether a file ends before its last picture does; False for kinds of files that tell it otherwise.

    Args:
        path: the file.
        container: libavformat's name for its kind.

    Raises:
        VideoReadError: it cannot be read.
    """
    if container in {"h264", "hevc"}:
        return _BEGUN[container].search(_tail(path, 4)) is not None or _wants_more(path, container)
    if container == "avi":
        return _ends_within_movie(path)
    if container == "nut":  # whose last packet comes as short as it is, without a mark
        return len({_last_packet(path, container, more) for more in (0, _MORE)}) > 1
    if container not in {"dhav", "mjpeg"}:
        return False
    tail = _tail(path, _TAIL)
    if container == "mjpeg":
        end = tail.rstrip(b"\0\r\n")
        return _END_OF_JPEG not in end[-_BEHIND_JPEG:]
    last = tail.rfind(_CHUNK)
    chunk = tail[last:] if last >= 0 else b""
    return len(chunk) < 16 or int.from_bytes(chunk[12:16], "little") > len(chunk)


def _ends_within_movie(path: Path) -> bool:
    """Whether the list of an AVI's packets says that it goes on behind the end of the file."""
    with reading(path), path.open("rb") as file:
        size, at = file.seek(0, io.SEEK_END), 12
        for _ in range(_MAX_CHUNKS):
            file.seek(at)
            head = file.read(12)
            if len(head) < 12:
                return False
            length = int.from_bytes(head[4:8], "little")
            if head[:4] == b"LIST" and head[8:] == b"movi":
                return at + 8 + length > size
            at += 8 + length + length % 2
    return False


class _Longer(io.RawIOBase):
    """A file with zeros behind it."""

    def __init__(self, file: BinaryIO, more: int) -> None:
        self._file, self._at = file, 0
        self._size = file.seek(0, io.SEEK_END)
        self._whole = self._size + more

    def seekable(self) -> bool:
        """It is."""
        return True

    def readable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As files do; what lies before the beginning is an error, as libavformat tells it."""
        at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._whole}[whence]
        if at < 0:
            return -errno.EINVAL
        self._at = min(at, self._whole)
        return self._at

    def tell(self) -> int:
        """As files do."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """As files do."""
        end = self._whole if size < 0 else min(self._at + size, self._whole)
        self._file.seek(self._at)
        data = self._file.read(max(min(end, self._size) - self._at, 0))
        data += bytes(max(end - self._at - len(data), 0))
        self._at += len(data)
        return data


def _last_packet(path: Path, container: str, more: int) -> tuple[int, int]:
    """Where the last packet that begins in a file lies, and how long it is, with so many zeros behind the file."""
    last = -1, 0
    with reading(path), path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        opening: Any = {"format": container, "metadata_errors": "replace"}
        with contextlib.suppress(av.FFmpegError), av.open(_Longer(file, more), "r", **opening) as opened:
            for packet in opened.demux():
                if packet.size and packet.pos is not None and last[0] < packet.pos < size:
                    last = packet.pos, packet.size
    return last


def _tail(path: Path, size: int) -> bytes:
    """The last bytes of a file."""
    with reading(path), path.open("rb") as file:
        file.seek(max(file.seek(0, 2) - size, 0))
        return file.read()


def _wants_more(path: Path, codec: str) -> bool:
    """Whether what comes out at the end depends on bytes that are not there.

    A picture says itself where it ends; a decoder that does not find its end takes whatever stands behind for more of
    it. So it is decoded twice, with other bytes behind it each time.
    """
    packets: list[bytes] = []
    held = 0
    with open_input(path) as container:
        stream = container.streams.video[0]
        header = stream.codec_context.extradata
        with contextlib.suppress(av.FFmpegError):  # `probe` has told
            for packet in container.demux(stream):
                if packet.is_keyframe:
                    packets, held = [], 0
                held += packet.size
                if packet.size and held <= _MAX_BYTES:
                    packets.append(bytes(packet))
    if not packets or held > _MAX_BYTES:
        return False
    variants = (_decoded(codec, header, [*packets[:-1], packets[-1] + more]) for more in _ANY_BYTES)
    first = next(variants)
    return any(other != first for other in variants)


def _decoded(codec: str, header: bytes | None, packets: list[bytes]) -> list[bytes]:
    """The pictures of some packets, a hash of each; what does not decode is left out."""
    context: Any = av.CodecContext.create(codec, "r")
    if header:
        context.extradata = header
    context.thread_type = "SLICE"
    pictures: list[bytes] = []
    for packet in (*map(av.Packet, packets), None):
        with contextlib.suppress(av.FFmpegError):
            for frame in context.decode(packet):
                digest = hashlib.sha256()
                for plane in frame.planes:
                    digest.update(plane)
                pictures.append(digest.digest())
    return pictures
