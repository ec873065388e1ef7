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
from dpenet_cli.batch.outcomes import Outcome, Status, input_gone, unexpected
from dpenet_cli.batch.picture_files import Rainy, Result, compare_again, outcome_for, read_rainy, size_of, write_result
from dpenet_cli.batch.plans import BadInput
from dpenet_cli.errors import DpenetError, ImageReadError
from dpenet_cli.images.picture import with_pixels
from dpenet_cli.inference.scale_rule import Cleaned
from dpenet_cli.options import PictureOptions
from dpenet_cli.system.outputs import Job
from dpenet_cli.system.storage import remove_leftovers


class _Begun(NamedTuple):
    """A job that was looked at, and its picture on its way from the disk."""

    job: Job
    todo: Todo
    reading: Future[Rainy]


_AHEAD_BYTES = 2**29
"""Pixels that may wait on either side of the network, in bytes: enough for 30 photographs of 6 megapixels."""


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
    options: PictureOptions,
    decisions: Decisions,
) -> Generator[Outcome]:
    """Clean pictures and yield one outcome each, in order; the network is loaded when the first needs it.

    Args:
        jobs: what to do, and what cannot be done; gone through once, a few ahead of the network.
        load: loads the network; gives what cleans a picture, and the options that suit it.
        options: how, as long as no network is needed.
        decisions: which outputs are to be written.

    Raises:
        KeyboardInterrupt: there was one, in here or thrown in, after the outcomes of what was written meanwhile.
    """
    pending = _decided(jobs, decisions)
    for planned, todo in pending:
        if isinstance(planned, BadInput) or not todo.outputs:
            yield not_begun(planned, todo)
        elif planned.target not in todo.outputs:
            yield _compare_alone(planned, options)
        else:
            clean, options = load()
            yield from _run(itertools.chain([(planned, todo)], pending), clean, options, decisions)


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
    return _run(_decided(jobs, decisions), clean, options, decisions)


def _run(
    pending: Iterator[tuple[Job | BadInput, Todo]], clean: Clean, options: PictureOptions, decisions: Decisions
) -> Generator[Outcome]:
    reading: deque[_Begun | Outcome] = deque()
    going: deque[Future[_Written] | _Written] = deque()
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
            while len(reading) <= ahead and (decided := next(pending, None)) is not None:
                planned, todo = decided
                if isinstance(planned, BadInput) or not todo.outputs:
                    reading.append(not_begun(planned, todo))
                    continue
                for path in todo.outputs:
                    tidy(path.parent)
                rainy = readers.submit(read_rainy, planned, options)
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


def _decided(jobs: Iterable[Job | BadInput], decisions: Decisions) -> Iterator[tuple[Job | BadInput, Todo]]:
    for planned in jobs:
        yield planned, decisions.todo(planned) if isinstance(planned, Job) else Todo(())


def _compare_alone(job: Job, options: PictureOptions) -> Outcome:
    """The before/after picture of a result that is there."""
    try:
        rainy = read_rainy(job, options)
    except Exception as error:  # noqa: BLE001 - as below
        return _failed(job, error)
    return compare_again(job, rainy, options.max_pixels)


def _failed(job: Job, error: Exception, size: tuple[int, int] | None = None) -> Outcome:
    """The outcome of a picture that was not cleaned, whose size may be known."""
    if isinstance(error, ImageReadError):
        return outcome_for(job, Status.FAILED, input_gone(job) or error, size=size)
    if isinstance(error, DpenetError):
        return outcome_for(job, Status.FAILED, error, size=size)
    if isinstance(error, MemoryError):
        advice = "Close other programs, or make the picture smaller."
        return outcome_for(job, Status.FAILED, ImageReadError(str(job.source), "memory ran out", advice), size=size)
    return outcome_for(job, Status.FAILED, unexpected(str(job.source), error), size=size)


def not_begun(planned: Job | BadInput, todo: Todo) -> Outcome:
    """The outcome of what cannot be done, or need not be."""
    if isinstance(planned, BadInput):
        return Outcome(planned.source, None, Status.FAILED, planned.error)
    return outcome_for(planned, Status.SKIPPED, None, todo.notices)


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

    def see(self, rainy: Future[Rainy]) -> None:
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
    job, outputs, size = begun.job, begun.todo.outputs, None
    try:
        rainy = begun.reading.result()
        if job.target not in outputs:
            return writers.submit(compare_again, job, rainy, options.max_pixels)
        picture, size = rainy.picture, size_of(rainy.picture)
        rainy.check()
        started = time.perf_counter()
        cleaned = clean(picture.pixels, skip_dry=options.skip_dry)
        seconds = time.perf_counter() - started
        clean_picture = with_pixels(picture, cleaned.pixels)
        result = Result(clean_picture, outputs, rainy.seen, cleaned.choice, seconds, cleaned.used)
    except Exception as error:  # noqa: BLE001 - whatever one picture does, the others go on
        return _failed(job, error, size)
    return writers.submit(write_result, job, result, picture if job.compare in outputs else None, options, decisions)


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
