"""What travels between the machines of a cluster: rows of paths to the workers, rows of outcomes back, never pixels.

Every row is a dict of plain values, so that a worker needs nothing to read it, and a name that is not valid UTF-8
travels too.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from dpenet_cli import errors
from dpenet_cli.batch.outcomes import Outcome, Status
from dpenet_cli.batch.shards import Shard
from dpenet_cli.errors import DpenetError, ImageReadError, VideoReadError
from dpenet_cli.options import EngineOptions, PictureOptions, VideoOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.system.storage import Place, place, whole_name


@dataclass(frozen=True)
class Task:
    """What every worker of a run is told once.

    Attributes:
        weights: their name, or a whole path.
        engine: how the network is run.
        options: how pictures, or videos, are cleaned.
        asked: what results depend on, for the record; None for no record.
        shard: the part that this run does.
        verbose: every decision is told.
    """

    weights: str
    engine: EngineOptions
    options: PictureOptions | VideoOptions
    asked: Mapping[str, object] | None
    shard: Shard | None = None
    verbose: bool = False

    @property
    def for_videos(self) -> bool:
        """Whether videos are cleaned."""
        return isinstance(self.options, VideoOptions)


class Row(NamedTuple):
    """What is to be done.

    Attributes:
        job: input and output.
        outputs: files to write.
    """

    job: Job
    outputs: tuple[Place, ...]


def row_of(job: Job, outputs: tuple[Place, ...]) -> dict[str, Any]:
    """A job as a row, its paths whole: another machine's current folder is another.

    Args:
        job: what is to be done.
        outputs: the files to write.
    """
    return {
        "source": _whole(job.source),
        "target": _whole(job.target),
        "compare": job.compare and _whole(job.compare),
        "root": job.root and _whole(job.root),
        "relative": job.relative,
        "outputs": [_whole(path) for path in outputs],
    }


def job_of(row: Mapping[str, Any]) -> tuple[Job, tuple[Place, ...]]:
    """What `row_of` made a row of."""
    compare, root = (None if row[name] is None else place(row[name]) for name in ("compare", "root"))
    job = Job(place(row["source"]), place(row["target"]), compare, root, row["relative"])
    return job, tuple(map(place, row["outputs"]))


def outcome_row(outcome: Outcome) -> dict[str, Any]:
    """An outcome as a row."""
    row = {field.name: getattr(outcome, field.name) for field in dataclasses.fields(outcome)}
    return row | {"status": outcome.status.value, "error": outcome.error and error_row(outcome.error)}


def outcome_of(row: Mapping[str, Any], job: Job) -> Outcome:
    """What `outcome_row` made a row of, with the paths as the user named them.

    Args:
        row: the row.
        job: the job that it is of, before `row_of` made its paths whole.
    """
    error = row["error"] and error_of_row(row["error"])
    if error is not None:
        for given in (job.source, job.target):
            error.what = error.what.replace(_whole(given), str(given))
    named = {"source": str(job.source), "target": row["target"] and str(job.target)}
    root = None if job.root is None else str(job.root)
    return Outcome(**{**row, **named, "root": root, "status": Status(row["status"]), "error": error})


def broke_down(job: Job, workers: int, task: Task) -> Outcome:
    """The outcome of what ends every worker that takes it.

    Args:
        job: what was to be done.
        workers: how many it ended.
        task: how it was to be done.
    """
    kind = VideoReadError if task.for_videos else ImageReadError
    step = "Clean it alone, without --ray, to see why; memory that runs out is the usual reason."
    error = kind(str(job.source), f"{workers} workers broke down over it", step)
    root = None if job.root is None else str(job.root)
    return Outcome(str(job.source), str(job.target), Status.FAILED, error, root=root)


def error_row(error: DpenetError) -> dict[str, str]:
    """An error as a row."""
    return {"kind": type(error).__name__, "what": error.what, "why": error.why, "next_step": error.next_step}


def error_of_row(row: Mapping[str, str]) -> DpenetError:
    """What `error_row` made a row of."""
    kind: type[DpenetError] = getattr(errors, row["kind"])
    return kind(row["what"], row["why"], row["next_step"])


def _whole(path: Place) -> str:
    return whole_name(str(path))
