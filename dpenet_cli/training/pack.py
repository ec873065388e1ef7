"""Decoded pictures in one file, so that a run begins at once and its processes share one copy in memory.

The file is a safetensors file with one tensor, N×3 uint8: the pixels of all pictures, row after row. Its metadata say
which pictures they are, and of which files (names, sizes, dates): the pack of other files, or of files that have
changed since, is refused. It is mapped into memory, so that of a large one only what is looked at is read.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dpenet_cli.arrays import Pixels8
from dpenet_cli.errors import DatasetError
from dpenet_cli.system.atomic import write_parts

_VERSION = "1"
_TENSOR = "pixels"
_ALIGNMENT = 8  # the format's: its header is padded to a multiple of it

_STEP = "Name another file with --pack, or remove this one: it is made again."
_OTHERS = "it holds other pictures, or they have changed since it was made"
_DAMAGES = (OSError, SafetensorError, ValueError, TypeError, KeyError, RuntimeError)


class PackedPicture(NamedTuple):
    """One picture of a pack.

    Attributes:
        name: what it is called; unique in the pack.
        pixels: H×W×3 uint8.
    """

    name: str
    pixels: Pixels8


class Pack(NamedTuple):
    """An opened pack.

    Attributes:
        row: the pixels of all pictures, N×3 uint8, mapped into memory.
        pictures: views of it, by name.
    """

    row: Tensor
    pictures: dict[str, Pixels8]


def sources_key(files: Iterable[Path], settings: str) -> str:
    """What a pack depends on, hashed: every file's path, size and date, and how it was read.

    A file that is not there has neither.
    """
    digest = hashlib.sha256(settings.encode())
    for path in files:
        try:
            status = path.stat()
        except OSError:
            state = "away"
        else:
            state = f"{status.st_size} {status.st_mtime_ns}"
        digest.update(f"\n{path} {state}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def write_pack(
    path: Path,
    pictures: Sequence[PackedPicture],
    key: str,
    left_out: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
) -> None:
    """Store pictures, whole or not at all.

    Args:
        path: the file; what was there is replaced.
        pictures: in any order; their names are unique.
        key: see `sources_key`.
        left_out: what `left_out_of` gives back: files that will not do, and what goes with them.

    Raises:
        DatasetError: the file cannot be written.
    """
    count = sum(picture.pixels.shape[0] * picture.pixels.shape[1] for picture in pictures)
    table = [[picture.name, *picture.pixels.shape[:2]] for picture in pictures]
    metadata = {"dpenet_pack": _VERSION, "key": key, "pictures": json.dumps(table)}
    if left_out[0]:
        metadata["left_out"] = json.dumps([*left_out, sources_key(map(Path, left_out[0]), "")])
    header = {
        "__metadata__": metadata,
        _TENSOR: {"dtype": "U8", "shape": [count, 3], "data_offsets": [0, 3 * count]},
    }
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % _ALIGNMENT)

    def parts() -> Iterator[bytes | memoryview]:
        # Written here and not by safetensors' own function, which wants all of it in memory in one piece once more.
        yield len(head).to_bytes(8, "little")
        yield head
        for picture in pictures:
            yield torch.from_numpy(picture.pixels).contiguous().numpy().data

    try:
        write_parts(path, parts())
    except OSError as error:
        why = f"it cannot be written: {error.strerror or error}"
        raise DatasetError(str(path), why, "Make room, or name another file with --pack.") from error


def left_out_of(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Files that were not taken into a pack, and why; and what went with one of them, and with which.

    Raises:
        DatasetError: it cannot be read, or one of these files has changed since.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("left_out")
        files, partners, key = json.loads(text) if text else ({}, {}, None)
        changed = key is not None and key != sources_key(map(Path, files), "")
    except _DAMAGES as error:
        raise DatasetError(str(path), f"it cannot be read: {error}", _STEP) from error
    if changed:
        raise DatasetError(str(path), _OTHERS, _STEP)
    return files, partners


def open_pack(path: Path, key: str) -> Pack:
    """Map a pack into memory.

    Args:
        path: what `write_pack` wrote.
        key: of the files that are wanted.

    Raises:
        DatasetError: it is no pack, is damaged, or holds other pictures.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("dpenet_pack") != _VERSION:
                raise DatasetError(str(path), "it is no pack of this version", "Name another file with --pack.")
            if metadata["key"] != key:
                raise DatasetError(str(path), _OTHERS, _STEP)
            table = json.loads(metadata["pictures"])
            row = file.get_tensor(_TENSOR)
        pictures, start = {}, 0
        for name, height, width in table:
            pictures[name] = row[start : start + height * width].view(height, width, 3).numpy()
            start += height * width
        if start != len(row):
            raise DatasetError(str(path), "its table does not fit its pixels", _STEP)
    except _DAMAGES as error:
        raise DatasetError(str(path), f"it cannot be read: {error}", _STEP) from error
    return Pack(row, pictures)
