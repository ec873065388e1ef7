"""The kinds of arrays and pictures that a program may hand over: cleaned as H×W×3, given back as they came.

    H×W×3, H×W×1, H×W     one picture, RGB or grey
    N×H×W×3, N×H×W×1      N pictures, each cleaned by itself
    uint8, uint16         0..255, 0..65535
    float32               0..1, cleaned as 65536 levels; what the network does not change keeps its bits

Pillow pictures are of mode RGB, L or I;16.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dpenet_cli.arrays import Pixels
from dpenet_cli.errors import ImageError
from dpenet_cli.images.writing import luma

Depth = TypeVar("Depth", bound=np.uint8 | np.uint16 | np.float32)
"""The dtype of an array, which comes back."""

_DTYPES = (np.uint8, np.uint16, np.float32)

_LEVELS = 65535
"""The whole number that stands for 1.0."""

_MODES = frozenset({"RGB", "L", "I;16"})


def cleaned_like(given: NDArray[Depth], clean: Callable[[Pixels], Pixels]) -> NDArray[Depth]:
    """Clean an array of any kind that this module lists.

    >>> grey = np.full((4, 5), 0.5, np.float32)
    >>> result = cleaned_like(grey, lambda pixels: pixels // 2)  # stands for the network: H×W×3 uint16
    >>> result.shape, result.dtype.name, round(float(result[0, 0]), 3)
    ((4, 5), 'float32', 0.25)

    Args:
        given: the array, which is left as it was.
        clean: cleans one picture, H×W×3 uint8 or uint16; called once for each, in order.

    Returns:
        A new array of the same shape and dtype.

    Raises:
        ImageError: it is none of these kinds, is empty, or has values that are not numbers or lie outside 0..1.
    """
    _check(given)
    if given.ndim < 4:
        return like(given, clean(_rgb(given)))
    result = np.empty(given.shape, given.dtype)
    for index, picture in enumerate(given):
        result[index] = like(picture, clean(_rgb(picture)))
    return result


def cleaned_picture(given: Image.Image, clean: Callable[[Pixels], Pixels]) -> Image.Image:
    """Clean a Pillow picture of mode RGB, L or I;16; the same mode comes back.

    Args:
        given: the picture, which is left as it was.
        clean: as for `cleaned_like`.

    Raises:
        ImageError: another mode, or no pixels.
    """
    if given.mode not in _MODES:
        step = 'Use .convert("RGB") first.'
        raise ImageError(f"picture of mode {given.mode}", "RGB, L or I;16 is needed", step)
    return Image.fromarray(cleaned_like(np.asarray(given), clean))


def to_pixels(given: NDArray[Depth]) -> Pixels:
    """One picture as the engine takes it: H×W×3, uint8 or uint16.

    Args:
        given: H×W×3, H×W×1 or H×W.

    Raises:
        ImageError: as `cleaned_like`; or it is a batch.
    """
    _check(given)
    if given.ndim == 4:
        raise ImageError(_described(given), "a frame is a single picture", "Give them one by one.")
    return _rgb(given)


def like(given: NDArray[Depth], cleaned: Pixels) -> NDArray[Depth]:
    """The clean picture as the rainy one was given: its shape and dtype.

    Args:
        given: the rainy picture.
        cleaned: what the engine made of `to_pixels`.
    """
    whole = _whole(given)
    result = luma(cleaned).reshape(given.shape) if _is_grey(given) else cleaned
    if given.dtype != np.float32:
        return np.asarray(result, given.dtype)
    # The change is added, not the cleaned levels given: what did not change must not be rounded to 16 bits.
    change = (result.astype(np.int32) - whole).astype(np.float32) / np.float32(_LEVELS)
    return np.clip(given + change, 0, 1)


def _rgb(given: NDArray[Any]) -> Pixels:
    whole = _whole(given)
    if _is_grey(given):
        whole = np.repeat(whole.reshape(*whole.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(whole)


def _whole(given: NDArray[Any]) -> Pixels:
    """Floats as 16 bits; what is whole comes back as it is."""
    return np.rint(given * np.float32(_LEVELS)).astype(np.uint16) if given.dtype == np.float32 else given


def _is_grey(given: NDArray[Any]) -> bool:
    return given.ndim == 2 or given.shape[2] == 1


def _check(given: Any) -> None:
    """Refuse what is no picture, before anything is computed.

    Raises:
        ImageError: as `cleaned_like`.
    """
    if not isinstance(given, np.ndarray):
        why = "a picture is a NumPy array, a Pillow picture or the path of one"
        raise ImageError(f"a {type(given).__name__}", why, "Convert it, with numpy.asarray, say.")
    what = _described(given)
    if given.dtype not in _DTYPES:
        step = 'Convert it: picture.astype("float32"), say.' if given.dtype.kind == "f" else "Convert it first."
        raise ImageError(what, "uint8, uint16 or float32 (0..1) is needed", step)
    if given.ndim not in (2, 3, 4) or (given.ndim > 2 and given.shape[-1] not in (1, 3)):
        raise ImageError(what, "H×W×3 RGB, H×W or H×W×1 grey, or N×H×W×3 is needed", _shape_step(given))
    if not given.size:
        raise ImageError(what, "it has no pixels", "Give a picture of at least one.")
    if given.dtype == np.float32:
        lowest, highest = float(given.min()), float(given.max())  # NaN if there is one anywhere
        if np.isnan(lowest):
            raise ImageError(what, "some of its values are not numbers (NaN)", "Replace them: numpy.nan_to_num, say.")
        if lowest < 0 or highest > 1:
            why = f"its values run from {lowest:g} to {highest:g}, and float32 pictures from 0 to 1"
            is_scaled = 2 < highest < np.inf
            step = "Divide by what stands for white: 255, say." if is_scaled else "Use numpy.clip(picture, 0, 1)."
            raise ImageError(what, why, step)


def _described(given: NDArray[Any]) -> str:
    return f"array {'×'.join(map(str, given.shape))} {given.dtype}"


def _shape_step(given: NDArray[Any]) -> str:
    """What to do about a shape."""
    if given.ndim in (3, 4) and given.shape[-1] == 4:
        return "Leave out the transparency: picture[..., :3]."
    if given.ndim in (3, 4) and given.shape[-3] in (1, 3):
        return "Put the channels last: numpy.moveaxis(picture, -3, -1)."
    return "Rows come first, channels last."
