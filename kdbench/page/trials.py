"""Every trial of a row, compactly: what the page's script builds a row's drawer from."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from kdbench.leaderboard import Row, Table
from kdbench.leaderboard.text import MISSING, fixed
from kdbench.record import Record, Store, canonical

Numbers: TypeAlias = list[float | None]

_LABELS = {
    "accuracy": "Accuracy %", "top5": "Top-5 %", "nll": "NLL", "brier": "Brier", "ece": "ECE",
    "ece_adaptive": "ECE, adaptive", "agreement": "Agreement %",
    "agreement_teacher_wrong": "Agreement where the teacher is wrong %", "kl": "KL",
    "kl_reversed": "KL reversed", "js": "JS", "total_variation": "Total variation",
    "logit_cosine": "Cosine of logits", "cka": "CKA",
}  # fmt: skip
_TRANSFER = "transfer_"
_COSTS = (
    ("step_ms", "Step ms"), ("overhead", "Cost ×"), ("cpu_overhead", "CPU cost ×"),
    ("peak_memory_mb", "Peak MiB"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One record behind a row.

    Attributes:
        result: Its accuracy, for readers without the script.
        command: Runs it again, from the board's folder.
    """

    seed: int
    result: str
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What many records say alike, each once, as canonical JSON; records refer to it by index."""

    environments: tuple[str, ...]
    settings: tuple[str, ...]

    def environment(self, record: Record) -> int:
        """Index of the record's environment."""
        return self.environments.index(_environment(record))

    def setting(self, row: Row) -> int:
        """Index of the row's hyperparameters."""
        return self.settings.index(_settings(row))


def shared(rows: Sequence[Row]) -> Shared:
    """The environments and hyperparameters of these rows, in the order of first use."""
    records = [record for row in rows for record in row.records]
    environments = dict.fromkeys(map(_environment, records))
    settings = dict.fromkeys(map(_settings, rows))
    return Shared(environments=tuple(environments), settings=tuple(settings))


def anchors(table: Table, place: int) -> dict[str, str]:
    """By row name, where the trials behind it are in the page, of the board's `place`th table."""
    return {row.name: f"row-{place}-{index}" for index, row in enumerate(table.rows)}


def trials(row: Row) -> tuple[Trial, ...]:
    """The records of a row, in the order of its seeds."""
    return tuple(
        Trial(
            seed=record.question.seed,
            result=_percent(record.quality.get("accuracy")),
            command=command(record),
        )
        for record in row.records
    )


def command(record: Record) -> str:
    """What a shell takes to run the record's trial again, in the folder of its board."""
    return shlex.join(["kdbench", "reproduce", Store(Path()).path(record).as_posix()])


def data(row: Row, every: Shared) -> dict[str, Any]:
    """A row's trials, seed by seed, as plain JSON: labels, and numbers to six figures.

    `parts` are groups of lines, each a label with a number a seed; None where a seed has none.
    """
    fidelity = {key for record in row.records for by in record.fidelity.values() for key in by}
    split = row.question.evaluation.split
    places = {where for record in row.records for where in record.fidelity} - {split}
    elsewhere = (_TRANSFER, *(f"{where}_" for where in places))
    quality = [key for key in row.values if key not in fidelity and not key.startswith(elsewhere)]
    test = [key for key in row.values if key in fidelity]
    transfer = [key for key in row.values if key.startswith(_TRANSFER)]
    probed = [key for key in row.values if key not in transfer and key.startswith(elsewhere)]
    terms = sorted({term for record in row.records for term in record.losses})
    parts = [
        (f"Accuracy and calibration, {split} split", _metrics(row, quality)),
        (f"Fidelity to the teacher, {split} split", _metrics(row, test)),
        ("Fidelity on the transfer set", _metrics(row, transfer)),
        ("Probes", _metrics(row, probed)),
        ("Loss terms, weighted, mean over the last epoch",
         {term: [record.losses.get(term) for record in row.records] for term in terms}),
        ("Cost of a training step", _costs(row.records)),
    ]  # fmt: skip
    return {
        "seeds": list(row.seeds),
        "settings": every.setting(row),
        "environments": [every.environment(record) for record in row.records],
        "parts": [[title, [[k, _short(v)] for k, v in lines.items()]] for title, lines in parts
                  if lines],
    }  # fmt: skip


def _metrics(row: Row, keys: Sequence[str]) -> dict[str, Numbers]:
    found: dict[str, Numbers] = {}
    order = list(_LABELS)
    known = sorted(keys, key=lambda key: _rank(key.removeprefix(_TRANSFER), order))
    for key in known:
        bare = key.removeprefix(_TRANSFER)
        label = _LABELS.get(bare, bare)
        scale = 100 if bare in _LABELS and label.endswith("%") else 1
        found[label] = [scale * row.values[key][seed] for seed in row.seeds]
    return found


def _rank(key: str, order: Sequence[str]) -> tuple[int, str]:
    return (order.index(key) if key in order else len(order)), key


def _costs(records: Sequence[Record]) -> dict[str, Numbers]:
    """Of valid times alone."""
    found: dict[str, Numbers] = {}
    for key, label in _COSTS:
        costs = [record.cost for record in records]
        values = [getattr(cost, key) if cost and cost.valid else None for cost in costs]
        if any(value is not None for value in values):
            found[label] = values
    return found


def _short(values: Sequence[float | None]) -> Numbers:
    return [None if value is None else float(f"{value:.6g}") for value in values]


def _environment(record: Record) -> str:
    return canonical(record.environment.model_dump(mode="json"))


def _settings(row: Row) -> str:
    return canonical(row.question.hyperparameters)


def _percent(value: float | None) -> str:
    return MISSING if value is None else f"{fixed(100 * value, 2)} %"
