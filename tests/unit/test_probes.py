"""What is measured of a student only where it is asked for, and what asking leaves as it is."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from scipy import stats
from torch import Tensor

from kdbench.api import Batch, Losses, Maps, Method, Outputs
from kdbench.cli.backfilling import backfill
from kdbench.cohort import probes as module
from kdbench.cohort.probes import Probes
from kdbench.engine.queue import Queue
from kdbench.errors import PluginError, UsageError
from kdbench.functional import cross_entropy
from kdbench.leaderboard import BoardSpec, build
from kdbench.leaderboard.sheet import columns, line
from kdbench.measure import class_cosine, depths, fidelity, kinship, linear_cka, rescaling, swept
from kdbench.measure.correlation import pearson, spearman
from kdbench.page import trials
from kdbench.record import Evaluation, PutAway, Store
from kdbench.teacher import open_teacher
from kdbench.testing import Bench
from kdbench.testing.support import installed
from kdbench.train import Step, last_epoch, lockstep, stream
from kdbench.train.online import Online, likeness

Planned = Callable[..., Any]
ALL = ("classes", "control", "hints", "seen")
METHODS = ["scratch", "kd", "metadistil"]


@pytest.fixture(scope="module")
def _records() -> dict[str, Any]:
    return {}


@pytest.fixture
def records(_records: dict[str, Any], kdbench_plan: Planned, kdbench_answer: Any) -> dict[str, Any]:
    """Records with every probe, and by "plain ..." the same without one; made once."""
    if not _records:
        probed = kdbench_plan(methods=METHODS, evaluation={"probes": ALL})
        _records.update(kdbench_answer(*probed.cohorts))
        plain = kdbench_answer(*kdbench_plan(methods=METHODS).cohorts)
        _records.update({f"plain {name}": record for name, record in plain.items()})
    return _records


def probed(bench: Bench, *names: Any) -> Probes:
    """The probes of a bench's rig, had its question asked for these."""
    bench.rig.cohort = replace(bench.rig.cohort, evaluation=Evaluation(probes=names))
    return Probes(bench.rig)


def found(bench: Bench, *names: Any) -> Any:
    deployed = bench.deployed()
    said = bench.rig.sweep(deployed, bench.rig.tested)
    return probed(bench, *names).student(bench.runner, deployed, said)


# Records and boards ------------------------------------------------------------------------------


def test_a_record_has_what_its_question_asks_for_by_every_method(records: dict[str, Any]) -> None:
    assert len(records) == 10
    for name, record in records.items():
        assert (record.status, record.failure) == ("ok", None)
        names = {"test", "transfer"}
        more: set[str] = set()
        if "plain" not in name:
            names |= {"seen", "online", "control", "control_teacher"}
            more = {"class_cosine", "cka_hint_1", "cka_hint_2", "cka_hint_3"}
            assert record.fidelity["online"].keys() == {"agreement", "kl"}
            assert record.fidelity["control_teacher"].keys() == {"agreement", "kl"}
            assert record.fidelity["seen"].keys() >= {"rescaling_median", "rescaling_rank", "kl"}
            assert record.seconds["probes"] > 0
        assert record.fidelity.keys() == names
        assert {key for key in record.fidelity["test"] if "_hint_" in key or "class" in key} == more
        assert ("probes" in record.seconds) == ("plain" not in name)
        figures = [value for part in record.fidelity.values() for value in part.values()]
        assert all(map(math.isfinite, figures))


def test_not_a_bit_of_training_or_of_what_is_measured_anyway_depends_on_a_probe(
    records: dict[str, Any],
) -> None:
    plain = {name.removeprefix("plain "): one for name, one in records.items() if "plain" in name}
    assert len(plain) == 5
    for name, record in plain.items():
        with_probes = records[name]
        assert with_probes.deployed.weights == record.deployed.weights
        assert with_probes.logits == record.logits
        assert with_probes.losses == record.losses
        assert with_probes.quality == record.quality
        assert record.fidelity["test"].items() <= with_probes.fidelity["test"].items()
        assert record.fidelity["transfer"] == with_probes.fidelity["transfer"]
        assert with_probes.question.fingerprint != record.question.fingerprint


