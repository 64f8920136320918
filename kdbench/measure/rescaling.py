"""By which factor the teacher's word changes the gradient of each row."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kdbench.measure.correlation import spearman

_ROWS = 4096  # rows at a time in float64


def rescaling(
    student: Float[Tensor, "rows classes"],
    teacher: Float[Tensor, "rows classes"],
    target: Int[Tensor, " rows"],
    labelled: Bool[Tensor, " rows"],
) -> dict[str, float]:
    """Median of the labelled rows' gradient-rescaling factors, and how they follow the teacher.

    w = (rho - p) / (1 - p), where rho and p are the teacher's and the student's probability of the
    true class: the gradient in the true class's logit by the teacher's word alone, over that by the
    label, at temperature 1. Below 1 always, below 0 where the student is the surer of the two; the
    surer the teacher, the more a row weighs. `rescaling_median`; `rescaling_rank`: Spearman's
    correlation of w with rho over rows, absent where one of the two is the same in all rows.
    Nothing where no row is labelled.

    Computed in float64 as 1 - (1 - rho) / (1 - p), both from the other classes' logits: where both
    are sure, nothing cancels.

    Reference:
        J. Tang, R. Shivanna, Z. Zhao, D. Lin, A. Singh, E. Chi and S. Jain, Understanding and
        Improving Knowledge Distillation, 2020, arXiv:2002.03532; the factor is derived from the
        loss with lambda = 1.
    """
    rows = labelled.cpu()
    if not rows.any():
        return {}
    classes = target.cpu().long()[rows]
    doubt, theirs = _doubt(student[rows], classes), _doubt(teacher[rows], classes)
    factor = 1 - (theirs - doubt).exp()
    found = {"rescaling_median": float(factor.quantile(0.5))}
    rank = spearman(factor, -theirs)
    return found if rank is None else found | {"rescaling_rank": rank}


def _doubt(logits: Tensor, target: Tensor) -> Float[Tensor, " rows"]:
    """Log of one minus the probability of the true class."""
    found = []
    for part, label in zip(logits.split(_ROWS), target.split(_ROWS), strict=True):
        whole = part.cpu().double()
        others = whole.scatter(1, label[:, None], -torch.inf)
        found.append(others.logsumexp(1) - whole.logsumexp(1))
    return torch.cat(found)
