"""Which outputs of a job are still to be written, and why others are not."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from dpenet_cli import __version__
from dpenet_cli.batch.naming import compare_folder
from dpenet_cli.batch.outcomes import outdated, write_error
from dpenet_cli.batch.record import Known, Record, Standing, Written
from dpenet_cli.batch.shards import Shard
from dpenet_cli.network.weights_files import digest_of
from dpenet_cli.options import EngineOptions, PictureOptions, VideoMethod, VideoOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.system.storage import Place
from dpenet_cli.system.stores import Listing, StoreError, store_error
from dpenet_cli.system.urls import StorePath

MADE_OTHERWISE = "its result was made with other weights or options, and is kept; --redo-changed cleans it again"

NOT_OURS = "its result would replace a file that dpenet did not make; --overwrite replaces it"

CHANGED_SINCE = "its result was changed since dpenet wrote it, and stays as it is; --overwrite replaces it"


def asked_of_pictures(weights: str, engine: EngineOptions, options: PictureOptions) -> dict[str, object]:
    """What cleaned pictures depend on, beside their sources, and the format, which their names say.

    Raises:
        WeightsError: there are no such weights.
    """
    save = options.save
    result = {"quality": save.quality, "strip_metadata": save.strip_metadata, "skip_dry": options.skip_dry}
    if save.tag is not None:  # whatever it says: it names these weights, and a later dpenet makes nothing else
        result["tag"] = True
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


def tag_of(weights: str) -> str:
    """What a result is tagged with: dpenet, its version, the weights' name, and how their SHA-256 begins.

    Raises:
        WeightsError: there are no such weights.
    """
    return f"dpenet {__version__} ({Path(weights).stem} {digest_of(weights)[:8]})"


class Todo(NamedTuple):
    """What is to be done for one job.

    Attributes:
        outputs: files to write; none, if it is done.
        notices: what its owner should know about files that are not written.
    """

    outputs: tuple[Place, ...]
    notices: tuple[str, ...] = ()


_FEW = 16
"""Jobs whose outputs are asked for one by one in a store, where there may be millions of others beside them."""


class _Folder(NamedTuple):
    """An output folder: its record, if it has one, and what is in it and in that of its before/after pictures.

    The latter two are known of stores alone.
    """

    record: Record | None
    listing: Listing | None
    compared: Listing | None


_NOWHERE = _Folder(None, None, None)


class Decisions:
    """Decides by dates, and by the record of the output folder where there is one.

    Args:
        asked: what results depend on, for the record; None for no record.
        overwrite: everything is written, whatever is there.
        redo_changed: results that were made with other weights or options are made again.
        shard: the part that this run does.
        count: how many jobs there are.
    """

    def __init__(
        self,
        asked: Mapping[str, object] | None = None,
        *,
        overwrite: bool = False,
        redo_changed: bool = False,
        shard: Shard | None = None,
        count: int = 0,
    ) -> None:
        self._count = count
        self._asked = asked
        self._overwrite = overwrite
        self._redo_changed = redo_changed
        self._shard = shard
        self._folders: dict[Place, _Folder] = {}
        self._lock = threading.Lock()

    def todo(self, job: Job) -> Todo:
        """What is to be done for a job.

        Raises:
            InputError, StorageError: the store of the output folder does not list it.
        """
        everything = tuple(path for path in (job.target, job.compare) if path is not None)
        if self._overwrite:
            return Todo(everything)
        folder = self._folder(job)
        if folder.listing is not None:
            job = _seen(job, folder.listing, folder.compared or folder.listing)
        standing, made_from = folder.record.known(job.target) if folder.record else Known(Standing.UNKNOWN)
        missing = tuple(outdated(job, made_from))  # older than its source counts as missing
        if standing is Standing.FOREIGN and job.target in missing:
            return Todo((), (NOT_OURS,))
        if standing is Standing.CHANGED and (self._redo_changed or job.target in missing):
            return Todo((), (CHANGED_SINCE,))
        if standing is Standing.ASKED_DIFFERENTLY and job.target not in missing:
            return Todo(everything) if self._redo_changed else Todo((), (MADE_OTHERWISE,))
        return Todo(missing)

    def made(self, job: Job, written: Written) -> None:
        """Enter a job's result in the record, if there is one.

        Raises:
            OSError: as the system or the store reports it.
            InputError, StorageError: the store of the output folder does not list it.
        """
        if record := self._folder(job).record:
            record.add(job.target, written)

    def close(self) -> None:
        """Close the records.

        Raises:
            DpenetError: one of them cannot be stored.
        """
        folders = list(self._folders.items())
        self._folders.clear()
        for root, folder in folders:
            try:
                if folder.record is not None:
                    folder.record.close()
            except OSError as error:
                raise write_error(root, error) from error

    def _folder(self, job: Job) -> _Folder:
        """What is known of the output folder of a job; it is looked at when the first job asks."""
        root = job.root
        if root is None or (self._asked is None and isinstance(root, Path)):
            return _NOWHERE
        with self._lock:
            if root not in self._folders:
                self._folders[root] = self._looked_at(root, job.compare)
            return self._folders[root]

    def _looked_at(self, root: Place, compare: Place | None) -> _Folder:
        try:
            is_few = self._overwrite or self._count <= _FEW
            listing = Listing(root, is_few=is_few) if isinstance(root, StorePath) else None
            beside = None if compare is None or compare.is_relative_to(root) else compare_folder(root)
            compared = Listing(beside, is_few=is_few) if isinstance(beside, StorePath) else None
            record = None if self._asked is None else Record(root, self._asked, self._shard, listing)
            return _Folder(record, listing, compared)
        except StoreError as error:
            raise store_error(root, error) from error


def _seen(job: Job, listing: Listing, compared: Listing) -> Job:
    """The same job, whose outputs know what the listings say of them."""
    target = listing.seen(job.target) if isinstance(job.target, StorePath) else job.target
    compare = compared.seen(job.compare) if isinstance(job.compare, StorePath) else job.compare
    return job._replace(target=target, compare=compare)
