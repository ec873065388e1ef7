"""Pictures in object stores: a real S3 server on this machine, and fsspec's store in memory."""

import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("s3fs", reason="the extra cloud is not installed")
boto3 = pytest.importorskip("boto3", reason="moto, which serves S3 here, is not installed")
pytest.importorskip("moto.server", reason="moto, which serves S3 here, is not installed")

import fsspec
from conftest import as_cleaner, dpenet, store, textured
from typer.testing import CliRunner

from dpenet_cli.batch.decisions import CHANGED_SINCE, MADE_OTHERWISE, Decisions
from dpenet_cli.batch.listed import ListedJobs, Where
from dpenet_cli.batch.manifests import Manifest
from dpenet_cli.batch.naming import pictures
from dpenet_cli.batch.outcomes import Status
from dpenet_cli.batch.pictures import run
from dpenet_cli.batch.planning import plan_pictures, plan_videos
from dpenet_cli.batch.plans import BadInput
from dpenet_cli.batch.shards import Shard
from dpenet_cli.cli.app import app
from dpenet_cli.errors import DpenetError, OptionError, StorageError
from dpenet_cli.images.reading import read
from dpenet_cli.inference.scale_rule import Choice, Cleaned
from dpenet_cli.options import PictureOptions, SaveOptions
from dpenet_cli.system import line_file, stores
from dpenet_cli.system.storage import place
from dpenet_cli.system.urls import StorePath, _check_installed

ASKED = {"weights": "w", "strength": 1.0}
COUNT = 20


class Server:
    """An S3 server in a process of its own, and its log."""

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._path = folder / "moto.log"
        with self._path.open("wb") as log:
            arguments = [sys.executable, "-m", "moto.server", "-p", str(port)]
            self._process = subprocess.Popen(arguments, stdout=log, stderr=log)
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        self.client = boto3.client("s3", endpoint_url=self.url)
        self._seen = 0

    def stop(self):
        self._process.kill()
        self._process.wait()

    def requests(self):
        """What was asked since the last time: (method, bucket, key or "?" for a listing), without colours."""
        text = re.sub(r"\x1b\[[0-9;]*m", "", self._path.read_text())
        found = re.findall(r'"([A-Z]+) /([^/? ]+)(?:/([^? ]*))?(\?list-type=2)?\S* HTTP', text)
        new, self._seen = found[self._seen :], len(found)
        return [(method, bucket, "?" if listing else key) for method, bucket, key, listing in new]

    def keys(self, bucket, prefix=""):
        return {entry["Key"] for entry in self.client.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])}

    def get(self, bucket, key):
        return self.client.get_object(Bucket=bucket, Key=key)["Body"].read()

    def put(self, bucket, key, data):
        self.client.put_object(Bucket=bucket, Key=key, Body=data)


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ACCESS_KEY_ID", "someone")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-word")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        server = Server(tmp_path_factory.mktemp("s3"))
        patch.setenv("AWS_ENDPOINT_URL", server.url)
        stores._filesystem.cache_clear()
        yield server
        stores._filesystem.cache_clear()
        server.stop()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Small pictures in two folders, one of them no picture."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(COUNT):
        name = f"{'deep/' if number % 2 else ''}{number:02}.{'jpg' if number % 3 else 'png'}"
        store(folder / name, textured(number, 24, 32))
    (folder / "deep/bad.jpg").write_bytes(b"this is no picture")
    (folder / "note.txt").write_text("nor is this")
    return folder


@pytest.fixture
def buckets(s3, photos, request):
    """Two new buckets: one with the pictures below photos/, one empty."""
    name = re.sub("[^a-z]+", "-", request.node.name.lower())[:40].strip("-")
    for bucket in (f"{name}-in", f"{name}-out"):
        s3.client.create_bucket(Bucket=bucket)
    for path in photos.rglob("*.*"):
        s3.put(f"{name}-in", f"photos/{path.relative_to(photos).as_posix()}", path.read_bytes())
    s3.requests()
    return f"{name}-in", f"{name}-out"


@pytest.fixture
def memory():
    """The store in memory, empty."""
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    yield filesystem
    filesystem.store.clear()


@pytest.fixture
def asked(monkeypatch):
    """What is asked of the store in memory, counted."""
    counts = Counter()
    kind = fsspec.get_filesystem_class("memory")
    for name in ("find", "info", "cat_file", "pipe_file", "glob"):
        real = getattr(kind, name)

        def counted(self, *args, _real=real, _name=name, **options):
            counts[_name] += 1
            return _real(self, *args, **options)

        monkeypatch.setattr(kind, name, counted)
    return counts


