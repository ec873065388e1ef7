"""High dynamic range: what frames say of the display they were graded on, and how each encoder is told to say it."""

import struct
from fractions import Fraction
from typing import NamedTuple

from dpenet_cli.options import VideoCodec
from dpenet_cli.video.codecs import CODECS

Point = tuple[Fraction, Fraction]

_MASTERING = struct.Struct("=22i")
"""libavutil's AVMasteringDisplayMetadata: 3 primaries and the white point as (x, y), the least and the greatest
luminance, each a fraction of two integers; then whether colours and whether luminances are given."""

_LIGHT_LEVEL = struct.Struct("=2I")
"""The beginning of libavutil's AVContentLightMetadata."""

_CHROMATICITY, _LUMINANCE = 50_000, 10_000
"""Units a whole, and units a cd/m², in which SMPTE ST 2086 counts."""


class HdrMetadata(NamedTuple):
    """Static HDR metadata of a video: SMPTE ST 2086 (mastering display) and CTA-861.3 (content light level).

    Attributes:
        primaries: CIE 1931 x and y of red, green, blue and white of the mastering display; empty if not given.
        luminance: its least and greatest, in cd/m²; None if not given.
        light_level: MaxCLL and MaxFALL of the content, in cd/m²; None if not given.
    """

    primaries: tuple[Point, ...] = ()
    luminance: Point | None = None
    light_level: tuple[int, int] | None = None

    def encoder_parameters(self, codec: VideoCodec) -> list[str]:
        """What a software encoder's own parameters must be for its stream to say the same; empty if it has none."""
        facts = CODECS[codec]
        parameters = []
        if facts.mastering_key and self.primaries and self.luminance:
            parameters.append(f"{facts.mastering_key}={self._mastering_display(codec)}")
        if facts.light_key and self.light_level:
            parameters.append(f"{facts.light_key}={self.light_level[0]},{self.light_level[1]}")
        return parameters

    def _mastering_display(self, codec: VideoCodec) -> str:
        assert self.luminance is not None

        # SVT-AV1 reads decimal numbers, x264 and x265 read multiples of ST 2086's units.
        def number(value: Fraction, unit: int) -> str:
            return f"{float(value):.5f}" if codec is VideoCodec.AV1 else str(round(value * unit))

        red, green, blue, white = self.primaries
        text = ""
        # The order that all three encoders ask for; libavutil's own is red, green, blue.
        for name, (x, y) in (("G", green), ("B", blue), ("R", red), ("WP", white)):
            text += f"{name}({number(x, _CHROMATICITY)},{number(y, _CHROMATICITY)})"
        least, most = self.luminance
        return f"{text}L({number(most, _LUMINANCE)},{number(least, _LUMINANCE)})"


def hdr_metadata_of(side_data: dict[str, bytes]) -> HdrMetadata | None:
    """Static HDR metadata of a decoded frame; None if it carries none.

    Args:
        side_data: content of the frame's side data, by the names of its kinds.
    """
    primaries: tuple[Point, ...] = ()
    luminance = light_level = None
    if (data := side_data.get("MASTERING_DISPLAY_METADATA")) and len(data) >= _MASTERING.size:
        *pairs, has_primaries, has_luminance = _MASTERING.unpack_from(data)
        values = [Fraction(top, bottom or 1) for top, bottom in zip(pairs[::2], pairs[1::2], strict=True)]
        primaries = tuple(zip(values[:8:2], values[1:8:2], strict=True)) if has_primaries else ()
        luminance = (values[8], values[9]) if has_luminance else None
    if (data := side_data.get("CONTENT_LIGHT_LEVEL")) and len(data) >= _LIGHT_LEVEL.size:
        light_level = _LIGHT_LEVEL.unpack_from(data)
    given = primaries or luminance or light_level
    return HdrMetadata(primaries, luminance, light_level) if given else None
