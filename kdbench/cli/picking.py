"""One record out of a store: by its file, or by what it answers."""

from dataclasses import dataclass
from pathlib import Path

from kdbench.errors import NothingSelected, UsageError
from kdbench.leaderboard import record_id
from kdbench.record import Pair, Record, Spec, Store, frozen

__all__ = ["Picked", "pick", "pick_file"]

_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Picked:
    """A record and the store that holds its artifacts."""

    record: Record
    store: Store


def pick_file(path: Path) -> Picked:
    """The record in this file, and the store that the file lies in.

    Raises:
        UsageError: No such file, or it lies in no store; StoreError: it is no record.
    """
    if not path.is_file():
        raise UsageError(
            f"no record {path}", "there is no such file", "records lie in STORE/records/"
        )
    root = next((up.parent for up in path.absolute().parents if up.name == "records"), None)
    if root is None:
        raise UsageError(
            f"{path} lies in no store", "weights are looked for beside records/", "put it back"
        )
    store = Store(root)
    return Picked(store.read(path), store)


def pick(
    folder: Path, method: str, pair: str | None, dataset: str | None, seed: int | None
) -> Picked:
    """The one ok record in `folder` that fits; of several attempts at a question the latest.

    A trial of the full protocol goes before one of a part of it, and the whole transfer set before
    one that leaves a quiz split out.

    Args:
        folder: Of the store.
        method: Name, with those options that tell it from others.
        pair, dataset: As questions write them; None for any.
        seed: None for any.

    Raises:
        NothingSelected: None fits; UsageError: several do.
    """
    store, spec = Store(folder), Spec.parse(method)
    wanted = None if pair is None else str(Pair.parse(pair))
    latest: dict[str, Record] = {}
    for record in sorted(store.records(), key=lambda r: (r.created, r.attempt, record_id(r))):
        ask = record.question
        fits = (
            record.status == "ok"
            and ask.method == spec.name
            and all(
                key in ask.hyperparameters and frozen(ask.hyperparameters[key]) == value
                for key, value in spec.options
            )
            and wanted in (None, f"{ask.teacher}:{ask.student}")
            and dataset in (None, ask.dataset)
            and seed in (None, ask.seed)
        )
        if fits:
            latest[record.fingerprints.question] = record
    for better in (lambda ask: ask.full, lambda ask: not ask.quiz):
        best = {key: record for key, record in latest.items() if better(record.question)}
        latest = best or latest
    if not latest:
        raise NothingSelected(
            f"no ok record of {method} fits in {folder}",
            "method, pair, data set and seed must all fit",
            "kdbench leaderboard shows what there is",
        )
    if len(latest) > 1:
        names = [str(store.path(record).relative_to(folder)) for record in latest.values()]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise UsageError(
            f"{len(names)} records of {method} fit in {folder}",
            ", ".join(names[:_SHOWN]) + more,
            "narrow it by --pair, --dataset, --seed, or name the file",
        )
    return Picked(next(iter(latest.values())), store)
