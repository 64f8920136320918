"""Each contract catches the plugin that breaks it, and blames it for nothing else."""

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.api import Batch, Losses, Method, Needs, Outputs, Setup, Stage, Unsupported
from kdbench.functional import cross_entropy, softened_kl
from kdbench.testing import examine
from kdbench.testing.contracts import CONTRACTS
from kdbench.testing.finding import FIRST


@dataclass(frozen=True)
class Right(Method):
    """Cross-entropy with the labels."""

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        return {"hard": cross_entropy(student.logits, batch.target, batch.labelled)}


@dataclass(frozen=True)
class Silent(Right):
    """Cross-entropy with the labels."""

    temperature: float = 4.0  # which the docstring does not say


@dataclass(frozen=True)
class Vector(Right):
    """One loss a row."""

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        return {"hard": F.cross_entropy(student.logits, batch.target, reduction="none")}


@dataclass(frozen=True)
class Forbidden(Right):
    """A number as state, which cannot be checkpointed."""

    def init(self, setup: Setup) -> Any:
        return 3.0


@dataclass(frozen=True)
class Scribbler(Right):
    """Writes into the images, which belong to all methods."""

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        batch.inputs.mul_(0.5)
        return super().loss(student, teacher, batch, state)


@dataclass(frozen=True)
class Double(Right):
    """Updates the student twice a step."""

    def step(self, loop: Any, batch: Batch, state: Any) -> Losses:
        for _ in range(2):
            student, teacher = loop.forward(batch)
            losses = loop.descend(self.loss(student, teacher, batch, state))
        return losses


@dataclass(frozen=True)
class Dtype(Right):
    """Changes the default dtype for everybody."""

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        torch.set_default_dtype(torch.float64)
        return super().loss(student, teacher, batch, state)


@dataclass(frozen=True)
class Unhashable(Right):
    """Cross-entropy with the labels.

    Attributes:
        weights: A list, so that the object has no hash.
    """

    weights: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Fickle(Right):
    """Other needs at every call."""

    def needs(self) -> Needs:
        return Needs(hints=next(_CALLS) % 2 == 0)


_CALLS = itertools.count()


