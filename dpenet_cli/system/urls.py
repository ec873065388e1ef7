"""URLs of objects in stores, and what was seen there."""

import functools
import os
import re
from pathlib import PurePosixPath
from typing import NamedTuple, NoReturn

from dpenet_cli.errors import OptionError
from dpenet_cli.system.packages import pip_install

S3 = frozenset({"s3", "s3a"})
"""Protocols that are spoken by the package of the extra ``cloud``."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)

_LONGEST_KEY = 1024
"""Bytes of a name that S3, Google's and Azure's stores take."""

_UNSAFE = "\\:" if os.name == "nt" else ""
"""What would lead a file of this machine that is named after an object to another folder."""


class State(NamedTuple):
    """What tells a file or an object as it is from what it was.

    Attributes:
        size: in bytes.
        changed: when, in nanoseconds since 1970; 0 where a store does not tell.
        etag: a store's own mark of the content, or nothing.
    """

    size: int
    changed: int
    etag: str = ""

    @property
    def tag(self) -> str:
        """A text that another state does not have."""
        return self.etag or f"{self.changed}-{self.size}"


class StorePath(PurePosixPath):
    """The URL of an object, or of all objects whose names begin with it and a slash: ``s3://bucket/deep/a.jpg``.

    It is a name and no more, as `PurePath` is, and what is none of this machine's files: `open` and `os` refuse it.

    Attributes:
        seen: what its store said of it, if it was asked: by a listing, or alone; `ABSENT` where there was no object.
        is_prefix: it is known to stand for the objects below it.
    """

    seen: State | None = None
    is_prefix = False

    def __str__(self) -> str:
        text = super().__str__()  # where the two slashes have become one
        protocol, colon, rest = text.partition(":/")
        return f"{protocol}://{rest}" if colon and "/" not in protocol else text

    def __fspath__(self) -> NoReturn:
        raise TypeError(f"{self} is no file of this machine")

    @property
    def protocol(self) -> str:
        """How its store is spoken to."""
        return self.parts[0].removesuffix(":")

    @property
    def key(self) -> str:
        """Its name within its bucket."""
        return "/".join(self.parts[2:])


ABSENT = State(-1, 0)
"""Nothing has this name."""


def is_url(text: str) -> bool:
    """Whether a text is a URL, and no path of this machine."""
    url = _URL.fullmatch(text)
    return url is not None and url[1].lower() not in {"file", "local"}


def masked(text: str) -> str:
    """A URL without the password that it may hold."""
    return re.sub("(://[^/:@]*):[^/]*@", r"\1:…@", text, count=1)


def store_path(text: str) -> StorePath | None:
    """The URL of an object, or None where a text is none.

    Raises:
        OptionError: it is one that is not understood, holds a password, or needs a package that is not installed.
    """
    if not is_url(text) or (url := _URL.fullmatch(text)) is None:
        return None
    protocol, rest = url[1].lower(), url[2]
    if masked(text) != text:
        why = "it holds a password, which would stand in every report"
        raise OptionError(masked(text), why, "Give it in the store's own configuration (FSSPEC_…).")
    if "::" in text or (protocol in {"http", "https"} and "?" in text):
        raise OptionError(text.partition("?")[0], "such URLs are not understood", "Name an object, s3://bucket/a.jpg.")
    _check_installed(protocol)
    path = StorePath(f"{protocol}://{rest}")
    if not rest or str(path) != f"{protocol}://{rest.rstrip('/')}" or ".." in path.parts:
        raise OptionError(text, "a part of it is empty or a dot", "Name an object or a prefix, s3://bucket/photos/.")
    path.is_prefix = rest.endswith("/") or not path.key
    return path


def object_below(folder: StorePath, relative: str) -> StorePath | None:
    """The object of this name below a prefix; None where no path can have its name, a part of which is empty, say."""
    path, parts = folder / relative, relative.split("/")
    is_safe = ".." not in parts and not any(sign in relative for sign in _UNSAFE)
    return path if is_safe and path.parts == (*folder.parts, *parts) else None


def key_too_long(path: StorePath) -> bool:
    """Whether a name is longer than a store takes."""
    return len(path.key.encode("utf-8", "surrogatepass")) > _LONGEST_KEY


@functools.lru_cache
def _check_installed(protocol: str) -> None:
    import fsspec

    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        step = f"Run: {pip_install('cloud')}" if protocol in S3 else f"{error}."
        raise OptionError(f"{protocol}://", "a package that reaches such stores is not installed", step) from error
    except ValueError as error:
        raise OptionError(f"{protocol}://", "there is no such kind of store", "Name one as s3://bucket/.") from error
