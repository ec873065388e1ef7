"""One frame of a video, cleaned among its neighbours as it comes out of the whole: nothing else is decoded."""

from bisect import bisect_right
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from dpenet_cli.arrays import Pixels
from dpenet_cli.errors import OptionError, VideoReadError
from dpenet_cli.options import VideoOptions
from dpenet_cli.video.frames import Frame, FrameCleaner
from dpenet_cli.video.orientation import Orientation, orientation_of
from dpenet_cli.video.over_time import WIDEST_REACH
from dpenet_cli.video.probe import MediaInfo, VideoStream, probe, probe_part
from dpenet_cli.video.readers import VideoReader, plan_reading
from dpenet_cli.video.stream_plan import refuse_lossy
from dpenet_cli.video.video_task import streams_wanted


class Still(NamedTuple):
    """A frame, and those around it that its result depends on.

    Attributes:
        source: the video.
        time: when it is shown, in seconds of the video's own clock.
        frames: in order; all but the one are context.
        reference_white: as `ColourTags` has it, for what cleans it.
    """

    source: Path
    time: Fraction
    frames: tuple[Frame, ...]
    reference_white: float

    @property
    def before(self) -> Pixels:
        """The frame as it is, upright."""
        return next(frame.image for frame in self.frames if not frame.context)

    def cleaned(self, clean: FrameCleaner, scale: float = 1.0) -> Pixels:
        """The frame without its rain.

        Args:
            clean: cleans frames.
            scale: width in which the network sees them, over their own.

        Raises:
            DpenetError: the network failed.
        """
        (after,) = clean(frame._replace(scale=scale) for frame in self.frames)
        return after.image


def read_still(source: Path, when: Fraction, options: VideoOptions, reach: int = WIDEST_REACH) -> Still:
    """Read the frame that is shown at a time, and its neighbours.

    Args:
        source: the video.
        when: the time, in seconds of the video's own clock.
        options: of which the stream, HDR and deinterlacing count.
        reach: frames before and after it that are read too.

    Raises:
        VideoReadError: the source is no video, or none that decodes.
        VideoRefused: it could not be cleaned as asked without losing something.
        OptionError: nothing is shown at that time, or there is no such stream.
    """
    media, number = _found(source, when, options.video_stream, reach)
    stream = _stream(media, options.video_stream)
    refuse_lossy(media, stream, options)
    reading = plan_reading(media, stream, deinterlace=options.deinterlace)
    orientation = orientation_of(stream.display_matrix) or Orientation()
    wanted = range(number, number + 1)
    reader = VideoReader(media, stream, reading, orientation, wanted, reach=reach, deinterlace=options.deinterlace)
    frames = tuple(reader)
    if all(frame.context for frame in frames):
        raise VideoReadError(str(source), "the frame could be decoded once, and not again", "Check the disk.")
    return Still(source, stream.time(number), frames, stream.colour.reference_white)


def _found(source: Path, when: Fraction, video_stream: int | None, reach: int) -> tuple[MediaInfo, int]:
    """The part of a video around a time, or all of it; and the number of the frame in that.

    Raises:
        OptionError: nothing is shown then.
    """
    probes: tuple[Callable[[], MediaInfo | None], ...] = (
        lambda: probe_part(source, lambda _first, _last: (when, when), reach),
        lambda: probe(source),  # where the file must be decoded from its beginning, or its header does not tell its end
    )
    for look in probes:
        media = look()
        if media is None:
            continue
        stream = _stream(media, video_stream)
        first = stream.time(0) if media.part is None else media.part.first
        number = bisect_right(stream.ticks, when / stream.time_base) - 1
        if media.part is None or media.part.seek == media.part.first:
            number = max(number, 0)  # nothing was shown before the first picture, whose time need not be 0
        if number >= 0 and when < stream.time(-1) + stream.last_duration * stream.time_base:
            return media, number
        if media.part is not None and when >= media.part.last:
            break  # no need to decode everything for that
    last = stream.time(-1)
    why = f"nothing is shown at that time: its pictures run from {float(first):.2f} s to {float(last):.2f} s"
    raise OptionError(f"{source}, --frame {float(when):g} s", why, "Give a time between.")


def _stream(media: MediaInfo, wanted: int | None) -> VideoStream:
    return streams_wanted(media, wanted)[0]
