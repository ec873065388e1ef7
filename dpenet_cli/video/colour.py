"""Colour of a video: what its tags say, how pixels are turned to RGB and back, and which pixel format holds them."""

from typing import NamedTuple

import av

from dpenet_cli.arrays import HDR_TRANSFERS
from dpenet_cli.options import VideoCodec
from dpenet_cli.video.codecs import CODECS

_MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
"""Matrix tags of ITU-T H.273 that are plain coefficients, under swscale's names. Untagged (2) is taken as BT.601."""

_SWSCALE = {"bt709": 1, "fcc": 4, "bt601": 5, "smpte240m": 7, "bt2020": 9}
"""swscale's own numbers for them (SWS_CS_*)."""

_UNKNOWN = 2
"""What ITU-T H.273 has for an unspecified matrix, primaries or transfer."""

UNTAGGED_RANGE, LIMITED, FULL = 0, 1, 2
"""Range tags, as libavutil numbers them: limited is 16..235 of 8 bits, full is 0..255."""


class ColourTags(NamedTuple):
    """The tags of a video stream, as ITU-T H.273 numbers them; they are written as they were read.

    Attributes:
        range: whether levels begin at 16 or at 0, as libavutil numbers it.
        matrix: matrix coefficients between RGB and YCbCr.
        primaries: colour primaries.
        transfer: transfer characteristics.
    """

    range: int = UNTAGGED_RANGE
    matrix: int = _UNKNOWN
    primaries: int = _UNKNOWN
    transfer: int = _UNKNOWN

    @property
    def reference_white(self) -> float:
        """The code value of diffuse white, as a share of the range: ITU-R BT.2408 has 58% for PQ and 75% for HLG."""
        return {16: 0.58, 18: 0.75}.get(self.transfer, 1.0)

    @property
    def is_hdr(self) -> bool:
        """Whether the transfer is PQ or HLG."""
        return self.transfer in HDR_TRANSFERS

    @property
    def coefficients(self) -> str:
        """The name of the matrix that its tag asks for; BT.601, as all of FFmpeg has it, where there is no tag."""
        return _MATRICES.get(self.matrix, "bt601")

    @property
    def has_known_matrix(self) -> bool:
        """Whether the matrix is one that swscale knows (YCgCo, ICtCp and such are not)."""
        return self.matrix in _MATRICES or self.matrix in {0, _UNKNOWN}


class PixelFormat(NamedTuple):
    """What a pixel format holds.

    Attributes:
        name: FFmpeg's.
        bits: depth of the deepest component.
        chroma: ``420``, ``422``, ``444``, ``gray`` or ``rgb``; rarer subsamplings count as the next finer one.
        has_alpha: whether there is transparency.
        full_range: whether the name itself says full range.
    """

    name: str
    bits: int
    chroma: str
    has_alpha: bool
    full_range: bool


def pixel_format_of(name: str) -> PixelFormat:
    """Take a pixel format apart.

    Raises:
        ValueError: PyAV does not know the name.
    """
    form = av.VideoFormat(name, 16, 16)
    components = form.components
    bits = max(component.bits for component in components)
    alpha = any(component.is_alpha for component in components)
    if form.is_rgb or form.has_palette:
        chroma = "rgb"
    elif len(components) - alpha < 3:
        chroma = "gray"
    else:
        # Of a picture of 16×16, how wide and high is Cb?
        halved = (components[1].width < 16, components[1].height < 16)
        chroma = {(True, True): "420", (True, False): "422"}.get(halved, "444")
    return PixelFormat(name, bits, chroma, alpha and not form.has_palette, name.startswith("yuvj"))


def is_full_range(colour: ColourTags, pixels: PixelFormat) -> bool:
    """Whether levels run from 0 to the peak, by the tag or the format's name."""
    return colour.range == FULL or pixels.full_range


def swscale_number(coefficients: str) -> int:
    """Swscale's number for a matrix of `ColourTags.coefficients`."""
    return _SWSCALE[coefficients]


def output_pixel_format(source: PixelFormat, codec: VideoCodec, width: int, height: int) -> str:
    """The pixel format to encode in: the source's depth and chroma, or the next that holds them.

    Args:
        source: the input's pixel format.
        codec: what the output is encoded with.
        width: width of the coded picture, in pixels.
        height: its height.
    """
    chroma = {"gray": "420", "rgb": "444"}.get(source.chroma, source.chroma)
    if codec in {VideoCodec.H264, VideoCodec.HEVC} and (width % 2 or (height % 2 and chroma == "420")):
        chroma = "444" if width % 2 else "422"  # libx264 and libx265 refuse odd sizes in coarser chroma
    if codec is VideoCodec.AV1:
        chroma = "420"
    if source.bits <= 8:
        return f"yuv{chroma}p"
    bits = next(step for step in (10, 12, 16) if step >= min(source.bits, CODECS[codec].max_bits))
    return f"yuv{chroma}p{bits}le"


def rgb_to_yuv_filters(
    colour: ColourTags, coefficients: str, pixel_format: str, *, full_range: bool, tag_range: int
) -> str:
    """Ffmpeg's filters that turn RGB into a pixel format, with these coefficients, and tag it as the source was.

    Args:
        colour: the source's tags.
        coefficients: the matrix that made the RGB, whatever the tags say.
        pixel_format: from `output_pixel_format`.
        full_range: the levels are to run from 0.
        tag_range: the range tag that the encoder is told.
    """
    scale = (
        f"scale=out_range={'full' if full_range else 'limited'}:out_color_matrix={coefficients}"
        ":flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
    )
    ranges = {UNTAGGED_RANGE: "unknown", LIMITED: "tv", FULL: "pc"}
    return (
        f"{scale},format={pixel_format},setparams=range={ranges[tag_range]}:colorspace={_tag(colour.matrix)}"
        f":color_primaries={_tag(colour.primaries)}:color_trc={_tag(colour.transfer)}"
    )


def _tag(tag: int) -> str:
    return str(tag) if tag not in {0, 3} else str(_UNKNOWN)  # 0 would mean RGB or "reserved", 3 is reserved
