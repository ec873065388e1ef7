"""Pixels out of Pillow and OpenCV, and what is done to them before anything else sees them."""

import struct
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from dpenet_cli.arrays import BAND
from dpenet_cli.errors import DpenetError, ImageReadError, ImageRefused
from dpenet_cli.images import icc_profiles
from dpenet_cli.images.picture import Samples
from dpenet_cli.images.silence import Shared, silence

COPY_AGAIN = "Copy it again from its source, or save it anew with a picture editor."

DECODING_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow, its plugins and pillow-heif raise on damaged files; libraries that fail oddly fail one picture only."""


def _open_pillow() -> Callable[[], None]:
    """Pillow's own pixel limit, its warnings and its libraries' off; returns what puts them back.

    The size is checked from the header before Pillow decodes, and what its warnings say of damage our notices say.
    """
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    speak_again = silence()
    caught = warnings.catch_warnings()
    caught.__enter__()
    warnings.filterwarnings("ignore", module=r"PIL\.|pillow_heif\.")

    def undo() -> None:
        caught.__exit__(None, None, None)
        Image.MAX_IMAGE_PIXELS = limit
        speak_again()

    return undo


def _silence_opencv() -> Callable[[], object]:
    """OpenCV's log off, which would print on stderr what is raised here; returns what puts it back."""
    log = _opencv().utils.logging
    level = log.setLogLevel(log.LOG_LEVEL_SILENT)
    return lambda: log.setLogLevel(level)


PILLOW_RULES = Shared(_open_pillow)
_OPENCV_SILENCE = Shared(_silence_opencv)


def _samples(image: Image.Image, mode: str, convert: Callable[[Image.Image], Image.Image] | None = None) -> Samples:
    """The values of a Pillow picture, copied band by band: Pillow holds four bytes a pixel, which is copy enough.

    Args:
        image: decoded or not.
        mode: ``L``, ``LA``, ``RGB`` or ``RGBA``, the mode of the result.
        convert: what makes a band of that mode; by default Pillow's own conversion.
    """
    image.load()
    width, height = image.size
    result = np.empty((height, width, len(mode)), np.uint8)
    for top in range(0, height, BAND):
        band = image.crop((0, top, width, min(top + BAND, height)))
        if convert:
            band = convert(band)
        elif band.mode != mode:
            band = band.convert(mode)
        result[top : top + BAND] = np.asarray(band).reshape(band.height, width, len(mode))
    return result


def decode(image: Image.Image, icc: bytes | None, what: str) -> tuple[Samples, list[str]]:
    """Samples of any of Pillow's 8-bit modes, and notices; CMYK comes out as sRGB. Empties the image.

    Raises:
        ImageRefused: CMYK without a profile, or a mode of another kind.
    """
    try:
        return _any_mode(image, icc, what)
    finally:
        image.close()  # its pixels must not outlive the copy


def _any_mode(image: Image.Image, icc: bytes | None, what: str) -> tuple[Samples, list[str]]:
    if image.mode == "CMYK":
        return _from_cmyk(image, icc, what)
    transparent = image.has_transparency_data
    if image.mode == "1":
        return _samples(image, "LA" if transparent else "L"), ["black and white became 8-bit grey"]
    if image.mode == "P":
        return _samples(image, "RGBA" if transparent else "RGB"), ["the palette of colours became RGB"]
    if image.mode in ("L", "LA", "La"):
        return _samples(image, "LA" if transparent or image.mode != "L" else "L"), []
    if image.mode in ("RGB", "RGBA", "RGBa", "YCbCr"):
        return _samples(image, "RGBA" if transparent or image.mode == "RGBa" else "RGB"), []
    if image.mode == "RGBX":  # a TIFF whose fourth channel did not say what it is
        return _samples(image, "RGBX"), ["its fourth channel does not say what it is, and is taken as transparency"]
    raise ImageRefused(what, f"its pixels are of kind {image.mode}", "Export it as an RGB picture of 8 or 16 bits.")


def _from_cmyk(image: Image.Image, icc: bytes | None, what: str) -> tuple[Samples, list[str]]:
    try:
        transform = icc_profiles.to_srgb(icc or b"", "CMYK")
    except icc_profiles.ProfileError as error:
        reason = "a usable profile" if icc else "a colour profile"
        raise ImageRefused(
            what, f"it is CMYK without {reason}, so its colours are unknown", "Convert it to RGB in a picture editor."
        ) from error
    return _samples(image, "RGB", transform.apply), ["CMYK became sRGB, through its colour profile"]


def upright(samples: Samples, orientation: int) -> Samples:
    """Turn samples by an EXIF orientation.

    Args:
        samples: H×W×C.
        orientation: 1..8 (CIPA DC-008, 4.6.5 A).

    Returns:
        H×W×C, or W×H×C for orientations from 5 on.
    """
    turned = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),  # from here on W×H×C
        6: lambda a: a[::-1].swapaxes(0, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: a.swapaxes(0, 1)[::-1],
    }[orientation](samples)
    return np.ascontiguousarray(turned)


def unmultiplied(samples: Samples) -> Samples:
    """Colours that were stored multiplied by alpha, divided by it again and rounded.

    Args:
        samples: H×W×C uint16, alpha last; changed in place.
    """
    alpha = np.maximum(samples[..., -1:], 1).astype(np.uint32)  # H×W×1; nothing is divided by 0
    for top in range(0, len(samples), BAND):
        band = slice(top, top + BAND)
        divided = (samples[band, :, :-1].astype(np.uint32) * 65535 + alpha[band] // 2) // alpha[band]
        samples[band, :, :-1] = np.minimum(divided, 65535)
    return samples


def decode_16_bit(data: bytes, what: str) -> Samples:
    """16-bit PNG or TIFF through OpenCV, which keeps all bits: H×W, or H×W×C in the order BGR(A), as stored.

    Raises:
        ImageReadError: damaged.
        DpenetError: OpenCV cannot be loaded.
    """
    cv2 = _opencv()
    try:
        with _OPENCV_SILENCE:
            decoded: Samples | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageReadError(what, "its pixels cannot be decoded", COPY_AGAIN) from error
    if decoded is None or decoded.dtype != np.uint16:
        raise ImageReadError(what, "its pixels are cut off or damaged", COPY_AGAIN)
    return decoded


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise DpenetError(
            "OpenCV, which reads 16-bit pictures, cannot be loaded",
            str(error).rstrip("."),
            "Where a system library is missing, install it (on Debian and Ubuntu `apt install libgl1 libglib2.0-0`), "
            "or use the package opencv-python-headless instead of opencv-python.",
        ) from error
    return cv2
