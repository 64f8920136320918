"""The bench that contracts are checked on is a trial's own set-up, on any networks and rows."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from kdbench.api import Batch, Losses, Maps, Method, Needs, Outputs, Setup, Stage, Unsupported
from kdbench.functional import cross_entropy
from kdbench.testing import Bench, Case

TOKENS = "test_vit[patch_size=8]"
NOTHING, HINTS = Needs(), Needs(hints=True)


@dataclass(frozen=True)
class Curious(Method):
    """Cross-entropy; keeps the setup that it was given."""

    asks: Needs = NOTHING
    anchors: tuple[float, ...] = (1.0,)
    seen: list[Setup] = field(default_factory=list, compare=False)

    def needs(self) -> Needs:
        return self.asks

    def stages(self) -> tuple[Stage, ...]:
        return tuple(Stage(share=1 / len(self.anchors), anchor=one) for one in self.anchors)

    def init(self, setup: Setup) -> Any:
        self.seen.append(setup)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        return {"hard": cross_entropy(student.logits, batch.target, batch.labelled)}


def setup_on(case: Case, needs: Needs = NOTHING) -> Setup:
    method = Curious(needs)
    Bench(method, case)
    (setup,) = method.seen
    return setup


def test_the_setup_holds_all_that_a_trial_s_holds() -> None:
    setup = setup_on(Case(classes=7, rows=30, steps=12, tree=True), HINTS)
    assert (setup.num_classes, setup.num_train) == (7, 30)
    assert setup.targets is not None
    assert setup.targets.tolist() == [row % 7 for row in range(30)]
    assert setup.class_tree == (0, 1, 0, 1, 0, 1, 0)
    assert len(setup.student.hints) == len(setup.teacher.hints) == len(setup.teacher.norms) == 3
    assert setup.teacher.classifier is not None
    rows = [batch.index for _, batch in setup.teacher_passes("transfer")]
    assert torch.cat(rows).tolist() == list(range(30))
    peer = setup.build("student")
    assert peer(torch.rand(2, 3, 8, 8), Maps(hints=True)).logits.shape == (2, 7)


def test_a_data_set_may_have_no_tree() -> None:
    assert setup_on(Case(tree=False)).class_tree is None


def test_a_quiz_split_is_cut_from_the_rows() -> None:
    assert setup_on(Case(rows=40), Needs(quiz=0.25)).num_train == 30


@pytest.mark.parametrize(("teacher", "student"), [(TOKENS, "resnet8"), ("resnet8", TOKENS)])
def test_any_two_networks_of_timm_and_its_plugins_make_a_pair(teacher: str, student: str) -> None:
    case = Case(teacher=teacher, student=student, image_shape=(3, 32, 32))
    setup = setup_on(case, HINTS)
    kinds = {"resnet8": "map", TOKENS: "tokens"}
    assert setup.teacher.hints[0].kind == kinds[teacher]
    assert setup.student.hints[0].kind == kinds[student]


def test_the_teacher_has_the_anchors_that_the_method_asks_for_each_of_other_weights() -> None:
    bench = Bench(Curious(anchors=(0.25, 0.5, 1.0)))
    assert bench.teacher.anchors == (0.25, 0.5, 1.0)
    images = torch.rand(2, 3, 8, 8)
    one, two, three = (bench.teacher(images, anchor=share).logits for share in (0.25, 0.5, 1.0))
    assert not torch.equal(one, two)
    assert not torch.equal(two, three)


def test_a_step_is_taken_in_the_middle_of_its_stage() -> None:
    bench = Bench(Curious(anchors=(0.5, 1.0)), steps=1000)
    assert [round(float(bench.step(4, stage).batch.progress), 2) for stage in bench.stages] == [
        0.25,
        0.75,
    ]


def test_a_second_view_is_there_for_who_needs_one() -> None:
    seen = Bench(Curious(Needs(second=True))).step(4)
    assert seen.batch.second is not None
    assert seen.heard is not None
    assert all(said.second is not None for said in seen.heard)


def test_bfloat16_still_gives_outputs_in_float32() -> None:
    seen = Bench(Curious(), precision="bfloat16").step(4)
    assert seen.heard is not None
    assert {said.logits.dtype for said in seen.heard} == {torch.float32}


@dataclass(frozen=True)
class ForTokens(Curious):
    """Declines students without tokens."""

    asks: Needs = HINTS

    def init(self, setup: Setup) -> Any:
        if setup.student.hints[0].kind != "tokens":
            raise Unsupported("no tokens", "it matches tokens", "name a vision transformer")


def test_a_method_that_declines_the_first_pair_is_checked_on_one_that_it_takes() -> None:
    assert Bench(ForTokens()).case.student == TOKENS


def test_an_ensemble_is_a_teacher_without_hints() -> None:
    assert setup_on(Case(members=2)).teacher.hints == ()