def test_the_sheet_of_a_board_names_the_figures_by_their_probe(records: dict[str, Any]) -> None:
    spec = BoardSpec(
        suite="digits", title="", about="", baselines=("scratch", "kd"), datasets=("digits",),
        pairs=("resnet8:resnet8[width=0.25]",), methods=("scratch", "kd"), seeds=(0,),
    )  # fmt: skip
    chosen = [records["scratch"], records["kd"]]
    board = build(chosen, spec)
    (table,) = board.partial
    assert {*columns(replace(board, tables=(table,)))} >= {
        "seen_agreement", "seen_rescaling_rank", "online_kl", "control_agreement",
        "control_teacher_kl", "cka_hint_1", "class_cosine",
    }  # fmt: skip
    lines = {row.name: line(table, row) for row in table.rows}
    for record in chosen:
        figures = lines[record.question.method]
        assert figures["online_kl"] == pytest.approx(record.fidelity["online"]["kl"])
        assert figures["agreement"] == pytest.approx(record.fidelity["test"]["agreement"])


def test_the_page_shows_a_row_s_probes_apart_from_its_accuracy(records: dict[str, Any]) -> None:
    spec = BoardSpec(
        suite="digits", title="", about="", baselines=("scratch", "kd"), datasets=("digits",),
        pairs=("resnet8:resnet8[width=0.25]",), methods=("scratch", "kd"), seeds=(0,),
    )  # fmt: skip
    (table,) = build([records["scratch"], records["kd"]], spec).partial
    told = trials.data(table.rows[0], trials.shared(table.rows))
    parts = {title.partition(",")[0]: dict(lines) for title, lines in told["parts"]}
    assert parts["Probes"].keys() >= {"seen_agreement", "online_kl", "control_teacher_kl"}
    assert not [label for label in parts["Accuracy and calibration"] if "_kl" in label]
    assert "class_cosine" in parts["Fidelity to the teacher"]


@pytest.mark.parametrize("name", ["seen_kl", "class_cosine", "control_teacher_agreement"])
def test_a_metric_of_a_plugin_cannot_take_a_probe_s_name(
    name: str, records: dict[str, Any], tmp_path: Any, kdbench_registry: Any
) -> None:
    Store(tmp_path).add(records["kd"])
    entry = next(one for one in kdbench_registry.entries if one.kind == "method")
    with pytest.raises(PluginError, match=f"metric '{name}' .* is one of the host's"):
        backfill(tmp_path, [replace(entry, kind="metric", name=name)], kdbench_registry, ())


# Seen --------------------------------------------------------------------------------------------


def test_a_likeness_is_that_of_the_fidelity_metrics_summed_and_waits_for_no_device() -> None:
    student, teacher = torch.randn(2, 7, 5)
    same, divergence, rows = likeness(student, teacher).tolist()
    wanted = fidelity(student, teacher, torch.zeros(7, dtype=torch.int64))
    assert rows == 7
    assert same / rows == pytest.approx(wanted["agreement"])
    assert divergence / rows == pytest.approx(wanted["kl"])
    nowhere = torch.empty(7, 5, device="meta")  # its values can only be waited for in vain
    assert likeness(nowhere, nowhere).shape == (3,)


def test_online_is_in_train_mode_before_each_update_on_the_views_of_the_last_epoch() -> None:
    bench = Bench(installed()["kd"], steps=7)  # epochs of 2 steps: the last begins with step 6
    rig, runner = bench.rig, bench.runner
    first = last_epoch(len(rig.views), rig.cohort.protocol, rig.total)
    assert first == 6 == probed(bench, "seen").compare
    bench.train(4)
    total = torch.zeros(3, dtype=torch.float64)
    by_hand = copy.deepcopy(runner)
    for epoch, number, rows in stream(rig.views, rig.cohort.protocol, rig.total, 4):
        step = Step(rig.views, rows, epoch, number / rig.total, rig.teach(Maps()))
        twin = copy.deepcopy(by_hand.student).train()  # its statistics must not move twice
        with torch.no_grad():
            said = twin(step.batch.inputs).logits
        total += likeness(said, rig.teacher(step.batch.inputs).logits)
        by_hand.step(step)
    lockstep(
        {"": runner}, rig.views, rig.cohort.protocol, rig.total, rig.teach(Maps()),
        start=4, compare=4,
    )  # fmt: skip
    assert runner.heard is not None
    torch.testing.assert_close(runner.heard, total)
    assert runner.heard[2] == 3 * 16


