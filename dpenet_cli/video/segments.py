"""Frames encoded as segments of equal length, each a file of its own in the folder of unfinished work."""

import contextlib
from fractions import Fraction

from dpenet_cli.video.encoder import EncoderProcess, Encoding
from dpenet_cli.video.frames import Frame
from dpenet_cli.video.orientation import Orientation
from dpenet_cli.video.work_folder import WorkFolder


class SegmentSink:
    """Writes frames as segments of equal length: a `FrameSink`.

    Args:
        folder: where the segments go.
        stream: index of the stream, for their names.
        encoding: what ffmpeg is told.
        orientation: of the coded picture; frames come upright and are turned back to it.
        length: frames in a segment.
        total: frames in all.
    """

    def __init__(
        self,
        folder: WorkFolder,
        stream: int,
        encoding: Encoding,
        orientation: Orientation,
        *,
        length: int,
        total: int,
    ) -> None:
        self._folder = folder
        self._stream = stream
        self._encoding = encoding
        self._orientation = orientation
        self._length = length
        self._total = total
        self._number = folder.finished_segments(stream)
        self._written = 0  # frames of the segment that is being encoded
        self._process: EncoderProcess | None = None

    @property
    def first_frame(self) -> int:
        """The number of the frame that it wants first: what lies before is done."""
        return min(self._number * self._length, self._total)

    def write(self, frame: Frame) -> None:
        """Encode one frame."""
        if self._process is None:
            self._process = EncoderProcess(self._encoding, self._folder.segment(self._stream, self._number))
        self._process.write(self._orientation.as_coded(frame.image))
        self._written += 1
        if self._written == self._length:
            self._end_segment()

    def finish(self) -> None:
        """End the last segment."""
        if self._process is not None:
            self._end_segment()

    def abandon(self) -> None:
        """End the encoder; the segment that it was at is lost."""
        if self._process is not None:
            with contextlib.suppress(OSError):
                self._process.kill()
            self._process = None

    def _end_segment(self) -> None:
        assert self._process is not None
        process, self._process = self._process, None  # whatever happens, no other frame goes to this one
        try:
            process.finish()
        except BaseException:
            process.kill()
            raise
        # Only now does it count: the encoder ended well, and its file is looked at.
        self._folder.record(self._folder.segment(self._stream, self._number), self._written)
        self._number += 1
        self._written = 0


def segment_frames(rate: Fraction, seconds: Fraction) -> int:
    """Frames in a segment of so many seconds, at least one."""
    return max(1, round(rate * seconds))
