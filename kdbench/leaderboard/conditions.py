"""What two paired trials measured, and under which conditions: hardware, teacher, code."""

from collections import defaultdict
from typing import Final

from kdbench.leaderboard.pairing import Matched, Pairing
from kdbench.record import Record

FIELDS: Final = ("accuracy", "agreement", "kl", "time", "cpu")
"""Accuracy and agreement in points of percent, KL in nats; of a step's time and of its processor
time the ratios."""

RATIOS: Final = ("time", "cpu")


def value(record: Record, field: str) -> float | None:
    """What the record says of a field, in its unit."""
    cost, close = record.cost, record.fidelity.get(record.question.evaluation.split, {})
    match field:
        case "accuracy" if "accuracy" in record.quality:
            return 100 * record.quality["accuracy"]
        case "agreement" if "agreement" in close:
            return 100 * close["agreement"]
        case "kl":
            return close.get("kl")
        case "time":
            return cost.step_ms if cost else None
        case "cpu":
            return cost.cpu_ms if cost else None
    return None


def incomparable(one: Matched, field: str) -> str:
    """Why the times of a pair are not compared; "" where they are."""
    both = one.first.cost, one.second.cost
    if one.first.environment.hardware != one.second.environment.hardware:
        return "the hardware differs"
    if both[0] is None or both[1] is None:
        return "a side has none"
    if not all((value(record, field) or 0) > 0 for record in (one.first, one.second)):
        return "a side has none"
    if field == "cpu":
        return ""
    doubtful = next((cost for cost in both if cost and not cost.valid), None)
    return (doubtful.why_not or "not valid") if doubtful else ""


def same(one: Matched) -> bool:
    """Whether both have the same logits and weights, to the bit."""
    both = (one.first, one.second)
    shipped = [record.deployed.weights if record.deployed else "" for record in both]
    return (
        bool(one.first.logits)
        and one.first.logits == one.second.logits
        and shipped[0] == shipped[1]
    )


def remarks(found: Pairing) -> list[str]:
    """Of the pairs: other hardware, environments, teachers and code."""
    count, told = len(found.matched), list[str]()
    for field, word in (("time", "step times"), ("cpu", "processor times")):
        reasons = defaultdict[str, int](int)
        for one in found.matched:
            reasons[incomparable(one, field)] += 1
        told += [
            f"{word} of {number} of {count} pairs of trials are not compared: {why}"
            for why, number in sorted(reasons.items())
            if why
        ]
    classes = [o for o in found.matched if o.first.environment.group != o.second.environment.group]
    if classes:
        names = {name for one in classes for name in _moved(one)}
        told.append(
            f"{len(classes)} of {count} pairs come from two classes of environment "
            f"({', '.join(sorted(names))}): what differs holds that too"
        )
    teachers = sum(_teacher(one.first) != _teacher(one.second) for one in found.matched)
    if teachers:
        told.append(f"{teachers} of {count} pairs had teachers of other weights")
    code = sum(one.first.fingerprints.code != one.second.fingerprints.code for one in found.matched)
    if code and "method" not in found.differing:
        told.append(f"{code} of {count} pairs were made by other code")
    return told


def _moved(one: Matched) -> list[str]:
    first, second = one.first.environment.model_dump(), one.second.environment.model_dump()
    free = ("python", "kdbench")
    return [
        f"{key} {first.get(key)} -> {second.get(key)}"
        for key in first | second
        if key not in free and first.get(key) != second.get(key)
    ]


def _teacher(record: Record) -> str:
    return record.teacher.weights if record.teacher else ""
