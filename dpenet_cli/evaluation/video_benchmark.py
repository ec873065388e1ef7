"""Scores of methods on clips: PSNR and SSIM of every frame, and the flicker between frames.

A clip is cleaned as a user's video would be: its frames in order, all together, 25 a second. Each clean frame is scored
on its 8-bit pixels before they are encoded. A clip's PSNR and SSIM are the means over its frames, its flicker is that
over all its pairs of consecutive frames (`dpenet_cli.evaluation.flicker`).

A set has two means, and both are given: over its clips, each counting the same, and over all its frames, where a long
clip counts for more. Papers seldom say which of them they print.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from dpenet_cli.arrays import Pixels8, to_8_bits
from dpenet_cli.evaluation.benchmark import (
    BenchmarkResult,
    Method,
    OnScored,
    OnStart,
    PictureScore,
    ScoredImages,
    finite,
)
from dpenet_cli.evaluation.flicker import Flicker, FlickerMeter, pooled
from dpenet_cli.evaluation.metrics import MeanScore, mean_score, score
from dpenet_cli.evaluation.video_sets import Clip, VideoSet
from dpenet_cli.options import Protocol
from dpenet_cli.video.frames import CleanFrames, Frame

FRAME_RATE = 25
"""Frames a second that clips are given, which are stored without their times."""


class VideoMean(NamedTuple):
    """The scores of a video: of one clip, or of several.

    Attributes:
        psnr: mean PSNR in dB, infinite if any frame's is.
        ssim: mean SSIM, at most 1.
        flicker: in levels of luma, NaN for single frames.
        flicker_still: the same where the scene stands still, NaN where it nowhere does.
    """

    psnr: float
    ssim: float
    flicker: float
    flicker_still: float


class VideoScores(NamedTuple):
    """The scores of one clip, or their means over several.

    Attributes:
        truth: the true frames' own: of interest for their flicker.
        before: the rainy frames'; None for results.
        after: the restored frames'.
    """

    truth: VideoMean
    before: VideoMean | None
    after: VideoMean

    @property
    def gain(self) -> float | None:
        """PSNR of the restored frames above that of the rainy ones, in dB; None where there is no such number."""
        gain = self.after.psnr - self.before.psnr if self.before else math.nan
        return gain if math.isfinite(gain) else None

    def to_json(self) -> dict[str, Any]:
        """The scores as strict JSON: an infinite PSNR is null, and so is a flicker that does not exist."""
        truth = finite({"flicker": self.truth.flicker, "flicker_still": self.truth.flicker_still})
        before = self.before and finite(self.before._asdict())
        return {"input": before, "restored": finite(self.after._asdict()), "truth": truth}


@dataclass(frozen=True)
class ClipScore:
    """The scores of one method on one clip.

    Attributes:
        name: name of the clip.
        pictures: scores of its frames, in order.
        flicker_truth: flicker of its true frames.
        flicker_input: flicker of its rainy frames, None for results.
        flicker_restored: flicker of its restored frames.
        shares: what each part of the method did, as the method tells it; None where it does not.
    """

    name: str
    pictures: tuple[PictureScore, ...]
    flicker_truth: Flicker
    flicker_input: Flicker | None
    flicker_restored: Flicker
    shares: dict[str, Any] | None = None

    @property
    def scores(self) -> VideoScores:
        """The scores of the clip as a whole."""
        return _scores(self.pictures, self.flicker_truth, self.flicker_input, self.flicker_restored)

    @property
    def seconds(self) -> float:
        """Time that cleaning took, without reading; 0 for results."""
        return math.fsum(each.seconds for each in self.pictures)

    @property
    def frames_per_minute(self) -> float | None:
        """Frames cleaned in a minute; None for results."""
        return 60 * len(self.pictures) / self.seconds if self.seconds > 0 else None

    def to_json(self) -> dict[str, Any]:
        """The clip's scores as strict JSON."""
        rate = self.frames_per_minute
        return {
            "name": self.name,
            "frames": len(self.pictures),
            **self.scores.to_json(),
            "shares": self.shares,
            "seconds": round(self.seconds, 4),
            "frames_per_minute": rate and round(rate, 2),
        }


@dataclass(frozen=True)
class VideoResult(BenchmarkResult):
    """The scores of one method on one set of clips; its pictures are the frames of all of them, clip after clip.

    Attributes:
        clips: scores of every clip, in the set's order.
    """

    clips: tuple[ClipScore, ...] = ()

    @property
    def over_clips(self) -> VideoScores:
        """Means of the clips' scores, each clip counting the same."""
        scores = [clip.scores for clip in self.clips]
        before = [each.before for each in scores if each.before]
        return VideoScores(
            _mean_of([each.truth for each in scores]),
            _mean_of(before) if before else None,
            _mean_of([each.after for each in scores]),
        )

    @property
    def over_frames(self) -> VideoScores:
        """Scores of all clips as if they were one: each frame, and each pair of consecutive frames, counts the same."""
        flicker_input = [clip.flicker_input for clip in self.clips if clip.flicker_input]
        return _scores(
            self.pictures,
            pooled(clip.flicker_truth for clip in self.clips),
            pooled(flicker_input) if flicker_input else None,
            pooled(clip.flicker_restored for clip in self.clips),
        )

    def to_json(self) -> dict[str, Any]:
        """The result as strict JSON, with the means over clips and over frames, and every clip's scores."""
        means = {"over_clips": self.over_clips.to_json(), "over_frames": self.over_frames.to_json()}
        return super().to_json() | means | {"clips": [clip.to_json() for clip in self.clips]}


