"""What every installed method keeps, on networks of its own kind: no method is named here."""

from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import entry_points
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdbench.api import Batch, Losses, Method, Port, Setup
from kdbench.data import Split, Views
from kdbench.models import align, create
from kdbench.record import Spec, TrainingProtocol
from kdbench.teacher import Teacher, digest
from kdbench.train import Runner, lockstep, make_batch
from kdbench.train.contract import tensors_of

CPU = torch.device("cpu")
SHAPE = (1, 8, 8)


def installed() -> Iterator[tuple[str, Method]]:
    """Every method that an entry point yields."""
    for entry in entry_points(group="kdbench"):
        hook = getattr(entry.load(), "kdbench_methods", None)
        yield from hook() if hook else ()


METHODS = dict(sorted(installed()))
each = pytest.mark.parametrize("name", METHODS)


class Bench:
    """A transfer set, a teacher with the anchors that the method asks for, and its student."""

    def __init__(
        self, name: str, *, classes: int = 10, rows: int = 40, batch_size: int = 16, steps: int = 8
    ) -> None:
        self.method = METHODS[name]
        needs = self.method.needs()
        draw = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (rows, *SHAPE), generator=draw, dtype=torch.uint8)
        split = Split(
            pixels.contiguous(memory_format=torch.channels_last), torch.arange(rows) % classes, "d"
        )
        held = round(needs.quiz * rows)
        options = {"device": CPU, "seed": 1, "flip": False}
        self.views = Views(split, range(rows - held), shift=1, **options)
        quiz = Views(split, range(rows - held, rows), shift=0, **options) if held else None
        self.protocol = TrainingProtocol(
            epochs=1, steps=steps, batch_size=batch_size, learning_rate=0.05, weight_decay=5e-4
        )

        def network(seed: int, width: float) -> Any:
            torch.manual_seed(seed)
            spec = Spec("resnet8", (("width", width),))
            return create(spec, num_classes=classes, image_shape=SHAPE, mean=(0.5,), std=(0.25,))

        anchors = sorted({stage.anchor for stage in self.method.stages()} | {1.0})
        self.teacher = Teacher([{share: network(10 + i, 0.5) for i, share in enumerate(anchors)}])
        self.student = network(2, 0.25)
        ours, theirs = align(self.student.port().hints, self.teacher.hints)
        self.student.pick(ours)
        self.teacher.pick(theirs)
        self.private = self.teacher.copy() if needs.teacher == "private" else None
        port = self.teacher.port()
        shown = Port(model=self.private or port.model, pooled_dim=port.pooled_dim, hints=port.hints)
        self.setup = Setup(
            student=self.student.port(),
            teacher=shown,
            num_classes=classes,
            num_train=len(self.views),
            build=lambda role: network(3, 0.25),
            teacher_passes=self.passes,
        )
        self.runner = Runner(
            self.method, self.student, self.setup, self.protocol,
            seed=5, total=steps, device=CPU, private=self.private, quiz=quiz,
        )  # fmt: skip

    def passes(self, split: str) -> Iterator[Any]:
        for rows in torch.arange(len(self.views)).split(16):
            batch = make_batch(self.views, rows, self.views.plain(rows), 0.0)
            yield self.teacher(batch.inputs, self.method.needs().hints), batch

    def train(self) -> dict[str, float]:
        hints = self.method.needs().hints
        losses, failures = lockstep(
            {"one": self.runner}, self.views, self.protocol, self.runner.total,
            lambda anchor, images: self.teacher(images, hints, anchor),
        )  # fmt: skip
        assert failures == {}
        return losses["one"]

    def said(self, rows: int) -> tuple[Losses, Batch]:
        """The losses of one batch, with their graph, by the first stage's own function."""
        batch = make_batch(
            self.views, torch.arange(rows), self.views.plain(torch.arange(rows)), 0.0
        )
        hints, stage = self.method.needs().hints, self.method.stages()[0]
        self.student.train()
        student = self.student(batch.inputs, hints=hints)
        teacher = self.teacher(batch.inputs, hints, stage.anchor)
        return getattr(self.method, stage.loss)(student, teacher, batch, self.runner.state), batch


