"""A YUV4MPEG2 stream, cleaned: the same frame loop as for files, and sizes for scenes whose end nobody knows yet."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any, BinaryIO

from dpenet_cli.arrays import Pixels
from dpenet_cli.errors import VideoReadError, VideoRefused
from dpenet_cli.inference.looks import SMALL
from dpenet_cli.video.frames import Frame, FrameCleaner, pump
from dpenet_cli.video.scenes import CutFinder, looked_at
from dpenet_cli.video.y4m import NAME, Y4mHeader, Y4mReader, Y4mWriter

Choose = Callable[[Sequence[Pixels]], float]
"""Tells by some frames of a scene in which size the network sees it: `ScaledDerainer.choose` does."""

_HELD_FRAMES, _HELD_BYTES = 24, 2**28
"""At most so much of a scene's beginning is held back until its size is decided."""


def refuse(header: Y4mHeader, *, deinterlace: bool) -> None:
    """Refuse what cannot be cleaned without losing something, as for files.

    Raises:
        VideoRefused: the stream is interlaced, and is to stay so, or cannot be otherwise.
    """
    if header.fields == "m":
        why = "it mixes whole frames with interlaced ones"
        raise VideoRefused(NAME, why, "Make whole frames of the fields before: ffmpeg ... -vf bwdif ...")
    if header.fields in {"t", "b"} and not deinterlace:
        step = "Give --deinterlace to make whole frames of the fields."
        raise VideoRefused(NAME, "it is interlaced: each picture is two, woven together", step)


def clean_stream(
    reader: Y4mReader,
    output: BinaryIO,
    clean: FrameCleaner,
    *,
    deinterlace: bool,
    choose: Choose | None,
    scale: float = 1.0,
    written: Callable[[Frame], None],
) -> int:
    """Carry every frame of a stream to its output, cleaned.

    Args:
        reader: what comes.
        output: where it goes.
        clean: cleans the frames.
        deinterlace: make frames of fields.
        choose: decides the sizes of scenes; None where all are seen in the one that `scale` says.
        scale: width in which the network sees a frame over its own, where nothing else is decided.
        written: told of each frame that was written, on another thread.

    Returns:
        How many frames were written; all that came whole are, whatever else is wrong with the stream.

    Raises:
        VideoReadError: the stream is broken, or holds no frame.
        DpenetError: cleaning failed.
        OSError: as the system reports it: the output cannot be written.
    """
    header = reader.header
    writer = Y4mWriter(output, header, progressive=deinterlace and header.fields in {"t", "b"})
    frames = reader.images(deinterlace=deinterlace)
    if choose is None or header.width * header.height < SMALL:
        source: Iterable[Frame] = (
            Frame(image, number / header.rate, scale=scale, number=number) for number, (_, image) in enumerate(frames)
        )
    else:
        source = sized(frames, header.rate, choose)
    count = pump(source, clean, writer, written)
    if reader.broken is not None:
        raise reader.broken
    if not count:
        raise VideoReadError(NAME, "there is no frame in it", "Look at what the program before the pipe says.")
    return count


def sized(frames: Iterable[tuple[Any, Pixels]], rate: Fraction, choose: Choose) -> Iterator[Frame]:
    """Frames with the sizes in which the network sees them, decided once for each scene by its beginning.

    For a scene that is shorter than what is held back, the same frames are looked at as in a file.

    Args:
        frames: each as PyAV has it, and as H×W×3 RGB.
        rate: frames a second.
        choose: decides.
    """
    finder = CutFinder()
    held: list[Frame] = []
    scale: float | None = None  # of this scene, once it is decided
    for number, (coded, image) in enumerate(frames):
        cuts = len(finder.cuts)
        finder.see(coded)
        if len(finder.cuts) > cuts:
            yield from _decided(held, rate, choose)
            held, scale = [], None
        frame = Frame(image, number / rate, number=number)
        if scale is not None:
            yield frame._replace(scale=scale)
            continue
        held.append(frame)
        if len(held) >= min(_HELD_FRAMES, max(_HELD_BYTES // image.nbytes, 1)):
            decided = _decided(held, rate, choose)
            scale = decided[0].scale
            yield from decided
            held = []
    yield from _decided(held, rate, choose)


def _decided(held: Sequence[Frame], rate: Fraction, choose: Choose) -> list[Frame]:
    if not held:
        return []
    scale = choose([held[number].image for number in looked_at(range(len(held)), rate)])
    return [frame._replace(scale=scale) for frame in held]
