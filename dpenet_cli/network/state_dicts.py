"""Weights files as tensors: from a path to a state dict, by the one reader, which trusts nothing that a file says.

Two kinds of file are read:

- ours, ``.safetensors``: tensors under the module's own names;
- the published ``.pth`` and a user's own of that kind: a zip made by ``torch.save`` that holds a state dict, under the
  published key names or the module's own. Its pickle is read opcode by opcode first and refused if it names anything
  but tensors; then ``torch.load(weights_only=True)`` reads it. Nothing in it is ever executed.

What a hostile file may try, and what stops it: to be so large that reading it fills the memory (`MAX_FILE_BYTES`); to
unpack to more than it is (the members' sizes in `_check_zip`); to keep the opcode reader busy (`_MAX_PICKLE_BYTES`);
to run code when it is unpickled (`_names_in_pickle` and the list of names, then ``weights_only``); to be another kind
than its suffix says (`file_kind` looks at bytes); to hide one tensor behind another's name (`_with_module_keys`). What
the tensors themselves may claim is checked where the network is built (`dpenet_cli.network.checkpoints`).
"""

import io
import pickletools
import re
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dpenet_cli.errors import WeightsError

MAX_FILE_BYTES = 256 * 2**20
"""Largest weights file that is read, and the most that its members may unpack to: a hundred networks of the paper."""

_MAX_PICKLE_BYTES = 2 * 2**20
"""Largest pickle that is looked at, opcode by opcode; a network of the largest configuration has 300 kB."""

FORMAT, FORMAT_VERSION = "dpenet", "1"
"""What the metadata of a safetensors file of ours say of themselves."""

_EXPECTED = "Expected a DPENet .safetensors file, or a .pth state dict saved by torch.save."

