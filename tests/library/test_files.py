"""`clean_file` and `clean_video`: what the commands do, as functions; what fails is raised, and nothing is lost."""

import doctest
import os

import av
import numpy as np
import pytest
from clips import clip
from conftest import picture
from PIL import Image

import dpenet_cli
from dpenet_cli import EngineOptions, PictureOptions, SaveOptions, VideoOptions, clean_file, clean_video, load
from dpenet_cli.batch.outcomes import Status
from dpenet_cli.errors import ImageReadError, ImageWriteError, InputError, StorageError, VideoReadError, WeightsError
from dpenet_cli.library import files
from dpenet_cli.video.probe import probe


@pytest.fixture(scope="module")
def tiny(tiny_weights):
    return load(tiny_weights, device="cpu", precision="fp32", backend="torch", threads=1)


@pytest.fixture
def photo(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    Image.fromarray(picture(30, 40)).save(tmp_path / "a.png", exif=exif)
    return tmp_path / "a.png"


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "Path"])
def test_a_picture_is_cleaned_with_what_its_file_holds(photo, tiny, kind):
    before = photo.read_bytes()
    out = photo.parent / "deep/b.png"
    outcome = clean_file(kind(photo), kind(out), derain=tiny)
    assert (outcome.status, outcome.target, outcome.size) == (Status.DONE, str(out), (40, 30))
    assert photo.read_bytes() == before
    with Image.open(out) as clean:
        assert np.array_equal(np.asarray(clean), tiny(picture(30, 40)))
        assert clean.getexif()[0x010F] == "a camera"


def test_what_is_done_is_left_and_what_is_asked_is_redone(photo, tiny):
    out = photo.parent / "b.png"
    clean_file(photo, out, derain=tiny)
    first = out.stat().st_mtime_ns
    assert clean_file(photo, out, derain=tiny).status is Status.SKIPPED
    assert out.stat().st_mtime_ns == first
    options = PictureOptions(SaveOptions(strip_metadata=True), overwrite=True)
    assert clean_file(photo, out, derain=tiny, options=options).status is Status.DONE
    assert not Image.open(out).getexif()


def test_a_folder_gets_a_record(photo, tiny):
    (photo.parent / "clean").mkdir()
    outcome = clean_file(photo, photo.parent / "clean", derain=tiny)
    assert outcome.target == str(photo.parent / "clean/a.png")
    assert (photo.parent / "clean/.dpenet.jsonl").is_file()
    other = load(tiny.weights, tiny.options, strength=0.5)
    outcome = clean_file(photo, photo.parent / "clean", derain=other)
    assert outcome.status is Status.SKIPPED
    assert "made with other weights or options" in outcome.notices[0]


def test_failures_are_raised_and_leave_nothing(photo, tiny, monkeypatch):
    folder = photo.parent
    with pytest.raises(InputError, match=r"no\.png: there is no such file or folder"):
        clean_file(folder / "no.png", folder / "b.png", derain=tiny)
    with pytest.raises(InputError, match="this is not the name of a file"):
        clean_file(f"{folder}/?.png", folder / "b.png", derain=tiny)
    with pytest.raises(InputError, match="this is not the name of a file"):
        clean_file(folder, folder / "b", derain=tiny)
    with pytest.raises(InputError, match="the output would replace it"):
        clean_file(photo, photo, derain=tiny)
    with pytest.raises(InputError, match=r"no pictures are written under a name that ends in \.xyz"):
        clean_file(photo, folder / "b.xyz", derain=tiny)
    (folder / "text.png").write_text("no picture")
    with pytest.raises(ImageReadError, match="not a picture"):
        clean_file(folder / "text.png", folder / "b.png", derain=tiny)
    Image.new("RGBA", (4, 5)).save(folder / "glass.png")
    with pytest.raises(ImageWriteError, match="cannot hold transparency"):
        clean_file(folder / "glass.png", folder / "b.jpg", derain=tiny)
    with monkeypatch.context() as patch:

        def full(*_arguments):
            raise OSError(28, "No space left on device")

        patch.setattr("dpenet_cli.batch.picture_files.write_whole", full)
        with pytest.raises(StorageError, match="No space left"):
            clean_file(photo, folder / "b.png", derain=tiny)
    assert sorted(path.name for path in folder.iterdir()) == ["a.png", "glass.png", "text.png"]


