"""Many pictures through one engine: read, clean and write overlap, and one bad picture never stops the rest."""

import dataclasses
import functools
import itertools
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import NamedTuple, Protocol

from dpenet_cli.arrays import Pixels
from dpenet_cli.batch.decisions import Decisions, Todo
from dpenet_cli.batch.outcomes import Outcome, Status, error_of, input_gone, unexpected, write_error
from dpenet_cli.batch.planning import BadInput
from dpenet_cli.batch.record import of_data
from dpenet_cli.batch.refusals import refusal, result_format
from dpenet_cli.errors import DpenetError, ImageReadError, ImageWriteError
from dpenet_cli.images.compare import side_by_side
from dpenet_cli.images.picture import Picture, with_pixels
from dpenet_cli.images.reading import read
from dpenet_cli.images.writing import encode
from dpenet_cli.inference.scale_rule import Choice, Cleaned
from dpenet_cli.options import PictureOptions, SaveOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.system.storage import (
    Place,
    date,
    date_no_earlier,
    date_to_be,
    identity,
    make_folder,
    read_bytes,
    remove_leftovers,
    state,
    write_whole,
)
from dpenet_cli.system.urls import State


class _Rainy(NamedTuple):
    """A picture that was read.

    Attributes:
        picture: it.
        seen: what told its file from others before it was read.
        refused: why its result could not be written, as far as that can be told before it is cleaned.
    """

    picture: Picture
    seen: State
    refused: DpenetError | None

    def check(self) -> None:
        """Raise what refuses it."""
        if self.refused is not None:
            raise self.refused


class _Begun(NamedTuple):
    """A job that was looked at, and its picture on its way from the disk."""

    job: Job
    todo: Todo
    reading: Future[_Rainy]


class _Result(NamedTuple):
    """A clean picture on its way to the disk.

    Attributes:
        picture: the clean one.
        outputs: files to write.
        seen: what told the rainy one's file from others.
        choice: how it was looked at.
        seconds: that took so long in the network.
    """

    picture: Picture
    outputs: tuple[Place, ...]
    seen: State
    choice: Choice
    seconds: float


NO_RAIN = "no rain found; --skip-dry leaves such pictures as they are"

RAIN_AT_THE_LIMIT = "its rain may be wider than any size that was looked at; try --scale 0.06"

_AHEAD_BYTES = 2**29
"""Pixels that may wait on either side of the network, in bytes: enough for 30 photographs of 6 megapixels."""

_CLEARLY_OLDER = 10**9
"""Nanoseconds: one second, which every file system can tell."""


class Clean(Protocol):
    """What cleans a picture, H×W×3 uint8 or uint16; `ScaledDerainer.clean` does."""

    def __call__(self, rainy: Pixels, *, skip_dry: bool) -> Cleaned:
        """Clean one picture; a dry one may come back as it is."""


