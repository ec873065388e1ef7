"""Colour of a video: what its tags say, how pixels are turned to RGB and back, and which pixel format holds them."""

from typing import NamedTuple

from dpenet_cli.options import VideoCodec

_MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
"""Matrix tags of ITU-T H.273 that are plain coefficients, under swscale's names. Untagged (2) is taken as BT.601."""

_SWSCALE = {"bt709": 1, "fcc": 4, "bt601": 5, "smpte240m": 7, "bt2020": 9}
"""swscale's own numbers for them (SWS_CS_*)."""

_PQ, _HLG = 16, 18
"""Transfer tags of high dynamic range."""

_UNKNOWN = 2
_FULL = 2
"""Range tag: 1 is limited (16..235), 2 is full (0..255), 0 is untagged."""


class ColourTags(NamedTuple):
    """The tags of a video stream, as ITU-T H.273 numbers them; they are written as they were read."""

    range: int = 0
    matrix: int = _UNKNOWN
    primaries: int = _UNKNOWN
    transfer: int = _UNKNOWN

    @property
    def is_hdr(self) -> bool:
        """Whether the transfer is PQ or HLG."""
        return self.transfer in {_PQ, _HLG}

    @property
    def coefficients(self) -> str:
        """The name of the matrix that its tag asks for; BT.601, as all of FFmpeg has it, where there is no tag."""
        return _MATRICES.get(self.matrix, "bt601")

    @property
    def is_plain(self) -> bool:
        """Whether the matrix is one that swscale knows (YCgCo, ICtCp and such are not)."""
        return self.matrix in _MATRICES or self.matrix in {0, _UNKNOWN}


class PixelFormat(NamedTuple):
    """What a pixel format holds.

    Attributes:
        name: FFmpeg's.
        bits: of the deepest component.
        chroma: ``420``, ``422``, ``444``, ``gray`` or ``rgb``; rarer subsamplings count as the next finer one.
        alpha: whether there is transparency.
        full: whether the name itself says full range.
    """

    name: str
    bits: int
    chroma: str
    alpha: bool
    full: bool


def pixel_format_of(name: str) -> PixelFormat:
    """Take a pixel format apart.

    Raises:
        ValueError: PyAV does not know the name.
    """
    import av

    form = av.VideoFormat(name, 16, 16)
    components = form.components
    bits = max(component.bits for component in components)
    alpha = any(component.is_alpha for component in components)
    if form.is_rgb or form.has_palette:
        chroma = "rgb"
    elif len(components) - alpha < 3:
        chroma = "gray"
    else:
        halved = (components[1].width < 16, components[1].height < 16)
        chroma = {(True, True): "420", (True, False): "422"}.get(halved, "444")
    return PixelFormat(name, bits, chroma, alpha and not form.has_palette, name.startswith("yuvj"))


def is_full(colour: ColourTags, pixels: PixelFormat) -> bool:
    """Whether levels run from 0 to the peak, by the tag or the format's name."""
    return colour.range == _FULL or pixels.full


def swscale_number(coefficients: str) -> int:
    """Swscale's number for a matrix of `ColourTags.coefficients`."""
    return _SWSCALE[coefficients]


def output_format(source: PixelFormat, codec: VideoCodec, width: int, height: int) -> str:
    """The pixel format to encode in: the source's depth and chroma, or the next that holds them.

    Args:
        source: the input's pixel format.
        codec: of the output.
        width: of the coded picture, in pixels.
        height: likewise.
    """
    chroma = {"gray": "420", "rgb": "444"}.get(source.chroma, source.chroma)
    if codec in {VideoCodec.H264, VideoCodec.HEVC} and (width % 2 or (height % 2 and chroma == "420")):
        chroma = "444" if width % 2 else "422"  # libx264 and libx265 refuse odd sizes in coarser chroma
    if codec is VideoCodec.AV1:
        chroma = "420"
    if source.bits <= 8:
        return f"yuv{chroma}p"
    deepest = {VideoCodec.FFV1: 16, VideoCodec.HEVC: 12}.get(codec, 10)
    bits = next(step for step in (10, 12, 16) if step >= min(source.bits, deepest))
    return f"yuv{chroma}p{bits}le"


def to_yuv(colour: ColourTags, coefficients: str, pixel_format: str, *, full: bool, tag_range: int) -> str:
    """Ffmpeg's filters that turn RGB into a pixel format, with these coefficients, and tag it as the source was.

    Args:
        colour: the source's tags.
        coefficients: those that made the RGB, whatever the tags say.
        pixel_format: from `output_format`.
        full: whether the levels are to run from 0.
        tag_range: the range tag that the encoder is told.
    """
    scale = (
        f"scale=out_range={'full' if full else 'limited'}:out_color_matrix={coefficients}"
        ":flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
    )
    ranges = {0: "unknown", 1: "tv", 2: "pc"}
    return (
        f"{scale},format={pixel_format},setparams=range={ranges[tag_range]}:colorspace={_unknown(colour.matrix)}"
        f":color_primaries={_unknown(colour.primaries)}:color_trc={_unknown(colour.transfer)}"
    )


def _unknown(tag: int) -> str:
    return str(tag) if tag not in {0, 3} else str(_UNKNOWN)  # 0 would mean RGB or "reserved", 3 is reserved
