"""The frame loop, without any codec."""

import itertools
import threading
from fractions import Fraction

import numpy as np
import pytest
from clips import unchanged

from dpenet_cli.errors import VideoReadError, VideoWriteError
from dpenet_cli.video.frames import EachFrame, Frame, pump


class ListSink:
    """A sink that keeps what it gets."""

    def __init__(self, fail_at=None):
        self.frames, self.finished, self.fail_at = [], False, fail_at

    def write(self, frame):
        if len(self.frames) == self.fail_at:
            raise VideoWriteError("the sink", "it is full", "Empty it.")
        self.frames.append(frame)

    def finish(self):
        self.finished = True


def numbered_frames(count):
    return [Frame(np.full((4, 6, 3), n, np.uint8), Fraction(n, 7)) for n in range(count)]


def test_the_frame_loop_needs_no_codec():
    sink = ListSink()
    done = pump(numbered_frames(50), EachFrame(lambda frames: (255 - frame for frame in frames)), sink)
    assert (done, sink.finished) == (50, True)
    assert [frame.pts for frame in sink.frames] == [Fraction(n, 7) for n in range(50)]
    assert [int(frame.image[0, 0, 0]) for frame in sink.frames] == [255 - n for n in range(50)]


def test_the_frame_loop_is_bounded():
    taken = []

    def endless():
        for n in itertools.count():
            taken.append(n)
            yield Frame(np.zeros((2, 2, 3), np.uint8), Fraction(n))

    sink = ListSink(fail_at=3)
    with pytest.raises(VideoWriteError):
        pump(endless(), unchanged, sink)
    assert len(taken) < 30
    assert not [thread for thread in threading.enumerate() if thread.name.endswith("frames")]


def test_an_error_of_the_source_arrives():
    def broken():
        yield from numbered_frames(3)
        raise VideoReadError("the source", "it tore", "Mend it.")

    sink = ListSink()
    with pytest.raises(VideoReadError):
        pump(broken(), unchanged, sink)
    assert not sink.finished
