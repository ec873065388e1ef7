"""Weights on disk: their names, the one reader and the one writer.

Two kinds of file are read:

- ours, ``.safetensors``: tensors under the module's own names, and a card (`WeightsCard`) in the header's metadata;
- the published ``.pth`` and a user's own of that kind: a zip made by ``torch.save`` that holds a state dict, under the
  published key names or the module's own. Its pickle is read opcode by opcode first and refused if it names anything
  but tensors; then ``torch.load(weights_only=True)`` reads it. Nothing in it is ever executed.

The configuration is inferred from the tensors' names and shapes, and loading is strict.
"""

import io
import json
import os
import pickletools
import re
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from dpenet_cli.errors import WeightsError
from dpenet_cli.model import DPENet, DPENetConfig
from dpenet_cli.published import PUBLISHED, TERMS
from dpenet_cli.storage import write_whole

MAX_FILE_BYTES = 256 * 2**20
"""Largest weights file that is read: a hundred times the paper's network."""

MAX_CHANNELS, MAX_BLOCKS = 512, 100
"""Largest configuration that is built; anything beyond it is a file that lies."""

_MAX_PICKLE_BYTES = 2 * 2**20
"""Largest pickle that is looked at, opcode by opcode; a network of the largest configuration has 300 kB."""

_FORMAT, _FORMAT_VERSION = "dpenet", "1"
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_EXPECTED = "Expected a DPENet .safetensors file, or a .pth state dict saved by torch.save."

_PICKLE_NAMES = frozenset(
    {
        ("collections", "OrderedDict"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_parameter"),
        *(("torch", f"{kind}Storage") for kind in ("Float", "Half", "BFloat16", "Double", "Long", "Int", "Bool")),
    }
)
"""All that a state dict of tensors needs to name."""


@dataclass(frozen=True)
class WeightsCard:
    """What a weights file says of itself, beside its tensors.

    Attributes:
        name: the name under which the weights are known.
        licence: the terms under which they may be used.
        provenance: how they were trained: data, command, steps, seed, hardware.
        scores: measured scores, ``{set: {"protocol": ..., "psnr": dB, "ssim": 0..1, ...}}``.
    """

    name: str = ""
    licence: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)


def weights_folder() -> Path:
    """Where the weights that ship with dpenet lie: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "weights"
    return installed if installed.is_dir() else package.parent / "weights"


def shipped_names() -> list[str]:
    """The names of the weights that ship with dpenet, sorted."""
    return sorted(path.stem for path in weights_folder().glob("*.safetensors"))


def shipped_checksums() -> dict[str, str]:
    """SHA-256 of each shipped file as it left us, in hexadecimal, by name: ``SHA256SUMS`` beside the files."""
    lines = (weights_folder() / "SHA256SUMS").read_text(encoding="ascii").splitlines()
    return {Path(name).stem: digest for digest, name in (line.split() for line in lines)}


def find_weights(weights: str | Path) -> Path:
    """Find the file for a shipped name, the name of published weights that were pulled, or a path.

    Raises:
        WeightsError: none of these; it says how published weights are pulled.
    """
    if isinstance(weights, str) and weights in shipped_names():
        return weights_folder() / f"{weights}.safetensors"
    published = PUBLISHED.get(str(weights))
    if published and published.path.is_file():
        return published.path
    path = Path(weights)
    if os.path.isfile(path):  # noqa: PTH113 - false, not an error, for names that no file system can hold
        return path
    if published:
        why = f"these published weights are not on this machine (looked for at {published.path})"
        raise WeightsError(published.name, why, f"Run: dpenet weights pull {published.name}")
    names = ", ".join(shipped_names()) or "none: the installation is damaged"
    why = "it is a folder" if os.path.isdir(path) else "there is no such file, and no weights of that name"  # noqa: PTH112
    step = f"Give a .safetensors or .pth file, one of the shipped names ({names}), or one of `dpenet weights list`."
    raise WeightsError(str(weights), why, step)


def load_model(weights: str | Path) -> DPENet:
    """Build the network that a weights file describes, in eval mode, fp32, on the CPU, without gradients.

    Args:
        weights: a shipped name such as ``general``, a published one such as ``published-rain100l`` once it is pulled,
            or the path of a ``.safetensors`` or ``.pth`` file.

    Raises:
        WeightsError: the file is missing, truncated, foreign, damaged or hostile; it says what was expected.
    """
    path = find_weights(weights)
    state = _read_state(path)
    config = _infer_config(path, state)
    with torch.device("meta"):  # no memory is taken until the shapes are known to fit
        model = DPENet(config)
    _check_tensors(path, state, model)
    model.load_state_dict({key: value.float().contiguous() for key, value in state.items()}, assign=True)
    return model.eval().requires_grad_(requires_grad=False)


def read_card(weights: str | Path) -> WeightsCard:
    """Read what a weights file says of itself; an empty card for files that say nothing (``.pth``).

    Raises:
        WeightsError: as `load_model`, and when the card is not ours to read.
    """
    path = find_weights(weights)
    if _kind(path) != "safetensors":
        return WeightsCard(name=path.stem, licence=TERMS if path.stem in PUBLISHED else "")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        return WeightsCard(
            name=metadata.get("name", path.stem),
            licence=metadata.get("licence", ""),
            provenance=_json_object(metadata.get("provenance", "{}")),
            scores=_json_object(metadata.get("scores", "{}")),
        )
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error


def save_model(model: DPENet, path: Path, card: WeightsCard) -> None:
    """Write the weights as safetensors that describe themselves; whole or not at all.

    Raises:
        OSError: the file could not be written.
    """
    metadata = {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "config": json.dumps(asdict(model.config)),
        "name": card.name,
        "licence": card.licence,
        "provenance": json.dumps(card.provenance),
        "scores": json.dumps(card.scores),
    }
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    write_whole(path, safetensors_bytes(state, metadata))


def _damaged(path: Path, why: str) -> WeightsError:
    return WeightsError(str(path), f"not a usable weights file: {why.rstrip('.')}", _EXPECTED)


def _json_object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("its card is not a JSON object")  # noqa: TRY004 - a value from a file, not a type mistake
    return value


def _kind(path: Path) -> str:
    """Tell the kind of file by its first bytes: ``zip``, ``safetensors`` or ``other``."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from error
    if size > MAX_FILE_BYTES:
        raise _damaged(path, f"{size:,} bytes, when a DPENet takes 3 million or so")
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    # safetensors: the header's length as 8 bytes little endian, then the header, a JSON object
    return "safetensors" if head[8:9] == b"{" else "other"


