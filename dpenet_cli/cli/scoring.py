"""What ``dpenet benchmark`` does: sets opened, every method scored on each, tables, JSON and files."""

import dataclasses
import json
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dpenet_cli.cli.console import Exit, one_line, print_error, waiting
from dpenet_cli.cli.json_lines import with_schema
from dpenet_cli.cli.tables import print_scores
from dpenet_cli.errors import ImageWriteError
from dpenet_cli.evaluation.benchmark import BenchmarkResult, Method, OnScored, ScoredImages, score_sets
from dpenet_cli.evaluation.html_report import Making, ShownImages, build_page
from dpenet_cli.evaluation.methods import load_methods, load_video_methods, method_names, video_method_names
from dpenet_cli.evaluation.pair_sets import PairSet, dry_set, folder_set, named_set, short_name
from dpenet_cli.evaluation.reported_scores import reported_on
from dpenet_cli.evaluation.result_files import RestoredPictures, to_csv, write_file
from dpenet_cli.evaluation.test_sets import NTU
from dpenet_cli.evaluation.video_benchmark import VideoResult, score_videos
from dpenet_cli.evaluation.video_report import ShownMoments, build_video_page
from dpenet_cli.evaluation.video_sets import VideoSet, frames_set, ntu_set
from dpenet_cli.network.weights_files import digest_of, find_weights
from dpenet_cli.options import EngineOptions, Precision, Protocol, VideoMethod
from dpenet_cli.system.cores import processor, usable_cores
from dpenet_cli.system.outputs import Output, check_outputs


class Scoring(NamedTuple):
    """What is scored, and how.

    Attributes:
        dataset: names of test sets; empty where folders are given.
        data_root: folder that they are searched in first, or None.
        rainy: folder of rainy pictures or frames, or None.
        target: folder of their ground truths, or of those of `results`, or None.
        results: folder of pictures that another method made, or None.
        weights: names or paths of weights; not looked at where there are results.
        engine: how the network is run.
        protocol: what is compared.
        partial: go on when pairs are missing.
        frames: the folders hold the frames of a video.
        methods: what cleans the frames of videos.
        dry: folder of clean pictures that are scored against themselves, or None.
        structure: draw structure on these first.
    """

    dataset: tuple[str, ...]
    data_root: Path | None
    rainy: Path | None
    target: Path | None
    results: Path | None
    weights: Sequence[str]
    engine: EngineOptions
    protocol: Protocol
    partial: bool
    frames: bool = False
    methods: Sequence[VideoMethod] = ()
    dry: Path | None = None
    structure: bool = False

    @property
    def is_video(self) -> bool:
        """Whether clips are scored, and not pictures."""
        return self.frames or any(name.lower() == NTU for name in self.dataset)

    @property
    def method_names(self) -> list[str]:
        """What the methods are shown as."""
        if self.results is not None:
            return [short_name(self.results)]
        return list(video_method_names(self.methods, self.weights) if self.is_video else method_names(self.weights))

    @property
    def weights_needed(self) -> list[str]:
        """Names or paths of the weights that are going to be loaded."""
        if self.results is not None:
            return []
        if not self.is_video:
            return list(self.weights)
        parts = video_method_names(self.methods, self.weights).values()
        return [part.weights for part in parts if part.weights is not None]


def score_and_show(
    wanted: Scoring, *, save: Path | None, csv: Path | None, report: Path | None, overwrite: bool, as_json: bool
) -> Exit:
    """Score every method on every set, show what came out, and write the files that were asked for.

    Args:
        wanted: what is scored, and how.
        save: folder for the restored pictures, or None.
        csv: file for every picture's scores, or None.
        report: file for the page, or None.
        overwrite: replace files that exist.
        as_json: print JSON instead of tables.

    Raises:
        DatasetError: a set is not there, or incomplete.
        InputError: a file would replace another unasked.
        WeightsError: weights are missing or unusable.
    """
    console = Console(stderr=True, highlight=False)
    precision = wanted.engine.precision
    try:
        sets = _open_sets(wanted)
        restored = RestoredPictures(save) if save else None
        outputs = [Output(path, name) for path, name in ((csv, "--csv"), (report, "--report")) if path]
        _check_outputs(outputs, restored, sets, wanted, overwrite=overwrite)
        with waiting("loading the network"):
            methods = _load_methods(wanted)
        shown = None if report is None else ShownMoments() if wanted.is_video else ShownImages()
        callbacks = [callback for callback in (restored, shown) if callback is not None]
        found = _score(sets, methods, wanted.protocol, callbacks, console)
        # that of a network, where one method has none
        description = next((each.description for each in methods if each.cost), methods[0].description)
        _show(found, description, precision, as_json=as_json)
        if csv:
            write_file(csv, to_csv(found, precision.value))
        if report and shown:
            write_file(report, _page(found, shown, _making(wanted, description)).encode())
    except ImageWriteError as error:
        print_error(error, console)
        return Exit.SOME_FAILED
    except KeyboardInterrupt:
        console.print("interrupted: nothing is reported", style="bold")
        return Exit.INTERRUPTED
    return Exit.OK


