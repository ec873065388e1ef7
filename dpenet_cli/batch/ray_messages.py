"""What workers say meanwhile, and how it is told to one person: the same once, and how all videos go in one line."""

import logging
import threading
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


class Messages(logging.Handler):
    """What a worker says, until it is fetched; a `Report` of its videos, too.

    Args:
        verbose: every decision is told.
        stopped: once it is set, the work in hand ends as after Ctrl-C.
    """

    def __init__(self, *, verbose: bool, stopped: threading.Event) -> None:
        super().__init__()
        self._verbose = verbose
        self._stopped = stopped
        self._texts: list[tuple[str, str]] = []
        self.frames_done = (0, 0, 0.0)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what the library logs: warnings as notes, the rest as details."""
        (self.note if record.levelno >= logging.WARNING else self.detail)(record.getMessage())

    def note(self, text: str) -> None:
        """Keep what the user should know."""
        self._texts.append(("note", text))

    def advice(self, text: str) -> None:
        """Leave out what would help the person at this machine: nobody is."""

    def detail(self, text: str) -> None:
        """Keep what those want who asked for everything."""
        if self._verbose:
            self._texts.append(("detail", text))

    def stage(self, text: str) -> None:  # noqa: ARG002 - what is going on now is old when it gets there
        """Stop here, if that was asked for."""
        self.look()

    def frames(self, source: str, done: int, total: int, speed: float) -> None:  # noqa: ARG002 - the others' are told too
        """Note how far the current video is."""
        self.frames_done = done, total, speed
        self.look()

    def look(self, _share: float = 0.0) -> None:
        """Stop here, if that was asked for.

        Raises:
            KeyboardInterrupt: it was.
        """
        if self._stopped.is_set():
            raise KeyboardInterrupt

    def fetch(self) -> list[tuple[str, str]]:
        """What was said since the last time: kind and text of each."""
        texts, self._texts = self._texts, []
        return texts
