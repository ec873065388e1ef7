"""Which of very many texts are equal, found in files on the disk: memory stays flat, 16 bytes of disk a text."""

import hashlib
import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import numpy as np

_BUCKETS = 64
"""Files over which the hashes are spread by their first bits: each is sorted in memory by itself."""

_KEPT = 2**18
"""Bytes of a bucket that stay in memory: a list of some ten thousand names never touches the disk."""

_PAIRS = np.dtype([("hash", "<u8"), ("tag", "<u8")])


class KeyTable:
    """Collects texts with a number each, and tells which numbers have the same text; a context manager."""

    def __init__(self) -> None:
        self._buckets = [tempfile.SpooledTemporaryFile(max_size=_KEPT) for _ in range(_BUCKETS)]  # noqa: SIM115 - stay open

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for bucket in self._buckets:
            bucket.close()

    def add(self, text: str, tag: int) -> None:
        """Add one text.

        Args:
            text: what is compared.
            tag: its number, 0 to 2⁶⁴ − 1.
        """
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self._buckets[digest[7] % _BUCKETS].write(digest + tag.to_bytes(8, "little"))

    def groups(self) -> Iterator[list[int]]:
        """The numbers of texts that have one hash, two and more in each group, in the order of their numbers.

        Of 10⁸ different texts, two have the same 64 bits once in 4,000 tables: who acts on it compares the texts.
        """
        for bucket in self._buckets:
            bucket.seek(0)
            pairs = np.frombuffer(bucket.read(), _PAIRS)
            pairs = pairs[np.lexsort((pairs["tag"], pairs["hash"]))]
            same = np.flatnonzero(pairs["hash"][1:] == pairs["hash"][:-1])
            # Runs of neighbours that are equal: a new one begins where the index before is not the one before.
            for run in np.split(same, np.flatnonzero(np.diff(same) != 1) + 1):
                if run.size:
                    yield [int(tag) for tag in pairs["tag"][run[0] : run[-1] + 2]]
