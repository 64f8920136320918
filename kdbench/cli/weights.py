"""`kdbench export`: a distilled student as files that timm loads without kdbench."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdbench.cli.options import AsJson, NoPlugin, PluginsDir, find
from kdbench.cli.output import json_out, say
from kdbench.cli.selection import StoreDir
from kdbench.errors import UsageError

if TYPE_CHECKING:
    from kdbench.cli.student import Exported
    from kdbench.record import Record
    from kdbench.registry import DataFacts, Registry


def export(
    what: Annotated[
        str, typer.Argument(metavar="RECORD|METHOD", help="A record's file, or a method.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Where the files go.")
    ] = None,
    pair: Annotated[
        str | None, typer.Option(metavar="T:S", help="The record's teacher and student.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="DATASET", help="The record's data set.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="The record's seed.")] = None,
    store: StoreDir = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Use the hub names that the record's student has.")
    ] = False,
    as_json: AsJson = False,
    plugins_dir: PluginsDir = None,
    no_plugin: NoPlugin = None,
) -> None:
    """Copy a record's student out of its store, as safetensors for timm.create_model."""
    from kdbench.cli.board import folder_of
    from kdbench.cli.picking import pick, pick_file
    from kdbench.cli.student import exported
    from kdbench.cli.trust import of_student, permit
    from kdbench.plan import dataset_spec
    from kdbench.registry import data_dir

    registry, facts = find(plugins_dir, no_plugin), None
    if dataset is not None:
        facts = registry.dataset(dataset_spec(dataset, registry), str(data_dir()))
    if what.endswith(".json"):
        picked = pick_file(Path(what))
    else:
        folder = folder_of(None if store is None else str(store), None)
        picked = pick(folder, what, pair, facts.name if facts else None, seed)
    permit(of_student(picked.record), what, yes)
    found = exported(picked, facts or known_data(picked.record, registry), registry, output)
    if as_json:
        json_out({**_json(found), "config": str(found.path.with_name("config.json"))})
        return
    say(f"wrote {found.path}")
    say(f"wrote {found.path.with_name('config.json')}")
    say()
    say(found.snippet)
    say()
    if found.resized:
        _, height, width = found.input_size
        say(f"it reads images resized to {height} x {width}, bilinear, antialiased")
    say(f"it reads (image - mean) / std of images in [0, 1]: mean {found.mean}, std {found.std}")


def known_data(record: "Record", registry: "Registry") -> "DataFacts":
    """What is known of the record's data set.

    Raises:
        UsageError: It is a user's own, and nothing says where it lies.
    """
    from kdbench.record import Spec
    from kdbench.registry import data_dir

    spec = Spec.parse(record.question.dataset)
    if "data" in dict(spec.options) and "data" not in registry.entry("dataset", spec.name).fields:
        raise UsageError(
            f"{spec} lies somewhere of your own",
            "records say what it holds, not where it lies",
            f"say where: --dataset {spec.name}:FOLDER",
        )
    return registry.dataset(spec, str(data_dir()))


def _json(found: "Exported") -> dict[str, Any]:
    return {
        "weights": str(found.path),
        "network": found.network,
        "arguments": found.arguments,
        "imports": found.imports,
        "mean": found.mean,
        "std": found.std,
        "input_size": found.input_size,
        "resized": found.resized,
        "snippet": found.snippet,
    }