class Extra(nn.Module):
    """A factor of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))


@dataclass(frozen=True)
class Modest(Right):
    """Trains a weight beside the student, and does not say so in `extra`."""

    def init(self, setup: Setup) -> Any:
        return Extra()

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        guess = student.logits * state.factor
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        return {"hard": hard, "soft": softened_kl(guess, teacher.logits, 4.0)}


@dataclass(frozen=True)
class Boastful(Right):
    """Says that it trains a connector, and has none."""

    extra = "a connector"


@dataclass(frozen=True)
class Borrower(Right):
    """Keeps a weight of the teacher as its own state."""

    def init(self, setup: Setup) -> Any:
        return next(setup.teacher.model.parameters())


@dataclass(frozen=True)
class Crowded(Right):
    """Divides by the logarithm of something that is 0 for many classes."""

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        room = torch.tensor(max(0, 100 - student.logits.shape[1])).log()
        return {**super().loss(student, teacher, batch, state), "room": 0 * room}


@dataclass(frozen=True)
class Overflowing(Right):
    """Exponentiates logits in their own precision."""

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        odds = student.logits.exp().sum(1).log().float().mean()
        return {**super().loss(student, teacher, batch, state), "odds": 0.01 * odds}


@dataclass(frozen=True)
class Rooted(Right):
    """A square root whose gradient is infinite where all logits are alike."""

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        spread = student.logits.float().var(1).sqrt().mean()
        return {**super().loss(student, teacher, batch, state), "spread": 0.01 * spread}


@dataclass(frozen=True)
class Credulous(Right):
    """Learns labels that there are none."""

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        return {"hard": F.cross_entropy(student.logits.float(), batch.target)}


@dataclass(frozen=True)
class Synchronous(Right):
    """Reads a loss on the host."""

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        return {"hard": hard, "again": hard * (1.0 if hard.item() > 0 else 2.0)}


@dataclass(frozen=True)
class Masked(Right):
    """Picks rows by a mask, whose size only the device knows."""

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        return {"hard": hard, "some": student.logits.float()[batch.index >= 0].square().mean()}


@dataclass(frozen=True)
class Addressed(Right):
    """Reads images by address instead of by place."""

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        flat = batch.inputs.as_strided((batch.inputs.numel(),), (1,))
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        return {"hard": hard, "eighth": flat[7]}


@dataclass(frozen=True)
class Partial(Right):
    """Learns from an early map alone, so that later weights get no gradient."""

    def needs(self) -> Needs:
        return Needs(hints=True)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        return {"hint": student.hints[0].square().mean()}


class Hidden(nn.Module):
    """A module that hides what it holds from torch."""

    def __init__(self, *held: Any) -> None:
        super().__init__()
        self.held = list(held)


@dataclass(frozen=True)
class Backdoor(Right):
    """Asks the teacher with a graph."""

    def init(self, setup: Setup) -> Any:
        return Hidden(setup.teacher.model)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        network = state.held[0].members[0][-1]
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        return {"hard": hard, "soft": softened_kl(student.logits, network(batch.inputs).logits, 4)}


@dataclass(frozen=True)
class Listed(Right):
    """Keeps a parameter in a Python list, where no optimizer finds it."""

    def init(self, setup: Setup) -> Any:
        return Hidden(nn.Parameter(torch.ones(())))

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        guess = student.logits * state.held[0]
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        return {"hard": hard, "soft": softened_kl(guess, teacher.logits, 4.0)}


@dataclass(frozen=True)
class Forgotten(Modest):
    """Gives an optimizer all weights but its own."""

    extra = "a factor"

    def optimizer(self, parameters: Any, protocol: Any) -> Any:
        return torch.optim.SGD([weight for weight in parameters if weight.ndim], lr=0.05)


@dataclass(frozen=True)
class Vandal(Right):
    """Moves a weight of the shared teacher."""

    def init(self, setup: Setup) -> Any:
        with torch.no_grad():
            next(setup.teacher.model.parameters()).add_(1)


@dataclass(frozen=True)
class Gambler(Right):
    """Draws from a generator that the host does not seed."""

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        random.random()
        return super().loss(student, teacher, batch, state)


@dataclass(frozen=True)
class Counting(Right):
    """Remembers how often it was called, across trials."""

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        return {"hard": hard, "calls": hard * (1 + 1e-3 * next(_CALLS))}


class Listing(nn.Module):
    """Keeps what it was told in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[float] = []


@dataclass(frozen=True)
class Hoarding(Right):
    """Remembers in what no checkpoint holds."""

    def init(self, setup: Setup) -> Any:
        return Listing()

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        state.told.append(1e-3)
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        return {"hard": hard, "told": hard * sum(state.told)}


@dataclass(frozen=True)
class Idle(Right):
    """Gives losses, and updates nothing."""

    def optimizer(self, parameters: Any, protocol: Any) -> Any:
        return torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=0.05)


@dataclass(frozen=True)
class Rigid(Right):
    """Compares each batch with the last one, and expects it to be as large."""

    def init(self, setup: Setup) -> Any:
        return [torch.zeros(0, setup.num_classes)]

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        if len(state[0]) not in (0, len(batch.target)):
            raise ValueError("the batch has another size than the last one")
        state[0] = student.logits.detach() if self.remembers(batch) else state[0]
        return super().loss(student, teacher, batch, state)

    def remembers(self, batch: Batch) -> bool:
        return len(batch.target) > 7


