"""`clean_file` and `clean_video`: a file into a clean file, with all that the commands promise; errors are raised."""

import functools
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path

from dpenet_cli.batch.decisions import Decisions, asked_of_pictures, asked_of_videos
from dpenet_cli.batch.naming import VIDEOS, Medium, pictures
from dpenet_cli.batch.outcomes import Outcome
from dpenet_cli.batch.pictures import Clean, clean_pictures
from dpenet_cli.batch.planning import plan_pictures, plan_videos
from dpenet_cli.batch.plans import Plan
from dpenet_cli.batch.videos import VideoBatch
from dpenet_cli.errors import InputError
from dpenet_cli.library.derain import PictureDerainer, load
from dpenet_cli.options import DEFAULT_WEIGHTS, EngineOptions, PictureOptions, VideoOptions
from dpenet_cli.system.outputs import Job, file_key

log = logging.getLogger(__name__)


def clean_file(
    path: str | Path,
    out: str | Path,
    *,
    derain: PictureDerainer | None = None,
    options: PictureOptions | None = None,
) -> Outcome:
    """Clean one picture file, as `dpenet derain` does.

    The result appears whole or not at all, and keeps the input's format, unless the name of `out` says another, its bit
    depth and its metadata. The input is never replaced. A result that is there and newer than its input is left as it
    is, unless `options` says ``overwrite``.

    Args:
        path: the picture, or its URL (``s3://bucket/a.jpg``).
        out: the file to write, or the folder; folders that are missing are made.
        derain: from `load`. None: the weights that ship with dpenet on the best device here, loaded once.
        options: how it is cleaned and written; the defaults if None.

    Returns:
        What became of it: ``status`` (done, dry, skipped), ``target``, ``size`` in pixels, ``notices`` for its owner.

    Raises:
        InputError: there is no such file, or `out` would replace the input, or cannot be written to.
        ImageError: the picture cannot be read (`ImageReadError`) or written (`ImageWriteError`), or would lose
            something (`ImageRefused`).
        StorageError: the disk is full, or gone.
        DpenetError: the network cannot be loaded, or fails.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from PIL import Image
        >>> from dpenet_cli import clean_file, load
        >>> folder = tempfile.mkdtemp()
        >>> Image.fromarray(np.full((24, 32), 128, np.uint8)).save(f"{folder}/grey.png")
        >>> outcome = clean_file(f"{folder}/grey.png", f"{folder}/clean.png", derain=load("light", device="cpu"))
        >>> str(outcome.status), outcome.size
        ('done', (32, 24))
    """
    options = options or PictureOptions()
    derain_options = derain.options if derain else EngineOptions()
    asked = asked_of_pictures(str(derain.weights if derain else DEFAULT_WEIGHTS), derain_options, options)
    job = _planned(path, pictures(options.image_format), lambda text: plan_pictures([text], os.fspath(out)))

    def engine() -> tuple[Clean, PictureOptions]:
        return (derain or _default()).clean, options

    return _only(asked, options.overwrite, lambda decisions: clean_pictures([job], engine, options, decisions))


def clean_video(
    path: str | Path,
    out: str | Path,
    *,
    derain: PictureDerainer | None = None,
    options: VideoOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Clean one video file, as `dpenet video` does.

    The result appears whole or not at all, with the input's sound, subtitles, chapters, metadata and the time of every
    frame. Work that was interrupted goes on where it was, with the same call. The input is never replaced. A result
    that is there and newer than its input is left as it is, unless `options` says ``overwrite``.

    Args:
        path: the video.
        out: the file to write, such as ``clean.mp4``, or the folder.
        derain: from `load`. None: the weights that ship with dpenet on the best device here, loaded once.
        options: how it is cleaned and written; the defaults if None.
        progress: told, now and then, how many frames are done, and of how many.

    Returns:
        What became of it: ``status`` (done, skipped), ``target``, ``size`` in pixels, ``notices`` for its owner,
        ``shares``.

    Raises:
        InputError: there is no such file, or `out` would replace the input, or cannot be written to.
        VideoError: the video cannot be read (`VideoReadError`) or written (`VideoWriteError`), or would lose something
            (`VideoRefused`). Of a damaged one, what could be read is written before that is raised, and is complete
            with ``allow_damaged``.
        StorageError: the disk is full, or gone.
        DpenetError: the network cannot be loaded, or fails.
    """
    options = options or VideoOptions()
    weights, engine = (str(derain.weights), derain.options) if derain else (DEFAULT_WEIGHTS, EngineOptions())
    preview, overwrite = options.preview is not None, options.overwrite
    job = _planned(path, VIDEOS, lambda text: plan_videos([text], os.fspath(out), preview=preview, overwrite=overwrite))
    report = _Report(progress)

    def outcomes(decisions: Decisions) -> Iterable[Outcome]:
        batch = VideoBatch(options, engine, weights, report, decisions, network=lambda: derain or _default())
        return batch.run([job], dry=False)

    return _only(asked_of_videos(weights, engine, options), overwrite, outcomes)


@functools.cache
def _default() -> PictureDerainer:
    """What cleans where nothing is said, loaded when it is first wanted."""
    return load()


def _planned(path: str | Path, medium: Medium, plan: Callable[[str], Plan]) -> Job:
    """The one job that a path stands for.

    Raises:
        DpenetError: there is none, or it cannot be done.
    """
    text = os.fspath(path)
    planned = plan(text)
    if planned.bad:
        raise planned.bad[0].error
    if [file_key(job.source) for job in planned.jobs] != [file_key(medium.place(text))]:
        raise InputError(text, "this is not the name of a file", f"Name one: {medium.formats}.")
    return planned.jobs[0]


def _only(asked: Mapping[str, object], overwrite: bool, clean: Callable[[Decisions], Iterable[Outcome]]) -> Outcome:
    """The outcome of the one job.

    Raises:
        DpenetError: it failed.
    """
    with closing(Decisions(asked, overwrite=overwrite, count=1)) as decisions:
        (outcome,) = clean(decisions)
    if outcome.error is not None:
        raise outcome.error
    return outcome


class _Report:
    """What a video says meanwhile, for those who listen to the log."""

    def __init__(self, progress: Callable[[int, int], None] | None) -> None:
        self._progress = progress

    def note(self, text: str) -> None:
        log.info("%s", text)

    def advice(self, text: str) -> None:
        if text:
            log.info("%s", text)

    def detail(self, text: str) -> None:
        log.debug("%s", text)

    def stage(self, text: str) -> None:
        log.debug("%s", text)

    def frames(self, source: str, done: int, total: int, speed: float) -> None:  # noqa: ARG002 - a `Report` is told
        if self._progress is not None:
            self._progress(done, total)
