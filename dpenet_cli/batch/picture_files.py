"""The two ends of a picture's way: from its file to pixels, and from pixels to its result, whole and dated."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from dpenet_cli.batch.decisions import Decisions
from dpenet_cli.batch.outcomes import Outcome, Status, error_of, unexpected, write_error
from dpenet_cli.batch.record import of_data
from dpenet_cli.batch.refusals import refusal, result_format
from dpenet_cli.errors import DpenetError, ImageReadError, ImageWriteError
from dpenet_cli.images.compare import side_by_side
from dpenet_cli.images.picture import Picture
from dpenet_cli.images.reading import read
from dpenet_cli.images.writing import encode
from dpenet_cli.inference.scale_rule import Choice
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
    state,
    write_whole,
)
from dpenet_cli.system.urls import State

NO_RAIN = "no rain found; --skip-dry leaves such pictures as they are"

RAIN_AT_THE_LIMIT = "its rain may be wider than any size that was looked at; try --scale 0.06"

_CLEARLY_OLDER = 10**9
"""Nanoseconds: one second, which every file system can tell."""


class Rainy(NamedTuple):
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


class Result(NamedTuple):
    """A clean picture on its way to the disk.

    Attributes:
        picture: the clean one.
        outputs: files to write.
        seen: what told the rainy one's file from others.
        choice: how it was looked at.
        seconds: that took so long in the network.
        used: what the network ran with.
    """

    picture: Picture
    outputs: tuple[Place, ...]
    seen: State
    choice: Choice
    seconds: float
    used: Mapping[str, str] | None


def read_rainy(job: Job, options: PictureOptions) -> Rainy:
    """Read a picture.

    Raises:
        ImageReadError: it cannot be read.
    """
    try:
        seen = state(job.source)
    except OSError:  # reading says it better
        seen = State(0, 0)
    picture = read(job.source, max_pixels=options.max_pixels)
    return Rainy(picture, seen, refusal(job, picture, options))


def write_result(
    job: Job, result: Result, before: Picture | None, options: PictureOptions, decisions: Decisions
) -> Outcome:
    """Encode and store one result, its before/after picture first: a target that exists is complete."""
    picture, choice = result.picture, result.choice
    size = size_of(picture)
    left_alone = options.skip_dry and choice.dry
    notices = () if left_alone else told(choice)
    try:
        image_format = result_format(picture, job.target, options)
        save = saved_as(options, choice)
        if left_alone and image_format is picture.format and save == SaveOptions():
            data = read_bytes(job.source)  # nothing was asked for that would make it another file
        else:
            data, more = encode(picture, image_format, save)
            notices += picture.notices + more
        if job.compare is not None and before is not None:
            make_folder(job.compare.parent)
            write_whole(job.compare, side_by_side(before, picture))
        make_folder(job.target.parent)
        # Entered first: a crash in between leaves an entry too many, and no result that nobody seems to have made.
        made_from = identity(job.source, job.target, result.seen)
        decisions.made(job, of_data(data, date_to_be(job.target, result.seen.changed), made_from))
        write_whole(job.target, data)
        _date(job, result.outputs, result.seen.changed)
    except DpenetError as error:
        return outcome_for(job, Status.FAILED, error, notices, size)
    except MemoryError:
        advice = "Close other programs, or choose --format jpeg."
        return outcome_for(
            job, Status.FAILED, ImageWriteError(str(job.target), "memory ran out", advice), notices, size
        )
    except OSError as error:
        return outcome_for(job, Status.FAILED, write_error(job.target, error), notices, size)
    except Exception as error:  # noqa: BLE001 - whatever one picture does, the others go on
        return outcome_for(job, Status.FAILED, unexpected(str(job.source), error), notices, size)
    status, scale = (Status.DRY, None) if left_alone else (Status.DONE, choice.scale)
    done = outcome_for(job, status, None, notices, size)
    return dataclasses.replace(done, seconds=result.seconds, used=result.used, scale=scale, looked=choice.looked)


def compare_again(job: Job, rainy: Rainy, max_pixels: int) -> Outcome:
    """Make the before/after picture of a result that is there already, and stays as it is."""
    compare = job.compare
    assert compare is not None
    try:
        result = read(job.target, max_pixels=max_pixels)
        sheet = side_by_side(rainy.picture, result)
        make_folder(compare.parent)
        write_whole(compare, sheet)
        _date(job, [compare], rainy.seen.changed)
    except DpenetError as error:
        return outcome_for(job, Status.FAILED, error)
    except MemoryError:
        advice = "Close other programs, or leave out --compare."
        return outcome_for(job, Status.FAILED, ImageReadError(str(job.target), "memory ran out", advice))
    except OSError as error:
        return outcome_for(job, Status.FAILED, write_error(compare, error))
    except Exception as error:  # noqa: BLE001 - whatever one picture does, the others go on
        return outcome_for(job, Status.FAILED, unexpected(str(job.source), error))
    notices = ("its before/after picture was missing; its result stays as it was",)
    return outcome_for(job, Status.DONE, None, notices, size_of(rainy.picture))


def saved_as(options: PictureOptions, choice: Choice) -> SaveOptions:
    """How a result is encoded: one that was left alone carries no tag, for no program changed it."""
    return dataclasses.replace(options.save, tag=None) if options.skip_dry and choice.dry else options.save


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


def size_of(picture: Picture) -> tuple[int, int]:
    """Width and height in pixels."""
    height, width = picture.pixels.shape[:2]
    return width, height


def outcome_for(
    job: Job,
    status: Status,
    error: DpenetError | None = None,
    notices: tuple[str, ...] = (),
    size: tuple[int, int] | None = None,
) -> Outcome:
    """What became of a job; an error names its picture."""
    root = None if job.root is None else str(job.root)
    return Outcome(str(job.source), str(job.target), status, error and error_of(job, error), notices, size, root=root)
