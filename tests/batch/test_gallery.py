"""The gallery of a run: whole, escaped, offline, sealed; pages of many pictures; and opened in a real browser."""

import re
from pathlib import Path

import numpy as np
import pytest
from browser import drive, needs_a_browser
from PIL import Image

from dpenet_cli.batch import gallery as gallery_file
from dpenet_cli.batch.gallery import Gallery
from dpenet_cli.batch.outcomes import Outcome, Status
from dpenet_cli.errors import InputError, StorageError
from dpenet_cli.system.seals import is_untouched

BAD = Outcome("<bad>.jpg", None, Status.FAILED, InputError("<bad>.jpg", "it is <b>no</b> picture", "Look at it."))


@pytest.fixture
def pair(tmp_path, rainy_photo):
    for name, pixels in (("<i>.png", rainy_photo), ("clean.png", rainy_photo // 2)):
        Image.fromarray(pixels).save(tmp_path / name)
    return str(tmp_path / "<i>.png"), str(tmp_path / "clean.png")


def written(path: Path, pair, count=1, *others, overwrite=False):
    gallery = Gallery(path, overwrite=overwrite, max_pixels=10**8)
    gallery.expect(count + len(others))
    for outcome in (*[Outcome(*pair, Status.DONE)] * count, *others):
        gallery.add(outcome)
    return gallery.close()


def test_the_page_holds_everything_and_loads_nothing(tmp_path, pair):
    lost = Outcome(pair[0], str(tmp_path / "gone.png"), Status.SKIPPED)
    page = tmp_path / "new/page.html"
    assert written(page, pair, 2, BAD, Outcome(*pair, Status.SKIPPED), lost) == [page]
    html = page.read_text(encoding="utf-8")
    assert html.count('<figure class="pair lazy">') == 3
    assert "3 pictures before and after" in html
    assert "Not shown (2)" in html
    assert "&lt;bad&gt;.jpg: it is &lt;b&gt;no&lt;/b&gt; picture. Look at it." in html
    assert "it cannot be shown: cannot be read" in html
    assert "&lt;i&gt;.png · 120×90" in html
    assert "<i>" not in html
    assert "default-src 'none'" in html
    assert all(source.startswith("data:image/webp;base64,") for source in re.findall(r'(?:src|href)="([^"]*)"', html))
    assert not re.search(r"https?://|url\(|@import|fetch\(", html)
    assert [path.name for path in page.parent.iterdir()] == ["page.html"]


def test_a_page_is_made_again_and_no_other_file_is_replaced(tmp_path, pair):
    page = tmp_path / "page.html"
    written(page, pair)
    written(page, pair, 2)
    assert page.read_text().count("<figure") == 2
    page.write_text(page.read_text() + "<p>mine</p>")
    with pytest.raises(InputError, match="it exists already"):
        Gallery(page, overwrite=False, max_pixels=1)
    written(page, pair, overwrite=True)
    assert is_untouched(page)
    for name in ("page.jpg", "page"):
        with pytest.raises(InputError, match=r"\.html"):
            Gallery(tmp_path / name, overwrite=False, max_pixels=1)
    with pytest.raises(InputError, match="cannot be written there"):
        Gallery(page / "page.html", overwrite=False, max_pixels=1)


def test_many_pictures_fill_several_pages(tmp_path, pair, monkeypatch):
    monkeypatch.setattr(gallery_file, "ON_A_PAGE", 2)
    page, parts = tmp_path / "page.html", [tmp_path / f"page-{number}.html" for number in (1, 2, 3)]
    parts[2].write_text("mine")
    with pytest.raises(InputError, match=r"page-3\.html: it exists already"):
        written(page, pair, 5)
    parts[2].unlink()
    assert written(page, pair, 5, BAD) == [page, *parts]
    assert [part.read_text().count("<figure") for part in parts] == [2, 2, 1]
    index = page.read_text()
    assert re.findall(r'href="([^"]*)"', index) == [part.name for part in parts]
    assert "Not shown (1)" in index
    assert re.findall(r'href="([^"]*)"', parts[1].read_text())[:3] == ["page.html", "page-1.html", "page-3.html"]
    assert written(page, pair, 3) == [page, *parts[:2]]
    assert not parts[2].exists()  # of the larger gallery before
    assert written(page, pair) == [page]
    assert not parts[0].exists()


def test_noise_fits_too(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (900, 1300, 3), dtype=np.uint8)
    source = tmp_path / "a.png"
    Image.fromarray(noise).save(source)
    (page,) = written(tmp_path / "page.html", (str(source), str(source)))
    assert page.stat().st_size < 300_000 + 20_000  # and the styles


def test_a_full_disk_is_told_at_the_end(tmp_path, pair, monkeypatch):
    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gallery_file.tempfile, "TemporaryFile", full)
    with pytest.raises(StorageError, match="No space left"):
        written(tmp_path / "page.html", pair, 8)
    assert not (tmp_path / "page.html").exists()


SCROLL = """
const pictures = () => [...document.images].filter((image) => image.hasAttribute("src"));
await Promise.all(pictures().map((image) => image.decode()));
said.push(document.images.length, pictures().length < 80, pictures().every((image) => image.naturalWidth === 120));
const figure = document.querySelector("figure"), range = figure.querySelector("input");
range.value = 25; range.dispatchEvent(new Event("input"));
said.push(getComputedStyle(figure.querySelector(".over")).clipPath);
"""


@needs_a_browser
def test_pictures_are_decoded_as_they_come_near(tmp_path, pair):
    (page,) = written(tmp_path / "page.html", pair, 60)
    assert drive(page.read_text(encoding="utf-8"), SCROLL, tmp_path) == [
        "120",
        "true",
        "true",
        "inset(0px 75% 0px 0px)",
    ]
