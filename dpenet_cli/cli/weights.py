"""``dpenet weights``: what weights there are, where they come from, and how they get here."""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Column, Table

from dpenet_cli.cli.console import Exit, one_line, print_error, print_note, table_console
from dpenet_cli.cli.fit_scales import fit_scales
from dpenet_cli.cli.json_lines import with_schema
from dpenet_cli.cli.words import ending
from dpenet_cli.errors import DpenetError, OptionError, WeightsError
from dpenet_cli.network.pretrained import FILE_BYTES, PRETRAINED, TERMS, PretrainedWeights, check, find_pretrained, pull
from dpenet_cli.options import PROTOCOL
from dpenet_cli.system.outputs import Output, check_outputs
from dpenet_cli.system.user_dirs import cache_folder

weights_app = typer.Typer(
    no_args_is_help=True,
    help="List weights, fetch the published ones, check and convert files.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

weights_app.command(epilog=ending("weights fit-scales mine.safetensors --data photos/", page="size"))(fit_scales)

AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


@weights_app.command("list", epilog=ending("weights list", "weights list --json"))
def list_weights(as_json: AsJson = False) -> None:
    """List the weights that --weights knows by name: ours, and those that the paper's authors published."""
    rows = [_ours(name) for name in _shipped()] + [_theirs(each) for each in PRETRAINED.values()]
    _tell_of_no_cache()
    if as_json:
        typer.echo(json.dumps([with_schema(row) for row in rows], indent=2))
        return
    table = Table(
        Column("name", no_wrap=True), "here", "MB", Column("PSNR / SSIM, y-uint8 (pictures)", no_wrap=True), "terms"
    )
    for row in rows:
        here = "yes" if row["here"] else "no"
        terms = re.split(r"[.:]", row["terms"])[0]
        table.add_row(row["name"], here, f"{row['bytes'] / 1e6:.1f}", _score_text(row["scores"]), terms)
    console = table_console()
    console.print(table)
    text = "More about each, its training and its terms: dpenet weights show NAME."
    if not all(row["here"] for row in rows):
        text += " Those that are not here: dpenet weights pull NAME."
    console.print(text, soft_wrap=True)


@weights_app.command(epilog=ending("weights show general"))
def show(
    name: Annotated[str, typer.Argument(help="A name from the list, or the path of a file.")], as_json: AsJson = False
) -> None:
    """Show what is known of one set of weights: file, checksum, size of the network, terms, training, scores."""
    if name in PRETRAINED:
        facts = _theirs(PRETRAINED[name])
        _tell_of_no_cache()
    elif name in _shipped():
        facts = _ours(name)
    else:
        facts = _of_file(name)
    if facts["here"]:
        facts |= _network(facts["path"])
    if as_json:
        typer.echo(json.dumps(with_schema(facts), indent=2))
        return
    table = Table(show_header=False, box=None)
    for key, value in facts.items():
        if value is None:  # the path of published weights, without a cache
            continue
        shown = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
        table.add_row(key.replace("_", " "), one_line(shown))
    table_console().print(table)


@weights_app.command("pull", epilog=ending("weights pull published-rain100l"))
def pull_weights(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Published weights, as the list names them.")],
) -> None:
    """Download published weights into your cache, and check that they are what was published.

    The authors gave them no licence. Proxies are taken from HTTPS_PROXY. Nothing else in dpenet uses the network.
    """
    console = Console(stderr=True, highlight=False)
    console.print(f"note   These weights are the paper's authors': {TERMS}.", soft_wrap=True)
    failed = False
    for each in [find_pretrained(name) for name in names]:
        try:
            path = _pull_one(each, console)
        except DpenetError as error:
            print_error(error, console)
            failed = True
            continue
        except OSError as error:
            step = "Free some space, or set XDG_CACHE_HOME to a folder that you may write to."
            print_error(WeightsError(str(each.path), f"it cannot be written ({error.strerror or error})", step))
            failed = True
            continue
        console.print(f"{each.name} is at {one_line(path)}; use it with --weights {each.name}", soft_wrap=True)
    raise typer.Exit(Exit.SOME_FAILED if failed else Exit.OK)


def _pull_one(weights: PretrainedWeights, console: Console) -> Path:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(weights.name, total=None)
        return pull(weights, lambda done, total: bar.update(task, completed=done, total=total))


@weights_app.command(epilog=ending("weights verify"))
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Which weights; all that are on this machine unless given."),
    ] = None,
) -> None:
    """Check that weights are byte for byte what was published, and that they load.

    Exit code: 0 all are, 1 some are not.
    """
    checks = _checks()
    chosen = names or [name for name in checks if name not in PRETRAINED or _is_pulled(PRETRAINED[name])]
    failed = False
    for name in chosen:
        if name not in checks:
            raise OptionError(name, "no weights have that name", "See dpenet weights list.")
        problem = _problem(name, checks[name])
        typer.echo(f"{name}: {problem or 'as published, and it loads'}")
        failed |= bool(problem)
    raise typer.Exit(Exit.SOME_FAILED if failed else Exit.OK)


