"""A batch on a Ray cluster does what it does without one; what kills a worker is one row's failure."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import workers
from clips import H264_AAC, ffmpeg
from conftest import dpenet
from PIL import Image

from dpenet_cli.batch import ray_cluster, ray_connection, ray_flow
from dpenet_cli.batch.decisions import Decisions, asked_of_pictures
from dpenet_cli.batch.outcomes import Outcome, Status
from dpenet_cli.batch.planning import plan_pictures
from dpenet_cli.batch.ray_cluster import RayRun
from dpenet_cli.batch.ray_connection import check_address, connected, needs_of, places
from dpenet_cli.batch.ray_messages import Voices
from dpenet_cli.batch.ray_needs import lacking
from dpenet_cli.batch.ray_rows import Task, job_of, outcome_of, outcome_row, row_of
from dpenet_cli.errors import ImageReadError, InputError, OptionError
from dpenet_cli.options import EngineOptions, PictureOptions, Runtime
from dpenet_cli.system.outputs import Job

NEEDED = "the extra `ray` is not installed"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dozen small pictures, and a file that is none."""
    rng = np.random.default_rng(1)
    for number in range(12):
        path = tmp_path / "photos" / ("deep" if number % 2 else ".") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(path)
    (tmp_path / "photos/bad.png").write_bytes(b"nonsense")
    return tmp_path


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Ray cluster of this machine alone, to which this process is connected."""
    ray = pytest.importorskip("ray", reason=NEEDED)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with pytest.MonkeyPatch.context() as patch:  # actors find the workers of tests
        patch.setenv("PYTHONPATH", str(Path(workers.__file__).parent), prepend=os.pathsep)
        context = ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield context.address_info["gcs_address"]
    ray.shutdown()


class Told:
    """A report that remembers notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def advice(self, text: str) -> None:
        pass

    detail = stage = advice

    def frames(self, source: str, done: int, total: int, speed: float) -> None:
        pass


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}


def results(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder).items() if not name.startswith(".dpenet")}


def entries(folder: Path) -> set[tuple[str, str]]:
    lines = [json.loads(line) for path in folder.glob(".dpenet*.jsonl") for line in path.read_text().splitlines()]
    return {(line["output"], line["sha256"]) for line in lines if "output" in line}


def test_a_run_is_the_same_as_without_ray(folder: Path, cluster: str, tiny_weights: Path) -> None:
    run = ["derain", "photos/", "--weights", tiny_weights, "--json"]
    plain = dpenet(*run, "-o", "plain", cwd=folder)
    ours = dpenet(*run, "-o", "clean", "--report", "report.jsonl", "--ray", cluster, cwd=folder)
    assert plain.returncode == ours.returncode == 1
    assert results(folder / "clean") == results(folder / "plain")
    assert len(results(folder / "clean")) == 12
    assert entries(folder / "clean") == entries(folder / "plain")
    assert len(entries(folder / "clean")) == 12

    *rows, summary = map(json.loads, ours.stdout.splitlines())
    *expected, _ = map(json.loads, plain.stdout.replace("plain/", "clean/").splitlines())
    for row in rows + expected:
        row.pop("seconds")
    assert sorted(rows, key=str) == sorted(expected, key=str)
    assert summary["summary"]["done"] == 12
    assert "1 worker(s) on 1 machine(s)" in summary["summary"]["engine"]
    report = [json.loads(line) for line in (folder / "report.jsonl").read_text().splitlines()]
    assert len({row["source"] for row in report}) == len(report) == 13
    assert [row["reason"] for row in report if row["status"] == "failed"] == [rows[6]["error"]["why"]]
    # Nothing of Ray's own gets onto the terminal.
    assert ours.stderr.count("\n") == 2, ours.stderr

    (folder / "photos/bad.png").unlink()
    again = dpenet(*run, "-o", "clean", "--ray", "127.0.0.1:1", cwd=folder)  # nothing is left to do: nobody is asked
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout.splitlines()[-1])["summary"]["skipped"] == 12


