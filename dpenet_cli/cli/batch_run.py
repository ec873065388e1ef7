"""What `dpenet derain` and `dpenet video` have in common: from inputs to the exit code."""

from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dpenet_cli.batch.decisions import Decisions
from dpenet_cli.batch.naming import Medium
from dpenet_cli.batch.outcomes import Outcome
from dpenet_cli.batch.plans import Plan, Work
from dpenet_cli.batch.reports import ReportFile
from dpenet_cli.cli.batch_report import BatchReport, tell_rest
from dpenet_cli.cli.console import Exit, print_note
from dpenet_cli.cli.json_lines import made_with
from dpenet_cli.cli.sources import Sources, planned

if TYPE_CHECKING:
    from dpenet_cli.batch.gallery import Gallery

Cleaning = tuple[Generator[Outcome], Callable[[], str]]
"""The outcomes of a run, and what tells what computes them, once that is known."""

Begin = Callable[[Work, BatchReport, Decisions], Cleaning]
"""Begins to clean: nothing is done before the first outcome is asked for."""


@dataclass(frozen=True)
class BatchRun:
    """One command over many files.

    Attributes:
        sources: what the user named.
        medium: pictures or videos.
        weights: their name or path.
        plan: plans inputs that are named.
        begin: begins to clean, here or on a cluster, or tells what would be done.
        asked: what results depend on.
        compare: also write before/after pictures.
        overwrite: everything is written, whatever is there.
        redo_changed: results that were made with other weights or options are made again.
        dry: only what would be done is told.
        report_to: where a row for each input goes, or None.
        as_json: JSON lines on stdout.
        verbosity: -1 errors alone, 0 normal, 1 everything.
        max_failures: failures at which the run ends, or None.
        gallery: shows every input before and after, or None.
    """

    sources: Sources
    medium: Medium
    weights: str
    plan: Callable[[], Plan]
    begin: Begin
    asked: Mapping[str, object]
    compare: bool
    overwrite: bool
    redo_changed: bool
    dry: bool
    report_to: Path | None
    as_json: bool
    verbosity: int
    max_failures: int | None
    gallery: "Gallery | None" = None

    def __call__(self) -> Exit:
        """Do it.

        Raises:
            DpenetError: there is nothing to do, or it cannot be begun.
        """
        with planned(self.sources, self.medium, self.plan, compare=self.compare) as work, ExitStack() as closing:
            total = len(work.jobs) + len(work.bad)
            decisions = Decisions(
                self.asked,
                overwrite=self.overwrite,
                redo_changed=self.redo_changed,
                shard=self.sources.shard,
                count=total,
            )
            closing.callback(decisions.close)
            rows = None
            if self.report_to is not None and not self.dry:
                rows = ReportFile(self.report_to, self.asked, self.weights)
                closing.callback(rows.close)
            if self.gallery is not None:
                self.gallery.expect(total)
                closing.callback(self._show, self.gallery)
            report = closing.enter_context(
                BatchReport(
                    total,
                    as_json=self.as_json,
                    verbosity=self.verbosity,
                    noun=self.medium.noun,
                    rows=rows,
                    max_failures=self.max_failures,
                    gallery=self.gallery,
                    weights=made_with(self.weights, self.asked),
                )
            )
            return self._tell_all(work, report, self.begin(work, report, decisions))

    def _show(self, gallery: "Gallery") -> None:
        """Write the gallery, after whatever ended the run."""
        pages = gallery.close()
        if pages and self.verbosity >= 0:
            more = f" and {len(pages) - 1} pages beside it" if len(pages) > 1 else ""
            print_note(f"before and after: {pages[0]}{more}")

    def _tell_all(self, work: Work, report: BatchReport, cleaning: Cleaning) -> Exit:
        """Clean everything; what an interrupt, a lost disk or too many failures leave undone is told."""
        outcomes, description = cleaning
        try:
            report.begin(work)
            if ended := report.ended:
                return report.finish(ended=ended)
            for outcome in outcomes:
                report.outcome(outcome, plainly=self.dry)
                if ended := report.ended:
                    tell_rest(outcomes, report, KeyboardInterrupt())
                    return report.finish(description=description(), ended=ended)
        except KeyboardInterrupt as interrupt:
            tell_rest(outcomes, report, interrupt)
            return report.finish(description=description(), ended=Exit.INTERRUPTED)
        return report.finish(description=description())
