"""``dpenet export``: the network for other runtimes."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dpenet_cli.cli.console import one_line
from dpenet_cli.cli.shared_options import Weights
from dpenet_cli.options import DEFAULT_WEIGHTS, ExportFormat


def export(
    file_format: Annotated[ExportFormat, typer.Option("--format", help="Of the file.", show_default=False)],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="An .onnx file; or an .xml file, beside which the .bin is written.",
            show_default=False,
        ),
    ],
    weights: Weights = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
) -> None:
    """Write the network with its weights for another runtime.

    Input `rainy`, output `restored`: float32, 1×3×H×W, RGB, 0..1; any height and width. ONNX opset 17.

    The file is compared with PyTorch at three sizes before it gets its name, and holds this description.

    A picture is run whole: cut large ones with 181 pixels of context on every side.
    """
    from dpenet_cli.inference.export import export as write

    written = write(weights or DEFAULT_WEIGHTS, output, file_format, overwrite=overwrite)
    names = " and ".join(one_line(path) for path in written)
    Console(stderr=True, highlight=False).print(f"wrote {names}; equal to PyTorch at three sizes", soft_wrap=True)
