"""`kdbench show`: all that is known of one name, read from the index, without torch."""

import difflib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdbench.cli.options import AsJson, NoPlugin, PluginsDir, find, is_file
from kdbench.cli.output import heading, json_out, say, table
from kdbench.cli.reading import brief

if TYPE_CHECKING:
    from kdbench.record import Spec
    from kdbench.registry import Entry, Registry

_WORDS = {
    "method": "method", "dataset": "data set", "model": "network", "metric": "metric",
    "transfer": "transfer policy", "suite": "suite",
}  # fmt: skip


def show(
    name: Annotated[
        str,
        typer.Argument(
            help="A method, transfer policy, data set, network, metric or suite, with options in "
            "brackets; or a plugin file."
        ),
    ],
    as_json: AsJson = False,
    plugins_dir: PluginsDir = None,
    no_plugin: NoPlugin = None,
) -> None:
    """Show all that is known of one name."""
    from kdbench import suite

    if name.endswith(".toml"):
        found = [_suite(name)]
    elif is_file(name) and ":" not in name.partition("/")[0]:  # parquet:./folder is none
        found = _in_file(find(plugins_dir, no_plugin, [Path(name)]), Path(name))
    else:
        shipped = name in suite.names()
        found = _named(find(plugins_dir, no_plugin), name, required=not shipped)
        found += [_suite(name)] if shipped else []
    if as_json:
        json_out(found)
        return
    for i, facts in enumerate(found):
        if i:
            say()
        _print(facts)


def _suite(name: str) -> dict[str, Any]:
    """A suite with all that it asks, as JSON."""
    from kdbench import suite

    asked = suite.load(name)
    about = {
        "kind": "suite",
        "name": asked.name,
        "summary": asked.title,
        "doc": asked.about.strip(),
    }
    return about | {"settings": asked.model_dump(mode="json")}


def _in_file(registry: "Registry", path: Path) -> list[dict[str, Any]]:
    """All that a plugin file yields, as JSON.

    Raises:
        PluginError: It yields nothing that can be used.
    """
    from kdbench.record import Spec

    found = [entry for entry in registry.entries if entry.source.path == str(path.resolve())]
    if not found:
        registry.yielded(path)  # raises, and says why
    return [_facts(registry, entry, Spec(entry.name)) for entry in found]


def _named(registry: "Registry", text: str, *, required: bool) -> list[dict[str, Any]]:
    """What plugins and timm know under this name, as JSON.

    Raises:
        UsageError: Nothing, although it is required.
        PluginError: Its plugin is broken.
    """
    from kdbench.plan import dataset_spec

    spec = dataset_spec(text, registry)  # parquet:FOLDER is written like a name
    found = [
        _facts(registry, entry, member)
        for member in spec.members
        for entry in registry.entries
        if entry.name == member.name
    ]
    if not found and spec.name in registry.timm_names():
        about = {"summary": "A network of timm.", "origin": "timm"}
        found = [{"kind": "model", "name": spec.name} | about]
    if not found and required:
        _missing(registry, spec.name)
    return found


def _missing(registry: "Registry", name: str) -> None:
    """Raise what says best why there is nothing of this name."""
    from kdbench import suite
    from kdbench.errors import UsageError
    from kdbench.registry import Kind

    kinds: tuple[Kind, ...] = ("method", "transfer", "dataset", "model", "metric")
    for kind in kinds:
        # unknown as this kind; a broken plugin's error goes on to the user
        with suppress(UsageError):
            registry.entry(kind, name)
    known = [*(entry.name for entry in registry.entries), *suite.names(), *registry.timm_names()]
    close = difflib.get_close_matches(name, known, 1)
    none = "no method, transfer policy, data set, network, metric or suite has it"
    hint = f"did you mean {close[0]!r}?" if close else none
    raise UsageError(f"unknown name {name!r}", hint, "see kdbench list")