@weights_app.command(epilog=ending("weights convert Rain100L.pth mine.safetensors"))
def convert(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="Weights that dpenet reads: a name, .pth, .safetensors.")
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The .safetensors file to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
) -> None:
    """Write weights as a .safetensors file that describes itself and cannot carry code.

    The numbers stay as they are (fp32), and so do the terms.
    """
    if target.suffix.lower() != ".safetensors":
        raise OptionError(str(target), "only .safetensors files are written", f"Use {target.stem}.safetensors.")
    from dpenet_cli.network.checkpoints import WeightsCard, load_model, read_card, save_model
    from dpenet_cli.network.weights_files import find_weights

    path = find_weights(str(source))
    check_outputs([Output(target, str(source))], [path], overwrite=overwrite)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    card = read_card(path)
    theirs = next((each for each in PRETRAINED.values() if each.sha256 == digest), None)
    origin = {"file": theirs.file if theirs else path.name, "sha256": digest}
    if theirs:
        origin |= {"address": theirs.address, "trained_on": theirs.trained_on}
    provenance = card.provenance | {"converted_from": origin}
    licence = TERMS if theirs else card.licence
    model = load_model(path)
    try:
        save_model(model, target, WeightsCard(theirs.name if theirs else target.stem, licence, provenance, card.scores))
    except OSError as error:
        why = f"it cannot be written ({error.strerror or error})"
        raise WeightsError(str(target), why, "Choose a folder that exists and that you may write to.") from error
    Console(stderr=True, highlight=False).print(f"wrote {one_line(target)}", soft_wrap=True)


def _shipped() -> list[str]:
    from dpenet_cli.network.weights_files import shipped_names

    return shipped_names()


def _ours(name: str) -> dict[str, Any]:
    from dpenet_cli.network.weights_files import find_weights, shipped_checksums

    return _of_file(str(find_weights(name))) | {
        "name": name,
        "origin": "shipped with dpenet",
        "sha256": shipped_checksums().get(name),
    }


def _of_file(name: str) -> dict[str, Any]:
    from dpenet_cli.network.checkpoints import read_card
    from dpenet_cli.network.weights_files import find_weights

    path = find_weights(name)
    card = read_card(path)
    data = card.provenance.get("data", "not stated")
    return {
        "name": card.name,
        "origin": "a file",
        "here": True,
        "path": str(path),
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "terms": card.licence or "not stated",
        "trained_on": ", ".join(map(str, data)) if isinstance(data, Sequence) and not isinstance(data, str) else data,
        "provenance": card.provenance,
        "scores": card.scores,
    }


def _theirs(weights: PretrainedWeights) -> dict[str, Any]:
    scores = {}
    if own := weights.score:
        scores[own.dataset] = {"protocol": PROTOCOL, "psnr": own.psnr, "ssim": own.ssim, "pictures": own.pairs}
    here = _is_pulled(weights)
    return {
        "name": weights.name,
        "origin": weights.address,
        "here": here,
        "path": str(weights.path) if _no_cache() is None else None,
        "bytes": weights.path.stat().st_size if here else FILE_BYTES,
        "sha256": weights.sha256,
        "terms": TERMS,
        "trained_on": f"{weights.trained_on}'s training pictures",
        "scores": scores,
    }


def _is_pulled(weights: PretrainedWeights) -> bool:
    return _no_cache() is None and weights.path.is_file()


def _no_cache() -> OptionError | None:
    """Why there is no folder for published weights, or None where there is one."""
    try:
        cache_folder()
    except OptionError as error:
        return error
    return None


def _tell_of_no_cache() -> None:
    if error := _no_cache():
        print_note(f"published weights cannot be kept here: {error.what}: {error.why}. {error.next_step}")


def _network(path: str) -> dict[str, Any]:
    import dataclasses

    from dpenet_cli.network.checkpoints import load_model

    model = load_model(path)
    count = sum(parameter.numel() for parameter in model.parameters())
    return {"network": dataclasses.asdict(model.config), "parameters": count}


def _score_text(scores: dict[str, Any]) -> str:
    parts = []
    for name, value in scores.items():
        if isinstance(value, dict) and {"psnr", "ssim"} <= value.keys():
            pictures = f" ({value['pictures']})" if value.get("pictures") else ""
            parts.append(f"{name} {value['psnr']:.2f} / {value['ssim']:.4f}{pictures}")
    return "\n".join(parts) or "not measured"


def _checks() -> dict[str, Callable[[], bool]]:
    from dpenet_cli.network.weights_files import find_weights, shipped_checksums

    def unchanged(name: str, digest: str) -> bool:
        return hashlib.sha256(find_weights(name).read_bytes()).hexdigest() == digest

    checks: dict[str, Callable[[], bool]] = {}
    checks |= {name: partial(unchanged, name, digest) for name, digest in shipped_checksums().items()}
    return checks | {name: partial(check, each) for name, each in PRETRAINED.items()}


def _problem(name: str, unchanged: Callable[[], bool]) -> str:
    """What is wrong with weights, or nothing."""
    from dpenet_cli.network.checkpoints import load_model

    try:
        load_model(name)
    except DpenetError as error:
        return f"{error.why}. {error.next_step}"
    return "" if unchanged() else "its SHA-256 is not the published one; delete the file and fetch it again"