class Headless(nn.Module):
    """Pooled features in place of logits."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student = student

    def forward(self, images: Tensor) -> Tensor:
        pooled: Tensor = self.student(images).pooled
        return pooled


@dataclass(frozen=True)
class Truncated(Right):
    """Deploys a network without its classifier."""

    def deploy(self, student: nn.Module, state: Any) -> nn.Module:
        return Headless(student)


@dataclass(frozen=True)
class Brittle(Right):
    """Cannot take tokens, and says so by an assertion."""

    def needs(self) -> Needs:
        return Needs(hints=True)

    def init(self, setup: Setup) -> Any:
        assert setup.teacher.hints[0].kind == "map"


@dataclass(frozen=True)
class Curt(Right):
    """Declines tokens without a reason."""

    def needs(self) -> Needs:
        return Needs(hints=True)

    def init(self, setup: Setup) -> Any:
        if setup.teacher.hints[0].kind == "tokens":
            raise Unsupported("no")


WRONG = {
    Silent: "docstring says every option",
    Vector: "training goes through",
    Forbidden: "training goes through",
    Scribbler: "training goes through",
    Double: "training goes through",
    Dtype: "training goes through",
    Unhashable: "method is a constant",
    Fickle: "method is a constant",
    Modest: "extra says what is thrown away",
    Boastful: "extra says what is thrown away",
    Borrower: "state is the method's own",
    Crowded: "losses are finite scalars",
    Overflowing: "extreme logits stay finite",
    Rooted: "extreme logits stay finite",
    Credulous: "hard is cross entropy with labels",
    Synchronous: "loss waits for no device",
    Masked: "loss waits for no device",
    Addressed: "images may be contiguous",
    Partial: "gradients reach what is trained",
    Backdoor: "teacher gets no gradient",
    Listed: "extra weights are trained and kept",
    Forgotten: "extra weights are trained and kept",
    Vandal: "teacher and batch stay as they were",
    Gambler: "global state stays as it was",
    Counting: "two runs have the same bits",
    Hoarding: "two runs have the same bits",
    Idle: "two runs have the same bits",
    Rigid: "ragged last batch goes through",
    Truncated: "deployed says finite logits",
    Brittle: "other cases run or say why",
    Curt: "other cases run or say why",
}


def test_a_right_plugin_breaks_no_contract() -> None:
    assert {finding.state for finding in examine(Right())} == {"ok"}


@pytest.mark.parametrize("plugin", WRONG, ids=lambda plugin: plugin.__name__)
def test_a_wrong_plugin_breaks_its_contract_and_no_other(plugin: Callable[[], Method]) -> None:
    found = {finding.contract: finding for finding in examine(plugin())}
    bad = {name: one for name, one in found.items() if one.state not in ("ok", "unchecked")}
    assert list(bad) == [WRONG[plugin]], bad
    (broken,) = bad.values()
    assert broken.state == "fails"
    assert broken.why
    assert __file__ in broken.where
    unchecked = [name for name, one in found.items() if one.state == "unchecked"]
    assert bool(unchecked) == (WRONG[plugin] == FIRST)


def test_every_contract_has_a_wrong_plugin() -> None:
    assert len(set(WRONG.values())) == len(CONTRACTS)


def test_every_contract_makes_a_promise_of_one_sentence() -> None:
    for finding in examine(Right()):
        assert finding.promise.endswith("."), finding.contract
        assert len(finding.promise) <= 100, finding.contract


@dataclass(frozen=True)
class Picky(Right):
    """Takes no pair at all."""

    def init(self, setup: Setup) -> Any:
        raise Unsupported("nothing will do", "this method takes no pair", "choose another method")


def test_a_method_that_declines_every_pair_is_unsupported_and_the_rest_unchecked() -> None:
    docstring, training, *rest = examine(Picky())
    assert docstring.state == "ok"
    assert training.state == "unsupported"
    assert "this method takes no pair" in training.why
    assert {finding.state for finding in rest} == {"unchecked"}


@dataclass(frozen=True)
class Staged(Modest):
    """Trains its factor alone first, then the student."""

    extra = "a factor"

    def stages(self) -> tuple[Stage, ...]:
        return (
            Stage(share=0.25, loss="initial", trains="state"),
            Stage(share=0.75, schedule="restart"),
        )

    def initial(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        return {"soft": softened_kl(student.logits * state.factor, teacher.logits, 4.0)}


def test_a_method_with_stages_and_weights_of_its_own_breaks_no_contract() -> None:
    assert {finding.contract: finding.why for finding in examine(Staged()) if finding.why} == {}
