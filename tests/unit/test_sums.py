"""Sums of methods: every member's terms, the labels' cross-entropy once, and what has no sum."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pytest
import torch
from torch import nn

import kdbench
from kdbench.api import Batch, Losses, Method, Needs, Outputs, Setup, Stage, Sum
from kdbench.errors import UsageError
from kdbench.record import Spec
from kdbench.registry import Registry


def said(seed: int, rows: int = 4) -> Outputs:
    draw = torch.Generator().manual_seed(seed)
    logits, pooled = (torch.randn(rows, width, generator=draw) for width in (5, 7))
    hints = tuple(torch.randn(rows, c, s, s, generator=draw) for c, s in ((2, 8), (3, 4)))
    return Outputs(logits=logits, pooled=pooled, hints=hints)


BATCH = Batch(
    inputs=torch.zeros(4, 1, 2, 2),
    target=torch.tensor([0, 1, 2, 4]),
    labelled=torch.ones(4, dtype=torch.bool),
    index=torch.arange(4),
    progress=torch.tensor(0.5),
)


def test_a_sum_has_every_member_s_terms_and_the_first_one_s_hard() -> None:
    student, teacher = said(0), said(1)
    kd, at = kdbench.method("kd[alpha=0.75]"), kdbench.method("at[weight=10]")
    total = kdbench.method("kd[alpha=0.75]+at[weight=10]")
    terms = total.loss(student, teacher, BATCH, total.init(None))  # type: ignore[arg-type]  # neither has a state
    ours = kd.loss(student, teacher, BATCH, None)
    theirs = at.loss(student, teacher, BATCH, None)
    assert list(terms) == ["hard", "kd.soft", "at.attention"]
    assert torch.equal(terms["hard"], ours["hard"])
    assert torch.equal(terms["kd.soft"], ours["soft"])
    assert torch.equal(terms["at.attention"], theirs["attention"])
    assert total.needs() == Needs(hints=True)


@dataclass(frozen=True)
class Staged(Method):
    """Two stages, a state, an optimizer and a deployed network of its own."""

    def stages(self) -> tuple[Stage, ...]:
        return (Stage(share=0.25, loss="first", trains="state"), Stage(share=0.75))

    def init(self, setup: Setup) -> nn.Module:
        return nn.Linear(1, 1)

    def first(self, student: Outputs, teacher: Outputs, batch: Batch, state: nn.Module) -> Losses:
        return {"own": state(torch.ones(1, 1)).sum()}

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: nn.Module) -> Losses:
        return {"hard": torch.tensor(3.0), "later": torch.tensor(1.0)}

    def optimizer(self, parameters: Sequence[nn.Parameter], protocol: Any) -> torch.optim.SGD:
        return torch.optim.SGD(parameters, 0.5)

    def deploy(self, student: nn.Module, state: nn.Module) -> nn.Module:
        return nn.Sequential(student, state)


@pytest.mark.parametrize("names", [("kd", "staged"), ("staged", "kd")])
def test_a_member_with_stages_is_alone_in_those_that_are_its_own(names: tuple[str, ...]) -> None:
    known: dict[str, Method] = {"kd": kdbench.method("kd"), "staged": Staged()}
    total = Sum(names, tuple(known[name] for name in names))
    state = total.init(None)  # type: ignore[arg-type]
    assert [(s.share, s.loss, s.trains) for s in total.stages()] == [
        (0.25, "loss", "state"), (0.75, "loss", "all"),
    ]  # fmt: skip
    early = total.loss(said(0), said(1), BATCH, state)
    late = total.loss(said(0), said(1), replace(BATCH, stage=1), state)
    assert set(early) == {"staged.own"}
    assert set(late) == {"hard", "kd.soft", "staged.later"}
    assert (late["hard"] == 3) == (names[0] == "staged")
    weight = nn.Parameter(torch.zeros(1))
    made = total.optimizer([weight], None)  # type: ignore[arg-type]
    assert made is not None
    assert made.param_groups[0]["lr"] == 0.5
    assert isinstance(total.deploy(nn.Identity(), state), nn.Sequential)


def test_facts_of_a_sum_name_every_option_by_its_member(kdbench_registry: Registry) -> None:
    spec = Spec.parse("kd[alpha=0.5]+at")
    facts = kdbench_registry.methods([spec])[spec]
    assert str(facts.spec) == "kd[alpha=0.5]+at"
    assert facts.hyperparameters == {
        "kd.temperature": 4.0, "kd.alpha": 0.5, "at.weight": 1000.0, "at.power": 2,
    }  # fmt: skip
    assert facts.needs["hints"]
    assert [source.name for source in facts.sources] == ["kd", "at"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("kd+metadistil", "metadistil takes over the step"),
        ("ft+ab", "ft and ab each have their own stages"),
    ],
)
def test_what_has_no_sum_is_refused_with_the_reason(
    kdbench_registry: Registry, text: str, why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        kdbench_registry.methods([Spec.parse(text)])


def test_needs_are_the_same_whether_the_plan_or_the_worker_adds_them(
    kdbench_registry: Registry,
) -> None:
    for text in ("kd+at", "scratch+kd", "kd+ofd", "ofd+kd+at", "mlld+fitnet"):
        facts = kdbench_registry.methods([Spec.parse(text)])[Spec.parse(text)]
        assert facts.needs == asdict(kdbench.method(text).needs()), text