def test_there_are_methods() -> None:
    assert len(METHODS) >= 6


@each
@pytest.mark.parametrize("rows", [2, 7, 16])
@pytest.mark.parametrize("classes", [2, 10])
def test_losses_are_finite_scalars_on_any_batch_and_any_number_of_classes(
    name: str, rows: int, classes: int
) -> None:
    losses, _ = Bench(name, classes=classes).said(rows)
    assert losses
    for term, value in losses.items():
        assert value.shape == (), term
        assert value.isfinite(), term
        assert value.dtype == torch.float32, term


@each
def test_gradients_reach_every_weight_of_the_student_and_of_the_method_and_nothing_of_the_teacher(
    name: str,
) -> None:
    bench = Bench(name)
    for parameter in bench.teacher.parameters():
        parameter.requires_grad_()  # forward has no graph: only a method's own pass could reach it
    losses, batch = bench.said(16)
    torch.stack([*losses.values()]).sum().backward()
    without = [
        key for key, p in bench.student.named_parameters() if p.grad is None or not p.grad.any()
    ]
    assert without == []
    assert all(p.grad is not None for p in bench.runner.extra_weights)
    assert all(p.grad is None for p in bench.teacher.parameters())
    assert not batch.inputs.requires_grad


@each
def test_the_batch_and_the_teacher_are_left_alone(name: str) -> None:
    bench = Bench(name)
    weights = digest(bench.teacher)
    _, batch = bench.said(16)
    rows = torch.arange(16)
    fresh = make_batch(bench.views, rows, bench.views.plain(rows), 0.0)
    for field in ("inputs", "target", "labelled", "index", "progress"):
        found: Tensor = getattr(batch, field)
        assert torch.equal(found, getattr(fresh, field)), field
        assert found._version == getattr(fresh, field)._version, field
    bench.train()
    bench.teacher.check_unmoved()
    assert digest(bench.teacher) == weights


@each
def test_two_runs_have_the_same_bits_and_the_student_has_learnt(name: str) -> None:
    one, two = Bench(name), Bench(name)
    start = digest(one.student)
    assert start == digest(two.student)
    torch.manual_seed(99)  # what was drawn before a trial is nothing to it
    first = one.train()
    torch.manual_seed(7)
    assert first == two.train()
    assert digest(one.student) == digest(two.student) != start


@each
@pytest.mark.parametrize(("rows", "batch_size"), [(40, 16), (23, 8), (20, 32)])
def test_a_whole_training_goes_through_with_a_ragged_last_batch(
    name: str, rows: int, batch_size: int
) -> None:
    losses = Bench(name, rows=rows, batch_size=batch_size, classes=2).train()
    assert all(torch.isfinite(torch.tensor(value)) for value in losses.values())


@each
def test_state_is_of_the_kinds_that_can_be_checkpointed(name: str) -> None:
    bench = Bench(name)
    modules, tensors, optimizers = tensors_of(bench.runner.state)
    assert all(isinstance(module, nn.Module) for module in modules)
    assert all(isinstance(tensor, Tensor) for tensor in tensors)
    assert all(isinstance(one, torch.optim.Optimizer) for one in optimizers)
    ids = {id(p) for p in bench.student.parameters()} | {id(p) for p in bench.teacher.parameters()}
    assert not ids & {id(p) for module in modules for p in module.parameters()}


@each
def test_what_is_deployed_says_finite_logits_of_every_class(name: str) -> None:
    bench = Bench(name)
    bench.train()
    deployed = bench.method.deploy(bench.student, bench.runner.state).eval()
    with torch.no_grad():
        said = deployed(bench.views.plain(torch.arange(5)))
    logits = getattr(said, "logits", said)
    assert logits.shape == (5, 10)
    assert logits.isfinite().all()


@each
def test_a_method_is_a_constant_and_its_facts_do_not_move(name: str) -> None:
    method = METHODS[name]
    assert replace(method) == method
    assert hash(method) == hash(replace(method))
    assert method.needs() == method.needs()
    assert sum(stage.share for stage in method.stages()) == pytest.approx(1)
    needs = method.needs()
    Bench(name).train()
    assert method.needs() == needs