@dataclass(frozen=True)
class Twice(Method):
    """Asks its student about other images, then twice about the step's own."""

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        return {"hard": cross_entropy(student.logits, batch.target, batch.labelled)}

    def step(self, loop: Any, batch: Batch, state: Any) -> Losses:
        loop.ask_student(replace(batch, inputs=1 - batch.inputs))
        first = loop.ask_student(batch)
        losses = loop.descend(self.loss(first, first, batch, state))
        loop.ask_student(batch)  # after the update: another answer
        return losses


@dataclass(frozen=True)
class Elsewhere(Twice):
    """Never asks about the step's own images."""

    def step(self, loop: Any, batch: Batch, state: Any) -> Losses:
        said = loop.ask_student(replace(batch, inputs=1 - batch.inputs))
        return loop.descend(self.loss(said, said, batch, state))  # type: ignore[no-any-return]


def compared(bench: Bench) -> Any:
    rig = bench.rig
    lockstep(
        {"": bench.runner}, rig.views, rig.cohort.protocol, rig.total, rig.teach(Maps()),
        compare=rig.total - 1,
    )  # fmt: skip
    return bench.runner.heard


def test_only_the_first_answer_to_the_step_s_own_images_counts() -> None:
    bench = Bench(Twice())
    student = bench.runner.student
    answers: list[Tensor] = []
    student.register_forward_hook(lambda *args: answers.append(args[2].logits.detach().clone()))
    heard = compared(bench)
    rig = bench.rig
    *_, (epoch, _, rows) = stream(rig.views, rig.cohort.protocol, rig.total)
    teacher = rig.teacher(rig.views.batch(rows, epoch)).logits
    assert len(answers) == 3 * rig.total
    torch.testing.assert_close(heard, likeness(answers[-2], teacher))
    assert not torch.allclose(heard, likeness(answers[-1], teacher))


def test_online_is_absent_where_a_method_never_asks_about_the_step_s_own_images() -> None:
    bench = Bench(Elsewhere())
    assert compared(bench) is None
    assert found(bench, "seen").elsewhere.keys() == {"seen"}


def test_a_compared_step_is_launched_eagerly_and_afterwards_all_is_as_before() -> None:
    runner = Bench(installed()["kd"]).runner
    listen, launch = runner.listen, lambda batch, rate: None
    runner.launch = launch
    online = Online(runner)
    assert runner.launch is None
    assert runner.listen is not listen
    online.close()
    assert runner.launch is launch
    assert runner.listen is listen


@pytest.mark.parametrize("times", [6, 7])
def test_what_was_heard_survives_when_training_is_put_away_in_the_last_epoch(
    times: int, tmp_path: Any, kdbench_plan: Planned, kdbench_answer: Any, kdbench_bench: Any,
    records: dict[str, Any],
) -> None:  # fmt: skip
    cohort = kdbench_plan(methods=METHODS, evaluation={"probes": ALL}).cohorts[0]
    bench, left = replace(kdbench_bench, store=Store(tmp_path)), [times]

    def late(seconds: float) -> bool:
        left[0] -= 1
        return left[0] <= 0

    bench.late = late
    with pytest.raises(PutAway) as away:
        kdbench_answer(cohort, bench=bench)
    assert away.value.where.step == times
    bench.late = lambda seconds: False
    for name, record in kdbench_answer(cohort, bench=bench).items():
        assert record.fidelity == records[name].fidelity


