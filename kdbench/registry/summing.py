"""Facts of methods -> the facts of their sum, as far as there is one."""

from collections.abc import Sequence
from typing import Any

from kdbench.errors import UsageError
from kdbench.record import Spec, fingerprint
from kdbench.registry.entry import MethodFacts

__all__ = ["summed"]


def summed(members: Sequence[MethodFacts]) -> MethodFacts:
    """The facts of the sum of these methods; of one, its own.

    Raises:
        UsageError: They have no sum: one takes over the step, or two want the same for themselves.
    """
    if len(members) == 1:
        return members[0]
    spec = Spec.total([member.spec for member in members])
    for member in members:
        if "step" in member.overrides or member.needs["teacher"] == "private":
            why = f"{member.spec.name} takes over the step, so it has no losses to add"
            raise UsageError(f"{spec} cannot be summed", why, "leave it out of the sum")
    for rung in ("stages", "optimizer", "deploy"):
        own = [m.spec.name for m in members if _has(m, rung)]
        if len(own) > 1:
            why = f"{' and '.join(own)} each have their own {rung}"
            raise UsageError(f"{spec} cannot be summed", why, "keep one of them")
    staged = next((m for m in members if len(m.stages) > 1), members[0])
    return MethodFacts(
        spec=spec,
        hyperparameters={
            f"{m.spec.name}.{key}": value
            for m in members
            for key, value in m.hyperparameters.items()
        },
        needs=_needs([member.needs for member in members]),
        stages=staged.stages,
        overrides=tuple({rung: None for m in members for rung in m.overrides}),
        code=fingerprint([member.code for member in members]),
        sources=tuple(source for member in members for source in member.sources),
    )


def _has(member: MethodFacts, rung: str) -> bool:
    return len(member.stages) > 1 if rung == "stages" else rung in member.overrides


def _needs(members: Sequence[Any]) -> dict[str, Any]:
    """What all of them need together; see `kdbench.api.Needs`."""
    switches = ("hints", "preacts", "class_maps", "second")
    shared = any(needs["teacher"] == "shared" for needs in members)
    batch = any(needs["statistics"] == "batch" for needs in members)
    return {key: any(needs[key] for needs in members) for key in switches} | {
        "teacher": "shared" if shared else "none",
        "statistics": "batch" if batch else "running",
        "quiz": max(needs["quiz"] for needs in members),
    }