def fill(filesystem, *names, seed=0):
    for name in names:
        picture = textured(seed, 24, 32)
        path = f"/{name}"
        with filesystem.open(path, "wb") as file:
            Image.fromarray(picture).save(file, "PNG")


def clean_all(inputs, output, asked=ASKED, *, compare=False, shard=None, save=None, **options):
    """As the command does, with a network that inverts."""
    plan = plan_pictures(inputs, output, compare=compare, shard=shard)
    decisions = Decisions(asked, shard=shard, count=len(plan.jobs), **options)
    try:
        outcomes = list(run(plan.jobs, as_cleaner(lambda p: 255 - p), PictureOptions(save or SaveOptions()), decisions))
    finally:
        decisions.close()
    return [*outcomes, *plan.bad]


def statuses(outcomes):
    return Counter(outcome.status for outcome in outcomes)


def test_a_bucket_is_cleaned_as_a_folder_is(s3, buckets, photos, tmp_path, tiny_weights):
    source, target = buckets
    options = ("--weights", tiny_weights, "--backend", "torch")
    command = ("derain", f"s3://{source}/photos/", "-o", f"s3://{target}/clean/", *options)
    there = dpenet(*command, "--json")
    first = Counter(s3.requests())
    here = dpenet("derain", photos, "-o", tmp_path, *options)
    assert here.returncode == there.returncode == 1, there.stderr  # one of them is no picture
    rows = [json.loads(line) for line in there.stdout.splitlines()]
    (failed,) = (row for row in rows[:-1] if row["status"] == "failed")
    assert failed["input"] == f"s3://{source}/photos/deep/bad.jpg"
    assert "not a picture" in failed["error"]["why"]
    assert rows[-1]["summary"]["done"] == COUNT
    assert "a-secret-word" not in there.stderr + there.stdout

    made = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*.*")}
    del made[".dpenet.jsonl"]
    (record,) = s3.keys(target, "clean/.dpenet/")
    assert s3.keys(target) == {f"clean/{name}" for name in made} | {record}
    for name, data in made.items():
        assert s3.get(target, f"clean/{name}") == data

    # The input prefix was listed once, and each picture fetched once, whole; each result was put once, and the record.
    pictures_there = s3.keys(source) - {"photos/note.txt"}
    gets = {key: count for (method, bucket, key), count in first.items() if method == "GET" and bucket == source}
    assert gets == dict.fromkeys({"?"} | pictures_there, 1)
    assert {key: count for (method, _, key), count in first.items() if method == "PUT"} == dict.fromkeys(
        s3.keys(target), 1
    )
    assert first["GET", target, "?"] == 2  # the second is s3fs's: whether a prefix with nothing below is an object
    assert {key for method, _, key in first if method == "HEAD"} == {"clean"}

    s3.client.delete_object(Bucket=source, Key="photos/deep/bad.jpg")
    s3.requests()
    again = dpenet(*command)
    assert again.returncode == 0, again.stderr
    assert f"{COUNT} skipped" in again.stderr
    assert s3.requests() == [("GET", source, "?"), ("GET", target, "?"), ("GET", target, record)]


def test_a_changed_object_is_done_again(s3, buckets, photos):
    source, target = buckets
    run_it = lambda **options: clean_all([f"s3://{source}/photos/"], f"s3://{target}/", **options)  # noqa: E731
    assert statuses(run_it()) == {Status.DONE: COUNT, Status.FAILED: 1}
    s3.put(source, "photos/00.png", (photos / "06.png").read_bytes())
    s3.requests()
    outcomes = run_it()
    assert [outcome.source for outcome in outcomes if outcome.status is Status.DONE] == [f"s3://{source}/photos/00.png"]
    assert Counter(method for method, _, _ in s3.requests()) == {"GET": 2 + 1 + 2, "PUT": 2}  # with one record each

    again = run_it(asked=ASKED | {"strength": 0.5})
    assert sum(outcome.notices == (MADE_OTHERWISE,) for outcome in again) == COUNT
    s3.put(target, "02.jpg", b"by hand")
    again = run_it(asked=ASKED | {"strength": 0.5}, redo_changed=True)
    assert statuses(again) == {Status.DONE: COUNT - 1, Status.SKIPPED: 1, Status.FAILED: 1}
    assert [outcome.notices for outcome in again if outcome.status is Status.SKIPPED] == [(CHANGED_SINCE,)]
    assert s3.get(target, "02.jpg") == b"by hand"


