"""The sum of methods, `kd+at`: every member's terms, the labels' cross-entropy once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor, nn

from kdbench.api.method import Losses, Method
from kdbench.api.needs import Needs, Stage
from kdbench.api.outputs import Batch, Outputs
from kdbench.api.setup import Setup
from kdbench.record import TrainingProtocol


@final
@dataclass(frozen=True)
class Sum(Method):
    """All terms of the members; `hard` is that of the first member that has it.

    Members do not override `step`. Where one has stages, the others' terms are added in those whose
    loss is its `loss`. A teacher on batch statistics is so for all members.

    Attributes:
        names: Of the members; a term is named `kd.soft`.
        members: The methods.
    """

    names: tuple[str, ...]
    members: tuple[Method, ...]

    def needs(self) -> Needs:
        """What any member needs."""
        needs = [member.needs() for member in self.members]
        shared = any(one.teacher == "shared" for one in needs)
        batch = any(one.statistics == "batch" for one in needs)
        return Needs(
            hints=any(one.hints for one in needs),
            preacts=any(one.preacts for one in needs),
            class_maps=any(one.class_maps for one in needs),
            second=any(one.second for one in needs),
            teacher="shared" if shared else "none",
            statistics="batch" if batch else "running",
            quiz=max(one.quiz for one in needs),
        )

    @property
    def _staged(self) -> int:
        """Place of the member with stages, or of the first."""
        return next((i for i, one in enumerate(self.members) if len(one.stages()) > 1), 0)

    def stages(self) -> tuple[Stage, ...]:
        """Those of the member that has stages."""
        own = self.members[self._staged].stages()
        return tuple(replace(stage, loss="loss") for stage in own)

    def init(self, setup: Setup) -> list[Any]:
        """The members' states, in order."""
        return [member.init(setup) for member in self.members]

    def loss(
        self, student: Outputs, teacher: Outputs, batch: Batch, state: Sequence[Any]
    ) -> Losses:
        """The members' terms, each behind its member's name."""
        staged = self._staged
        name = self.members[staged].stages()[batch.stage].loss
        terms: dict[str, Tensor] = {}
        for place, (prefix, member) in enumerate(zip(self.names, self.members, strict=True)):
            if name != "loss" and place != staged:
                continue
            call = getattr(member, name if place == staged else "loss")
            for term, value in call(student, teacher, batch, state[place]).items():
                terms.setdefault(term if term == "hard" else f"{prefix}.{term}", value)
        return terms

    def optimizer(
        self, parameters: Sequence[nn.Parameter], protocol: TrainingProtocol
    ) -> torch.optim.Optimizer | None:
        """That of the member that has one."""
        found = (member.optimizer(parameters, protocol) for member in self.members)
        return next((one for one in found if one is not None), None)

    def deploy(self, student: nn.Module, state: Sequence[Any]) -> nn.Module:
        """What the member deploys that changes it."""
        for member, own in zip(self.members, state, strict=True):
            student = member.deploy(student, own)
        return student
