"""Small videos made by ffmpeg, and a look at results by a tool that did not make them (Debian's ffprobe)."""

import json
import re
import shutil
import struct
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from conftest import textured

from dpenet_cli.options import VideoOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.video.deraining import clean_video
from dpenet_cli.video.frames import EachFrame
from dpenet_cli.video.video_task import prepare

PICTURE = ["-f", "lavfi", "-i", "testsrc=s=64x48:r=25"]
TEN_A_SECOND = "testsrc=s=64x48:r=10"
VIEW_BIT = 186
"""Bit of x265's first header (VPS) that makes views of layers."""

SOUND = ["-f", "lavfi", "-i", "sine=r=16000"]
H264_AAC = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac"]


def ffmpeg(*arguments: object) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, timeout=60)


def clip(path: Path, *arguments: object, frames: int = 10, codec: str = "libx264", source: str = PICTURE[-1]) -> Path:
    """A moving test picture of 64×48, ten frames at 25 a second, encoded without loss of interest."""
    quality = {"libx264": ["-qp", "0", "-pix_fmt", "yuv420p"]}.get(codec, [])
    quality = [] if "-pix_fmt" in arguments else quality
    ffmpeg("-f", "lavfi", "-i", source, *("-frames:v", frames, "-c:v", codec, *quality), *arguments, path)
    return path