def score_videos(
    sets: Sequence[VideoSet],
    methods: Sequence[Method],
    protocol: Protocol,
    *,
    on_start: OnStart | None = None,
    on_scored: Sequence[OnScored] = (),
) -> list[VideoResult]:
    """Score every method on every set of clips; memory holds as many frames as a method wants, whatever the length.

    Args:
        sets: sets to score on, in the order of the results.
        methods: methods to score, in the order of each set's results.
        protocol: what to compare; flicker is the same under all.
        on_start: told of each set and method before their first frame.
        on_scored: callbacks that see every frame, in this order.

    Raises:
        DatasetError: a frame cannot be read.
        DpenetError: a clip cannot be cleaned.
    """
    results = []
    for video_set in sets:
        for method in methods:
            if on_start:
                on_start(video_set, method)
            clips = []
            for clip in video_set.clips:
                told = [_bound(callback, video_set, method) for callback in on_scored]
                clips.append(score_clip(clip, method.restoration, protocol, told))
            pictures = tuple(picture for clip in clips for picture in clip.pictures)
            results.append(VideoResult(video_set, method.name, protocol, pictures, method.cost, tuple(clips)))
    return results


def score_clip(
    clip: Clip,
    restoration: Callable[[], CleanFrames] | None,
    protocol: Protocol,
    on_scored: Sequence[Callable[[ScoredImages], None]] = (),
) -> ClipScore:
    """Clean a clip and score it frame by frame.

    Args:
        clip: clip to score on.
        restoration: gives what cleans it, see `benchmark.Method`; None if its rainy frames are results already.
        protocol: what to compare.
        on_scored: callbacks that see every frame, in this order.

    Raises:
        DatasetError: a frame cannot be read.
        DpenetError: the clip cannot be cleaned.
    """
    clean = restoration() if restoration else None
    source, meter, pictures = _ClipSource(clip), FlickerMeter(), []
    for restored, seconds in _timed(source, clean):
        name, rainy, truth = source.waiting.popleft()
        before = None if clean is None else score(rainy, truth, protocol)
        height, width = truth.shape[:2]
        picture = PictureScore(name, width, height, before, score(restored, truth, protocol), seconds)
        meter.add(truth, restored, *([] if clean is None else [rainy]))
        pictures.append(picture)
        for callback in on_scored:
            callback(ScoredImages(picture, rainy, restored, truth))
    assert len(pictures) == len(clip.frames), "as many frames out as in"
    flicker_truth, flicker_restored, *flicker_input = meter.flickers()
    shares = getattr(clean, "shares", None)
    return ClipScore(
        clip.name,
        tuple(pictures),
        flicker_truth,
        flicker_input[0] if flicker_input else None,
        flicker_restored,
        None if shares is None else shares.to_json(),
    )


class _ClipSource:
    """A clip's rainy frames for a method to take; each waits here, with the true one, until it comes back clean.

    Attributes:
        waiting: name, rainy and true pixels of the frames that were taken and are not yet scored, in order.
        seconds: time that reading took up to now.
    """

    def __init__(self, clip: Clip) -> None:
        self._clip = clip
        self.waiting: deque[tuple[str, Pixels8, Pixels8]] = deque()
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Frame]:
        for number, pair in enumerate(self._clip.frames):
            started = time.perf_counter()
            rainy, truth = pair.load()
            self.seconds += time.perf_counter() - started
            self.waiting.append((pair.name, rainy, truth))
            yield Frame(rainy, Fraction(number, FRAME_RATE), number=number)


def _timed(source: _ClipSource, clean: CleanFrames | None) -> Iterator[tuple[Pixels8, float]]:
    """The restored frames, 8 bits each, with the seconds that were waited for them, less those that reading took."""
    frames = iter(source) if clean is None else clean(source)
    while True:
        started, read = time.perf_counter(), source.seconds
        frame = next(frames, None)
        seconds = time.perf_counter() - started - (source.seconds - read)
        if frame is None:
            return
        yield to_8_bits(frame.image), 0.0 if clean is None else seconds


def _bound(callback: OnScored, video_set: VideoSet, method: Method) -> Callable[[ScoredImages], None]:
    return lambda images: callback(video_set, method, images)


def _scores(pictures: Sequence[PictureScore], truth: Flicker, rainy: Flicker | None, restored: Flicker) -> VideoScores:
    """The scores of frames together with the flicker between them."""
    before = [picture.before for picture in pictures if picture.before]
    return VideoScores(
        VideoMean(math.inf, 1.0, truth.mean, truth.still),
        _mean(mean_score(before), rainy) if before and rainy else None,
        _mean(mean_score([picture.after for picture in pictures]), restored),
    )


def _mean(scores: MeanScore, flicker: Flicker) -> VideoMean:
    return VideoMean(scores.psnr, scores.ssim, flicker.mean, flicker.still)


def _mean_of(means: Sequence[VideoMean]) -> VideoMean:
    """Means of means. A flicker that is not a number, that of a single frame, is left out of its own."""
    columns = [[value for value in column if not math.isnan(value)] for column in zip(*means, strict=True)]
    return VideoMean(*(math.fsum(column) / len(column) if column else math.nan for column in columns))
