"""Which outputs of a job are still to be written, and why others are not."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from dpenet_cli.batch.outcomes import outdated
from dpenet_cli.batch.record import Record, Standing, Written
from dpenet_cli.batch.shards import Shard
from dpenet_cli.network.weights_files import digest_of
from dpenet_cli.options import EngineOptions, PictureOptions, VideoMethod, VideoOptions
from dpenet_cli.system.outputs import Job

MADE_OTHERWISE = "its result was made with other weights or options, and is kept; --redo-changed cleans it again"

CHANGED_SINCE = "its result was changed since dpenet wrote it, and stays as it is; --overwrite replaces it"


def asked_of_pictures(weights: str, engine: EngineOptions, options: PictureOptions) -> dict[str, object]:
    """What cleaned pictures depend on, beside their sources, and the format, which their names say.

    Raises:
        WeightsError: there are no such weights.
    """
    save = options.save
    result = {"quality": save.quality, "strip_metadata": save.strip_metadata, "skip_dry": options.skip_dry}
    return {"weights": digest_of(weights), "strength": engine.strength, "scale": engine.scale or "auto", **result}


def asked_of_videos(weights: str, engine: EngineOptions, options: VideoOptions) -> dict[str, object]:
    """What cleaned videos depend on, beside their sources.

    Raises:
        WeightsError: there are no such weights.
    """
    asked: dict[str, object] = {"method": options.method.value, "strength": engine.strength, "fast": options.fast}
    if options.method is not VideoMethod.TEMPORAL:
        asked |= {"weights": digest_of(weights), "scale": engine.scale or "auto"}
    asked |= {"codec": options.codec, "crf": options.crf, "preset": options.preset, "encoder": options.encoder.value}
    part = {"start": options.start, "end": options.end}
    asked |= {name: None if seconds is None else str(seconds) for name, seconds in part.items()}
    return asked | {"stream": options.video_stream, "hdr": options.hdr, "deinterlace": options.deinterlace}


class Todo(NamedTuple):
    """What is to be done for one job.

    Attributes:
        outputs: files to write; none, if it is done.
        notices: what its owner should know about files that are not written.
    """

    outputs: tuple[Path, ...]
    notices: tuple[str, ...] = ()


class Decisions:
    """Decides by dates, and by the record of the output folder where there is one.

    Args:
        asked: what results depend on, for the record; None for no record.
        overwrite: everything is written, whatever is there.
        redo_changed: results that were made with other weights or options are made again.
        shard: the part that this run does.
    """

    def __init__(
        self,
        asked: Mapping[str, object] | None = None,
        *,
        overwrite: bool = False,
        redo_changed: bool = False,
        shard: Shard | None = None,
    ) -> None:
        self._asked = asked
        self._overwrite = overwrite
        self._redo_changed = redo_changed
        self._shard = shard
        self._records: dict[Path, Record] = {}
        self._lock = threading.Lock()

    def todo(self, job: Job) -> Todo:
        """What is to be done for a job."""
        everything = tuple(path for path in (job.target, job.compare) if path is not None)
        if self._overwrite:
            return Todo(everything)
        missing = tuple(outdated(job))  # older than its source counts as missing
        record = self._record(job)
        standing = record.standing(job.target) if record else Standing.UNKNOWN
        if standing is Standing.CHANGED and (self._redo_changed or job.target in missing):
            return Todo((), (CHANGED_SINCE,))
        if standing is Standing.ASKED_DIFFERENTLY and job.target not in missing:
            return Todo(everything) if self._redo_changed else Todo((), (MADE_OTHERWISE,))
        return Todo(missing)

    def made(self, job: Job, written: Written) -> None:
        """Enter a job's result in the record, if there is one.

        Raises:
            OSError: as the system reports it.
        """
        if record := self._record(job):
            record.add(job.target, written)

    def close(self) -> None:
        """Close the records."""
        for record in self._records.values():
            record.close()
        self._records.clear()

    def _record(self, job: Job) -> Record | None:
        if self._asked is None or job.root is None:
            return None
        with self._lock:
            if job.root not in self._records:
                self._records[job.root] = Record(job.root, self._asked, self._shard)
            return self._records[job.root]
