"""Compiled OpenVINO networks, kept in the user's cache folder: tracing one takes seconds, reading it a tenth of one."""

import contextlib
import hashlib
import inspect
import io
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpenet_cli import __version__
from dpenet_cli import model as model_module
from dpenet_cli.backends import intermediate, kept
from dpenet_cli.errors import OptionError
from dpenet_cli.folders import cache_folder
from dpenet_cli.storage import remove_leftovers, write_whole

_KEPT_FILES = 48
"""Compiled networks that stay, the latest: one of three megabytes for each weights and precision, and two of a tenth of
one for each size of large pictures."""

_DIGEST_BYTES = hashlib.sha256().digest_size

log = logging.getLogger(__name__)


def fingerprint(weights: Mapping[str, Tensor], *settings: str) -> str:
    """Everything that a compiled network depends on, as one hexadecimal number.

    Args:
        weights: that the network holds, by name.
        settings: the runtime's version, the processor, the precision, the part of the network and its sizes.
    """
    digest = hashlib.sha256()
    for module in (model_module, kept, intermediate):  # a clone that is being worked on has one version for long
        digest.update(inspect.getsource(module).encode())
    digest.update(repr((__version__, torch.__version__, settings)).encode())
    for name, value in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(repr(value.shape).encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def compiled_network(core: Any, config: dict[str, Any], key: str, convert: Callable[[], Any]) -> Any:
    """Read a compiled network from the cache, or make it and keep it there.

    A cache that cannot be read or written costs time, never the result.

    Args:
        core: the ``openvino.Core``.
        config: properties of the CPU device.
        key: what `fingerprint` told.
        convert: makes the ``openvino.Model``.

    Returns:
        An ``openvino.CompiledModel``.
    """
    path = _path(key)
    stored = _read(path) if path else None
    if stored is not None:
        try:
            return core.import_model(io.BytesIO(stored), "CPU", config)
        except RuntimeError as error:
            log.info("the compiled network in the cache is of no use here (%s): made again", error)
    network = core.compile_model(convert(), "CPU", config)
    if path:
        _write(path, network)
    return network


def _path(key: str) -> Path | None:
    try:
        return cache_folder() / "openvino" / f"{key}.bin"
    except OptionError:  # a user without a home
        return None


def _read(path: Path) -> bytes | None:
    """The compiled network behind its checksum, or None: not there, or not as it was written."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, network = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if hashlib.sha256(network).digest() != digest:
        return None
    with contextlib.suppress(OSError):  # a cache that may only be read serves as well
        path.touch()  # used lately, so it stays
    return network


def _write(path: Path, network: Any) -> None:
    try:
        exported = network.export_model()
        data = exported if isinstance(exported, bytes) else exported.getvalue()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(path, hashlib.sha256(data).digest() + data)
        remove_leftovers(path.parent)
        by_age = sorted(path.parent.glob("*.bin"), key=lambda each: each.stat().st_mtime, reverse=True)
        for old in by_age[_KEPT_FILES:]:
            old.unlink()
    except (OSError, RuntimeError) as error:
        log.info("the compiled network is not kept (%s)", error)
