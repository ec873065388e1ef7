"""Transparency and other layers that stand beside the picture in a stream's packets."""

import re

import av
import pytest
from clips import clean, clip, ffmpeg, second_view, times, two_layers, with_message
from conftest import dpenet

from dpenet_cli.errors import VideoRefused
from dpenet_cli.options import VideoOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.video.probe import probe as media_info
from dpenet_cli.video.video_task import prepare

WORDS = "it has transparency, which the result could not hold"
OVERLAY = "testsrc=s=64x48:r=5,format=yuva420p,geq=lum='p(X,Y)':a='X*4'"
FIVE_A_SECOND = "testsrc=s=64x48:r=5"
PLAIN = ["-pix_fmt", "yuv420p"]
ALPHA = ["-pix_fmt", "yuva420p", "-auto-alt-ref", 0]


def prepared(path):
    return prepare(Job(path, path.with_name("out.mkv")), VideoOptions())


def test_a_folder_of_overlays(tmp_path, tiny_weights):
    clip(tmp_path / "overlay.mov", "-pix_fmt", "argb", codec="qtrle", frames=2)
    clip(tmp_path / "vp9.webm", *ALPHA, codec="libvpx-vp9", frames=3, source=OVERLAY)
    clip(tmp_path / "vp8.webm", *ALPHA, codec="libvpx", frames=3, source=OVERLAY)
    clip(tmp_path / "vp9.mkv", *ALPHA, codec="libvpx-vp9", frames=3, source=OVERLAY)
    clip(tmp_path / "vp8.mkv", *ALPHA, codec="libvpx", frames=3, source=OVERLAY)
    out = tmp_path.with_name(tmp_path.name + "-out")
    result = dpenet("video", tmp_path, "-o", out, "--weights", tiny_weights, "--strength", 0)
    assert result.returncode == 1
    assert result.stderr.count(WORDS) == 5
    assert not list(out.rglob("*"))


@pytest.mark.parametrize("ending", ["hevc", "mp4", "mkv"])
def test_hevc_with_transparency(ending, tmp_path):
    source = two_layers(tmp_path / f"a.{ending}")
    with pytest.raises(VideoRefused, match=WORDS):
        prepared(source)


def test_another_layer_of_hevc_is_told(tmp_path):
    source = two_layers(tmp_path / "a.hevc")
    # Nothing says that the layer is transparency: it may be anything.
    source.write_bytes(source.read_bytes().replace(b"\0\0\1\x4e\x01\xa5", b"\0\0\1\x4e\x01\xc8"))
    assert "a second layer inside the picture's stream is not carried; keep the original" in prepared(source).notices
    view = second_view(tmp_path / "b.hevc")
    assert "LAYER" in media_info(view).streams[0].side_data
    assert not any("second layer" in notice for notice in prepared(view).notices)


def test_a_word_of_transparency_without_a_layer_is_none(tmp_path):
    data = clip(
        tmp_path / "a.hevc", codec="libx265", frames=3, source="testsrc=s=64x48:r=25,format=yuv420p"
    ).read_bytes()
    told = b"\x4e\x01\xa5\x04\x00\x00\x00\x00\x80"
    (tmp_path / "b.hevc").write_bytes(with_message(data, told, b"\x28"))
    assert prepared(tmp_path / "b.hevc").frames == 3


def test_h264_with_auxiliary_pictures(tmp_path):
    data = clip(tmp_path / "a.h264", "-g", 1, frames=3).read_bytes()
    begin = data.index(b"\0\0\1\x65") + 3
    picture = data[begin : data.index(b"\0\0\1", begin)].rstrip(b"\0")
    source = tmp_path / "b.h264"
    source.write_bytes(data + b"\0\0\1" + b"\x73" + picture[1:])
    with pytest.raises(VideoRefused, match=WORDS):
        prepared(source)
    ffmpeg("-framerate", 25, "-i", source, "-c", "copy", tmp_path / "b.ts")
    with pytest.raises(VideoRefused, match=WORDS):
        prepared(tmp_path / "b.ts")
    assert prepared(tmp_path / "a.h264").frames == 3


@pytest.mark.parametrize("ending", ["mkv", "webm"])
def test_a_mark_without_a_layer_is_no_transparency(ending, tmp_path):
    source = clip(tmp_path / f"a.{ending}", *ALPHA, codec="libvpx-vp9", frames=3, source=OVERLAY)
    # The elements with what stands beside a packet become void ones, of the same length.
    beside = re.compile(rb"\x75\xa1([\x81-\xfd])(?=\xa6)")
    data, count = beside.subn(lambda found: bytes([0xEC, found[1][0] + 1]) + found[1], source.read_bytes())
    assert count == 3
    source.write_bytes(data)
    with av.open(str(source)) as container:
        assert container.streams.video[0].metadata["alpha_mode"] == "1"
    assert not prepared(source).notices
    clean(source, tmp_path / "c.mkv")
    assert times(tmp_path / "c.mkv") == [0, 200, 400]


@pytest.mark.parametrize("number", [2, 4, 100])
def test_blocks_of_other_numbers_are_no_transparency(number, tmp_path):
    source = clip(tmp_path / "a.mkv", *ALPHA, codec="libvpx-vp9", frames=3, source=OVERLAY)
    data = source.read_bytes()
    block = re.compile(rb"(?<=\xee\x81)\x01(?=\xa5)")  # the number of a block beside a packet
    assert len(block.findall(data)) == 3
    source.write_bytes(block.sub(bytes([number]), data))
    assert prepared(source).frames == 3


def test_a_block_beside_another_codec_is_told(tmp_path):
    copied(clip(tmp_path / "a.mkv", frames=3), tmp_path / "b.mkv", 1)
    told = "data beside the picture's packets (BlockAdditional 1) are not carried; keep the original"
    assert prepared(tmp_path / "b.mkv").notices == (told,)


def test_a_layer_without_its_mark_is_transparency(tmp_path):
    clip(tmp_path / "a.webm", *PLAIN, codec="libvpx-vp9", frames=3, source=FIVE_A_SECOND)
    copied(tmp_path / "a.webm", tmp_path / "b.webm", 1)
    with pytest.raises(VideoRefused, match=WORDS):
        prepared(tmp_path / "b.webm")


def copied(source, target, number: int) -> None:
    """The same packets with a block of a number beside each."""
    with av.open(str(source)) as before, av.open(str(target), "w") as after:
        stream = after.add_stream_from_template(before.streams.video[0], opaque=True)
        for packet in before.demux(video=0):
            if packet.size:
                beside = av.packet.PacketSideData(15, 12)  # as libavcodec numbers Matroska's
                beside.update(number.to_bytes(8, "big") + b"data")
                packet.set_sidedata(beside)
                packet.stream = stream
                after.mux(packet)
