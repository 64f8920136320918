"""The yardstick trains as KD does, plain statements are equal to ours, tables are true."""

import copy
import itertools
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms.functional import normalize

import kdbench_methods.metadistil as metadistil
from kdbench.api import Batch, Outputs
from kdbench.models import create
from kdbench.record import Spec
from kdbench.testing.bench import register
from kdbench_methods.kd import KD
from kdbench_methods.nst import affinity

HERE = Path(__file__).resolve().parent
TINY = "resnet8[width=0.25]"


@pytest.fixture(autouse=True)
def kdbench_scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The scripts find each other as they do when they are run, and nobody finds them later."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.syspath_prepend(str(HERE / "targets"))
    yield
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(HERE):
            del sys.modules[name]


def loop(rows: int = 6, **changes: Any) -> Any:
    from usual_loop import Rows, UsualLoop

    draw = np.random.default_rng(0)
    made = [
        Rows(draw.integers(0, 256, (rows, 32, 32, 3), np.uint8), np.arange(rows), train)
        for train in (True, False)
    ]
    torch.manual_seed(0)
    return UsualLoop(f"{TINY}:{TINY}", *made, **{"batch": 4, "workers": 0} | changes)


def test_the_usual_loop_s_loss_and_gradient_are_those_of_kd() -> None:
    from usual_loop import CLASSES, MEAN, STD, kd_loss

    usual, spec = loop(), Spec.parse(TINY)
    register(spec)
    ours = [
        create(spec, num_classes=CLASSES, image_shape=(3, 32, 32), mean=MEAN, std=STD)
        for _ in range(2)
    ]
    for network, bare in zip(ours, (usual.teacher, usual.student), strict=True):
        network.model.load_state_dict(bare.state_dict())
    teacher, student = ours[0].eval(), ours[1].train()
    images, target = torch.rand(4, 3, 32, 32), torch.tensor([3, 1, 99, 0])
    batch = Batch(
        inputs=images, target=target, labelled=torch.ones(4, dtype=torch.bool),
        index=torch.arange(4), progress=torch.tensor(0.0),
    )  # fmt: skip
    with torch.no_grad():
        taught = teacher(images)
    expected = torch.stack(list(KD().loss(student(images), taught, batch, None).values())).sum()
    scaled = normalize(images, MEAN, STD)
    found = kd_loss(usual.student.train()(scaled), usual.teacher(scaled), target)
    assert torch.allclose(found, expected, rtol=1e-5)
    right = torch.autograd.grad(expected, list(student.model.parameters()))
    for mine, theirs in zip(
        torch.autograd.grad(found, list(usual.student.parameters())), right, strict=True
    ):
        assert torch.allclose(mine, theirs, rtol=1e-3, atol=1e-5)


def test_a_block_trains_the_student_alone_and_pays_its_share_of_the_evaluation() -> None:
    usual = loop()
    before = copy.deepcopy((usual.teacher.state_dict(), usual.student.state_dict()))
    block = usual.block(3, evaluated=6)
    assert block.images == 4 + 2 + 4  # the ragged batch is kept
    # 10 of an epoch's 6 rows pay for 10 images of the test set, in whole batches 4 + 2 + 4
    assert usual.meters["loss"].count == 10 + 10
    assert usual.block(1, evaluated=0).evaluation_seconds == 0 < block.evaluation_seconds
    for old, network in zip(before, (usual.teacher, usual.student), strict=True):
        moved = [not torch.equal(old[name], one) for name, one in network.named_parameters()]
        assert all(moved) if network is usual.student else not any(moved)
    assert all(torch.equal(before[0][name], one) for name, one in usual.teacher.named_buffers())


def test_a_shuffled_epoch_has_every_row_once() -> None:
    labels = [target for _, target in itertools.islice(loop().training, 2)]
    assert sorted(torch.cat(labels).tolist()) == list(range(6))


def test_the_naive_discrepancy_is_nst_s() -> None:
    import naive
    from torch.nn.functional import normalize as unit

    student, teacher = torch.rand(3, 5, 16).requires_grad_(), torch.rand(3, 4, 16)
    s, t = unit(student, dim=2), unit(teacher, dim=2)
    shipped = affinity(t, t) + affinity(s, s) - 2 * affinity(s, t)
    plain = naive.discrepancy(student, teacher)
    assert torch.allclose(shipped, plain, rtol=1e-5)
    ours, theirs = (torch.autograd.grad(one, student)[0] for one in (shipped, plain))
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-7)


def test_the_naive_contrast_is_crd_s() -> None:
    from steps import contrast

    case = contrast(batch=8, negatives=50, rows=400)
    draw = case.state.draw(case.state.classes[case.index])
    pairs, banks = case.pairs(*draw), copy.deepcopy(case.state)
    assert (case.state.classes[pairs[:, 1:]] != case.state.classes[case.index][:, None]).all()
    shipped = case.method.contrasted(case.student, case.teacher, case.index, *draw, banks)
    plain = case.gathered(pairs)
    assert torch.allclose(shipped, plain, rtol=1e-5)
    ours, theirs = (torch.autograd.grad(one, case.student.pooled)[0] for one in (shipped, plain))
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    assert torch.allclose(banks.rows, case.state.rows)


