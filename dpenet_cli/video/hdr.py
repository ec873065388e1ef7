"""High dynamic range: what frames say of the display they were graded on, and how each encoder is told to say it."""

import struct
from fractions import Fraction
from typing import NamedTuple

from dpenet_cli.options import VideoCodec

Point = tuple[Fraction, Fraction]

_DISPLAY = struct.Struct("=22i")
"""libavutil's AVMasteringDisplayMetadata: 3 primaries and the white point as (x, y), the least and the greatest
luminance, each a fraction of two integers; then whether colours and whether luminances are given."""

_CONTENT = struct.Struct("=2I")
"""The beginning of libavutil's AVContentLightMetadata."""

_CHROMATICITY, _LUMINANCE = 50_000, 10_000
"""Units a whole, and units a cd/m², in which SMPTE ST 2086 counts."""


class Mastering(NamedTuple):
    """Static HDR metadata of a video: SMPTE ST 2086 and CTA-861.3.

    Attributes:
        primaries: CIE 1931 x and y of red, green, blue and white of the mastering display; empty if not told.
        luminance: its least and greatest, in cd/m²; None if not told.
        content: MaxCLL and MaxFALL, in cd/m²; None if not told.
    """

    primaries: tuple[Point, ...] = ()
    luminance: Point | None = None
    content: tuple[int, int] | None = None

    def parameters(self, codec: VideoCodec) -> list[str]:
        """What a software encoder's own parameters must be for its stream to say the same."""
        names = {
            VideoCodec.H264: ("mastering-display", "cll"),
            VideoCodec.HEVC: ("master-display", "max-cll"),
            VideoCodec.AV1: ("mastering-display", "content-light"),
        }
        if codec not in names:
            return []
        display, content = names[codec]
        told = [f"{display}={self._display(codec)}"] if self.primaries and self.luminance else []
        return told + ([f"{content}={self.content[0]},{self.content[1]}"] if self.content else [])

    def _display(self, codec: VideoCodec) -> str:
        assert self.luminance is not None

        def number(value: Fraction, unit: int) -> str:
            return f"{float(value):.5f}" if codec is VideoCodec.AV1 else str(round(value * unit))

        red, green, blue, white = self.primaries
        text = ""
        for name, (x, y) in (("G", green), ("B", blue), ("R", red), ("WP", white)):
            text += f"{name}({number(x, _CHROMATICITY)},{number(y, _CHROMATICITY)})"
        least, most = self.luminance
        return f"{text}L({number(most, _LUMINANCE)},{number(least, _LUMINANCE)})"


def mastering(side_data: dict[str, bytes]) -> Mastering | None:
    """Static HDR metadata of a decoded frame.

    Args:
        side_data: by PyAV's names for its types.
    """
    primaries: tuple[Point, ...] = ()
    luminance = content = None
    if (data := side_data.get("MASTERING_DISPLAY_METADATA")) and len(data) >= _DISPLAY.size:
        *pairs, has_primaries, has_luminance = _DISPLAY.unpack_from(data)
        values = [Fraction(top, bottom or 1) for top, bottom in zip(pairs[::2], pairs[1::2], strict=True)]
        primaries = tuple(zip(values[:8:2], values[1:8:2], strict=True)) if has_primaries else ()
        luminance = (values[8], values[9]) if has_luminance else None
    if (data := side_data.get("CONTENT_LIGHT_LEVEL")) and len(data) >= _CONTENT.size:
        content = _CONTENT.unpack_from(data)
    return Mastering(primaries, luminance, content) if primaries or luminance or content else None
