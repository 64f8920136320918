import math

import pytest
import torch
from torch import nn

from kdbench.api import Outputs
from kdbench.errors import ContractError
from kdbench.measure import (
    deployed_speed,
    fidelity,
    linear_cka,
    per_class,
    quality,
    sweep,
)


def _logits(rows=37, classes=7, seed=0, scale=2.0):
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed)) * scale


def _target(rows=37, classes=7, seed=1):
    return torch.randint(classes, (rows,), generator=torch.Generator().manual_seed(seed))


class _Network(nn.Module):
    """Logits and pooled features linear in the pixels; batch statistics would show in training."""

    def __init__(self, bare=False):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.norm, self.head = nn.BatchNorm1d(12), nn.Linear(12, 5)
        self.bare, self.calls = bare, []

    def forward(self, images):
        self.calls.append(
            (len(images), self.training, torch.is_grad_enabled(), float(images.max()))
        )
        pooled = self.norm(images.flatten(1))
        logits = self.head(pooled)
        return logits if self.bare else Outputs(logits=logits, pooled=pooled)


def _images(rows=7):
    return torch.randint(
        256, (rows, 3, 2, 2), generator=torch.Generator().manual_seed(2), dtype=torch.uint8
    )


def test_sweep_gives_every_row_in_order_and_the_ragged_last_batch():
    network = _Network()
    whole = sweep(network, _images(), batch_size=1000)
    parts = sweep(network, _images(), batch_size=3)
    assert [rows for rows, *_ in network.calls] == [7, 3, 3, 1]
    torch.testing.assert_close(whole.logits, parts.logits)
    torch.testing.assert_close(
        whole.pooled, _images().float().flatten(1) / 255 / math.sqrt(1 + 1e-5)
    )
    assert whole.logits.shape == (7, 5) and whole.logits.dtype == torch.float32


def test_sweep_measures_in_eval_mode_without_a_graph_on_images_in_0_1():
    network = _Network()
    swept = sweep(network, torch.full((2, 3, 2, 2), 255, dtype=torch.uint8))
    assert network.calls == [(2, False, False, 1.0)]
    assert not swept.logits.requires_grad


def test_sweep_restores_each_module_to_its_own_mode():
    network = _Network()
    network.norm.eval()  # frozen by its owner
    sweep(network, _images())
    assert network.training and network.head.training and not network.norm.training


def test_sweep_restores_the_mode_when_the_network_raises():
    network = _Network()
    with pytest.raises(RuntimeError):
        sweep(network, torch.zeros(2, 3, 9, 9, dtype=torch.uint8))
    assert network.training


def test_sweep_takes_bare_logits():
    swept = sweep(_Network(bare=True), _images())
    assert swept.pooled is None
    assert torch.equal(swept.logits, sweep(_Network(), _images()).logits)


def test_sweep_refuses_what_is_not_a_row_of_finite_logits_an_image():
    with pytest.raises(ContractError, match="a row an image"):
        sweep(nn.Identity(), _images())
    network = _Network()
    with torch.no_grad():
        network.head.bias[0] = math.nan
    with pytest.raises(ContractError, match="not finite"):
        sweep(network, _images())
    with pytest.raises(ValueError, match="uint8"):
        sweep(network, _images().float())


def test_quality_is_what_the_formulas_give_by_hand():
    # Confidences 0.5, 0.75, 0.75 and 0.9; the second and the fourth row are right.
    p = torch.tensor(
        [[0.5, 0.3, 0.2], [0.75, 0.2, 0.05], [0.1, 0.75, 0.15], [0.05, 0.05, 0.9]],
        dtype=torch.float64,
    )
    values = quality(p.log(), torch.tensor([1, 0, 0, 2]))
    assert values["accuracy"] == 0.5 and values["top5"] == 1
    assert values["nll"] == pytest.approx(-math.log(0.3 * 0.75 * 0.1 * 0.9) / 4, abs=1e-12)
    assert values["brier"] == pytest.approx((0.78 + 0.105 + 1.395 + 0.015) / 4, abs=1e-12)
    assert values["ece"] == pytest.approx((0.5 + abs(1 - 1.5) + 0.1) / 4, abs=1e-12)
    # Equal mass, a row a bin: the two rows of confidence 0.75 share a correctness of 0.5.
    assert values["ece_adaptive"] == pytest.approx((0.5 + 0.25 + 0.25 + 0.1) / 4, abs=1e-12)


