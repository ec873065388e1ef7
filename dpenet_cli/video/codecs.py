"""The codecs that results are encoded with: who encodes each, how it is told what to do, and what it holds."""

from typing import NamedTuple

from dpenet_cli.options import VideoCodec


class CodecFacts(NamedTuple):
    """One codec, as ffmpeg has it.

    Attributes:
        software: ffmpeg's name of the encoder that runs on the processor.
        nvenc: ffmpeg's name of NVIDIA's encoder; None if there is none.
        max_bits: the deepest components that the software encoder takes.
        default_crf: quality where none is asked for; None for a lossless codec.
        parameters_option: ffmpeg's option for the software encoder's own parameters; None if it has none.
        mastering_key: the own parameter that tells the mastering display; None if it cannot be told.
        light_key: the own parameter that tells the content's light levels; likewise.
        max_rate: most frames a second that the software encoder takes; None for any.
    """

    software: str
    nvenc: str | None
    max_bits: int
    default_crf: int | None
    parameters_option: str | None = None
    mastering_key: str | None = None
    light_key: str | None = None
    max_rate: int | None = None


CODECS = {
    VideoCodec.H264: CodecFacts("libx264", "h264_nvenc", 10, 18, "-x264-params", "mastering-display", "cll"),
    VideoCodec.HEVC: CodecFacts("libx265", "hevc_nvenc", 12, 18, "-x265-params", "master-display", "max-cll"),
    VideoCodec.AV1: CodecFacts(
        "libsvtav1", "av1_nvenc", 10, 24, "-svtav1-params", "mastering-display", "content-light", 240
    ),
    VideoCodec.FFV1: CodecFacts("ffv1", None, 16, None),
}
