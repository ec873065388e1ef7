"""Whether a recording that has no index, and no length in its header, ends in the middle of a picture."""

import contextlib
import hashlib
from pathlib import Path
from typing import Any

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

_ANY_BYTES = (b"\x55" * 64, b"\xaa" * 64)
"""What is put behind the last picture to see whether the decoder wants more of it."""


def ends_within_picture(path: Path, container: str) -> bool:
    """Whether a file ends before its last picture does; False for kinds of files that tell it otherwise.

    Args:
        path: the file.
        container: libavformat's name for its kind.

    Raises:
        VideoReadError: it cannot be read.
    """
    if container in {"h264", "hevc"}:
        return _wants_more(path, container)
    if container not in {"dhav", "mjpeg"}:
        return False
    with reading(path), path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - _TAIL, 0))
        tail = file.read()
    if container == "mjpeg":
        end = tail.rstrip(b"\0\r\n")
        return _END_OF_JPEG not in end[-_BEHIND_JPEG:]
    last = tail.rfind(_CHUNK)
    chunk = tail[last:] if last >= 0 else b""
    return len(chunk) < 16 or int.from_bytes(chunk[12:16], "little") > len(chunk)


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
    first, second = (_decoded(codec, header, [*packets[:-1], packets[-1] + more]) for more in _ANY_BYTES)
    return first != second


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
