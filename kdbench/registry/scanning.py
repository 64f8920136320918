"""Found plugins -> a registry: what each yields, from index or child, and which names clash."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from kdbench.errors import KDBenchError
from kdbench.record import Spec
from kdbench.registry.catalogue import Registry, fact_key, names_of, timm_names
from kdbench.registry.entry import Entry, FieldInfo, Plugin
from kdbench.registry.index import Index
from kdbench.registry.process import Child, Died, Raised, patience
from kdbench.registry.sources import Candidate, candidates

__all__ = ["scan"]

_Name = tuple[str, str]


def scan(
    *, files: Sequence[Path] = (), folders: Sequence[Path] = (), blocked: Sequence[str] = ()
) -> Registry:
    """All plugins: installed ones, these files, those in these folders and in `KDBENCH_PLUGINS`.

    Only a plugin that is new or changed is imported, in another process; the rest is in the index.

    Args:
        files: One-file plugins.
        folders: Every *.py in them that does not start with an underscore is a one-file plugin.
        blocked: Entry points, distributions or file stems that are left out.

    Raises:
        UsageError: A file or folder is not there, or a blocked plugin is none.
    """
    index = Index()
    found = candidates(files, folders, blocked, index.section("syntax"))
    child = Child()  # the registry's from here on: it answers what the index does not know
    if any(_names_networks(candidate) for candidate in found):
        timm_names(index, child)  # now, before plugins add their networks to timm's
    plugins, yields = [], []
    for candidate in found:
        plugin, entries = _read(candidate, index, child)
        plugins.append(plugin)
        yields.append(entries)
    networks = any(entry.kind == "model" for entries in yields for entry in entries)
    timm = set(timm_names(index, child)) if networks else set()
    index.save()
    return _settle(found, plugins, yields, timm, index, child)


def _read(candidate: Candidate, index: Index, child: Child) -> tuple[Plugin, list[Entry]]:
    """The plugin with what it yields. Only what worked is kept: what is missing may come."""
    plugin, source = candidate.plugin, candidate.plugin.source
    if plugin.state != "ok":
        return plugin, []
    section = index.section("yields")
    key = f"{source.distribution}/{source.version}/{source.name}/{source.digest}"
    if key not in section:
        try:
            section[key] = child.ask({"do": "load", "source": vars(source)}, patience())
        except KDBenchError as error:
            where = "" if source.path in error.what else f"{source.path}: "
            told = "; ".join(filter(None, (error.what, error.why, error.next)))
            return replace(plugin, state="broken", error=where + told), []
        except (Raised, Died) as error:
            return replace(plugin, state="broken", error=str(error)), []
    entries = []
    said = section[key]
    for found in cast(list[dict[str, Any]], said["found"]):
        fields = {name: FieldInfo(**field) for name, field in found["fields"].items()}
        about = {key: value for key, value in found.items() if key not in ("fields", "facts")}
        entry = Entry(**about, fields=fields, source=source, code=candidate.code)
        if found["facts"]:
            key = fact_key(entry, Spec(entry.name))
            index.section("facts").setdefault(key, found["facts"])
        entries.append(entry)
    yields = names_of([vars(entry) for entry in entries])
    return replace(plugin, yields=yields, seconds=said["seconds"]), entries


def _names_networks(candidate: Candidate) -> bool:
    """Whether the plugin's own file speaks of the hook for networks."""
    path = Path(candidate.plugin.source.path)
    return path.is_file() and b"kdbench_models" in path.read_bytes()


def _settle(
    found: Sequence[Candidate],
    plugins: list[Plugin],
    yields: list[list[Entry]],
    timm: set[str],
    index: Index,
    child: Child,
) -> Registry:
    """The registry, in which each name has one origin or none."""
    owners: dict[_Name, list[int]] = defaultdict(list)
    for i, entries in enumerate(yields):
        for entry in entries:
            owners[entry.kind, entry.name].append(i)
    errors: dict[int, list[str]] = defaultdict(list)
    broken: set[int] = set()
    unusable: dict[_Name, str] = {}
    for (kind, name), origins in owners.items():
        first = [i for i in origins if plugins[i].source.first_party]
        reserved = "timm" if kind == "model" and name in timm else ""
        if reserved or (len(first) == 1 and len(origins) > 1):
            owner = reserved or plugins[first[0]].source.origin
            for i in origins if reserved else [i for i in origins if i not in first]:
                errors[i].append(
                    f"{plugins[i].source.origin}: {kind} {name!r} is {owner}'s already; rename it"
                )
                broken.add(i)
    for (kind, name), origins in owners.items():
        left = [i for i in origins if i not in broken]
        if len(left) > 1:
            both = " and ".join(plugins[i].source.origin for i in left)
            unusable[kind, name] = (
                f"{both} both yield it; leave one out with --no-plugin, or rename"
            )
            for i in left:
                errors[i].append(f"{kind} {name!r} is yielded by {both}")
    for i, messages in errors.items():
        plugins[i] = replace(
            plugins[i], state="broken" if i in broken else "ok", error="; ".join(messages)
        )
    entries = [
        entry
        for i, group in enumerate(yields)
        if i not in broken
        for entry in group
        if (entry.kind, entry.name) not in unusable
    ]
    usable = {(entry.kind, entry.name) for entry in entries}
    for candidate, plugin, group in zip(found, plugins, yields, strict=True):
        if plugin.state != "ok":
            for claim in [*candidate.claims, *((entry.kind, entry.name) for entry in group)]:
                if claim not in usable:
                    unusable.setdefault(claim, plugin.error)
    return Registry(plugins, entries, unusable, index, child)