def test_one_side_may_be_on_this_machine(s3, buckets, photos, tmp_path):
    source, target = buckets
    here = tmp_path / "here"
    assert statuses(clean_all([f"s3://{source}/photos/"], str(here))) == {Status.DONE: COUNT, Status.FAILED: 1}
    assert statuses(clean_all([str(photos)], f"s3://{target}/c/")) == {Status.DONE: COUNT, Status.FAILED: 1}
    for path in here.rglob("*.*"):
        if path.name != ".dpenet.jsonl":
            assert s3.get(target, f"c/{path.relative_to(here).as_posix()}") == path.read_bytes()
    assert statuses(clean_all([f"s3://{source}/photos/"], str(here))) == {Status.SKIPPED: COUNT, Status.FAILED: 1}
    assert statuses(clean_all([str(photos)], f"s3://{target}/c/")) == {Status.SKIPPED: COUNT, Status.FAILED: 1}
    # A changed source is known by what it was, whatever the clocks say.
    s3.put(source, "photos/00.png", (photos / "06.png").read_bytes())
    assert statuses(clean_all([f"s3://{source}/photos/"], str(here)))[Status.DONE] == 1


def test_shards_are_those_of_a_folder(s3, buckets, photos, tmp_path):
    source, target = buckets
    parts = []
    for number in (1, 2, 3):
        there = plan_pictures([f"s3://{source}/photos/"], f"s3://{target}/", shard=Shard(number, 3))
        here = plan_pictures([str(photos)], str(tmp_path), shard=Shard(number, 3))
        assert [job.relative for job in there.jobs] == [job.relative for job in here.jobs]  # in the same order too
        parts += [str(job.source) for job in there.jobs]
    assert len(parts) == len(set(parts)) == COUNT + 1


def test_a_list_of_urls_and_a_report(s3, buckets, photos, tmp_path, tiny_weights, monkeypatch):
    monkeypatch.setattr("dpenet_cli.cli.derain.end_on_signals", lambda: None)  # this process keeps its own
    source, target = buckets
    rows = [
        {"source": f"s3://{source}/photos/00.png", "output": "x/a.png"},
        {"source": str(photos / "06.png"), "output": "x/b.png"},
        {"source": f"s3://{source}/photos/missing.jpg"},
        {"source": "s3://me:password@other/a.jpg"},
    ]
    (tmp_path / "list").write_text("\n".join(map(json.dumps, rows)))
    report = tmp_path / "report.jsonl"
    engine = ["--weights", str(tiny_weights), "--backend", "torch"]
    where = ["--root", f"s3://{source}/photos/", "-o", f"s3://{target}/o", "--compare"]
    command = ["derain", "--files-from", str(tmp_path / "list"), *where, "--report", str(report), *engine]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert "password@" not in result.output + report.read_text()
    told = {row["source"]: row for row in map(json.loads, report.read_text().splitlines())}
    first = told[f"s3://{source}/photos/00.png"]
    assert (first["status"], first["output"], first["root"]) == ("done", f"s3://{target}/o/x/a.png", f"s3://{target}/o")
    assert "no such object" in told[f"s3://{source}/photos/missing.jpg"]["reason"]
    assert {"o/x/a.png", "o-compare/x/a.png-compare.jpg", "o/x/b.png", "o-compare/x/b.png-compare.jpg"} < s3.keys(
        target
    )

    s3.put(source, "photos/missing.jpg", (photos / "00.png").read_bytes())
    again = CliRunner().invoke(app, ["derain", "--retry-failed", str(report), "-o", f"s3://{target}/o", *engine])
    assert "o/missing.jpg" in s3.keys(target), again.output


def test_what_a_server_refuses(s3, buckets, photos, tmp_path):
    source, target = buckets
    *_, bad = clean_all(["s3://no-such-bucket/in/", str(photos)], f"s3://{target}/")
    assert "bucket does not exist" in bad.error.why
    with pytest.raises(DpenetError, match="no such object"):
        clean_all([f"s3://{source}/nothing"], f"s3://{target}/")
    with pytest.raises(DpenetError, match="bucket does not exist"):
        clean_all([str(photos)], "s3://no-such-bucket/out/")
    result = dpenet("derain", f"s3://{source}/photos/", "-o", tmp_path, "--dry-run", env=environment(port=1))
    assert result.returncode == 75
    assert "AWS_ENDPOINT_URL" in result.stderr
    assert "Traceback" not in result.stderr


