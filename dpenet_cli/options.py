"""The choices that a user has, as frozen dataclasses, declared once. No torch: the CLI reads its defaults here."""

import math
import types
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from numbers import Rational, Real
from typing import Any, get_args, get_origin, get_type_hints

from dpenet_cli.errors import OptionError


class Protocol(StrEnum):
    """What is compared; the docstring of `evaluation.metrics` defines each."""

    Y_UINT8 = "y-uint8"
    Y_FLOAT = "y-float"
    RGB = "rgb"


PROTOCOL = Protocol.Y_UINT8
"""The protocol unless another is named, in training and in the benchmark."""


class Precision(StrEnum):
    """The arithmetic of the network. The input is always added to its residual in fp32."""

    AUTO = "auto"
    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"


class Runtime(StrEnum):
    """What runs the network; the results agree to fp32's rounding."""

    AUTO = "auto"
    TORCH = "torch"
    OPENVINO = "openvino"


class ExportFormat(StrEnum):
    """Files that other runtimes read."""

    ONNX = "onnx"
    OPENVINO = "openvino"


class ImageFormat(StrEnum):
    """The formats that pictures are written in; the values are Pillow's names in lower case."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    TIFF = "tiff"
    BMP = "bmp"
    AVIF = "avif"
    HEIC = "heic"


DEFAULT_WEIGHTS = "general"
"""The name of the weights that ship with the package and serve when none are asked for."""

FAST_WEIGHTS = "light"
"""The name of the weights of the smaller network: five blocks that remove streaks instead of ten."""

ALL_CUDA = "cuda:all"
"""The name of all CUDA devices together, for folders and videos."""

MAX_PIXELS = 250_000_000
"""Largest picture that is decoded without being asked to, in pixels: above every phone and medium-format camera sold
today (200 and 150 megapixels), far below what a decompression bomb claims."""


MIN_SCALE = 0.02
"""Smallest share of a picture's width that the network may be shown: of the largest pictures, the size it learnt."""

_KINDS: dict[Any, tuple[str, str]] = {
    bool: ("it is either on or off", "Give True or False."),
    int: ("a whole number is needed", "Give 512, say."),
    float: ("a finite number is needed", "Give 0.8, say."),
    Fraction: ("a finite number of seconds is needed", "Give 10, say."),
    str: ("a text is needed", "Give one, in quotes."),
    tuple[str, ...]: ("a tuple of texts is needed", "Give one, in quotes and with its comma."),
    Mapping[str, float]: ("finite numbers by name are needed", "Write pairs=0.3,thin=0.7, say."),
}
"""What a value must be, and what to do about it, by the type of its field."""


def check_types(options: Any) -> None:
    """Check every field of a dataclass of options against its type, so that nonsense fails here and by name.

    A plain string becomes the member of its enumeration, and a number of seconds a fraction.

    Raises:
        OptionError: a value of another type, or a number that is not finite.
    """
    for name, hint in get_type_hints(type(options)).items():
        value = getattr(options, name)
        kinds = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        if value is None and types.NoneType in kinds:
            continue
        kind, what = kinds[0], f"{name.replace('_', '-')} {value!r}"
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            if value not in tuple(kind):
                raise OptionError(what, f"there is no such {name}", f"Use {', '.join(kind)}.")
            object.__setattr__(options, name, kind(value))
        elif not _is(value, kind):
            why, step = _KINDS.get(kind, (f"it is not of the kind {kind}", "See what the option's documentation says."))
            raise OptionError(what, why, step)
        elif kind is Fraction:
            object.__setattr__(options, name, Fraction(value))


def _is(value: Any, kind: Any) -> bool:
    if isinstance(value, bool):
        return kind is bool  # though Python counts with it
    if kind in (float, Fraction):
        return isinstance(value, Rational) or (isinstance(value, Real) and math.isfinite(value))
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_is(each, get_args(kind)[0]) for each in value)
    if get_origin(kind) is Mapping:
        key, item = get_args(kind)
        return isinstance(value, Mapping) and all(_is(k, key) and _is(v, item) for k, v in value.items())
    return isinstance(value, kind)


@dataclass(frozen=True)
class EngineOptions:
    """How the network is run.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; ``auto`` takes the first CUDA device, then MPS,
            then the CPU. `dpenet_cli.load` also takes ``cuda:all``.
        precision: ``auto`` is fp16 on CUDA, bf16 on a CPU that has it in hardware, fp32 elsewhere and for 16-bit
            pictures.
        tile: widest strip of the picture that is worked on at a time, in pixels, or None to choose it from the memory
            at hand. It changes speed and memory, never the result.
        threads: CPU threads for the network, or None for PyTorch's choice.
        strength: 0..1; the result is ``input + strength · (restored − input)``.
        backend: what runs the network; ``auto`` is OpenVINO on a CPU, where it is installed and known to be faster,
            PyTorch elsewhere.
        scale: width in which the network sees a picture over the picture's own, above 0 and at most 1, or None for
            the one that suits the rain. A `Derainer` itself sees every picture in its own size.
    """

    device: str = "auto"
    precision: Precision = Precision.AUTO
    tile: int | None = None
    threads: int | None = None
    strength: float = 1.0
    backend: Runtime = Runtime.AUTO
    scale: float | None = None

    def __post_init__(self) -> None:
        check_types(self)
        if self.tile is not None and self.tile < 1:
            raise OptionError(f"tile {self.tile}", "a tile is at least 1 pixel wide", "Give a number such as 512.")
        if self.threads is not None and self.threads < 1:
            raise OptionError(f"threads {self.threads}", "at least one thread is needed", "Give 1 or more.")
        if not 0.0 <= self.strength <= 1.0:
            raise OptionError(
                f"strength {self.strength}", "the strength of the cleaning lies between 0 and 1", "Give 0.8, say."
            )
        if self.scale is not None and not MIN_SCALE <= self.scale <= 1.0:
            why = f"the network sees pictures in their own size, 1, or in less of it, down to {MIN_SCALE}"
            raise OptionError(f"scale {self.scale}", why, "Give 1/2, say, or auto.")


