"""The board as CSV and JSON: fractions, not percent; every metric, ten significant figures."""

import csv
import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdbench.leaderboard.alone import as_json
from kdbench.leaderboard.board import Board, Row, Table
from kdbench.leaderboard.expenses import NUMBERS
from kdbench.leaderboard.sheet import Value, columns, line
from kdbench.leaderboard.text import spreadsheet, stored
from kdbench.leaderboard.view import View
from kdbench.statistics import Critical, Estimate, Standing

if TYPE_CHECKING:
    import pandas


def to_csv(board: Board) -> str:
    """A header and a line a row of the full board; the same columns whatever a row lacks."""
    header, text = board.view.columns or columns(board), io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([spreadsheet(name) for name in header])
    for table in board.tables:
        lines = (line(table, row) for row in table.rows)
        writer.writerows([_cell(found.get(name)) for name in header] for found in lines)
    return text.getvalue()


def to_frame(board: Board) -> "pandas.DataFrame":
    """The same rows and columns as the CSV."""
    import pandas

    return pandas.read_csv(io.StringIO(to_csv(board)))


def _cell(value: Value) -> str:
    if isinstance(value, str):
        return spreadsheet(value)
    return "" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)


def to_json(board: Board) -> str:
    """All numbers of the full board and, apart from it, of the partial one; each seed's too."""
    data = {
        "schema": 1,
        "suite": board.spec.suite,
        "title": board.spec.title,
        "baselines": list(board.spec.baselines),
        "tables": [_table(table, board.view) for table in board.tables],
        "partial": [_table(table, board.view) for table in board.partial],
        "across": [
            {"name": one.name, "missing": list(one.missing), "standing": _standing(one.standing)}
            for one in board.across
        ],
        "critical": board.critical and _critical(board.critical),
        "absent": [{"dataset": dataset, "pair": pair} for dataset, pair in board.absent],
    }
    if str(board.view) or board.view.columns:
        data["view"] = str(board.view)
    if board.speeds:  # a board without any keeps its bytes
        data["speed"] = [as_json(record) for record in board.speeds]
    return json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _table(table: Table, view: View) -> dict[str, Any]:
    shared = table.question.model_dump(
        mode="json", exclude={"method", "hyperparameters", "quiz", "seed"}
    )
    return shared | {
        "key": table.key,
        **({"variant": table.variant} if table.variant else {}),
        "table": table.part,
        "seeds": list(table.seeds),
        "teachers": [card.model_dump(mode="json") for card in table.teachers],
        "hardware": list(table.hardware),
        "remarks": list(table.remarks),
        "rows": [_row(table, row, view) for row in table.rows],
        "gaps": [
            {
                "name": gap.name,
                "done": list(gap.done),
                "missing": [{"seed": s, "why": why} for s, why in gap.missing],
            }
            for gap in table.gaps
        ],
    }


def _row(table: Table, row: Row, view: View) -> dict[str, Any]:
    if view.columns:
        found = line(table, row)
        return {name: found.get(name) for name in view.columns}
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
    ends = (None, None) if estimate.identical else (estimate.low, estimate.high)
    low, high = (None if end is None else stored(end) for end in ends)
    return {
        "mean": stored(estimate.mean), "low": low, "high": high, "n": estimate.n,
        "identical": estimate.identical,
    }  # fmt: skip


def _standing(standing: Standing | None) -> dict[str, Any] | None:
    if standing is None:
        return None
    same = standing.low == standing.high
    ends = (None if end is None or same else stored(end) for end in (standing.low, standing.high))
    return {
        "mean": stored(standing.mean), **dict(zip(("low", "high"), ends, strict=True)),
        "rank": standing.rank and list(standing.rank), "group": standing.letters,
        "contender": standing.contender,
    }  # fmt: skip


def _critical(found: Critical) -> dict[str, Any]:
    return {
        "cells": found.cells, "difference": found.difference, "p": found.p,
        "ranks": [{"name": name, "rank": stored(rank)} for name, rank in found.ranks.items()],
        "cliques": [list(clique) for clique in found.cliques],
    }  # fmt: skip
