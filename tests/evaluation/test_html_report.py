"""The page: whole, escaped, offline; and driven in a real browser where there is one."""

import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from conftest import dpenet, make_set, textured

from dpenet_cli.evaluation.benchmark import Method, score_sets
from dpenet_cli.evaluation.html_report import ShownImages, build_page
from dpenet_cli.evaluation.pair_sets import BenchmarkPair, PairSet
from dpenet_cli.evaluation.strip_plot import Row, strip_plot
from dpenet_cli.options import PROTOCOL

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)


def pairs(count):
    def load(number):
        clean = textured(number, 40, 48)
        return (clean // 2 if number else clean.copy()), clean

    return tuple(BenchmarkPair(f"<b>{number}</b>", lambda number=number: load(number)) for number in range(count))


def page(given=False, count=5):
    test_set = PairSet("rain100l", pairs(count), 100, ("<script>bad.png: no partner",))
    method = Method("mine & yours", None if given else lambda rainy: rainy + np.uint8(1))
    shown = ShownImages()
    results = score_sets([test_set], [method], PROTOCOL, on_scored=[shown])
    return build_page(results, shown.by_set_and_method, "cpu, fp32")


def test_the_page_holds_everything_and_loads_nothing():
    html = page()
    assert "5 of 100 pairs" in html
    assert "Protocol y-uint8 · cpu, fp32" in html
    assert "csdwren/PReNet README" in html
    assert "<script>bad" not in html
    assert "&lt;b&gt;3&lt;/b&gt;" in html
    assert "mine &amp; yours" in html
    assert "default-src 'none'" in html
    assert all(source.startswith("data:image/webp;base64,") for source in re.findall(r'(?:src|href)="([^"]*)"', html))
    assert not re.search(r"url\(|@import|fetch\(", html)
    assert html.count('<figure class="pair">') == 4


def test_results_given_are_shown_against_their_ground_truth():
    html = page(given=True)
    assert "∞ (1 of 5 identical)" in html
    assert 'type="checkbox"' not in html
    assert ">ground truth</span>" in html


def test_the_plot_is_drawing_a_dot_for_each_finite_value():
    values = [20.0, 25.5, float("inf"), 31.0]
    root = ET.fromstring(strip_plot([Row("a", values), Row("<b>", [22.0] * 3, is_input=True)]))
    assert len(root.findall("circle")) == 6
    places = sorted(float(dot.get("cx")) for dot in root.findall("circle[@class='dot']"))
    assert (places[1] - places[0]) / (places[2] - places[0]) == pytest.approx(0.5, abs=0.001)
    assert all(150 < float(dot.get("cx")) <= 1000 for dot in root.findall("circle"))
    assert strip_plot([Row("a", [float("inf")])]) == ""
    assert ET.fromstring(strip_plot([Row("a", [30.0])])).findall("circle")


DRIVE = """<script>
window.addEventListener("load", () => {
  const figure = document.querySelector("figure.pair");
  const over = figure.querySelector(".over"), range = figure.querySelector("input[type=range]");
  const clip = () => getComputedStyle(over).clipPath;
  const said = [[...document.images].every((image) => image.complete && image.naturalWidth === 48), clip()];
  range.value = 25; range.dispatchEvent(new Event("input")); said.push(clip());
  const before = over.src;
  figure.querySelector("input[type=checkbox]").click();
  said.push(over.src !== before && over.src === over.dataset.clean, figure.querySelector(".left").textContent);
  document.title = "drove: " + said.join(" | ");
});
</script></body>"""


def browse(path: Path, profile: Path, *arguments: str) -> str:
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += ["--disable-component-update", "--disable-sync", "--no-first-run", f"--user-data-dir={profile}"]
    command += ["--virtual-time-budget=5000", *arguments, path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine to open the page in")
def test_the_slider_works_in_a_browser(tmp_path):
    path = tmp_path / "page.html"
    path.write_text(page().replace("</body>", DRIVE), encoding="utf-8")
    title = re.search(r"<title>(.*?)</title>", browse(path, tmp_path / "profile", "--dump-dom"), re.DOTALL)[1]
    assert title == "drove: true | inset(0px 50% 0px 0px) | inset(0px 75% 0px 0px) | true | ground truth"


def test_the_command_writes_the_page(tiny_weights, tmp_path):
    make_set(tmp_path / "set")
    arguments = ["--input", tmp_path / "set/input", "--target", tmp_path / "set/target", "--weights", tiny_weights]
    run = dpenet("benchmark", *arguments, "--report", tmp_path / "page.html")
    assert run.returncode == 0, run.stderr
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert html.count('<figure class="pair">') == 4
    assert "Worst pictures of tiny" in html
