"""Published weights: fetched from a server on loopback, checked, named, converted."""

import hashlib
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import HTTPError

import pytest
import torch
from conftest import TINY, dpenet, lively_model
from typer.testing import CliRunner

from dpenet_cli.cli.weights import weights_app
from dpenet_cli.errors import DownloadError, OptionError, WeightsError
from dpenet_cli.network import pretrained, weights_files
from dpenet_cli.network.checkpoints import load_model, read_card
from dpenet_cli.network.pretrained import MIRROR_VARIABLE, PretrainedWeights, pull
from dpenet_cli.network.weights_files import shipped_checksums, weights_folder
from dpenet_cli.system.user_dirs import cache_folder

CONTENT = bytes(range(256)) * 800


class Server(ThreadingHTTPServer):
    """Answers by path: /good, /wrong, /cut, /missing, /slow, /silent, /endless; remembers what it was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []
        self.content = CONTENT
        self.address = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        kind, body = self.path.split("/")[-2], self.server.content
        if kind == "missing":
            return self.send_error(404)
        if kind == "silent":
            time.sleep(1.5)
        self.send_response(200)
        if kind != "endless":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if kind == "good":
            self.wfile.write(body)
        elif kind == "wrong":
            self.wfile.write(b"x" + body[1:])
        elif kind == "cut":
            self.wfile.write(body[: len(body) // 2])
        else:
            self._drip(body, pause=0.05 if kind == "slow" else 0.0)
        return None

    def _drip(self, body, pause):
        try:
            while True:
                self.wfile.write(body[:1000])
                time.sleep(pause)
        except OSError:
            pass  # the other side has seen enough

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def server():
    server = Server()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def weights(monkeypatch, tmp_path):
    """Something to pull, with a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pretrained, "FILE_BYTES", len(CONTENT))
    return PretrainedWeights("published-test", "Test.pth", hashlib.sha256(CONTENT).hexdigest(), "Test")


def kept(tmp_path):
    return [path for path in tmp_path.rglob("*") if path.is_file()]


def test_pull_checks_then_names_and_does_not_fetch_twice(server, weights, monkeypatch, tmp_path):
    monkeypatch.setenv(MIRROR_VARIABLE, f"{server.address}/good/")
    told = []
    path = pull(weights, lambda done, total: told.append((done, total)))
    assert path == tmp_path / "cache/dpenet/weights/published-test.pth"
    assert path.read_bytes() == CONTENT
    assert kept(tmp_path) == [path]
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert told == sorted(told)
    before = len(server.asked)
    assert pull(weights) == path
    assert len(server.asked) == before
    path.write_bytes(b"damaged")
    assert pull(weights).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("wrong", "not the file that was published"),
        ("cut", "cut after 102,400 of 204,800 bytes"),
        ("missing", "404 Not Found"),
        ("silent", "too slow|does not answer"),
        ("slow", "too slow"),
        ("endless", "not the file that was published"),
    ],
)
def test_what_goes_wrong_is_told_and_nothing_is_kept(server, weights, monkeypatch, tmp_path, kind, why):
    monkeypatch.setenv(MIRROR_VARIABLE, f"{server.address}/{kind}")
    with pytest.raises(DownloadError, match=why) as caught:
        pull(weights, stall_timeout=0.5, deadline=0.6)
    assert f"{server.address}/{kind}/Test.pth" in str(caught.value)
    assert kept(tmp_path) == []
    if isinstance(answer := caught.value.__cause__, HTTPError):
        assert answer.fp.closed  # and with it the connection


def test_without_a_connection_the_address_and_the_place_are_told(weights, monkeypatch):
    monkeypatch.setenv(MIRROR_VARIABLE, "http://127.0.0.1:9/none")
    with pytest.raises(DownloadError, match=r"cannot be reached.*another machine and put it at .*published-test\.pth"):
        pull(weights)
    monkeypatch.setenv(MIRROR_VARIABLE, "file:///etc")
    with pytest.raises(DownloadError, match="not a web address"):
        pull(weights)


def test_proxies_are_honoured(server, weights, monkeypatch):
    monkeypatch.setenv("http_proxy", server.address)
    monkeypatch.setenv(MIRROR_VARIABLE, "http://nowhere.invalid/good")
    pull(weights)
    assert server.asked[-1] == "http://nowhere.invalid/good/Test.pth"


def test_a_pulled_name_loads_and_another_says_how_to_pull(weights, monkeypatch):
    monkeypatch.setattr(weights_files, "PRETRAINED", {weights.name: weights})
    with pytest.raises(WeightsError, match="dpenet weights pull published-test"):
        load_model(weights.name)
    weights.path.parent.mkdir(parents=True)
    torch.save(lively_model(TINY).state_dict(), weights.path)
    assert load_model(weights.name).config == TINY
    assert "no licence" in read_card(weights.name).licence or weights.name not in pretrained.PRETRAINED


