"""Weights on disk: from a name or a path to the network that the file describes, and from a network to a file.

Our files are ``.safetensors`` that carry a card (`WeightsCard`) in the header's metadata; other kinds are read too
(`dpenet_cli.network.state_dicts`). The configuration is inferred from the tensors' names and shapes, and loading is
strict.
"""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from dpenet_cli.network.model import DPENet, DPENetConfig
from dpenet_cli.network.pretrained import PRETRAINED, TERMS
from dpenet_cli.network.state_dicts import FORMAT, FORMAT_VERSION, damaged, file_kind, read_tensors
from dpenet_cli.network.weights_files import find_weights
from dpenet_cli.system.atomic import write_whole

MAX_CHANNELS, MAX_BLOCKS = 512, 100
"""Largest configuration that is built; anything beyond it is a file that lies."""

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class WeightsCard:
    """What a weights file says of itself, beside its tensors.

    Attributes:
        name: name under which the weights are known.
        licence: terms under which they may be used.
        provenance: record of their training: data, command, steps, seed, hardware.
        scores: measured scores, ``{set: {"protocol": ..., "psnr": dB, "ssim": 0..1, ...}}``.
    """

    name: str = ""
    licence: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)


def load_model(weights: str | Path) -> DPENet:
    """Build the network that a weights file describes, in eval mode, fp32, on the CPU, without gradients.

    Its configuration is read off the tensors, so a file needs no card to be loaded.

    Args:
        weights: a shipped name such as ``general``, a published one such as ``published-rain100l`` once it is pulled,
            or the path of a ``.safetensors`` or ``.pth`` file.

    Raises:
        WeightsError: the file is missing, truncated, foreign, damaged or hostile; it says what was expected.
    """
    path = find_weights(weights)
    state = read_tensors(path)
    config = _infer_config(path, state)  # bounded, so that a file that lies costs no memory
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
    if file_kind(path) != "safetensors":
        return WeightsCard(name=path.stem, licence=TERMS if path.stem in PRETRAINED else "")
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
        raise damaged(path, str(error)) from error


def save_model(model: DPENet, path: Path, card: WeightsCard) -> None:
    """Write the weights as safetensors that describe themselves; whole or not at all.

    Args:
        model: network to write, on any device.
        path: file to write, usually ``.safetensors``.
        card: what the file says of itself.

    Raises:
        OSError: the file could not be written.
    """
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "config": json.dumps(asdict(model.config)),
        "name": card.name,
        "licence": card.licence,
        "provenance": json.dumps(card.provenance),
        "scores": json.dumps(card.scores),
    }
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    write_whole(path, safetensors_bytes(state, metadata))


def _json_object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("its card is not a JSON object")  # noqa: TRY004 - a value from a file, not a type mistake
    return value


def _infer_config(path: Path, state: dict[str, Tensor]) -> DPENetConfig:
    """Read the sizes off the tensors' names and shapes."""
    stem = state.get("r2net.inconv.weight")
    if stem is None or stem.ndim != 4:
        some = ", ".join(sorted(state)[:3]) or "nothing"
        raise damaged(path, f"it is not a DPENet (it has no input convolution; it holds {some} …)")
    # Blocks are counted by the highest number: gaps are found as missing tensors later. Four digits at most: int()
    # refuses thousands of them, with an error of its own.
    counts = []
    for blocks in ("r2net.ddrb", "drnet.erpab"):
        numbers = {int(m.group(1)) for key in state if (m := re.match(rf"{re.escape(blocks)}\.(\d{{1,4}})\.", key))}
        counts.append(max(numbers, default=-1) + 1)
    # Before the network is built: its values take no memory yet, but a million blocks do, and minutes.
    config = DPENetConfig(stem.shape[0], *counts)
    if not 1 <= config.channels <= MAX_CHANNELS or not 1 <= min(counts) <= max(counts) <= MAX_BLOCKS:
        raise damaged(path, f"it claims {config}")
    return config


def _check_tensors(path: Path, state: dict[str, Tensor], model: DPENet) -> None:
    """Compare names, shapes, dtypes and values with what the configuration needs.

    Raises:
        WeightsError: one of them is not what it must be.
    """
    expected = {key: value.shape for key, value in model.state_dict().items()}
    # Strict both ways: a tensor too few is another network, one too many is one that we do not know how to run.
    if missing := sorted(expected.keys() - state.keys()):
        raise damaged(path, f"{len(missing)} tensors are missing, {missing[0]} first")
    if extra := sorted(state.keys() - expected.keys()):
        raise damaged(path, f"{len(extra)} tensors are not a DPENet's, {extra[0]} first")
    for key, tensor in state.items():
        if tensor.shape != expected[key]:
            raise damaged(path, f"{key} has shape {tuple(tensor.shape)} instead of {tuple(expected[key])}")
        # Integers and complex numbers would be converted without a word; sparse tensors fail later and elsewhere.
        if tensor.dtype not in _DTYPES or tensor.layout != torch.strided:
            raise damaged(path, f"{key} is {tensor.dtype}, {tensor.layout} instead of dense fp32, fp16 or bf16")
        # A few values repeated by a stride of 0: less than the network has, however large they look.
        if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            raise damaged(path, f"{key} claims more values than the file holds")
        # One NaN spreads over whole pictures, without an error.
        if not torch.isfinite(tensor).all():
            raise damaged(path, f"{key} holds values that are not finite")
