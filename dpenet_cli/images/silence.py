"""What decoders would print by themselves, kept off stderr: our errors and notices say it."""

import contextlib
import ctypes
import functools
import os
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from PIL import _imaging

_STDERR = 2
_LIBTIFF_HANDLERS = (
    "TIFFSetErrorHandler",
    "TIFFSetErrorHandlerExt",
    "TIFFSetWarningHandler",
    "TIFFSetWarningHandlerExt",
)


class Shared:
    """A setting of the whole process, changed while any thread needs it."""

    # The setting is changed by the first thread that comes and put back by the last that leaves, whichever those are: a
    # thread that put back what it had found would undo the change under the others.

    def __init__(self, change: Callable[[], Callable[[], object]]) -> None:
        self._change = change
        self._undo: Callable[[], object] = change  # replaced on every first entry
        self._users = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._undo = self._change()
            self._users += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._undo()


def silence() -> Callable[[], None]:
    """Stop the decoders' own printing; returns what puts everything back."""
    with contextlib.ExitStack() as undo:
        # Of all of them libtiff alone prints of its own accord. Its handlers are asked to be still where they can be
        # got at. Else, or where nothing of ours stands on descriptor 2, as in the command, that is closed to all
        # libraries alike; a library's user may have a thread of his own that writes there, whose words are not ours.
        setters = _libtiff_setters()
        for setter in setters:
            undo.callback(setter, setter(None))
        if not setters or _stands_elsewhere():
            undo.callback(_redirect())
        return undo.pop_all().close


@functools.cache
def _libtiff_setters() -> list[Callable[[Any], Any]]:
    """What sets the handlers of Pillow's own libtiff and gives the former ones; none where it hides them."""
    # Looked for from Pillow's module on, so that it is that module's libtiff and no other that the process may have.
    # On Windows the library is a part of the module, which shows none of its names.
    try:
        library = ctypes.CDLL(_imaging.__file__)
        setters = [getattr(library, name) for name in _LIBTIFF_HANDLERS]
    except (AttributeError, OSError, TypeError):
        return []
    for setter in setters:
        setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
    return setters


def _stands_elsewhere() -> bool:
    """Whether what Python prints to stderr goes to another descriptor than the libraries'."""
    try:
        return sys.stderr.fileno() != _STDERR
    except (AttributeError, OSError, ValueError):  # no stderr, or one that is no file
        return False


def _redirect() -> Callable[[], None]:
    """Let descriptor 2 lead nowhere; returns what puts it back."""
    try:
        former = os.dup(_STDERR)
    except OSError:  # it is closed: nobody reads what is written there
        return lambda: None
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, _STDERR)
    os.close(nowhere)

    def undo() -> None:
        os.dup2(former, _STDERR)
        os.close(former)

    return undo
