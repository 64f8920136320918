"""`kdbench metrics backfill`: metrics that plugins added, computed for records that are there."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdbench.cli.options import AsJson, NoPlugin, PluginsDir, find, is_file
from kdbench.cli.output import json_out, say, warn
from kdbench.cli.selection import StoreDir
from kdbench.errors import NothingSelected, PluginError

if TYPE_CHECKING:
    from kdbench.cli.backfilling import Backfill, Filled

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

_SHOWN = 3


@app.callback()
def metrics() -> None:
    """Compute metrics of plugins for records that are there."""


@app.command("backfill")
def backfill(
    where: Annotated[
        str | None,
        typer.Argument(metavar="FOLDER|SUITE", help="A folder with records, or a suite's name."),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "-m", "--metric", metavar="NAME|FILE.py", help="A metric, or a plugin file; repeat."
        ),
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(metavar="DATASET", help="Where data of your own lie; repeat."),
    ] = None,
    store: StoreDir = None,
    as_json: AsJson = False,
    plugins_dir: PluginsDir = None,
    no_plugin: NoPlugin = None,
) -> None:
    """Compute plugins' metrics from the logits that records left in their store; trains nothing."""
    from kdbench.cli.backfilling import backfill as fill
    from kdbench.cli.backfilling import chosen
    from kdbench.cli.board import folder_of
    from kdbench.plan import dataset_spec
    from kdbench.registry import data_dir

    folder = folder_of(where, store)
    files = [Path(text) for text in metric or () if is_file(text)]
    registry = find(plugins_dir, no_plugin, files)
    entries = chosen(registry, [text for text in metric or () if not is_file(text)], files)
    root = str(data_dir())
    data = [registry.dataset(dataset_spec(text, registry), root) for text in dataset or ()]
    found = fill(folder, entries, registry, data)
    if as_json:
        json_out(_json(found))
    else:
        for one in found.metrics:
            _print(one)
        _named("not computed", found.missing)
    failed = [why for one in found.metrics for _, why in one.failed]
    if failed:
        raise PluginError(
            f"{len(failed)} values could not be computed",
            failed[0],
            "mend the plugin and give the same command: what is computed is kept",
        )
    if not any(one.new + one.kept + len(one.declined) for one in found.metrics):
        raise NothingSelected(
            f"no logits of the records in {folder} can be used",
            found.missing[0][1],
            "logits lie in artifacts/ of the store that trained: copy them, or backfill there",
        )


def _print(one: "Filled") -> None:
    kept = f", {one.kept} were there" if one.kept else ""
    say(f"{one.metric}: {one.new} values computed{kept}")
    _named("declined", one.declined)
    _named("failed", one.failed)
    if one.file:
        say(f"wrote {one.file}: kdbench leaderboard {one.file.parents[1]} shows it")


def _named(what: str, found: Sequence[tuple[str, str]]) -> None:
    for name, why in found[:_SHOWN]:
        warn(f"{what}: {name}: {why}")
    if len(found) > _SHOWN:
        warn(f"{what}: {len(found) - _SHOWN} more records; --json names all")


def _json(found: "Backfill") -> dict[str, Any]:
    def named(pairs: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
        return [{"record": name, "why": why} for name, why in pairs]

    return {
        "metrics": [
            {
                "metric": one.metric, "new": one.new, "kept": one.kept,
                "declined": named(one.declined), "failed": named(one.failed),
                "file": str(one.file) if one.file else None,
            }
            for one in found.metrics
        ],
        "missing": named(found.missing),
    }  # fmt: skip
