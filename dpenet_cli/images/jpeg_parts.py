"""What a JPEG file holds in several segments, put together again, however their numbers were written."""

import itertools
from collections.abc import Iterable

_MOST_CHOICES = 64
"""Ways of choosing among parts of one number that are tried; more are no accident."""

_MOST_HEADS = 8
"""Parts that begin a profile, of which each is tried."""

_TIFF_HEADERS = (b"II*\0", b"MM\0*")
"""How each EXIF block begins, and its continuation but by accident."""

_Part = tuple[int, bytes]
"""Its number and what it holds."""


def joined_exif(payloads: list[bytes]) -> list[bytes]:
    """The EXIF blocks of a file, each of which may go on in the segments behind its first; none twice.

    Args:
        payloads: in the file's order.
    """
    blocks: list[bytes] = []
    for payload in payloads:
        if blocks and payload[:4] not in _TIFF_HEADERS:
            blocks[-1] += payload
        else:
            blocks.append(payload)
    return list(dict.fromkeys(filter(None, blocks)))


def joined_profile(payloads: list[bytes]) -> bytes | None:
    """The colour profile from its parts.

    Parts that are numbered from 1 to their count are joined whatever they hold. Of others it counts whether they make a
    profile that is whole by its own header: programs begin at 0, miscount, and write parts twice.

    Args:
        payloads: in the file's order, each with its number and the count of parts in front.

    Returns:
        The profile, or None where the parts make none, or could make several.
    """
    payloads = [payload for payload in payloads if len(payload) > 2]
    numbered = sorted(payloads)
    right = [bytes([number, len(numbered)]) for number in range(1, len(numbered) + 1)] if len(numbered) < 256 else []
    if numbered and [payload[:2] for payload in numbered] == right:
        return b"".join(payload[2:] for payload in numbered)
    parts = [(payload[0], payload[2:]) for payload in payloads]
    for orders in _arrangements(parts):
        profiles = {profile for order in orders for profile in _whole_profiles(order)}
        if profiles:
            return profiles.pop() if len(profiles) == 1 else None
    return None


def _arrangements(parts: list[_Part]) -> Iterable[list[list[bytes]]]:
    """Orders of the parts, the likeliest first; those in one list are as likely as each other."""
    distinct = list(dict.fromkeys(parts))
    by_number: dict[int, list[bytes]] = {}
    for number, body in distinct:
        by_number.setdefault(number, []).append(body)
    choices = 1
    for alternatives in by_number.values():
        choices *= len(alternatives)
    if choices <= _MOST_CHOICES:  # one part of each number
        yield [list(chosen) for chosen in itertools.product(*(by_number[number] for number in sorted(by_number)))]
    for some in (distinct, list({body: (number, body) for number, body in reversed(parts)}.values())[::-1], parts):
        yield [[body for _, body in sorted(some, key=lambda part: part[0])]]  # those of one number as they stand
        yield [[body for _, body in some]]


def _whole_profiles(order: list[bytes]) -> Iterable[bytes]:
    """The profiles that begin with one of the parts and are as long as they say with those that follow it."""
    heads = [index for index, body in enumerate(order) if body[36:40] == b"acsp"]  # ICC.1:2022, 7.2
    for head in heads[:_MOST_HEADS]:
        size, length, taken = int.from_bytes(order[head][:4], "big"), 0, []
        for body in itertools.chain(order[head:], order[:head]):
            taken.append(body)
            length += len(body)
            if length >= size:
                break
        if length == size:
            yield b"".join(taken)
