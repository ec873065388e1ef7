"""Whatever a video's file holds is in the result, or named in a notice: each container with every kind of thing."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import av
import pytest
from clips import clean, ffmpeg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpenet_cli.errors import DpenetError


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
