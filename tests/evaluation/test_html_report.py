"""The page: whole, escaped, offline; and driven in a real browser where there is one."""

import hashlib
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from browser import drive, needs_a_browser
from conftest import dpenet, make_set, textured

from dpenet_cli.evaluation.benchmark import Method, score_sets
from dpenet_cli.evaluation.html_report import Making, ShownImages, build_page, error_map
from dpenet_cli.evaluation.pair_sets import BenchmarkPair, PairSet
from dpenet_cli.evaluation.strip_plot import Row, strip_plot
from dpenet_cli.options import PROTOCOL


def pairs(count):
    def load(number):
        clean = textured(number, 40, 48)
        return (clean // 2 if number else clean.copy()), clean

    return tuple(BenchmarkPair(f"<b>{number}</b>", lambda number=number: load(number)) for number in range(count))


def page(given=False, count=5, others=()):
    test_set = PairSet("rain100l", pairs(count), 100, ("<script>bad.png: no partner",))
    method = Method("mine & yours", None if given else lambda rainy: rainy + np.uint8(1))
    shown = ShownImages()
    results = score_sets([test_set], [method, *others], PROTOCOL, on_scored=[shown])
    return build_page(results, shown, Making("cpu, fp32", [("command", "dpenet <benchmark>")]))


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
    assert "<dt>command</dt><dd>dpenet &lt;benchmark&gt;</dd>" in html


def test_results_given_are_shown_against_their_ground_truth():
    html = page(given=True)
    assert "∞ (1 of 5 identical)" in html
    assert ">rainy</option>" not in html
    assert ">ground truth</span>" in html


def test_the_map_of_the_error_is_black_where_there_is_none():
    truth = np.full((2, 3, 3), 100, np.uint8)
    restored = truth.copy()
    restored[0, 0, 1] = 0
    restored[1, 2, 2] += 16
    shown = error_map(restored, truth).astype(int).sum(axis=2)
    assert shown[0, 0] == 3 * 255
    assert 0 < shown[1, 2] < 3 * 255
    assert np.count_nonzero(shown) == 2


def test_the_first_methods_pictures_can_be_slid_to_the_others():
    html = page(others=[Method("other", lambda rainy: rainy)])
    mine, _, other = html.partition("Worst pictures of other")
    assert mine.count(">other</option>") == mine.count(">error of other</option>") == 2 * 4
    assert ">mine &amp; yours</option>" not in other
    assert other.count(">error</option>") == 2 * 4


def test_the_plot_is_drawing_a_dot_for_each_finite_value():
    values = [20.0, 25.5, float("inf"), 31.0]
    root = ET.fromstring(strip_plot([Row("a", values), Row("<b>", [22.0] * 3, is_input=True)]))
    assert len(root.findall("circle")) == 6
    places = sorted(float(dot.get("cx")) for dot in root.findall("circle[@class='dot']"))
    assert (places[1] - places[0]) / (places[2] - places[0]) == pytest.approx(0.5, abs=0.001)
    assert all(150 < float(dot.get("cx")) <= 1000 for dot in root.findall("circle"))
    assert strip_plot([Row("a", [float("inf")])]) == ""
    assert ET.fromstring(strip_plot([Row("a", [30.0])])).findall("circle")


DRIVE = """
const figure = document.querySelector("figure.pair");
const [rainy, truth, restored, error] = figure.querySelectorAll(".slider img");
const range = figure.querySelector("input[type=range]"), clip = () => getComputedStyle(rainy).clipPath;
said.push([...document.images].every((image) => image.complete && image.naturalWidth === 48), clip());
range.value = 25; range.dispatchEvent(new Event("input")); said.push(clip());
const choose = (side, number) => {
  const list = figure.querySelector("select." + side);
  list.value = number; list.dispatchEvent(new Event("change"));
  said.push([rainy, truth, restored, error].map((image) => image.className[0]).join(""));
  said.push(figure.querySelector(".tag." + side).textContent);
};
choose("left", 1); choose("right", 3); choose("left", 3);
"""


@needs_a_browser
def test_the_slider_works_in_a_browser(tmp_path):
    moved = ["true", "inset(0px 50% 0px 0px)", "inset(0px 75% 0px 0px)"]
    chosen = ["aoua", "ground truth", "aoau", "error", "aaau", "error"]
    assert drive(page(), DRIVE, tmp_path) == moved + chosen


def test_the_command_writes_the_page(tiny_weights, tmp_path):
    make_set(tmp_path / "set")
    arguments = ["--input", tmp_path / "set/input", "--target", tmp_path / "set/target", "--weights", tiny_weights]
    run = dpenet("benchmark", *arguments, "--report", tmp_path / "page.html")
    assert run.returncode == 0, run.stderr
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert html.count('<figure class="pair">') == 4
    assert "Worst pictures of tiny" in html
    assert f"--report {tmp_path}/page.html" in html
    assert f"SHA-256 {hashlib.sha256(tiny_weights.read_bytes()).hexdigest()}" in html
