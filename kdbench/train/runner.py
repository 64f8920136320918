"""One method's student in training."""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from kdbench.api import Batch, Loop, Losses, Maps, Method, Outputs, Setup
from kdbench.data import Views
from kdbench.errors import ContractError
from kdbench.record import TrainingProtocol
from kdbench.train.clock import Clock
from kdbench.train.contract import check_losses, check_maps, check_stages, tensors_of, total_loss
from kdbench.train.schedule import assign, learning_rate, make_optimizer, reset
from kdbench.train.seeding import seed_torch
from kdbench.train.stream import Step, make_batch


class Diverged(Exception):
    """A loss is no longer finite."""


class Runner:
    """One method's student in training; the `kdbench.api.Loop` that the method's `step` sees.

    Args:
        method: The plugin's object.
        student: Freshly initialised, `student(images, maps)` gives Outputs.
        setup: What the method may size its extra weights by.
        protocol: Of the student's training.
        seed: The trial's.
        total: Updates of the whole budget.
        private: The trainable teacher, where the method needs one.
        quiz: The quiz split's views, where the method holds one out.
    """

    def __init__(
        self, method: Method, student: nn.Module, setup: Setup, protocol: TrainingProtocol, *,
        seed: int, total: int, device: torch.device, private: nn.Module | None = None,
        quiz: Views | None = None,
    ) -> None:  # fmt: skip
        self.method, self.student, self.protocol = method, student, protocol
        self.seed, self.total, self.device, self.quiz = seed, total, device, quiz
        self.needs, self.stages = method.needs(), method.stages()
        self.clock, self.private = Clock(), private
        shares = check_stages(self.stages)
        self.ends = [round(sum(shares[: i + 1]) * total) for i in range(len(shares))]
        check_maps(self.needs.maps, setup)
        seed_torch(device, seed, "state")
        self.state = method.init(setup)
        modules, _, _ = tensors_of(self.state)
        self.modules = nn.ModuleList(modules).to(device)
        self.student_weights = [p for p in student.parameters() if p.requires_grad]
        self.extra_weights = [p for p in self.modules.parameters() if p.requires_grad]
        self.weights = self.student_weights + self.extra_weights
        own = method.optimizer(self.weights, protocol)
        self.optimizer = own or make_optimizer(self.weights, protocol)
        if private is not None:
            self.teacher_optimizer = torch.optim.SGD(
                private.parameters(), protocol.learning_rate, protocol.momentum,
                weight_decay=protocol.weight_decay,
            )  # fmt: skip
        self.done, self.quizzed, self.updates, self.restarts = 0, 0, 0, 0
        self.current: Step | None = None
        self.launch: Callable[[Batch, float], None] | None = None  # in place of `eager`
        self.listen: Callable[[Tensor, Maps], Outputs] = student
        self.sums, self.notes, self.compile_seconds = dict[str, Tensor](), list[str](), 0.0
        self.heard: Tensor | None = None  # see `Online`
        self.seconds = 0.0  # that the method's own steps took

    # What a method's `step` sees -----------------------------------------------------------------

    @property
    def teacher(self) -> nn.Module:
        """The private teacher."""
        if self.private is None:
            raise ContractError(
                "loop.teacher is not there",
                "the shared teacher is frozen",
                'return Needs(teacher="private")',
            )
        return self.private

    @property
    def progress(self) -> float:
        """Share of the budget spent."""
        return self.done / self.total

    @property
    def decay(self) -> float:
        """The schedule's learning rate as a factor of the protocol's."""
        return self._rate() / self.protocol.learning_rate

    def forward(self, batch: Batch) -> tuple[Outputs, Outputs]:
        """Student (with a graph) and teacher (without one) on `batch`."""
        teacher = self.ask_teacher(batch)
        return self.ask_student(batch), teacher

    def gradients(self, losses: Losses, *, keep_graph: bool = False) -> Sequence[Tensor | None]:
        """Gradients of the summed losses, one for each weight of student and state."""
        total = total_loss(losses)
        weights = self.extra_weights if self._bystander else self.weights
        with self.clock.phase("backward"):
            found = torch.autograd.grad(total, weights, allow_unused=True, retain_graph=keep_graph)
        return (None,) * (len(self.weights) - len(weights)) + tuple(found)

    def update(self, gradients: Sequence[Tensor | None]) -> None:
        """The one step of the student's optimizer."""
        with self.clock.phase("update"):
            assign(self.weights, gradients)
            self.optimizer.step()
        self.updates += 1

    def descend(self, losses: Losses) -> Losses:
        """`gradients` and `update` together."""
        self.update(self.gradients(losses))
        return losses

    def quiz_batch(self) -> Batch:
        """The next batch of the quiz split, unaugmented."""
        if self.quiz is None:
            raise ContractError(
                "loop.quiz_batch() has no rows",
                "no quiz split was asked for",
                "return Needs(quiz=0.1)",
            )
        size = min(self.protocol.batch_size, len(self.quiz))
        epoch, position = divmod(self.quizzed, len(self.quiz) // size)
        rows = self.quiz.order(epoch)[position * size : (position + 1) * size]
        self.quizzed += 1
        batch = make_batch(self.quiz, rows, self.quiz.plain(rows), self.progress)
        return replace(batch, stage=self.stage)

    def teacher_update(self, gradients: Sequence[Tensor | None], learning_rate: float) -> None:
        """One step of the private teacher."""
        with self.clock.phase("update"):
            assign(list(self.teacher.parameters()), gradients)
            self.teacher_optimizer.param_groups[0]["lr"] = learning_rate
            self.teacher_optimizer.step()

    # What the host does --------------------------------------------------------------------------

    @property
    def stage(self) -> int:
        """Index of the stage that the next step belongs to."""
        return next((i for i, end in enumerate(self.ends) if self.done < end), len(self.ends) - 1)

    def step(self, step: Step) -> None:
        """One step of this trial on the shared batch.

        Raises:
            ContractError: The method broke its contract; or whatever the method raises.
        """
        stage = self.stage
        if self.stages[stage].schedule == "restart" and stage and self.done == self.ends[stage - 1]:
            reset(self.optimizer)
            self.restarts += 1
        if not self.student.training or not self.modules.training:
            self.student.train()
            self.modules.train()
        seed_torch(self.device, self.seed, "step", self.done)
        self.current = step
        with self.clock.phase("data"):  # a second view is made when first asked for
            batch = step.seen(stage, self.needs.second)
        (self.launch or self.eager)(batch, self._rate())
        self.done, self.current = self.done + 1, None

    def eager(self, batch: Batch, rate: float) -> None:
        """The step as the method's code runs it, at this learning rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with self.clock.phase("loss"):  # the method's own code, less the phases inside of it
            for name, term in self.learn(self, batch).items():
                if name in self.sums:
                    self.sums[name].add_(term.detach())
                else:
                    self.sums[name] = term.detach().clone()

    def learn(self, loop: Loop, batch: Batch) -> Losses:
        """Weighted terms of the method's step, taken with `loop`."""
        before = self.updates
        losses = self.method.step(loop, batch, self.state)
        if self.updates != before + 1:
            raise ContractError(
                f"step() updated the student {self.updates - before} times",
                "exactly one update a step",
                "call descend once",
            )
        check_losses(losses)
        return losses

    def means(self, steps: int) -> dict[str, float]:
        """Mean of each weighted term since the last call.

        Raises:
            Diverged: A term is not finite.
        """
        found = {name: float(total) / steps for name, total in self.sums.items()}
        self.sums = {}
        for name, value in found.items():
            if not math.isfinite(value):
                raise Diverged(f"the term {name!r} is {value} before step {self.done}")
        return found

    def ask_student(self, batch: Batch) -> Outputs:
        """What the student says of `batch`, with a graph where it is trained."""
        with self.clock.phase("student"), torch.set_grad_enabled(not self._bystander):
            return self._said(self.listen, batch)

    def ask_teacher(self, batch: Batch) -> Outputs:
        """What the teacher says of `batch`, without a graph."""
        with self.clock.phase("teacher"), torch.no_grad():
            return self._taught(batch)

    def _taught(self, batch: Batch) -> Outputs:
        if self.needs.teacher == "none":
            empty = batch.inputs.new_zeros((len(batch.inputs), 0))
            return Outputs(logits=empty, pooled=empty)
        if self.private is not None:
            return self._said(self.private, batch)
        if self.current is None or batch.inputs is not self.current.batch.inputs:
            what, why = "forward() was given another batch", "the teacher judges the step's own"
            raise ContractError(what, why, "pass it on")
        anchor, needs = self.stages[batch.stage].anchor, self.needs
        said = self.current.teacher(anchor, needs.statistics, needs.second)
        return said.only(needs.maps)  # others are there because another method asked for them

    def _said(self, network: Callable[[Tensor, Maps], Outputs], batch: Batch) -> Outputs:
        """What a network of this trial's own says about a batch, of the second view too."""
        narrow = self.protocol.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16) if narrow else nullcontext():
            outputs = network(batch.inputs, self.needs.maps)
            if batch.second is not None:
                outputs = replace(outputs, second=network(batch.second, self.needs.maps))
        return outputs.float()

    @property
    def _bystander(self) -> bool:
        """Whether the student is not trained at this stage."""
        return self.stages[self.stage].trains == "state"

    def _rate(self) -> float:
        stage = self.stages[self.stage]
        if stage.schedule == "restart":
            start = self.ends[self.stage - 1] if self.stage else 0
            return learning_rate(self.protocol, self.done - start, self.ends[self.stage] - start)
        return learning_rate(self.protocol, self.done, self.total)
