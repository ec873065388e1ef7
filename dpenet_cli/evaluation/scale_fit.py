"""Fit the rule of sizes to weights: rain drawn at known sizes on large clean photographs, looked at in every size.

Each photograph gives regions, at its own size or reduced by turns, since photographs differ in how sharp a pixel is.
Streaks of every kind are drawn on them 1 to 8 times as wide, long and soft as those that the network learns from. The
network's result in each size is scored against the clean region; what the small looks say (`inference.looks`) is set
against what half of each size really gained, and a ridge regression makes the rule of it (`inference.scale_rule`).
Whether there is rain at all is learnt from few streaks, in the whole of a region or in a ninth of it, and from none.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from dpenet_cli.arrays import Pixels8, to_8_bits
from dpenet_cli.errors import DatasetError
from dpenet_cli.evaluation.metrics import score
from dpenet_cli.images.formats import PICTURE_SUFFIXES
from dpenet_cli.images.reading import read
from dpenet_cli.inference.looks import SCALES, look, plan_windows
from dpenet_cli.inference.multi_gpu import Engine
from dpenet_cli.inference.resizing import clean_at
from dpenet_cli.inference.scale_evidence import FEATURES, Evidence
from dpenet_cli.inference.scale_rule import Choice, ScaleRule
from dpenet_cli.options import PROTOCOL
from dpenet_cli.synthesis.parameters import Rain, draw_parameters
from dpenet_cli.synthesis.rain import draw_rain

TIMES = (1, 2, 3, 4, 8)
"""How many times as large as in training the streaks are drawn."""

KINDS = (Rain.THIN, Rain.DENSE, Rain.NOISE, Rain.DEPTH)
"""The kinds of rain that are drawn."""

SIDE = 640
"""Side of the region that is taken of a photograph, in pixels."""

MIN_PICTURES = 6
"""Photographs that a fit needs at least."""

_LOOK = 96
"""Side of the windows that are looked at, in pixels: that of a picture of two, and of eight, megapixels."""

_LONG_SIDES = (None, 2560, 1600)
"""Photographs are reduced to these, by turns, if they are larger."""

_FAINT = (0.5, 1.0, 2.0)
"""Mean light of faint rain, in grey levels: few streaks, each as bright as ever."""

_PLACES = ((0.5, 0.5), (0.1, 0.9), (0.9, 0.1))
"""Where a photograph's regions lie: how far down and to the right, 0..1."""

_RIGHT = 0.5
"""Decibels below the best size within which a size is right."""

_SHOWN = 0.4
"""A window shows rain if it holds this share of the region's mean light."""

_MISSED = 1.0
"""Percent of the samples with faint rain all over that may be called dry."""

_NEWTON_STEPS = 60
"""Steps of the logistic regression; it has converged long before."""

_TRIES = 8
"""How often faint rain is drawn, with more or fewer streaks, to come near to its light."""

_MOST_GAIN = 6.0
"""Decibels at which gains are cut off, so that the few largest don't decide on all others."""

_RIDGE = 1.0
"""How strongly coefficients are drawn to 0."""

_FAINT_WEIGHT = 0.3
"""How much a dry or faintly rained picture counts beside one in the rain."""


@dataclass(frozen=True)
class Case:
    """One rain on one photograph.

    Attributes:
        picture: number of the photograph.
        rain: kind of rain, or dry.
        times: how many times as large as in training.
        light: mean light of faint rain, in grey levels; None for as much as falls in training.
        seed: of what is drawn at random.
        place: which of the photograph's regions.
        ninth: let it rain in a ninth of the region alone.
    """

    picture: int
    rain: Rain
    times: int = 1
    light: float | None = None
    seed: int = 0
    place: int = 0
    ninth: bool = False

    @property
    def is_scored(self) -> bool:
        """Whether the result is scored in every size, which takes most of the time; else only looked at."""
        return self.place == 0 and not self.ninth


