"""What Matroska and MP4 files hold outside the streams or beside packets, and no reader here carries, is named."""

import struct
from pathlib import Path

import av
import pytest
from clips import clean, clip, dav, ffmpeg, with_message
from hypothesis import given, settings
from hypothesis import strategies as st

from dpenet_cli.video.matroska import passed_over
from dpenet_cli.video.mp4_boxes import find_boxes

CAPTIONS = bytes.fromhex("b50031 47413934 03 c1ff fc8080 ff")


def element(kind: str, content: bytes) -> bytes:
    """An element of Matroska."""
    return bytes.fromhex(kind) + (1 << 56 | len(content)).to_bytes(8, "big") + content


def number(kind: str, value: int) -> bytes:
    return element(kind, bytes([value]))


SEGMENT, CLUSTER, CUES = (bytes.fromhex(kind) for kind in ("18538067", "1F43B675", "1C53BB6B"))
ATOM = number("73C4", 1) + number("91", 0) + element("80", element("85", b"A part"))
IN_MATROSKA = {
    "a binary tag": (
        element("1254C367", element("7373", element("67C8", element("45A3", b"HASH") + element("4485", b"\1\2")))),
        "the tag HASH, which is no text",
    ),
    "chapters in chapters": (
        element("1043A770", element("45B9", element("B6", ATOM + element("B6", ATOM)))),
        "chapters inside chapters",
    ),
    "two editions": (
        element("1043A770", 2 * element("45B9", element("B6", ATOM))),
        "another edition of its chapters",
    ),
    "an order": (element("1043A770", element("45B9", number("45DD", 1) + element("B6", ATOM))), "the order of its"),
    "hidden ones": (element("1043A770", element("45B9", element("B6", ATOM + number("98", 1)))), "hidden chapters"),
    "menus": (element("1043A770", element("45B9", element("B6", ATOM + element("6944", b"")))), "commands of its"),
    "a file before it": (element("1549A966", element("3CB923", bytes(16))), "the link to the file before it"),
    "something unknown": (element("1A2B3C4D", b"some program's own"), "an element of an unknown kind (1A2B3C4D)"),
}


def with_element(data: bytes, more: bytes, before: bytes = CLUSTER) -> bytes:
    """A Matroska file of ffmpeg's with an element before another, which no length speaks against any more."""
    for at in (data.rindex(CLUSTER) + 4, data.index(SEGMENT) + 4):
        data = data[:at] + b"\xff" + data[at + 9 - data[at].bit_length() :]
    at = data.rindex(before)
    return data[:at] + more + data[at:]


@pytest.mark.parametrize("name", IN_MATROSKA)
@pytest.mark.parametrize("ending", ["mkv", "webm"])
def test_what_matroska_holds_and_libavformat_does_not_read(ending: str, name: str, tmp_path: Path) -> None:
    codec = ["-pix_fmt", "yuv420p"] if ending == "webm" else []
    source = clip(tmp_path / f"a.{ending}", *codec, frames=2, codec="libvpx" if ending == "webm" else "libx264")
    plain = source.read_bytes()
    assert passed_over(source).names == ()
    more, word = IN_MATROSKA[name]
    source.write_bytes(with_element(plain, more))
    assert word in "".join(clean(source, tmp_path / "b.mkv", method="temporal").notices)


@pytest.mark.parametrize("beside", [2, 4, 100])
@pytest.mark.parametrize(("track", "word"), [(1, "the picture's packets"), (2, "the packets of stream 1")])
def test_blocks_beside_packets_are_named(beside: int, track: int, word: str, tmp_path: Path) -> None:
    sound = ["-f", "lavfi", "-i", "sine=r=16000", "-map", 0, "-map", 1, "-t", "0.2", "-c:a", "pcm_s16le"]
    source = tmp_path / "a.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x48:r=25", *sound, "-c:v", "mjpeg", source)
    data = source.read_bytes()
    whole = data[data.index(b"\xff\xd8\xff") : data.index(b"\xff\xd9") + 2]
    block = bytes([0x80 | track, 0, 210, 0x80]) + (whole if track == 1 else bytes(320))
    more = element("75A1", element("A6", number("EE", beside) + element("A5", b"some data")))
    source.write_bytes(with_element(data, element("A0", element("A1", block) + more), CUES))
    assert passed_over(source).blocks == {track - 1: {beside}}
    told = "".join(clean(source, tmp_path / "b.mkv", method="temporal").notices)
    assert f"{word} (BlockAdditional {beside})" in told


