"""The final file: clean video from its segments with the source's own times, and everything else copied."""

import heapq
import itertools
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av

from dpenet_cli.errors import VideoWriteError
from dpenet_cli.options import VideoCodec
from dpenet_cli.video.colour import ColourTags
from dpenet_cli.video.containers import is_mp4
from dpenet_cli.video.probe import MediaInfo, VideoStream
from dpenet_cli.video.result_header import copies, declare, muxer_options, stream_tags
from dpenet_cli.video.safe_open import open_input, reason
from dpenet_cli.video.scan import video_streams
from dpenet_cli.video.scanned import DisplayMatrix
from dpenet_cli.video.stream_copy import TimedPacket, Window, copied_packets, open_output


@dataclass(frozen=True)
class EncodedStream:
    """One clean stream, ready to be muxed.

    Attributes:
        source: the stream that it was made of.
        segments: its files, in order.
        first, stop: the numbers of the source's frames that they hold.
        codec: what the segments are encoded with.
        colour: tags to write.
        sample_aspect: width of a pixel over its height, or 0.
        display_matrix: the matrix to write, or None.
    """

    source: VideoStream
    segments: tuple[Path, ...]
    first: int
    stop: int
    codec: VideoCodec
    colour: ColourTags
    sample_aspect: Fraction
    display_matrix: DisplayMatrix | None


def assemble(
    media: MediaInfo, encoded: tuple[EncodedStream, ...], copied: frozenset[int], window: Window, target: Path
) -> None:
    """Write a file of the clean streams and the copied ones, in the source's order of streams.

    Args:
        media: the source.
        encoded: the clean streams.
        copied: indexes of streams that are copied.
        window: the part that is taken.
        target: is written as it goes; the caller renames it.

    Raises:
        VideoWriteError: the muxer or the disk refused.
    """
    by_index = {stream.source.index: stream for stream in encoded}
    try:
        with open_input(media.path) as source:
            # The index goes in front, so that a player can begin before it has the whole file.
            options = muxer_options(source, copied, target, "+faststart")
            with open_output(target, copies(source, copied, target), options) as output:
                # Every stream is declared before the first packet: the header is written with it.
                add = {index: partial(_add_encoded, output, stream, target) for index, stream in by_index.items()}
                outputs = declare(media, (source, output), target, copied=copied, window=window, add=add)
                # One sequence of packets a clean stream, and one of all that is copied, each in the order of its times.
                # Merged by time they are interleaved as players need them, without being held in memory.
                packets = [_encoded_packets(stream, window.shift, outputs[stream.source.index]) for stream in encoded]
                copied_ones = {index: stream for index, stream in outputs.items() if index not in by_index}
                packets.append(copied_packets(source, media, copied_ones, window))
                for _, _, packet in heapq.merge(*packets, key=lambda item: item[:2]):
                    output.mux_one(packet)
    except (av.FFmpegError, OSError, ValueError) as error:
        step = "Check the free space; the cleaned frames are kept, and the same command goes on from here."
        raise VideoWriteError(str(target), f"it cannot be put together ({reason(error)})", step) from error


def _add_encoded(output: Any, encoded: EncodedStream, target: Path, original: Any) -> Any:
    """A stream with the encoder's parameters and the source's tags."""
    # All segments have one header (`_check_same_header`): the first one's is that of the stream.
    with open_input(encoded.segments[0]) as segment:
        stream = output.add_stream_from_template(segment.streams.video[0], opaque=True)
    context = stream.codec_context
    if encoded.sample_aspect:
        context.sample_aspect_ratio = encoded.sample_aspect  # AV1 does not hold it, and Matroska's segments round it
    context.color_range = encoded.colour.range
    context.colorspace = encoded.colour.matrix
    context.color_primaries = encoded.colour.primaries
    context.color_trc = encoded.colour.transfer
    if encoded.codec is VideoCodec.HEVC and is_mp4(target):
        context.codec_tag = "hvc1"  # Apple's players insist
    stream.time_base = encoded.source.time_base
    stream.disposition = original.disposition
    stream.metadata.update(stream_tags(original))
    if encoded.display_matrix is not None:
        stream.set_display_matrix(encoded.display_matrix)
    return stream


