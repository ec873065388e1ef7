"""The page that shows a benchmark of clips: one file that opens offline, as `html_report` makes it for pictures.

For each set, from top to bottom: every clip's scores and their means, what was left out, the distribution of the
frames' scores, what others published, every frame's scores, and of each clip and method the frames around the worst
one: rainy, restored, true, and where these two differ, beneath each other.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from PIL import Image

from dpenet_cli.arrays import Pixels8
from dpenet_cli.evaluation.benchmark import Method, PictureScore, ScoredImages
from dpenet_cli.evaluation.html_report import (
    ERROR_WHITE,
    Making,
    data_uri,
    distribution,
    error_map,
    every_picture,
    left_out,
    reported_scores,
    shown_psnr,
    table,
    whole_page,
)
from dpenet_cli.evaluation.metrics import Score
from dpenet_cli.evaluation.pair_sets import PairSet
from dpenet_cli.evaluation.video_benchmark import VideoResult
from dpenet_cli.evaluation.video_table import HEADS, NOTE, clip_rows

STRIP = 5
"""Frames that a strip shows, the worst one in the middle where the clip allows it."""

_SIDE = 480
"""Longest side of a frame on the page, in pixels; there are fifteen of them to a strip."""


class StripFrame(NamedTuple):
    """One column of a strip, with its pixels shrunk for the page, H×W×3 uint8 each; `rainy` is None for results."""

    score: PictureScore
    rainy: Pixels8 | None
    restored: Pixels8
    truth: Pixels8
    error: Pixels8


class WorstMoment:
    """The frames around the worst one of a clip, kept while it is scored; memory holds no others.

    Attributes:
        frames: at most `STRIP` frames that follow each other.
        worst: the worst frame's score.
    """

    def __init__(self) -> None:
        self.frames: list[StripFrame] = []
        self.worst: Score | None = None
        self._last: deque[StripFrame] = deque(maxlen=STRIP)
        self._wanted = 0  # frames after the worst one that still belong to its strip

    def add(self, images: ScoredImages) -> None:
        """Consider the next frame."""
        score = images.score
        rainy = None if score.before is None else _shrunk(images.rainy)
        shown = images.restored, images.clean, error_map(images.restored, images.clean)
        self._last.append(StripFrame(score, rainy, *map(_shrunk, shown)))
        if self.worst is None or score.after < self.worst:
            self.worst, self._wanted = score.after, STRIP // 2
        elif self._wanted or len(self.frames) < STRIP:  # near the clip's beginning more of them follow than precede
            self._wanted = max(self._wanted - 1, 0)
        else:
            return
        self.frames = list(self._last)


class ShownMoments:
    """The worst moment of each set, method and clip, for the page; a callback of `video_benchmark.score_videos`."""

    def __init__(self) -> None:
        self.by_set_method_and_clip: dict[tuple[str, str, str], WorstMoment] = {}

    def __call__(self, test_set: PairSet, method: Method, images: ScoredImages) -> None:
        """Consider one frame."""
        clip, _, _ = images.score.name.rpartition("/")
        self.by_set_method_and_clip.setdefault((test_set.name, method.name, clip), WorstMoment()).add(images)


def build_video_page(
    results: Sequence[VideoResult], shown: Mapping[tuple[str, str, str], WorstMoment], making: Making
) -> str:
    """The page as HTML.

    Args:
        results: scores of all methods on all sets, as `video_benchmark.score_videos` gives them; at least one.
        shown: moments to show, by the names of set, method and clip; none for those that are missing.
        making: how it came about.
    """
    sets = list(dict.fromkeys(result.test_set.name for result in results))
    sections = [_set_section([r for r in results if r.test_set.name == name], shown) for name in sets]
    return whole_page(results, sections, making)


def _set_section(results: Sequence[VideoResult], shown: Mapping[tuple[str, str, str], WorstMoment]) -> str:
    test_set = results[0].test_set
    parts = [
        f"<section><h2>{escape(test_set.name)}: {escape(test_set.coverage)}</h2>",
        f'<div class="wide">{table(HEADS, [(row.clip, *row.cells) for row in clip_rows(results)])}</div>',
        f"<p>{escape(NOTE)}</p>",
        left_out(test_set),
        f'<figure><div class="plot">{distribution(results)}</div>',
        "<figcaption>One dot a frame; the line is the mean over all frames.</figcaption></figure>",
        reported_scores(test_set.name),
        every_picture(results, "frame"),
    ]
    for clip in results[0].clips:
        keys = [(test_set.name, result.method, clip.name) for result in results]
        parts += [_strip(clip.name, key[1], shown[key]) for key in keys if key in shown]
    return "".join([*parts, "</section>"])


def _strip(clip: str, method: str, moment: WorstMoment) -> str:
    """One clip's worst moment: a column a frame; rainy, restored and true beneath each other."""
    title = f"<h3>{escape(clip)} by {escape(method)}, around its worst frame</h3>"
    columns = "".join(_column(frame, worst=frame.score.after == moment.worst) for frame in moment.frames)
    rows = "rainy, restored, truth" if moment.frames[0].rainy is not None else "restored, truth"
    error = f"error (white from {ERROR_WHITE} grey levels on)"
    caption = f"<figcaption>From top to bottom: {rows}, {error}; at most {_SIDE} pixels wide.</figcaption>"
    return f'{title}<figure><div class="strip">{columns}</div>{caption}</figure>'


def _column(frame: StripFrame, *, worst: bool) -> str:
    name = escape(frame.score.name.rpartition("/")[2], quote=True)
    pictures = {"restored": frame.restored, "truth": frame.truth, "error": frame.error}
    pictures = pictures if frame.rainy is None else {"rainy": frame.rainy} | pictures
    images = "".join(f'<img src="{data_uri(each)}" alt="{name}, {what}">' for what, each in pictures.items())
    text = f"{name}: {shown_psnr(frame.score.after.psnr)} dB"
    return f"<div>{images}<p>{f'<strong>{text}</strong>' if worst else text}</p></div>"


def _shrunk(picture: Pixels8) -> Pixels8:
    image = Image.fromarray(picture)
    image.thumbnail((_SIDE, _SIDE))
    return np.asarray(image, np.uint8)