@settings(max_examples=60, derandomize=True, database=None)
@given(st.data())
def test_hostile_elements_and_boxes_are_harmless(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Bytes of any kind: something is found or nothing, and no element is looked at twice."""
    path = tmp_path_factory.mktemp("hostile") / "a"
    pieces = [more for more, _ in IN_MATROSKA.values()] + [SEGMENT + b"\x01" + b"\xff" * 7, CLUSTER + b"\xff", b"\x80"]
    pieces += [
        box(b"moov", box(b"udta", b"")),
        struct.pack(">I4sQ", 1, b"moov", 2**63),
        b"\0\0\0\0moov",
        b"\0\0\0\1udta",
    ]
    some = data.draw(st.lists(st.one_of(st.sampled_from(pieces), st.binary(max_size=12)), max_size=12))
    path.write_bytes(b"".join(some))
    assert len(passed_over(path).names) <= 100
    assert len(find_boxes(path).others) <= 100


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def test_elements_and_boxes_without_end_take_no_end_of_time(tmp_path: Path) -> None:
    deep = tmp_path / "deep"
    deep.write_bytes((SEGMENT + b"\x01" + b"\xff" * 7) * 50_000)
    assert len(passed_over(deep, 1000).names) == 1
    nested = b""
    for _ in range(3000):
        nested = box(b"moov", nested)
    deep.write_bytes(nested)
    assert find_boxes(deep).others == ("moov box",)
    deep.write_bytes(box(b"Abcd", b"") * 100_000)
    assert find_boxes(deep).others == ("Abcd box",)
    deep.write_bytes(b"".join(box(b"%04d" % n, b"") for n in range(9999)))
    assert len(find_boxes(deep).others) == 100


IN_MP4 = {
    "a maker's own": ([b"moov", b"udta"], box(b"SETT", bytes(range(12))), "SETT box"),
    "a maker's own of a track": ([b"moov", b"trak", b"udta"], box(b"LENS", b"wide"), "LENS box"),
    "something of the whole": ([b"moov"], box(b"abcd", b"data"), "abcd box"),
    "XMP": ([], box(b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + b"<x:xmpmeta/>"), "XMP"),
    "a uuid": ([], box(b"uuid", b"PROF" + bytes(20)), "uuid box"),
    "a crop": ([b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"], box(b"clap", bytes(32)), "its crop"),
    "GPS": ([], box(b"gps ", bytes(40)), "a GPS log"),
    "a track's own": ([b"moov", b"trak"], box(b"tagx", b"data"), "tagx box"),
}
BEFORE_BOXES = {b"stsd": 8, b"avc1": 78}


def with_box(data: bytes, inside: list[bytes], more: bytes) -> bytes:
    """An MP4 with a box at the end of another, which is made where there is none; its index lies behind the media."""
    if not inside:
        return data + more
    at = 0
    while at + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        if name == inside[0]:
            begin = at + 8 + BEFORE_BOXES.get(name, 0)
            content = with_box(data[begin : at + size], inside[1:], more)
            return data[:at] + box(name, data[at + 8 : begin] + content) + data[at + size :]
        at += size
    return data + box(inside[0], with_box(b"", inside[1:], more))


@pytest.mark.parametrize("name", IN_MP4)
@pytest.mark.parametrize("ending", ["mp4", "mov"])
def test_what_mp4_holds_and_nobody_reads(ending: str, name: str, tmp_path: Path) -> None:
    source = clip(tmp_path / f"a.{ending}", "-metadata", "title=Wet road", frames=2)
    inside, more, word = IN_MP4[name]
    plain = source.read_bytes()
    assert find_boxes(source, {"Wet road"}) == ((), ())
    source.write_bytes(with_box(plain, inside, more))
    task = clean(source, tmp_path / f"b.{ending}", method="temporal")
    assert word in "".join(task.notices)
    assert task.frames == 2


def test_streams_of_data_are_named(tmp_path: Path) -> None:
    """A transport stream with what a drone tells of its flight."""
    picture, source = clip(tmp_path / "a.mp4", frames=3), tmp_path / "b.ts"
    with av.open(str(picture)) as before, av.open(str(source), "w") as after:
        stream = after.add_stream_from_template(before.streams.video[0], opaque=True)
        told = after.add_data_stream("klv")
        told.time_base = stream.time_base = before.streams.video[0].time_base
        for packet in before.demux(video=0):
            if packet.size:
                data = av.Packet(b"\x06\x0e\x2b\x34" + bytes(20))
                data.pts = data.dts = packet.dts
                data.time_base, data.stream, packet.stream = packet.time_base, told, stream
                after.mux([packet, data])
    for ending in ("mkv", "mp4"):
        task = clean(source, tmp_path / f"c.{ending}", method="temporal")
        assert any(notice.startswith("data stream 1 (klv) does not fit") for notice in task.notices)


def test_what_a_recorder_tells_inside_its_pictures_is_named(tmp_path: Path) -> None:
    """In a recorder's file, and in streams that stand alone: captions, and data of unknown kinds."""
    data = clip(tmp_path / "a.h264", "-bf", 0, frames=2).read_bytes()
    data = with_message(data, b"\x06\x04" + bytes([len(CAPTIONS)]) + CAPTIONS + b"\x80", b"\x65")
    data = with_message(data, b"\x06\x05\x18" + bytes(range(0x60, 0x70)) + b"N48 E011" + b"\x80", b"\x65")
    (tmp_path / "b.h264").write_bytes(data)
    second = data.rindex(b"\0\0\1\x41")
    dav(tmp_path / "c.dav", [data[:second], data[second:]])
    for source in (tmp_path / "b.h264", tmp_path / "c.dav"):
        told = "".join(clean(source, tmp_path / f"{source.stem}.mkv", method="temporal").notices)
        assert "closed captions" in told
        assert "data of an unknown kind (SEI)" in told
