"""A video through a pipe: ``ffmpeg ... -f yuv4mpegpipe - | dpenet video - -o - | ffmpeg -i - ...``."""

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from dpenet_cli.batch.outcomes import Outcome, Status, unexpected, write_error
from dpenet_cli.cli.console import Exit, duration, print_error, print_note
from dpenet_cli.cli.json_lines import MadeWith, Pace, outcome_fields, print_json, progress_fields
from dpenet_cli.cli.pipe import PIPE
from dpenet_cli.errors import DpenetError, InputError, OptionError, StorageError
from dpenet_cli.options import EngineOptions, VideoMethod, VideoOptions

if TYPE_CHECKING:
    from dpenet_cli.inference.scales import ScaledDerainer
    from dpenet_cli.video.frames import Frame
    from dpenet_cli.video.y4m_cleaning import Choose

_TAKEN = {"inputs", "output", "method", "weights", "strength", "scale", "deinterlace", "fast", "device", "backend"}
_TAKEN |= {"precision", "tile", "threads", "as_json", "quiet", "verbose"}
"""What goes with a pipe; every other option is about files."""

_EXAMPLE = "ffmpeg -i in.mp4 -f yuv4mpegpipe - | dpenet video - -o - | ffmpeg -i - out.mkv"


def is_piped(inputs: Sequence[str] | None, output: str | None) -> bool:
    """Whether a pipe is asked for."""
    return bool(inputs) and (PIPE in (inputs or ()) or output == PIPE)


def check_pipe(context: typer.Context, inputs: Sequence[str], output: str | None) -> None:
    """Refuse what does not go with a pipe.

    Raises:
        InputError: one end is no pipe, or is a terminal.
        OptionError: an option is about files.
    """
    if list(inputs) != [PIPE] or output not in {None, PIPE}:
        raise InputError(PIPE, "a video comes from a pipe and goes into one", f"Write: {_EXAMPLE}")
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name not in _TAKEN
        and (source := context.get_parameter_source(parameter.name or "")) is not None
        and source.name == "COMMANDLINE"
    ]
    if given:
        raise OptionError(f"{PIPE} {', '.join(given)}", "that is for files, and this is a pipe", "Leave it out.")
    if sys.stdin is None or sys.stdin.isatty():
        raise InputError(PIPE, "no video comes: standard input is a terminal, or closed", f"Write: {_EXAMPLE}")
    if sys.stdout is None or sys.stdout.isatty():
        raise InputError(PIPE, "the video would go to the terminal", f"Write: {_EXAMPLE}")


class VideoPipe:
    """One YUV4MPEG2 stream from standard input to standard output.

    Args:
        weights: their name or path.
        engine: how the network is run.
        options: how it is cleaned.
        made_with: the weights, for JSON lines.
        as_json: JSON lines on stderr, for stdout is taken; nothing else but errors then.
        verbosity: -1 errors alone, 0 normal, 1 everything.
    """

    def __init__(
        self,
        weights: str,
        engine: EngineOptions,
        options: VideoOptions,
        made_with: MadeWith,
        *,
        as_json: bool,
        verbosity: int,
    ) -> None:
        self._weights = weights
        self._engine_options = engine
        self._options = options
        self._made_with = made_with
        self._json = as_json
        self._verbosity = verbosity
        self._pace = Pace()
        self._written = 0
        self._began = 0.0

    def __call__(self) -> Exit:
        """Clean it.

        Raises:
            BrokenPipeError: the reader has gone: Typer ends quietly.
            DpenetError: the network cannot be loaded, or a disk is full.
        """
        import cv2

        from dpenet_cli.system.cores import usable_cores

        cv2.setNumThreads(self._engine_options.threads or usable_cores())  # for optical flow and fusion
        try:
            outcome = self._cleaned()
        except (BrokenPipeError, StorageError):
            raise
        except OSError as error:
            raise write_error(Path(PIPE), error) from error
        except Exception as error:  # noqa: BLE001 - as for a video in a folder
            failure = error if isinstance(error, DpenetError) else unexpected(PIPE, error)
            outcome = Outcome(PIPE, PIPE, Status.FAILED, failure, frames=self._written)
        return self._tell(outcome)

    def _cleaned(self) -> Outcome:
        from dpenet_cli.batch.videos import told
        from dpenet_cli.video.restoration import restoration
        from dpenet_cli.video.y4m import Y4mReader
        from dpenet_cli.video.y4m_cleaning import clean_stream, refuse

        reader = Y4mReader(sys.stdin.buffer)
        header, options = reader.header, self._options
        refuse(header, deinterlace=options.deinterlace)
        self._detail(f"{header.width}×{header.height}, {header.pixel_format}, {header.rate} frames a second")
        started = time.perf_counter()
        how = self._engine_options
        network = self._load() if options.method is not VideoMethod.TEMPORAL else None
        cleaner = restoration(options.method, network.engine if network else None, how.strength, fast=options.fast)
        clean_stream(
            reader,
            sys.stdout.buffer,
            cleaner,
            deinterlace=options.deinterlace,
            choose=_choice(network) if network and how.scale is None and how.strength > 0 else None,
            scale=how.scale or 1.0,
            written=self._count,
        )
        seconds = time.perf_counter() - started
        notices = told(cleaner.shares, options.method)
        shares = cleaner.shares.to_json() if cleaner.shares else None
        used = network.used_for(deep=header.deep) if network else None
        size = header.width, header.height
        done = Outcome(PIPE, PIPE, Status.DONE, None, notices, size, seconds, shares, used=used)
        return dataclasses.replace(done, frames=self._written, encoder="yuv4mpegpipe")

    def _load(self) -> "ScaledDerainer":
        from dpenet_cli.batch.videos import load_for

        network = load_for(self._weights, self._engine_options, self._options.method)
        self._detail(f"{self._weights} on {network.description}")
        return network

    def _count(self, _: "Frame") -> None:
        now = time.perf_counter()
        if not self._written:
            self._began = now  # what is before the first frame would make all of them seem slow
        self._written += 1
        if self._json and self._pace.is_due():
            speed = (self._written - 1) / (now - self._began) if self._written > 1 else 0.0
            print_json(progress_fields(PIPE, self._written, None, speed), sys.stderr)

    def _detail(self, text: str) -> None:
        if self._verbosity > 0 and not self._json:
            print_note(text)

    def _tell(self, outcome: Outcome) -> Exit:
        """Say what became of it, on stderr."""
        if self._json:
            print_json(outcome_fields(outcome, self._made_with), sys.stderr)
        elif outcome.error is not None:
            print_error(outcome.error)
        elif self._verbosity >= 0:
            for notice in outcome.notices:
                print_note(notice)
            print_note(f"{outcome.frames} frames in {duration(outcome.seconds)}")
        return Exit.OK if outcome.error is None else Exit.SOME_FAILED


def _choice(network: "ScaledDerainer") -> "Choose":
    return lambda frames: network.choose(frames).scale
