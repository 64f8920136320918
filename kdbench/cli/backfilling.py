"""Plugins' metrics computed for the records of a store, from the logits beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.errors import DataError, KDBenchError, NothingSelected, PluginError, Unsupported
from kdbench.leaderboard import record_id
from kdbench.leaderboard.metrics import MetricValues, read_metrics, write_metric
from kdbench.record import Origin, Record, Store, fingerprint

if TYPE_CHECKING:
    from kdbench.registry import DataFacts, Entry, Registry
    from kdbench.registry.process import Child

__all__ = ["Backfill", "Filled", "backfill", "chosen"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """What came of one metric.

    Attributes:
        new: Values computed now; `kept` were there.
        declined: Records that the metric says it cannot do, each with the reason.
        failed: Records it failed on, each with plugin, file, line and reason.
        file: What holds its values; None where there are none.
    """

    metric: str
    new: int
    kept: int
    declined: tuple[tuple[str, str], ...]
    failed: tuple[tuple[str, str], ...]
    file: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """What came of all metrics.

    Attributes:
        missing: Records whose logits or labels are not here, each with the reason.
    """

    metrics: tuple[Filled, ...]
    missing: tuple[tuple[str, str], ...]


def chosen(registry: "Registry", names: Sequence[str], files: Sequence[Path]) -> list["Entry"]:
    """The metrics of these names and plugin files; of all plugins without any.

    Raises:
        UsageError: No such metric; PluginError: its plugin is broken.
        NothingSelected: There is none.
    """
    for path in files:
        plugin = next(p for p in registry.plugins if p.source.path == str(path.resolve()))
        if plugin.error:
            raise PluginError(f"plugin {path} cannot be used", plugin.error, "mend the plugin")
    paths = {str(path.resolve()) for path in files}
    asked = {registry.entry("metric", name).name for name in names}
    found = [
        entry
        for entry in registry.entries
        if entry.kind == "metric"
        and (not (asked or paths) or entry.name in asked or entry.source.path in paths)
    ]
    if not found:
        raise NothingSelected(
            "no plugin yields a metric",
            "metrics come from the hook kdbench_metrics",
            "give a plugin file: kdbench metrics backfill -m ./FILE.py",
        )
    return found


def backfill(
    folder: Path, entries: Sequence["Entry"], registry: "Registry", data: Sequence["DataFacts"]
) -> Backfill:
    """Compute what is missing and write it beside the records.

    Args:
        data: Data sets of the user's own, which records do not say the place of.

    Raises:
        NothingSelected: No record has logits.
        PluginError: A metric has a name that records use themselves.
    """
    from kdbench.registry.process import Child

    store = Store(folder)
    records = [r for r in store.records() if r.status == "ok" and r.logits]
    if not records:
        raise NothingSelected(
            f"no record in {folder} has logits",
            "metrics are of ok trials",
            "kdbench run makes them",
        )
    taken = {name for r in records for name in r.quality} | {
        name if where == _split(r) else f"{where}_{name}"
        for r in records
        for where, values in r.fidelity.items()
        for name in values
    }
    for entry in entries:
        if entry.name in taken or entry.name.startswith("transfer_"):
            raise PluginError(
                f"metric {entry.name!r} of {entry.source.origin} is one of the host's",
                "records hold a value of that name themselves",
                "rename it",
            )
    there = read_metrics(folder)
    with Child("kdbench.measure.later") as child:
        desk = _Desk(store, registry, {facts.name: facts for facts in data}, child)
        filled = tuple(_filled(entry, records, there.get(entry.name), desk) for entry in entries)
        return Backfill(metrics=filled, missing=tuple(sorted(desk.missing.items())))


def _filled(
    entry: "Entry", records: Sequence[Record], there: MetricValues | None, desk: "_Desk"
) -> Filled:
    from kdbench.registry.process import Died, Raised

    old = there.values.get(entry.code, {}) if there else {}
    new, declined, failed = dict[str, float](), list[tuple[str, str]](), list[tuple[str, str]]()
    for record in records:
        identity = record_id(record)
        if identity in old or (material := desk.material(record)) is None:
            continue
        name = desk.name(record)
        try:
            new[identity] = desk.value(entry, material)
        except Unsupported as error:
            declined.append((name, error.what))
        except DataError as error:
            desk.missing[name] = "; ".join(filter(None, (error.what, error.why)))
        except (KDBenchError, Raised) as error:
            why = "; ".join(filter(None, error.args))
            failed.append((name, f"{entry.source.origin}: {why}"))
        except Died as error:  # who takes the process down may do so at every record
            failed.append((name, f"{entry.source.origin}: {error}; it was not asked again"))
            break
    path = None
    if old or new:
        source = entry.source
        origin = Origin(distribution=source.distribution, version=source.version)
        values = MetricValues(
            metric=entry.name, code=entry.code, origins={entry.code: origin},
            values={entry.code: old | new},
        )  # fmt: skip
        path = write_metric(values.joined(there) if there else values, desk.store.root)
    return Filled(
        metric=entry.name, new=len(new), kept=len(old), declined=tuple(declined),
        failed=tuple(failed), file=path,
    )  # fmt: skip


class _Desk:
    """What metrics are computed from, looked up once; and the child that computes them."""

    def __init__(
        self, store: Store, registry: "Registry", own: Mapping[str, "DataFacts"], child: "Child"
    ) -> None:
        self.store, self.missing = store, dict[str, str]()
        self._registry, self._own, self._child = registry, own, child
        self._data: dict[str, dict[str, Any] | str] = {}
        self._known = set[str]()

    def name(self, record: Record) -> str:
        """The record's file, seen from the store."""
        return self.store.path(record).relative_to(self.store.root).as_posix()

    def material(self, record: Record) -> dict[str, Any] | None:
        """Paths of the logits and what labels they have; None, and the reason kept, without any."""
        digests = (record.logits, record.teacher.logits if record.teacher else "")
        paths = [self.store.artifact(digest) if digest else None for digest in digests]
        if absent := next((path for path in paths if path and not path.is_file()), None):
            self.missing[self.name(record)] = f"{absent.relative_to(self.store.root)} is not there"
            return None
        ask = record.question
        held = ask.evaluation.validation_rows if _split(record) == "validation" else 0
        key = fingerprint([ask.dataset, held])
        if key not in self._data:
            self._data[key] = self._labels(record, key, held)
        data = self._data[key]
        if isinstance(data, str):
            self.missing[self.name(record)] = data
            return None
        logits, teacher = (str(path.absolute()) if path else "" for path in paths)
        return {"logits": logits, "teacher": teacher, "data": data, "key": key}

    def _labels(self, record: Record, key: str, held: int) -> dict[str, Any] | str:
        """The question for the labels, or why they cannot be had."""
        from kdbench.cli.weights import known_data
        from kdbench.registry import data_dir

        try:
            facts = self._own.get(record.question.dataset) or known_data(record, self._registry)
        except KDBenchError as error:
            return f"no labels: {'; '.join(filter(None, (error.what, error.why)))}"
        if facts.name != record.question.dataset:
            return f"no labels: {facts.name} is here, not {record.question.dataset}"
        options = {name: _listed(value) for name, value in facts.spec.options}
        return {
            "do": "labels", "key": key, "source": vars(facts.source), "root": str(data_dir()),
            "spec": {"name": facts.spec.name, "options": options}, "validation_rows": held,
        }  # fmt: skip

    def value(self, entry: "Entry", material: Mapping[str, Any]) -> float:
        """The metric of one record; raises what the child does.

        Raises:
            DataError: Its labels cannot be read.
        """
        from kdbench.registry.process import Died, Raised, patience

        key = material["key"]
        if "labels" not in self._child.asked:  # it has just started, or started again
            self._known.clear()
        if key not in self._known:
            try:
                self._child.ask(material["data"], None)
            except (KDBenchError, Raised, Died) as error:
                self._data[key] = why = f"no labels: {'; '.join(filter(None, error.args))}"
                raise DataError(why) from error
            self._known.add(key)
        value: float = self._child.ask(
            {
                "do": "value", "source": vars(entry.source), "name": entry.name, "key": key,
                "logits": material["logits"], "teacher": material["teacher"],
            },
            patience(),
        )  # fmt: skip
        return value


def _split(record: Record) -> str:
    return record.question.evaluation.split


def _listed(value: object) -> object:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value
