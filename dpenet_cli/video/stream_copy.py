"""Streams that are copied and not re-encoded: which a container carries, which packets of them, and at what times."""

import contextlib
import io
import math
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer

from dpenet_cli.errors import VideoReadError, VideoRefused
from dpenet_cli.video.containers import MUXERS, muxer
from dpenet_cli.video.discontinuities import Retimer
from dpenet_cli.video.encoder import find_ffmpeg
from dpenet_cli.video.probe import MediaInfo
from dpenet_cli.video.safe_open import open_input, reason, shell_line
from dpenet_cli.video.scanned import OtherStream

TimedPacket = tuple[Fraction, int, Any]
"""When a packet is to be written, the index of its stream in the output, and the packet."""

_NO_TIME = Fraction(-1)

_NO_DURATION = 2**31
"""Ticks that no packet lasts: libavformat's Ogg demuxer gives a negative number as this or more; no muxer takes it."""

_INTERLEAVED = 10
"""Seconds by which one stream's packets may lie behind another's of the same time, at most."""


@dataclass(frozen=True)
class Window:
    """The part of the source that is taken, in its own seconds; None is no bound.

    What has a start begins at 0 in the result.
    """

    start: Fraction | None = None
    end: Fraction | None = None

    def holds(self, time: Fraction) -> bool:
        """Whether something at this time belongs to it."""
        return (self.start is None or time >= self.start) and (self.end is None or time < self.end)

    @property
    def shift(self) -> Fraction:
        """What is subtracted from every time."""
        return self.start or Fraction(0)


def is_attached_picture(stream: Any) -> bool:
    """Whether a stream is a still picture that stands for the file, such as a cover."""
    return stream.type == "video" and bool(stream.disposition & stream.disposition.attached_pic)


def plan_stream_copies(
    media: MediaInfo, target: Path, left: Collection[int] = ()
) -> tuple[frozenset[int], tuple[str, ...]]:
    """Which streams beside those that are cleaned are copied, found by letting the muxer try each.

    Args:
        media: the source.
        target: the output, whose name says the container.
        left: indexes of moving pictures that are copied and not cleaned.

    Returns:
        Indexes of the streams that are copied, and a notice for each data stream that cannot be.

    Raises:
        VideoRefused: sound, subtitles, an attachment or a picture cannot be carried.
    """
    copied, notices, refused = set(), [], []
    moving = (OtherStream(stream.index, "video", stream.codec) for stream in media.streams if stream.index in left)
    wanted = [*media.others, *moving]
    with open_input(media.path) as source:
        chapters = bool(source.chapters())
        for index, kind, codec in wanted:
            stream = source.streams[index]
            if kind == "data" and ("timecode" in stream.metadata or (codec == "bin_data" and chapters)):
                continue  # written anew by the muxer, from the time code in the metadata and from the chapters
            if _fits(stream, muxer(target), chapters=chapters):
                copied.add(index)
            elif kind in {"data", "unknown"}:
                notices.append(f"data stream {index} ({codec}) does not fit into {target.suffix}; keep the original")
            else:
                refused.append(index)
        if refused:
            raise _cannot_carry(media, wanted, refused, source, target)
    return frozenset(copied), tuple(notices)


def _cannot_carry(
    media: MediaInfo, wanted: Sequence[OtherStream], refused: list[int], source: Any, target: Path
) -> VideoRefused:
    """The error, with a container that works, if there is one."""
    named = {index: f"{kind} stream {index} ({codec})" for index, kind, codec in wanted}
    why = f"a {target.suffix} file cannot carry its {' and '.join(named[index] for index in refused)}"
    other = _fitting(wanted, source, (".mkv", ".mp4", ".mov"))
    if other is not None:
        return VideoRefused(str(media.path), why, f"Choose another container: -o {target.stem}{other}")
    if {stream.index for stream in media.streams} & {*refused}:
        return VideoRefused(str(media.path), why, "Leave out --video-stream: what is cleaned is encoded anew.")
    converted = media.path.with_name(f"{media.path.stem}-converted.mkv")
    command = shell_line(_conversion(media, refused, converted))
    return VideoRefused(
        str(media.path), why, f"Convert what no container here can carry, and clean the result: {command}"
    )