def test_seen_is_in_eval_mode_after_training_on_the_same_views() -> None:
    bench = Bench(installed()["kd"], steps=6)
    bench.train()
    rig, student = bench.rig, bench.deployed().eval()
    views = [rig.views.batch(rows, 2) for rows in rig.views.order(2)[:32].split(16)]
    labels = rig.views.labels[rig.views.order(2)[:32]]
    with torch.no_grad():
        ours, theirs = [student(one) for one in views], [rig.teacher(one) for one in views]
    logits = [torch.cat([one.logits for one in said]) for said in (ours, theirs)]
    pooled = [torch.cat([one.pooled for one in said]) for said in (ours, theirs)]
    wanted = fidelity(*logits, labels, *pooled) | rescaling(*logits, labels, labels >= 0)
    assert found(bench, "seen").elsewhere["seen"] == pytest.approx(wanted)


def test_of_many_views_the_first_ones_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(installed()["kd"])
    monkeypatch.setattr(module, "ROWS", 20)
    batches = list(probed(bench, "seen")._batches())
    assert [len(batch.inputs) for batch in batches] == [16, 4]
    last = bench.rig.views.order(3)[:20]
    assert torch.equal(torch.cat([batch.index for batch in batches]), last)


def test_of_rows_without_label_only_what_needs_none_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(installed()["kd"])
    whole = found(bench, "seen").elsewhere["seen"]

    class Half(Step):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            known = torch.arange(len(self.batch.target)) % 2 == 0
            target = self.batch.target.where(known, -1)
            self.batch = replace(self.batch, target=target, labelled=known)

    monkeypatch.setattr(module, "Step", Half)
    half = found(bench, "seen").elsewhere["seen"]
    assert whole.keys() - half.keys() == {"agreement_teacher_wrong"}
    assert half["agreement"] == whole["agreement"]
    assert half["rescaling_median"] != whole["rescaling_median"]


# Rescaling ---------------------------------------------------------------------------------------


def test_the_rescaling_factor_is_that_of_small_cases_by_hand() -> None:
    third = math.log(3)
    student = torch.tensor([[0.0, third], [0.0, third], [0.0, 0.0]])
    teacher = torch.tensor([[third, 0.0], [third, 0.0], [third, 0.0]])
    every = torch.ones(3, dtype=torch.bool)
    # (.75 - .25) / (1 - .25) = 2/3;  (.25 - .75) / (1 - .75) = -2;  (.75 - .5) / (1 - .5) = 1/2
    found = rescaling(student, teacher, torch.tensor([0, 1, 0]), every)
    assert found["rescaling_median"] == pytest.approx(1 / 2)
    # w = 2/3, -2, 1/2 has ranks 3, 1, 2; rho = .75, .25, .75 has 2.5, 1, 2.5: 1.5 / sqrt(2 * 1.5)
    assert found["rescaling_rank"] == pytest.approx(math.sqrt(0.75))
    first = rescaling(student, teacher, torch.tensor([0, 1, 0]), torch.tensor([True, False, False]))
    assert first == pytest.approx({"rescaling_median": 2 / 3})
    assert rescaling(student, teacher, torch.tensor([0, 1, 0]), ~every) == {}


def test_the_factor_is_the_ratio_of_the_two_gradients_in_the_true_class_s_logit() -> None:
    student, teacher = torch.randn(2, 1, 6, dtype=torch.float64)
    student.requires_grad_()
    target = torch.tensor([4])
    soft = -(teacher.softmax(1) * student.log_softmax(1)).sum()
    hard = torch.nn.functional.cross_entropy(student, target)
    (by_soft,), (by_hard,) = (torch.autograd.grad(one, student) for one in (soft, hard))
    ratio = float(by_soft[0, 4] / by_hard[0, 4])
    one = torch.ones(1, dtype=torch.bool)
    found = rescaling(student.detach(), teacher, target, one)
    assert found["rescaling_median"] == pytest.approx(ratio)


def test_nothing_cancels_where_both_are_sure() -> None:
    # 1 - p = e^-60 and 1 - rho = e^-50, which float64 cannot tell from 0 beside 1
    student, teacher = torch.tensor([[60.0, 0.0]]), torch.tensor([[50.0, 0.0]])
    found = rescaling(student, teacher, torch.tensor([0]), torch.ones(1, dtype=torch.bool))
    assert found["rescaling_median"] == pytest.approx(1 - math.exp(10))