class Sample(NamedTuple):
    """What a case gave.

    Attributes:
        case: which.
        before: PSNR of the rainy region, in dB; infinite where it is dry.
        psnr: PSNR of the result, by the size that the network saw; empty where it was not scored.
        evidence: what the looks say.
        light: mean light of the rain in each window that was looked at, in grey levels.
    """

    case: Case
    before: float
    psnr: dict[float, float]
    evidence: Evidence
    light: list[float]


def photographs(folder: Path) -> list[Path]:
    """The pictures of a folder that are large enough, sorted by name.

    Raises:
        DatasetError: there are fewer than `MIN_PICTURES`.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    large = [path for path in paths if min(read(path).pixels.shape[:2]) >= SIDE]
    if len(large) < MIN_PICTURES:
        why = f"{len(large)} of its {len(paths)} pictures have {SIDE} pixels in width and height"
        raise DatasetError(str(folder), why, f"Give at least {MIN_PICTURES} large photographs without rain.")
    return large


def cases(pictures: int) -> list[Case]:
    """What is drawn on so many photographs: two kinds of rain in each size, faint rain, and none."""
    todo = []
    for picture in range(pictures):
        todo += [Case(picture, Rain.DRY, place=place) for place in range(len(_PLACES))]
        for turn, times in enumerate(TIMES):
            for step in (0, 1 + picture % 2):
                kind = KINDS[(picture + turn + step) % len(KINDS)]
                todo.append(Case(picture, kind, times, None, 1000 * picture + 10 * turn + step))
        for turn, light in enumerate(_FAINT):
            kind, times = KINDS[(picture + turn) % len(KINDS)], TIMES[(picture // 2 + turn) % (len(TIMES) - 1)]
            seed = 1000 * picture + 100 + turn
            todo.append(Case(picture, kind, times, light, seed))
            todo += [Case(picture, kind, times, light, seed + 100, place, place == turn) for place in (1, 2)]
    return sorted(todo, key=lambda case: (case.picture, case.place))


def measure(engine: Engine, paths: Sequence[Path], todo: Sequence[Case]) -> Iterator[Sample]:
    """Draw, look and score, case by case.

    Raises:
        DpenetError: a photograph cannot be read, or the network fails.
    """
    where, clean = None, np.empty((0, 0, 3), np.uint8)
    for case in todo:
        if (case.picture, case.place) != where:
            where = case.picture, case.place
            clean = _region(paths[case.picture], _LONG_SIDES[sum(where) % len(_LONG_SIDES)], _PLACES[case.place])
        rainy = rain_on(clean, case)
        looks = look(engine, rainy, plan_windows(SIDE, SIDE, side=_LOOK))
        evidence = Evidence()
        evidence.add(looks)
        added = np.maximum(rainy.astype(np.float32) - clean, 0)
        windows = [each.window for some in looks.values() for each in some]
        light = [float(added[w.top : w.bottom, w.left : w.right].mean()) for w in windows]
        psnr: dict[float, float] = {}
        if case.is_scored:
            results = {scale: np.asarray(clean_at(engine, rainy, scale), np.uint8) for scale in SCALES}
            psnr = {scale: score(result, clean, PROTOCOL).psnr for scale, result in results.items()}
        yield Sample(case, score(rainy, clean, PROTOCOL).psnr, psnr, evidence, light)


def _region(path: Path, long_side: int | None, place: tuple[float, float]) -> Pixels8:
    """A region of a photograph that is first reduced to so many pixels, if it has more."""
    picture = to_8_bits(read(path).pixels)
    shrink = min(long_side / max(picture.shape[:2]), 1.0) if long_side else 1.0
    shrink = max(shrink, SIDE / min(picture.shape[:2]))
    if shrink < 1:
        picture = np.asarray(cv2.resize(picture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA), np.uint8)
    top, left = (int((side - SIDE) * share) for side, share in zip(picture.shape[:2], place, strict=True))
    return np.ascontiguousarray(picture[top : top + SIDE, left : left + SIDE])


def rain_on(clean: Pixels8, case: Case) -> Pixels8:
    """Let it rain on a picture, H×W×3 uint8: streaks so many times as wide, long and soft as in training."""
    if case.rain is Rain.DRY:
        return clean
    rainy = _drawn(clean, case, 1.0) if case.light is None else _faint(clean, case, case.light)
    if not case.ninth:
        return rainy
    height, width = (side // 3 for side in clean.shape[:2])
    top, left = np.random.default_rng(case.seed).integers(0, (2 * height, 2 * width))
    part = slice(top, top + height), slice(left, left + width)
    result = clean.copy()
    result[part] = rainy[part]
    return result


def _faint(clean: Pixels8, case: Case, light: float) -> Pixels8:
    """Few of the streaks, so that their mean light is so many grey levels, or near it."""
    low, high, drawn = 1e-3, 4.0, {}
    for _ in range(_TRIES):
        share = math.sqrt(low * high)
        rainy = _drawn(clean, case, share)
        found = float(np.abs(rainy.astype(np.float32) - clean).mean())
        drawn[abs(math.log(max(found, 1e-3) / light))] = rainy
        low, high = (share, high) if found < light else (low, share)
    return drawn[min(drawn)]


def _drawn(clean: Pixels8, case: Case, share: float) -> Pixels8:
    """The rain of a case on a picture, with this share of its streaks, and without the camera's own part."""
    generator = torch.Generator().manual_seed(case.seed)
    drawn = draw_parameters([case.rain], generator)
    changed = {name: getattr(drawn, name) * case.times for name in ("length", "width", "softness")}
    if case.light is not None:
        changed["cover"] = drawn.cover * share
        changed["black"] = drawn.black - np.log2(share) * (drawn.cover == 0)  # noise: fewer of its peaks
        changed |= {name: torch.zeros_like(getattr(drawn, name)) for name in ("scatter", "shot", "read", "quality")}
    picture = torch.from_numpy(clean).permute(2, 0, 1)[None].float() / 255  # 1×3×H×W
    rainy = draw_rain(picture, drawn._replace(**changed), generator)[0].permute(1, 2, 0).numpy() * 255
    return np.asarray(np.clip(np.rint(rainy), 0, 255), np.uint8)


