"""The final file: clean video from its segments with the source's own times, and everything else copied."""

import heapq
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from dpenet_cli.errors import VideoWriteError
from dpenet_cli.options import VideoCodec
from dpenet_cli.video.muxers import add_copy, muxer
from dpenet_cli.video.probe import MediaInfo, VideoStream
from dpenet_cli.video.safe_open import open_input, reason
from dpenet_cli.video.scan import Matrix, real_video
from dpenet_cli.video.stream_copy import Timed, Window, copied_packets, is_cover
from dpenet_cli.video.yuv import ColourTags

_PLAIN_KEYS = {
    *("major_brand", "minor_version", "compatible_brands", "encoder", "creation_time", "title", "artist", "album"),
    *("date", "comment", "genre", "copyright", "description", "track", "composer", "location", "location-eng"),
    *("album_artist", "synopsis", "lyrics", "show", "episode_id", "network", "media_type", "grouping", "make", "model"),
}
"""Metadata that MP4 has a place for; others need QuickTime's free-form keys."""

_LEFT_OUT = {"major_brand", "minor_version", "compatible_brands", "encoder", "vendor_id", "duration"}
"""Metadata that describe the source's file and not its content."""


@dataclass(frozen=True)
class Piece:
    """One clean stream, ready to be muxed.

    Attributes:
        footage: what it was.
        segments: its files, in order.
        first, stop: the frames that they hold.
        codec: of the segments.
        colour: tags to write.
        aspect: width of a pixel over its height, or 0.
        matrix: display matrix to write, or None.
    """

    footage: VideoStream
    segments: tuple[Path, ...]
    first: int
    stop: int
    codec: VideoCodec
    colour: ColourTags
    aspect: Fraction
    matrix: Matrix | None


def assemble(
    movie: MediaInfo, pieces: tuple[Piece, ...], carried: frozenset[int], window: Window, target: Path
) -> None:
    """Write a file of the clean streams and the copied ones, in the source's order of streams.

    Args:
        movie: the source.
        pieces: the clean streams.
        carried: indexes of streams that are copied.
        window: the part that is taken.
        target: is written as it goes; the caller renames it.

    Raises:
        VideoWriteError: the muxer or the disk refused.
    """
    import av

    by_index = {piece.footage.index: piece for piece in pieces}
    in_matroska = muxer(target) == "matroska"
    try:
        with open_input(movie.path) as source, av.open(str(target), "w", **_options(source, target)) as output:
            outputs: dict[int, Any] = {}
            for stream in source.streams:
                if stream.index in by_index:
                    outputs[stream.index] = _add_clean(output, by_index[stream.index], stream, target)
                elif stream.index in carried and not (in_matroska and is_cover(stream)):
                    outputs[stream.index] = add_copy(output, stream)
            if in_matroska:  # which keeps pictures as attachments
                for name, kind, data in _covers(movie, carried):
                    output.add_attachment(name, kind, data)
            _describe(source, output, window)
            flows = [_clean_packets(piece, window.shift, outputs[piece.footage.index]) for piece in pieces]
            copied = {index: stream for index, stream in outputs.items() if index not in by_index}
            flows.append(copied_packets(source, movie, copied, window))
            for _, _, packet in heapq.merge(*flows, key=lambda item: item[:2]):
                output.mux_one(packet)
    except (av.FFmpegError, OSError, ValueError) as error:
        step = "Check the free space; the cleaned frames are kept, and the same command goes on from here."
        raise VideoWriteError(str(target), f"it cannot be put together ({reason(error)})", step) from error


def _options(source: Any, target: Path) -> dict[str, Any]:
    name = muxer(target)
    if name in {"mp4", "mov"}:
        flags = "+faststart" + ("+use_metadata_tags" if set(source.metadata) - _PLAIN_KEYS else "")
        return {"format": name, "container_options": {"movflags": flags}}
    return {"format": name}


def _add_clean(output: Any, piece: Piece, original: Any, target: Path) -> Any:
    """A stream with the encoder's parameters and the source's tags."""
    with open_input(piece.segments[0]) as encoded:
        stream = output.add_stream_from_template(encoded.streams.video[0], opaque=True)
    context = stream.codec_context
    if piece.aspect:
        context.sample_aspect_ratio = piece.aspect  # AV1 does not hold it, and Matroska's segments round it
    context.color_range = piece.colour.range
    context.colorspace = piece.colour.matrix
    context.color_primaries = piece.colour.primaries
    context.color_trc = piece.colour.transfer
    if piece.codec is VideoCodec.HEVC and muxer(target) in {"mp4", "mov"}:
        context.codec_tag = "hvc1"  # Apple's players insist
    stream.time_base = piece.footage.time_base
    stream.disposition = original.disposition
    kept = {key: value for key, value in original.metadata.items() if not _of_the_file(key)}
    stream.metadata.update(kept)
    if piece.matrix is not None:
        stream.set_display_matrix(piece.matrix)
    return stream


def _covers(movie: MediaInfo, carried: frozenset[int]) -> list[tuple[str, str, bytes]]:
    """Name, kind and content of each cover picture."""
    found = []
    with open_input(movie.path) as source:
        streams = [stream for stream in source.streams if stream.index in carried and is_cover(stream)]
        for stream in streams:
            codec = stream.codec_context.name
            ending = {"mjpeg": "jpeg"}.get(codec, codec)
            name = stream.metadata.get("filename", f"cover.{ending.replace('jpeg', 'jpg')}")
            kind = stream.metadata.get("mimetype", f"image/{ending}")
            packet = next((packet for packet in source.demux(stream) if packet.size), None)
            if packet is not None:
                found.append((name, kind, bytes(packet)))
            source.seek(0)
    return found


