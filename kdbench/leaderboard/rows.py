"""One row: means over its seeds, gains paired by seed, and times where they may be averaged."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean, median

from kdbench.leaderboard import expenses
from kdbench.leaderboard.board import Row
from kdbench.leaderboard.cells import Cell, record_id
from kdbench.leaderboard.metrics import Later
from kdbench.leaderboard.spec import BoardSpec
from kdbench.record import Record
from kdbench.statistics import Estimate, mean, paired


def row(
    name: str, role: str, cell: Cell, seeds: Sequence[int], baselines: Mapping[str, Cell],
    hardware: Sequence[str], spec: BoardSpec, later: Later,
) -> Row:  # fmt: skip
    """The row of a cell that has an answer for each of `seeds`.

    Args:
        name: As printed.
        role: Which baseline the cell is, or "".
        baselines: The complete cells to compare with, by the spec's names.
        hardware: The table's classes of hardware, which hold those of all its rows.
        later: Metrics that were invented after the records; what a record says itself is kept.
    """
    records = [cell.answers[seed] for seed in seeds]
    values = _values(cell, seeds, later)
    accuracy, gains = values.get("accuracy"), {}
    for text, other in baselines.items():
        theirs = _values(other, seeds, {}).get("accuracy")
        if other is not cell and accuracy is not None and theirs is not None:
            gains[text] = paired(accuracy, theirs)
    classes = sorted(
        {
            hardware.index(record.environment.hardware)
            for record in records
            if record.cost or record.deployed
        }
    )
    remarks = (
        []
        if len(classes) < 2
        else ["trials ran on different hardware, so their times are not averaged"]
    )
    remarks += expenses.remarks(records)
    valid = [record.cost.valid for record in records if record.cost]
    timed = len(classes) == 1 and (any(valid) or not valid)
    cpu_ms, cpu_overhead = expenses.cpu(records) if len(classes) == 1 else (None, None)
    deployed = [record.deployed for record in records if record.deployed]
    whole = timed and len(deployed) == len(records)
    return Row(
        name=name, question=cell.question, records=tuple(records), baseline=role, rows=cell.rows,
        settings=cell.settings, seeds=tuple(seeds), values=values,
        metrics={key: mean(list(by_seed.values())) for key, by_seed in values.items()}, gains=gains,
        contrasts={}, standing=None,
        gap_closed=_gap_closed(records, gains.get(spec.baselines[0])) if spec.baselines else None,
        expense=expenses.expense(records, classes[0]) if timed else None,
        cpu_ms=cpu_ms, cpu_overhead=cpu_overhead,
        deployed=deployed[0] if deployed else None,
        latency_ms=median(d.latency_ms for d in deployed) if whole else None,
        throughput=median(d.throughput for d in deployed) if whole else None,
        note=spec.note(name, cell.question.method), remarks=tuple(remarks),
    )  # fmt: skip


def _gap_closed(records: Sequence[Record], gain: Estimate | None) -> float | None:
    """The gain as a share of the way from the baseline to the teacher, from the means."""
    theirs = [r.teacher.quality.get("accuracy") if r.teacher else None for r in records]
    ours = [record.quality.get("accuracy") for record in records]
    known = [(t, o) for t, o in zip(theirs, ours, strict=True) if t is not None and o is not None]
    if gain is None or len(known) < len(records):
        return None
    way = gain.mean + fmean(teacher - student for teacher, student in known)
    return gain.mean / way if way > 0 else None


def _values(cell: Cell, seeds: Sequence[int], later: Later) -> dict[str, dict[int, float]]:
    """The metrics that every seed has, by seed; a mean over some would be of other trials."""
    split = cell.question.evaluation.split
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for seed in seeds:
        record = cell.answers[seed]
        more = later.get(record_id(record), {}) if later else {}
        for key, value in {**more, **record.quality}.items():
            found[key][seed] = value
        for where, metrics in record.fidelity.items():
            for key, value in metrics.items():
                found[key if where == split else f"{where}_{key}"][seed] = value
    return {key: by_seed for key, by_seed in sorted(found.items()) if len(by_seed) == len(seeds)}
