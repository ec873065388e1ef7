"""What lies in a file and is read by nobody here, found by looking through the file itself."""

from pathlib import Path
from typing import NamedTuple

from dpenet_cli.video.matroska import MAX_ELEMENTS, passed_over
from dpenet_cli.video.mp4_boxes import find_boxes
from dpenet_cli.video.safe_open import reading
from dpenet_cli.video.scanned import Scan

_HEAD_ELEMENTS = 20_000
"""Elements of a Matroska file that are looked at where a part of it alone is decoded."""

_HANDED_OVER, _T35 = 1, 4
"""Numbers of Matroska's additional blocks: what the codec says of it, and messages of ITU-T T.35."""


class Unread(NamedTuple):
    """What was found.

    Attributes:
        gps: names of boxes that hold a dashcam's GPS log.
        others: of what else lies outside the streams, or beside packets that are not decoded.
        blocks: numbers of additional blocks beside the packets of a stream, by its number.
        cut: whether the file ends inside what holds its packets.
    """

    gps: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    blocks: dict[int, frozenset[int]] = {}  # noqa: RUF012 - a named tuple's default, never changed
    cut: bool = False


def find_unread(path: Path, scan: Scan, *, whole: bool) -> Unread:
    """Look through a file.

    Args:
        path: the file.
        scan: what was read of it.
        whole: look at all of it, and not at its beginning alone, where that takes long.

    Raises:
        VideoReadError: it cannot be read.
    """
    with reading(path):
        if "matroska" not in scan.container:
            boxes = find_boxes(path, scan.texts)
            return Unread(boxes.gps, boxes.others)
        found = passed_over(path, MAX_ELEMENTS if whole else _HEAD_ELEMENTS)
    # Number 1 is what libavformat hands over, and 4 where it is HDR10+; both are told by the packets.
    blocks = {}
    for index, numbers in found.blocks.items():
        stream = scan.streams.get(index)
        told = {_HANDED_OVER, _T35} if stream and "DYNAMIC_HDR_PLUS" in stream.side_data else {_HANDED_OVER}
        blocks[index] = numbers - told
    beside = (
        f"data beside the packets of stream {index} (BlockAdditional {number})"
        for index, numbers in blocks.items()
        if index not in scan.streams
        for number in sorted(numbers)
    )
    return Unread((), (*found.names, *beside), blocks, found.cut)