def test_correlations_are_scipy_s_ties_included_and_none_of_what_is_constant() -> None:
    ours = torch.tensor([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0])
    theirs = torch.tensor([2.0, 7.0, 1.0, 8.0, 2.0, 8.0, 1.0, 8.0])
    assert pearson(ours, theirs) == pytest.approx(stats.pearsonr(ours, theirs).statistic)
    assert spearman(ours, theirs) == pytest.approx(stats.spearmanr(ours, theirs).statistic)
    assert pearson(ours, torch.full((8,), 0.1)) is None
    assert spearman(torch.full((8,), 0.1), ours) is None


# Control -----------------------------------------------------------------------------------------


def test_the_control_is_the_same_recipe_from_the_next_seed(kdbench_plan: Planned) -> None:
    asked = {"methods": ["kd"], "evaluation": {"probes": ["control"]}}
    pairs = ["3*resnet8:resnet8[width=0.25]"]
    (cohort,) = kdbench_plan(**asked, pairs=pairs, teacher={"seed": 4}).cohorts
    assert [job.protocol.seed for job in cohort.teachers] == [12, 13, 14]
    assert [job.protocol.seed for job in cohort.control] == [15, 16, 17]
    chain = {"pairs": ["resnet8>resnet8[width=0.5]:resnet8[width=0.25]"]}
    (cohort,) = kdbench_plan(**asked, **chain, teacher={"method": "kd"}).cohorts
    seeds = [[job.protocol.seed for job in one.lineage] for one in cohort.awaited]
    assert seeds == [[0, 0], [1, 1]]
    assert kdbench_plan(methods=["kd"]).cohorts[0].control == ()


def test_controls_are_other_trials_teachers_where_each_has_its_own(kdbench_plan: Planned) -> None:
    made = kdbench_plan(
        methods=["kd"], seeds=[0, 1, 2], teacher={"seed": "trial"},
        evaluation={"probes": ["control"]},
    )  # fmt: skip
    assert len(made.teachers(made.cohorts)) == 4
    for one, other in zip(made.cohorts, made.cohorts[1:], strict=False):
        assert one.control == other.teachers


def test_a_cohort_waits_for_its_control(kdbench_plan: Planned) -> None:
    made = kdbench_plan(methods=["kd"], evaluation={"probes": ["control"]})
    queue = Queue(made.teachers(made.cohorts), made.cohorts)
    own, other = queue.next((), ()), queue.next((), ())
    assert own
    assert other
    assert queue.next((), ()) is None
    queue.came(own.work)  # type: ignore[arg-type]  # teachers come first
    assert queue.next((), ()) is None
    queue.came(other.work)  # type: ignore[arg-type]  # as above
    task = queue.next((), ())
    assert task
    assert task.work is made.cohorts[0]


@pytest.mark.parametrize(
    "teacher", ["resnet18[pretrained=true]", "resnet18[pretrained=true]>resnet8"]
)
def test_given_weights_have_no_control(teacher: str, kdbench_plan: Planned) -> None:
    with pytest.raises(UsageError, match="no independent teacher") as caught:
        kdbench_plan(
            methods=["kd"], pairs=[f"{teacher}:resnet8"], teacher={"method": "kd"},
            evaluation={"probes": ["control"]},
        )  # fmt: skip
    assert caught.value.why
    assert caught.value.next


def test_the_control_s_figures_are_those_of_the_student_against_the_other_teacher(
    records: dict[str, Any], kdbench_plan: Planned, kdbench_bench: Any
) -> None:
    cohort = kdbench_plan(methods=["kd"], evaluation={"probes": ["control"]}).cohorts[0]
    test = kdbench_bench.data(cohort, "").test
    other, own = (
        open_teacher(jobs, set(), kdbench_bench.cache, torch.device("cpu"))
        for jobs in (cohort.control, cohort.teachers)
    )
    said, ours = (swept(one, [test.images.float() / 255]).logits for one in (other, own))
    record = records["kd"]
    logits = load_file(kdbench_bench.store.artifact(record.logits))["logits"]
    wanted, found = fidelity(logits, said, test.labels), record.fidelity["control"]
    assert {key: found[key] for key in wanted} == pytest.approx(wanted, rel=1e-4)
    apart = fidelity(said, ours, test.labels)
    assert record.fidelity["control_teacher"]["agreement"] == apart["agreement"]
    assert record.fidelity["control_teacher"]["kl"] == pytest.approx(apart["kl"], rel=1e-4)
    assert other.weights != own.weights == record.teacher.weights


