"""Whatever a video's file holds is in the result, or named in a notice: each container with every kind of thing."""

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import av
import pytest
from clips import clean, clip, dav, ffmpeg, with_message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpenet_cli.errors import DpenetError
from dpenet_cli.video.matroska import passed_over
from dpenet_cli.video.mp4_boxes import find_boxes

CAPTIONS = bytes.fromhex("b50031 47413934 03 c1ff fc8080 ff")


class Kind(NamedTuple):
    """A kind of thing that a container holds.

    Attributes:
        arguments: what ffmpeg is told for it.
        trace: tells whether a result has it.
        word: stands in the notice of a result that has not.
    """

    arguments: tuple[object, ...]
    trace: Callable[[av.container.InputContainer], bool]
    word: str


def tag(key: str, value: str, word: str | None = None) -> Kind:
    """A tag of the whole file."""
    return Kind(("-metadata", f"{key}={value}"), lambda file: value in file.metadata.values(), word or key)


def of_stream(number: int, key: str, value: str) -> Kind:
    """A tag of one stream."""

    def trace(file: av.container.InputContainer) -> bool:
        return any(value in stream.metadata.values() for stream in file.streams)

    return Kind((f"-metadata:s:{number}", f"{key}={value}"), trace, f"stream {number}'s")


def streams(kind: str, count: int) -> Callable[[av.container.InputContainer], bool]:
    return lambda file: sum(stream.type == kind for stream in file.streams) >= count


def mark(number: int, name: str) -> Kind:
    """A mark of one stream."""

    def trace(file: av.container.InputContainer) -> bool:
        return any(name in str(getattr(stream.disposition, "name", "")) for stream in file.streams)

    return Kind((f"-disposition:{number}", name), trace, f"mark ({name})")


def cover(file: av.container.InputContainer) -> bool:
    return any(stream.type == "video" and stream.disposition.value & 1024 for stream in file.streams)


TAGS = {
    "title": tag("title", "Wet road"),
    "artist": tag("artist", "Ms. Rain"),
    "comment": tag("comment", "a long way"),
    "place": Kind(
        ("-metadata", "location=+48.1000+011.5000/"),
        lambda file: any("+48.1000" in value for value in file.metadata.values()),
        "location",
    ),
    "own": tag("MYOWN", "something else"),
}
OF_STREAMS = {
    "title of the picture": of_stream(0, "title", "Front camera"),
    "title of sound": of_stream(2, "title", "Commentary"),
    "language": of_stream(2, "language", "deu"),
    "own tag of sound": of_stream(2, "odd", "thing of sound"),
    "mark": mark(2, "hearing_impaired"),
}
CHAPTERS = Kind(
    ("-map_chapters", "CHAPTERS"), lambda file: [c["metadata"] for c in file.chapters()][1:] != [], "chapters"
)
TIME_CODE = Kind(
    ("-timecode", "01:02:03:04"),
    lambda file: "01:02:03:04" in [*file.metadata.values(), *(s.metadata.get("timecode") for s in file.streams)],
    "timecode",
)
FONT = Kind(
    ("-attach", "a.ttf", "-metadata:s:t:0", "mimetype=application/x-truetype-font", "-metadata:s:t:0", "title=Letters"),
    lambda file: any(s.type == "attachment" and s.metadata.get("title") == "Letters" for s in file.streams),
    "attachment",
)
SECOND_SOUND = Kind((), streams("audio", 2), "audio")
X264 = ("-c:v:0", "libx264", "-pix_fmt:v:0", "yuv420p", "-c:a", "aac")


class Container(NamedTuple):
    """A container with what it can hold.

    Attributes:
        encoded: how ffmpeg encodes for it.
        kinds: what it holds.
        subtitles: the codec of its subtitles, or None.
        pictured: its cover is a stream.
    """

    encoded: tuple[object, ...]
    kinds: dict[str, Kind]
    subtitles: str | None = None
    pictured: bool = False