def _read_state(path: Path) -> dict[str, Tensor]:
    kind = _kind(path)
    if kind == "safetensors":
        return _read_safetensors(path)
    if kind == "zip":
        return _with_module_keys(path, _read_pth(path))
    if path.stat().st_size == 0:
        raise _damaged(path, "it is empty")
    raise _damaged(path, "it is neither a safetensors file nor a zip made by torch.save")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            version = metadata.get("format_version", _FORMAT_VERSION)
            if metadata.get("format") == _FORMAT and version != _FORMAT_VERSION:
                raise _damaged(path, f"it is of format version {version}, made for a newer dpenet")
            return _with_module_keys(path, {key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise _damaged(path, str(error)) from error


def _read_pth(path: Path) -> dict[str, Tensor]:
    try:
        data = path.read_bytes()
        _check_zip(path, data)
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except Exception as error:  # torch raises many types on hostile bytes; all of them mean this
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _damaged(path, reason) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise _damaged(path, "it holds something other than a state dict of tensors")
    return state


def _check_zip(path: Path, data: bytes) -> None:
    """Look at member sizes and at what the pickle names before any of it is loaded."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > MAX_FILE_BYTES:
            raise _damaged(path, "its members unpack to an absurd size")
        pickles = [member for member in members if member.filename.endswith(".pkl")]
        if len(pickles) != 1 or not pickles[0].filename.endswith("data.pkl"):
            raise _damaged(path, "it is a zip, but not one made by torch.save")
        if pickles[0].file_size > _MAX_PICKLE_BYTES:
            raise _damaged(path, "its pickle has an absurd size")
        foreign = sorted(_names_in_pickle(archive.read(pickles[0])) - _PICKLE_NAMES)
    if foreign:
        module, name = foreign[0]
        raise _damaged(path, f"its pickle asks for {module}.{name}, which no state dict of tensors needs")


def _names_in_pickle(data: bytes) -> set[tuple[str, str]]:
    """Every (module, name) that a pickle would import. Reads opcodes; builds nothing."""
    names: set[tuple[str, str]] = set()
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            names.add((module, name))
        elif opcode.name in {"STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"}:  # torch.save writes none of these
            names.add(("pickle", opcode.name))
    return names


_PUBLISHED_KEYS = (
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
    for pattern, ours in _PUBLISHED_KEYS:
        if match := re.fullmatch(pattern, key):
            groups = list(match.groups())
            if groups:
                groups[0] = str(int(groups[0]) - 1)
            return ours.format(*groups)
    return key


def _with_module_keys(path: Path, state: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {_module_key(key): value for key, value in state.items()}
    if len(renamed) < len(state):
        raise _damaged(path, "it holds the same tensor under two names")
    return renamed


def _infer_config(path: Path, state: dict[str, Tensor]) -> DPENetConfig:
    """Read the sizes off the tensors' names and shapes."""
    stem = state.get("r2net.inconv.weight")
    if stem is None or stem.ndim != 4:
        some = ", ".join(sorted(state)[:3]) or "nothing"
        raise _damaged(path, f"it is not a DPENet (it has no input convolution; it holds {some} …)")
    counts = []
    for part in ("r2net.ddrb", "drnet.erpab"):
        numbers = {int(m.group(1)) for key in state if (m := re.match(rf"{re.escape(part)}\.(\d{{1,4}})\.", key))}
        counts.append(max(numbers, default=-1) + 1)
    config = DPENetConfig(stem.shape[0], *counts)
    if not 1 <= config.channels <= MAX_CHANNELS or not 1 <= min(counts) <= max(counts) <= MAX_BLOCKS:
        raise _damaged(path, f"it claims {config}")
    return config


def _check_tensors(path: Path, state: dict[str, Tensor], model: DPENet) -> None:
    """Compare names, shapes, dtypes and values with what the configuration needs."""
    expected = {key: value.shape for key, value in model.state_dict().items()}
    if missing := sorted(expected.keys() - state.keys()):
        raise _damaged(path, f"{len(missing)} tensors are missing, {missing[0]} first")
    if extra := sorted(state.keys() - expected.keys()):
        raise _damaged(path, f"{len(extra)} tensors are not a DPENet's, {extra[0]} first")
    for key, tensor in state.items():
        if tensor.shape != expected[key]:
            raise _damaged(path, f"{key} has shape {tuple(tensor.shape)} instead of {tuple(expected[key])}")
        if tensor.dtype not in _DTYPES or tensor.layout != torch.strided:
            raise _damaged(path, f"{key} is {tensor.dtype}, {tensor.layout} instead of dense fp32, fp16 or bf16")
        if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            raise _damaged(path, f"{key} claims more values than the file holds")
        if not torch.isfinite(tensor).all():
            raise _damaged(path, f"{key} holds values that are not finite")
