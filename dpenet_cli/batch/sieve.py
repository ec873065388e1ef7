"""What is no input though it was found: folders of systems, what the user excludes, and products of earlier runs.

Only what a search or a pattern finds is left out. What was named itself never is.
"""

import fnmatch
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from types import TracebackType

from dpenet_cli.batch.naming import Beside
from dpenet_cli.batch.record import Record, is_record
from dpenet_cli.errors import OptionError
from dpenet_cli.system.folders import is_of_system


class Excluded:
    """Names and paths that the user does not want.

    Args:
        patterns: as a shell has them. One with a slash inside is a path, below the folder that was named or with it;
            one that ends with a slash is a folder.

    Raises:
        OptionError: one of them is empty.
    """

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        self._met = dict.fromkeys(patterns, 0)
        if any(not pattern.strip("/") for pattern in patterns):
            raise OptionError("--exclude", "it names nothing", "Give a name or a pattern, such as '*-old*'.")
        self.files = 0
        self._whole = [(pattern, os.path.normcase(pattern.removeprefix("./")).rstrip("/")) for pattern in patterns]

    def holds(self, relative: str, whole: str, *, folder: bool) -> bool:
        """Whether a file or a folder is left out.

        Args:
            relative: its path below the folder that was named, with ``/``.
            whole: its path as far as it was named.
            folder: what it is.
        """
        found = False
        for given, pattern in self._whole:
            names = (relative, whole) if "/" in pattern else (relative.rpartition("/")[2],)
            if (folder or not given.endswith("/")) and any(
                fnmatch.fnmatchcase(os.path.normcase(name), pattern) for name in names
            ):
                self._met[given] += 1
                found = True
        return found

    def notices(self) -> Iterator[str]:
        """What is told when everything was looked at."""
        if any(self._met.values()):
            yield f"--exclude left out {self.files} file(s)"
        for pattern, times in self._met.items():
            if not times:
                yield f"--exclude {pattern}: nothing that was found has this name"


class Sieve:
    """Lets inputs through, and counts what it keeps back.

    Args:
        suffixes: endings of the files that count.
        excluded: what the user does not want.
        products: products of earlier runs are let through.
    """

    def __init__(self, suffixes: Collection[str], excluded: Excluded | None = None, *, products: bool = False) -> None:
        self._suffixes = suffixes
        self.excluded = excluded or Excluded()
        self._let_products = products
        self._systems: Counter[str] = Counter()
        self.products = 0
        self._records: dict[Path, Record | None] = {}

    def __enter__(self) -> "Sieve":
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the records that were read."""
        for record in self._records.values():
            if record is not None:
                record.close()
        self._records.clear()

    def folder(self, path: PurePath, relative: str, beside: Beside) -> bool:
        """Whether to look into a folder that was found.

        Args:
            path: the folder.
            relative: its path below the folder that was named, with ``/``.
            beside: folders beside it.
        """
        if is_of_system(path.name):
            self._systems[path.name] += self._count(path)
        elif self.excluded.holds(relative, path.as_posix(), folder=True):
            self.excluded.files += self._count(path)
        elif not self._let_products and beside.folder_of(path.name):
            self.products += self._count(path)
        else:
            return True
        return False

    def file(self, path: PurePath, relative: str, beside: Beside) -> bool:
        """Whether a file that was found is an input, whatever it is.

        Args:
            path: the file.
            relative: its path below the folder that was named, with ``/``.
            beside: files beside it.
        """
        if path.suffix.lower() not in self._suffixes:
            return True
        if self.excluded.holds(relative, path.as_posix(), folder=False):
            self.excluded.files += 1
        elif not self._let_products and self._is_product(path, beside):
            self.products += 1
        else:
            return True
        return False

    def below(self, path: PurePath, relative: str) -> bool:
        """Whether a file is in no folder that is kept back; for stores, which have names alone."""
        counts = path.suffix.lower() in self._suffixes
        inner = relative.split("/")[:-1]
        for depth in range(1, len(inner) + 1):
            folder, inside = path.parents[len(inner) - depth], "/".join(inner[:depth])
            if is_of_system(folder.name):
                self._systems[folder.name] += counts
                return False
            if self.excluded.holds(inside, folder.as_posix(), folder=True):
                self.excluded.files += counts
                return False
        return True

    def notices(self) -> Iterator[str]:
        """What was kept back, but for what the user excluded, which may be found in several places."""
        if found := sum(self._systems.values()):
            names = ", ".join(sorted(name for name, count in self._systems.items() if count))
            yield f"{found} file(s) left out, in folders of the system ({names}); name one to search it"
        if self.products:
            yield (
                f"{self.products} file(s) left out: results, before/after pictures or previews of earlier runs; "
                "name one itself to take it"
            )

    def _is_product(self, path: PurePath, beside: Beside) -> bool:
        if beside.made_of(path.name) is not None:
            return True
        return isinstance(path, Path) and any(
            record.names(path) for record in map(self._record, path.parents) if record is not None
        )

    def _record(self, folder: Path) -> Record | None:
        """The record of a folder, which is looked for once; None where it has none."""
        if folder not in self._records:
            try:
                with os.scandir(folder) as entries:
                    has_one = any(is_record(entry.name) for entry in entries)
            except OSError:
                has_one = False
            self._records[folder] = Record(folder, {}) if has_one else None
        return self._records[folder]

    def _count(self, folder: PurePath) -> int:
        """The files below a folder that would have been inputs by their names; those of stores are counted singly."""
        if not isinstance(folder, Path):
            return 0
        return sum(self._counts(names) for _, _, names in os.walk(folder))

    def _counts(self, names: Iterable[str]) -> int:
        return sum(PurePath(name).suffix.lower() in self._suffixes and not name.startswith(".") for name in names)