def _of_the_file(key: str) -> bool:
    return key.lower() in _LEFT_OUT or key.upper().startswith(("BPS", "NUMBER_OF_", "_STATISTICS_", "DURATION"))


def _describe(source: Any, output: Any, window: Window) -> None:
    """Global metadata and chapters."""
    output.metadata.update({key: value for key, value in source.metadata.items() if key.lower() not in _LEFT_OUT})
    chapters = []
    for chapter in source.chapters():
        unit = chapter["time_base"]
        start, end = chapter["start"] * unit, chapter["end"] * unit
        if (window.end is not None and start >= window.end) or (window.start is not None and end <= window.start):
            continue
        start, end = max(start, window.shift), end if window.end is None else min(end, window.end)
        bounds = {"start": round((start - window.shift) / unit), "end": round((end - window.shift) / unit)}
        chapters.append(chapter | bounds)
    if chapters:
        output.set_chapters(chapters)


def _clean_packets(piece: Piece, shift: Fraction, output: Any) -> Iterator[Timed]:
    """The segments' packets, each with the time of its frame.

    An encoder hands packets over in the order in which they are decoded; the rank of a packet's own time among those of
    its segment is the number of its frame. The time of decoding is that of the frame so many places earlier that it
    never lies behind the time of showing.
    """
    footage = piece.footage
    moved = round(shift / footage.time_base)
    orders = [_order(path) for path in piece.segments]
    _check_alike(piece.segments)
    late = max((place - rank for ranks in orders for place, rank in enumerate(ranks)), default=0)
    first = piece.first
    for path, ranks in zip(piece.segments, orders, strict=True):
        with open_input(path) as container:
            for place, packet in enumerate(_full(container)):
                frame = first + ranks[place]
                packet.time_base = footage.time_base
                packet.pts = footage.ticks[frame] - moved
                packet.dts = _decoded_at(footage, first + place - late, piece.first) - moved
                packet.duration = footage.duration_ticks(frame)
                packet.stream = output
                yield packet.dts * footage.time_base, output.index, packet
        first += len(ranks)


def _check_alike(segments: tuple[Path, ...]) -> None:
    """One stream has one header: segments of another encoder would not decode behind it."""
    headers = set()
    for path in segments:
        with open_input(path) as container:
            headers.add(container.streams.video[0].codec_context.extradata)
    if len(headers) != 1:
        step = f"Remove {segments[0].parent}, and run the command again."
        raise VideoWriteError(str(segments[0].parent), "its segments come from different encoders", step)


def _full(container: Any) -> Iterator[Any]:
    return (packet for packet in container.demux(video=0) if packet.size)


def _order(path: Path) -> list[int]:
    """For each packet of a segment, the number of its frame in it."""
    with open_input(path) as container:
        times = [packet.pts for packet in _full(container)]
    ranks = {time: rank for rank, time in enumerate(sorted(times))}
    if len(ranks) != len(times):
        raise VideoWriteError(str(path), "two of its frames have one time", "Run the command again with --overwrite.")
    return [ranks[time] for time in times]


def _decoded_at(footage: VideoStream, frame: int, first: int) -> int:
    if frame >= first:
        return footage.ticks[frame]
    step = max(round(1 / (footage.rate * footage.time_base)), 1)
    return footage.ticks[first] - (first - frame) * step


def verify(movie: MediaInfo, pieces: tuple[Piece, ...], carried: frozenset[int], window: Window, target: Path) -> None:
    """Open the result again: the right streams, and every frame at its time, to a tick of the result.

    Raises:
        VideoWriteError: it is not what it should be.
    """
    import av

    step = "Please report it; the cleaned frames are kept beside the output."
    try:
        with open_input(target) as container:
            kept = {piece.footage.index for piece in pieces} | carried
            wanted_kinds, found_kinds = _kinds(movie, kept), [stream.type for stream in container.streams]
            missing = Counter(wanted_kinds) - Counter(found_kinds)
            if missing:
                why = f"it lacks {', '.join(f'{count} {kind} stream(s)' for kind, count in missing.items())}"
                raise VideoWriteError(str(target), why, step)
            videos = real_video(container)
            times: dict[int, list[Fraction]] = {stream.index: [] for stream in videos}
            for packet in container.demux(videos):
                if packet.size and packet.pts is not None:
                    times[packet.stream.index].append(packet.pts * packet.time_base)
            units = {stream.index: stream.time_base for stream in videos}
    except av.FFmpegError as error:
        raise VideoWriteError(str(target), f"it cannot be opened again ({reason(error)})", step) from error
    real = [footage.index for footage in movie.footage]
    for piece in pieces:
        place = sorted(times)[[index for index in real if index in kept].index(piece.footage.index)]
        wanted = [piece.footage.time(frame) - window.shift for frame in range(piece.first, piece.stop)]
        got = sorted(times[place])
        if len(got) != len(wanted):
            why = f"stream {place} holds {len(got)} frames instead of {len(wanted)}"
            raise VideoWriteError(str(target), why, step)
        # A container that cannot begin before 0 moves everything by the same time; players show no difference.
        moved = got[0] - wanted[0]
        worst = max(abs(here - there - moved) for here, there in zip(got, wanted, strict=True))
        if worst > (units[place] or 0):
            raise VideoWriteError(str(target), f"a frame is {float(worst):.4f} s from its time", step)


def _kinds(movie: MediaInfo, indexes: Collection[int]) -> list[str]:
    kinds = {index: kind for index, kind, _ in movie.others} | {footage.index: "video" for footage in movie.footage}
    return [kinds[index] for index in indexes if kinds[index] != "data"]
