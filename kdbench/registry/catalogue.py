"""What is installed: plugins with their states, names with their origins, facts for a plan."""

import difflib
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdbench.errors import PluginError, UsageError
from kdbench.record import Spec, fingerprint
from kdbench.registry.entry import DataFacts, Entry, Kind, MethodFacts, Plugin, TransferFacts
from kdbench.registry.index import Index, version
from kdbench.registry.process import Child, Died, Raised, patience
from kdbench.registry.summing import summed

__all__ = ["Registry", "fact_key", "names_of", "timm_names"]

_PLURAL = {
    "method": "methods", "dataset": "datasets", "model": "models", "metric": "metrics",
    "transfer": "transfers",
}  # fmt: skip
_WORDS = {
    "method": "method", "dataset": "data set", "model": "network", "metric": "metric",
    "transfer": "transfer policy",
}  # fmt: skip
_MEND = "mend the plugin, or select without it; see kdbench plugins"
_ELSEWHERE = ("hf-hub:", "hf_hub:", "local-dir:")


class Registry:
    """All plugins that were found, and what the usable ones yield.

    Args:
        plugins: With their states.
        entries: Usable names alone.
        unusable: Why a (kind, name) that a broken, blocked or clashing plugin claims is none.
        index: Where facts are kept.
        child: Where they come from when they are not.
    """

    def __init__(
        self,
        plugins: Sequence[Plugin],
        entries: Sequence[Entry],
        unusable: Mapping[tuple[str, str], str],
        index: Index,
        child: Child,
    ) -> None:
        self._child = child
        weakref.finalize(self, child.close)
        self.plugins, self.entries = tuple(plugins), tuple(entries)
        self._entries = {(entry.kind, entry.name): entry for entry in entries}
        self._unusable, self._index = dict(unusable), index
        self._data: dict[tuple[Spec, str], DataFacts] = {}

    def entry(self, kind: Kind, name: str) -> Entry:
        """The entry of that name; timm's own networks have none.

        Raises:
            UsageError: No plugin yields it.
            PluginError: The plugin that does is broken, blocked or clashes.
        """
        if found := self._entries.get((kind, name)):
            return found
        why = self._unusable.get((kind, name))
        if why is None and kind != "model":
            # a plugin that broke before it was read claims its own name
            broken = (
                p
                for p in self.plugins
                if p.state == "broken" and not p.yields and p.source.name == name
            )
            why = next((plugin.error for plugin in broken), None)
        if why is not None:
            raise PluginError(f"{_WORDS[kind]} {name!r} cannot be used", why, _MEND)
        known = [entry.name for entry in self.entries if entry.kind == kind]
        raise self._unknown(kind, name, known)

    @staticmethod
    def _unknown(kind: Kind, name: str, known: Sequence[str]) -> UsageError:
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        plural = f"{_WORDS[kind]}s".replace("ys", "ies")
        count = f"{len(known)} {_WORDS[kind] if len(known) == 1 else plural} available"
        return UsageError(
            f"unknown {_WORDS[kind]} {name!r}", hint + count, f"see kdbench list {_PLURAL[kind]}"
        )

    def yielded(self, path: Path) -> tuple[str, ...]:
        """Names of the methods in a plugin file, which `-m ./FILE.py` selects.

        Raises:
            PluginError: The plugin is broken, or yields no method; UsageError: it was not scanned.
        """
        plugin = next((p for p in self.plugins if p.source.path == str(path.resolve())), None)
        if plugin is None:
            raise UsageError(
                f"{path} is not among the plugins", "it was not looked for", "see kdbench plugins"
            )
        if plugin.error:
            raise PluginError(f"plugin {path} cannot be used", plugin.error, _MEND)
        yields = (text.split(" ", 1) for text in plugin.yields)
        names = tuple(name for kind, name in yields if kind == "method")
        if not names:
            raise PluginError(
                f"{path} yields no method", "-m selects methods", "yield one from kdbench_methods()"
            )
        return names

    def methods(self, specs: Sequence[Spec]) -> dict[Spec, MethodFacts]:
        """What a plan must know of each method, by the spec as given.

        Raises:
            UsageError: Unknown name or option, an impossible value, or methods that have no sum.
            PluginError: A broken plugin was asked for.
        """
        found = {}
        with self._child as child:  # ended afterwards; it starts again when it is asked again
            for spec in specs:
                found[spec] = summed([self._method(member, child) for member in spec.members])
        self._index.save()
        return found

    def _method(self, spec: Spec, child: Child) -> MethodFacts:
        entry = self.entry("method", spec.name)
        facts = self._facts(entry, spec, child)
        return MethodFacts(
            spec=_spec(facts["spec"]),
            hyperparameters=facts["hyperparameters"],
            needs=facts["needs"],
            stages=tuple(facts["stages"]),
            overrides=tuple(facts["overrides"]),
            code=entry.code,
            sources=(entry.source,),
        )

    def dataset(self, spec: Spec, root: str) -> DataFacts:
        """What a plan must know of a data set whose files lie under `root`.

        Facts do not move with `root`; those of a user's own files are read once a registry.

        Raises:
            UsageError, PluginError: As for methods; DataError: the user's own data cannot be read.
        """
        if (spec, root) in self._data:
            return self._data[spec, root]
        entry = self.entry("dataset", spec.name)
        with self._child as child:
            facts = dict(self._facts(entry, spec, child))
        self._index.save()
        for key in ("image_shape", "mean", "std", "class_names"):
            facts[key] = tuple(facts[key])
        facts["spec"] = _spec(facts["spec"])
        self._data[spec, root] = DataFacts(**facts, source=entry.source, code=entry.code)
        return self._data[spec, root]

    def transfers(self, specs: Sequence[Spec]) -> tuple[TransferFacts, ...]:
        """What a plan must know of each transfer policy.

        Raises:
            UsageError, PluginError: As for methods.
        """
        entries = [self.entry("transfer", spec.name) for spec in specs]
        with self._child as child:
            found = [self._facts(e, s, child) for e, s in zip(entries, specs, strict=True)]
        self._index.save()
        return tuple(
            TransferFacts(**facts | {"spec": _spec(facts["spec"])}, source=e.source, code=e.code)
            for facts, e in zip(found, entries, strict=True)
        )

    def _facts(self, entry: Entry, spec: Spec, child: Child) -> dict[str, Any]:
        """The facts from the index, or from the child."""
        section = self._index.section("facts")
        key = fact_key(entry, spec)
        if key in section:
            return dict(section[key])
        options = {name: _thawed(value) for name, value in spec.options}
        written = {"name": spec.name, "options": options}
        asked = {"do": "facts", "kind": entry.kind, "source": vars(entry.source), "spec": written}
        # a data set may have to read all of a user's files: that takes the time it takes
        seconds = None if entry.kind == "dataset" else patience()
        try:
            facts: dict[str, Any] = child.ask(asked, seconds)
        except (Raised, Died) as error:
            raise PluginError(
                f"{_WORDS[entry.kind]} {spec} cannot be used", str(error), "correct the plugin"
            ) from None
        if facts.pop("cacheable", True):
            section[key] = facts
        return facts

    def network_code(self, name: str) -> str:
        """Fingerprint of a network's code: that of its plugin; for timm's own nets the name itself.

        Raises:
            UsageError: Neither a plugin nor timm has it.
            PluginError: The plugin that has it cannot be used.
        """
        if name.startswith(_ELSEWHERE):
            return name
        if ("model", name) in self._entries:
            return self._entries["model", name].code
        own = self.timm_names()
        if ("model", name) in self._unusable and name not in own:
            return self.entry("model", name).code  # raises, and says why
        if name.partition(".")[0] in own:  # after the point stands the tag of the weights
            return name
        known = [entry.name for entry in self.entries if entry.kind == "model"]
        raise self._unknown("model", name, [*known, *own])

    def timm_names(self) -> tuple[str, ...]:
        """Names of the networks that timm itself has, without the tags of their weights."""
        with self._child as child:
            return timm_names(self._index, child)


def timm_names(index: Index, child: Child) -> tuple[str, ...]:
    """Names of timm's own networks: from the index, or a child that has imported no plugin."""
    section, key = index.section("timm"), version("timm")
    if key not in section:
        if "load" in child.asked:
            child.close()
        section[key] = child.ask({"do": "timm"}, None)
        index.save()
    return tuple(section[key])


def fact_key(entry: Entry, spec: Spec) -> str:
    """Key of facts in the index."""
    return fingerprint([entry.kind, entry.source.digest, entry.source.version, str(spec)])


def _spec(value: Mapping[str, Any]) -> Spec:
    return Spec.of(value["name"], value["options"])


def _thawed(value: object) -> object:
    return [_thawed(item) for item in value] if isinstance(value, tuple) else value


def names_of(entries: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The names with their kinds, as `Plugin.yields` holds them."""
    return tuple(f"{entry['kind']} {entry['name']}" for entry in entries)
