"""What frames and packets carry beside their pixels: kinds that PyAV has no name for end nothing, and hide nothing."""

import enum
import json
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.sidedata import sidedata
from clips import clean, clip, ffmpeg, planes, probe, second_view, times, with_message
from conftest import dpenet
from PIL import Image

from dpenet_cli.options import VideoOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.video import side_data
from dpenet_cli.video.orientation import Orientation
from dpenet_cli.video.probe import probe as media_info
from dpenet_cli.video.video_task import prepare

LCEVC = b"\x06\x04\x09" + bytes.fromhex("b40050 00 017b223344") + b"\x80"
"""An SEI unit of H.264 for which libavutil has a kind and PyAV 18.1 no name."""

DISPLAY = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"


def notices(source: Path, **options: object) -> tuple[str, ...]:
    return prepare(Job(source, source.with_name("out.mkv")), VideoOptions(**options)).notices


def timelapse(path: Path, orientation: int, count: int = 3, size: tuple[int, int] = (64, 48)) -> Path:
    """Frames of motion JPEG with EXIF, five a second, white at the top left as they are coded."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Maker"
    pixels = np.full((size[1], size[0], 3), 80, np.uint8)
    pixels[:16, :16] = 255
    for number in range(count):
        Image.fromarray(pixels).save(path.with_name(f"{path.stem}{number}.jpg"), exif=exif, quality=95)
    ffmpeg("-framerate", 5, "-i", path.with_name(f"{path.stem}%d.jpg"), "-c:v", "copy", path)
    return path


def seconds_shown(path: Path) -> list[float]:
    """Seconds of the frames that a player shows; an edit list may leave some out."""
    with av.open(str(path)) as container:
        return [float(frame.time) for frame in container.decode(video=0)]


def turned(path: Path, raw: Path) -> Path:
    """A raw stream in a MOV that is to be turned by 90°."""
    ffmpeg("-f", raw.suffix[1:], "-framerate", 10, "-i", raw, "-c", "copy", path.with_name("straight.mov"))
    ffmpeg("-display_rotation", 90, "-i", path.with_name("straight.mov"), "-c", "copy", path)
    return path


def test_one_batch_of_all_that_stopped_one(tmp_path, tiny_weights):
    """A second view, the same turned, a camera's timelapse, one that it held upright, and a plain file behind them."""
    view = second_view(tmp_path / "raw.hevc")
    turned(tmp_path / "turned.mov", view)
    view.rename(tmp_path / "spatial.hevc")
    timelapse(tmp_path / "timelapse.avi", 1, 4, (96, 72))
    timelapse(tmp_path / "portrait.avi", 6)
    clip(tmp_path / "other.mp4", frames=3)
    names = ["spatial.hevc", "turned.mov", "timelapse.avi", "portrait.avi", "other.mp4"]
    run = ["--weights", tiny_weights, "--strength", 0, "--json"]
    result = dpenet("video", *names, "-o", "out/", *run, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    *told, summary = map(json.loads, result.stdout.splitlines())
    lines = [line for line in told if line["event"] == "result"]
    assert [(line["input"], line["status"]) for line in lines] == [(name, "done") for name in names]
    assert summary["summary"]["done"] == 5
    for line in lines[:2]:
        assert "the second view of a 3D video is not carried; keep the original" in line["notices"]
    for line in lines[2:4]:
        assert line["notices"] == ["EXIF inside the frames is not carried; keep the original"]
    assert lines[4]["notices"] == []
    out = tmp_path / "out"
    assert [len(times(out / name)) for name in ("spatial.mkv", "other.mp4")] == [3, 3]
    assert seconds_shown(out / "turned.mov") == seconds_shown(tmp_path / "turned.mov")
    before, after = (
        media_info(path).streams[0].display_matrix for path in (tmp_path / "turned.mov", out / "turned.mov")
    )
    assert before is not None
    assert before == after
    assert times(out / "timelapse.mkv") == [0, 200, 400, 600]
    assert times(out / "portrait.mkv") == [0, 200, 400]
    (shown,) = probe(out / "portrait.mkv")["streams"]
    assert (shown["width"], shown["height"]) == (48, 64)
    luma = planes(out / "portrait.mkv")[0][0]
    assert luma[2:14, -14:-2].min() > 200
    assert luma[20:].max() < 120
    assert luma[:, :28].max() < 120


@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_orientation_of_motion_jpeg(orientation, tmp_path):
    ending = ("avi", "mkv", "mov")[orientation % 3]
    source = timelapse(tmp_path / f"a.{ending}", orientation, 1)
    clean(source, tmp_path / "b.mkv")
    luma = planes(tmp_path / "b.mkv")[0][0]
    assert luma.shape == ((48, 64) if orientation < 5 else (64, 48))
    # Where EXIF says that the first row and column of the coded picture are.
    top, left = {1: (1, 1), 2: (1, 0), 3: (0, 0), 4: (0, 1), 5: (1, 1), 6: (1, 0), 7: (0, 0), 8: (0, 1)}[orientation]
    rows, columns = (slice(2, 14) if first else slice(-14, -2) for first in (top, left))
    assert luma[rows, columns].min() > 200
    assert np.sort(luma.ravel())[: luma.size * 3 // 4].max() < 120


@pytest.mark.parametrize("ending", ["avi", "mkv", "mov"])
def test_motion_jpeg_with_exif_is_told_in_each_container(ending, tmp_path):
    source = timelapse(tmp_path / f"a.{ending}", 6)
    assert notices(source) == ("EXIF inside the frames is not carried; keep the original",)
    assert prepare(Job(source, tmp_path / "b.mov"), VideoOptions()).plans[0].orientation == Orientation(False, 3)


def test_a_second_view_hides_no_mastering_display(tmp_path):
    tags = ":colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:range=limited"
    source = second_view(tmp_path / "a.hevc", "yuva420p10le", f"{tags}:{DISPLAY}")
    found = media_info(source).streams[0]
    assert "VIEW_ID" in found.side_data
    assert found.hdr_metadata is not None
    assert found.hdr_metadata.light_level == (1000, 400)
    task = clean(source, tmp_path / "b.mp4", hdr=True)
    assert "the second view of a 3D video is not carried; keep the original" in task.notices
    assert media_info(tmp_path / "b.mp4").streams[0].hdr_metadata == found.hdr_metadata


def test_an_unknown_kind_hides_neither_rotation_nor_what_comes_later(tmp_path):
    data = clip(tmp_path / "a.h264", "-g", 1, frames=60).read_bytes()
    told = "an enhancement layer (LCEVC) inside the picture's stream is not carried; keep the original"
    (tmp_path / "first.h264").write_bytes(with_message(data, LCEVC, b"\x65"))
    source = turned(tmp_path / "b.mov", tmp_path / "first.h264")
    assert notices(source) == (told,)
    assert media_info(source).streams[0].display_matrix is not None
    last = data.rindex(b"\0\0\1\x65")
    (tmp_path / "last.h264").write_bytes(data[:last] + with_message(data[last:], LCEVC, b"\x65"))
    assert notices(tmp_path / "last.h264") == (told,)


def test_every_kind_that_pyav_has_no_name_for():
    named = {kind.value for kind in sidedata.Type}
    for number in range(64):
        kind = sidedata.Type(number)
        assert kind.value == number
        assert (number in named) == (kind in list(sidedata.Type))
    # As PyAV gives them: one frame with all of them.
    datas = [FakeData(sidedata.Type(number), bytes([number])) for number in range(64)]
    found = side_data.side_data_of(SimpleNamespace(side_data=datas))
    assert len(found) == 64
    assert {"EXIF", "VIEW_ID", "LCEVC", "THREE_D_REFERENCE_DISPLAYS", "DISPLAYMATRIX", "KIND_40"} <= found.keys()
    told = side_data.not_carried(found)
    assert "side data inside the picture's stream of a kind that is not known here (40) are not carried" in "".join(
        told
    )
    with pytest.raises(ValueError, match="not a valid"):
        sidedata.Type("no number")


class FakeData(SimpleNamespace):
    def __init__(self, kind: enum.Enum, content: bytes) -> None:
        super().__init__(type=kind, content=content)

    def __bytes__(self) -> bytes:
        return self.content


def test_a_pyav_that_knows_them_tells_the_same(tmp_path, monkeypatch):
    source = timelapse(tmp_path / "a.avi", 6)
    before = media_info(source)
    later = {kind.name: kind.value for kind in sidedata.Type} | {
        "LCEVC_DATA": 28,
        "VIEW": 29,
        "DISPLAYS": 30,
        "EXIF_": 31,
    }
    monkeypatch.setattr(sidedata, "Type", enum.Enum("Type", later))
    with av.open(str(source)) as container:
        names = [data.type.name for data in next(container.decode(video=0)).side_data]
    assert "EXIF_" in names
    assert media_info(source) == before
    assert media_info(source).streams[0].side_data == {"EXIF", "DISPLAYMATRIX"}


def test_user_data_are_told_and_an_encoders_options_are_not(tmp_path):
    data = clip(tmp_path / "a.h264", frames=2).read_bytes()
    assert notices(tmp_path / "a.h264") == ()
    gps = b"\x06\x05\x18" + bytes(range(0x60, 0x70)) + b"N48 E011" + b"\x80"
    (tmp_path / "b.h264").write_bytes(with_message(data, gps, b"\x65"))
    assert notices(tmp_path / "b.h264") == (
        "data of an unknown kind (SEI) inside the picture's stream are not carried; keep the original",
    )


def test_captions_beside_an_unknown_kind_are_told(tmp_path):
    data = clip(tmp_path / "a.h264", frames=2).read_bytes()
    captions = bytes.fromhex("b50031 47413934 03 c1ff fc8080 ff")
    data = with_message(data, b"\x06\x04" + bytes([len(captions)]) + captions + b"\x80", b"\x65")
    (tmp_path / "b.h264").write_bytes(with_message(data, LCEVC, b"\x65"))
    told = notices(tmp_path / "b.h264")
    assert [words.split(" are ")[0].split(" is ")[0] for words in told] == [
        "closed captions inside the picture's stream",
        "an enhancement layer (LCEVC) inside the picture's stream",
    ]
