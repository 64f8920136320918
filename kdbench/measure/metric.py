"""Accuracy, calibration and fidelity, as floats: pure functions of a whole split's logits.

Computed on the CPU in float64, row by row in log space, and summed over the split (never a mean of
means over batches). Ties go to the lower class, so that every metric is one number whatever the
device.
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdbench.errors import ContractError

BINS = 15
_ROWS = 4096  # rows at a time in float64: bounds the memory, changes no value beyond the last bits


def quality(
    logits: Float[Tensor, "rows classes"], target: Int[Tensor, " rows"]
) -> dict[str, float]:
    """Accuracy and top5 (fractions), nll (nats), brier (in [0, 2]), ece, ece_adaptive (in [0, 1]).

    top5 is top-min(5, classes). ece: 15 equal-width bins (low, high] of the largest probability,
    weighted mean of |accuracy - confidence|; ece_adaptive: the same over 15 bins of equally many
    rows (rows of equal confidence share their mean correctness, so that the order of rows does not
    count).

    Reference:
        C. Guo, G. Pleiss, Y. Sun and K. Weinberger, On Calibration of Modern Neural Networks, 2017,
        arXiv:1706.04599, section 2. torchmetrics closes its bins on the left: equal but for a
        confidence on an edge.
    """
    n = _rows(logits, target)
    sums = torch.zeros(4, dtype=torch.float64)
    confidence, correct = [], []
    for part, label in _parts(logits, target):
        log_p = part.log_softmax(1)
        own = label[:, None]
        ahead = (part > part.gather(1, own)) | (
            (part == part.gather(1, own)) & (torch.arange(part.shape[1]) < own)
        )
        place = ahead.sum(1)
        error = log_p.exp().scatter_add(1, own, torch.full_like(own, -1, dtype=torch.float64))
        nll = -log_p.gather(1, own).sum()
        sums += torch.stack(
            [(place == 0).sum(), (place < 5).sum(), nll, error.square().sum()]
        ).double()
        confidence.append(log_p.amax(1).exp())
        correct.append((place == 0).double())
    sure, right = torch.cat(confidence), torch.cat(correct)
    values = dict(zip(("accuracy", "top5", "nll", "brier"), (sums / n).tolist(), strict=True))
    edges = torch.arange(1, BINS, dtype=torch.float64) / BINS
    values["ece"] = _calibration_error(sure, right, torch.bucketize(sure, edges))
    _, group = torch.unique(sure, return_inverse=True)  # numbered by rising confidence
    shared = torch.bincount(group, right) / torch.bincount(group)
    ordered, order = group.sort()
    values["ece_adaptive"] = _calibration_error(
        sure[order], shared[ordered], torch.arange(n) * BINS // n
    )
    return values


def per_class(
    logits: Float[Tensor, "rows classes"], target: Int[Tensor, " rows"], num_classes: int
) -> tuple[float, ...]:
    """Accuracy of each class, a fraction; -1 for a class without rows (a record holds no NaN)."""
    _rows(logits, target)
    label = target.cpu()
    rows = torch.bincount(label, minlength=num_classes)
    hits = torch.bincount(label[logits.cpu().argmax(1) == label], minlength=num_classes)
    return tuple(torch.where(rows > 0, hits.double() / rows, -1.0).tolist())


def fidelity(
    student: Float[Tensor, "rows classes"],
    teacher: Float[Tensor, "rows classes"],
    target: Int[Tensor, " rows"],
    student_pooled: Float[Tensor, "rows dim"] | None = None,
    teacher_pooled: Float[Tensor, "rows other"] | None = None,
) -> dict[str, float]:
    """How closely the student matches the teacher, means over rows, at temperature 1.

    agreement: fraction of equal top classes; agreement_teacher_wrong: the same where the teacher
    errs (absent where it never does); kl: KL(teacher||student) and kl_reversed, nats; js:
    Jensen-Shannon divergence, nats, at most log 2; total_variation: in [0, 1]; logit_cosine: of the
    raw logits, in [-1, 1] (unlike the others it changes when a constant is added to a row); cka:
    plain linear CKA (biased estimator) of the pooled features over the whole split, in [0, 1]
    (absent without both, or where one is constant).

    Reference:
        S. Stanton, P. Izmailov, P. Kirichenko, A. Alemi and A. Wilson, Does Knowledge Distillation
        Really Work?, 2021, arXiv:2106.05945, section 2. S. Kornblith, M. Norouzi, H. Lee and G.
        Hinton, Similarity of Neural Network Representations Revisited, 2019, arXiv:1905.00414,
        section 3.
    """
    n = _rows(student, target)
    if _rows(teacher, target) != n or student.shape != teacher.shape:
        raise ValueError(
            f"logits of student {tuple(student.shape)} and teacher {tuple(teacher.shape)} "
            "differ in shape"
        )
    sums = torch.zeros(8, dtype=torch.float64)
    for (ours, label), (theirs, _) in zip(
        _parts(student, target), _parts(teacher, target), strict=True
    ):
        s, t = ours.log_softmax(1), theirs.log_softmax(1)
        same, wrong = ours.argmax(1) == theirs.argmax(1), theirs.argmax(1) != label
        p, q, middle = s.exp(), t.exp(), torch.logaddexp(s, t) - math.log(2)
        terms = (
            same, same & wrong, wrong, _kl(q, t - s), _kl(p, s - t),
            (_kl(q, t - middle) + _kl(p, s - middle)) / 2, (p - q).abs().sum(1) / 2,
            torch.cosine_similarity(ours, theirs, dim=1),
        )  # fmt: skip
        sums += torch.stack([term.double().sum() for term in terms])
    same_rows, both, wrong_rows, *rest = sums.tolist()
    values = {"agreement": same_rows / n}
    if wrong_rows:
        values["agreement_teacher_wrong"] = both / wrong_rows
    names = ("kl", "kl_reversed", "js", "total_variation", "logit_cosine")
    values |= {name: value / n for name, value in zip(names, rest, strict=True)}
    if student_pooled is not None and teacher_pooled is not None:
        similarity = linear_cka(student_pooled, teacher_pooled)
        if similarity is not None:
            values["cka"] = similarity
    return values


def linear_cka(
    ours: Float[Tensor, "rows dim"], theirs: Float[Tensor, "rows other"]
) -> float | None:
    """Linear centred kernel alignment of two feature sets, in [0, 1]; None if one is constant."""
    x, y = ours.cpu().double(), theirs.cpu().double()
    centred = [features - features.mean(0) for features in (x, y)]
    # Below this share of its power a feature set is constant up to rounding, and 0/0 would come out
    # as noise.
    if any(
        c.square().sum() <= 1e-24 * raw.square().sum()
        for c, raw in zip(centred, (x, y), strict=True)
    ):
        return None
    a, b = centred
    cross, own, other = (torch.linalg.matrix_norm(g) for g in (a.T @ b, a.T @ a, b.T @ b))
    return min(1.0, float(cross**2 / (own * other)))


def _kl(
    p: Float[Tensor, "rows classes"], log_ratio: Float[Tensor, "rows classes"]
) -> Float[Tensor, " rows"]:
    """KL(p||q) of each row, nats, from log p - log q; a p that underflows to 0 adds 0."""
    return (p * log_ratio).sum(1).clamp_min(0)


def _calibration_error(sure: Tensor, right: Tensor, index: Tensor) -> float:
    gaps = torch.bincount(index, right, BINS) - torch.bincount(index, sure, BINS)
    return float(gaps.abs().sum() / len(sure))


def _rows(logits: Tensor, target: Tensor) -> int:
    """Number of rows, after the checks that every metric relies on."""
    if logits.ndim != 2 or target.shape != logits.shape[:1] or not len(target):
        raise ValueError(
            f"expected logits [rows, classes] and a class a row: {logits.shape}, {target.shape}"
        )
    if not logits.isfinite().all():
        raise ContractError(
            "logits are not finite", "NaN or overflow: no metric of them means anything"
        )
    if target.min() < 0 or target.max() >= logits.shape[1]:
        raise ValueError(f"a target lies outside of the {logits.shape[1]} classes")
    return len(target)


def _parts(logits: Tensor, target: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    for first in range(0, len(target), _ROWS):
        rows = slice(first, first + _ROWS)
        yield logits[rows].cpu().double(), target[rows].cpu().long()