_PICKLE_NAMES = frozenset(
    {
        ("collections", "OrderedDict"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_parameter"),
        *(("torch", f"{kind}Storage") for kind in ("Float", "Half", "BFloat16", "Double", "Long", "Int", "Bool")),
    }
)
"""All that a state dict of tensors needs to name, as (module, name). A list of what is allowed, not of what is harmful:
nobody knows all of that."""


def file_kind(path: Path) -> str:
    """Tell the kind of file by its first bytes: ``zip``, ``safetensors`` or ``other``.

    Raises:
        WeightsError: it cannot be read, or is absurdly large.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise damaged(path, error.strerror or str(error)) from error
    if size > MAX_FILE_BYTES:  # a sparse file costs its maker nothing, and would fill the memory
        raise damaged(path, f"{size:,} bytes, when a DPENet takes 3 million or so")
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    # safetensors: the header's length as 8 bytes little endian, then the header, a JSON object
    return "safetensors" if head[8:9] == b"{" else "other"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file on the CPU, as they were stored, under the module's own names.

    Raises:
        WeightsError: the file is missing, truncated, foreign, damaged or hostile.
    """
    kind = file_kind(path)
    if kind == "safetensors":
        return _read_safetensors(path)
    if kind == "zip":
        return _with_module_keys(path, _read_pth(path))
    if path.stat().st_size == 0:
        raise damaged(path, "it is empty")
    raise damaged(path, "it is neither a safetensors file nor a zip made by torch.save")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            version = metadata.get("format_version", FORMAT_VERSION)
            if metadata.get("format") == FORMAT and version != FORMAT_VERSION:
                raise damaged(path, f"it is of format version {version}, made for a newer dpenet")
            return _with_module_keys(path, {key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise damaged(path, str(error)) from error


def _read_pth(path: Path) -> dict[str, Tensor]:
    try:
        data = path.read_bytes()
        _check_zip(path, data)
        # The bytes that were looked at are the bytes that are loaded: the file may be another by now. And weights_only
        # is the second lock: alone, it has been picked (CVE-2025-32434, CVE-2026-24747).
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except Exception as error:  # torch raises many types on hostile bytes; all of them mean this
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise damaged(path, reason) from error
    # A whole training checkpoint, or one tensor alone, loads as well and is no state dict.
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise damaged(path, "it holds something other than a state dict of tensors")
    return state


def _check_zip(path: Path, data: bytes) -> None:
    """Look at member sizes and at what the pickle names before any of it is loaded."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        # A zip bomb: a few kilobytes that unpack to gigabytes, in one member or in many.
        if sum(member.file_size for member in members) > MAX_FILE_BYTES:
            raise damaged(path, "its members unpack to an absurd size")
        # A second pickle could be the one that torch.load picks, while the first one is looked at here.
        pickles = [member for member in members if member.filename.endswith(".pkl")]
        if len(pickles) != 1 or not pickles[0].filename.endswith("data.pkl"):
            raise damaged(path, "it is a zip, but not one made by torch.save")
        # Millions of opcodes would keep the loop over them, which is Python's, busy for minutes.
        if pickles[0].file_size > _MAX_PICKLE_BYTES:
            raise damaged(path, "its pickle has an absurd size")
        # Code: unpickling calls what a pickle names, os.system too.
        foreign = sorted(_names_in_pickle(archive.read(pickles[0])) - _PICKLE_NAMES)
    if foreign:
        module, name = foreign[0]
        raise damaged(path, f"its pickle asks for {module}.{name}, which no state dict of tensors needs")


def _names_in_pickle(data: bytes) -> set[tuple[str, str]]:
    """Every (module, name) that a pickle would import. Reads opcodes; builds nothing."""
    names: set[tuple[str, str]] = set()
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name == "GLOBAL":  # the names stand in the opcode itself
            module, _, name = str(argument).partition(" ")
            names.add((module, name))
        # The other ways to name something: from strings put together on the stack, which only running the pickle would
        # tell, as a class to make, or by number in a registry. torch.save writes none of them, so that each is foreign.
        elif opcode.name in {"STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"}:
            names.add(("pickle", opcode.name))
    return names


_PRETRAINED_KEYS = (
    (r"inconv1\.0\.weight", r"r2net.inconv.weight"),
    (r"outconv1\.0\.weight", r"r2net.outconv.weight"),
    (r"inconv2\.0\.weight", r"drnet.inconv.weight"),
    (r"outconv2\.0\.weight", r"drnet.outconv.weight"),
    (r"erpab(\d+)\.inconv1\.weight", r"drnet.erpab.{}.inconv1.weight"),
    (r"erpab(\d+)\.inconv2\.weight", r"drnet.erpab.{}.inconv2.weight"),
    (r"erpab(\d+)\.inconv3\.weight", r"drnet.erpab.{}.inconv5.weight"),  # ours is named by its dilation
    (r"erpab(\d+)\.outconv\.0\.(weight|bias)", r"drnet.erpab.{}.outconv.{}"),
    (r"erpab(\d+)\.pa\.0\.weight", r"drnet.erpab.{}.pa.squeeze.weight"),
    (r"erpab(\d+)\.pa\.2\.weight", r"drnet.erpab.{}.pa.excite.weight"),
    (r"ddrb(\d+)\.dconv([125])\.0\.weight", r"r2net.ddrb.{}.dconv{}.0.weight"),
    (r"ddrb(\d+)\.dconv([125])\.2\.weight", r"r2net.ddrb.{}.dconv{}.1.weight"),
)
"""The published names (github.com/wybchd/DPENet) and ours; theirs count blocks from 1, ours from 0."""


def _module_key(key: str) -> str:
    """Translate one published key; other keys pass through. DataParallel's ``module.`` prefix is dropped."""
    key = str(key).removeprefix("module.")
    for pattern, ours in _PRETRAINED_KEYS:
        if match := re.fullmatch(pattern, key):
            groups = list(match.groups())
            if groups:
                groups[0] = str(int(groups[0]) - 1)
            return ours.format(*groups)
    return key


def _with_module_keys(path: Path, state: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {_module_key(key): value for key, value in state.items()}
    # One under the published name and one under ours: which of them counts would hang on their order in the file.
    if len(renamed) < len(state):
        raise damaged(path, "it holds the same tensor under two names")
    return renamed


def damaged(path: Path, why: str) -> WeightsError:
    """The error for a file whose content is at fault."""
    return WeightsError(str(path), f"not a usable weights file: {why.rstrip('.')}", _EXPECTED)
