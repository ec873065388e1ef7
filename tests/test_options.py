"""The choices that a user has: what is no choice is refused, by name."""

from fractions import Fraction

import pytest

from dpenet_cli.errors import OptionError
from dpenet_cli.options import EngineOptions, Precision, SaveOptions, VideoCodec, VideoOptions


@pytest.mark.parametrize(
    "options",
    [
        {"tile": 0},
        {"tile": 1.5},
        {"threads": 0},
        {"strength": 1.5},
        {"strength": float("nan")},
        {"precision": "fp8"},
        {"device": None},
        {"tile": True},
        {"threads": True},
        {"tile": "9"},
        {"threads": 2.0},
        {"strength": "x"},
        {"strength": None},
        {"strength": True},
        {"strength": float("inf")},
        {"precision": None},
        {"backend": 3},
        {"device": 0},
        {"strength": -0.1},
        {"strength": 1j},
    ],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(OptionError):
        EngineOptions(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"quality": "x"},
        {"quality": True},
        {"quality": 95.0},
        {"strip_metadata": "no"},
        {"strip_metadata": None},
        {"tag": 1},
        {"quality": 0},
        {"quality": 101},
    ],
)
def test_impossible_ways_to_save_are_refused(options):
    with pytest.raises(OptionError):
        SaveOptions(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"start": -5},
        {"start": "5"},
        {"start": float("nan")},
        {"start": True},
        {"end": 0},
        {"end": -1},
        {"start": 5, "end": 5},
        {"preview": float("inf")},
        {"preview": 0},
        {"checkpoint": None},
        {"checkpoint": "10"},
        {"crf": True},
        {"crf": 18.0},
        {"crf": "18"},
        {"codec": "gif"},
        {"encoder": None},
        {"video_stream": -1},
        {"video_stream": 0.0},
        {"hdr": 1},
        {"overwrite": "yes"},
        {"preset": 5},
    ],
)
def test_impossible_videos_are_refused(options):
    with pytest.raises(OptionError):
        VideoOptions(**options)


def test_seconds_may_be_any_numbers_and_codecs_plain_strings():
    options = VideoOptions(start=1.5, end=2, codec="av1")
    assert (options.start, options.end, options.codec) == (Fraction(3, 2), Fraction(2), VideoCodec.AV1)
    assert isinstance(options.end, Fraction)


def test_precision_may_be_a_plain_string():
    assert EngineOptions(precision="fp32").precision is Precision.FP32
