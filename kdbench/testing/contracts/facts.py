"""Contracts on what a method says of itself."""

from dataclasses import FrozenInstanceError, fields, replace
from typing import Any, get_args

from kdbench.api import ContractError, Family, Method, Needs, Paper, Stage, Sum
from kdbench.registry.facts import describe
from kdbench.testing.bench import Bench


def docstring_says_every_option(method: Method) -> None:
    """A docstring of its own says every option and, with a paper, what differs from it."""
    for member in members(method):
        _documented(member)


def members(method: Method) -> tuple[Method, ...]:
    """The members of a sum, or the method alone."""
    return method.members if isinstance(method, Sum) else (method,)


def _documented(method: Method) -> None:
    kind = type(method).__name__
    facts = describe("method", kind, method)
    if not facts["summary"]:
        raise ContractError(
            f"{kind} has no docstring",
            "its first line says what comes out, as a formula",
            "write one",
        )
    if silent := [name for name, field in facts["fields"].items() if not field["doc"]]:
        raise ContractError(
            f"the docstring of {kind} does not say {', '.join(silent)}",
            "its section Attributes: has each option's meaning, unit and range",
            "add a line for each",
        )
    if method.paper and "*Differs from the reference:*" not in facts["doc"]:
        raise ContractError(
            f"the docstring of {kind} has no *Differs from the reference:*",
            "it has a paper",
            'add every known difference, or "nothing known"',
        )


def method_is_a_constant(method: Method) -> None:
    """It is frozen and hashable, and needs, stages, family and paper are plain facts."""
    kind = type(method).__name__
    before: tuple[Any, ...] = method.needs(), method.stages()
    _facts(method)
    copy: Any = replace(method)  # type: ignore[type-var]  # the registry takes nothing but dataclasses
    try:
        alike = copy == method and hash(copy) == hash(method)
    except TypeError as error:
        raise ContractError(
            f"{kind} cannot be hashed", str(error), "make every field of it immutable"
        ) from error
    if not alike:
        raise ContractError(
            f"a copy of {kind} is not equal to it",
            "trials and processes rebuild it from its options",
            "let __eq__ and __hash__ be those of the dataclass",
        )
    for field in fields(method):  # type: ignore[arg-type]  # it is a dataclass
        try:
            setattr(method, field.name, getattr(method, field.name))
        except FrozenInstanceError:
            continue
        raise ContractError(
            f"{kind}.{field.name} can be set",
            "all trials share the object",
            "put @dataclass(frozen=True) above the class",
        )
    Bench(method).train()
    after = [(method.needs(), method.stages()) for _ in range(2)]
    if after != [before, before]:
        raise ContractError(
            f"needs() or stages() of {kind} move",
            f"they were {before}",
            "let them depend on options alone",
        )


def _facts(method: Method) -> None:
    """Raise where a fact is not of its type."""
    stages, kind = method.stages(), type(method).__name__
    if not isinstance(method.needs(), Needs) or not all(isinstance(s, Stage) for s in stages):
        raise ContractError(
            f"{kind} has needs {method.needs()!r} and stages {stages!r}",
            "expected a Needs and Stages",
            "correct them",
        )
    for stage in stages:
        if not callable(getattr(method, stage.loss, None)):
            raise ContractError(
                f"{kind} has no function {stage.loss!r}",
                "a stage names it as its loss",
                "name one of the method's",
            )
    families = get_args(Family)
    if method.family not in (None, *families):
        raise ContractError(
            f"{kind}.family is {method.family!r}",
            f"expected one of {', '.join(families)}",
            "correct it",
        )
    if method.paper and not isinstance(method.paper, Paper):
        raise ContractError(
            f"{kind}.paper is a {type(method.paper).__name__}",
            "expected a kdbench.api.Paper or None",
            "write Paper(authors=..., title=..., year=...)",
        )


def extra_says_what_is_thrown_away(method: Method) -> None:
    """`extra` has words exactly where weights are trained beside the student."""
    weights = sum(weight.numel() for weight in Bench(method).runner.extra_weights)
    said = "; ".join(filter(None, (member.extra for member in members(method))))
    kind = type(method).__name__
    if weights and not said:
        raise ContractError(
            f"{kind}.extra is empty",
            f"{weights} weights are trained beside the student",
            "say in words what they are",
        )
    if said and not weights:
        raise ContractError(
            f"{kind}.extra says {said!r}",
            "no weight is trained beside the student",
            'set it to ""',
        )