def _encoded_packets(encoded: EncodedStream, shift: Fraction, output: Any) -> Iterator[TimedPacket]:
    """The segments' packets, each with the time of its frame.

    An encoder hands packets over in the order in which they are decoded; the rank of a packet's own time among those of
    its segment is the number of its frame. The time of decoding is that of the frame so many places earlier that it
    never lies behind the time of showing.
    """
    source = encoded.source
    moved = round(shift / source.time_base)
    ranks_of = [_display_ranks(path) for path in encoded.segments]
    _check_same_header(encoded.segments)
    # With B-frames a packet stands further back than its frame is shown, by at most so many places. dts must rise from
    # packet to packet and not pass pts, so all of them are taken from that many frames earlier.
    delay = max((place - rank for ranks in ranks_of for place, rank in enumerate(ranks)), default=0)
    first = encoded.first  # number of the source's frame with which a segment begins
    for path, ranks in zip(encoded.segments, ranks_of, strict=True):
        with open_input(path) as container:
            for place, packet in enumerate(_packets(container)):
                frame = first + ranks[place]
                packet.time_base = source.time_base
                packet.pts = source.ticks[frame] - moved
                packet.dts = _decoding_tick(source, first + place - delay, encoded.first) - moved
                packet.duration = source.duration_ticks(frame)
                packet.stream = output
                yield packet.dts * source.time_base, output.index, packet
        first += len(ranks)


def _check_same_header(segments: tuple[Path, ...]) -> None:
    """One stream has one header: segments of another encoder would not decode behind it."""
    headers = set()
    for path in segments:
        with open_input(path) as container:
            headers.add(container.streams.video[0].codec_context.extradata)
    if len(headers) != 1:
        step = f"Remove {segments[0].parent}, and run the command again."
        raise VideoWriteError(str(segments[0].parent), "its segments come from different encoders", step)


def _packets(container: Any) -> Iterator[Any]:
    """A segment's packets, without the empty one at the end."""
    return (packet for packet in container.demux(video=0) if packet.size)


def _display_ranks(path: Path) -> list[int]:
    """For each packet of a segment, in its order, the number of its frame in it."""
    with open_input(path) as container:
        times = [packet.pts for packet in _packets(container)]
    ranks = {time: rank for rank, time in enumerate(sorted(times))}
    if len(ranks) != len(times):
        raise VideoWriteError(str(path), "two of its frames have one time", "Please report it.")
    return [ranks[time] for time in times]


def _decoding_tick(stream: VideoStream, frame: int, first: int) -> int:
    """When a frame is shown; for those before the first, which there are not, as if they had come at an even rate."""
    if frame >= first:
        return stream.ticks[frame]
    step = max(round(1 / (stream.rate * stream.time_base)), 1)
    return stream.ticks[first] - (first - frame) * step


def verify(
    media: MediaInfo, encoded: tuple[EncodedStream, ...], copied: frozenset[int], window: Window, target: Path
) -> None:
    """Open the result again: the right streams, and every frame at its time, to a tick of the result.

    Args:
        media: the source.
        encoded: the clean streams.
        copied: indexes of streams that are copied.
        window: the part that is taken.
        target: the result.

    Raises:
        VideoWriteError: it is not what it should be.
    """
    step = "Please report it; the cleaned frames are kept beside the output."
    kept = {stream.source.index for stream in encoded} | copied
    try:
        with open_input(target) as container:
            missing = Counter(_kinds(media, kept)) - Counter(stream.type for stream in container.streams)
            if missing:
                why = f"it lacks {', '.join(f'{count} {kind} stream(s)' for kind, count in missing.items())}"
                raise VideoWriteError(str(target), why, step)
            found = video_streams(container)
            times: dict[int, list[Fraction]] = {stream.index: [] for stream in found}
            for packet in container.demux(found):
                if packet.size and packet.pts is not None:
                    times[packet.stream.index].append(packet.pts * packet.time_base)
            ticks = {stream.index: stream.time_base for stream in found}
    except av.FFmpegError as error:
        raise VideoWriteError(str(target), f"it cannot be opened again ({reason(error)})", step) from error
    # The result has the source's order of streams, without those that were left out.
    order = [stream.index for stream in media.streams if stream.index in kept]
    for stream in encoded:
        index = sorted(times)[order.index(stream.source.index)]
        wanted = [stream.source.time(frame) - window.shift for frame in range(stream.first, stream.stop)]
        got = sorted(times[index])
        if len(got) != len(wanted):
            why = f"stream {index} holds {len(got)} frames instead of {len(wanted)}"
            raise VideoWriteError(str(target), why, step)
        if any(here >= there for here, there in itertools.pairwise(got)):
            raise VideoWriteError(str(target), f"stream {index} holds two frames at one time", step)
        # A container that cannot begin before 0 moves everything by the same time; players show no difference.
        moved = got[0] - wanted[0]
        worst = max(abs(here - there - moved) for here, there in zip(got, wanted, strict=True))
        if worst > (ticks[index] or 0):
            raise VideoWriteError(str(target), f"a frame is {float(worst):.4f} s from its time", step)


def _kinds(media: MediaInfo, indexes: Collection[int]) -> list[str]:
    """What kinds of streams these are; data streams are not counted, since muxers write some of them anew."""
    kinds = {index: kind for index, kind, _ in media.others} | {stream.index: "video" for stream in media.streams}
    return [kinds[index] for index in indexes if kinds[index] != "data"]
