"""ICC profiles: into sRGB, band by band, so that a large picture needs no second copy in memory."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from dpenet_cli.arrays import BAND

_SRGB_TOLERANCE = 2
"""Grey levels; sRGB profiles by different makers differ by less."""


class ProfileError(ValueError):
    """The profile is damaged, or does not fit the channels."""


def to_srgb(icc: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    """The transform from a profile to sRGB, relative colorimetric with black point compensation.

    Args:
        icc: the profile.
        mode: Pillow's mode of the pictures to come: ``L``, ``RGB`` or ``CMYK``; the result is always RGB.

    Raises:
        ProfileError: damaged, or for other channels than the mode's.
    """
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        space = profile.profile.xcolor_space.strip()
        if {"L": "GRAY"}.get(mode, mode) != space:
            raise ProfileError(f"a profile for {space}")
        return ImageCms.buildTransform(
            profile,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        raise ProfileError(str(error)) from error


def fits(icc: bytes, *, grey: bool) -> bool:
    """Whether a profile can be for grey pixels, or for RGB, by its header; a damaged one is not judged here.

    One for RGB is let through with grey pixels, too: such files are common, and mean R = G = B.
    """
    return icc[36:40] != b"acsp" or icc[16:20] == b"RGB " or (grey and icc[16:20] == b"GRAY")


def is_srgb(icc: bytes) -> bool:
    """Whether an RGB profile changes nothing, by its effect on a grid of colours, since names and versions vary.

    Raises:
        ProfileError: damaged, or not for RGB.
    """
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)  # 9×9×9 colours as a picture
    there = np.asarray(to_srgb(icc, "RGB").apply(Image.fromarray(grid)))
    return int(np.abs(there.astype(int) - grid).max()) <= _SRGB_TOLERANCE


def converted(pixels: NDArray[np.uint8], icc: bytes) -> NDArray[np.uint8]:
    """Pixels in sRGB.

    Args:
        pixels: H×W×3 RGB, or H×W×1 grey.
        icc: their profile.

    Returns:
        As many channels as came in.

    Raises:
        ProfileError: damaged, or for other channels.
    """
    grey = pixels.shape[2] == 1
    transform = to_srgb(icc, "L" if grey else "RGB")
    result = np.empty_like(pixels)
    for top in range(0, len(pixels), BAND):
        band = pixels[top : top + BAND, :, 0] if grey else pixels[top : top + BAND]
        there = np.asarray(transform.apply(Image.fromarray(np.ascontiguousarray(band))))
        result[top : top + BAND] = there[..., :1] if grey else there  # a grey profile yields equal channels
    return result