class Row(NamedTuple):
    """How a rule does on rain of one size, in dB; means over the cases unless said otherwise.

    Attributes:
        times: how many times as large as in training; 0 for faint rain of all sizes.
        cases: how many.
        before: PSNR of the rainy regions.
        own_size: PSNR where the network sees them in their own size.
        best: PSNR in the size that is best for each, which only an oracle knows.
        rule: PSNR in the size that the rule takes.
        worst: PSNR of the rule less that of the own size, of the case for which it is least.
        right: share of cases in which the rule takes the best size, or one within 0.5 dB of it.
    """

    times: int
    cases: int
    before: float
    own_size: float
    best: float
    rule: float
    worst: float
    right: float


class Fit(NamedTuple):
    """A rule, and how it does on photographs that it was not fitted on.

    Attributes:
        rule: fitted on all samples.
        rows: for each size of rain, and for faint rain; each photograph judged by a rule fitted on the others.
        faint_missed: share of regions with faint rain all over that are called dry.
        ninth_missed: the same of those with faint rain in a ninth.
        dry_found: share of dry regions that are called dry.
    """

    rule: ScaleRule
    rows: list[Row]
    faint_missed: float
    ninth_missed: float
    dry_found: float


def fit(samples: Sequence[Sample]) -> Fit:
    """Fit the rule, and judge it by leaving out one photograph after another."""
    judged = []
    for picture in sorted({sample.case.picture for sample in samples}):
        rule = fit_rule([sample for sample in samples if sample.case.picture != picture])
        judged += [(sample, rule.decide(sample.evidence)) for sample in samples if sample.case.picture == picture]
    rows = [row for times in (*TIMES, 0) if (row := _row(times, judged)) is not None]
    faint = [choice.dry for sample, choice in judged if sample.case.light is not None and not sample.case.ninth]
    ninth = [choice.dry for sample, choice in judged if sample.case.ninth]
    dry = [choice.dry for sample, choice in judged if sample.case.rain is Rain.DRY]
    return Fit(fit_rule(samples), rows, *(float(np.mean(each)) for each in (faint, ninth, dry)))


