"""The head of a result: its streams, its tags and its chapters; and which tags its container has no place for."""

import io
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.stream import Disposition

from dpenet_cli.video.containers import is_mp4, muxer
from dpenet_cli.video.probe import MediaInfo
from dpenet_cli.video.safe_open import open_input, reason
from dpenet_cli.video.stream_copy import Window, add_copy, is_attached_picture, is_listed, tags_of

_FILE_KEYS = {"major_brand", "minor_version", "compatible_brands", "encoder", "vendor_id", "duration"}
"""Metadata that describe the source's file and not its content: they are not copied."""

_MP4_KEYS = (
    {"major_brand", "minor_version", "compatible_brands", "encoder", "creation_time", "make", "model", "media_type"}
    | {"title", "artist", "album", "album_artist", "composer", "track", "date", "genre", "grouping", "lyrics"}
    | {"comment", "copyright", "description", "synopsis", "show", "episode_id", "network", "location", "location-eng"}
)
"""Metadata that MP4 has a place for; others need QuickTime's free-form keys."""

_OTHER_FORMS = ("location", "date", "language", "track", "timecode")
"""Beginnings of keys whose values containers write in forms of their own: the key tells that it is kept."""

_NO_FRACTION = re.compile(r"\.0+Z\Z")

_PLAIN_MARKS = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
"""Marks that say what a stream is, which its kind tells too."""

_NAMED = 12
"""Things that a notice names; the others are counted."""


def declare(
    media: MediaInfo,
    files: tuple[InputContainer, OutputContainer],
    target: Path,
    *,
    copied: frozenset[int],
    window: Window,
    add: Mapping[int, Callable[[Any], Any]],
) -> dict[int, Any]:
    """Add every stream, in the source's order, all tags, and the chapters of the part that is taken.

    Args:
        media: the source.
        files: the source and the result, opened.
        target: the result, whose name says the container.
        copied: indexes of streams that are copied.
        window: the part that is taken.
        add: adds a clean stream, given the source's, by the index of that.

    Returns:
        The result's stream for each index; pictures that become attachments have none.
    """
    source, output = files
    outputs: dict[int, Any] = {}
    for stream in source.streams:
        if stream.index in add:
            outputs[stream.index] = add[stream.index](stream)
        elif stream in copies(source, copied, target):
            outputs[stream.index] = add_copy(output, stream)
    if muxer(target) == "matroska":
        for name, kind, title, data in _attached_pictures(media, copied):
            picture = output.add_attachment(name, kind, data)
            picture.metadata.update({"title": title} if title else {})
    output.metadata.update({key: value for key, value in source.metadata.items() if key.lower() not in _FILE_KEYS})
    if chapters := list(_chapters(source, window)):
        output.set_chapters(chapters)
    return outputs


def copies(source: InputContainer, copied: frozenset[int], target: Path) -> list[Any]:
    """The source's streams that are streams of the result as they are: Matroska keeps pictures as attachments."""
    streams = (stream for stream in source.streams if stream.index in copied)
    return [stream for stream in streams if not (muxer(target) == "matroska" and is_attached_picture(stream))]


def muxer_options(source: InputContainer, copied: frozenset[int], target: Path, flags: str) -> dict[str, str]:
    """Options of the muxer; those of MP4 and MOV beside other flags.

    Free-form keys leave no room for cover pictures: where there is one, the keys are left out, and `not_kept` tells.
    """
    if not is_mp4(target):
        return {}
    cover = any(is_attached_picture(stream) for stream in copies(source, copied, target))
    free = set(source.metadata) - _MP4_KEYS and not cover
    return {"movflags": flags + ("+use_metadata_tags" if free else "")}


def stream_tags(stream: Any) -> dict[str, str]:
    """The tags of a stream's content, without those of the file that it was in."""
    return {key: value for key, value in tags_of(stream).items() if not _is_of_the_file(key)}


def not_kept(
    media: MediaInfo, target: Path, cleaned: Collection[int], copied: frozenset[int], window: Window
) -> tuple[str, ...]:
    """What of the source's tags and marks the result's container has no place for, as notices.

    It is written, with nothing but a head, and read again: no list here could follow what muxers do.

    Args:
        media: the source.
        target: the result, whose name says the container.
        cleaned: indexes of streams that are cleaned.
        copied: indexes of streams that are copied.
        window: the part that is taken.
    """
    try:
        lost = _lost_in_trial(media, target, cleaned, copied, window)
    except (av.FFmpegError, OSError, ValueError) as error:
        return (f"which tags {target.suffix} has no place for cannot be tried out here ({reason(error)})",)
    return (f"{target.suffix} has no place for {named(lost)}: left out; keep the original",) if lost else ()


def named(things: Sequence[str]) -> str:
    """Their names; of many the first, and how many more there are."""
    more = f" and {len(things) - _NAMED} more" if len(things) > _NAMED else ""
    return ", ".join(things[:_NAMED]) + more