SUBTITLES = Kind((), streams("subtitle", 1), "subtitle")
COVER = Kind((), cover, "cover")
CONTAINERS = {
    "mkv": Container(
        X264,
        {**TAGS, **OF_STREAMS, "chapters": CHAPTERS, "sound": SECOND_SOUND, "subtitles": SUBTITLES, "font": FONT},
        "srt",
    ),
    "webm": Container(
        ("-c:v", "libvpx", "-pix_fmt", "yuv420p", "-c:a", "libopus"),
        {**TAGS, **OF_STREAMS, "chapters": CHAPTERS, "sound": SECOND_SOUND, "subtitles": SUBTITLES},
        "webvtt",
    ),
    "mp4": Container(
        X264,
        {**TAGS, **OF_STREAMS, "chapters": CHAPTERS, "sound": SECOND_SOUND, "subtitles": SUBTITLES, "cover": COVER},
        "mov_text",
        pictured=True,
    ),
    "mov": Container(
        X264,
        {
            **TAGS,
            **OF_STREAMS,
            "chapters": CHAPTERS,
            "sound": SECOND_SOUND,
            "subtitles": SUBTITLES,
            "cover": COVER,
            "time code": TIME_CODE,
        },
        "mov_text",
        pictured=True,
    ),
    "avi": Container(("-c:v", "mpeg4", "-c:a", "mp2"), {**TAGS, **OF_STREAMS, "sound": SECOND_SOUND}),
    "nut": Container(
        ("-c:v", "mpeg4", "-c:a", "pcm_s16le"), {**TAGS, **OF_STREAMS, "chapters": CHAPTERS, "sound": SECOND_SOUND}
    ),
    "ts": Container(X264, {**TAGS, **OF_STREAMS, "sound": SECOND_SOUND}),
    "mpg": Container(("-c:v", "mpeg2video", "-c:a", "mp2"), {**TAGS, "sound": SECOND_SOUND}),
    "flv": Container(X264, TAGS),
    "wmv": Container(("-c:v", "wmv2", "-c:a", "wmav2"), {**TAGS, **OF_STREAMS, "sound": SECOND_SOUND}),
    "ogv": Container(("-c:v", "libtheora", "-c:a", "libvorbis"), {**TAGS, **OF_STREAMS, "sound": SECOND_SOUND}),
    "mxf": Container(
        ("-c:v", "mpeg2video", "-c:a", "pcm_s16le", "-ar", 48000),
        {"own": TAGS["own"], "time code": TIME_CODE, "sound": SECOND_SOUND},
    ),
}
RESULTS = {"webm": ("webm", "mkv"), "mp4": ("mp4", "mov"), "mov": ("mov", "mp4")}
OTHERWISE = ("mkv", "mp4", "mov")
"""Results of each, and of all others: what cannot be carried is refused with its reason, which is no silence."""


def made(folder: Path, ending: str, kinds: dict[str, Kind]) -> Path:
    """A clip of 0.2 seconds with these kinds of things."""
    container = CONTAINERS[ending]
    (folder / "a.srt").write_text("1\n00:00:00,000 --> 00:00:00,160\nRain\n")
    begin = ";FFMETADATA1\n"
    for number in range(2):
        begin += f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={number * 80}\nEND={number * 80 + 80}\ntitle=Part {number}\n"
    (folder / "chapters.txt").write_text(begin)
    (folder / "a.ttf").write_bytes(bytes(200))
    if not (folder / "cover.jpg").exists():
        ffmpeg("-f", "lavfi", "-i", "color=red:s=32x32", "-frames:v", 1, folder / "cover.jpg")
    sound = ["-f", "lavfi", "-i", "sine=r=16000"]
    inputs = [*("-f", "lavfi", "-i", "testsrc=s=64x48:r=25"), *sound, *sound, "-i", folder / "chapters.txt"]
    maps = ["-map", 0, "-map", 1, *(["-map", 2] if "sound" in kinds else [])]
    options = [*container.encoded, "-map_chapters", -1]
    if "subtitles" in kinds:
        inputs += ["-i", folder / "a.srt"]
        maps += ["-map", 4]
        options += ["-c:s", container.subtitles]
    if "cover" in kinds and container.pictured:
        inputs += ["-i", folder / "cover.jpg"]
        maps += ["-map", inputs.count("-i") - 1]
        options += ["-c:v:1", "copy", "-disposition:v:1", "attached_pic"]
    for name, kind in kinds.items():
        needs_sound = name in OF_STREAMS and kind.arguments[0][-1:] == "2"
        if not needs_sound or "sound" in kinds:
            arguments = [3 if word == "CHAPTERS" else word for word in kind.arguments]
            options += [folder / word if word == "a.ttf" else word for word in arguments]
    free = ["-movflags", "use_metadata_tags"] if ending in {"mp4", "mov"} and "cover" not in kinds else []
    source = folder / f"a.{ending}"
    ffmpeg(*inputs, *maps, "-t", "0.2", *options, *free, source)
    return source


