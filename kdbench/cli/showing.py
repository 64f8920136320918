"""`kdbench show`: all that is known of one name, read from the index, without torch."""

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdbench.cli.options import AsJson, NoPlugin, PluginsDir, find, is_file
from kdbench.cli.output import heading, json_out, say, table
from kdbench.cli.reading import brief

if TYPE_CHECKING:
    from kdbench.record import Spec
    from kdbench.registry import Entry, Registry

_WORDS = {"method": "method", "dataset": "data set", "model": "network", "suite": "suite"}


def show(
    name: Annotated[
        str,
        typer.Argument(
            help="A method, data set, network or suite, with options in brackets; or a plugin file."
        ),
    ],
    as_json: AsJson = False,
    plugins_dir: PluginsDir = None,
    no_plugin: NoPlugin = None,
) -> None:
    """Show all that is known of one name."""
    from kdbench import suite

    if is_file(name) and not name.endswith(".toml"):
        registry = find(plugins_dir, no_plugin, [Path(name)])
        found = [
            fact for method in registry.yielded(Path(name)) for fact in _named(registry, method)
        ]
    else:
        registry = find(plugins_dir, no_plugin)
        suites = [suite.load(name)] if name in suite.names() or name.endswith(".toml") else []
        found = [] if name.endswith(".toml") else _named(registry, name, required=not suites)
        found += [{"kind": "suite", "name": s.name, "summary": s.title, "doc": s.about.strip(), "settings": s.model_dump(mode="json")}
                  for s in suites]
    if as_json:
        json_out(found)
        return
    for i, facts in enumerate(found):
        if i:
            say()
        _print(facts)


def _named(registry: "Registry", text: str, *, required: bool = True) -> list[dict[str, Any]]:
    """What plugins and timm know under this name.

    Raises:
        UsageError: Nothing, although it is required; PluginError: its plugin is broken.
    """
    from kdbench.record import Spec

    spec = Spec.parse(text)
    entries = [entry for entry in registry.entries if entry.name == spec.name]
    found = [_facts(registry, entry, spec) for entry in entries]
    if not found and spec.name in registry.timm_names():
        found = [
            {"kind": "model", "name": spec.name, "summary": "A network of timm.", "origin": "timm"}
        ]
    if not found and required:
        _missing(registry, spec.name)
    return found


def _missing(registry: "Registry", name: str) -> None:
    """Raise what says best why there is nothing of this name."""
    from kdbench import suite
    from kdbench.errors import PluginError, UsageError
    from kdbench.registry import Kind

    kinds: tuple[Kind, ...] = ("method", "dataset", "model")
    for kind in kinds:
        try:
            registry.entry(kind, name)
        except UsageError:
            continue  # another kind may know why; a broken plugin's error goes on to the user
        except PluginError:
            raise
    known = [*(entry.name for entry in registry.entries), *suite.names(), *registry.timm_names()]
    close = difflib.get_close_matches(name, known, 1)
    hint = (
        f"did you mean {close[0]!r}?" if close else "no method, data set, network or suite has it"
    )
    raise UsageError(f"unknown name {name!r}", hint, "see kdbench list")


def _facts(registry: "Registry", entry: "Entry", spec: Any) -> dict[str, Any]:  # noqa: ANN401 - a Spec; records are imported late
    """An entry with what its options make of it, as JSON."""
    from dataclasses import asdict

    from kdbench.errors import DataError
    from kdbench.registry import data_dir

    out = brief(entry) | {"doc": entry.doc, "paper": entry.paper, "module": entry.source.module, "path": entry.source.path,
                           "code": entry.code, "options": {key: vars(info) for key, info in entry.fields.items()}}
    if entry.kind == "method":
        facts = registry.methods([spec])[spec]
        out |= {
            "spec": str(facts.spec),
            "hyperparameters": facts.hyperparameters,
            "needs": facts.needs,
            "stages": list(facts.stages),
        }
    elif entry.kind == "dataset":
        try:
            data = registry.dataset(spec, str(data_dir()))
            out["facts"] = {
                k: v for k, v in asdict(data).items() if k not in {"spec", "source", "code"}
            } | {"spec": str(data.spec)}
        except DataError as error:
            out["facts"] = {"unknown": f"{error.what}: {error.why}"}
    return out


def _print(facts: dict[str, Any]) -> None:
    """One name, for people."""
    origin = f"   {facts['origin']}" if facts.get("origin") else ""
    heading(f"{_WORDS[facts['kind']]} {facts.get('spec', facts['name'])}{origin}")
    say(facts.get("doc") or facts["summary"])
    if facts.get("paper"):
        say(f"Paper: {facts['paper']}")
    if options := facts.get("options"):
        say()
        chosen = facts.get("hyperparameters", {})
        rows = [
            (
                key,
                str(chosen.get(key, info["default"])),
                str(info["default"]),
                info["type"],
                info["doc"],
            )
            for key, info in options.items()
        ]
        table(("option", "value", "default", "type", "meaning"), rows)
    plain = {**facts.get("facts", {}), **facts.get("settings", {})}
    if facts["kind"] == "method":
        plain |= {f"needs {key}": value for key, value in facts["needs"].items()}
        plain |= (
            {f"stage {i}": value for i, value in enumerate(facts["stages"])}
            if len(facts["stages"]) > 1
            else {}
        )
    if plain:
        say()
        table(("fact", "value"), [(key, _short(value)) for key, value in plain.items()])


def _short(value: Any) -> str:  # noqa: ANN401 - any JSON
    """The value on one line, long lists cut."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        more = f", ... ({len(value)})" if len(value) > 12 else ""
        return ", ".join(_short(item) for item in value[:12]) + more
    return str(value)