def test_the_naive_lesson_is_metadistil_s() -> None:
    import naive

    class Said(torch.nn.Sequential):
        def forward(self, images: torch.Tensor) -> Outputs:
            logits = super().forward(images)
            return Outputs(logits=logits, pooled=logits)

    torch.manual_seed(0)
    teacher, student = (Said(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 4)).double()
                        for _ in range(2))  # fmt: skip
    images, quiz = torch.rand(2, 5, 6, dtype=torch.float64)

    def objective(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
        return (ours.log_softmax(1) - theirs.log_softmax(1)).square().sum()

    def quiz_loss(weights: dict[str, torch.Tensor]) -> torch.Tensor:
        return metadistil.answer(student, weights, quiz).square().mean()

    shipped, plain = (
        way(student, teacher, images, student(images).logits, objective, quiz_loss, 0.1)
        for way in (metadistil.meta_gradient, naive.lesson)
    )
    assert torch.allclose(shipped.quiz_loss, plain.quiz_loss)
    for ours, theirs in zip(shipped.gradients, plain.gradients, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9)
        assert ours.abs().max() > 0


def test_the_table_is_made_of_raw_rounds() -> None:
    from figures import Row, table

    def turn(ours: float, theirs: float) -> dict[str, Any]:
        blocks = {"a": {"work": 8.0, "seconds": ours, "cpu": 2.0},
                  "b": {"work": 8.0, "seconds": theirs, "train": 1.0, "cpu": 3.0}}  # fmt: skip
        return {"foreign": 0.0, "blocks": blocks}

    held = {"pair": {"rounds": [turn(2, 4), turn(2, 6), turn(2, 20)], "discarded": [turn(1, 99)]}}
    rows = [Row("KD", "usual", "pair", "a", "b", 2.5), Row("KD", "usual", "pair", "a", "b", 3.5),
            Row("no more", "usual", "pair", "a", "b", None, "train"),
            Row("unmeasured", "usual", "other", "a", "b", 1.0)]  # fmt: skip
    assert table(rows, held).splitlines()[2:] == [
        "| KD | usual | 2.5x | 3.00x | 1.50x | 3 (1) | yes |",
        "| KD | usual | 3.5x | 3.00x | 1.50x | 3 (1) | no |",
        "| no more | usual |  | 0.50x | 1.50x | 3 (1) |  |",
    ]


def test_loud_rounds_alone_judge_nothing() -> None:
    from figures import Row, table

    block = {"work": 1.0, "seconds": 1.0}
    held = {"g": {"rounds": [], "discarded": [{"blocks": {"a": block, "b": block}}]}}
    assert "| 1.00x |  | none quiet (1) | not judged |" in table(
        [Row("x", "y", "g", "a", "b", 1.0)], held
    )


def test_a_team_s_work_is_summed_and_its_slowest_process_counts() -> None:
    from rounds import ALONE, Team, take_turns, working

    block = partial(dict, work=3.0, seconds=2.0)
    with working({"two": Team(copy.copy, {"x": block}, 2)}) as sides:
        found = take_turns(sides, 2, foreign=float("inf"))
    assert found["discarded"] == []
    for one in found["rounds"]:
        assert one["blocks"]["two"]["work"] == 6.0
        assert one["blocks"]["two" + ALONE]["work"] == 3.0
        assert {block["seconds"] for block in one["blocks"].values()} == {2.0}


def test_loud_rounds_are_discarded_and_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import rounds

    loads, now = iter([9.0, 0.0, 9.0, 9.0]), [0.0]

    def busy() -> float:
        return now[0]

    def side() -> dict[str, float]:
        now[0] += next(loads)
        return {"work": 1.0, "seconds": 1.0}

    monkeypatch.setattr(rounds, "_busy", busy)
    monkeypatch.setattr(rounds, "_own", lambda: 0.0)
    found = rounds.take_turns({"a": side}, 2)
    assert (len(found["rounds"]), len(found["discarded"])) == (1, 2)


def test_a_run_s_time_is_that_of_its_steps_and_of_an_evaluation_an_epoch() -> None:
    from board import BATCH, TRAIN_ROWS, usual_seconds

    # 1 s a step; 0.01 s a test image, of which 50,000 rows pay 10,000
    block = {"work": 10.0 * BATCH, "train_seconds": 10.0, "seconds": 10.0 + 10 * BATCH * 0.2 * 0.01}
    assert usual_seconds(block, 1) == pytest.approx(TRAIN_ROWS / BATCH + 100)
    assert usual_seconds(block, 3) == pytest.approx(3 * (TRAIN_ROWS / BATCH + 100))
