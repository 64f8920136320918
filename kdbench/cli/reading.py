"""`kdbench list` and `plugins`: what is there, read from the index, without torch."""

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdbench.cli.options import AsJson, NoPlugin, PluginsDir, find
from kdbench.cli.output import heading, json_out, line, say, table

if TYPE_CHECKING:
    from kdbench.registry import Entry, Plugin

_KINDS = {
    "methods": "method", "transfers": "transfer", "datasets": "dataset", "models": "model",
    "metrics": "metric",
}  # fmt: skip
_COLUMNS = {
    "method": ("name", "family", "year", "summary", "origin"),
    "transfer": ("name", "summary", "origin"),
    "dataset": ("name", "summary", "origin"),
    "model": ("name", "summary", "origin"),
    "metric": ("name", "summary", "origin"),
    "suite": ("name", "summary"),
}
_TITLES = {
    "method": "Methods", "transfer": "Transfer policies", "dataset": "Data sets",
    "model": "Networks", "metric": "Metrics", "suite": "Suites",
}  # fmt: skip


class What(StrEnum):
    """Kinds that can be listed."""

    METHODS = "methods"
    TRANSFERS = "transfers"
    DATASETS = "datasets"
    MODELS = "models"
    METRICS = "metrics"
    SUITES = "suites"


def list_(
    what: Annotated[
        What | None,
        typer.Argument(
            metavar="KIND",
            help="One kind alone: methods, transfers, datasets, models, metrics or suites.",
        ),
    ] = None,
    as_json: AsJson = False,
    plugins_dir: PluginsDir = None,
    no_plugin: NoPlugin = None,
) -> None:
    """List methods, transfer policies, data sets, networks, metrics of plugins and suites."""
    groups: dict[str, list[dict[str, Any]]] = {}
    own: Sequence[str] = ()
    if what != "suites":
        registry = find(plugins_dir, no_plugin)
        for plural, kind in _KINDS.items():
            if what in (None, plural):
                groups[kind] = [brief(entry) for entry in registry.entries if entry.kind == kind]
        if what is None and not groups["metric"]:
            del groups["metric"]  # none ships: those that there are have their place
        own = registry.timm_names() if "model" in groups else ()
    if what in (None, "suites"):
        groups["suite"] = [{"kind": "suite", **suite} for suite in _suites()]
    if as_json:
        if what == "models":
            groups["model"] += [
                {"kind": "model", "name": name, "summary": "", "origin": "timm"} for name in own
            ]
        json_out([item for group in groups.values() for item in group])
        return
    for i, (kind, items) in enumerate(groups.items()):
        if len(groups) > 1:
            if i:
                say()
            heading(_TITLES[kind])
        columns = _COLUMNS[kind]
        table(columns, [[str(item[column] or "-") for column in columns] for item in items])
        if kind == "model":
            say(f"and any of the {len(own)} networks of timm, by its name")


def brief(entry: "Entry") -> dict[str, Any]:
    """Kind, name, summary and origin, and a method's family and paper's year, as JSON."""
    about = {"family": entry.family, "year": entry.paper.get("year")}
    return {
        "kind": entry.kind,
        "name": entry.name,
        "summary": entry.summary,
        "origin": entry.source.origin.partition(" (")[0],
    } | (about if entry.kind == "method" else {})


def _suites() -> list[dict[str, str]]:
    """Name and title of each shipped suite."""
    from kdbench import suite

    return [{"name": name, "summary": suite.load(name).title} for name in suite.names()]


def plugins(
    errors: Annotated[bool, typer.Option("--errors", help="Only plugins with errors.")] = False,
    as_json: AsJson = False,
    plugins_dir: PluginsDir = None,
    no_plugin: NoPlugin = None,
) -> None:
    """List every plugin with its state, where it comes from and what it yields."""
    from kdbench.registry import scan

    found = scan(folders=plugins_dir or (), blocked=no_plugin or ()).plugins
    chosen = [
        plugin for plugin in found if not errors or (plugin.error and plugin.state != "blocked")
    ]
    if as_json:
        json_out([_row(plugin) for plugin in chosen])
        return
    if not chosen:
        say(f"{len(found)} plugins, none with errors" if found else "no plugins")
        return
    table(
        ("state", "plugin", "origin", "yields"),
        [(p.state, p.source.name, p.source.origin, ", ".join(p.yields)) for p in chosen],
    )
    for plugin in chosen:
        if plugin.error:
            say(line(f"{plugin.source.name}: {plugin.error}"))
        if plugin.slow:
            say(line(f"{plugin.source.name}: slow, its import takes {plugin.seconds:g} s"))


def _row(plugin: "Plugin") -> dict[str, Any]:
    source = plugin.source
    return {
        "name": source.name,
        "state": plugin.state,
        "kind": source.kind,
        "distribution": source.distribution,
        "version": source.version,
        "module": source.module,
        "path": source.path,
        "first_party": source.first_party,
        "yields": list(plugin.yields),
        "error": plugin.error,
        "import_seconds": plugin.seconds,
    }
