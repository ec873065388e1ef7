"""Where weights lie: from a name or a path to a file, and what tells one file's weights from another's. No torch."""

import hashlib
import os
from pathlib import Path

from dpenet_cli.errors import WeightsError
from dpenet_cli.network.pretrained import PRETRAINED


def weights_folder() -> Path:
    """Where the weights that ship with dpenet lie: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
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
    pretrained = PRETRAINED.get(str(weights))
    if pretrained and pretrained.path.is_file():
        return pretrained.path
    path = Path(weights)
    if os.path.isfile(path):  # noqa: PTH113 - false, not an error, for names that no file system can hold
        return path
    if pretrained:
        why = f"these published weights are not on this machine (looked for at {pretrained.path})"
        raise WeightsError(pretrained.name, why, f"Run: dpenet weights pull {pretrained.name}")
    names = ", ".join(shipped_names()) or "none: the installation is damaged"
    why = "it is a folder" if os.path.isdir(path) else "there is no such file, and no weights of that name"  # noqa: PTH112
    step = f"Give a .safetensors or .pth file, one of the shipped names ({names}), or one of `dpenet weights list`."
    raise WeightsError(str(weights), why, step)


def digest_of(weights: str | Path) -> str:
    """SHA-256 of a weights file, in hexadecimal.

    Args:
        weights: a name or a path, as for `find_weights`.

    Raises:
        WeightsError: there is no such file, or it cannot be read.
    """
    path = find_weights(weights)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        why = f"it cannot be read ({error.strerror or error})"
        raise WeightsError(str(path), why, "Check its permissions.") from error