def ray_run(folder: Path, cluster: str, weights: Path, report: Told):
    plan = plan_pictures([str(folder / "photos")], folder / "clean")
    engine, options = EngineOptions(threads=1, backend=Runtime.TORCH), PictureOptions()
    asked = asked_of_pictures(str(weights), engine, options)
    run = RayRun(cluster, Task(str(weights), engine, options, asked), Decisions(asked), report)
    return run.outcomes(plan.jobs)


def test_what_kills_its_worker_is_found(folder: Path, cluster: str, tiny_weights: Path, monkeypatch) -> None:
    monkeypatch.setattr(ray_cluster, "Worker", workers.Deadly)
    monkeypatch.setattr(ray_flow, "_ROUND", 9)  # of hands with one picture, as the first ones are
    outcomes = {Path(outcome.source).name: outcome for outcome in ray_run(folder, cluster, tiny_weights, Told())}
    assert len(outcomes) == 13
    assert {name for name, each in outcomes.items() if each.status is Status.FAILED} == {"7.png", "bad.png"}
    assert "2 workers broke down over it" in outcomes["7.png"].error.why
    assert len(results(folder / "clean")) == 11


@pytest.mark.long
def test_machines_that_all_lack_something(folder: Path, cluster: str, tiny_weights: Path, monkeypatch) -> None:
    monkeypatch.setattr(ray_cluster, "Worker", workers.Elsewhere)
    with pytest.raises(InputError, match="does not see this folder"):
        list(ray_run(folder, cluster, tiny_weights, Told()))


def test_an_interrupt_ends_what_is_begun(folder: Path, cluster: str, tiny_weights: Path) -> None:
    outcomes = ray_run(folder, cluster, tiny_weights, Told())
    told = [next(outcomes)]
    with suppress(KeyboardInterrupt):
        told.append(outcomes.throw(KeyboardInterrupt()))
        told.extend(outcomes)
    done = [Path(outcome.target) for outcome in told if outcome.status is Status.DONE]
    assert sorted(done) == sorted(path for path in (folder / "clean").rglob("*.png"))
    assert len(told) < 13
    assert not list((folder / "clean").rglob("*.part"))


def test_a_video_is_the_same_as_without_ray(folder: Path, cluster: str) -> None:
    (folder / "clips").mkdir()
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x48:r=25", "-frames:v", 10, *H264_AAC, folder / "clips/a.mp4")
    (folder / "clips/b.mp4").write_bytes(b"nonsense")
    run = ["video", "clips/", "--method", "temporal"]
    plain = dpenet(*run, "-o", "plain", cwd=folder)
    ours = dpenet(*run, "-o", "clean", "--ray", cluster, cwd=folder)
    assert plain.returncode == ours.returncode == 1, ours.stderr
    assert results(folder / "clean") == results(folder / "plain")
    assert len(results(folder / "clean")) == 1
    assert entries(folder / "clean") == entries(folder / "plain")


def test_what_a_machine_lacks(folder: Path, tiny_weights: Path) -> None:
    plan = plan_pictures([str(folder / "photos")], folder / "clean")
    task = Task(str(tiny_weights), EngineOptions(), PictureOptions(), None)
    needs = needs_of(plan.jobs, task)
    assert lacking(needs) is None
    for changed, said in [
        (needs._replace(outputs=(str(folder / "elsewhere"),)), "does not see this folder"),
        (needs._replace(files=((str(folder / "photos/99.png"), 5),)), "does not see this file"),
        (needs._replace(files=((str(folder / "photos/0.png"), 5),)), "sees another file there"),
        (needs._replace(digest="0" * 64), "has other weights"),
        (needs._replace(weights=str(folder / "none.safetensors")), "there is no such file"),
    ]:
        assert said in lacking(changed).why


