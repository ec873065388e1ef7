"""Seals: what dpenet wrote and nobody changed, told from everything else."""

import hashlib
import io

import pytest
from PIL import Image

from dpenet_cli.system.seals import is_untouched, page_seal, sealed_png


def png():
    file = io.BytesIO()
    Image.new("RGB", (5, 4), "red").save(file, "PNG")
    return file.getvalue()


def page(text=b"<html>\n"):
    return text + page_seal(hashlib.sha256(text).hexdigest())


def test_a_sealed_png_is_a_png(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(sealed_png(png()))
    picture = Image.open(path)
    picture.load()
    assert (picture.size, picture.getpixel((0, 0))) == ((5, 4), (255, 0, 0))
    assert picture.text["Software"].startswith("dpenet-sha256 ")
    assert is_untouched(path)


def test_whatever_is_changed_breaks_the_seal(tmp_path):
    path = tmp_path / "a"
    for whole in (sealed_png(png()), page()):
        for place in (0, 3, len(whole) // 2, len(whole) - 30, len(whole) - 1):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            assert not is_untouched(path), place
        path.write_bytes(whole)
        assert is_untouched(path)
        path.write_bytes(whole + b"\n")
        assert not is_untouched(path)


@pytest.mark.parametrize("content", [b"", b"\x89PNG", png(), b"<html></html>\n" * 100])
def test_other_files_have_none(tmp_path, content):
    path = tmp_path / "a"
    path.write_bytes(content)
    assert not is_untouched(path)
    assert not is_untouched(tmp_path)
    assert not is_untouched(tmp_path / "none")
