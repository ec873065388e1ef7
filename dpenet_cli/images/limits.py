"""May a picture be decoded: does its file hold what its header claims, and is that within the user's limit?"""

from dpenet_cli.errors import ImageReadError

DEFLATE_RATIO = 1032
"""Bytes that Deflate unfolds from one at most: a copy of 258 bytes takes two bits (RFC 1951, 3.2.5)."""

_COPY = "Copy it again from its source."


def check_size(width: int, height: int, max_pixels: int, what: str) -> None:
    """Raises ImageReadError for a picture without pixels, or with more than the limit."""
    if width < 1 or height < 1:
        raise ImageReadError(what, f"its header says {width}×{height} pixels", _COPY)
    if width * height > max_pixels:
        raise ImageReadError(
            what,
            f"it has {width}×{height} = {width * height:,} pixels, more than the limit of {max_pixels:,}",
            f"If you trust it, give `--max-pixels {width * height}`.",
        )


def check_room(size: tuple[int, int], needed: int, there: int, data: bytes, what: str) -> None:
    """Whether a file has the bytes that its pixels take, before anyone is told to raise a limit for them.

    Args:
        size: width and height, as its header says.
        needed: bytes that so many pixels take at least.
        there: bytes that can come out of the file at most.
        data: the file.
        what: its name, for the error.

    Raises:
        ImageReadError: it does not have them.
    """
    if needed > there:
        width, height = size
        claims = f"its header claims {width}×{height} = {width * height:,} pixels"
        raise ImageReadError(what, f"it is damaged: {claims}, which its {len(data)} bytes cannot hold", _COPY)


def check_same(size: tuple[int, int], width: int, height: int, what: str) -> None:
    """A decoder that has read another size from the file than was checked is not let loose on it."""
    if size != (width, height):
        across, down = size
        raise ImageReadError(what, f"it says its size twice, {width}×{height} and {across}×{down} pixels", _COPY)
