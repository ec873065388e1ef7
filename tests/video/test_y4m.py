"""YUV4MPEG2 through pipes: every kind of it, what is broken, and that files with the same frames come out the same."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import clean, clip, dry_and_rainy, filmed, planes
from conftest import command, dpenet, textured

from dpenet_cli.errors import VideoReadError, VideoRefused
from dpenet_cli.network.weights_files import digest_of
from dpenet_cli.video.frames import EachFrame, Frame
from dpenet_cli.video.y4m import Y4mReader, Y4mWriter, parse_header
from dpenet_cli.video.y4m_cleaning import clean_stream, refuse, sized

FFMPEG = shutil.which("ffmpeg")
needs_ffmpeg = pytest.mark.skipif(not FFMPEG, reason="ffmpeg, which stands on both sides of the pipe, is not installed")

OWN = ("--backend", "torch", "--precision", "fp32")


def raw(source: Path, *arguments: object) -> bytes:
    """A file as a stream, by a tool that is not ours."""
    run = [FFMPEG, "-v", "error", "-i", source, "-strict", "-1", *arguments, "-f", "yuv4mpegpipe", "-"]
    return subprocess.run(list(map(str, run)), check=True, capture_output=True, timeout=60).stdout


def stored(stream: bytes, path: Path) -> Path:
    """A stream as a file that other tools read."""
    path.write_bytes(stream)
    return path


def darker(frames):
    for frame in frames:
        yield (frame // 2).astype(frame.dtype)


def unchanged(frames):
    yield from frames


def piped(stream: bytes, network=unchanged, *, deinterlace: bool = False, scale: float = 1.0, choose=None) -> bytes:
    out = io.BytesIO()
    reader = Y4mReader(io.BytesIO(stream))
    how = {"deinterlace": deinterlace, "choose": choose, "scale": scale}
    clean_stream(reader, out, EachFrame(network), **how, written=lambda _: None)
    return out.getvalue()


def stream_of(tag: str, count: int = 3, width: int = 6, height: int = 4, size: int = 24, line: str = "") -> bytes:
    """Frames of bytes that count up, of so many bytes each."""
    head = f"YUV4MPEG2 W{width} H{height} F25:1 Ip A1:1 {tag}{line}\n".encode()
    return head + b"".join(b"FRAME\n" + bytes((n + i) % 200 + 20 for i in range(size)) for n in range(count))


KINDS = [
    ("yuv420p", "C420", []),
    ("yuv422p", "C422", []),
    ("yuv444p", "C444", []),
    ("yuv411p", "C411", []),
    ("gray", "Cmono", []),
    ("yuv420p10le", "C420p10", []),
    ("yuv422p10le", "C422p10", []),
    ("yuv444p12le", "C444p12", []),
    ("yuv444p16le", "C444p16", []),
    ("gray10le", "Cmono10", []),
    ("yuv420p", "XCOLORRANGE=FULL", ["-color_range", "pc"]),
    ("yuv444p10le", "XCOLORRANGE=LIMITED", ["-color_range", "tv"]),
]


@needs_ffmpeg
@pytest.mark.parametrize(("pixels", "tag", "more"), KINDS, ids=[f"{kind[0]} {kind[1]}" for kind in KINDS])
def test_a_stream_comes_out_as_a_file_with_the_same_frames_does(pixels, tag, more, tmp_path):
    """Even where the size is odd, and through OpenCV, which reads files of 8 bits and 4:2:0."""
    deep = pixels.endswith("le")
    # FFmpeg 5 drops a byte of each row where an odd width of more than 8 bits is halved.
    size = (47, 65) if pixels in {"yuv422p", "gray"} or "444" in pixels else (48, 68)
    frames = np.stack([textured(seed, *size) for seed in range(3)])
    frames = frames.astype(np.uint16) * 257 if deep else frames
    source = filmed(tmp_path / "a.mkv", frames, "-pix_fmt", pixels, *more)
    stream = raw(source)
    assert tag.encode() in stream.partition(b"\n")[0]
    result = piped(stream, darker)
    assert result.partition(b"\n")[0] == stream.partition(b"\n")[0]
    clean(source, tmp_path / "b.mkv", darker, codec="ffv1")
    ours, files = planes(stored(result, tmp_path / "b.y4m")), planes(tmp_path / "b.mkv")
    assert len(ours) == len(files) == 3
    for one, other in zip(ours, files, strict=True):
        if pixels.startswith("gray") or pixels == "yuv411p":  # which a file's result is not
            assert [plane.shape for plane in one] == [plane.shape for plane in planes(source)[0]]
        else:
            assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("tag", "size"),
    [("Cmono", 24), ("C444", 72), ("C422", 48), ("C420jpeg", 36), ("C420paldv", 36), ("", 36), ("Cmono16", 48)],
)
def test_what_is_not_changed_stays_nearly_as_it_was(tag, size):
    stream = stream_of(tag, size=size)
    result = piped(stream)
    assert len(result) == len(stream)
    assert result.partition(b"\n")[0] == stream.partition(b"\n")[0]
    assert result.count(b"FRAME\n") == 3


def test_the_line_is_read_and_goes_on_as_it_stands():
    line = b"YUV4MPEG2 W1920 H1080 F30000:1001 Ip A10:11 C420p10 XYSCSS=420P10 XCOLORRANGE=FULL XHELLO"
    header = parse_header(line)
    assert (header.width, header.height, header.rate) == (1920, 1080, Fraction(30000, 1001))
    assert (header.pixel_format, header.full_range, header.fields, header.deep) == ("yuv420p10le", True, "p", True)
    assert header.line == line
    assert parse_header(b"YUV4MPEG2 W8 H8 F0:0").rate == 25
    assert parse_header(b"YUV4MPEG2 W8 H8 F50:1 It A1:1").progressive_line == b"YUV4MPEG2 W8 H8 F50:1 Ip A1:1"


@pytest.mark.parametrize(
    ("line", "kind", "part"),
    [
        (b"RIFF....AVI", VideoReadError, "no YUV4MPEG2"),
        (b"YUV4MPEG2 W0 H8 F25:1", VideoReadError, "0×8"),
        (b"YUV4MPEG2 H8 F25:1", VideoReadError, "None×8"),
        (b"YUV4MPEG2 W999999999 H999999999 F25:1", VideoReadError, "999999999"),
        (b"YUV4MPEG2 W-8 H8 F25:1", VideoReadError, "-8×8"),
        (b"YUV4MPEG2 W8 H8 F25:1 Ix", VideoReadError, "Ix"),
        (b"YUV4MPEG2 W8 H8 F25:1 C444alpha", VideoRefused, "transparency"),
        (b"YUV4MPEG2 W8 H8 F25:1 Cpurple", VideoRefused, "Cpurple"),
    ],
)
def test_what_cannot_be_read_is_told(line, kind, part):
    with pytest.raises(kind, match=part):
        parse_header(line)


@pytest.mark.parametrize(
    ("broken", "frames", "part"),
    [
        (lambda stream: stream[:-1], 2, "cut off within frame 2"),
        (lambda stream: stream[:-25], 2, "cut off"),
        (lambda stream: stream + b"FRA", 3, "does not begin with FRAME"),
        (lambda stream: stream + b"x" * 99, 3, "does not begin with FRAME"),
        (lambda stream: stream.partition(b"\n")[0] + b"\n", 0, "no frame"),
        (lambda _: b"", 0, "nothing came"),
    ],
)
def test_frames_before_what_is_broken_are_written(broken, frames, part):
    out = io.BytesIO()
    whole = stream_of("Cmono")
    with pytest.raises(VideoReadError, match=part):
        clean_stream(
            Y4mReader(io.BytesIO(broken(whole))),
            out,
            EachFrame(unchanged),
            deinterlace=False,
            choose=None,
            written=lambda _: None,
        )
    assert out.getvalue() == piped(whole)[: len(out.getvalue())]
    assert out.getvalue().count(b"FRAME\n") == frames


def test_frames_may_have_words_of_their_own():
    stream = stream_of("Cmono").replace(b"FRAME\n", b"FRAME Ippp\n")
    assert piped(stream) == piped(stream_of("Cmono"))


@needs_ffmpeg
def test_fields_are_refused_or_made_frames(tmp_path):
    stream = raw(clip(tmp_path / "a.mkv", frames=8), "-vf", "setfield=tff")
    assert b" It " in stream.partition(b"\n")[0]
    header = Y4mReader(io.BytesIO(stream)).header
    with pytest.raises(VideoRefused, match="--deinterlace"):
        refuse(header, deinterlace=False)
    refuse(header, deinterlace=True)
    with pytest.raises(VideoRefused, match="mixes"):
        refuse(parse_header(b"YUV4MPEG2 W8 H8 F25:1 Im"), deinterlace=True)
    result = piped(stream, deinterlace=True)
    assert b" Ip " in result.partition(b"\n")[0]
    assert len(planes(stored(result, tmp_path / "b.y4m"))) == 8


def test_the_size_of_a_scene_is_decided_once_by_its_beginning(tmp_path):
    bright, dark = np.full((1000, 1200, 3), 200, np.uint8), np.full((1000, 1200, 3), 20, np.uint8)
    bright[::8], dark[:, ::8] = 90, 120  # two scenes that differ in every detail
    out = io.BytesIO()
    writer = Y4mWriter(out, parse_header(b"YUV4MPEG2 W1200 H1000 F25:1 Ip A1:1 C444"))
    for number in range(42):
        writer.write(Frame(bright if number < 28 else dark, Fraction(number, 25)))
    asked = []

    def choose(pictures):
        asked.append([int(picture.mean()) for picture in pictures])
        return 0.5 if len(asked) == 1 else 0.25

    out.seek(0)
    sizes = [frame.scale for frame in sized(Y4mReader(out).images(), Fraction(25), choose)]
    assert sizes == [0.5] * 28 + [0.25] * 14
    assert [len(each) for each in asked] == [3, 3]


def test_memory_does_not_grow_with_the_length():
    """A stream of hundreds of frames through the loop: what is held is a few of them."""

    class Endless(io.RawIOBase):
        frame = b"FRAME\n" + bytes(3 * 128 * 96)
        head = b"YUV4MPEG2 W128 H96 F25:1 Ip A1:1 C444\n"

        def __init__(self, count):
            self.rest, self.buffer = count, self.head

        def readable(self):
            return True

        def readinto(self, target):
            if not self.buffer and self.rest:
                self.rest, self.buffer = self.rest - 1, self.frame
            part, self.buffer = self.buffer[: len(target)], self.buffer[len(target) :]
            target[: len(part)] = part
            return len(part)

    def peak(count):
        tracemalloc.start()
        with open(os.devnull, "wb") as out:
            reader = Y4mReader(io.BufferedReader(Endless(count)))
            how = {"deinterlace": False, "choose": None}
            assert clean_stream(reader, out, EachFrame(unchanged), **how, written=lambda _: None) == count
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(4)
    assert peak(400) < peak(40) + 10 * len(Endless.frame)


@needs_ffmpeg
def test_the_pipe_equals_the_file_through_the_command(tmp_path, tiny_weights):
    source = filmed(tmp_path / "a.mkv", dry_and_rainy(8)[1], "-pix_fmt", "yuv420p")
    how = ["--method", "auto", "--strength", 0.8, "--weights", tiny_weights, *OWN]
    run = dpenet("video", source, "-o", tmp_path / "b.mkv", "--codec", "ffv1", *how)
    assert run.returncode == 0, run.stderr
    line = " ".join(map(str, [command(), "video", "-", "-o", "-", "--json", *how]))
    into = f"{FFMPEG} -v error -i - -c:v ffv1 {tmp_path}/c.mkv"
    shell = f"{FFMPEG} -v error -i {source} -f yuv4mpegpipe - | {line} | {into}"
    run = subprocess.run(["sh", "-c", shell], check=False, capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout) == (0, "")
    told = [json.loads(line) for line in run.stderr.splitlines()]
    assert {line["schema"] for line in told} == {1}
    assert told[0] | {"event": "progress", "input": "-", "frames": None} == told[0]
    result = told[-1]
    assert (result["status"], result["frames"], result["width"], result["height"]) == ("done", 8, 128, 96)
    assert (result["device"], result["backend"], result["precision"]) == ("cpu", "torch", "fp32")
    assert result["weights"] == {"name": str(tiny_weights), "sha256": digest_of(tiny_weights)}
    piped_frames, filed = planes(tmp_path / "c.mkv"), planes(tmp_path / "b.mkv")
    assert len(piped_frames) == len(filed) == 8
    for one, other in zip(piped_frames, filed, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_ends_through_the_command(tmp_path):
    """What is cut off is told and fails; a reader that goes ends it without a word; what is for files is refused."""
    run = [command(), "video", "-", "-o", "-", "--method", "temporal"]
    stream = stream_of("Cmono", 40, 64, 48, 64 * 48)
    cut = subprocess.run(run, check=False, input=stream[:-1], capture_output=True, timeout=60)
    assert cut.returncode == 1
    assert cut.stdout.count(b"FRAME\n") == 39
    assert cut.stderr.startswith(b"error  standard input: it was cut off within frame 39")
    with subprocess.Popen(run, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        head = stream.partition(b"FRAME")[0]
        process.stdin.write(stream)
        assert process.stdout.read(len(head)) == head
        process.stdout.close()  # as `head` does
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(stream[len(head) :] * 1000)
        assert process.wait(timeout=60) == 1
        assert process.stderr.read() == b""
    refused = dpenet(*run[1:], "--crf", "3", input="")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--crf" in refused.stderr
    for wrong in (["-", "-o", "a.mp4"], ["a.mp4", "-o", "-"]):
        other = dpenet("video", *wrong, input="")
        assert (other.returncode, other.stdout) == (2, "")
        assert "yuv4mpegpipe" in other.stderr