def fit_rule(samples: Sequence[Sample]) -> ScaleRule:
    """The rule that suits these samples best."""
    rows, gains, weights = [], [], []
    for sample in samples:
        for scale in SCALES[:-1] if sample.psnr else ():
            rows.append(sample.evidence.features(scale))
            gains.append(np.clip(sample.psnr[scale / 2] - sample.psnr[scale], -_MOST_GAIN, _MOST_GAIN))
            weights.append(1.0 if _is_plain_rain(sample.case) else _FAINT_WEIGHT)
    # Ridge regression: (XᵀWX + λI)·c = XᵀWy, with a row of X and an element of y for each size of each sample.
    x, y, w = np.array(rows), np.nan_to_num(np.array(gains)), np.array(weights)
    coefficients = np.linalg.solve(x.T @ (w[:, None] * x) + _RIDGE * np.eye(len(FEATURES)), x.T @ (w * y))
    return ScaleRule(tuple(coefficients.tolist()), _least_light(samples), _rain_coefficients(samples))


def _least_light(samples: Sequence[Sample]) -> float:
    """Grey levels that nine tenths of the dry regions lose less than, in the size in which they lose most."""
    dry = [sample for sample in samples if sample.case.rain is Rain.DRY]
    most = [max(shape.mean for shape in sample.evidence.shapes.values()) for sample in dry]
    return float(np.percentile(most, 90))


def _rain_coefficients(samples: Sequence[Sample]) -> tuple[float, ...]:
    """Logistic regression on single windows, dry ones against those that show faint rain, and a threshold."""
    faint = [sample for sample in samples if sample.case.light is not None and max(sample.light) > 0]
    dry = [window for sample in samples if sample.case.rain is Rain.DRY for window in sample.evidence.windows]
    rainy = [
        window
        for sample in faint
        for window, light in zip(sample.evidence.windows, sample.light, strict=True)
        if light >= _SHOWN * (sample.case.light or 0)
    ]
    x = np.array(rainy + dry)
    y = np.repeat([1.0, 0.0], [len(rainy), len(dry)])
    w = np.where(y == 1, 1 / len(rainy), 1 / len(dry))  # as much for the ones as for the others
    c = np.zeros(x.shape[1])
    for _ in range(_NEWTON_STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ c, -30, 30)))
        slope, curve = x.T @ (w * (p - y)), (x * (w * p * (1 - p))[:, None]).T @ x
        c -= np.linalg.solve(curve + 1e-5 * np.eye(len(c)), slope + 1e-5 * c)
    # A picture is judged by its strongest windows: few of those with faint rain all over may lie below the threshold.
    c[0] -= np.percentile([sample.evidence.rain(c) for sample in faint if not sample.case.ninth], _MISSED)
    return tuple(c.tolist())


def _is_plain_rain(case: Case) -> bool:
    return case.rain is not Rain.DRY and case.light is None


def _row(times: int, judged: Sequence[tuple[Sample, Choice]]) -> Row | None:
    """How a rule does on one size of rain; None where there is none of it."""
    some = [
        (sample, sample.psnr[choice.scale])
        for sample, choice in judged
        if sample.psnr
        and (
            sample.case.light is not None if times == 0 else _is_plain_rain(sample.case) and sample.case.times == times
        )
    ]
    if not some:
        return None
    own = np.array([sample.psnr[1.0] for sample, _ in some])
    best = np.array([max(sample.psnr.values()) for sample, _ in some])
    taken = np.array([psnr for _, psnr in some])
    before = float(np.mean([sample.before for sample, _ in some]))
    right = float(np.mean(best - taken <= _RIGHT))
    worst = float((taken - own).min())
    return Row(times, len(some), before, float(own.mean()), float(best.mean()), float(taken.mean()), worst, right)