class _Denies(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        """Nothing."""


def environment(port):
    return os.environ | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_MAX_ATTEMPTS": "1"}


def test_access_denied(s3, tmp_path):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Denies) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        result = dpenet("derain", "s3://private/in/", "-o", tmp_path, env=environment(server.server_port))
        server.shutdown()
    assert result.returncode == 1
    assert "Access Denied" in result.stderr
    assert "AWS_PROFILE" in result.stderr
    assert "a-secret-word" not in result.stderr


def test_requests_of_any_store(memory, asked):
    names = [f"in/{number}.png" for number in range(COUNT)]
    fill(memory, *names, "in/.hidden/a.png", "in/out/old.png")
    assert statuses(clean_all(["memory://in/"], "memory://in/out/")) == {Status.DONE: COUNT}
    assert (asked["find"], asked["cat_file"], asked["pipe_file"]) == (2, COUNT, COUNT + 1)
    asked.clear()
    assert statuses(clean_all(["memory://in/"], "memory://in/out/")) == {Status.SKIPPED: COUNT}
    assert (asked["find"], asked["cat_file"], asked["pipe_file"]) == (2, 1, 0)  # the record is read


def test_a_few_outputs_are_asked_for_one_by_one(memory, asked):
    fill(memory, "in/a.png", *(f"out/{number}.png" for number in range(100)))
    assert statuses(clean_all(["memory://in/a.png"], "memory://out/")) == {Status.DONE: 1}
    assert statuses(clean_all(["memory://in/a.png"], "memory://out/")) == {Status.SKIPPED: 1}


def test_without_a_record_dates_decide(memory):
    fill(memory, "in/a.png")
    clean_all(["memory://in/"], "memory://out/", asked=None)
    assert not [name for name in memory.store if ".dpenet" in name]
    assert statuses(clean_all(["memory://in/"], "memory://out/", asked=None)) == {Status.SKIPPED: 1}
    fill(memory, "in/a.png", seed=1)
    assert statuses(clean_all(["memory://in/"], "memory://out/", asked=None)) == {Status.DONE: 1}


def test_every_run_has_a_record_of_its_own(memory, monkeypatch):
    fill(memory, *(f"in/{number}.png" for number in range(6)))
    monkeypatch.setattr(line_file, "_OBJECT_BYTES", 300)
    for number in (1, 2):
        clean_all(["memory://in/"], "memory://out/", shard=Shard(number, 2))
    records = [name for name in memory.store if "/.dpenet/" in name]
    assert len(records) > 2
    assert all(re.search(r"Z-[12]-of-2-\w{8}\.jsonl$", name) for name in records)
    assert statuses(clean_all(["memory://in/"], "memory://out/")) == {Status.SKIPPED: 6}
    assert statuses(clean_all(["memory://in/"], "memory://out/", asked={"weights": "v"}, redo_changed=True)) == {
        Status.DONE: 6
    }


def test_a_store_that_goes_away_ends_the_run(memory, monkeypatch):
    fill(memory, *(f"in/{number}.png" for number in range(3)))

    def gone(*args, **options):
        raise ConnectionResetError("the line is cut")

    plan = plan_pictures(["memory://in/"], "memory://out/")
    monkeypatch.setattr(type(memory), "pipe_file", gone)
    decisions = Decisions(ASKED)
    outcomes = list(run(plan.jobs, as_cleaner(lambda p: p), PictureOptions(), decisions))
    assert all(isinstance(outcome.error, StorageError) for outcome in outcomes)
    with pytest.raises(StorageError, match="the line is cut"):  # the record has lines that are not there
        decisions.close()
    monkeypatch.setattr(type(memory), "cat_file", gone)
    (outcome, *_) = run(plan.jobs, as_cleaner(lambda p: p), PictureOptions())
    assert isinstance(outcome.error, StorageError)