class Engine(Protocol):
    """What is asked of the engine beside that: `ScaledDerainer` has it."""

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU does the work."""

    @property
    def at_once(self) -> int:
        """Pictures that it can clean at the same time."""


_Written = Future[Outcome] | Outcome
"""What became of a cleaned picture, or will; or why it was not cleaned."""


def clean_pictures(
    jobs: Iterable[Job | BadInput],
    load: Callable[[], tuple[Clean, PictureOptions]],
    decisions: Decisions,
) -> Generator[Outcome]:
    """Clean pictures and yield one outcome each, in order; the network is loaded when the first needs it.

    Args:
        jobs: what to do, and what cannot be done; gone through once, a few ahead of the network.
        load: loads the network; gives what cleans a picture, and the options that suit it.
        decisions: which outputs are to be written.

    Raises:
        KeyboardInterrupt: there was one, in here or thrown in, after the outcomes of what was written meanwhile.
    """
    pending = iter(jobs)
    for planned in pending:
        todo = _todo(planned, decisions)
        if todo.outputs:
            clean, options = load()
            yield from run(itertools.chain([planned], pending), clean, options, decisions)
        else:
            yield not_begun(planned, todo)


def run(
    jobs: Iterable[Job | BadInput], clean: Clean, options: PictureOptions, decisions: Decisions | None = None
) -> Generator[Outcome]:
    """Clean pictures and yield one outcome each, in order.

    The next pictures are decoded and the last ones encoded on threads while the network works on this one; at most
    `workers` are waiting on either side, fewer if they are large. If the caller stops, what is being written is
    finished, the rest is not begun.

    Args:
        jobs: what to do, and what cannot be done.
        clean: called on the caller's thread, or, where several pictures are cleaned at once, on as many threads.
        options: how.
        decisions: which outputs are to be written; None for those that are missing or older than their sources.

    Raises:
        KeyboardInterrupt: there was one, in here or thrown in, after the outcomes of what was written meanwhile.
    """
    decisions = decisions or Decisions(overwrite=options.overwrite)
    reading: deque[_Begun | Outcome] = deque()
    going: deque[Future[_Written] | _Written] = deque()
    pending = iter(jobs)
    sizes = _Sizes()
    readers = ThreadPoolExecutor(options.workers, "read")
    cleaners = ThreadPoolExecutor(options.at_once, "clean") if options.at_once > 1 else None
    writers = ThreadPoolExecutor(options.workers, "write")
    behind_the_readers = [writers] if cleaners is None else [cleaners, writers]
    tidy = functools.lru_cache(4096)(remove_leftovers)  # once a folder
    try:
        while True:
            # Large pictures are the fewer at a time; until the first one's size is known, one is read ahead, no more.
            ahead = min(options.workers, max(_AHEAD_BYTES // sizes.largest, 1)) if sizes.largest else 1
            while len(reading) <= ahead and (planned := next(pending, None)) is not None:
                todo = _todo(planned, decisions)
                if isinstance(planned, BadInput) or not todo.outputs:
                    reading.append(not_begun(planned, todo))
                    continue
                tidy(planned.target.parent)
                rainy = readers.submit(_read, planned, options)
                rainy.add_done_callback(sizes.see)
                reading.append(_Begun(planned, todo, rainy))
            if not reading:
                break
            begun = reading.popleft()
            task = (begun, clean, writers, options, decisions)
            going.append(_advance(*task) if cleaners is None else cleaners.submit(_advance, *task))
            del begun, task  # its pixels are not needed any more
            # Outcomes come in the order of the jobs, and those that wait hold pixels: the oldest is awaited in time.
            while len(going) >= ahead + options.at_once:
                yield from _settled(going)
        while going:
            yield from _settled(going)
    except KeyboardInterrupt:
        # What is being written is finished and told, the rest is dropped; cleaners end first: they feed the writers.
        for pool in behind_the_readers:
            pool.shutdown(cancel_futures=True)
        while going:
            yield from _settled(going)
        raise
    finally:
        for pool in (readers, *behind_the_readers):
            pool.shutdown(cancel_futures=True)


def _todo(planned: Job | BadInput, decisions: Decisions) -> Todo:
    return decisions.todo(planned) if isinstance(planned, Job) else Todo(())


def not_begun(planned: Job | BadInput, todo: Todo) -> Outcome:
    """The outcome of what cannot be done, or need not be."""
    if isinstance(planned, BadInput):
        return Outcome(planned.source, None, Status.FAILED, planned.error)
    return _outcome(planned, Status.SKIPPED, None, todo.notices)


def suited_to(engine: Engine, options: PictureOptions) -> PictureOptions:
    """The same options with as many readers, writers and pictures at once as an engine can use.

    On a CPU the network needs the cores itself: one picture is read and one written beside it.
    """
    workers = min(os.cpu_count() or 1, 8 * engine.at_once) if engine.on_gpu else 1
    return dataclasses.replace(options, workers=workers, at_once=engine.at_once)


class _Sizes:
    """The pictures that were read so far, in bytes of their pixels."""

    def __init__(self) -> None:
        self.largest = 0

    def see(self, rainy: Future[_Rainy]) -> None:
        """Note one that was read, if it could be."""
        if not rainy.cancelled() and rainy.exception() is None:
            self.largest = max(self.largest, rainy.result().picture.pixels.nbytes)


def _advance(
    begun: _Begun | Outcome,
    clean: Clean,
    writers: ThreadPoolExecutor,
    options: PictureOptions,
    decisions: Decisions,
) -> _Written:
    """Clean one picture and hand it to the writers."""
    if isinstance(begun, Outcome):
        return begun
    job, size = begun.job, None
    try:
        rainy = begun.reading.result()
        picture, size = rainy.picture, _size(rainy.picture)
        rainy.check()
        started = time.perf_counter()
        cleaned = clean(picture.pixels, skip_dry=options.skip_dry)
    except ImageReadError as error:
        return _outcome(job, Status.FAILED, input_gone(job) or error)
    except DpenetError as error:
        return _outcome(job, Status.FAILED, error, size=size)
    except MemoryError:
        advice = "Close other programs, or make the picture smaller."
        return _outcome(job, Status.FAILED, ImageReadError(str(job.source), "memory ran out", advice), size=size)
    except Exception as error:  # noqa: BLE001 - whatever one picture does, the others go on
        return _outcome(job, Status.FAILED, unexpected(str(job.source), error), size=size)
    seconds = time.perf_counter() - started
    before = picture if job.compare in begun.todo.outputs else None
    result = _Result(with_pixels(picture, cleaned.pixels), begun.todo.outputs, rainy.seen, cleaned.choice, seconds)
    return writers.submit(_write, job, result, before, options, decisions)


def _read(job: Job, options: PictureOptions) -> _Rainy:
    try:
        seen = state(job.source)
    except OSError:  # reading says it better
        seen = State(0, 0)
    picture = read(job.source, max_pixels=options.max_pixels)
    return _Rainy(picture, seen, refusal(job, picture, options))


def _write(
    job: Job, result: "_Result", before: Picture | None, options: PictureOptions, decisions: Decisions
) -> Outcome:
    """Encode and store one result, its before/after picture first: a target that exists is complete."""
    picture, choice = result.picture, result.choice
    size = _size(picture)
    left_alone = options.skip_dry and choice.dry
    notices = () if left_alone else told(choice)
    try:
        image_format = result_format(picture, job.target, options)
        if left_alone and image_format is picture.format and options.save == SaveOptions():
            data = read_bytes(job.source)  # nothing was asked for that would make it another file
        else:
            data, more = encode(picture, image_format, options.save)
            notices += picture.notices + more
        make_folder(job.target.parent)
        if job.compare is not None and before is not None:
            write_whole(job.compare, side_by_side(before, picture))
        if job.target in result.outputs:
            # Entered first: a crash in between leaves an entry too many, and no result that nobody seems to have made.
            made_from = identity(job.source, job.target, result.seen)
            decisions.made(job, of_data(data, date_to_be(job.target, result.seen.changed), made_from))
            write_whole(job.target, data)
        else:
            notices += ("its result was there already and stays; the before/after picture is of this run",)
        _date(job, result.outputs, result.seen.changed)
    except DpenetError as error:
        return _outcome(job, Status.FAILED, error, notices, size)
    except MemoryError:
        advice = "Close other programs, or choose --format jpeg."
        return _outcome(job, Status.FAILED, ImageWriteError(str(job.target), "memory ran out", advice), notices, size)
    except OSError as error:
        return _outcome(job, Status.FAILED, write_error(job.target, error), notices, size)
    except Exception as error:  # noqa: BLE001 - as above
        return _outcome(job, Status.FAILED, unexpected(str(job.source), error), notices, size)
    status, scale = (Status.DRY, None) if left_alone else (Status.DONE, choice.scale)
    return dataclasses.replace(
        _outcome(job, status, None, notices, size), seconds=result.seconds, scale=scale, looked=choice.looked
    )


def told(choice: Choice) -> tuple[str, ...]:
    """What the looks at a picture say that its owner should know."""
    if choice.dry:
        return (NO_RAIN,)
    return (RAIN_AT_THE_LIMIT,) if choice.at_the_limit else ()


def _date(job: Job, written: Iterable[Place], changed: int) -> None:
    """Date what was written no earlier than its source, and older than one that took its place.

    Raises:
        ImageReadError: the source is not the file that was read; the next run will take its outputs for too old.
    """
    try:
        now = state(job.source).changed  # an object's is what it was: its etag tells the next run
    except OSError:  # it is gone, and its result stands
        now = changed
    for path in written:
        if now != changed:
            date(path, max(min(now, changed) - _CLEARLY_OLDER, 0))
        else:
            date_no_earlier(path, changed)
    if now != changed:
        why = "it was replaced or changed while it was being cleaned; the result is of what it was before"
        raise ImageReadError(str(job.source), why, "Run the same command again when nothing writes to it any more.")


def _settled(going: deque[Future[_Written] | _Written]) -> Iterator[Outcome]:
    """The first outcome, waited for, or none if its making was cancelled; it leaves the queue only then."""
    first = going[0]
    try:
        written = first.result() if isinstance(first, Future) else first
        outcome = written.result() if isinstance(written, Future) else written
    except CancelledError:
        going.popleft()
        return
    going.popleft()  # not before: an interrupt while waiting must find it here
    yield outcome


def _size(picture: Picture) -> tuple[int, int]:
    """Width and height."""
    height, width = picture.pixels.shape[:2]
    return width, height


def _outcome(
    job: Job,
    status: Status,
    error: DpenetError | None = None,
    notices: tuple[str, ...] = (),
    size: tuple[int, int] | None = None,
) -> Outcome:
    root = None if job.root is None else str(job.root)
    return Outcome(str(job.source), str(job.target), status, error and error_of(job, error), notices, size, root=root)
