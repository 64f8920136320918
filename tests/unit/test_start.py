"""Where students start: from random weights, their teacher's, or between the two."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdbench.api import Batch, Losses, Method, Outputs, Setup
from kdbench.cohort.rig import Rig
from kdbench.cohort.workbench import register
from kdbench.errors import Unsupported
from kdbench.plan import Cohort
from kdbench.record import Start
from kdbench.teacher import Teacher, begin, build, initial, open_teacher, training

CPU = torch.device("cpu")
PLAIN = "resnet8[width=0.25]"
LAYER_NORM = "resnet8_ln[width=0.25]"
DROPPING = "resnet8[drop_path_rate=0.5,drop_rate=0.5,width=0.25]"

Rigged = Callable[..., Rig]


@pytest.fixture
def cohort(kdbench_plan: Callable[..., Any]) -> Callable[..., Cohort]:
    """`cohort(network, **start)`: self-distillation that starts so."""

    def made(network: str = PLAIN, **start: Any) -> Cohort:
        train = {"start": start} if start else {}
        found: Cohort = kdbench_plan(
            methods=["kd"], pairs=[f"{network}:{network}"], train=train, teacher={"rows": 96}
        ).cohorts[0]
        return found

    return made


@pytest.fixture
def rigged(cohort: Callable[..., Cohort], kdbench_bench: Any) -> Rigged:
    """`rigged(network, **start)`: the rig of such a cohort, its teacher trained."""

    def made(network: str = PLAIN, **start: Any) -> Rig:
        asked = cohort(network, **start)
        kdbench_bench.train_teacher(asked.teachers[0], "")
        teacher = open_teacher(asked.teachers, {1.0}, kdbench_bench.cache, CPU)
        return Rig(asked, kdbench_bench, teacher)

    return made


def images(rows: int = 5) -> Tensor:
    return torch.rand(rows, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("network", [PLAIN, LAYER_NORM])
def test_a_student_that_starts_as_its_teacher_says_the_same_to_the_bit(
    network: str, rigged: Rigged
) -> None:
    rig = rigged(network, share=1.0)
    student, teacher = rig.build().eval(), rig.teacher
    assert torch.equal(student(images()).logits, teacher.converged[0](images()).logits)
    # as it teaches it is folded and lies in memory otherwise
    assert torch.allclose(student(images()).logits, teacher(images()).logits, 1e-4, 1e-5)


@pytest.mark.parametrize("share", [0.25, 0.375, 1.0])
def test_weights_and_buffers_lie_between_the_random_ones_and_the_teacher_s(
    share: float, rigged: Rigged
) -> None:
    random, rig = state(rigged().build()), rigged(share=share)
    student, teacher = state(rig.build()), state(rig.teacher.converged[0])
    assert student.keys() == random.keys() == teacher.keys()
    for name, value in student.items():
        theirs = teacher[name]
        if value.is_floating_point():
            assert torch.equal(value, share * theirs + (1 - share) * random[name]), name
        else:
            assert torch.equal(value, theirs)
            assert name.endswith("num_batches_tracked")
            assert int(value) > 0


def test_the_initial_weights_are_those_that_the_teacher_s_training_began_with(
    cohort: Callable[..., Cohort], rigged: Rigged, kdbench_bench: Any, tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    began: list[dict[str, Tensor]] = []
    real = training.lockstep

    def spying(runners: Any, *arguments: Any, **options: Any) -> Any:
        began.append(state(runners[""].student))
        return real(runners, *arguments, **options)

    monkeypatch.setattr(training, "lockstep", spying)
    (job,) = cohort().teachers
    register([job.source])
    training.ensure(job, kdbench_bench.data(job, ""), tmp_path, CPU)
    rig = rigged(share=1.0, of="initial")
    assert same(state(rig.build()), began[0])
    assert same(state(initial(job, CPU)), began[0])
    assert not same(state(rig.build()), state(rig.teacher.converged[0]))


def test_estimated_statistics_are_the_means_over_the_batches_of_the_first_epoch(
    rigged: Rigged,
) -> None:
    mixed, rig = rigged(share=0.5).build(), rigged(share=0.5, statistics="estimated")
    student = rig.build()
    weights = dict(mixed.named_parameters())
    assert all(torch.equal(weights[name], found) for name, found in student.named_parameters())
    order = rig.views.order(0)
    maps = [
        mixed.model.conv1(mixed.prepared(rig.views.batch(rows, 0))).double()
        for rows in order.split(rig.cohort.protocol.batch_size)
    ]
    assert len(maps) == 3
    found = student.model.bn1
    torch.testing.assert_close(
        found.running_mean.double(), torch.stack([m.mean((0, 2, 3)) for m in maps]).mean(0),
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip
    torch.testing.assert_close(
        found.running_var.double(), torch.stack([m.var((0, 2, 3)) for m in maps]).mean(0),
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip
    norms = [m for m in student.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [m for m in mixed.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(int(norm.num_batches_tracked) == 3 for norm in norms)
    for norm, other in zip(norms, before, strict=True):
        assert norm.momentum == other.momentum == 0.1
        assert not torch.equal(norm.running_var, other.running_var)


def test_estimating_draws_nothing_and_leaves_every_module_in_its_mode(rigged: Rigged) -> None:
    rig = rigged(DROPPING, share=0.5)
    student = rig.build()
    student.model.layer1.eval()
    modes, generator = [m.training for m in student.modules()], torch.get_rng_state()
    start = Start(share=0.5, statistics="estimated")
    begin(student, start, rig.teacher, rig.cohort.teachers[0], rig.views, rig.cohort.protocol)
    assert torch.equal(torch.get_rng_state(), generator)
    assert [m.training for m in student.modules()] == modes
    one, two = (rigged(DROPPING, share=0.5, statistics="estimated").build() for _ in range(2))
    assert same(state(one), state(two))


@dataclass(frozen=True)
class WithPeer(Method):
    """A method with a further network of the student's kind."""

    def init(self, setup: Setup) -> nn.Module:
        return setup.build("student")

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        return {"logits": (student.logits - teacher.logits).square().mean()}