def test_names_of_objects(memory):
    fill(memory, "in/a b#c?d%20e.png", "in/ü/x.png")
    memory.store["/in//double.png"] = memory.store["/in/ü/x.png"]
    plan = plan_pictures(["memory://in/"], "memory://out")
    assert [(str(job.target), job.relative) for job in plan.jobs] == [
        ("memory://out/a b#c?d%20e.png", "a b#c?d%20e.png"),
        ("memory://out/ü/x.png", "ü/x.png"),
    ]
    assert [bad.source for bad in plan.bad] == ["memory://in//double.png"]
    assert [str(job.target) for job in plan_pictures(["memory://in/ü"]).jobs] == ["memory://in/ü-derained/x.png"]
    assert [str(job.target) for job in plan_pictures(["memory://in/ü/x.png"]).jobs] == ["memory://in/ü/x-derained.png"]
    (long,) = plan_pictures(["memory://in/ü/x.png"], f"memory://out/{'long/' * 250}").bad
    assert "too long" in long.error.why
    with pytest.raises(TypeError, match="no file of this machine"):
        os.stat(place("memory://in/ü/x.png"))
    assert read(place("memory://in/ü/x.png")).pixels.shape == (24, 32, 3)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("s3://bucket//a.jpg", "empty"),
        ("s3://bucket/../a.jpg", "empty or a dot"),
        ("s3://", "empty"),
        ("s3://me:secret@bucket/a.jpg", "holds a password"),
        ("zip://a.jpg::s3://bucket/b.zip", "not understood"),
        ("nonsense://bucket/a.jpg", "no such kind of store"),
    ],
)
def test_urls_that_are_not_understood(text, why):
    with pytest.raises(OptionError, match=why) as caught:
        place(text)
    assert "secret" not in str(caught.value)


def test_videos_reports_and_pipes_are_on_this_machine(tmp_path):
    with pytest.raises(OptionError, match="videos are cleaned from files on this machine"):
        plan_videos(["s3://bucket/a.mp4"], tmp_path)
    for arguments in (["video", "s3://bucket/a.mp4"], ["derain", tmp_path, "--report", "s3://bucket/r.jsonl"]):
        result = dpenet(*arguments)
        assert result.returncode == 2
        assert "on this machine" in result.stderr
    assert not (tmp_path / "s3:").exists()


def test_what_is_missing_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    _check_installed.cache_clear()
    with pytest.raises(OptionError, match='pip install "fsspec.*" "s3fs.*"'):
        place("s3://bucket/a.jpg")
    _check_installed.cache_clear()


def test_rows_of_a_list_stay_below_the_output_prefix(memory, tmp_path):
    (tmp_path / "list").write_text('{"source": "memory://in/a.png", "output": "memory://b/a.png"}\n')
    with Manifest(str(tmp_path / "list")) as rows:
        jobs = ListedJobs(rows, pictures(None), Where(StorePath("memory://out"), StorePath("memory://in")))
        (bad,) = jobs
    assert isinstance(bad, BadInput)
    assert "below the output folder" in bad.error.why


def test_skipped_pictures_are_copied_as_they_are(memory):
    fill(memory, "in/a.png")
    before = memory.cat_file("/in/a.png")
    plan = plan_pictures(["memory://in/"], "memory://out/", compare=True)
    dry = lambda rainy, *, skip_dry: Cleaned(np.array(rainy), Choice(1.0, dry=True))  # noqa: E731
    (outcome,) = run(plan.jobs, dry, PictureOptions(skip_dry=True))
    assert outcome.status is Status.DRY
    assert memory.cat_file("/out/a.png") == before
    assert memory.exists("/out/a-compare.jpg")  # beside a whole bucket there is nothing


@pytest.mark.long
def test_on_a_cluster(s3, buckets, photos, tiny_weights, tmp_path):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    source, target = buckets
    run = ["derain", "--weights", tiny_weights]
    plain = dpenet(*run, photos, "-o", tmp_path / "plain")
    ours = dpenet(*run, f"s3://{source}/photos/", "-o", f"s3://{target}/clean/", "--ray", timeout=300)
    assert plain.returncode == ours.returncode == 1, ours.stderr
    assert f"{COUNT} done, 1 failed" in ours.stderr
    made = {key: s3.get(target, key) for key in s3.keys(target, "clean/") if ".dpenet/" not in key}
    expected = {
        f"clean/{path.relative_to(tmp_path / 'plain').as_posix()}": path.read_bytes()
        for path in (tmp_path / "plain").rglob("*.*")
        if path.is_file() and not path.name.startswith(".")
    }
    assert made == expected
    puts = Counter(key for method, bucket, key in s3.requests() if (method, bucket) == ("PUT", target))
    records = [key for key in puts if ".dpenet/" in key]
    assert all(puts[key] == 1 for key in made)
    lines = [json.loads(line) for key in records for line in s3.get(target, key).splitlines()]
    assert len([line for line in lines if "output" in line]) == COUNT  # flushed before the workers went
