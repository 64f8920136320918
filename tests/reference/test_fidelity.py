"""Metrics against numbers not ours: values of a published implementation, and torchmetrics."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.functional import classification

from kdbench.measure import fidelity, quality

CASES = json.loads((Path(__file__).parent / "golden" / "fidelity.json").read_text())["cases"]


def _inputs(case):
    """Student logits, teacher logits and targets, drawn in this order from one numpy stream."""
    stream = np.random.default_rng(case["seed"])
    shape = rows, classes = case["shapes"]["B"], case["shapes"]["K"]
    student, teacher = (stream.standard_normal(shape) * case["logit_scale"] for _ in range(2))
    target = stream.integers(0, classes, rows)
    drawn = {"student_logits": student, "teacher_logits": teacher, "targets": target.astype(float)}
    for name, values in drawn.items():
        assert (values**2).sum() == pytest.approx(case["input_check"][name], rel=1e-12)
    return torch.from_numpy(student), torch.from_numpy(teacher), torch.from_numpy(target)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_metrics_equal_the_golden_values(case):
    student, teacher, target = _inputs(case)
    golden, ours = case["values"], quality(student, target)
    match = fidelity(student, teacher, target)
    assert ours["accuracy"] == golden["student_accuracy"]
    assert quality(teacher, target)["accuracy"] == golden["teacher_accuracy"]
    assert ours["nll"] == pytest.approx(golden["nll"], rel=1e-9)
    assert ours["brier"] == pytest.approx(golden["brier"], rel=1e-9)
    assert ours["ece"] == pytest.approx(golden["ece_15"], rel=1e-9)
    assert match["agreement"] == pytest.approx(golden["top1_agreement"], abs=1e-15)
    assert match["kl"] == pytest.approx(golden["average_kl_teacher_student"], rel=1e-9)


@pytest.mark.parametrize(
    ("rows", "classes", "scale"), [(1003, 10, 1.0), (4099, 100, 2.0), (257, 2, 1.0), (41, 6, 0.1)]
)
def test_accuracy_and_calibration_equal_torchmetrics(rows, classes, scale):
    stream = torch.Generator().manual_seed(rows)
    logits = torch.randn(rows, classes, generator=stream) * scale
    target = torch.randint(classes, (rows,), generator=stream)
    # better than chance, so that all bins hold something
    logits[torch.arange(rows), target] += scale
    ours = quality(logits, target)
    kind = {"num_classes": classes, "average": "micro"}
    p = logits.softmax(1)
    reference = classification.multiclass_calibration_error(
        p, target, num_classes=classes, n_bins=15, norm="l1"
    )
    assert ours["ece"] == pytest.approx(float(reference), abs=1e-6)
    assert ours["accuracy"] == pytest.approx(
        float(classification.multiclass_accuracy(p, target, **kind)), abs=1e-6
    )
    top5 = classification.multiclass_accuracy(p, target, top_k=min(5, classes), **kind)
    assert ours["top5"] == pytest.approx(float(top5), abs=1e-6)
    assert ours["nll"] == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits, target)), rel=1e-5
    )