def test_without_an_engine_the_default_is_loaded_once(photo, tiny, monkeypatch):
    loads = []
    monkeypatch.setattr(files, "load", lambda: loads.append(1) or tiny)
    files._default.cache_clear()
    for name in ("b.png", "c.png", "c.png"):
        clean_file(photo, photo.parent / name)
    files._default.cache_clear()
    assert loads == [1]


def test_a_video_keeps_its_frames_and_tells_its_progress(tmp_path, tiny):
    clip(tmp_path / "a.mp4", frames=5)
    told = []
    options = VideoOptions(method="temporal")
    outcome = clean_video(
        tmp_path / "a.mp4", str(tmp_path / "b.mp4"), options=options, progress=lambda *frames: told.append(frames)
    )
    assert (outcome.status, outcome.target) == (Status.DONE, str(tmp_path / "b.mp4"))
    assert told[-1] == (5, 5)
    assert len(probe(tmp_path / "b.mp4").streams) == len(probe(tmp_path / "a.mp4").streams)
    assert clean_video(tmp_path / "a.mp4", tmp_path / "b.mp4", options=options).status is Status.SKIPPED
    outcome = clean_video(tmp_path / "a.mp4", tmp_path / "c.mp4", derain=tiny, options=VideoOptions(method="network"))
    assert outcome.status is Status.DONE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4", "c.mp4"]


def test_a_video_is_cleaned_by_the_network_that_is_there(tmp_path, tiny, monkeypatch):
    clip(tmp_path / "a.mp4", frames=3)
    loads, given = [], []
    with monkeypatch.context() as patch:
        patch.setattr("dpenet_cli.inference.scales.load", lambda *given: loads.append(given))
        patch.setattr(files, "load", lambda: given.append(1) or tiny)
        patch.setattr(files, "DEFAULT_WEIGHTS", tiny.weights)
        files._default.cache_clear()
        for name, derain in (("b.mp4", tiny), ("c.mp4", tiny), ("d.mp4", None), ("e.mp4", None)):
            assert clean_video(tmp_path / "a.mp4", tmp_path / name, derain=derain).status is Status.DONE
        files._default.cache_clear()
    assert (loads, given) == ([], [1])
    soft = load(tiny.weights, tiny.options, strength=0.5)  # its change is scaled by what asks it too
    assert clean_video(tmp_path / "a.mp4", tmp_path / "f.mp4", derain=soft).status is Status.DONE
    with av.open(str(tmp_path / "a.mp4")) as rainy, av.open(str(tmp_path / "f.mp4")) as result:
        assert len(list(rainy.decode(video=0))) == len(list(result.decode(video=0)))


def test_failing_videos_are_raised(tmp_path, tiny):
    (tmp_path / "a.mp4").write_bytes(os.urandom(1000))
    with pytest.raises(VideoReadError):
        clean_video(tmp_path / "a.mp4", tmp_path / "b.mp4", derain=tiny)
    with pytest.raises(InputError, match="there is no such file"):
        clean_video(tmp_path / "no.mp4", tmp_path / "b.mp4")
    gone = load(tiny.weights, EngineOptions(device="cpu"))
    gone.weights = "no-such-weights"
    clip(tmp_path / "c.mp4")
    with pytest.raises(WeightsError):
        clean_video(tmp_path / "c.mp4", tmp_path / "d.mp4", derain=gone)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "c.mp4"]


def test_examples_in_docstrings():
    assert doctest.testmod(files).attempted
    assert not doctest.testmod(files).failed


def test_the_library_is_one_under_both_names():
    import dpenet

    assert sorted(dpenet.__all__) == sorted([*dpenet_cli.__all__, "errors"])
    for name in dpenet.__all__:
        assert getattr(dpenet, name) is getattr(dpenet_cli, name, dpenet.errors)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        dpenet.nonsense  # noqa: B018