def _facts(registry: "Registry", entry: "Entry", spec: "Spec") -> dict[str, Any]:
    """An entry with what its options make of it, as JSON."""
    from kdbench.errors import DataError
    from kdbench.registry import data_dir

    out = brief(entry) | {
        "doc": entry.doc,
        "module": entry.source.module,
        "path": entry.source.path,
        "code": entry.code,
        "options": {key: vars(info) for key, info in entry.fields.items()},
    }
    if entry.kind == "method":
        found = registry.methods([spec])[spec]
        out |= {"paper": dict(entry.paper), "extra": entry.extra, "passes": found.passes}
        out |= {"spec": str(found.spec), "hyperparameters": found.hyperparameters}
        out |= {"needs": found.needs, "stages": list(found.stages)}
    elif entry.kind == "transfer":
        (policy,) = registry.transfers([spec])
        out |= {"spec": str(policy.spec), "hyperparameters": policy.options}
        out["facts"] = {"mixes": policy.mixes, "hides": policy.hides, "adds": policy.adds}
    elif entry.kind == "dataset":
        try:
            known = vars(registry.dataset(spec, str(data_dir())))
            kept = {key: value for key, value in known.items() if key not in {"source", "code"}}
            out["facts"] = kept | {"spec": str(known["spec"])}
        except DataError as error:
            out["facts"] = {"unknown": f"{error.what}: {error.why}"}
    return out


def _print(facts: dict[str, Any]) -> None:
    """One name, for people."""
    origin = f"   {facts['origin']}" if facts.get("origin") else ""
    heading(f"{_WORDS[facts['kind']]} {facts.get('spec', facts['name'])}{origin}")
    say(facts.get("doc") or facts["summary"])
    for line in _about(facts) if facts["kind"] == "method" else ():
        say(line)
    if options := facts.get("options"):
        say()
        chosen = facts.get("hyperparameters", {})
        columns = ("option", "value", "default", "type", "meaning")
        table(columns, [_option(key, info, chosen) for key, info in options.items()])
    plain = {**facts.get("facts", {}), **_asked(facts.get("settings", {}))}
    plain |= {f"needs {key}": value for key, value in facts.get("needs", {}).items()}
    plain |= {f"stage {i}": stage for i, stage in enumerate(facts.get("stages", []))}
    if plain:
        say()
        table(("fact", "value"), [(key, _short(value)) for key, value in plain.items()])


def _asked(settings: dict[str, Any]) -> dict[str, Any]:
    """A suite's settings, each variant and each claim by itself."""
    variants, claims = settings.get("variants", {}), settings.get("claims", ())
    whole = {key: value for key, value in settings.items() if key not in ("variants", "claims")}
    for name, one in variants.items():
        whole[f"variant {name}"] = {key: value for key, value in one.items() if value}
    return whole | {f"claim {one['key']}": one["says"] for one in claims}


def _about(facts: dict[str, Any]) -> list[str]:
    """Family, paper, extra weights and cost of a method, a line each."""
    paper = facts["paper"]
    printed = (f"{paper[key]}" for key in ("authors", "title", "venue", "year") if paper.get(key))
    where = [f"arXiv:{paper['arxiv']}"] if paper.get("arxiv") else []
    where += [f"doi:{paper['doi']}"] if paper.get("doi") else []
    cited = f"{'. '.join(printed)}{''.join(f', {one}' for one in where)}" if paper else "none named"
    passes = ", ".join(f"{role} {count}" for role, count in facts["passes"].items())
    return [
        "",
        f"Family: {facts['family'] or 'none named'}",
        f"Paper: {cited}",
        f"Extra weights: {facts['extra'] or 'none'}",
        f"Forward passes a step: {passes}",
    ]


def _option(key: str, info: dict[str, Any], chosen: dict[str, Any]) -> tuple[str, ...]:
    default = info["default"]
    return key, str(chosen.get(key, default)), str(default), info["type"], info["doc"]


def _short(value: Any) -> str:  # noqa: ANN401 - any JSON
    """The value on one line, long lists cut."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        more = f", ... ({len(value)})" if len(value) > 12 else ""
        return ", ".join(_short(item) for item in value[:12]) + more
    return str(value)
