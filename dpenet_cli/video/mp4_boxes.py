"""The boxes of MP4 and MOV files that no reader here carries: logs of dashcams, and what cameras' makers write."""

import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

_GPS_NAMES = {b"gps ", b"GPS ", b"gps0", b"gsen"}
_SPACE = {b"free", b"skip"}
_SEARCHED = 4096
"""Bytes at the head of free space in which the letters GPS give it away."""

_MAX_BOXES = 20_000
"""Boxes that are looked at: a hostile file does not get more of our time."""

_MAX_NAMES = 100
_TEXT_BYTES = 1024
"""Bytes of a box in which the text is looked for that libavformat has read."""

_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")

_KNOWN: dict[bytes, frozenset[bytes]] = {
    inside: frozenset(name.ljust(4).encode() for name in names.split())
    for inside, names in {
        b"": "ftyp styp moov mdat moof mfra sidx ssix prft pdin meta wide",
        b"moov": "mvhd trak mvex iods udta meta",
        b"trak": "tkhd edts mdia tref udta meta load tapt",
        b"udta": "meta chpl name tagc kind loci hnti hinf tsel WLOC SelO AllF",
        b"meta": "hdlr keys ilst",
        b"ilst": "---- aART akID apID catg covr cpil cprt desc disk egid gnre hdvd keyw ldes pcst pgap purd rtng soaa"
        " soal soar soco sonm sosn stik tmpo trkn tven tves tvnn tvsh tvsn xid",
        b"vide": "avcC hvcC av1C vpcC esds btrt pasp colr fiel gama chrm glbl mdcv clli SmDm CoLL amve st3d sv3d vexu"
        " hfov lhvC ccst d263",
    }.items()
}
"""What is read, or says only how the file is stored, by the box that it lies in; ``vide``: a kind of pictures."""

_ENTERED: dict[bytes, tuple[set[bytes], int]] = {
    b"": ({b"moov"}, 0),
    b"moov": ({b"trak", b"udta"}, 0),
    b"trak": ({b"udta", b"mdia"}, 0),
    b"udta": ({b"meta"}, 0),
    b"meta": ({b"ilst"}, 4),
    b"mdia": ({b"minf"}, 0),
    b"minf": ({b"stbl"}, 0),
    b"stbl": ({b"stsd"}, 0),
    b"stsd": ({b"avc1", b"avc3", b"hvc1", b"hev1", b"av01", b"vp09", b"vp08", b"mp4v", b"jpeg", b"dvh1", b"dvhe"}, 8),
}
"""Boxes that are entered, by the one that they lie in, and how many bytes stand before the first."""

_BEFORE_BOXES = 78
"""Bytes of what describes a kind of pictures before its boxes."""

_LABELS = {
    b"clap": "its crop (clean aperture)",
    b"dvcC": "Dolby Vision's settings",
    b"dvvC": "Dolby Vision's settings",
    b"dvwC": "Dolby Vision's settings",
}


class _Box(NamedTuple):
    name: bytes
    inside: bytes
    body: int
    end: int


class Boxes(NamedTuple):
    """What was found.

    Attributes:
        gps: names of boxes that hold a GPS log, such as ``gps ``.
        others: of what else no reader here carries.
    """

    gps: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def find_boxes(path: Path, known: Collection[str] = ()) -> Boxes:
    """Look through a file; nothing is found in files that are not MP4 or MOV.

    Args:
        path: the file.
        known: texts that were read of it, which are carried; a box with one of them is not named.
    """
    gps: list[str] = []
    others: list[str] = []
    texts = {text.encode() for text in known if text}
    with path.open("rb") as file:
        for box in _boxes(file, file.seek(0, 2)):
            name = box.name.decode("latin-1").strip()
            if box.name in _GPS_NAMES:
                gps.append(box.name.decode("ascii"))
            elif box.name in _SPACE:
                if b"GPS" in _content(file, box, _SEARCHED):
                    gps.append(f"{name} (GPS)")
            elif len(others) >= _MAX_NAMES or box.name in _KNOWN.get(box.inside, (box.name,)):
                continue
            elif box.name == b"uuid":
                others.append("XMP" if _content(file, box, 16) == _XMP else "uuid box")
            elif not (box.inside in {b"udta", b"ilst"} and _is_read(_content(file, box, _TEXT_BYTES), box.name, texts)):
                others.append(_LABELS.get(box.name, f"{name} box"))
    return Boxes(tuple(dict.fromkeys(gps)), tuple(dict.fromkeys(others)))


def _content(file: BinaryIO, box: _Box, most: int) -> bytes:
    file.seek(box.body)
    return file.read(min(most, box.end - box.body))


def _is_read(content: bytes, name: bytes, texts: set[bytes]) -> bool:
    """Whether a box of user data is empty, or holds a text that is carried."""
    plain = content.strip(b"\0")
    # QuickTime's own names begin with ©, those that a table of keys gives with 0.
    if not plain or name[0] == 0 or name in {b"\xa9enc", b"\xa9too", b"\xa9swr"}:
        return True
    return any(text in content for text in texts if len(text) > 2) or plain in texts


def _boxes(file: BinaryIO, size: int) -> Iterator[_Box]:
    """Boxes of the file, from the outside in; those that lie in others as `_ENTERED` says. Ends where it is no MP4."""
    waiting = [(0, size, b"")]
    left = _MAX_BOXES
    while waiting and left > 0:
        position, end, inside = waiting.pop()
        while position + 8 <= end and left > 0:
            left -= 1
            file.seek(position)
            length, name = struct.unpack(">I4s", file.read(8).ljust(8, b"\0"))
            head = 8
            if length == 1:  # the size is in 64 bits behind the name
                length, head = struct.unpack(">Q", file.read(8).ljust(8, b"\0"))[0], 16
            elif length == 0:  # the box ends where the file does, or user data do
                if inside == b"udta":
                    break
                length = end - position
            if length < head or position + length > end:
                break
            yield _Box(name, inside, position + head, position + length)
            entered, _ = _ENTERED.get(inside, (set(), 0))
            if name in entered:
                pictures = inside == b"stsd"
                skipped = _BEFORE_BOXES if pictures else _ENTERED.get(name, (set(), 0))[1]
                waiting.append((position + head + skipped, position + length, b"vide" if pictures else name))
            position += length