def test_rows_keep_everything(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = Job(Path("a\udcff.jpg"), Path("out/a.jpg"), Path("out/a-compare.jpg"), Path("out"), "a.jpg")
    row = row_of(job, (job.target,))
    assert row["source"] == str(tmp_path / "a\udcff.jpg")
    whole, outputs = job_of(row)
    assert (whole.relative, outputs) == ("a.jpg", (tmp_path / "out/a.jpg",))
    error = ImageReadError(row["source"], "why", "Next.")
    outcome = Outcome(row["source"], row["target"], Status.FAILED, error, ("notice",), (4, 5), 1.5, None, 0.5, 0.1)
    back = outcome_of(outcome_row(outcome), job)
    assert (back.source, back.target, back.root, back.error.what) == ("a\udcff.jpg", "out/a.jpg", "out", "a\udcff.jpg")
    assert (back.status, back.notices, back.size, back.scale) == (Status.FAILED, ("notice",), (4, 5), 0.5)


@pytest.mark.parametrize("address", ["local", "auto", "127.0.0.1:6379", "head.example:6379", "[::1]:6379"])
def test_addresses(address: str) -> None:
    assert check_address(address) == address


@pytest.mark.parametrize("address", ["photos/", "photos", "", "a:b", "a b:1"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(OptionError, match="no address of a Ray cluster"):
        check_address(address)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["photos", "--ray"], 0),
        (["--ray", "-o", "out", "photos"], 0),
        (["photos", "--ray=127.0.0.1:6379"], 0),
        (["photos", "--ray", "127.0.0.1:6379"], 0),
        (["--ray", "photos"], 2),
        (["--ray=", "photos"], 2),
    ],
)
def test_the_address_may_be_left_out(folder: Path, arguments: list[str], code: int) -> None:
    (folder / "photos/bad.png").unlink()
    result = dpenet("derain", "--dry-run", *arguments, cwd=folder)
    assert result.returncode == code, result.stderr
    assert ("planned" in result.stdout) is (code == 0)


def test_without_the_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(OptionError, match=r"Ray is not installed.*ray\[data\]>="), connected("local"):
        pass


def test_nobody_answers() -> None:
    pytest.importorskip("ray", reason=NEEDED)
    with pytest.raises(OptionError, match="no Ray cluster can be reached there"), connected("127.0.0.1:1"):
        pass


class Nodes:
    """A cluster of machines with such resources."""

    def __init__(self, *resources: dict[str, float]) -> None:
        self._resources = resources

    def nodes(self) -> list[dict[str, object]]:
        return [{"Alive": True, "Resources": each} for each in self._resources] + [{"Alive": False, "Resources": {}}]


def test_what_workers_take() -> None:
    head, large, gpus = {}, {"CPU": 64.0}, {"CPU": 32.0, "GPU": 4.0}
    assert places(Nodes({"CPU": 2.0}), EngineOptions()) == (2, 0, 1, 1)
    assert places(Nodes(head, large, large), EngineOptions()) == (4, 0, 32, 2)
    assert places(Nodes(large), EngineOptions(threads=16)) == (16, 0, 4, 1)
    assert places(Nodes(large, gpus, gpus), EngineOptions()) == (8, 1, 8, 2)
    assert places(Nodes(large, gpus), EngineOptions(device="cpu")) == (4, 0, 24, 2)
    assert places(Nodes(head), EngineOptions()).workers == 0
    with pytest.raises(OptionError, match="no machine of the cluster has a GPU"):
        places(Nodes(large), EngineOptions(device="cuda"))
    for device in "cuda:1", "cuda:all":
        with pytest.raises(OptionError, match="Ray chooses"):
            places(Nodes(gpus), EngineOptions(device=device))


def test_a_folder_that_is_not_shared_is_seen(folder: Path) -> None:
    with ray_connection._seen_files([str(folder), str(folder / "photos/0.png")]) as seen:
        ((name, size),) = seen
        assert (Path(name).parent, size) == (folder, Path(name).stat().st_size)
    assert not Path(name).exists()


def test_machines_of_several_kinds_are_told_once():
    told = []
    voices = Voices(type("Report", (), {"note": staticmethod(told.append)})())
    for description in ("cpu, fp32", "cpu, fp32", "cpu, bf16", "cpu, fp32", "cpu, bf16"):
        voices.engine(description)
    (note,) = told
    assert "cpu, fp32; cpu, bf16" in note
    assert "--precision fp32 --backend torch" in note
