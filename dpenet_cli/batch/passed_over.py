"""Files that are named among others, as by a shell's pattern, and are none of a command's: told, and no failures."""

from collections.abc import Iterator

from dpenet_cli.batch.naming import SIDECAR_SUFFIXES, Medium, few
from dpenet_cli.images.formats import RAW_SUFFIXES
from dpenet_cli.system.storage import Place


def raw_left_out(count: int) -> str:
    """What is told of camera raw."""
    return f"{count} camera raw file(s) left out; export them as 16-bit TIFFs to clean them"


class PassedOver:
    """What was named and is for another command, or for none, by its name.

    Args:
        medium: what the command cleans.

    Attributes:
        paths: all of them, in the order in which they were named.
    """

    def __init__(self, medium: Medium) -> None:
        self._medium = medium
        self.paths: list[Place] = []

    def holds(self, path: Place) -> bool:
        """Whether a file is one of them; it is kept then."""
        medium = self._medium
        suffixes = medium.others.suffixes | RAW_SUFFIXES | SIDECAR_SUFFIXES
        if path.suffix.lower() not in suffixes:
            return False
        self.paths.append(path)
        return True

    def notices(self) -> Iterator[str]:
        """A line for each kind, with what takes it."""
        medium = self._medium
        others = [path for path in self.paths if path.suffix.lower() in medium.others.suffixes]
        raw = [path for path in self.paths if path.suffix.lower() in medium.raw]
        rest = [str(path) for path in self.paths if path.suffix.lower() not in medium.others.suffixes | medium.raw]
        if others:
            command = medium.others.cleaned_by(*others)
            yield f"{medium.others.counted(len(others))} passed over, for which there is another command: {command}"
        if raw:
            yield raw_left_out(len(raw))
        if rest:
            yield f"{len(rest)} file(s) passed over that are no {medium.noun}: {few(rest)}"