# Hints -------------------------------------------------------------------------------------------


def test_hints_are_compared_by_their_means_over_places_shallow_to_deep() -> None:
    bench = Bench(installed()["kd"])
    rig, student = bench.rig, bench.deployed().eval()
    images = rig.tested.images.float() / 255
    with torch.no_grad():
        ours = student(images, Maps(hints=True)).hints
        theirs = rig.teacher(images, Maps(hints=True)).hints
    wanted = {
        f"cka_hint_{place}": linear_cka(one.mean((2, 3)), other.mean((2, 3)))
        for place, (one, other) in enumerate(zip(ours, theirs, strict=True), start=1)
    }
    assert found(bench, "hints").close == pytest.approx(wanted)
    assert len(wanted) == 3


def test_hints_are_read_a_few_images_at_a_time_and_modes_are_restored() -> None:
    network = Bench(installed()["kd"], rows=20).runner.student.train()
    images = torch.randint(0, 256, (1100, 3, 8, 8), dtype=torch.uint8)
    read: list[int] = []
    network.register_forward_pre_hook(lambda _, given: read.append(len(given[0])))
    assert [len(one) for one in depths(network, images)] == [1100] * 3
    assert len(read) > 1
    assert network.training


@pytest.mark.parametrize(
    ("method", "changes"), [("kd", {"members": 2}), ("simkd", {"student": "resnet8[width=0.25]"})]
)
def test_what_a_pair_has_not_is_absent(method: str, changes: dict[str, Any]) -> None:
    bench = Bench(installed()[method], tree=False, **changes)
    both = found(bench, "hints", "classes")
    assert both.close == both.quality == both.elsewhere == {}
    assert not probed(bench, "classes").teacher()


# Classes -----------------------------------------------------------------------------------------


def test_class_cosines_are_those_of_small_cases_by_hand() -> None:
    half = math.sqrt(0.5)
    student = torch.tensor([[1.0, 0.0], [2.0, 2.0], [0.0, -3.0]])  # cosines: half, 0, -half
    teacher = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 5.0]])  # .6, 0, 0
    # means 0 and .2: (half * .4 + half * .2) / sqrt(1 * .24)
    wanted = half * 0.6 / math.sqrt(0.24)
    assert class_cosine(student, teacher) == pytest.approx(wanted)
    assert class_cosine(student, 7 * student) == pytest.approx(1)
    assert class_cosine(student, torch.eye(3)) is None
    assert class_cosine(student[:2], student[:2]) is None
    kin = {"sibling_cosine": half, "stranger_cosine": -half / 2}
    assert kinship(student, (5, 5, 2)) == pytest.approx(kin)
    assert kinship(student, (0, 1, 2)).keys() == {"stranger_cosine"}


def test_class_weights_are_the_classifier_s_own_and_the_teacher_s_card_has_them_too() -> None:
    bench = Bench(installed()["kd"])
    rig, student = bench.rig, bench.deployed()
    both = found(bench, "classes")
    ours, theirs = student.model.fc.weight, rig.teacher.converged[0].model.fc.weight
    tree = tuple(label % 2 for label in range(10))
    assert both.close == {"class_cosine": class_cosine(ours, theirs)}
    assert both.quality == kinship(ours, tree)
    assert both.quality.keys() == {"sibling_cosine", "stranger_cosine"}
    assert probed(bench, "classes").teacher() == kinship(theirs, tree)
    assert probed(bench).teacher() == {}


def test_a_network_with_two_classifiers_has_no_one_geometry() -> None:
    student = "deit_tiny_distilled_patch16_224[depth=2,embed_dim=32,num_heads=2,patch_size=8]"
    bench = Bench(installed()["kd"], student=student, image_shape=(3, 32, 32))
    both = found(bench, "classes")
    assert both.close == both.quality == {}
    assert probed(bench, "classes").teacher().keys() == {"sibling_cosine", "stranger_cosine"}
