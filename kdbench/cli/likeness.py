"""Two records of one question, side by side: the same to the bit, close enough, or not."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kdbench.errors import CheckFailed, KDBenchError

if TYPE_CHECKING:
    from kdbench.record import Record

__all__ = ["POINTS", "Likeness", "judged", "liken"]

POINTS = 3.0
"""How far accuracies may lie apart where the environment differs, in points of percent."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """An old and a new record of one question.

    Attributes:
        rows: Name, old, new and whether they are the same to the bit.
        same_code, same_environment: Whether what decides bits is the same.
        points: Between the accuracies, in percent; None where one has none.
    """

    rows: tuple[tuple[str, str, str, bool], ...]
    same_code: bool
    same_environment: bool
    points: float | None

    @property
    def identical(self) -> bool:
        """Whether all is the same to the bit."""
        return all(same for *_, same in self.rows)


def liken(old: "Record", new: "Record") -> Likeness:
    """All that should be the same."""
    pairs: list[tuple[str, Any, Any]] = [("status", old.status, new.status)]
    for name in sorted(old.quality | new.quality):
        pairs.append((name, old.quality.get(name), new.quality.get(name)))
    for split in sorted(old.fidelity | new.fidelity):
        was, now = old.fidelity.get(split, {}), new.fidelity.get(split, {})
        pairs += [(f"{split} {name}", was.get(name), now.get(name)) for name in sorted(was | now)]
    pairs.append(("per class", old.per_class, new.per_class))
    cards = [record.teacher and record.teacher.weights for record in (old, new)]
    shipped = [record.deployed and record.deployed.weights for record in (old, new)]
    pairs.append(("teacher's weights", cards[0], cards[1]))
    pairs.append(("logits", old.logits, new.logits))
    pairs.append(("weights", shipped[0], shipped[1]))
    kinds = [record.failure and record.failure.kind for record in (old, new)]
    pairs.append(("failure", kinds[0], kinds[1]))
    accuracies = [r.quality["accuracy"] for r in (old, new) if "accuracy" in r.quality]
    return Likeness(
        rows=tuple((name, _short(was), _short(now), was == now) for name, was, now in pairs),
        same_code=old.fingerprints.code == new.fingerprints.code,
        same_environment=old.environment.group == new.environment.group,
        points=100 * abs(accuracies[0] - accuracies[1]) if len(accuracies) == 2 else None,
    )


def judged(found: Likeness, old: "Record", new: "Record", tolerance: float) -> "str | KDBenchError":
    """What the likeness means: a line, or the error to end with."""
    if found.identical:
        return "reproduced: identical to the bit"
    if old.status != new.status:
        why = f"recorded {old.status}, now {new.status}" + (
            f": {new.failure.message}" if new.failure else ""
        )
    elif found.points is None:
        why = "it has no accuracy to compare"
    elif (apart := _apart(found, old, new)) and found.points <= tolerance:
        return (
            f"reproduced within tolerance: accuracies are {found.points:.2f} points apart, at most "
            f"{tolerance:g} are allowed where {apart}"
        )
    elif apart:
        why = f"accuracies are {found.points:.2f} points apart, {tolerance:g} are allowed"
    else:
        why = "the environment is the same, so every bit should be"
    return CheckFailed(
        f"the record of {old.question.method} is not reproduced",
        why,
        "see which figures differ above"
        if found.same_code
        else "its code has changed since: check out what the record names",
    )


def _apart(found: Likeness, old: "Record", new: "Record") -> str:
    """Why bits may differ, or ""."""
    if not found.same_environment:
        return f"the environment differs ({_differing(old, new)})"
    varies = old.environment.varies or new.environment.varies
    return f"a GPU varies from run to run ({varies})" if varies else ""


def _differing(old: "Record", new: "Record") -> str:
    names = set(type(old.environment).model_fields) - {"python", "kdbench"}
    pairs = [
        (name, getattr(old.environment, name), getattr(new.environment, name))
        for name in sorted(names)
    ]
    return ", ".join(f"{name} {was} -> {now}" for name, was, now in pairs if was != now)


def _short(value: Any) -> str:  # noqa: ANN401 - of a record
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, tuple):
        return " ".join(f"{100 * item:.1f}" for item in value)
    return "" if value is None else str(value)[:16]