@pytest.mark.parametrize(("rows", "classes"), [(37, 7), (4097, 100), (1, 2), (13, 2)])
def test_quality_and_fidelity_count_every_row_once_at_any_size(rows, classes):
    student, teacher = _logits(rows, classes), _logits(rows, classes, seed=5)
    target = _target(rows, classes)
    p, q = student.double().softmax(1), teacher.double().softmax(1)
    onehot = nn.functional.one_hot(target, classes).double()
    top = student.topk(min(5, classes), dim=1).indices
    values = quality(student, target) | fidelity(student, teacher, target)
    wrong = teacher.argmax(1) != target
    expected = {
        "accuracy": (student.argmax(1) == target).double().mean(),
        "top5": (top == target[:, None]).any(1).double().mean(),
        "nll": -p.gather(1, target[:, None]).log().mean(),
        "brier": (p - onehot).square().sum(1).mean(),
        "agreement": (student.argmax(1) == teacher.argmax(1)).double().mean(),
        "kl": (q * (q / p).log()).sum(1).mean(),
        "kl_reversed": (p * (p / q).log()).sum(1).mean(),
        "js": ((q * (2 * q / (p + q)).log() + p * (2 * p / (p + q)).log()).sum(1) / 2).mean(),
        "total_variation": (p - q).abs().sum(1).mean() / 2,
        "logit_cosine": nn.functional.cosine_similarity(student.double(), teacher.double()).mean(),
    }
    if wrong.any():
        expected["agreement_teacher_wrong"] = (
            (student.argmax(1) == teacher.argmax(1))[wrong].double().mean()
        )
    for name, value in expected.items():
        assert values[name] == pytest.approx(float(value), rel=1e-6), name
    assert set(values) == {*expected, "ece", "ece_adaptive"}


def test_a_tie_goes_to_the_lower_class_everywhere():
    flat, target = torch.zeros(6, 6), torch.arange(6)
    values = quality(flat, target)
    assert values["accuracy"] == 1 / 6 and values["top5"] == 5 / 6
    assert per_class(flat, target, 6) == (1, 0, 0, 0, 0, 0)
    teacher = torch.zeros(6, 6)
    teacher[:, 0] = 1
    assert fidelity(flat, teacher, target)["agreement"] == 1


def test_top5_of_two_classes_is_top2():
    assert quality(_logits(9, 2), _target(9, 2))["top5"] == 1


def test_a_class_without_rows_is_marked_and_not_called_wrong():
    logits, target = _logits(20, 4), _target(20, 3)
    values = per_class(logits, target, 4)
    hits = logits.argmax(1) == target
    assert values[3] == -1
    assert values[:3] == pytest.approx([float(hits[target == c].double().mean()) for c in range(3)])


def test_saturated_logits_give_finite_metrics():
    student = torch.tensor([[200.0, -200.0, 0.0], [-200.0, 200.0, 0.0]])
    values = fidelity(student, -student, torch.tensor([0, 1]))
    assert values["kl"] == pytest.approx(400) and values["kl_reversed"] == pytest.approx(400)
    assert values["js"] == pytest.approx(math.log(2)) and values[
        "total_variation"
    ] == pytest.approx(1)
    assert values["logit_cosine"] == pytest.approx(-1) and values["agreement"] == 0
    assert quality(student, torch.tensor([1, 0])) == pytest.approx(
        {"accuracy": 0, "top5": 1, "nll": 400, "brier": 2, "ece": 1, "ece_adaptive": 1}
    )


