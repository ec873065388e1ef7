"""How a batch of pictures or videos goes: progress, notices, summary, JSON lines."""

import contextlib
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from dpenet_cli.batch.outcomes import Outcome, Status
from dpenet_cli.batch.plans import Work
from dpenet_cli.batch.reports import ReportFile
from dpenet_cli.batch.source_sizes import with_size
from dpenet_cli.cli.console import Exit, duration, one_line, print_error, print_note
from dpenet_cli.cli.json_lines import MadeWith, Pace, outcome_fields, print_json, progress_fields
from dpenet_cli.errors import DpenetError, StorageError

if TYPE_CHECKING:
    from dpenet_cli.batch.gallery import Gallery


class _Rate(ProgressColumn):
    """Pictures a minute, or seconds a picture when they are slow."""

    def render(self, task: Task) -> Text:
        """The text of the column."""
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{1 / speed:.1f} s each" if speed < 1 else f"{speed:.1f} a second", style="progress.data.speed")


_KEPT = 1000
"""Failures and different notices that are held until the end; more are counted. A run may have any number of inputs."""


@dataclass
class _Notice:
    """A notice, of how many inputs it is true, the first of them, and whether it was not told before the work."""

    first: str
    count: int = 0
    news: bool = False


class BatchReport:
    """Tells how a batch goes, on stderr, and as JSON lines on stdout if asked; a context manager.

    Args:
        total: how many outcomes are to come.
        as_json: write one JSON object a line to stdout: for each input, for videos meanwhile, then the summary.
        verbosity: -1 errors alone, 0 normal, 1 everything.
        noun: what the inputs are, in the plural.
        rows: where a row for each input goes as well.
        max_failures: failures at which the run is to end, or None.
        gallery: shows every input before and after, or None.
        weights: those of the run, for JSON lines.
    """

    def __init__(
        self,
        total: int,
        *,
        as_json: bool = False,
        verbosity: int = 0,
        noun: str = "pictures",
        rows: ReportFile | None = None,
        max_failures: int | None = None,
        gallery: "Gallery | None" = None,
        weights: MadeWith | None = None,
    ) -> None:
        self._gallery = gallery
        self._rows = rows
        self._weights = weights or MadeWith()
        self._pace = Pace()
        self._max_failures = max_failures
        self._roots: set[str] = set()
        self._noun = noun
        self._console = Console(stderr=True)
        self._json = as_json
        self._verbosity = verbosity
        self._total = total
        self._counts: Counter[Status] = Counter()
        self._failures: list[DpenetError] = []
        self._failed = 0
        self._gone = False
        self._notices: dict[str, _Notice] = {}
        self._told: set[str] = set()
        self._details: set[str] = set()
        self._started = time.perf_counter()
        self._bar: Progress | None = None
        # Lines on the same terminal would land behind the bar.
        if self._console.is_terminal and verbosity >= 0 and total and not (as_json and sys.stdout.isatty()):
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[done]}/{task.total:.0f}"),
                *([_Rate(), TimeRemainingColumn()] if noun == "pictures" else []),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("cleaning", total=total, done=0)
        self._handler = _LogHandler(self)

    def __enter__(self) -> Self:
        logger = logging.getLogger("dpenet_cli")
        logger.addHandler(self._handler)
        logger.setLevel(logging.INFO if self._verbosity > 0 else logging.WARNING)
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        logging.getLogger("dpenet_cli").removeHandler(self._handler)

    def begin(self, work: Work) -> None:
        """Tell what the plan says before any work, and the inputs that failed already."""
        for notice in work.notices:
            self.note(notice)
        for bad in work.bad:
            self.outcome(Outcome(bad.source, None, Status.FAILED, bad.error))

    def notices(self, notices: Iterable[str], source: str) -> None:
        """What the user should know about one picture; told once at the end, however many pictures it is true of."""
        for notice in notices:
            if len(self._notices) < _KEPT or notice in self._notices:
                known = self._notices.setdefault(notice, _Notice(source))
                known.count += 1
                known.news = known.news or f"{source}: {notice}" not in self._told

    def note(self, text: str) -> None:
        """Something that the user should know at once."""
        if len(self._told) < _KEPT:
            self._told.add(text)
        if self._verbosity >= 0:
            print_note(text, self._console)

    def advice(self, text: str) -> None:
        """Something that would help this person, if there is anything; a program that reads JSON is not told."""
        if text and not self._json:
            self.note(text)

    def detail(self, text: str) -> None:
        """Something for those who asked for everything; what was said before, for another frame say, is not again."""
        if self._verbosity > 0 and text not in self._details:
            if len(self._details) < _KEPT:
                self._details.add(text)
            self._console.print(Text(one_line(text), style="dim"), soft_wrap=True)

    def share(self, share: float) -> None:
        """The share of the current picture that is done, 0..1."""
        if self._bar:
            self._bar.update(self._task, completed=sum(self._counts.values()) + share)

    def frames(self, source: str, done: int, total: int, speed: float) -> None:
        """How far a video is: frames done, frames in all, frames a second (0 while unknown)."""
        if self._json and (self._pace.is_due() or done == total):
            print_json(progress_fields(source, done, total, speed))
        self.share(done / total)
        if done == total:
            self.stage("cleaning: finishing")
        elif speed:
            left = duration((total - done) / speed)
            self.stage(f"cleaning: frame {done} of {total}, {speed:.1f} fps, {left} left")

    def stage(self, text: str) -> None:
        """What is going on now, where nothing is counted."""
        if self._bar:
            self._bar.update(self._task, description=text)

    def outcome(self, outcome: Outcome, *, plainly: bool = False) -> None:
        """One input is settled; `plainly` prints its line on stdout, whether there is a bar or not."""
        if outcome.status is Status.SKIPPED and (self._json or self._rows is not None):
            outcome = with_size(outcome)
        self._counts[outcome.status] += 1
        if outcome.root is not None and len(self._roots) < _KEPT:
            self._roots.add(outcome.root)
        if outcome.error is not None:
            self._failed += 1
            self._gone = self._gone or isinstance(outcome.error, StorageError)
            if len(self._failures) < _KEPT:
                self._failures.append(outcome.error)
        if self._rows is not None:
            self._rows.add(outcome)
        if self._gallery is not None:
            self._gallery.add(outcome)
        self.notices(outcome.notices, outcome.source)
        if self._json:
            print_json(outcome_fields(outcome, self._weights))
        if self._bar:
            done = sum(self._counts.values())
            failed = self._counts[Status.FAILED]
            description = f"cleaning ({failed} failed)" if failed else "cleaning"
            self._bar.update(self._task, completed=done, done=done, description=description)
        if self._json:
            return
        if plainly and self._verbosity >= 0:
            if self._bar and sys.stdout.isatty():
                self._bar.stop()
                self._bar = None
            typer.echo(self._line(outcome))
        elif not plainly and (self._verbosity > 0 or (self._verbosity == 0 and not self._bar)):
            self._console.print(Text(self._line(outcome)), soft_wrap=True)

    @property
    def ended(self) -> Exit:
        """Why the run has to end now: `Exit.TRY_AGAIN`, `Exit.SOME_FAILED` at too many failures, or `Exit.OK`: not."""
        if self._gone:
            return Exit.TRY_AGAIN
        too_many = self._max_failures is not None and self._failed >= self._max_failures
        return Exit.SOME_FAILED if too_many else Exit.OK

    def finish(self, *, description: str = "", ended: Exit = Exit.OK) -> Exit:
        """Print the summary, with every failure and its reason; tell the exit code.

        Args:
            description: what computed.
            ended: why the work ended before its time, if it did: `Exit.INTERRUPTED`, or what `ended` says.
        """
        seconds = time.perf_counter() - self._started
        left = self._total - sum(self._counts.values())
        if self._json:
            counts = {status.value: self._counts[status] for status in Status}
            interrupted = ended is Exit.INTERRUPTED
            fields = {"left": left, "interrupted": interrupted, "seconds": round(seconds, 3), "engine": description}
            print_json({"event": "summary", "summary": counts | fields})
        if self._verbosity >= 0:
            for notice, known in self._notices.items():
                if known.news:
                    where = one_line(known.first) if known.count == 1 else f"{known.count} {self._noun}"
                    print_note(f"{where}: {notice}", self._console)
        for error in self._failures:
            print_error(error, self._console)
        if (more := self._failed - len(self._failures)) > 0:
            print_note(f"{more} more failures are not listed here; --json and --report name each", self._console)
        if self._verbosity >= 0:
            told = [f"{count} {status}" for status in Status if (count := self._counts[status])] or ["nothing done"]
            where = f" → {one_line(os.path.join(*self._roots, ''))}" if len(self._roots) == 1 else ""  # noqa: PTH118
            line = f"{', '.join(told)}{where} in {duration(seconds)}" + (f" on {description}" if description else "")
            if ended is not Exit.OK:
                why = "interrupted" if ended is Exit.INTERRUPTED else "ended early"
                line = f"{why}: {line}, {left} left; the same command goes on from here"
            self._console.print(Text(line, style="bold"), soft_wrap=True)
        return ended or (Exit.SOME_FAILED if self._failed else Exit.OK)

    def _line(self, outcome: Outcome) -> str:
        number = sum(self._counts.values())
        arrow = f" → {one_line(outcome.target)}" if outcome.target and outcome.status is not Status.FAILED else ""
        time_taken = f" ({outcome.seconds:.1f} s)" if outcome.status in (Status.DONE, Status.DRY) else ""
        return f"[{number}/{self._total}] {outcome.status} {one_line(outcome.source)}{arrow}{time_taken}"


def tell_rest(outcomes: Generator[Outcome], report: BatchReport, interrupt: KeyboardInterrupt) -> None:
    """Tell what was still being written when the end came; it is there, and the summary counts it."""
    with contextlib.suppress(KeyboardInterrupt):  # the same one again at the end, or another from someone impatient
        outcome = outcomes.throw(interrupt)
        while True:
            if not isinstance(outcome.error, StorageError):  # told already
                report.outcome(outcome)
            outcome = next(outcomes)


class _LogHandler(logging.Handler):
    """Hands what the library logs to the report."""

    def __init__(self, report: BatchReport) -> None:
        super().__init__()
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record: warnings as notes, the rest as details."""
        (self._report.note if record.levelno >= logging.WARNING else self._report.detail)(record.getMessage())
