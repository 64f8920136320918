"""The board as CSV and JSON: fractions, not percent; every metric, ten significant figures."""

import csv
import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdbench.leaderboard.alone import as_json
from kdbench.leaderboard.board import Board, Row, Table
from kdbench.leaderboard.expenses import NUMBERS
from kdbench.leaderboard.text import spreadsheet, stored
from kdbench.record import canonical
from kdbench.statistics import Contrast, Estimate, Standing

if TYPE_CHECKING:
    import pandas

_FIRST = ("accuracy", "agreement", "kl", "ece")
_WHO = (
    "dataset", "teacher", "student", "protocol", "split", "table", "row", "method",
    "hyperparameters", "quiz", "rows", "settings", "baseline", "n", "seeds", "rank_low",
    "rank_high", "group",
)  # fmt: skip
_TESTED = ("_p_holm", "_more_seeds")
_SIZES = (
    "gap_closed",
    *NUMBERS,
    "cpu_ms",
    "latency_ms",
    "throughput",
    "parameters",
    "multiply_adds",
    "hardware",
)


def to_csv(board: Board) -> str:
    """A header and a line a row of the full board; the same columns whatever a row lacks."""
    names = {name for table in board.tables for row in table.rows for name in row.metrics}
    metrics = [*_FIRST, *sorted(names - set(_FIRST))]
    lines = [
        _line(table, row, metrics, board.spec.baselines)
        for table in board.tables
        for row in table.rows
    ]
    intervals = [*metrics, *(f"gain_over_{text}" for text in board.spec.baselines)]
    intervals += ["overhead", "cpu_overhead"]
    tests = [f"gain_over_{text}{end}" for text in board.spec.baselines for end in _TESTED]
    header = [*_WHO, *(name + end for name in intervals for end in ("", "_low", "_high"))]
    header += [*tests, *_SIZES]
    text = io.StringIO()
    writer = csv.DictWriter(text, header, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def to_frame(board: Board) -> "pandas.DataFrame":
    """The same rows and columns as the CSV."""
    import pandas

    return pandas.read_csv(io.StringIO(to_csv(board)))


def _line(table: Table, row: Row, metrics: list[str], baselines: tuple[str, ...]) -> dict[str, Any]:
    ask, cost = row.question, row.expense
    line: dict[str, Any] = {
        "dataset": spreadsheet(ask.dataset), "teacher": spreadsheet(ask.teacher),
        "student": spreadsheet(ask.student), "protocol": table.key[:12],
        "split": ask.evaluation.split, "table": table.part,
        "row": spreadsheet(row.name), "method": spreadsheet(ask.method),
        "hyperparameters": canonical(ask.hyperparameters),
        "quiz": ask.quiz, "rows": row.rows, "settings": spreadsheet(row.settings),
        "baseline": int(bool(row.baseline)), "n": len(row.seeds),
        "seeds": " ".join(map(str, row.seeds)),
    }  # fmt: skip
    if row.standing and row.standing.rank:
        line["rank_low"], line["rank_high"] = row.standing.rank
        line["group"] = row.standing.letters
    for name in metrics:
        line |= _interval(name, row.metrics.get(name))
    for text in baselines:
        line |= _interval(f"gain_over_{text}", row.gains.get(text))
        line |= _tested(f"gain_over_{text}", row.contrasts.get(text))
    line["gap_closed"] = "" if row.gap_closed is None else _number(row.gap_closed)
    line |= _interval("overhead", cost.overhead if cost else None)
    line |= _interval("cpu_overhead", row.cpu_overhead)
    costs = {} if cost is None else {name: getattr(cost, name) for name in NUMBERS}
    costs |= {name: getattr(row, name) for name in ("cpu_ms", "latency_ms", "throughput")}
    line |= {name: _number(value) for name, value in costs.items() if value is not None}
    line["parameters"] = row.deployed.parameters if row.deployed else ""
    line["multiply_adds"] = row.deployed.multiply_adds if row.deployed else ""
    line["hardware"] = spreadsheet(table.hardware[cost.hardware]) if cost else ""
    return line


def to_json(board: Board) -> str:
    """All numbers of the full board and, apart from it, of the partial one; each seed's too."""
    data = {
        "schema": 1,
        "suite": board.spec.suite,
        "title": board.spec.title,
        "baselines": list(board.spec.baselines),
        "tables": [_table(table) for table in board.tables],
        "partial": [_table(table) for table in board.partial],
        "across": [
            {"name": one.name, "missing": list(one.missing), "standing": _standing(one.standing)}
            for one in board.across
        ],
        "absent": [{"dataset": dataset, "pair": pair} for dataset, pair in board.absent],
    }
    if board.speeds:  # a board without any keeps its bytes
        data["speed"] = [as_json(record) for record in board.speeds]
    return json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _table(table: Table) -> dict[str, Any]:
    shared = table.question.model_dump(
        mode="json", exclude={"method", "hyperparameters", "quiz", "seed"}
    )
    return shared | {
        "key": table.key,
        "table": table.part,
        "seeds": list(table.seeds),
        "teachers": [card.model_dump(mode="json") for card in table.teachers],
        "hardware": list(table.hardware),
        "remarks": list(table.remarks),
        "rows": [_row(table, row) for row in table.rows],
        "gaps": [
            {
                "name": gap.name,
                "done": list(gap.done),
                "missing": [{"seed": s, "why": why} for s, why in gap.missing],
            }
            for gap in table.gaps
        ],
    }


def _row(table: Table, row: Row) -> dict[str, Any]:
    cost = row.expense
    return {
        "name": row.name,
        "method": row.question.method,
        "hyperparameters": row.question.hyperparameters,
        "quiz": row.question.quiz,
        "rows": row.rows,
        "settings": row.settings,
        "baseline": row.baseline,
        "seeds": list(row.seeds),
        "values": {
            name: {str(s): stored(v) for s, v in by_seed.items()}
            for name, by_seed in row.values.items()
        },
        "metrics": {name: _estimate(estimate) for name, estimate in row.metrics.items()},
        "gains": {
            text: _estimate(one.difference)
            | {"p": one.p and stored(one.p), "p_holm": one.adjusted and stored(one.adjusted)}
            | {"differs": one.differs, "more_seeds": one.more}
            for text, one in row.contrasts.items()
        },
        "standing": _standing(row.standing),
        "gap_closed": None if row.gap_closed is None else stored(row.gap_closed),
        "cost": cost
        and {
            "hardware": table.hardware[cost.hardware],
            "parts_ms": _numbers(cost.parts_ms),
            "overhead": cost.overhead and _estimate(cost.overhead),
        }
        | _numbers({name: getattr(cost, name) for name in NUMBERS}),
        "cpu": row.cpu_overhead
        and {"overhead": _estimate(row.cpu_overhead)} | _numbers({"step_ms": row.cpu_ms}),
        "deployed": row.deployed
        and {
            "network": row.deployed.network,
            "options": row.deployed.options,
            "parameters": row.deployed.parameters,
            "multiply_adds": row.deployed.multiply_adds,
            "latency_ms": None if row.latency_ms is None else stored(row.latency_ms),
            "throughput": None if row.throughput is None else stored(row.throughput),
        },
        "note": row.note,
        "remarks": list(row.remarks),
    }


def _numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    """Those that are known; counts stay whole."""
    return {
        name: value if isinstance(value, int) else stored(value)
        for name, value in values.items()
        if value is not None
    }


def _estimate(estimate: Estimate) -> dict[str, float | int | bool | None]:
    low, high = (None if end is None else stored(end) for end in (estimate.low, estimate.high))
    return {
        "mean": stored(estimate.mean), "low": low, "high": high, "n": estimate.n,
        "identical": estimate.identical,
    }  # fmt: skip


def _standing(standing: Standing | None) -> dict[str, Any] | None:
    if standing is None:
        return None
    ends = (None if end is None else stored(end) for end in (standing.low, standing.high))
    return {
        "mean": stored(standing.mean), **dict(zip(("low", "high"), ends, strict=True)),
        "rank": standing.rank and list(standing.rank), "group": standing.letters,
    }  # fmt: skip


def _interval(name: str, estimate: Estimate | None) -> dict[str, str]:
    ends = (None, None, None) if estimate is None else (estimate.mean, estimate.low, estimate.high)
    texts = ("" if end is None else _number(end) for end in ends)
    return dict(zip((name, f"{name}_low", f"{name}_high"), texts, strict=True))


def _tested(name: str, contrast: Contrast | None) -> dict[str, str]:
    """Holm's p value, and how many more seeds would settle what is not settled."""
    adjusted, more = (contrast.adjusted, contrast.more) if contrast else (None, None)
    texts = ("" if adjusted is None else _number(adjusted), "" if more is None else str(more))
    return dict(zip((name + end for end in _TESTED), texts, strict=True))


def _number(value: float) -> str:
    return f"{stored(value):.10g}"