def unsaid(source: Path, target: Path, kinds: dict[str, Kind]) -> list[str]:
    """Kinds that the source has, as it is read, and that are neither in the result nor named."""
    with av.open(str(source), metadata_errors="replace") as file:
        there = [name for name, kind in kinds.items() if kind.trace(file)]
    try:
        task = clean(source, target, method="temporal")
    except DpenetError as error:
        return [] if re.search("cannot carry|cannot hold|damaged", str(error)) else [str(error)]
    told = "; ".join(task.notices)
    with av.open(str(target)) as file:
        lost = [name for name in there if not kinds[name].trace(file) and kinds[name].word not in told]
        return lost + lost_tags(source, file, told)


@pytest.mark.parametrize("ending", CONTAINERS)
def test_every_kind_is_there_or_named(ending: str, tmp_path: Path) -> None:
    kinds = CONTAINERS[ending].kinds
    source = made(tmp_path, ending, kinds)
    for result in RESULTS.get(ending, OTHERWISE):
        assert unsaid(source, tmp_path / f"b.{result}", kinds) == []


OF_THE_FILE = re.compile(
    "major_brand|minor_version|compatible_brands|encoder|vendor_id|duration|handler_name|language", re.IGNORECASE
)
"""What says how the source was stored; languages are a kind of their own."""


def lost_tags(source: Path, result: av.container.InputContainer, told: str) -> list[str]:
    """Keys of the source's tags, whatever they say as it is read, that are neither in the result nor named."""

    def tags(file: av.container.InputContainer) -> list[tuple[str, str]]:
        found = [*file.metadata.items(), *(item for stream in file.streams for item in stream.metadata.items())]
        return [(key, value.partition(".")[0]) for key, value in found if not OF_THE_FILE.match(key)]

    with av.open(str(source), metadata_errors="replace") as file:
        before = tags(file)
    after = {value for _, value in tags(result)}
    return [key for key, value in before if value not in after and key not in told]


@pytest.mark.parametrize("ending", CONTAINERS)
def test_the_others_are_there_or_named_without_some(ending: str, tmp_path: Path) -> None:
    kinds = CONTAINERS[ending].kinds

    @settings(max_examples=3, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sets(st.sampled_from(sorted(kinds)), min_size=1))
    def without(some: set[str]) -> None:
        rest = {name: kind for name, kind in kinds.items() if name not in some}
        target = tmp_path / f"b.{RESULTS.get(ending, OTHERWISE)[0]}"
        target.unlink(missing_ok=True)
        assert unsaid(made(tmp_path, ending, rest), target, rest) == []

    without()


@pytest.mark.long
@pytest.mark.parametrize(("ending", "name"), [(each, name) for each in CONTAINERS for name in CONTAINERS[each].kinds])
def test_the_others_are_there_or_named_without_each(ending: str, name: str, tmp_path: Path) -> None:
    rest = {other: kind for other, kind in CONTAINERS[ending].kinds.items() if other != name}
    source = made(tmp_path, ending, rest)
    for result in RESULTS.get(ending, OTHERWISE):
        assert unsaid(source, tmp_path / f"b.{result}", rest) == []


TEXTS = [b"Wet road", b"Ms. Rain", b"a long way", b"something else", b"Front camera", b"Commentary", b"thing of sound"]


@pytest.mark.parametrize("ending", CONTAINERS)
def test_damaged_tags_are_there_as_they_are_read_or_named(ending: str, tmp_path: Path) -> None:
    kinds = CONTAINERS[ending].kinds
    source = made(tmp_path, ending, kinds)
    data = source.read_bytes()
    for text in TEXTS:
        data = data.replace(text, text[:3] + b"\xff\xc0" + text[5:])
    source.write_bytes(data)
    assert unsaid(source, tmp_path / f"b.{RESULTS.get(ending, OTHERWISE)[0]}", kinds) == []


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
