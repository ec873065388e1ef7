"""What decoders would print stays off descriptor 2; what others write there gets through."""

import io
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from pictures import SAMPLES, photo, saved
from PIL import Image

from dpenet_cli.cli import console
from dpenet_cli.errors import DpenetError
from dpenet_cli.images import silence
from dpenet_cli.images.reading import read


def _files() -> dict[str, bytes]:
    files = dict(SAMPLES)
    for compression in ("tiff_lzw", "packbits", "lzma", "zstd", "jpeg", "group3", "group4"):
        image = Image.fromarray(photo()).convert("1" if "group" in compression else "RGB")
        files[compression] = saved(image, "TIFF", compression=compression)
    try:
        import pillow_heif
    except ImportError:
        return files
    for mode, deep in (("RGB", False), ("RGB;16", True), ("L", False)):
        out = io.BytesIO()
        samples = photo(channels=1 if mode == "L" else 3, deep=deep)
        pillow_heif.from_bytes(mode, (64, 48), samples.tobytes()).save(out)
        files[f"heic {mode}"] = out.getvalue()
    return files


FILES = _files()


def _damaged(data: bytes, seed: int) -> Iterator[bytes]:
    draw = random.Random(seed)
    for _ in range(40):
        changed = bytearray(data)
        for _ in range(draw.randint(1, 6)):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        yield bytes(changed)
        yield data[: draw.randrange(1, len(data))]


def _read_all(files: Iterator[bytes]) -> None:
    for data in files:
        try:
            read(data, max_pixels=1_000_000)
        except DpenetError as error:
            assert error.next_step  # noqa: PT017 - damage may leave a picture that can be read


@pytest.mark.parametrize("kind", FILES)
def test_no_library_prints_of_damage(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    _read_all(_damaged(FILES[kind], 1))
    assert capfd.readouterr() == ("", "")


def test_no_library_prints_on_threads_and_others_do(capfd: pytest.CaptureFixture[str]) -> None:
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            os.write(2, b"mine\n")
            done.wait(0.002)

    readers = [
        threading.Thread(target=_read_all, args=(_damaged(FILES[kind], seed),))
        for seed, kind in enumerate(["tiff_lzw", "lzma", "group4", "tiff", "zstd", "jpeg"])
    ]
    writer = threading.Thread(target=write)
    for thread in (writer, *readers):
        thread.start()
    for thread in readers:
        thread.join()
    done.set()
    writer.join()
    said = capfd.readouterr().err.splitlines()
    assert set(said) == {"mine"}


def _libtiff_by_itself() -> None:
    """Pillow on a damaged file, without our rules."""
    data = bytearray(FILES["tiff_lzw"])
    data[20:400] = bytes(380)
    with pytest.raises(OSError, match="decoder error"):
        Image.open(io.BytesIO(bytes(data))).load()


def test_other_users_of_the_library_hear_it_before_and_after(capfd: pytest.CaptureFixture[str]) -> None:
    _libtiff_by_itself()
    before = capfd.readouterr().err
    undo = silence.silence()
    _libtiff_by_itself()
    assert capfd.readouterr().err == ""
    undo()
    _libtiff_by_itself()
    assert before
    assert capfd.readouterr().err == before


def test_where_libtiff_hides_its_handlers_the_descriptor_is_closed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(silence, "_libtiff_setters", list)
    for kind in ("tiff_lzw", "group4"):
        _read_all(_damaged(FILES[kind], 2))
    assert capfd.readouterr().err == ""
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def _closed(monkeypatch: pytest.MonkeyPatch, work: Callable[[], None]) -> None:
    former = os.dup(2)
    monkeypatch.setattr(silence, "_libtiff_setters", list)
    try:
        os.close(2)
        work()
    finally:
        os.dup2(former, 2)
        os.close(former)


def test_a_process_without_stderr_reads_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    _closed(monkeypatch, lambda: _read_all(iter([FILES["tiff_lzw"]])))


def test_the_command_has_a_stderr_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of which nothing gets lost while descriptor 2 is closed to libraries."""
    with os.fdopen(os.dup(2), "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(console, "_LIBRARIES_STDERR", stream.fileno())
        console.own_stderr()
        assert sys.stderr is not stream
        undo = silence.silence()
        os.write(2, b"a library\n")
        sys.stderr.write("ours\n")
        undo()
        os.write(2, b"a library, later\n")
        sys.stderr.close()
    assert capfd.readouterr().err == "ours\na library, later\n"


def test_a_stderr_that_is_no_file_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in (io.StringIO(), None):
        monkeypatch.setattr(sys, "stderr", stream)
        console.own_stderr()
        assert sys.stderr is stream
        read(FILES["tiff"])
