"""A benchmark's results as files: every picture's scores as CSV, and the restored pictures."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from dpenet_cli.batch.outcomes import write_error
from dpenet_cli.evaluation.benchmark import BenchmarkResult, Method, ScoredImages
from dpenet_cli.evaluation.pair_sets import PairSet
from dpenet_cli.system.atomic import write_whole


class RestoredPictures:
    """Keeps restored pictures, losslessly, as FOLDER/SET/METHOD/NAME.png; a callback of `benchmark.score_sets`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, test_set: PairSet, method: Method, images: ScoredImages) -> None:
        """Store one.

        Raises:
            ImageWriteError: it cannot be stored.
        """
        data = io.BytesIO()
        Image.fromarray(images.restored).save(data, "PNG")
        write_file(self.path(test_set.name, method.name, images.score.name), data.getvalue())

    def path(self, test_set: str, method: str, picture: str) -> Path:
        """Where a picture goes, by the names of its set, its method and itself."""
        # A set of two folders and a method's folder have slashes in their names; a colon is Windows' for drives.
        folders = [re.sub(r"[/\\:]", "-", name) for name in (test_set, method)]
        return self._folder.joinpath(*folders, f"{picture}.png")


def to_csv(results: Sequence[BenchmarkResult], precision: str) -> bytes:
    """Every picture as a line of UTF-8 CSV; an infinite PSNR is written inf.

    Args:
        results: scores of any methods on any sets.
        precision: of the network's arithmetic, written into every line.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ("dataset", "method", "picture", "width", "height", "input_psnr", "input_ssim", "psnr", "ssim", "seconds")
    writer.writerow([*columns, "protocol", "precision"])
    for result in results:
        for picture in result.pictures:
            before = (f"{picture.before.psnr:.6f}", f"{picture.before.ssim:.8f}") if picture.before else ("", "")
            after = (f"{picture.after.psnr:.6f}", f"{picture.after.ssim:.8f}", f"{picture.seconds:.4f}")
            row = (result.test_set.name, result.method, picture.name, picture.width, picture.height)
            writer.writerow([*row, *before, *after, result.protocol.value, precision])
    return text.getvalue().encode()


def write_file(path: Path, data: bytes) -> None:
    """Store a file, its folder too.

    Raises:
        ImageWriteError: it cannot be stored.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
    except OSError as error:
        raise write_error(path, error) from error
