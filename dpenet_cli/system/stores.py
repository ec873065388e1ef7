"""What is asked of object stores, S3 and its like, through fsspec: few requests, for whole objects.

How a store is reached and who asks are its own configuration's: ``AWS_*`` and ``~/.aws`` for S3, ``FSSPEC_*`` for any.
fsspec is imported when the first URL is met. (universal-pathlib would give such names too: a fifth of a millisecond for
each, and several are needed for each picture.)
"""

import datetime as dt
import errno
import functools
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

from dpenet_cli.errors import DpenetError, InputError, StorageError
from dpenet_cli.system.urls import ABSENT, S3, State, StorePath, object_below

RECORDS = ".dpenet"
"""Where records are kept below an output prefix."""

_WHOLE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "memory"}
"""Protocols of stores that take an object whole or not at all."""

# Listings are kept here, where it is known when they were made. One request an object: pieces that are fetched side by
# side might be of two objects, one of which took the other's place meanwhile.
_S3_SETTINGS = {"use_listings_cache": False, "max_concurrency": 1}

_NO_ACCOUNT = re.compile("Credential|Token|Profile|SSO|Auth")
_NO_ANSWER = re.compile("Connect|Timeout|Disconnect|Endpoint|HTTPClient|ClientOS|Payload|SSL|ServiceRequest")
"""What errors are called that are about no object, in the libraries of the stores."""

_BUSY = frozenset({errno.EBUSY, errno.EIO, getattr(errno, "EREMOTEIO", errno.EIO)})
"""What a store's own trouble comes as, after it was asked several times."""


class StoreError(OSError):
    """What a store answered, or that it did not.

    Attributes:
        step: what to do about it.
        is_away: nothing can be asked of it for now.
    """

    def __init__(self, number: int, text: str, step: str, *, is_away: bool = False) -> None:
        super().__init__(number, text)
        self.step = step
        self.is_away = is_away


@functools.lru_cache
def _filesystem(protocol: str, host: str) -> Any:
    import fsspec

    settings: Mapping[str, Any] = _S3_SETTINGS if protocol in S3 else {}
    return fsspec.url_to_fs(f"{protocol}://{host}", **settings)[0]


def _asked(path: StorePath) -> tuple[Any, str]:
    """The file system of fsspec that an object is in, and its name there."""
    filesystem = _filesystem(path.protocol, path.parts[1])
    return filesystem, filesystem._strip_protocol(str(path))  # noqa: SLF001 - fsspec's way from a URL to a name


def same_store(path: StorePath) -> str:
    """A URL as its store compares it: several protocols may be one (``s3``, ``s3a``)."""
    protocol = _asked(path)[0].protocol
    name = protocol if isinstance(protocol, str) else protocol[0]
    return f"{name}://{'/'.join(path.parts[1:])}"


def look(path: StorePath) -> None:
    """Note what there is by this name: an object, objects below it, or nothing; asked only once.

    Raises:
        StoreError: its store does not say.
    """
    if path.seen is not None or path.is_prefix:
        return
    with _answers():
        filesystem, name = _asked(path)
        try:
            info = filesystem.info(name)
        except FileNotFoundError:
            path.seen = ABSENT
            return
    path.is_prefix = info["type"] == "directory"
    path.seen = None if path.is_prefix else _state(info)


def below(folder: StorePath) -> Iterator[StorePath | str]:
    """The objects below a prefix, each with its state, or its URL where no path can have it. They are listed once.

    The store's whole answer is held meanwhile, about a kilobyte an object.

    Raises:
        StoreError: its store does not say, or there is no such bucket.
    """
    with _answers():
        filesystem, name = _asked(folder)
        try:
            found = filesystem.find(name, detail=True)
        except FileNotFoundError:  # some say so of an empty prefix
            if not filesystem.exists(_asked(StorePath(*folder.parts[:2]))[1]):
                raise
            found = {}
    for full, info in found.items():
        relative = full.removeprefix(name).removeprefix("/")
        if info["type"] != "file" or not relative or relative.endswith("/"):
            continue  # what consoles make for an empty folder
        if (path := object_below(folder, relative)) is None:
            yield f"{folder}/{relative}"
            continue
        path.seen = _state(info)
        yield path


