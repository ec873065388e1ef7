"""dpenet as a library: ``import dpenet``. The names of `dpenet_cli`, which holds the program, and no others.

    >>> import dpenet
    >>> derain = dpenet.load(device="cpu")
    >>> clean = derain(picture)  # an array, a Pillow picture or a path
    >>> dpenet.clean_file("rainy.jpg", "clean.jpg")

A package and not a module: only a package can tell type checkers that it is typed (`py.typed`). It is installed beside
`dpenet_cli`, in which it lies.
"""

from typing import TYPE_CHECKING, Any

import dpenet_cli
from dpenet_cli import __version__, errors

if TYPE_CHECKING:
    from dpenet_cli import (
        Derainer,
        DpenetError,
        EngineOptions,
        Outcome,
        PictureDerainer,
        PictureOptions,
        Precision,
        SaveOptions,
        VideoOptions,
        clean_file,
        clean_video,
        load,
    )

__all__ = [
    "Derainer",
    "DpenetError",
    "EngineOptions",
    "Outcome",
    "PictureDerainer",
    "PictureOptions",
    "Precision",
    "SaveOptions",
    "VideoOptions",
    "__version__",
    "clean_file",
    "clean_video",
    "errors",
    "load",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first touched."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(dpenet_cli, name)
