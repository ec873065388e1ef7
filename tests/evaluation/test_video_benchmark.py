"""Clips: how they are found, what is left out, their scores and means, methods by name, and the page."""

import doctest
import itertools
import json
import math
import re
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pytest
from conftest import make_clip, store, textured

from dpenet_cli.errors import DatasetError
from dpenet_cli.evaluation import video_sets
from dpenet_cli.evaluation.benchmark import Method
from dpenet_cli.evaluation.flicker import FlickerMeter
from dpenet_cli.evaluation.html_report import Making
from dpenet_cli.evaluation.methods import load_video_methods, video_method_names
from dpenet_cli.evaluation.metrics import mean_score, score
from dpenet_cli.evaluation.reported_scores import reported_on
from dpenet_cli.evaluation.result_files import to_csv
from dpenet_cli.evaluation.video_benchmark import score_clip, score_videos
from dpenet_cli.evaluation.video_report import ShownMoments, WorstMoment, build_video_page
from dpenet_cli.evaluation.video_sets import find_clips, frames_set, natural_key, ntu_set
from dpenet_cli.evaluation.video_table import clip_rows
from dpenet_cli.options import PROTOCOL, EngineOptions, Protocol, VideoMethod
from dpenet_cli.video.frames import Frame


def folders(*clips):
    return [clip.folder for clip in clips]


class Shares(NamedTuple):
    seen: int

    def to_json(self):
        return self._asdict()