def _open_sets(wanted: Scoring) -> list[PairSet]:
    if wanted.dry:
        return [dry_set(wanted.dry, structure=wanted.structure, partial=wanted.partial)]
    pictures = wanted.rainy or wanted.results
    if pictures and wanted.target:
        open_folders = frames_set if wanted.frames else folder_set
        return [open_folders(pictures, wanted.target, partial=wanted.partial)]
    if wanted.is_video:
        return [ntu_set(wanted.data_root, partial=wanted.partial)]
    sets = [named_set(name, wanted.data_root, partial=wanted.partial) for name in wanted.dataset]
    return list({each.name: each for each in sets}.values())  # test100 and rain800 are one


def _load_methods(wanted: Scoring) -> list[Method]:
    if wanted.results is not None:
        return [Method(short_name(wanted.results))]
    if wanted.is_video:
        return load_video_methods(wanted.methods, wanted.weights, wanted.engine)
    return load_methods(wanted.weights, wanted.engine)


def _check_outputs(
    outputs: Sequence[Output],
    restored: RestoredPictures | None,
    sets: Sequence[PairSet],
    wanted: Scoring,
    *,
    overwrite: bool,
) -> None:
    """Look at all that will be written before the first picture is scored."""
    inputs = [path for each in sets for path in each.files]
    inputs += [find_weights(name) for name in wanted.weights_needed]
    pictures = [
        Output(restored.path(each.name, method, pair.name), f"{pair.name} of {each.name} by {method}")
        for each in sets
        for method in wanted.method_names
        for pair in each.pairs
        if restored is not None
    ]
    check_outputs([*outputs, *pictures], inputs, overwrite=overwrite)


def _score(
    sets: Sequence[PairSet],
    methods: Sequence[Method],
    protocol: Protocol,
    on_scored: Sequence[OnScored],
    console: Console,
) -> list[BenchmarkResult]:
    with _ScoringProgress(console) as progress:
        on_scored = [*on_scored, progress.advance]
        videos = [each for each in sets if isinstance(each, VideoSet)]
        if videos:
            return list(score_videos(videos, methods, protocol, on_start=progress.start, on_scored=on_scored))
        return score_sets(sets, methods, protocol, on_start=progress.start, on_scored=on_scored)


class _ScoringProgress:
    """For each set that a method is scored on, a bar on a terminal and a line elsewhere."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._console = console
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", visible=False)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def start(self, test_set: PairSet, method: Method) -> None:
        title = "scoring" if method.is_given else one_line(f"{method.name} on {test_set.name}")
        if not self._console.is_terminal:
            kind = "frames" if isinstance(test_set, VideoSet) else "pictures"
            self._console.print(f"{title}: {len(test_set.pairs)} {kind}", soft_wrap=True)
        self._bar.reset(self._task, description=title, total=len(test_set.pairs), visible=True)

    def advance(self, test_set: PairSet, method: Method, images: ScoredImages) -> None:  # noqa: ARG002 - a callback
        self._bar.advance(self._task)


def _making(wanted: Scoring, description: str) -> Making:
    """How a page comes about: what a reader needs to do the same again."""
    now = datetime.now().astimezone()
    rows = [
        ("date", now.strftime("%Y-%m-%d %H:%M %z")),
        ("command", shlex.join(["dpenet", *sys.argv[1:]])),
        ("machine", f"{processor()}, {usable_cores()} cores, {platform.platform()}; {description}"),
        ("versions", ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy"))),
    ]
    rows += [(f"weights {name}", f"SHA-256 {digest_of(name)}") for name in wanted.weights_needed]
    return Making(description, rows)


def _page(results: Sequence[BenchmarkResult], shown: ShownImages | ShownMoments, making: Making) -> str:
    if isinstance(shown, ShownImages):
        return build_page(results, shown, making)
    videos = [result for result in results if isinstance(result, VideoResult)]
    return build_video_page(videos, shown.by_set_method_and_clip, making)


def _show(results: Sequence[BenchmarkResult], description: str, precision: Precision, *, as_json: bool) -> None:
    if as_json:
        names = dict.fromkeys(result.test_set.name for result in results)
        reported = [dataclasses.asdict(score) for name in names for score in reported_on(name)]
        fields = {"how": description, "precision": precision.value, "results": [each.to_json() for each in results]}
        typer.echo(json.dumps(with_schema(fields | {"literature": reported}), allow_nan=False))
    else:
        print_scores(results, description)
