"""A report as JSON: fractions, not percent; ten significant figures."""

import json
from dataclasses import asdict
from typing import Any

from kdbench.leaderboard.claims.findings import Finding, Shown
from kdbench.leaderboard.claims.report import Answered
from kdbench.leaderboard.claims.teachers import TeacherCheck
from kdbench.leaderboard.text import stored
from kdbench.statistics import Estimate


def to_json(report: Answered) -> str:
    """All numbers of the report, each seed's too; ends in one newline."""
    data = {
        "schema": 1,
        "suite": report.spec.suite,
        "title": report.title,
        "question": report.report.question,
        "about": report.spec.about,
        "setting": report.report.setting,
        "papers": list(report.report.papers),
        "counts": report.counts,
        "multiplicity": report.multiplicity,
        "claims": [_claim(one) for one in report.findings],
        "series": [_series(one) for one in report.series],
        "baseline": report.spec.baselines[0] if report.spec.baselines else "",
        "teachers": [_teacher(one) for one in report.teachers],
        "run": asdict(report.run),
    }
    return json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _claim(one: Finding) -> dict[str, Any]:
    return one.claim.model_dump(mode="json") | {
        "verdict": one.verdict,
        "why": one.why,
        "notes": list(one.notes),
        "contrast": _estimate(one.estimate),
        "values": {str(seed): stored(value) for seed, value in one.values.items()},
        "more_seeds": one.more,
        "tables": one.tables,
    }


def _series(one: Shown) -> dict[str, Any]:
    series = one.series
    points = [
        figure.point.model_dump(mode="json") | {"ours": _estimate(figure.ours), "why": figure.why}
        for figure in one.figures
    ]
    return series.model_dump(mode="json", exclude={"points"}) | {"points": points}


def _teacher(one: TeacherCheck) -> dict[str, Any]:
    return {
        "place": one.place, "state": one.state, "why": one.why, "lead": _estimate(one.lead),
    }  # fmt: skip


def _estimate(one: Estimate | None) -> dict[str, Any] | None:
    if one is None:
        return None
    ends = {"mean": one.mean, "low": one.low, "high": one.high, "deviation": one.deviation}
    shown = {key: None if value is None else stored(value) for key, value in ends.items()}
    return {**shown, "n": one.n, "identical": one.identical}
