"""Files that say of themselves that dpenet wrote them, and whether anybody has changed them since.

What is made again and again while somebody tries (a preview, a gallery) replaces what the last try left; and nothing
else: a name alone never makes a file ours. A seal holds the SHA-256 of all the rest of the file. It stands at the end
of a page, as a comment, and before the end of a PNG, as text.
"""

import hashlib
import zlib
from pathlib import Path

_WORD = b"dpenet-sha256 "

_PNG_HEAD = b"\x89PNG"

_PNG_END = 12
"""Bytes of the chunk that ends a PNG."""

_PIECE = 2**20
"""Bytes that are hashed at a time."""


def page_seal(digest: str) -> bytes:
    """The last bytes of a page.

    Args:
        digest: SHA-256 of all before them, as hexadecimal digits.
    """
    return b"<!-- " + _WORD + digest.encode("ascii") + b" -->\n"


def sealed_png(png: bytes) -> bytes:
    """The same PNG with a seal."""
    return png[:-_PNG_END] + _png_seal(hashlib.sha256(png).hexdigest()) + png[-_PNG_END:]


def _png_seal(digest: str) -> bytes:
    chunk = b"tEXtSoftware\0" + _WORD + digest.encode("ascii")
    return (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")


def is_untouched(path: Path) -> bool:
    """Whether a file has a seal of ours that fits; false, not an error, where it cannot be read."""
    blank = "0" * hashlib.sha256().digest_size * 2
    try:
        if not path.is_file():  # a pipe would be waited for
            return False
        with path.open("rb") as file:
            is_png = file.read(len(_PNG_HEAD)) == _PNG_HEAD
            seal_of, behind = (_png_seal, _PNG_END) if is_png else (page_seal, 0)
            before = file.seek(0, 2) - behind - len(seal_of(blank))
            if before < 0:
                return False
            file.seek(0)
            digest = hashlib.sha256()
            for begin in range(0, before, _PIECE):
                digest.update(file.read(min(_PIECE, before - begin)))
            rest = file.read()
    except OSError:
        return False
    end = rest[len(rest) - behind :]
    digest.update(end)
    return rest == seal_of(digest.hexdigest()) + end
