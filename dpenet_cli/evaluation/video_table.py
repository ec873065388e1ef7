"""What was scored on clips, as rows of text: for a terminal and for the page alike."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from dpenet_cli.evaluation.video_benchmark import VideoMean, VideoResult, VideoScores

HEADS = ("clip", "method", "PSNR dB", "SSIM", "gain dB", "flicker", "where still", "frames/min")
"""What the cells of a row are."""

NOTE = (
    "Flicker: mean difference of luma between frames that follow each other, motion taken out; the nearer to the "
    "truth's own, the better. Less flicker than the truth is blur."
)
"""How to read the table."""


class Row(NamedTuple):
    """One line of the table; cells without a number are empty.

    Attributes:
        clip: name of the clip, or which mean it is.
        cells: the others of `HEADS`, as text.
    """

    clip: str
    cells: tuple[str, ...]


def clip_rows(results: Sequence[VideoResult]) -> list[Row]:
    """The truth, the input and every method on each clip; where there are several clips, the two means beneath.

    Args:
        results: scores of all methods on one set; at least one.
    """
    rows = []
    for clips in zip(*(result.clips for result in results), strict=True):
        rates = [clip.frames_per_minute for clip in clips]
        rows += _block(clips[0].name, results, [clip.scores for clip in clips], rates)
    first = results[0]
    if len(first.clips) > 1:
        nothing = [None] * len(results)
        over_clips = f"mean over {len(first.clips)} clips"
        rows += _block(over_clips, results, [result.over_clips for result in results], nothing)
        over_frames = f"mean over {len(first.pictures)} frames"
        rows += _block(over_frames, results, [result.over_frames for result in results], nothing)
    return rows


def _block(
    name: str, results: Sequence[VideoResult], scores: Sequence[VideoScores], rates: Sequence[float | None]
) -> list[Row]:
    truth, before = scores[0].truth, scores[0].before
    rows = [Row(name, ("truth", "", "", "", _level(truth.flicker), _level(truth.flicker_still), ""))]
    if before:
        rows.append(Row(name, ("rainy input", *_cells(before, None), "")))
    for result, each, rate in zip(results, scores, rates, strict=True):
        rows.append(Row(name, (result.method, *_cells(each.after, each.gain), "" if rate is None else f"{rate:.1f}")))
    return rows


def _cells(mean: VideoMean, gain: float | None) -> tuple[str, ...]:
    psnr = f"{mean.psnr:.2f}" if math.isfinite(mean.psnr) else "∞"
    shown_gain = "" if gain is None else f"{gain:+.2f}"
    return psnr, f"{mean.ssim:.4f}", shown_gain, _level(mean.flicker), _level(mean.flicker_still)


def _level(flicker: float) -> str:
    return "" if math.isnan(flicker) else f"{flicker:.2f}"
