"""What many workers say meanwhile, told to one person: the same once, and how all of their videos go in one line."""

from collections.abc import Iterable, Sequence

from dpenet_cli.batch.outcomes import Report

_KEPT = 1000
"""Different messages that are remembered."""


class Voices:
    """What the workers of a run say.

    Args:
        report: who is told.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._told: set[str] = set()
        self._engine = ""

    def tell(self, messages: Iterable[tuple[str, str]]) -> None:
        """Tell what a worker said: kind (``note`` or ``detail``) and text of each."""
        for kind, text in messages:
            if kind == "note":
                self.note(text)
            else:
                self._report.detail(text)

    def note(self, text: str) -> None:
        """Tell what the user should know, once."""
        if text not in self._told and len(self._told) < _KEPT:
            self._told.add(text)
            self._report.note(text)

    def engine(self, description: str) -> None:
        """Tell, once, that machines compute differently: their results differ where they round."""
        if self._engine and description != self._engine:
            self.note(
                f"machines of several kinds ({self._engine}; {description}): the same picture may come out a grey "
                "level apart; --precision fp32 --backend torch makes them agree to one"
            )
        self._engine = self._engine or description

    def frames(self, videos: Sequence[tuple[int, int, float]]) -> None:
        """Tell how the videos in work go: of each, frames done, frames in all, frames a second."""
        done, total = (sum(video[place] for video in videos) for place in (0, 1))
        if total:
            speed = sum(video[2] for video in videos)
            self._report.stage(f"cleaning: {done} of {total} frames, {len(videos)} at a time, {speed:.1f} fps")