def dry_and_rainy(
    count: int, height: int = 96, width: int = 128, seed: int = 0, stops_at: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Frames of a texture that moves by a pixel a frame, N×H×W×3 uint8, and the same with bright streaks.

    Args:
        count: of the frames.
        height: of a frame.
        width: of a frame.
        seed: of texture and rain.
        stops_at: frame from which on the texture stands still.
    """
    rng = np.random.default_rng(seed)
    wide = textured(seed, height, width + count)
    places = np.minimum(np.arange(count), count if stops_at is None else stops_at)
    dry = np.stack([wide[:, place : place + width] for place in places])
    wet = np.zeros(dry.shape[:3], np.bool_)
    for frame in wet:
        for row, column in zip(rng.integers(0, height, 20), rng.integers(0, width, 20), strict=True):
            frame[row : row + 8, column] = True
    return dry, np.where(wet[..., None], np.minimum(dry, 165) + np.uint8(90), dry)


def filmed(path: Path, frames: np.ndarray, *arguments: object, rate: int = 25) -> Path:
    """A clip of RGB frames, N×H×W×3 uint8 or uint16, in FFV1 unless another codec is named."""
    form = "rgb24" if frames.dtype == np.uint8 else "rgb48le"
    raw = ["-f", "rawvideo", "-pix_fmt", form, "-s", f"{frames.shape[2]}x{frames.shape[1]}", "-r", rate]
    pixels = path.with_suffix(".rgb")
    pixels.write_bytes(frames.tobytes())
    ffmpeg(*raw, "-i", pixels, *("-c:v", "ffv1", "-pix_fmt", "yuv420p"), *arguments, path)
    pixels.unlink()
    return path


def probe(path: Path, *entries: str) -> dict:
    """What ffprobe says."""
    if not shutil.which("ffprobe"):
        pytest.skip("ffprobe, which probes results independently, is not installed")
    shown = entries or ("-show_streams", "-show_format", "-show_chapters")
    command = ["ffprobe", "-v", "error", *shown, "-of", "json", str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)


def times(path: Path, stream: str = "v:0") -> list[int]:
    """Every packet's time in ticks, in the order of showing."""
    found = probe(path, "-select_streams", stream, "-show_entries", "packet=pts")
    return sorted(int(packet["pts"]) for packet in found["packets"])


def packets(path: Path, stream: str = "a:0") -> list[bytes]:
    """The content of each packet of a stream."""
    import av

    kind, number = stream.split(":")
    with av.open(str(path)) as container:
        found = [stream for stream in container.streams if stream.type.startswith(kind)][int(number)]
        return [bytes(packet) for packet in container.demux(found) if packet.size]


def planes(path: Path, stream: int = 0) -> list[list[np.ndarray]]:
    """Y, Cb and Cr of every frame, as coded."""
    import av

    with av.open(str(path)) as container:
        found = []
        for frame in container.decode(container.streams.video[stream]):
            deep = np.uint16 if frame.format.components[0].bits > 8 else np.uint8
            wide = [(plane, np.frombuffer(plane, deep)) for plane in frame.planes]
            found.append([row.reshape(plane.height, -1)[:, : plane.width].astype(int) for plane, row in wide])
        return found


def unchanged(frames):
    yield from frames


def clean(source: Path, target: Path, network=unchanged, **options: object):
    """Clean a video with a network of one line."""
    task = prepare(Job(source, target), VideoOptions(**options))
    clean_video(task, EachFrame(network), "a test")
    return task


def change(before: Path, after: Path) -> np.ndarray:
    """Mean absolute change of Y, Cb, Cr, in levels of their depth."""
    pairs = list(zip(planes(before), planes(after), strict=True))
    return np.array([[np.abs(a - b).mean() for a, b in zip(x, y, strict=True)] for x, y in pairs]).mean(axis=0)


def with_message(stream: bytes, message: bytes, before: bytes) -> bytes:
    """A raw stream with an SEI unit before the first unit that begins so."""
    at = stream.index(b"\0\0\1" + before)
    return stream[:at] + b"\0\0\1" + message + stream[at:]


def two_layers(path: Path, pixels: str = "yuva420p", parameters: str = "") -> Path:
    """A raw HEVC stream of three frames of 64×48 at 10 a second whose second layer is transparency."""
    told = ["-x265-params", f"log-level=error:repeat-headers=1{parameters}"]
    try:
        return clip(
            path, "-pix_fmt", pixels, *told, frames=3, codec="libx265", source=f"{TEN_A_SECOND},format={pixels}"
        )
    except subprocess.CalledProcessError:
        pytest.skip("this ffmpeg's x265 encodes no layers")


def second_view(path: Path, pixels: str = "yuva420p", parameters: str = "") -> Path:
    """The same with a second layer that its first header calls a second view: PyAV has no name for what tells it."""
    data = two_layers(path, pixels, parameters).read_bytes()
    begin = data.index(b"\0\0\1\x40\x01") + 3
    header = data[begin : data.index(b"\0\0\1", begin)].rstrip(b"\0")
    plain = header.replace(b"\0\0\3", b"\0\0")
    # Which scalability the layers have is told by single bits; transparency is two places behind views.
    bits = int.from_bytes(plain, "big")
    place = 8 * len(plain) - 1 - VIEW_BIT
    assert bits >> (place - 2) & 7 == 0b011
    changed = (bits ^ 0b101 << (place - 2)).to_bytes(len(plain), "big")
    escaped = re.sub(rb"\0\0(?=[\0-\x03])", b"\0\0\3", changed)
    # The message that says which layer is transparency becomes one of a kind that nobody knows.
    path.write_bytes(data.replace(header, escaped).replace(b"\0\0\1\x4e\x01\xa5", b"\0\0\1\x4e\x01\xc8"))
    return path


def dav(path: Path, units: list[bytes], sound: bytes = b"") -> Path:
    """A recorder's file, ten frames a second from the first second of 2024 on, each with a tenth of a second of sound.

    Args:
        path: where it goes.
        units: frames of raw H.264; every fourth is marked as a key frame.
        sound: A-law samples, 8000 a second; none for a file without sound.
    """
    date = 24 << 26 | 1 << 22 | 1 << 17
    data = b""
    for number, unit in enumerate(units):
        chunks = [(0xFC if number % 4 else 0xFD, bytes.fromhex("800008068100020a"), unit)]
        if sound:
            chunks.insert(0, (0xF0, bytes.fromhex("83010e02"), sound[800 * number : 800 * (number + 1)]))
        for kind, more, content in chunks:
            length = 24 + len(more) + len(content) + 8
            data += struct.pack(
                "<4sBBBBIIIHBB", b"DHAV", kind, 0, 0, 0, number, length, date, number * 100, len(more), 0
            )
            data += more + content + struct.pack("<4sI", b"dhav", length)
    path.write_bytes(data)
    return path