def fitting_container(media: MediaInfo, suffixes: Sequence[str]) -> str | None:
    """The first of these suffixes whose container carries all sound, subtitles, attachments and pictures, or None."""
    with open_input(media.path) as source:
        return _fitting(media.others, source, suffixes)


def _fitting(wanted: Sequence[OtherStream], source: Any, suffixes: Sequence[str]) -> str | None:
    everything = [source.streams[index] for index, kind, _ in wanted if kind not in {"data", "unknown"}]
    chapters = bool(source.chapters())
    for suffix in suffixes:
        if all(_fits(stream, MUXERS[suffix], chapters=chapters) for stream in everything):
            return suffix
    return None


def _conversion(media: MediaInfo, refused: list[int], converted: Path) -> list[str]:
    """Ffmpeg's command that turns sound of these streams into FLAC, leaves out others of them, and copies the rest."""
    # ffmpeg counts an option's streams by their kind: the third sound is a:2.
    sound = [index for index, kind, _ in media.others if kind == "audio"]
    choices = []
    for index in refused:
        choices += ["-map", f"-0:{index}"] if index not in sound else [f"-c:a:{sound.index(index)}", "flac"]
    return [find_ffmpeg(), "-i", str(media.path), "-map", "0", "-dn", "-c", "copy", *choices, str(converted)]


def _fits(template: Any, muxer_name: str, *, chapters: bool) -> bool:
    """Whether a header with this stream alone can be written, beside chapters where there are any."""
    if muxer_name == "mov" and is_attached_picture(template):
        return False  # it takes them, and writes them nowhere
    if is_listed(template, muxer_name):
        return True
    if muxer_name != "matroska" or chapters:  # which do not get through
        return False
    with contextlib.suppress(OSError), tempfile.TemporaryDirectory() as folder:
        return _takes(av.open(_passed_on(Path(folder) / "x.mkv", muxer_name), "w", format="tee"), template)
    return False


def is_listed(template: Any, muxer_name: str) -> bool:
    """Whether a muxer's own list of codecs has that of this stream, and its header can be written."""
    return _takes(av.open(io.BytesIO(), "w", format=muxer_name), template)


def _takes(output: OutputContainer, template: Any) -> bool:
    """Whether a header with this stream alone can be written into a file, which is closed."""
    try:
        add_copy(output, template)
        output.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    finally:
        output.close()
    return True


def open_output(target: Path, streams: Sequence[Any], options: dict[str, str]) -> OutputContainer:
    """Open the result for writing.

    PyAV asks libavformat for the list of a muxer's codecs before it takes a stream. Matroska's lacks what it holds
    under Windows' names (A_MS/ACM: A-law, ADPCM, G.726, WMA), and writes all the same. The muxer `tee`, which hands on
    what it gets, but for chapters, has no list.

    Args:
        target: the file.
        streams: those of the source that are copied into it.
        options: of the muxer.
    """
    name = muxer(target)
    if all(is_listed(stream, name) for stream in streams):
        return av.open(str(target), "w", format=name, container_options=options)
    return av.open(_passed_on(target, name), "w", format="tee")


def _passed_on(target: Path, muxer_name: str) -> str:
    """What the muxer `tee` is told to write one file."""
    name = str(target)
    for special in "\\'|":
        name = name.replace(special, f"\\{special}")
    return f"[f={muxer_name}]{name}"


def add_copy(output: Any, template: Any) -> Any:
    """Add a stream that is copied: codec parameters, disposition and metadata."""
    stream = output.add_stream_from_template(template, opaque=True)
    stream.disposition = template.disposition
    stream.metadata.update(tags_of(template))
    return stream