def test_the_pins_are_those_of_the_published_files(data):
    for each in pretrained.PRETRAINED.values():
        file = (data / "published" / each.file).read_bytes()
        assert (len(file), hashlib.sha256(file).hexdigest()) == (2_624_791, each.sha256)
        assert each.address.startswith("https://raw.githubusercontent.com/wybchd/DPENet/a4c1dbe3")


def test_the_checksums_of_shipped_weights_are_current():
    found = {p.stem: hashlib.sha256(p.read_bytes()).hexdigest() for p in weights_folder().glob("*.safetensors")}
    assert shipped_checksums() == found, "cd weights && sha256sum *.safetensors > SHA256SUMS"


def run(*arguments):
    """A subcommand in this process, which has torch already; errors are left as exceptions."""
    return CliRunner().invoke(weights_app, [str(argument) for argument in arguments])


@pytest.fixture
def env(tmp_path):
    return {"env": os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}}


def test_the_command_pulls_verifies_shows_and_uses(server, data, env, tmp_path):
    server.content = (data / "published/Rain100L.pth").read_bytes()
    try:
        env["env"][MIRROR_VARIABLE] = f"{server.address}/good"
        pulled = dpenet("weights", "pull", "published-rain100l", **env)
    finally:
        server.content = CONTENT
    assert pulled.returncode == 0, pulled.stderr
    assert "no licence" in pulled.stderr
    assert "--weights published-rain100l" in pulled.stderr
    verified = dpenet("weights", "verify", **env)
    names = ("general", "light", "published-rain100l")
    assert verified.stdout.splitlines() == [f"{name}: as published, and it loads" for name in names]
    shown = json.loads(dpenet("weights", "show", "published-rain100l", "--json", **env).stdout)
    assert (shown["here"], shown["parameters"]) == (True, 647_328)
    missing = dpenet("weights", "verify", "published-rain800", **env)
    assert missing.returncode == 1
    assert "dpenet weights pull published-rain800" in missing.stdout


def test_the_list_names_ours_and_theirs(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rows = {row["name"]: row for row in json.loads(run("list", "--json").stdout)}
    assert set(rows) == {path.stem for path in weights_folder().glob("*.safetensors")} | set(pretrained.PRETRAINED)
    assert rows["general"]["here"]
    assert not rows["published-rain100h"]["here"]
    assert "no licence" in rows["published-rain100h"]["terms"]
    text = run("list").stdout
    assert "published-rain1400" in text
    assert "rain100l 36.97 / 0.9764 (20)" in text  # how many pictures stand behind it
    assert "rain1400 32.13 / 0.9203 (28)" in text
    assert "dpenet weights pull NAME" in text


def test_offline_and_unknown_names(env):
    env["env"] |= {MIRROR_VARIABLE: "http://127.0.0.1:9"}
    offline = dpenet("weights", "pull", "published-rain100l", **env)
    assert offline.returncode == 1
    assert "http://127.0.0.1:9/Rain100L.pth" in offline.stderr
    unknown = dpenet("weights", "pull", "rain100l", **env)
    assert unknown.returncode == 2
    assert "published-rain100l" in unknown.stderr


def test_convert_keeps_numbers_terms_and_files(tmp_path):
    source, target = tmp_path / "mine.pth", tmp_path / "mine.safetensors"
    torch.save(lively_model(TINY).state_dict(), source)
    assert run("convert", source, target).exit_code == 0
    ours, theirs = load_model(target).state_dict(), load_model(source).state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    origin = read_card(target).provenance["converted_from"]
    assert origin == {"file": "mine.pth", "sha256": hashlib.sha256(source.read_bytes()).hexdigest()}
    wrong = {
        (source, target): "exists already",
        (source, tmp_path / "mine.pt"): "only .safetensors",
        (source, tmp_path / "no/mine.safetensors"): "cannot be written",
        (target, target, "--overwrite"): "it is an input",
    }
    for arguments, why in wrong.items():
        assert why in str(run("convert", *arguments).exception)


def test_without_a_home_our_weights_are_listed_and_the_others_told(homeless):
    listed = run("list")
    assert listed.exit_code == 0, listed.output
    assert "general" in listed.stdout
    assert "Set HOME" in listed.stderr
    rows = {row["name"]: row for row in json.loads(run("list", "--json").stdout)}
    assert rows["general"]["here"]
    assert (rows["published-rain100l"]["here"], rows["published-rain100l"]["path"]) == (False, None)
    assert "Set HOME" in run("show", "published-rain100l").stderr
    assert run("verify").exit_code == 0
    pulled = run("pull", "published-rain100l")
    assert (pulled.exit_code, "Set HOME" in pulled.stderr) == (1, True)


def test_without_a_home_our_weights_load(homeless):
    with pytest.raises(OptionError, match="Set HOME"):
        cache_folder()
    assert load_model("general")