def test_a_student_is_faithful_to_itself():
    logits, pooled = _logits(), _logits(37, 11, seed=3)
    values = fidelity(logits, logits, _target(), pooled, pooled)
    wanted = {
        "agreement": 1,
        "agreement_teacher_wrong": 1,
        "kl": 0,
        "kl_reversed": 0,
        "js": 0,
        "total_variation": 0,
    }
    assert values == pytest.approx(wanted | {"logit_cosine": 1, "cka": 1}, abs=1e-12)


def test_agreement_where_the_teacher_errs_is_absent_where_it_never_does():
    logits = _logits()
    assert "agreement_teacher_wrong" not in fidelity(logits, logits, logits.argmax(1))


def test_probabilities_do_not_change_with_a_constant_added_to_a_row():
    student, teacher, target = _logits(), _logits(seed=4), _target()
    shifted = fidelity(student + 3, teacher - 2, target)
    plain = fidelity(student, teacher, target)
    del shifted["logit_cosine"], plain["logit_cosine"]
    assert shifted == pytest.approx(plain, rel=1e-5)


def test_bins_of_the_calibration_error_are_closed_on_the_right():
    # Confidence 3/5 is the edge between the ninth and the tenth bin: closed on the right, it is
    # alone in the ninth.
    p = torch.tensor([[0.6, 0.4], [0.62, 0.38]], dtype=torch.float64)
    assert quality(p.log(), torch.tensor([0, 1]))["ece"] == pytest.approx((0.4 + 0.62) / 2)


def test_metrics_do_not_depend_on_the_order_of_rows():
    student = _logits().round()  # ties in confidence
    teacher, target = _logits(seed=4), _target()
    order = torch.randperm(37, generator=torch.Generator().manual_seed(9))
    there = quality(student, target) | fidelity(student, teacher, target)
    back = quality(student[order], target[order]) | fidelity(
        student[order], teacher[order], target[order]
    )
    assert back == pytest.approx(there, abs=1e-14)


def test_cka_ignores_rotation_and_scale_and_equals_the_kernel_form():
    x, y = _logits(50, 8), _logits(50, 3, seed=6)
    rotation = torch.linalg.qr(_logits(8, 8, seed=7)).Q
    assert linear_cka(x, 3 * x @ rotation + 1) == pytest.approx(1, abs=1e-6)
    centre = torch.eye(50) - 1 / 50
    k, l = (centre @ (f @ f.T) @ centre for f in (x, y))  # noqa: E741 - the paper's letters
    assert linear_cka(x, y) == pytest.approx(float((k * l).sum() / k.norm() / l.norm()), rel=1e-5)


def test_cka_of_constant_features_is_absent():
    assert linear_cka(torch.full((9, 4), 0.1), _logits(9, 3)) is None
    constant, logits = torch.full((37, 4), 0.1), _logits()
    assert "cka" not in fidelity(logits, logits, _target(), constant, _logits(37, 3))


@pytest.mark.parametrize(
    ("logits", "target", "error"),
    [
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), ValueError),
        (torch.zeros(2, 3), torch.tensor([0, 3]), ValueError),
        (torch.zeros(2, 3), torch.tensor([0, 1, 2]), ValueError),
        (torch.tensor([[0.0, math.nan]]), torch.tensor([0]), ContractError),
    ],
)
def test_metrics_refuse_what_has_no_answer(logits, target, error):
    with pytest.raises(error):
        quality(logits, target)
    with pytest.raises(error):
        fidelity(logits, logits, target)


def test_deployed_speed_warms_up_once_and_takes_three_windows_of_a_network_slower_than_its_time():
    network = _Network()
    state = torch.random.get_rng_state()
    speed = deployed_speed(network, (3, 2, 2), seconds=0)
    assert [rows for rows, *_ in network.calls] == [1] * 4 + [256] * 4
    assert {(training, grad) for _, training, grad, _ in network.calls} == {(False, False)}
    assert speed.latency_ms > 0 and speed.throughput > 0
    assert network.training and torch.equal(state, torch.random.get_rng_state())