def test_every_method_s_student_starts_alike_and_its_further_networks_at_random(
    rigged: Rigged,
) -> None:
    plain, rig = rigged(), rigged(share=0.5)
    runners = [rig.runner(WithPeer()) for _ in range(2)]
    assert same(state(runners[0].student), state(runners[1].student))
    assert not same(state(runners[0].student), state(plain.runner(WithPeer()).student))
    assert same(state(runners[0].state), state(plain.runner(WithPeer()).state))


def test_a_teacher_that_is_an_ensemble_or_another_network_is_no_start(
    rigged: Rigged, cohort: Callable[..., Cohort]
) -> None:
    rig = rigged()
    (job,), student = rig.cohort.teachers, rig.build()
    member = rig.teacher.converged[0]
    wider = build(cohort("resnet8[width=0.5]").teachers[0].network, job.dataset, CPU)
    for teacher, why in (
        (Teacher([{1.0: member}, {1.0: member}]), "an ensemble"),
        (Teacher([{1.0: wider}]), "shapes of their weights differ"),
    ):
        before = state(student)
        with pytest.raises(Unsupported, match=why):
            begin(student, Start(), teacher, job, rig.views, rig.cohort.protocol)
        assert same(state(student), before)


def test_a_student_that_starts_as_its_teacher_and_hardly_learns_agrees_with_it(
    kdbench_plan: Callable[..., Any], kdbench_answer: Any
) -> None:
    def agreement(**train: Any) -> float:
        made = kdbench_plan(
            methods=["kd"], pairs=[f"{LAYER_NORM}:{LAYER_NORM}"],
            train={"learning_rate": 1e-9, **train}, teacher={"learning_rate": 0.05, "rows": 96},
        )  # fmt: skip
        return float(kdbench_answer(*made.cohorts)["kd"].fidelity["test"]["agreement"])

    assert agreement(start={"share": 1.0}) == 1.0
    assert agreement() < 0.9
