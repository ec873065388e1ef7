"""dpenet as a library: ``import dpenet``. The names of `dpenet_cli`, which holds the program, and no others.

    >>> import dpenet
    >>> derain = dpenet.load(device="cpu")
    >>> clean = derain(picture)  # an array, a Pillow picture or a path
    >>> dpenet.clean_file("rainy.jpg", "clean.jpg")

One module, which is installed beside `dpenet_cli`, in which it lies. No module can tell type checkers that it is typed:
the package `dpenet-stubs` beside it does.
"""

from typing import Any

import dpenet_cli
from dpenet_cli import errors

__all__ = ["errors"]
__all__ += dpenet_cli.__all__


def __getattr__(name: str) -> Any:
    """Import a public name when it is first touched."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(dpenet_cli, name)