class Listing:
    """What is below an output prefix: asked object by object for a few, listed once for many.

    Args:
        root: the prefix.
        is_few: whether a few are going to be asked for.

    Raises:
        StoreError: its store does not list it or takes nothing, or there is no such bucket.
    """

    def __init__(self, root: StorePath, *, is_few: bool) -> None:
        check_takes_whole(root)
        listed = [path for path in below(root / RECORDS if is_few else root) if isinstance(path, StorePath)]
        self.records = [path for path in listed if path.parts[:-1] == (*root.parts, RECORDS)]
        self._states = None if is_few else {path.key: path.seen for path in listed}

    def seen(self, path: StorePath) -> StorePath:
        """The same URL, with what is known of it; a state that is not known yet is asked for when it is needed."""
        found = StorePath(path)
        found.seen = None if self._states is None else self._states.get(path.key, ABSENT)
        return found


def matching(pattern: StorePath) -> list[StorePath]:
    """The objects and prefixes that a pattern stands for, sorted.

    Raises:
        StoreError: its store does not say.
    """
    with _answers():
        filesystem, name = _asked(pattern)
        found = filesystem.glob(name, detail=True)
    paths = []
    for full, info in sorted(found.items()):
        path = StorePath(filesystem.unstrip_protocol(full))
        path.is_prefix = info["type"] == "directory"
        path.seen = None if path.is_prefix else _state(info)
        paths.append(path)
    return paths


def fetch(path: StorePath) -> bytes:
    """All of an object.

    Raises:
        StoreError: it cannot be had.
    """
    with _answers():
        filesystem, name = _asked(path)
        return bytes(filesystem.cat_file(name))


def check_takes_whole(path: StorePath) -> None:
    """Refuse what cannot promise that an object is there whole or not at all.

    Raises:
        StoreError: its store takes it piece by piece.
    """
    if path.protocol not in _WHOLE:
        why = f"what is written to {path.protocol}:// may be there by half"
        raise StoreError(errno.EROFS, why, "Write to this machine or to an object store, such as s3://bucket/.")


def put(path: StorePath, data: bytes) -> None:
    """Store an object, which is there whole then, or what it was before.

    Raises:
        StoreError: it cannot be stored.
    """
    check_takes_whole(path)
    with _answers():
        filesystem, name = _asked(path)
        filesystem.pipe_file(name, data)
    path.seen = None


def store_error(path: PurePath, error: StoreError) -> DpenetError:
    """What a store answered about a bucket or a prefix that everything else hangs on."""
    kind = StorageError if error.is_away else InputError
    return kind(str(path), f"it cannot be used ({error.strerror})", error.step)


@contextmanager
def _answers() -> Iterator[None]:
    """Turn what goes wrong into `StoreError`: each store has errors of its own."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise _told(error) from error


def _told(error: Exception) -> StoreError:
    text = " ".join(re.sub(r"\?[^\s\"']+", "?…", str(error)).split()).rstrip(".")  # a signed URL is a key
    text = text or type(error).__name__
    kinds = " ".join(kind.__name__ for kind in type(error).__mro__)
    if isinstance(error, FileNotFoundError):
        return StoreError(errno.ENOENT, text, "Check the name of the bucket and of the object.")
    if isinstance(error, PermissionError) or _NO_ACCOUNT.search(kinds):
        step = "Check the account that the store's own configuration names (AWS_PROFILE, AWS_ACCESS_KEY_ID; "
        return StoreError(errno.EACCES, text, f"{step}FSSPEC_S3_ANON=true for a public bucket) and its rights.")
    number = (error.errno if isinstance(error, OSError) else None) or errno.EIO
    if _NO_ANSWER.search(kinds) or (isinstance(error, OSError) and number in _BUSY):
        step = "Check the network and the store's address (AWS_ENDPOINT_URL); the same command goes on from here."
        return StoreError(errno.EIO, text, step, is_away=True)
    return StoreError(number, text, "Check the store and its configuration.")


def _state(info: Mapping[str, Any]) -> State:
    """What a store says of an object, under the names that stores have for it."""
    etag = next((str(info[name]) for name in ("ETag", "etag", "md5Hash") if info.get(name)), "")
    dates = ("LastModified", "last_modified", "mtime", "updated", "modified", "created")
    changed = next((info[name] for name in dates if info.get(name)), 0)
    return State(int(info.get("size") or 0), _nanoseconds(changed), etag.strip('"'))


def _nanoseconds(date: object) -> int:
    if isinstance(date, str):
        try:
            date = dt.datetime.fromisoformat(date)
        except ValueError:
            return 0
    seconds = date.timestamp() if isinstance(date, dt.datetime) else date
    return int(seconds * 1e9) if isinstance(seconds, int | float) else 0