class Darker:
    """Halves each frame; reads two frames ahead, keeps their times, and tells what it did."""

    def __init__(self):
        self.times, self.shares = [], None

    def __call__(self, frames):
        waiting = []
        for frame in frames:
            self.times.append(frame.pts)
            waiting.append(Frame(frame.image // 2, frame.pts))
            if len(waiting) > 2:
                yield waiting.pop(0)
        yield from waiting
        self.shares = Shares(len(self.times))


# finding clips


def test_clips_are_found_by_the_names_of_their_folders_however_deep(tmp_path):
    make_clip(tmp_path / "video/ntu-a1")
    make_clip(tmp_path / "video/Ntu_b2", rainy="rainy", clean="gt")
    make_clip(tmp_path / "sets/NTURain/test/a4")
    make_clip(tmp_path / "video/other")
    store(tmp_path / "video/ntu-real/1.png", textured(0, 40, 48))
    store(tmp_path / "sets/NTURain/b1/input/1.png", textured(0, 40, 48))
    (tmp_path / "ntu-empty/input").mkdir(parents=True)
    (tmp_path / "ntu-empty/target").mkdir()
    (tmp_path / "video/ntu-a1/again").symlink_to(tmp_path)
    (tmp_path / "video/back").symlink_to(tmp_path)
    clips, others = find_clips(tmp_path)
    assert folders(*clips) == [tmp_path / name for name in ("sets/NTURain/test/a4", "video/Ntu_b2", "video/ntu-a1")]
    assert others == [tmp_path / name for name in ("ntu-empty", "sets/NTURain/b1", "video/ntu-real")]
    found = ntu_set(tmp_path)
    assert [clip.name for clip in found.clips] == ["sets/NTURain/test/a4", "video/Ntu_b2", "video/ntu-a1"]
    assert found.coverage == "3 clips, 12 frames"
    assert found.left_out == tuple(
        f"{name}: no input/ and target/ with frames" for name in ("ntu-empty", "sets/NTURain/b1", "video/ntu-real")
    )
    assert len(found.files) == 24


@pytest.mark.parametrize("root", ["NTURain", "NTURain/a1", "."])
def test_the_root_may_be_the_set_or_the_clip_itself(tmp_path, root, monkeypatch):
    make_clip(tmp_path / "NTURain/a1")
    monkeypatch.chdir(tmp_path)
    clips, others = find_clips(tmp_path / root)
    assert (folders(*clips), others) == ([tmp_path / "NTURain/a1"], [])
    assert [clip.name.rpartition("/")[2] for clip in ntu_set(tmp_path / root).clips] == ["a1"]


def test_frames_follow_each_other_in_the_natural_order_of_their_names(tmp_path):
    make_clip(tmp_path / "ntu-a1")
    (clip,) = ntu_set(tmp_path).clips
    assert [frame.name for frame in clip.frames] == [f"ntu-a1/{number}" for number in (8, 9, 10, 11)]
    assert doctest.testmod(video_sets).failed == 0
    names = ["f10b", "f9", "f10a", "f", "7", "f09", "f1"]
    assert sorted(names, key=natural_key) == ["7", "f", "f1", "f9", "f09", "f10a", "f10b"]


def test_no_clips_say_where_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("DPENET_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(DatasetError) as caught:
        ntu_set(tmp_path)
    for part in (str(tmp_path), "elsewhere", "SPAC-SupplementaryMaterials", "NTURain/a1/input/", "--data-root"):
        assert part in str(caught.value)


def test_two_folders_are_one_clip(tmp_path):
    make_clip(tmp_path / "a1")
    found = frames_set(tmp_path / "a1/input", tmp_path / "a1/target")
    assert (found.name, found.coverage) == ("a1/input against a1/target", "1 clip, 4 frames")
    assert [frame.name for frame in found.pairs] == ["a1/8", "a1/9", "a1/10", "a1/11"]


def test_unequal_counts_and_sizes_are_errors_unless_partial(tmp_path):
    make_clip(tmp_path / "ntu-a1")
    (tmp_path / "ntu-a1/target/11.png").unlink()
    with pytest.raises(DatasetError, match=r"1 pictures have no partner: input/11\.png"):
        ntu_set(tmp_path)
    found = ntu_set(tmp_path, partial=True)
    assert (found.coverage, found.left_out) == ("1 clip, 3 of 4 frames", ("ntu-a1: input/11.png: no partner",))
    (tmp_path / "ntu-a1/input/11.png").unlink()
    for side in ("input", "target"):
        store(tmp_path / "ntu-a1" / side / "10.png", textured(0, 40, 50))
    with pytest.raises(DatasetError, match=r"10\.png is 50×40 where others are 48×40.*--allow-partial"):
        ntu_set(tmp_path)
    assert [frame.name for frame in ntu_set(tmp_path, partial=True).pairs] == ["ntu-a1/8", "ntu-a1/9"]


# scores


@pytest.fixture
def clips(tmp_path):
    """Two clips of four and two frames."""
    make_clip(tmp_path / "ntu-a1")
    make_clip(tmp_path / "ntu-b1", count=2)
    return ntu_set(tmp_path)


def scored(clips, *methods, protocol=PROTOCOL, **callbacks):
    return score_videos([clips], methods, protocol, **callbacks)


def test_a_clip_is_cleaned_together_and_scored_frame_by_frame(clips):
    made = []
    method = Method("dark", restoration=lambda: made.append(Darker()) or made[-1])
    seen = []
    (result,) = scored(clips, method, protocol=Protocol.RGB, on_scored=[lambda *told: seen.append(told)])
    assert [restoration.times for restoration in made] == [[Fraction(n, 25) for n in range(c)] for c in (4, 2)]
    assert [images.score.name for _, _, images in seen] == [frame.name for frame in clips.pairs]
    assert all((test_set, who) == (clips, method) for test_set, who, _ in seen)
    for frame, (_, _, images) in zip(clips.pairs, seen, strict=True):
        rainy, truth = frame.load()
        assert np.array_equal(images.restored, rainy // 2)
        assert images.score.before == score(rainy, truth, Protocol.RGB)
        assert images.score.after == score(rainy // 2, truth, Protocol.RGB)
    clip = result.clips[0]
    meter = FlickerMeter()
    for frame in clips.clips[0].frames:
        rainy, truth = frame.load()
        meter.add(truth, rainy, rainy // 2)
    assert (clip.flicker_truth, clip.flicker_input, clip.flicker_restored) == meter.flickers()
    after = mean_score([picture.after for picture in clip.pictures])
    assert clip.scores.after[:2] == (after.psnr, after.ssim)
    assert clip.shares == {"seen": 4}
    assert clip.seconds > 0


def test_both_means_are_given(clips):
    (result,) = scored(clips, Method("dark", restoration=Darker))
    long, short = (clip.scores for clip in result.clips)
    for field in ("psnr", "ssim", "flicker", "flicker_still"):
        for which in ("truth", "before", "after"):
            values = [getattr(getattr(each, which), field) for each in (long, short)]
            assert getattr(getattr(result.over_clips, which), field) == pytest.approx(np.mean(values)), (field, which)
    assert result.over_frames.after.psnr == pytest.approx((4 * long.after.psnr + 2 * short.after.psnr) / 6)
    assert result.over_frames.after.psnr == pytest.approx(result.after.psnr)
    assert result.over_frames.after.flicker == pytest.approx((3 * long.after.flicker + short.after.flicker) / 4)
    assert result.over_frames.gain == pytest.approx(result.gain)
    rows = clip_rows([result])
    means = ("mean over 2 clips", "mean over 6 frames")
    assert [row.clip for row in rows] == [name for name in ("ntu-a1", "ntu-b1", *means) for _ in range(3)]
    assert [row.cells[0] for row in rows] == ["truth", "rainy input", "dark"] * 4


def test_json_is_strict_and_complete(clips):
    (result,) = scored(clips, Method("dark", restoration=Darker))
    fields = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert [picture["name"] for picture in fields["pictures"]] == [frame.name for frame in clips.pairs]
    assert set(fields["clips"][0]) == {
        *("name", "frames", "input", "restored", "truth", "shares", "seconds", "frames_per_minute")
    }
    assert set(fields["clips"][0]["input"]) == {"psnr", "ssim", "flicker", "flicker_still"}
    assert set(fields["over_clips"]) == set(fields["over_frames"]) == {"input", "restored", "truth"}
    assert fields["restored"]["psnr"] == pytest.approx(fields["over_frames"]["restored"]["psnr"])
    lines = to_csv([result], "fp32").decode().splitlines()
    assert [line.split(",")[2] for line in lines[1:]] == [frame.name for frame in clips.pairs]


def test_results_single_frames_and_identical_ones_have_scores_too(tmp_path):
    make_clip(tmp_path / "ntu-a1", count=1)
    (clip,) = ntu_set(tmp_path).clips
    alone = score_clip(clip, None, PROTOCOL)
    assert (alone.flicker_input, alone.scores.before, alone.frames_per_minute, alone.shares) == (None, None, None, None)
    assert math.isnan(alone.scores.after.flicker)
    fields = json.loads(json.dumps(alone.to_json(), allow_nan=False))
    assert fields["restored"]["flicker"] is None
    make_clip(tmp_path / "b")
    same = frames_set(tmp_path / "b/target", tmp_path / "b/target")
    (result,) = scored(same, Method("given"))
    assert result.over_clips.after == result.over_clips.truth
    assert json.loads(json.dumps(result.to_json(), allow_nan=False))["over_clips"]["restored"]["psnr"] is None
    assert clip_rows([result])[1].cells[1] == "∞"


def test_a_method_that_loses_a_frame_is_found_out(clips):
    with pytest.raises(AssertionError, match="as many frames out as in"):
        scored(clips, Method("short", restoration=lambda: lambda frames: itertools.islice(frames, 1, None)))


# methods


def test_methods_are_named_by_what_they_use(tiny_weights):
    auto, temporal, network = VideoMethod.AUTO, VideoMethod.TEMPORAL, VideoMethod.NETWORK
    named = video_method_names([auto, network, temporal, auto], ["general", "a/x.pth"])
    assert named == {
        "general": (auto, "general"),
        "x": (auto, "a/x.pth"),
        "general (network)": (network, "general"),
        "x (network)": (network, "a/x.pth"),
        "temporal": (temporal, None),
    }
    assert list(video_method_names([auto, temporal], ["temporal.pth"])) == ["temporal.pth", "temporal"]
    loaded = load_video_methods([auto, temporal, network], [str(tiny_weights)], EngineOptions("cpu"))
    assert [method.name for method in loaded] == ["tiny", "temporal", "tiny (network)"]
    assert [method.cost is None for method in loaded] == [False, True, False]
    assert not any(method.is_given for method in loaded)
    first, second = (method.restoration() for method in loaded[::2])
    assert first is not second
    frame = textured(0, 40, 48)
    (clean,) = second([Frame(frame, Fraction(0))])
    assert clean.image.shape == frame.shape


def test_what_was_published_on_ntu_is_known():
    rows = reported_on("ntu")
    assert [row.method for row in rows[:3]] == ["RainMamba", "ESTINet", "S2VD"]
    assert (rows[0].psnr, rows[0].source) == (37.87, "TonyHongtaoWu/RainMamba README")


# the page


def test_the_page_shows_the_clips_and_loads_nothing(clips):
    shown = ShownMoments()
    methods = [Method("mine & yours", restoration=Darker), Method("given")]
    results = scored(clips, *methods, on_scored=[shown])
    html = build_video_page(results, shown.by_set_method_and_clip, Making("cpu, fp32"))
    assert "ntu: 2 clips, 6 frames" in html
    assert "Less flicker than the truth is blur" in html
    assert "mine &amp; yours, around its worst frame" in html
    assert "mean over 2 clips" in html
    assert "RainMamba" in html
    assert all(source.startswith("data:image/webp;base64,") for source in re.findall(r'(?:src|href)="([^"]*)"', html))
    # a column a frame, four pictures high; three where results have no rainy input
    assert html.count("<img ") == (4 + 2) * 4 + (4 + 2) * 3
    assert html.count('alt="10, rainy"') == 1
    assert html.count("<strong>") == 4


@pytest.mark.parametrize(
    ("worst", "expected"), [(0, range(5)), (1, range(5)), (4, range(2, 7)), (8, range(5, 10)), (9, range(5, 10))]
)
def test_the_worst_frame_is_in_the_middle_where_the_clip_allows(tmp_path, worst, expected):
    make_clip(tmp_path / "a", count=10, height=16, width=16)
    moment = WorstMoment()

    def worst_at(frames):
        for number, frame in enumerate(frames):
            yield Frame(frame.image // (2 if number == worst else 1), frame.pts)

    (clip,) = frames_set(tmp_path / "a/target", tmp_path / "a/target").clips
    score_clip(clip, lambda: worst_at, PROTOCOL, [moment.add])
    assert [frame.score.name for frame in moment.frames] == [f"target/{number + 8}" for number in expected]
    assert moment.worst == moment.frames[list(expected).index(worst)].score.after