def _lost_in_trial(
    media: MediaInfo, target: Path, cleaned: Collection[int], copied: frozenset[int], window: Window
) -> list[str]:
    """Names of what is not read again from a file with the head of the result."""
    name, trial = muxer(target), io.BytesIO()
    with open_input(media.path) as source:
        # What `open_output` hands on to Matroska has tags there as every stream has.
        copied = frozenset(stream.index for stream in copies(source, copied, target) if is_listed(stream, name))
        options = muxer_options(source, copied, target, "+frag_keyframe+empty_moov")
        with av.open(trial, "w", format=name, container_options=options) as output:
            add = dict.fromkeys(cleaned, lambda original: _stand_in(output, original, target))
            outputs = declare(media, (source, output), target, copied=copied, window=window, add=add)
            output.mux_one(_an_empty_packet(next(outputs[index] for index in cleaned)))
        trial.seek(0)
        with av.open(trial, metadata_errors="replace") as result:
            lost = [f"the file's {key}" for key in _lost_tags(_of_content(source), result.metadata)]
            for index, stream in outputs.items():
                here, there = source.streams[index], result.streams[stream.index]
                kept = {**result.metadata, **there.metadata}  # the time of the recording stands in both
                lost += [f"stream {index}'s {key}" for key in _lost_tags(stream_tags(here), kept)]
                lost += [f"stream {index}'s mark ({mark})" for mark in _marks(here.disposition & ~there.disposition)]
            return lost + _lost_of_chapters(list(_chapters(source, window)), list(result.chapters()))


def _stand_in(output: OutputContainer, original: Any, target: Path) -> Any:
    """A stream of the same tags whose codec needs nothing before its first packet."""
    size = {"width": original.codec_context.width, "height": original.codec_context.height}
    stream: Any = output.add_mux_stream("vp8" if muxer(target) == "webm" else "mpeg4", rate=25, **size)
    stream.disposition = original.disposition
    stream.metadata.update(stream_tags(original))
    return stream


def _an_empty_packet(stream: Any) -> Any:
    """Without any packet, a Matroska file is none."""
    packet: Any = av.Packet(bytes(16))
    packet.stream, packet.time_base = stream, Fraction(1, 25)
    packet.pts, packet.dts, packet.duration, packet.is_keyframe = 0, 0, 1, True
    return packet


def _of_content(source: InputContainer) -> dict[str, str]:
    return {key: value for key, value in source.metadata.items() if key.lower() not in _FILE_KEYS}


def _lost_tags(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Keys of tags that are not there any more, under whatever key."""
    values = set(map(_plainly, after.values()))
    keys = {key.lower() for key in after}

    def kept(key: str, value: str) -> bool:
        in_another_form = key.lower().startswith(_OTHER_FORMS) and key.lower().partition("-")[0] in keys
        return _plainly(value) in values or value in {"", "und"} or in_another_form

    return [key for key, value in before.items() if not kept(key, value)]


def _plainly(value: str) -> str:
    """A value in the form in which it is compared: of a time without the zeros behind its seconds."""
    return _NO_FRACTION.sub("Z", value)


def _marks(disposition: Any) -> list[str]:
    return [str(mark.name) for mark in Disposition if mark & disposition & ~_PLAIN_MARKS]


def _lost_of_chapters(before: list[Any], after: list[Any]) -> list[str]:
    if len(after) < len(before):
        return [f"{len(before) - len(after)} of {len(before)} chapters"]
    pairs = zip(before, after, strict=False)
    keys = [key for here, there in pairs for key in _lost_tags(here["metadata"], there["metadata"])]
    return [f"chapters' {key}" for key in dict.fromkeys(keys)]


def _attached_pictures(media: MediaInfo, copied: frozenset[int]) -> list[tuple[str, str, str, bytes]]:
    """File name, MIME type, title and content of each cover picture."""
    pictures = []
    with open_input(media.path) as source:
        streams = [stream for stream in source.streams if stream.index in copied and is_attached_picture(stream)]
        for stream in streams:
            codec = stream.codec_context.name
            subtype = {"mjpeg": "jpeg"}.get(codec, codec)
            name = stream.metadata.get("filename", f"cover.{subtype.replace('jpeg', 'jpg')}")
            kind = stream.metadata.get("mimetype", f"image/{subtype}")
            packet = next((packet for packet in source.demux(stream) if packet.size), None)
            if packet is not None:
                pictures.append((name, kind, tags_of(stream).get("title", ""), bytes(packet)))
            source.seek(0)  # the next picture may lie before this one
    return pictures


def _is_of_the_file(key: str) -> bool:
    """Whether a stream's metadata tells of the file that it was in: its bit rate, its length, mkvmerge's counts."""
    return key.lower() in _FILE_KEYS or key.upper().startswith(("BPS", "NUMBER_OF_", "_STATISTICS_", "DURATION"))


def _chapters(source: InputContainer, window: Window) -> Iterator[Any]:
    """The chapters of the part that is taken."""
    chapters: list[Any] = source.chapters()
    for chapter in chapters:
        unit = chapter["time_base"]
        start, end = chapter["start"] * unit, chapter["end"] * unit
        if (window.end is not None and start >= window.end) or (window.start is not None and end <= window.start):
            continue
        # One that begins before the part, or ends behind it, is cut to it.
        start, end = max(start, window.shift), end if window.end is None else min(end, window.end)
        bounds = {"start": round((start - window.shift) / unit), "end": round((end - window.shift) / unit)}
        yield chapter | bounds
