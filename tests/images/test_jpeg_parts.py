"""What a JPEG holds in several segments: kept byte for byte where it makes a whole, named where it does not."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_checks import JPEG, PLAIN
from pictures import exif_block, photo, saved, segment, srgb_profile, wide_profile

from dpenet_cli.images.picture import Picture
from dpenet_cli.images.reading import read
from dpenet_cli.images.writing import encode

PROFILE = wide_profile()
A, B, C = PROFILE[:150], PROFILE[150:300], PROFILE[300:]
Parts = list[tuple[int, int, bytes]]


def _with_segments(*segments: bytes) -> bytes:
    plain = saved(photo(), "JPEG")
    at = 4 + int.from_bytes(plain[4:6], "big")
    return plain[:at] + b"".join(segments) + plain[at:]


def _profiled(parts: Parts) -> Picture:
    """A picture whose profile comes in parts: number, count and body of each."""
    return read(_with_segments(*(segment(0xE2, b"ICC_PROFILE\0" + bytes([n, of]) + body) for n, of, body in parts)))


def _kept(parts: Parts) -> bool:
    """Whether the profile is kept; it is so without a word into the result, or named and gone."""
    picture = _profiled(parts)
    said = [notice for notice in picture.notices if "colour profile" in notice]
    written = read(encode(picture, JPEG, PLAIN)[0]).metadata.icc
    assert written == picture.metadata.icc
    assert picture.metadata.icc in (PROFILE, None)
    assert len(said) == (picture.metadata.icc is None)
    return picture.metadata.icc is not None


@pytest.mark.parametrize(
    "parts",
    [
        [(0, 1, PROFILE)],
        [(1, 2, PROFILE)],
        [(7, 0, PROFILE)],
        [(0, 0, PROFILE)],
        [(255, 255, PROFILE)],
        [(0, 3, A), (1, 3, B), (2, 3, C)],
        [(1, 3, A), (3, 3, B), (9, 3, C)],
        [(2, 1, A), (3, 1, B), (4, 1, C)],
        [(1, 0, A), (2, 0, B), (3, 0, C)],
        [(1, 3, A), (2, 4, B), (3, 5, C)],
        [(1, 2, A), (2, 2, B), (3, 2, C)],
        [(1, 3, A), (2, 3, B), (2, 3, B), (3, 3, C)],
        [(1, 3, A), (2, 3, B), (3, 3, C)] * 2,
        [(1, 6, A), (2, 6, B), (3, 6, C), (4, 6, A), (5, 6, B), (6, 6, C)],
        [(1, 1, PROFILE)] * 2,
        [(1, 3, PROFILE), (2, 3, PROFILE), (3, 3, PROFILE)],
        [(1, 2, PROFILE), (2, 2, PROFILE)],
        [(0, 2, PROFILE), (1, 2, A)],
        [(1, 1, A + B), (1, 1, C)],
        [(0, 2, A + B), (0, 2, C)],
        [(1, 3, A), (2, 3, B), (2, 3, C)],
        [(5, 2, C), (6, 2, A + B)],
        [(5, 2, C), (5, 2, A + B)],
        [(1, 3, A), (2, 3, B), (2, 3, b"no part of it, and longer" * 9), (3, 3, C)],
    ],
)
def test_parts_that_make_a_whole_profile(parts: Parts) -> None:
    assert _kept(parts)


@pytest.mark.parametrize(
    "parts",
    [
        [(1, 2, A)],
        [(1, 3, A), (3, 3, C)],
        [(2, 3, B), (3, 3, C)],
        [(0, 2, PROFILE[:-1])],
        [(0, 2, PROFILE + b"x")],
        [(1, 2, A), (1, 2, B)],
        [(0, 0, b"")],
        [(1, 3, A), (2, 3, B), (2, 3, bytes(len(B))), (3, 3, C)],  # either could be meant
        [(1, 1, PROFILE), (1, 1, PROFILE[:-1] + b"x")],
        [(0, 1, PROFILE.replace(b"acsp", b"none"))],
    ],
)
def test_parts_that_make_none_are_named(parts: Parts) -> None:
    assert not _kept(parts)


def test_a_profile_that_is_numbered_rightly_is_kept_whatever_it_holds() -> None:
    for parts in itertools.permutations([(1, 3, A), (2, 3, B), (3, 3, C)]):
        assert _kept(list(parts))
    odd = PROFILE[:-1]
    assert _profiled([(2, 2, odd[200:]), (1, 2, odd[:200])]).metadata.icc == odd
    assert _profiled([(1, 1, odd)]).metadata.icc == odd
    assert _profiled([]).metadata.icc is None
    assert not _profiled([]).notices


def test_a_part_that_repeats_another_counts() -> None:
    """A table of zeros is cut into equal parts."""
    profile = (len(srgb_profile()) + 600).to_bytes(4, "big") + srgb_profile()[4:] + bytes(600)
    cut = [profile[:-600], bytes(200), bytes(200), bytes(200)]
    for first in (0, 1, 3):
        assert _profiled([(n, 4, part) for n, part in enumerate(cut, first)]).metadata.icc == profile
    assert _profiled([(1, 4, part) for part in cut]).metadata.icc == profile


@given(st.lists(st.integers(1, len(PROFILE) - 1), max_size=5, unique=True), st.integers(0, 200), st.data())
@settings(max_examples=60, deadline=None)
def test_any_increasing_numbers_in_any_order(cuts: list[int], first: int, data: st.DataObject) -> None:
    ends = [0, *sorted(cuts), len(PROFILE)]
    numbers = sorted(data.draw(st.sets(st.integers(first, 255), min_size=len(ends) - 1, max_size=len(ends) - 1)))
    count = data.draw(st.integers(0, 255))
    parts = [(n, count, PROFILE[a:b]) for n, a, b in zip(numbers, ends, ends[1:], strict=False)]
    again = data.draw(st.lists(st.sampled_from(parts), max_size=3))
    assert _kept(data.draw(st.permutations(parts + again)))


def test_thousands_of_parts_take_no_long() -> None:
    parts = [(n % 256, n % 7, (500 + n).to_bytes(4, "big") + bytes(32) + b"acsp") for n in range(5000)]
    assert _profiled(parts).metadata.icc is None


def test_extended_xmp_is_kept_as_it_is_cut() -> None:
    """In any order, twice or with a part missing: each segment byte for byte."""
    head = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32
    whole = [head + (300).to_bytes(4, "big") + at.to_bytes(4, "big") + bytes([at % 251]) * 100 for at in (0, 100, 200)]
    for parts in (whole, whole[::-1], whole + whole[:1], whole[1:]):
        picture = read(_with_segments(*(segment(0xE1, part) for part in parts)))
        assert picture.metadata.xmp_extension == tuple(parts)
        data, _ = encode(picture, JPEG, PLAIN)
        assert read(data).metadata.xmp_extension == tuple(parts)


def test_exif_of_several_segments_is_kept() -> None:
    block = exif_block(1, thumbnail=False)
    long = block + bytes(range(256)) * 400
    cut = [long[at : at + 50000] for at in range(0, len(long), 50000)]
    data = _with_segments(*(segment(0xE1, b"Exif\0\0" + part) for part in cut))
    picture = read(data)
    written, notices = encode(picture, JPEG, PLAIN)
    assert not [notice for notice in (*picture.notices, *notices) if "EXIF" in notice]
    assert read(written).metadata.exif == picture.metadata.exif
    assert picture.metadata.exif[len(block) :] == long[len(block) :]
    assert written.count(b"Exif\0\0") == 2


def test_a_second_exif_is_no_continuation() -> None:
    block, other = exif_block(1, thumbnail=False), exif_block(1, ">", thumbnail=False)
    once, twice, both = (
        read(_with_segments(*(segment(0xE1, b"Exif\0\0" + part) for part in parts)))
        for parts in ([block], [block, block], [block, other])
    )
    assert once.metadata.exif == twice.metadata.exif == both.metadata.exif
    assert not [notice for notice in (*once.notices, *twice.notices) if "EXIF" in notice]
    assert [notice for notice in both.notices if "EXIF" in notice] == ["only the first EXIF of several is kept"]