def tags_of(stream: Any) -> dict[str, str]:
    """The tags of a stream; a track's name, which MP4 and MOV are read with and not written, is its title."""
    tags = dict(stream.metadata)
    if "name" in tags:
        tags.setdefault("title", tags.pop("name"))
    return tags


def first_keyframe(media: MediaInfo, index: int, window: Window) -> Fraction | None:
    """When a moving picture that is copied can begin: its first key frame in the window, in the source's seconds."""
    with open_input(media.path) as source:
        retimer = Retimer(media.timeline)
        for packet in source.demux(source.streams[index]):
            retimer.retime(packet)
            if packet.is_keyframe and packet.pts is not None and window.holds(packet.pts * packet.time_base):
                return Fraction(packet.pts * packet.time_base)
    return None


def copied_packets(source: Any, media: MediaInfo, outputs: dict[int, Any], window: Window) -> Iterator[TimedPacket]:
    """The source's own packets, in its own order, with the times that they have in the result.

    Args:
        source: the opened file.
        media: the same file, as it was probed.
        outputs: the stream of the output for each index of a stream that is copied.
        window: the part that is taken.

    Raises:
        VideoReadError: the source cannot be read any more.
    """
    if not outputs:
        return
    retimer = Retimer(media.timeline)
    moving = {stream.index for stream in media.streams} & outputs.keys()
    begins = {index: first_keyframe(media, index, window) for index in moving if window.start is not None}
    latest = _NO_TIME
    ends: dict[int, int] = {}  # of the last packet of each sound, in its ticks
    if media.part is not None and (entry := media.part.entry(media.timeline.offset)) is not None:
        source.seek(math.floor(entry * 1_000_000))
    for packet in _read(source, [source.streams[index] for index in outputs], media):
        if packet.size == 0:  # the end of a stream
            continue
        retimer.retime(packet)
        index = packet.stream.index
        if packet.stream.type == "audio":
            if packet.duration and packet.duration >= _NO_DURATION:
                packet.duration = 0
            if packet.pts is None and packet.dts is None:  # it follows the one before it
                packet.pts = packet.dts = ends.get(index)
            ends[index] = (packet.pts if packet.pts is not None else packet.dts or 0) + (packet.duration or 0)
        ticks = packet.dts if packet.dts is not None else packet.pts
        if ticks is not None:
            when = ticks * packet.time_base
            if media.part is not None and when > media.part.end + _INTERLEAVED:
                return
            still = is_attached_picture(packet.stream)  # which belongs to every part
            if index in begins:
                # Pictures before the key frame need others to be decoded, which are not there. One that is
                # decoded before the end and shown behind it stays: others that are shown earlier may be made from it.
                begin = begins[index]
                shown = packet.pts * packet.time_base if packet.pts is not None else when
                wanted = begin is not None and shown >= begin and (window.end is None or when < window.end)
            else:
                wanted = still or window.holds(when)
            if not wanted:
                continue
            latest = max(latest, when - window.shift)
            moved = 0 if still else round(window.shift / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts - moved
            packet.dts = None if packet.dts is None else packet.dts - moved
        packet.stream = outputs[index]
        # The merge with the clean streams needs times that never fall, and the source's own order must stay: a packet
        # that lies late in the file, or has no time, is written as if it were of the latest one before it.
        yield latest, packet.stream.index, packet


def _read(source: Any, streams: list[Any], media: MediaInfo) -> Iterator[Any]:
    """The packets of some streams; an error is the source's, whoever asks for them."""
    try:
        yield from source.demux(streams)
    except av.FFmpegError as error:
        step = "Check the disk that it is on; the cleaned frames are kept, and the same command goes on from here."
        raise VideoReadError(str(media.path), f"it cannot be read to its end ({reason(error)})", step) from error