@dataclass(frozen=True)
class SaveOptions:
    """How a picture is written.

    Attributes:
        quality: 1..100 for JPEG, WebP, AVIF and HEIC, or None for one that is not visibly worse than the input.
        tag: the name of a program, added to EXIF's Software behind what stands there; None adds nothing. It is not left
            out with the metadata of the input.
        strip_metadata: leave out EXIF, XMP, IPTC, comments, text, resolution and the ICC profile. 8-bit colours with
            another profile than sRGB are converted to sRGB first; a 16-bit picture keeps such a profile, with a notice.
    """

    quality: int | None = None
    strip_metadata: bool = False
    tag: str | None = None

    def __post_init__(self) -> None:
        check_types(self)
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise OptionError(f"quality {self.quality}", "quality lies between 1 and 100", "Give 95, say.")


@dataclass(frozen=True)
class PictureOptions:
    """How pictures are cleaned and written.

    Attributes:
        save: how results are encoded.
        image_format: format of the results, or None for the one that the target's name says.
        max_pixels: larger pictures are refused.
        overwrite: redo outputs that exist and are newer than their source.
        workers: pictures that are read, and pictures that are written, at the same time beside the network.
        at_once: pictures in the network at the same time.
        skip_dry: leave pictures in which no rain is found as they are.
    """

    save: SaveOptions = SaveOptions()
    image_format: ImageFormat | None = None
    max_pixels: int = MAX_PIXELS
    overwrite: bool = False
    workers: int = 1
    at_once: int = 1
    skip_dry: bool = False

    def __post_init__(self) -> None:
        check_types(self)


class VideoCodec(StrEnum):
    """What a clean video is encoded with."""

    H264 = "h264"
    HEVC = "hevc"
    AV1 = "av1"
    FFV1 = "ffv1"


class VideoMethod(StrEnum):
    """What cleans a video's frames: their neighbours in time, the network, or both."""

    AUTO = "auto"
    TEMPORAL = "temporal"
    NETWORK = "network"


class VideoEncoder(StrEnum):
    """Who does the encoding: the processor, or an NVIDIA card's video engine."""

    AUTO = "auto"
    SOFTWARE = "software"
    NVENC = "nvenc"


@dataclass(frozen=True)
class VideoOptions:
    """How a video is cleaned.

    Attributes:
        method: what cleans the frames. ``auto``: their neighbours, and the network where those don't know.
        fast: optical flow at half of the usual size.
        codec: of the result, or None for the one that suits the container and the bit depth.
        crf: the encoder's quality scale, lower is better, or None for the codec's own default here.
        preset: the encoder's own name or number for speed against size, or None for its default.
        encoder: who encodes; ``auto`` takes software, whose quality for the size is better, and NVENC where it fails.
        video_stream: clean only the Nth video stream, from 0, and copy the others; None cleans all.
        start: seconds of the video's own clock from which frames are taken, or None for the beginning.
        end: seconds at which they stop, or None for the end.
        hdr: clean high dynamic range (PQ, HLG) in its own transfer function instead of refusing.
        deinterlace: turn interlaced fields into whole frames (one a pair of fields) instead of refusing.
        allow_damaged: a video that could only be read in part counts as done.
        preview: only so many seconds from the middle, before and after side by side; None for the whole.
        checkpoint: seconds of video in a segment: the most that a crash can cost.
        overwrite: redo outputs that exist and are newer than their source.
    """

    method: VideoMethod = VideoMethod.AUTO
    fast: bool = False
    codec: VideoCodec | None = None
    crf: int | None = None
    preset: str | None = None
    encoder: VideoEncoder = VideoEncoder.AUTO
    video_stream: int | None = None
    start: Fraction | None = None
    end: Fraction | None = None
    hdr: bool = False
    deinterlace: bool = False
    allow_damaged: bool = False
    preview: Fraction | None = None
    checkpoint: Fraction = Fraction(10)
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_types(self)
        if self.crf is not None and not 0 <= self.crf <= 63:
            raise OptionError(f"crf {self.crf}", "the quality scale runs from 0 to 63", "Give 18, say.")
        if self.preview is not None and self.preview <= 0:
            raise OptionError(f"preview {self.preview}", "a preview has a length", "Give 5 seconds, say.")
        if self.checkpoint <= 0:
            raise OptionError(f"checkpoint {self.checkpoint}", "a segment has a length", "Give 10 seconds, say.")
        if self.video_stream is not None and self.video_stream < 0:
            raise OptionError(f"video stream {self.video_stream}", "they are counted from 0", "Give 0 for the first.")
        if self.start is not None and self.start < 0:
            raise OptionError(f"start {self.start}", "it lies before the video's beginning", "Give 0 or more seconds.")
        if self.end is not None and self.end <= (self.start or 0):
            why = f"it does not lie after the start, {self.start or 0}"
            raise OptionError(f"end {self.end}", why, "Give a later end.")
